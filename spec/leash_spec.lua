-- SPDX-License-Identifier: MIT
-- What reaches a coro that does not wait.
local asyncoro = require "asyncoro"
local core = require "asyncoro.core"
local run = require("spec.helper").run
local program = require "spec.program"

local function spin() while true do end end

local function timed_out(fn)
    return run(function() return select(3, asyncoro.with_timeout(0.02, fn)) end)
end

describe("a time limit", function()
    it("reaches an endless loop", function()
        assert.equal("timeout", timed_out(spin))
    end)

    it("reaches loops in generators, metamethods, pcall and iterators", function()
        assert.equal("timeout", timed_out(function() return coroutine.wrap(function() coroutine.wrap(spin)() end)() end))
        assert.equal("timeout", timed_out(function() return setmetatable({}, { __index = spin }).x end))
        assert.equal("timeout", timed_out(function()
            local _, err = pcall(spin)
            error(err, 0)
        end))
        assert.equal("timeout", timed_out(function() table.sort({ 3, 2, 1 }, spin) end))
    end)

    it("lets clean-up run, and wait", function()
        run(function()
            local cleaned
            asyncoro.with_timeout(0.01, function()
                local _ <close> = setmetatable({}, { __close = function()
                    asyncoro.sleep(0.001)
                    cleaned = true
                end })
                spin()
            end)
            assert.is_true(cleaned)
        end)
    end)

    it("ends a loop that swallows errors, when the grace is over", function()
        core.set_grace(0.05)
        finally(function() core.set_grace(5) end)
        assert.equal("timeout", timed_out(function()
            while true do pcall(spin) end
        end))
        assert.equal("timeout", timed_out(function()
            coroutine.wrap(function() while true do pcall(spin) end end)()
        end))
        assert.equal("timeout", timed_out(function()
            while true do pcall(asyncoro.sleep, 1) end
        end))
    end)

    it("leaves a shielded function alone", function()
        run(function()
            local ended = false
            asyncoro.with_timeout(0.005, function()
                asyncoro.shield(function()
                    local stop = os.clock() + 0.03
                    while os.clock() < stop do end
                    ended = true
                end)
                spin()
            end)
            assert.is_true(ended)
        end)
    end)

    it("does nothing to those who come after", function()
        run(function()
            asyncoro.with_timeout(0.005, spin)
            local sum = 0
            for i = 1, 3000000 do sum = sum + i end
            assert.is_nil(debug.gethook())
            assert.equal(4500001500000, sum)
        end)
    end)
end)

describe("terminate", function()
    it("reaches a coro that became ready and computes", function()
        run(function()
            local coro = asyncoro.spawn(function()
                asyncoro.suspend()
                spin()
            end)
            asyncoro.yield()
            coro:resume()
            coro:terminate()
            assert.same({ false, "terminated" }, { coro:finish() })
        end)
    end)
end)

describe("a time slice", function()
    it("lets others run", function()
        run(function()
            local stop = false
            local coro = asyncoro.spawn({ time_slice = 0.005 }, function()
                local n = 0
                while not stop do n = n + 1 end
                return "stopped"
            end)
            asyncoro.sleep(0.01)
            stop = true
            assert.same({ true, "stopped" }, { coro:finish() })
        end)
    end)

    it("works inside generators, and waits for a place where Lua can yield", function()
        run(function()
            local stop = false
            local function work()
                while not stop do end
                return "stopped"
            end
            local gen = asyncoro.spawn({ time_slice = 0.005 }, function() return coroutine.wrap(work)() end)
            local sort = asyncoro.spawn({ time_slice = 0.005 }, function()
                local t = os.clock() + 0.03
                table.sort({ 2, 1 }, function(a, b) while os.clock() < t do end return a < b end)
                return work()
            end)
            asyncoro.sleep(0.01)
            stop = true
            assert.same({ true, "stopped" }, { gen:finish() })
            assert.same({ true, "stopped" }, { sort:finish() })
        end)
    end)

    it("does not keep a terminate away", function()
        run(function()
            local coro = asyncoro.spawn({ time_slice = 0.005 }, spin)
            asyncoro.sleep(0.01)
            coro:terminate()
            assert.same({ false, "terminated" }, { coro:finish() })
        end)
        assert.error_matches(function()
            run(function() asyncoro.spawn({ time_slice = 0 }, print) end)
        end, "time_slice")
    end)
end)

describe("the watchdog", function()
    it("names a coro that hogs the engine, once", function()
        local code, out, err = program.run { "-e", [[
            local asyncoro = require "asyncoro"
            local function hog() local t = asyncoro.now() + 1.3 while asyncoro.now() < t do end end
            asyncoro.spawn(hog):finish() print "done"]] }
        assert.equal(0, code)
        assert.equal("done\n", out)
        assert.matches("coro hog has run for more than 1.0 s without waiting", err)
        assert.matches("stack traceback:\n\t%(command line%):2:", err)
        assert.equal(1, select(2, err:gsub("has run for", "")))
    end)

    it("has options", function()
        assert.error_matches(function() asyncoro.run({ leash = 3 }, print) end, "true, false or a table expected")
        assert.error_matches(function() asyncoro.run({ leash = { size = 1 } }, print) end, "unknown option 'size'")
        assert.error_matches(function() asyncoro.run({ leash = { stall = -1 } }, print) end, "above 0")
        assert.equal("timeout", asyncoro.run({ leash = false }, function()
            return select(3, asyncoro.with_timeout(0.001, asyncoro.sleep, 1))
        end))
    end)

    it("leaves a hook of the user's in place", function()
        run(function()
            local count = 0
            debug.sethook(function() count = count + 1 end, "", 1000)
            asyncoro.with_timeout(0.005, spin)
            assert.is_function(debug.gethook())
            debug.sethook()
            assert.is_true(count > 0)
        end)
    end)
end)
