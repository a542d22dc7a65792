-- SPDX-License-Identifier: MIT
-- Coros of one engine as seen from another.
local asyncoro = require "asyncoro"
local core = require "asyncoro.core"
local run = require("spec.helper").run

local function echo()
    for message, reply in asyncoro.messages() do
        if reply then reply(message) end
    end
end

local function eventually(fn)
    while not fn() do asyncoro.sleep(0.001) end
end

describe("a handle", function()
    it("that comes home is the handle that left", function()
        run(function()
            local me, other = asyncoro.current(), asyncoro.spawn(function() asyncoro.receive() end)
            local coro = asyncoro.isolate(function(home, second)
                home:send { home, second, asyncoro.current(), key = { [second] = "second" } }
            end, me, other)
            local got = asyncoro.receive()
            assert.is_true(rawequal(me, got[1]))
            assert.is_true(rawequal(other, got[2]))
            assert.is_true(rawequal(coro, got[3]))
            assert.equal("second", got.key[other])
            other:send(1)
            coro:finish()
        end)
    end)

    it("indexes tables wherever it is", function()
        run(function()
            local coro = asyncoro.isolate(function(a, b)
                local t = { [a] = 1 }
                return t[b], a == b, rawequal(a, b), a ~= asyncoro.current()
            end, asyncoro.current(), asyncoro.current())
            assert.same({ true, 1, true, true, true }, { coro:finish() })
        end)
    end)

    it("of an ended coro tells its outcome, also after its local handle has gone", function()
        run(function()
            local coro = asyncoro.spawn(function() return "result" end)
            local bytes = core.encode(coro)
            asyncoro.yield()
            coro = nil -- luacheck: ignore
            collectgarbage()
            collectgarbage()
            local back = core.decode(bytes)
            assert.is_true(core.is_remote(back))
            assert.is_false(back:is_alive())
            assert.same({ true, "result" }, { back:finish() })
            assert.is_true(rawequal(back, core.decode(bytes)))
        end)
    end)

    it("sent only after the end has the outcome with it", function()
        run(function()
            local coro = asyncoro.spawn(function() return "result" end)
            asyncoro.yield()
            local seen = asyncoro.isolate(function(other) return other:finish() end, coro)
            assert.same({ true, true, "result" }, { seen:finish() })
        end)
    end)

    it("of nobody is dead, and never somebody else", function()
        run(function()
            local bytes = core.encode(asyncoro.current())
            local stranger = core.decode(bytes:sub(1, 3) .. ("x"):rep(16) .. bytes:sub(20))
            local unborn = core.decode(bytes:sub(1, 29) .. "\255\255" .. bytes:sub(32))
            for _, coro in ipairs { unborn } do
                assert.is_false(coro:is_alive())
                assert.equal("?", coro:name())
                for _, method in ipairs { "send", "deliver", "call", "throw" } do
                    local ok, message, code = coro[method](coro, "x")
                    assert.same({ nil, "notfound" }, { ok, code }, method)
                    assert.is_string(message)
                end
                for _, method in ipairs { "finish", "terminate", "resume", "status", "traceback", "set_daemon",
                    "register", "unregister" } do
                    local ok, _, code = coro[method](coro)
                    assert.same({ nil, "notfound" }, { ok, code }, method)
                end
                assert.is_true(asyncoro.monitor(coro))
                local exit = asyncoro.receive(0)
                assert.is_true(asyncoro.is_exit(exit))
                assert.same({ "notfound", coro }, { exit.reason, exit.coro })
            end
            assert.not_equal(stranger, unborn)
            assert.not_equal(stranger, asyncoro.current())
        end)
    end)

    it("is refused when its form is wrong", function()
        run(function()
            for _, bytes in ipairs { "\xc7\x03\x01abc", "\xd4\x02a", "\xd4\x04a" } do
                local ok, _, code = core.decode(bytes)
                assert.same({ nil, "protocol" }, { ok, code })
            end
        end)
    end)

    it("carries the way to its process and its name behind its identity", function()
        run(function()
            local coro = asyncoro.spawn({ name = "echo" }, asyncoro.receive)
            local bytes = core.encode(coro)
            assert.equal("\xc7\x22\x01", bytes:sub(1, 3))
            assert.equal("\0\4echo", bytes:sub(-6))
            local identity = bytes:sub(4, 31)
            local moved = "\xc7\x2d\x01" .. identity .. "\11host:1234\6\u{e9}cho"
            assert.is_nil((core.decode(moved)), "cut off")
            moved = "\xc7\x2c\x01" .. identity .. "\9host:1234\5\u{e9}cho"
            assert.is_true(rawequal(coro, core.decode(moved)))
            coro:send "end"
        end)
    end)
end)

