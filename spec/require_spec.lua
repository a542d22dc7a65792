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
        module("rs_waits", "require 'asyncoro'.sleep(0.002) rs_count = (rs_count or 0) + 1 return { rs_count }")
        module("rs_fails", "local a = require 'asyncoro' a.sleep(0.001) error 'broken'")
        module("rs_syntax", "return (")
        module("rs_a", "return require 'rs_b'")
        module("rs_b", "return require 'rs_a'")
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

    it("names what is wrong", function()
        run(function()
            assert.error_matches(function() require "rs_syntax" end, "rs_syntax.lua:1:")
            assert.error_matches(function() require "rs_absent" end, "module 'rs_absent' not found:\n\t")
            assert.error_matches(function() require "rs_a" end, "loop or previous error loading module 'rs_a'")
            assert.error_matches(function() require {} end, "string expected")
        end)
    end)
end)
