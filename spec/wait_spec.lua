-- SPDX-License-Identifier: MIT
local asyncoro = require "asyncoro"
local run = require("spec.helper").run

describe("sleep", function()
    it("takes its time, in the order of the times", function()
        run(function()
            local log, start = {}, asyncoro.now()
            asyncoro.group(function(group)
                for _, ms in ipairs { 5, 1, 3, 2, 4 } do
                    group:spawn(function()
                        asyncoro.sleep(ms / 50) -- far apart, so that when each of them starts does not count
                        log[#log + 1] = ms
                    end)
                end
            end)
            assert.same({ 1, 2, 3, 4, 5 }, log)
            assert.is_true(asyncoro.now() - start >= 0.1)
        end)
    end)

    it("refuses wrong times", function()
        run(function()
            for _, time in ipairs { -1, 0 / 0, -math.huge } do
                assert.error_matches(function() asyncoro.sleep(time) end, "0 or more seconds expected")
            end
            assert.error_matches(function() asyncoro.sleep("x") end, "number expected")
            local coro = asyncoro.spawn(asyncoro.sleep, math.huge)
            asyncoro.yield()
            assert.same({ "waiting", "sleep" }, { coro:status() })
            coro:terminate()
            coro:finish()
        end)
        assert.error_matches(function() asyncoro.sleep(1) end, "only a coro can wait")
    end)

    it("of 0 gives all others their turn", function()
        run(function()
            local log = {}
            for i = 1, 3 do
                asyncoro.spawn(function()
                    log[#log + 1] = i
                    asyncoro.sleep(0)
                    log[#log + 1] = i
                end)
            end
            asyncoro.yield()
            asyncoro.yield()
            assert.same({ 1, 2, 3, 1, 2, 3 }, log)
        end)
    end)
end)

describe("suspend", function()
    it("waits for resume", function()
        run(function()
            local coro = asyncoro.spawn(function() return asyncoro.suspend(), asyncoro.suspend() end)
            assert.is_false(coro:resume "too early")
            asyncoro.yield()
            assert.is_true(coro:resume "a")
            assert.is_false(coro:resume "not twice")
            asyncoro.yield()
            assert.is_true(coro:resume())
            assert.same({ true, "a" }, { coro:finish() })
        end)
    end)

    it("gives the alarm value, and no stale resume", function()
        run(function()
            assert.equal("alarm", asyncoro.suspend(0.001, "alarm"))
            assert.equal("timeout", select(3, asyncoro.suspend(0.001)))
            assert.equal("timeout", select(3, asyncoro.suspend(0)))
            local coro = asyncoro.spawn(function()
                asyncoro.suspend(0.001)
                return asyncoro.sleep(0.002) or "slept"
            end)
            asyncoro.sleep(0.0015)
            coro:resume "stale"
            assert.same({ true, "slept" }, { coro:finish() })
        end)
    end)
end)

describe("wait_fd", function()
    it("refuses what cannot be waited for", function()
        run(function()
            assert.equal("invalid", select(3, asyncoro.wait_fd(9999, "r")))
            assert.error_matches(function() asyncoro.wait_fd(-1, "r") end, "a descriptor expected")
            assert.error_matches(function() asyncoro.wait_fd(0, "x") end, "invalid option")
        end)
    end)
end)

describe("a busy coro", function()
    it("does not keep timers waiting", function()
        run(function()
            local ticks, stop = 0, false
            asyncoro.spawn(function()
                while not stop do asyncoro.yield() end
            end)
            for _ = 1, 5 do
                asyncoro.sleep(0.001)
                ticks = ticks + 1
            end
            stop = true
            assert.equal(5, ticks)
        end)
    end)
end)
