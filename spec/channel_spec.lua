-- SPDX-License-Identifier: MIT
local asyncoro = require "asyncoro"
local run = require("spec.helper").run

-- A coro that collects messages until nil and returns them.
local function collector(channel, mailbox)
    local coro = asyncoro.spawn({ mailbox = mailbox }, function()
        local got = {}
        for message in asyncoro.messages() do got[#got + 1] = message end
        return got
    end)
    assert(channel:subscribe(coro))
    return coro
end

local function got(coro)
    return select(2, coro:finish())
end

describe("channel", function()
    it("gives every message to every subscriber, in order", function()
        run(function()
            local channel <close> = asyncoro.channel "numbers"
            local a, b = collector(channel), collector(channel)
            for i = 1, 5 do assert.is_true(channel:send(i)) end
            channel:send(nil)
            assert.same({ 1, 2, 3, 4, 5 }, got(a))
            assert.same({ 1, 2, 3, 4, 5 }, got(b))
        end)
    end)

    it("knows its name", function()
        local channel = asyncoro.channel "c1"
        assert.equal("c1", channel:name())
        assert.equal("channel c1", tostring(channel))
    end)

    it("refuses wrong names and options", function()
        assert.error_matches(function() asyncoro.channel() end, "name must be a string")
        assert.error_matches(function() asyncoro.channel "_x" end, "begins with a letter")
        assert.error_matches(function() asyncoro.channel("x", { size = 3 }) end, "unknown option 'size'")
        assert.error_matches(function() asyncoro.channel("x", { transform = 3 }) end, "must be a function")
        assert.error_matches(function() asyncoro.channel "x":subscribe(12) end, "coro or a channel expected")
        assert.error_matches(function() asyncoro.channel "x":subscribe() end, "only a coro can subscribe itself")
        assert.error_matches(function() asyncoro.channel "x":deliver(1, 0, -1) end, "n must be an integer")
    end)

    it("subscribes the running coro, and twice is once", function()
        run(function()
            local channel = asyncoro.channel "self"
            channel:subscribe()
            channel:subscribe()
            assert.equal(1, channel:deliver "hello")
            assert.equal("hello", asyncoro.receive(0))
            assert.is_nil(asyncoro.receive(0))
            assert.is_true(channel:unsubscribe())
            assert.equal("notfound", select(3, channel:unsubscribe()))
            assert.equal(0, channel:deliver "nobody")
            assert.is_true(channel:send "nobody")
        end)
    end)

    it("passes on what its transform gives, and drops nil", function()
        run(function()
            local channel = asyncoro.channel("even", {
                transform = function(name, n) return n % 2 == 0 and name .. n or nil end,
            })
            channel:subscribe()
            assert.equal(0, channel:deliver(1))
            assert.equal(1, channel:deliver(2))
            assert.equal("even2", asyncoro.receive(0))
            channel:set_transform(nil)
            channel:send(3)
            assert.equal(3, asyncoro.receive(0))
        end)
    end)

    it("drops a message whose transform fails, or waits", function()
        run(function()
            local texts = {}
            local log = require "asyncoro.log"
            local original = log.error
            log.error = function(_, ...) texts[#texts + 1] = string.format(...) end
            local channel = asyncoro.channel("bad", { transform = function() error "no good" end })
            channel:subscribe()
            assert.equal(0, channel:deliver(1))
            channel:set_transform(function() asyncoro.sleep(0) end)
            assert.is_true(channel:send(1))
            log.error = original
            assert.matches("channel bad: its transform failed.*no good", texts[1])
            assert.matches("cannot wait", texts[2])
            assert.is_nil(asyncoro.receive(0))
        end)
    end)

    it("reaches the subscribers of subscribed channels, each with its transform", function()
        run(function()
            local top, sub = asyncoro.channel "top", asyncoro.channel("sub", {
                transform = function(_, n) return n * 10 end,
            })
            top:subscribe(sub)
            sub:subscribe()
            local other = collector(top)
            assert.equal(2, top:deliver(4))
            assert.equal(40, asyncoro.receive(0))
            other:send(nil)
            assert.same({ 4 }, got(other))
        end)
    end)

    it("refuses circles of channels", function()
        local a, b, c = asyncoro.channel "a", asyncoro.channel "b", asyncoro.channel "c"
        assert.is_true(a:subscribe(b))
        assert.is_true(b:subscribe(c))
        local ok, message, code = c:subscribe(a)
        assert.is_nil(ok)
        assert.equal("invalid", code)
        assert.matches("its own messages back", message)
        assert.is_nil(a:subscribe(a))
    end)

    it("forgets subscribers that have ended", function()
        run(function()
            local channel = asyncoro.channel "short"
            local coro = asyncoro.spawn(function() end)
            channel:subscribe(coro)
            coro:finish()
            assert.equal(0, channel:deliver "x")
            assert.equal("notfound", select(3, channel:unsubscribe(coro)))
        end)
    end)

    it("waits for n subscribers", function()
        run(function()
            local channel = asyncoro.channel "wanted"
            local count, message, code = channel:deliver("x", 0, 1)
            assert.equal(0, count)
            assert.equal("timeout", code)
            assert.matches("has 0 of 1 subscribers", message)
            local deliver = asyncoro.spawn(function() return channel:deliver("late", 5, 2) end)
            local a, b
            asyncoro.spawn(function()
                a = collector(channel)
                asyncoro.yield()
                b = collector(channel)
            end)
            assert.same({ true, 2 }, { deliver:finish() })
            channel:send(nil)
            assert.same({ "late" }, got(a))
            assert.same({ "late" }, got(b))
        end)
    end)

    it("waits for a full mailbox, after all others have the message", function()
        run(function()
            local channel = asyncoro.channel "full"
            local gate = asyncoro.event()
            local slow = asyncoro.spawn({ mailbox = 1 }, function()
                gate:wait()
                return asyncoro.receive(), asyncoro.receive()
            end)
            channel:subscribe(slow)
            channel:subscribe()
            asyncoro.yield()
            assert.is_true(channel:send(1))
            local ok, _, code = channel:send(2, 0)
            assert.is_nil(ok)
            assert.equal("timeout", code)
            assert.equal(1, asyncoro.receive(0))
            assert.equal(2, asyncoro.receive(0))
            asyncoro.spawn(function() gate:set() end)
            assert.equal(2, channel:deliver(3))
            assert.same({ true, 1, 3 }, { slow:finish() })
        end)
    end)

    it("ends waits and refuses messages when it is closed", function()
        run(function()
            local channel = asyncoro.channel "done"
            local deliver = asyncoro.spawn(function() return channel:deliver("x", nil, 1) end)
            asyncoro.yield()
            channel:close()
            channel:close()
            local _, result, _, code = deliver:finish()
            assert.is_nil(result)
            assert.equal("closed", code)
            assert.equal("closed", select(3, channel:send(1)))
            assert.equal("closed", select(3, channel:subscribe(asyncoro.current())))
        end)
    end)

    it("is found under its name", function()
        run(function()
            local channel <close> = asyncoro.channel "known"
            assert.is_true(channel:register())
            assert.equal(channel, asyncoro.locate_channel "known")
            local other = asyncoro.channel "known"
            assert.equal("exists", select(3, other:register()))
            assert.is_true(channel:unregister())
            assert.equal("timeout", select(3, asyncoro.locate_channel("known", nil, 0)))
            other:close()
        end)
    end)

    it("works from another engine", function()
        run(function()
            local channel <close> = asyncoro.channel("shared", {
                transform = function(_, message) return message .. "!" end,
            })
            channel:subscribe()
            local worker = asyncoro.isolate(function(there)
                local coro = require "asyncoro"
                assert(there:subscribe())
                local count = there:deliver("hello", 5, 2)
                local mine = coro.receive(5)
                there:send "bye"
                coro.receive(5)
                assert(there:unsubscribe())
                return count, mine, tostring(there)
            end, channel)
            assert.equal("hello!", asyncoro.receive(5))
            assert.equal("bye!", asyncoro.receive(5))
            assert.same({ true, 2, "hello!", "channel shared" }, { worker:finish(5) })
            assert.equal(1, channel:deliver "end")
        end)
    end)
end)
