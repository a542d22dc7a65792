-- SPDX-License-Identifier: MIT
local asyncoro = require "asyncoro"
local core = require "asyncoro.core"
local run = require("spec.helper").run

local function guard(fn) return setmetatable({}, { __close = fn }) end

local function started(...)
    local coro = asyncoro.spawn(...)
    asyncoro.yield()
    return coro
end

describe("terminate", function()
    it("before the first turn runs nothing", function()
        run(function()
            local ran = false
            local coro = asyncoro.spawn(function() ran = true end)
            assert.is_true(coro:terminate())
            assert.same({ false, "terminated" }, { coro:finish() })
            assert.is_false(ran)
            assert.same({ nil, "terminate: the coro has ended", "notfound" }, { coro:terminate() })
        end)
    end)

    it("ends every kind of wait", function()
        run(function()
            local other = asyncoro.spawn({ mailbox = 1 }, asyncoro.suspend)
            asyncoro.yield()
            other:send(1)
            local lock = asyncoro.lock()
            lock:acquire()
            local waits = {
                asyncoro.sleep, asyncoro.receive, asyncoro.suspend,
                function() other:send(2) end, function() other:finish() end,
                function() lock:acquire() end, function() asyncoro.event():wait() end,
                function() asyncoro.queue():get() end, function() asyncoro.select { asyncoro.queue() } end,
                function() asyncoro.locate "nobody" end, function() for _ in asyncoro.messages() do end end,
            }
            for i, wait in ipairs(waits) do
                local coro = started(wait, i == 1 and 100 or nil)
                assert.equal("waiting", (coro:status()))
                coro:terminate()
                assert.same({ false, "terminated" }, { coro:finish() })
            end
            lock:release()
            other:terminate()
        end)
    end)

    it("raises once; pcall and clean-up go on, and may wait", function()
        run(function()
            local log = {}
            local coro = started(function()
                local _ <close> = guard(function()
                    asyncoro.sleep(0.001)
                    log[#log + 1] = "closed"
                end)
                local ok, err = pcall(asyncoro.sleep, 100)
                log[#log + 1] = tostring(ok) .. " " .. err.code
                asyncoro.sleep(0.001)
                log[#log + 1] = "slept"
                error(err)
            end)
            coro:terminate()
            coro:terminate()
            assert.same({ false, "terminated" }, { coro:finish() })
            assert.same({ "false terminated", "slept", "closed" }, log)
        end)
    end)

    it("ends a coro that swallows it when the grace is over", function()
        core.set_grace(0.02)
        finally(function() core.set_grace(5) end)
        run(function()
            local coro = started(function()
                while true do pcall(asyncoro.sleep, 100) end
            end)
            coro:terminate()
            assert.same({ false, "terminated" }, { coro:finish(5) })
        end)
    end)

    it("of oneself raises at once", function()
        run(function()
            local coro = asyncoro.spawn(function()
                asyncoro.current():terminate()
                return "not reached"
            end)
            assert.same({ false, "terminated" }, { coro:finish() })
        end)
    end)

    it("keeps what a completed wait has got", function()
        run(function()
            local got
            local coro = started(function()
                got = asyncoro.receive()
                asyncoro.sleep(0)
                got = "not reached"
            end)
            coro:send "kept"
            coro:terminate()
            coro:finish()
            assert.equal("kept", got)
        end)
    end)

    it("reports an error of the clean-up as the outcome", function()
        run(function()
            local coro = started(function()
                local _ <close> = guard(function() error("in close", 0) end)
                asyncoro.sleep(100)
            end)
            coro:terminate()
            local ok, err = coro:finish()
            assert.same({ false, "in close" }, { ok, err })
        end)
    end)
end)

describe("throw", function()
    it("raises any error in the coro, which may go on", function()
        run(function()
            local object = {}
            local coro = started(function()
                local ok, err = pcall(asyncoro.sleep, 100)
                return ok, err
            end)
            coro:throw(object)
            local _, ok, err = coro:finish()
            assert.is_false(ok)
            assert.equal(object, err)
            assert.equal("notfound", select(3, coro:throw "x"))
            assert.error_matches(function() asyncoro.current():throw "mine" end, "mine")
        end)
    end)
end)

describe("with_timeout", function()
    it("returns what the function returns, or says that time is over", function()
        run(function()
            assert.same({ 1, nil, 3 }, { asyncoro.with_timeout(5, function(...) return ... end, 1, nil, 3) })
            local result, message, code = asyncoro.with_timeout(0.001, asyncoro.sleep, 100)
            assert.same({ nil, "with_timeout: timed out", "timeout" }, { result, message, code })
            assert.error_matches(function() asyncoro.with_timeout(5, error, "mine", 0) end, "^mine$")
            assert.equal(7, asyncoro.with_timeout(nil, function() return 7 end))
        end)
    end)

    it("nests, the outer one first if it is first", function()
        run(function()
            local inner
            assert.equal("timeout", select(3, asyncoro.with_timeout(0.001, function()
                inner = asyncoro.with_timeout(100, asyncoro.sleep, 100)
                return "not reached"
            end)))
            assert.is_nil(inner)
            assert.equal("outer", asyncoro.with_timeout(100, function()
                assert.equal("timeout", select(3, asyncoro.with_timeout(0.001, asyncoro.sleep, 100)))
                return "outer"
            end))
        end)
    end)

    it("lets a terminate through", function()
        run(function()
            local coro = started(function() return asyncoro.with_timeout(100, asyncoro.sleep, 100) end)
            coro:terminate()
            assert.same({ false, "terminated" }, { coro:finish() })
        end)
    end)

    it("refuses wrong arguments", function()
        run(function()
            assert.error_matches(function() asyncoro.with_timeout(-1, print) end, "0 or more seconds")
            assert.error_matches(function() asyncoro.with_timeout(1) end, "function expected")
        end)
    end)
end)

describe("shield", function()
    it("lets its function end before a cancel is raised", function()
        run(function()
            local ended, after = false, false
            local coro = started(function()
                asyncoro.shield(function()
                    asyncoro.sleep(0.002)
                    ended = true
                end)
                asyncoro.sleep(0)
                after = true
            end)
            coro:terminate()
            assert.same({ false, "terminated" }, { coro:finish() })
            assert.same({ true, false }, { ended, after })
        end)
    end)
end)