describe("send", function()
    it("gives copies, in order", function()
        run(function()
            local sink = asyncoro.isolate(function(home)
                for i = 1, 1000 do
                    local n = asyncoro.receive()
                    if n[1] ~= i then error(("%d instead of %d"):format(n[1], i)) end
                end
                home:send "all"
            end, asyncoro.current())
            local message = {}
            for i = 1, 1000 do
                message[1] = i
                assert.is_true(sink:send(message))
            end
            assert.equal("all", asyncoro.receive())
        end)
    end)

    it("and deliver, from many engines at once, keep each sender's order", function()
        run(function()
            for s = 1, 4 do
                asyncoro.isolate(function(home, id)
                    for i = 1, 500 do
                        if i % 2 == 0 then
                            assert(home:send { id, i })
                        else
                            assert(home:deliver { id, i } == 1)
                        end
                    end
                end, asyncoro.current(), s)
            end
            local last = { 0, 0, 0, 0 }
            for _ = 1, 2000 do
                local id, i = table.unpack(asyncoro.receive())
                assert.equal(last[id] + 1, i)
                last[id] = i
            end
        end)
    end)

    it("says what cannot be sent", function()
        run(function()
            local coro = asyncoro.isolate(echo)
            for _, method in ipairs { "send", "deliver", "call" } do
                local ok, message, code = coro[method](coro, { x = coroutine.create(print) })
                assert.same({ nil, method .. ": message.x is a thread, which cannot be sent", "unsendable" },
                    { ok, message, code })
            end
            coro:send(nil)
        end)
    end)

    it("waits while the mailbox is full, in order, and no longer than told", function()
        run(function()
            local slow = asyncoro.isolate({ mailbox = 4 }, function(home)
                home:send "ready"
                asyncoro.suspend()
                for i = 1, 20 do assert(asyncoro.receive() == i) end
                home:send "done"
                asyncoro.receive()
            end, asyncoro.current())
            asyncoro.receive()
            for i = 1, 4 do assert.is_true(slow:send(i)) end
            local _, message, code = slow:send(5, { timeout = 0.01 })
            assert.equal("timeout", code)
            assert.matches("is full: timed out", message)
            assert.equal("timeout", select(3, slow:send(5, 0)))
            assert.equal("timeout", select(3, slow:deliver(5, 0.01)))
            assert.equal("timeout", select(3, slow:call(5, 0.01)))
            assert.equal("busy", select(3, core.without_wait(slow.send, slow, 5)))
            assert.is_nil(asyncoro.with_timeout(0.01, slow.send, slow, 5))
            local sender = asyncoro.spawn(function()
                for i = 5, 20 do assert(i % 2 == 0 and slow:send(i) or slow:deliver(i)) end
            end)
            asyncoro.yield()
            assert.same({ "waiting", "send" }, { sender:status() })
            assert.is_true(slow:resume())
            assert.is_true(sender:finish())
            assert.equal("done", asyncoro.receive())
            slow:send "end"
        end)
    end)

    it("that waits for room ends when the receiver does", function()
        run(function()
            local full = asyncoro.isolate({ mailbox = 1 }, function() asyncoro.sleep(100) end)
            assert.is_true(full:send(1))
            local sender = asyncoro.spawn(function() return full:send(2) end)
            asyncoro.yield()
            full:terminate()
            local _, ok, _, code = sender:finish()
            assert.same({ nil, "notfound" }, { ok, code })
        end)
    end)

    it("of a message that cannot be decoded gives the receiver nil, message, protocol", function()
        run(function()
            local Point = asyncoro.class("remote_spec.point" .. math.random(1 << 30))
            local coro = asyncoro.isolate(function()
                local message, text, code = asyncoro.receive()
                return message, text, code, asyncoro.receive()
            end)
            coro:send(setmetatable({}, Point))
            coro:send "next"
            local _, message, text, code, next = coro:finish()
            assert.same({ nil, "protocol", "next" }, { message, code, next })
            assert.matches("class remote_spec.point", text)
        end)
    end)
end)

