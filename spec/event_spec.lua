-- SPDX-License-Identifier: MIT
local asyncoro = require "asyncoro"
local run = require("spec.helper").run

local function started(...)
    local coro = asyncoro.spawn(...)
    asyncoro.yield()
    return coro
end

describe("event", function()
    it("lets all go on when it is set, in the order of coming", function()
        run(function()
            local event, log = asyncoro.event(), {}
            local coros = {}
            for i = 1, 3 do
                coros[i] = started(function()
                    log[#log + 1] = i
                    return event:wait()
                end)
            end
            event:set()
            for i = 1, 3 do assert.same({ true, true }, { coros[i]:finish() }) end
            assert.same({ 1, 2, 3 }, log)
            assert.is_true(event:is_set())
            assert.is_true(event:wait())
            assert.is_true(event:wait(0))
        end)
    end)

    it("lets those go on that waited, although it is cleared before their turn", function()
        run(function()
            local event = asyncoro.event()
            local coro = started(event.wait, event)
            event:set()
            event:clear()
            assert.is_false(event:is_set())
            assert.same({ true, true }, { coro:finish() })
            assert.same({ nil, "wait: timed out", "timeout" }, { event:wait(0) })
            assert.same({ nil, "wait: timed out", "timeout" }, { event:wait(0.001) })
        end)
    end)

    it("forgets a coro that is cancelled or timed out", function()
        run(function()
            local event = asyncoro.event()
            local coro = started(event.wait, event)
            coro:terminate()
            assert.same({ false, "terminated" }, { coro:finish() })
            event:wait(0.001)
            event:set()
            assert.is_true(event:wait(0))
        end)
    end)

    it("closes", function()
        run(function()
            local event = asyncoro.event()
            local coro = started(event.wait, event)
            assert.is_true(event:close())
            assert.is_true(event:close())
            assert.same({ true, nil, "wait: the event is closed", "closed" }, { coro:finish() })
            assert.equal("closed", select(3, event:wait()))
            assert.equal("event (closed)", tostring(event))
            do local _ <close> = asyncoro.event() end
        end)
    end)

    it("can be looked at, set and closed outside a coro", function()
        local event = asyncoro.event()
        assert.equal("event (not set)", tostring(event))
        assert.equal("timeout", select(3, event:wait(0)))
        event:set()
        assert.is_true(event:wait(0))
        assert.equal("event (set)", tostring(event))
        event:clear()
        assert.error_matches(function() event:wait() end, "only a coro can wait")
        assert.error_matches(function() event:wait(-1) end, "wait: a time of 0 or more")
        local _, message = pcall(function() event:wait(-1) end)
        assert.matches("^spec/event_spec.lua:%d+: wait: ", message) -- where it was called
        assert.error_matches(function() event:wait "1" end, "wait: a time of 0 or more seconds expected, got 1")
    end)

    it("is garbage when nobody has it", function()
        run(function()
            local seen = setmetatable({}, { __mode = "k" })
            local coro = started(function()
                local event = asyncoro.event()
                seen[event] = true
                event:wait(0.001)
            end)
            coro:finish()
            collectgarbage()
            collectgarbage()
            assert.is_nil(next(seen))
        end)
    end)
end)
