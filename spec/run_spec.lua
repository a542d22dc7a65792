-- SPDX-License-Identifier: MIT
-- Programs: how they begin and end, in stock Lua and in the host.
local asyncoro = require "asyncoro"
local run = require("spec.helper").run
local program = require "spec.program"

local function host(text)
    return program.run { "-e", 'local asyncoro = require "asyncoro" ' .. text }
end

describe("run", function()
    it("returns what its function returns, also inside itself", function()
        assert.same({ 1, nil, 3 }, { asyncoro.run(function(...) return ... end, 1, nil, 3) })
        assert.equal(5, run(function()
            return asyncoro.run(function(a) asyncoro.sleep(0) return a + 2 end, 3)
        end))
    end)

    it("raises the function's error as it is, and works again after that", function()
        local object = {}
        local ok, err = pcall(asyncoro.run, function() error(object) end)
        assert.is_false(ok)
        assert.equal(object, err)
        assert.equal(1, asyncoro.run(function() return 1 end))
    end)

    it("waits for all coros that are no daemons", function()
        local ended, daemon = false, false
        asyncoro.run(function()
            asyncoro.spawn(function() asyncoro.sleep(0.002) ended = true end)
            asyncoro.spawn({ daemon = true }, function()
                local _ <close> = setmetatable({}, { __close = function() daemon = "cleaned" end })
                asyncoro.sleep(100)
            end)
        end)
        assert.same({ true, "cleaned" }, { ended, daemon })
    end)

    it("cancels the others when its function fails", function()
        local cancelled
        pcall(asyncoro.run, function()
            asyncoro.spawn(function()
                local _ <close> = setmetatable({}, { __close = function() cancelled = true end })
                asyncoro.sleep(100)
            end)
            asyncoro.yield()
            error "x"
        end)
        assert.is_true(cancelled)
    end)

    it("says which coros nothing can wake", function()
        local ok, message = pcall(asyncoro.run, function()
            local function stuck() asyncoro.receive() end
            asyncoro.spawn(stuck)
        end)
        assert.is_false(ok)
        assert.matches("deadlock: nothing can wake the coros that are left %(1%):\n  coro stuck#%d+ waits in receive",
            message)
    end)

    it("refuses wrong arguments", function()
        assert.error_matches(function() asyncoro.run() end, "function expected")
        assert.error_matches(function() asyncoro.run({ speed = 3 }, print) end, "unknown option 'speed'")
    end)
end)

describe("a program in the host", function()
    it("reports errors that nobody observed, and fails", function()
        local code, _, err = host "asyncoro.spawn({ name = 'w' }, function() error 'lost' end)"
        assert.equal(1, code)
        assert.matches("asyncoro: coro w failed: .*lost\nstack traceback:", err)
        code, _, err = host "asyncoro.spawn(function() error 'seen' end):finish()"
        assert.same({ 0, "" }, { code, err })
    end)

    it("says what is stuck, with exit code 2", function()
        local code, _, err = host "asyncoro.receive()"
        assert.equal(2, code)
        assert.matches("deadlock: .*coro main#1 waits in receive", err)
    end)
end)

describe("atexit", function()
    it("runs by priority, may wait, and survives errors", function()
        local code, out, err = host [[
            asyncoro.atexit(function() print "last" end)
            asyncoro.atexit(function() error "bad" end, 5)
            asyncoro.atexit(function() asyncoro.sleep(0.001) print "first" end, 10)
            print "main"]]
        assert.same({ 0, "main\nfirst\nlast\n" }, { code, out })
        assert.matches("atexit: .*bad", err)
    end)

    it("runs after a deadlock and after a failure", function()
        local code, out = host "asyncoro.atexit(function() print 'bye' end) asyncoro.receive()"
        assert.same({ 2, "bye\n" }, { code, out })
        code, out = host "asyncoro.atexit(function() print 'bye' end) error 'x'"
        assert.same({ 1, "bye\n" }, { code, out })
    end)

    it("refuses wrong arguments", function()
        assert.error_matches(function() asyncoro.atexit(3) end, "function expected")
        assert.error_matches(function() asyncoro.atexit(print, "x") end, "number expected")
    end)
end)

describe("log", function()
    it("writes lines of its level and above", function()
        local text = {}
        local log = asyncoro.log:named "spec"
        log:set_output { write = function(_, ...) text[#text + 1] = table.concat { ... } end }
        log:set_level "warning"
        log:info "no"
        log:warning("%d of %s", 3, "x")
        log:show_ms(true)
        log:error "100%"
        assert.equal(2, #text)
        assert.matches("^%d%d%d%d%-%d%d%-%d%d %d%d:%d%d:%d%d spec WARNING 3 of x\n$", text[1])
        assert.matches("%.%d%d%d spec ERROR 100%%\n$", text[2])
        assert.error_matches(function() log:set_level "loud" end, "unknown level 'loud'")
    end)
end)
