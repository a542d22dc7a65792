-- SPDX-License-Identifier: MIT
local asyncoro = require "asyncoro"
local run = require("spec.helper").run

local folder

local function module(name, text)
    local file = assert(io.open(folder .. "/" .. name .. ".lua", "w"))
    file:write(text)
    file:close()
end

describe("require", function()
    local path = package.path

    setup(function()
        local pipe = io.popen "mktemp -d"
        folder = pipe:read "l"
        pipe:close()
        package.path = folder .. "/?.lua;" .. path
        module("rs_plain", "return { ... }")
        module("rs_waits",
            "local a = require 'asyncoro' a.sleep(0.002) rs_count = (rs_count or 0) + 1 return { rs_count }")
        module("rs_fails", "local a = require 'asyncoro' a.sleep(0.001) error 'broken'")
        module("rs_syntax", "return (")
        module("rs_a", "return require 'rs_b'")
        module("rs_b", "return require 'rs_a'")
        module("rs_slow", "rs_slow = rs_slow + 1 require 'asyncoro'.sleep(0.002) return rs_slow")
        module("rs_level", "error('level 2', 2)")
        module("rs_nothing", "")
    end)

    teardown(function()
        package.path = path
        os.execute("rm -r '" .. folder .. "'")
    end)

    it("gives what Lua's own gives", function()
        local value, data = run(function() return require "rs_plain" end)
        assert.same({ "rs_plain", folder .. "/rs_plain.lua" }, value)
        assert.equal(folder .. "/rs_plain.lua", data)
        assert.equal(value, require "rs_plain")
        assert.is_true(run(function() return require "rs_nothing" end))
        assert.is_true(package.loaded.rs_nothing)
    end)

    it("loads a module that waits, once for all who want it", function()
        run(function()
            local coros = {}
            for i = 1, 3 do coros[i] = asyncoro.spawn(function() return require "rs_waits" end) end
            for i = 1, 3 do
                local ok, value = coros[i]:finish()
                assert.is_true(ok)
                assert.same({ 1 }, value)
            end
        end)
        _G.rs_count = nil
    end)

    it("gives an error to all who want the module, and loads it anew the next time", function()
        run(function()
            local coros = {}
            for i = 1, 2 do coros[i] = asyncoro.spawn(function() return require "rs_fails" end) end
            for i = 1, 2 do
                local ok, message = coros[i]:finish()
                assert.is_false(ok)
                assert.matches("broken", message)
            end
            assert.is_nil(package.loaded.rs_fails)
        end)
    end)

    it("is begun anew by one who waits when the first gives up, and by nobody twice", function()
        run(function()
            _G.rs_slow = 0
            local first = asyncoro.spawn(require, "rs_slow")
            asyncoro.yield()
            local others = {}
            for i = 1, 3 do others[i] = asyncoro.spawn(require, "rs_slow") end
            asyncoro.yield()
            first:terminate()
            assert.same({ false, "terminated" }, { first:finish() })
            for i = 1, 3 do
                local ok, value = others[i]:finish()
                assert.same({ true, 2 }, { ok, value })
            end
            _G.rs_slow = nil
        end)
        package.loaded.rs_slow = nil
    end)

    it("of one who gives up waiting disturbs nobody", function()
        run(function()
            _G.rs_slow = 0
            local first = asyncoro.spawn(require, "rs_slow")
            asyncoro.yield()
            assert.equal("timeout", select(3, asyncoro.with_timeout(0.0001, require, "rs_slow")))
            assert.equal("not woken", asyncoro.suspend(0.004, "not woken"))
            assert.is_true(first:finish())
            assert.equal(1, require "rs_slow")
            _G.rs_slow = nil
        end)
        package.loaded.rs_slow = nil
    end)

    it("of two coros that need each other's module is a loop, not a deadlock", function()
        run(function()
            local a, b = asyncoro.spawn(require, "rs_a"), asyncoro.spawn(require, "rs_b")
            assert.matches("loop or previous error loading module 'rs_[ab]'", select(2, a:finish()))
            assert.matches("loop or previous error loading module 'rs_[ab]'", select(2, b:finish()))
        end)
    end)

    it("does what Lua's own does with loaders, searchers and what is loaded", function()
        local function probe()
            local results = {}
            local function add(...) results[#results + 1] = table.pack(...) end
            package.preload.rs_probe = function(...) return nil, ... end
            add(require "rs_probe")
            add(require "rs_probe")
            package.loaded.rs_probe = false
            package.preload.rs_probe = function(name, data) package.loaded[name] = data end
            add(require "rs_probe")
            package.loaded.rs_probe, package.preload.rs_probe = nil, nil
            package.preload["17"] = function(...) return select("#", ...), ... end
            add(require(17))
            package.loaded["17"], package.preload["17"] = nil, nil
            add(pcall(function() return (require "rs_absent") end))
            add(pcall(function() return (require "rs_syntax") end))
            add(pcall(require))
            add(pcall(function() return (require()) end))
            add(pcall(function() return (require {}) end))
            add(pcall(function() return (require "rs_level") end))
            local searchers = package.searchers
            package.searchers = { function(name) return "says no to " .. name end, function() end,
                function(name)
                    return name == "rs_found" and function(...) return table.concat({ ... }, "+") end, "data"
                end }
            add(require "rs_found")
            package.loaded.rs_found = nil
            add(pcall(function() return (require "rs_absent") end))
            package.searchers = nil
            add(pcall(function() return (require "rs_absent") end))
            package.searchers = searchers
            return results
        end
        assert.same(probe(), run(probe))
    end)

    it("shows where in the module an error was raised", function()
        run(function()
            local _, message, trace = asyncoro.spawn(function() return (require "rs_fails") end):finish()
            assert.matches("rs_fails.lua:1: broken$", message)
            assert.matches("in function 'error'.*rs_fails.lua:1: in", trace)
        end)
    end)

    it("works in generators, in nested modules and where nothing can wait", function()
        run(function()
            package.loaded.rs_waits = nil
            local gen = coroutine.wrap(function() coroutine.yield(require "rs_waits") end)
            assert.is_table(gen())
            _G.rs_count = nil
            table.sort({ 2, 1 }, function(a, b)
                package.loaded.rs_plain = nil
                assert.equal("rs_plain", require("rs_plain")[1])
                return a < b
            end)
            package.loaded.rs_waits = nil
            local ok, message = pcall(table.sort, { 2, 1 }, function() require "rs_waits" end)
            assert.is_false(ok)
            assert.matches("cannot wait inside a function called by table.sort", message)
        end)
    end)

    it("names what is wrong", function()
        run(function()
            assert.matches("rs_syntax.lua:1:", select(2, pcall(require, "rs_syntax")))
            assert.error_matches(function() require "rs_absent" end, "module 'rs_absent' not found:\n\t")
            assert.error_matches(function() require "rs_a" end, "loop or previous error loading module 'rs_a'")
            assert.error_matches(function() require {} end, "string expected")
        end)
    end)
end)
