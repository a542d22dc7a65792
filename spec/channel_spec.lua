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

    it("hands the value itself to coros of its engine", function()
        run(function()
            local channel <close> = asyncoro.channel "refs"
            channel:subscribe()
            local value = { fn = coroutine.create(print) }
            assert.is_true(channel:send(value))
            assert.is_true(rawequal(value, asyncoro.receive(0)))
        end)
    end)

    it("is one value wherever it comes back to, also when it is closed", function()
        run(function()
            local channel = asyncoro.channel "one"
            local echo = asyncoro.isolate(function()
                local coro = require "asyncoro"
                local known = {}
                for message, reply in coro.messages() do
                    known[message] = (known[message] or 0) + 1
                    reply { message, known[message] }
                end
            end)
            for i = 1, 3 do
                local back = echo:call(channel)
                assert.is_true(rawequal(channel, back[1]))
                assert.equal(i, back[2])
            end
            channel:close()
            assert.equal(channel, echo:call(channel)[1])
            assert.not_equal(channel, asyncoro.channel "one")
            echo:send(nil)
            echo:finish()
        end)
    end)

    it("reaches coros of several engines, whoever publishes", function()
        run(function()
            local channel <close> = asyncoro.channel "many"
            local function listen(there, home)
                local coro = require "asyncoro"
                assert(there:subscribe())
                home:send "ready"
                local list = {}
                for message in coro.messages() do list[#list + 1] = message end
                return table.concat(list, " ")
            end
            local function talk(there)
                local count = 0
                for i = 1, 100 do count = count + there:deliver("m" .. i) end
                return count
            end
            channel:subscribe()
            local one = asyncoro.isolate(listen, channel, asyncoro.current())
            local two = asyncoro.isolate(listen, channel, asyncoro.current())
            assert.equal("ready", asyncoro.receive())
            assert.equal("ready", asyncoro.receive())
            local speaker = asyncoro.isolate(talk, channel)
            local expected = {}
            for i = 1, 100 do
                expected[i] = "m" .. i
                assert.equal(expected[i], asyncoro.receive(5))
            end
            assert.same({ true, 300 }, { speaker:finish() })
            assert.equal(3, channel:deliver(nil))
            asyncoro.receive(0)
            assert.same({ true, table.concat(expected, " ") }, { one:finish() })
            assert.same({ true, table.concat(expected, " ") }, { two:finish() })
            assert.equal(1, channel:deliver "two of them have ended")
        end)
    end)

    it("waits for a full mailbox of another engine", function()
        run(function()
            local channel <close> = asyncoro.channel "full there"
            local slow = asyncoro.isolate({ mailbox = 2 }, function(there, home)
                local coro = require "asyncoro"
                assert(there:subscribe())
                home:send "ready"
                coro.suspend()
                local list = {}
                for message in coro.messages() do list[#list + 1] = message end
                return table.concat(list)
            end, channel, asyncoro.current())
            channel:subscribe()
            assert.equal("ready", asyncoro.receive())
            assert.is_true(channel:send "a")
            assert.is_true(channel:send "b")
            assert.equal("timeout", select(3, channel:send("x", 0.001)))
            local count, _, code = channel:deliver("x", 0)
            assert.equal(1, count)
            assert.equal("timeout", code)
            for _, expected in ipairs { "a", "b", "x", "x" } do assert.equal(expected, asyncoro.receive(0)) end
            local waiting = asyncoro.spawn(function() return channel:deliver("c", 5) end)
            asyncoro.yield()
            slow:resume()
            assert.same({ true, 2 }, { waiting:finish() })
            assert.equal("c", asyncoro.receive(0))
            channel:send(nil)
            assert.same({ true, "abc" }, { slow:finish() })
        end)
    end)

    it("holds back who publishes from another engine, while its transform has no room to give to", function()
        run(function()
            local channel <close> = asyncoro.channel("slow", { transform = function(_, message) return message end })
            local gate = asyncoro.event()
            local slow = asyncoro.spawn({ mailbox = 2 }, function()
                gate:wait()
                local list = {}
                for message in asyncoro.messages() do
                    if message == "end" then return table.concat(list) end
                    list[#list + 1] = message
                end
            end)
            channel:subscribe(slow)
            local speaker = asyncoro.isolate(function(there, home)
                local sent, code = 0
                repeat
                    sent = sent + 1
                    code = select(3, there:send("x", 0))
                until code or sent > 5000
                home:send(code)
                for i = 1, 9 do assert(there:deliver(tostring(i), 5) == 1) end
                there:send "end"
                return sent - 1
            end, channel, asyncoro.current())
            assert.equal("timeout", asyncoro.receive(10))
            gate:set()
            local _, list = slow:finish(10)
            local _, taken = speaker:finish(10)
            assert.equal(("x"):rep(taken) .. "123456789", list)
        end)
    end)

    it("takes part in hierarchies across engines", function()
        run(function()
            local top <close> = asyncoro.channel "top there"
            local sub = asyncoro.isolate(function(above, home)
                local coro = require "asyncoro"
                local below = coro.channel("below", { transform = function(_, n) return n * 10 end })
                assert(above:subscribe(below))
                assert(below:subscribe())
                local _, _, code = below:subscribe(above)
                home:send(code)
                return coro.receive(5), below
            end, top, asyncoro.current())
            assert.equal("invalid", asyncoro.receive(5))
            assert.equal(1, top:deliver(4))
            local _, value, below = sub:finish(5)
            assert.equal(40, value)
            assert.equal("channel below", tostring(below))
            local code
            repeat -- its engine ends soon after the coro
                asyncoro.sleep(0.001)
                code = select(3, below:send(1))
            until code
            assert.equal("closed", code)
            assert.equal(0, top:deliver(5))
        end)
    end)

    it("says what cannot be sent to another engine, and gives it to all others", function()
        run(function()
            local channel <close> = asyncoro.channel "mixed"
            channel:subscribe()
            local far = asyncoro.isolate(function(there, home)
                local coro = require "asyncoro"
                there:subscribe()
                home:send "ready"
                return coro.receive()
            end, channel, asyncoro.current())
            assert.equal("ready", asyncoro.receive())
            local thread = coroutine.create(print)
            assert.equal("unsendable", select(3, channel:send(thread)))
            assert.equal(thread, asyncoro.receive(0))
            local count, _, code = channel:deliver(thread)
            assert.equal(1, count)
            assert.equal("unsendable", code)
            asyncoro.receive(0)
            channel:send "end"
            assert.same({ true, "end" }, { far:finish() })
        end)
    end)

    it("is found under its name by other engines, which wait for it, and may set no transform", function()
        run(function()
            local seeker = asyncoro.isolate(function()
                local coro = require "asyncoro"
                local found = coro.locate_channel("far known", nil, 5)
                local _, _, code = found:set_transform(nil)
                found:close() -- no effect: it lives elsewhere
                return found:deliver "hello", code
            end)
            local channel <close> = asyncoro.channel "far known"
            channel:subscribe()
            asyncoro.sleep(0.001)
            assert.is_true(channel:register())
            assert.same({ true, 1, "unsupported" }, { seeker:finish(5) })
            assert.equal("hello", asyncoro.receive(0))
            assert.equal("timeout", select(3, asyncoro.locate("far known", nil, 0)))
        end)
    end)

    it("waits for subscribers of any engine, and ends with closed", function()
        run(function()
            local channel = asyncoro.channel "few"
            local there = asyncoro.isolate(function(c)
                local count = c:deliver("first", 5, 1)
                local _, _, code = c:deliver("second", 5, 9)
                return count, code
            end, channel)
            asyncoro.sleep(0.001)
            channel:subscribe()
            assert.equal("first", asyncoro.receive(5))
            asyncoro.sleep(0.001)
            channel:close()
            assert.same({ true, 1, "closed" }, { there:finish(5) })
        end)
    end)

    it("is closed when nobody can reach it any more", function()
        run(function()
            local sub <close> = asyncoro.channel "sub of lost"
            local lost = setmetatable({}, { __mode = "v" })
            do
                local channel = asyncoro.channel("lost", { transform = function(_, m) return lost and m end })
                channel:subscribe(sub)
                lost[1] = channel
            end
            collectgarbage()
            collectgarbage()
            assert.is_nil(lost[1])
            assert.is_true(sub:subscribe(asyncoro.channel "above"))
        end)
    end)

    it("keeps the channels that are subscribed to it", function()
        run(function()
            local top <close> = asyncoro.channel "keeps"
            do
                local sub = asyncoro.channel("kept", { transform = function(_, m) return m + 1 end })
                top:subscribe(sub)
                sub:subscribe()
            end
            collectgarbage()
            collectgarbage()
            assert.equal(1, top:deliver(1))
            assert.equal(2, asyncoro.receive(0))
        end)
    end)

    it("lets a waiting deliver be cancelled, also while a mailbox is full", function()
        run(function()
            local channel <close> = asyncoro.channel "stuck"
            local gate = asyncoro.event()
            local slow = asyncoro.spawn({ mailbox = 1 }, function()
                gate:wait()
                return asyncoro.receive(), asyncoro.receive(0)
            end)
            channel:subscribe(slow)
            channel:send(1)
            assert.equal("timeout", select(3, asyncoro.with_timeout(0.002, channel.send, channel, 2)))
            assert.equal("timeout", select(3, asyncoro.with_timeout(0.002, channel.deliver, channel, 2, nil, 5)))
            gate:set()
            assert.equal(1, select(2, slow:finish()))
        end)
    end)

    it("gives busy where the code cannot wait, and for the sender's own full mailbox", function()
        run(function()
            local core = require "asyncoro.core"
            local channel <close> = asyncoro.channel "own"
            local coro = asyncoro.spawn({ mailbox = 1 }, function()
                channel:subscribe()
                channel:send(1)
                return select(3, channel:send(2)), select(3, channel:deliver(2, 5))
            end)
            assert.same({ true, "busy", "busy" }, { coro:finish() })
            local gate = asyncoro.event()
            local slow = asyncoro.spawn({ mailbox = 1 }, function() gate:wait() end)
            channel:subscribe(slow)
            asyncoro.yield()
            channel:send(1)
            assert.equal("busy", select(3, core.without_wait(channel.send, channel, 2)))
            gate:set()
            slow:finish()
        end)
    end)

    it("can be used outside of coros as far as nothing waits", function()
        local channel <close> = asyncoro.channel "outside"
        assert.is_true(channel:send(1))
        assert.equal(0, channel:deliver(1))
        assert.equal("timeout", select(3, channel:deliver(1, 0, 1)))
    end)
end)