describe("call", function()
    it("waits for the reply, both ways", function()
        run(function()
            local coro = asyncoro.isolate(echo)
            for _, value in ipairs { 1, false, "text", { 1, { 2 } } } do assert.same(value, coro:call(value)) end
            local server = asyncoro.spawn({ daemon = true }, function()
                for message, reply in asyncoro.messages() do reply(message * 2) end
            end)
            local caller = asyncoro.isolate(function(to)
                local sum = 0
                for i = 1, 100 do sum = sum + to:call(i) end
                return sum
            end, server)
            assert.same({ true, 10100 }, { caller:finish() })
            coro:send(nil)
        end)
    end)

    it("ends at its time, and the late answer disturbs nobody", function()
        run(function()
            local coro = asyncoro.isolate(function()
                local _, first = asyncoro.receive()
                asyncoro.suspend()
                local late = first "late"
                local _, second = asyncoro.receive()
                second "right"
                return late, first "again"
            end)
            local _, message, code = coro:call("x", 0.02)
            assert.equal("timeout", code)
            assert.matches("did not reply in time", message)
            eventually(function() return coro:resume() end)
            assert.equal("right", coro:call "y")
            local _, late, again, text, word = coro:finish()
            assert.same({ true, nil, "reply: the caller has its answer already", "notfound" },
                { late, again, text, word })
        end)
    end)

    it("ends with notfound when the callee ends, whether it had the call or not", function()
        run(function()
            for _, takes in ipairs { true, false } do
                local coro = asyncoro.isolate(function(home, receives)
                    home:send "ready"
                    asyncoro.suspend()
                    if receives then asyncoro.receive() end
                end, asyncoro.current(), takes)
                asyncoro.receive()
                local caller = asyncoro.spawn(function() return coro:call "x" end)
                asyncoro.yield()
                eventually(function() return coro:resume() end)
                local _, ok, _, code = caller:finish()
                assert.same({ nil, "notfound" }, { ok, code })
            end
        end)
    end)

    it("can be cancelled, and its place used again", function()
        run(function()
            local coro = asyncoro.isolate(function()
                asyncoro.receive()
                local value, reply = asyncoro.receive()
                reply(value)
            end)
            assert.is_nil(asyncoro.with_timeout(0.01, coro.call, coro, 1))
            assert.equal(2, coro:call(2))
        end)
    end)

    it("says that a reply cannot be sent, and waits for one that can", function()
        run(function()
            local coro = asyncoro.isolate(function()
                local _, reply = asyncoro.receive()
                local ok, message, code = reply(coroutine.create(print))
                reply "instead"
                return ok, message, code
            end)
            assert.equal("instead", coro:call "x")
            local _, ok, message, code = coro:finish()
            assert.same({ nil, "reply: message is a thread, which cannot be sent", "unsendable" },
                { ok, message, code })
        end)
    end)
end)

describe("finish", function()
    it("waits from any engine, any number of times", function()
        run(function()
            local target = asyncoro.spawn(function() return asyncoro.receive() end)
            local function wait(coro) return coro:finish() end
            local waiters = {}
            for i = 1, 3 do waiters[i] = asyncoro.isolate(wait, target) end
            target:send "value"
            for i = 1, 3 do assert.same({ true, true, "value" }, { waiters[i]:finish() }) end
            assert.same({ true, true, "value" }, { asyncoro.isolate(wait, target):finish() })
        end)
    end)

    it("only looks, or gives up", function()
        run(function()
            local coro = asyncoro.isolate(echo)
            assert.equal("timeout", select(3, coro:finish(0)))
            assert.equal("timeout", select(3, coro:finish(0.01)))
            assert.is_nil(asyncoro.with_timeout(0.01, coro.finish, coro))
            coro:send(nil)
            assert.is_true(coro:finish())
        end)
    end)
end)

