-- SPDX-License-Identifier: MIT
-- The rock: installed into a tree of its own, without network, it serves stock Lua and brings the host.
local program <const> = require "spec.program"

local function shell(command)
    local pipe <const> = assert(io.popen(command .. " 2>&1", "r"))
    local out <const> = pipe:read("a")
    local ok <const> = pipe:close()
    return ok, out
end

local function has(command)
    return (shell("command -v " .. command))
end

-- What the build rule says in words when it is not there to be tested.
local describe_rock <const> = has("luarocks") and describe or function(name)
    it(name .. " # SKIP luarocks is not installed", function() end)
end

describe_rock("the rock", function()
    local tree, out

    setup(function()
        tree = program.folder()
        local ok
        ok, out = shell("scripts/rock make --tree=" .. program.quote(tree))
        assert(ok, out)
    end)
    teardown(function() program.remove(tree) end)

    -- Runs a file with stock Lua and what the tree holds, from a folder where nothing else is found.
    local function run(path, ...)
        return program.run({ path, ... }, {
            program = "lua5.4",
            folder = tree,
            env = {
                LUA_PATH = ("%s/share/lua/5.4/?.lua;%s/share/lua/5.4/?/init.lua"):format(tree, tree),
                LUA_CPATH = tree .. "/lib/lua/5.4/?.so",
            },
        })
    end

    it("says what it installed", function()
        assert.matches("asyncoro %d[%d.]*%-1 is now installed in " .. tree, out)
        local _, shown <const> = shell(("luarocks --lua-version=5.4 --tree=%s show asyncoro"):format(tree))
        assert.matches("asyncoro.init", shown, 1, true)
    end)

    it("holds every Lua file", function()
        local list <const> = " && find . -name '*.lua' | sort"
        local installed <const> = program.capture("cd " .. tree .. "/share/lua/5.4" .. list)
        assert.equal(program.capture("cd lua" .. list), installed)
    end)

    it("runs with stock Lua", function()
        local path <const> = program.write(tree .. "/try.lua", [[
            local asyncoro <const> = require "asyncoro"
            print(asyncoro.run(function()
                local coro <const> = asyncoro.spawn(function(a) asyncoro.sleep(0.001) return a + 1 end, 41)
                return coro:finish()
            end))
        ]])
        assert.same({ 0, "true\t42\n", "" }, { run(path) })
    end)

    it("runs an example with stock Lua", function()
        local path <const> = program.capture("realpath scripts/examples/tut_coros.lua")
        local code <const>, text <const>, err <const> = run(path, "10", "0.01")
        assert.same({ 0, "" }, { code, err })
        assert.matches("coroutine 9 terminating", text)
    end)

    it("brings the host binary, which needs nothing of the tree", function()
        local code <const>, text <const> = program.run({ "-e", "print(require 'asyncoro'._VERSION)" },
            { program = tree .. "/bin/asyncoro", folder = "/", env = { LUA_CPATH = "" } })
        assert.equal(0, code)
        assert.matches("^asyncoro %d+%.%d+%.%d+\n$", text)
    end)

    it("is taken away again", function()
        assert.truthy((shell(("luarocks --lua-version=5.4 --tree=%s remove asyncoro"):format(tree))))
        assert.equal("", program.capture(("find %s -name core.so -o -name asyncoro -type f"):format(tree)))
    end)
end)