describe("a monitor", function()
    it("hears of the end of a coro elsewhere, after all its messages", function()
        run(function()
            local coro = asyncoro.isolate(function(home)
                asyncoro.receive()
                for i = 1, 10 do home:send(i) end
                return "a", nil, "c"
            end, asyncoro.current())
            assert.is_true(asyncoro.monitor(coro))
            assert.is_true(asyncoro.monitor(coro))
            coro:send "go"
            for i = 1, 10 do assert.equal(i, asyncoro.receive()) end
            local exit = asyncoro.receive()
            assert.is_true(asyncoro.is_exit(exit))
            assert.is_true(rawequal(coro, exit.coro))
            assert.same({ "finished", { "a", nil, "c", n = 3 } }, { exit.reason, exit.values })
            assert.is_nil(asyncoro.receive(0, nil))
        end)
    end)

    it("hears of failures and terminations, at once when they are past", function()
        run(function()
            local bad = asyncoro.isolate(function() error "boom" end)
            asyncoro.monitor(bad)
            local exit = asyncoro.receive()
            assert.same({ "failed", bad }, { exit.reason, exit.coro })
            assert.matches("boom", exit.error)
            assert.matches("stack traceback", exit.traceback)
            asyncoro.monitor(bad)
            assert.equal("failed", asyncoro.receive(0).reason)
            local ended = asyncoro.isolate(function() asyncoro.sleep(100) end)
            asyncoro.monitor(ended)
            ended:terminate()
            assert.equal("terminated", asyncoro.receive().reason)
        end)
    end)

    it("may be of one engine, the observed of another, and a third bring them together", function()
        run(function()
            local function watch(home)
                asyncoro.suspend()
                local exit = asyncoro.receive()
                home:send { exit.reason, exit.coro }
            end
            local watcher = asyncoro.isolate(watch, asyncoro.current())
            local observed = asyncoro.isolate(function() asyncoro.receive() end)
            assert.is_true(watcher:monitor(observed))
            observed:send "end"
            eventually(function() return watcher:resume() end)
            assert.same({ "finished", observed }, asyncoro.receive())
            watcher:finish()

            local mine = asyncoro.spawn(function() asyncoro.receive() end)
            watcher = asyncoro.isolate(watch, asyncoro.current())
            assert.is_true(watcher:monitor(mine))
            mine:send "end"
            eventually(function() return watcher:resume() end)
            assert.same({ "finished", mine }, asyncoro.receive())
            watcher:finish()
            local ok, _, code = watcher:monitor(mine)
            assert.same({ nil, "notfound" }, { ok, code })
            assert.equal("notfound", select(3, watcher:monitor(asyncoro.isolate(function() end))))
            assert.has_error(function() watcher:monitor "x" end)
        end)
    end)

    it("gets its exit message beyond the limit of its mailbox", function()
        run(function()
            local observed = asyncoro.isolate(function() asyncoro.receive() end)
            local monitor = asyncoro.spawn({ mailbox = 1 }, function()
                asyncoro.suspend()
                return asyncoro.receive(), asyncoro.receive().reason
            end)
            asyncoro.yield() -- until it is suspended
            monitor:monitor(observed)
            monitor:send "full"
            observed:send "end"
            observed:finish()
            monitor:resume()
            assert.same({ true, "full", "finished" }, { monitor:finish() })
        end)
    end)

    it("learns which results could not be sent", function()
        run(function()
            local coro = asyncoro.isolate(function() return coroutine.create(print) end)
            asyncoro.monitor(coro)
            local exit = asyncoro.receive()
            assert.same({ "finished" }, { exit.reason, exit.values })
            assert.matches("cannot be sent", exit.error)
        end)
    end)
end)

describe("throw, resume, hot_swap, status and traceback", function()
    it("act on a coro elsewhere", function()
        run(function()
            local coro = asyncoro.isolate(function(home)
                home:send "ready"
                local _, err = pcall(asyncoro.sleep, 100)
                return err, asyncoro.suspend()
            end, asyncoro.current())
            asyncoro.receive()
            assert.is_false(coro:resume())
            eventually(function() return select(2, coro:status()) == "sleep" end)
            assert.same({ "waiting", "sleep" }, { coro:status() })
            assert.matches("remote_spec.lua:%d+: in function", coro:traceback())
            assert.is_true(coro:throw { code = 1 })
            eventually(function() return coro:resume { 2 } end)
            assert.same({ true, { code = 1 }, { 2 } }, { coro:finish() })
            for _, method in ipairs { "throw", "resume", "traceback" } do
                assert.equal("notfound", select(3, coro[method](coro, "x")))
            end
        end)
    end)

    it("throw reaches one that computes", function()
        run(function()
            local coro = asyncoro.isolate(function(home)
                home:send "ready"
                local _, err = pcall(function() while true do asyncoro.now() end end)
                return err
            end, asyncoro.current())
            asyncoro.receive()
            assert.is_true(coro:throw "stop")
            assert.same({ true, "stop" }, { coro:finish() })
        end)
    end)

    it("swap the body, with the mailbox kept", function()
        run(function()
            local coro = asyncoro.isolate(function()
                asyncoro.hot_swappable(true)
                asyncoro.sleep(100)
            end)
            coro:send "kept"
            assert.is_true(coro:hot_swap(function(prefix) return prefix .. asyncoro.receive() end, "is "))
            assert.same({ true, "is kept" }, { coro:finish() })
        end)
    end)

    it("may be asked where nobody can wait, and are not answered then", function()
        run(function()
            local coro = asyncoro.isolate(function() return select(2, pcall(asyncoro.sleep, 100)) end)
            eventually(function() return select(2, coro:status()) == "sleep" end)
            assert.is_true(core.without_wait(coro.throw, coro, "quiet"))
            assert.same({ true, "quiet" }, { coro:finish() })
        end)
    end)

    it("refuse what cannot be sent", function()
        run(function()
            local coro = asyncoro.isolate(echo)
            assert.equal("unsendable", select(3, coro:throw(coroutine.create(print))))
            coro:send(nil)
        end)
    end)
end)

describe("a channel", function()
    it("reaches subscribers of other engines", function()
        run(function()
            local channel = asyncoro.channel "numbers"
            local far = asyncoro.isolate(function(c, home)
                c:subscribe()
                home:send "ready"
                return asyncoro.receive() + asyncoro.receive()
            end, channel, asyncoro.current())
            assert.equal("ready", asyncoro.receive())
            channel:send(1)
            assert.equal(1, channel:deliver(2))
            assert.same({ true, 3 }, { far:finish() })
        end)
    end)
end)
