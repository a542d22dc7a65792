-- SPDX-License-Identifier: MIT
local asyncoro = require "asyncoro"
local run = require("spec.helper").run

describe("select", function()
    it("takes the first source that is ready, and nothing else", function()
        run(function()
            local a, b = asyncoro.queue(), asyncoro.queue()
            a:put "a"
            b:put "b"
            assert.same({ 1, "a" }, { asyncoro.select { a, b } })
            assert.same({ 2, "b" }, { asyncoro.select { a, b } })
            assert.same({ nil, "select: timed out", "timeout" }, { asyncoro.select({ a, b }, 0) })
        end)
    end)

    it("waits for every kind of source", function()
        run(function()
            local me = asyncoro.current()
            local queue, event, lock = asyncoro.queue(), asyncoro.event(), asyncoro.lock()
            local semaphore = asyncoro.semaphore(0)
            local holder = asyncoro.spawn(function()
                lock:acquire()
                asyncoro.receive()
                lock:release()
            end)
            local ender = asyncoro.spawn(function() return asyncoro.receive() end)
            asyncoro.yield()
            local sources = { me, queue, event, lock, semaphore, ender }
            local acts = {
                function() me:send "message" end, function() queue:put(nil) end, function() event:set() end,
                function() holder:send(1) end, function() semaphore:release() end, function() ender:send "end" end,
            }
            local results = { { 1, "message" }, { 2, nil }, { 3, true }, { 4, true }, { 5, true }, { 6, true, "end" } }
            for i, act in ipairs(acts) do
                asyncoro.spawn(act)
                assert.same(results[i], { asyncoro.select(sources, 5) })
                event:clear()
                if i == 4 then
                    assert.equal(me, lock:holder())
                    lock:release()
                    asyncoro.spawn(function() -- taken again, and never free
                        lock:acquire()
                        asyncoro.suspend(0.05)
                    end)
                    asyncoro.yield()
                end
            end
        end)
    end)

    it("counts seconds as a source", function()
        run(function()
            local queue = asyncoro.queue()
            assert.same({ 2, true }, { asyncoro.select({ queue, 0.001, 3 }) })
            assert.same({ 1, true }, { asyncoro.select({ 0, queue }) })
            assert.equal("timeout", select(3, asyncoro.select({ queue, 3 }, 0.001)))
        end)
    end)

    it("gives the reply function of a call", function()
        run(function()
            local server = asyncoro.spawn(function()
                local _, message, reply = asyncoro.select { asyncoro.current() }
                reply(message * 2)
            end)
            assert.equal(42, server:call(21))
        end)
    end)

    it("finds what is ready already, in the order of the list", function()
        run(function()
            local me = asyncoro.current()
            local event, lock, semaphore = asyncoro.event(), asyncoro.lock(), asyncoro.semaphore(1)
            local ended = asyncoro.spawn(function() return "end" end)
            local failed = asyncoro.spawn(function() error("x", 0) end)
            failed:finish()
            ended:finish()
            event:set()
            me:send(nil)
            local list = { asyncoro.queue(), lock, me, event, semaphore, ended, failed, 0 }
            assert.same({ 2, true }, { asyncoro.select(list, 0) })
            for i = 1, 2 do table.remove(list, i == 1 and 2 or 1) end
            assert.same({ 1, n = 2 }, table.pack(asyncoro.select(list)))
            assert.same({ 2, true }, { asyncoro.select(list) })
            table.remove(list, 2)
            assert.same({ 2, true }, { asyncoro.select(list) })
            assert.equal(0, semaphore:available())
            table.remove(list, 2)
            assert.same({ 2, true, "end" }, { asyncoro.select(list) })
            table.remove(list, 2)
            local index, ok, err, traceback = asyncoro.select(list)
            assert.same({ 2, false, "x", "string" }, { index, ok, err, type(traceback) })
            table.remove(list, 2)
            assert.same({ 2, true }, { asyncoro.select(list) })
            lock:release()
        end)
    end)

    it("observes a failure, and gives it as finish does", function()
        run(function()
            local coro = asyncoro.spawn(function()
                asyncoro.yield()
                error("x", 0)
            end)
            local index, ok, err = asyncoro.select { asyncoro.queue(), coro }
            assert.same({ 2, false, "x" }, { index, ok, err })
        end)
    end)

    it("acquires a lock that its holder abandoned", function()
        run(function()
            local lock = asyncoro.lock()
            local holder = asyncoro.spawn(function()
                lock:acquire()
                asyncoro.receive()
            end)
            asyncoro.yield()
            asyncoro.spawn(holder.terminate, holder)
            assert.same({ 1, true, "abandoned" }, { asyncoro.select { lock } })
            assert.error_matches(function() asyncoro.select { lock } end, "holds the lock already")
            lock:release()
            asyncoro.spawn(function() lock:acquire() end):finish()
            assert.same({ 1, true, "abandoned" }, { asyncoro.select { lock } })
            lock:release()
        end)
    end)

    it("says what is closed", function()
        run(function()
            for name, what in pairs { queue = "get", event = "wait", lock = "acquire", semaphore = "acquire" } do
                local source = asyncoro[name](name == "semaphore" and 0 or nil)
                local wanted = { 2, nil, ("%s: the %s is closed"):format(what, name), "closed" }
                local holder = asyncoro.spawn(function()
                    if name == "lock" then source:acquire() end
                    asyncoro.receive()
                end)
                asyncoro.yield()
                asyncoro.spawn(function() source:close() end)
                assert.same(wanted, { asyncoro.select { asyncoro.queue(), source } })
                assert.same(wanted, { asyncoro.select { asyncoro.queue(), source } })
                holder:terminate()
            end
        end)
    end)

    it("takes a value from a coro that waits to put it", function()
        run(function()
            local queue = asyncoro.queue(0)
            local putter = asyncoro.spawn(function() return queue:put "x" end)
            assert.same({ 1, "x" }, { asyncoro.select { queue } })
            assert.same({ true, true }, { putter:finish() })
            putter = asyncoro.spawn(function() return queue:put "y" end)
            asyncoro.yield()
            assert.same({ 1, "y" }, { asyncoro.select({ queue }, 0) })
            assert.same({ true, true }, { putter:finish() })
        end)
    end)

    it("leaves no trace in what it did not take", function()
        run(function()
            local a, b = asyncoro.queue(), asyncoro.queue()
            local coro = asyncoro.spawn(function() return asyncoro.select { a, b } end)
            asyncoro.yield()
            b:put "b"
            assert.same({ true, 2, "b" }, { coro:finish() })
            a:put "still here"
            assert.equal("still here", a:get(0))
        end)
    end)

    it("can be cancelled", function()
        run(function()
            local queue = asyncoro.queue()
            local coro = asyncoro.spawn(function() asyncoro.select { queue, asyncoro.current() } end)
            asyncoro.yield()
            coro:terminate()
            assert.same({ false, "terminated" }, { coro:finish() })
            queue:put(1)
            assert.equal(1, queue:get(0))
        end)
    end)

    it("keeps what was handed to it although a cancel comes at the same time", function()
        run(function()
            local queue, got = asyncoro.queue(), nil
            local coro = asyncoro.spawn(function()
                got = select(2, asyncoro.select { queue, 100 })
                asyncoro.sleep(100)
            end)
            asyncoro.yield()
            queue:put "x"
            coro:terminate()
            coro:finish()
            assert.equal("x", got)
        end)
    end)

    it("can be used again after a time-out, for which it leaves no trace either", function()
        run(function()
            local me, queue, lock = asyncoro.current(), asyncoro.queue(), asyncoro.lock()
            local holder = asyncoro.spawn(function()
                lock:acquire()
                asyncoro.receive()
                lock:release()
            end)
            asyncoro.yield()
            for _ = 1, 3 do assert.is_nil(asyncoro.select({ me, queue, lock, holder }, 0.001)) end
            holder:send "end"
            me:send "m"
            queue:put "q"
            assert.is_true(holder:finish())
            assert.is_nil(lock:holder())
            assert.same({ 1, "m" }, { asyncoro.select { me, queue } })
            assert.same({ 2, "q" }, { asyncoro.select { me, queue } })
        end)
    end)

    it("takes the same source twice, and up to 255", function()
        run(function()
            local queue, list = asyncoro.queue(), {}
            for i = 1, 255 do list[i] = queue end
            asyncoro.spawn(function() queue:put "x" end)
            assert.same({ 1, "x" }, { asyncoro.select(list) })
            list[256] = queue
            assert.error_matches(function() asyncoro.select(list) end, "256 sources are too many")
            local me = asyncoro.current()
            asyncoro.spawn(function() me:send "m" end)
            assert.equal("m", select(2, asyncoro.select { me, queue, me }))
        end)
    end)

    it("waits for messages of other engines and for their ends", function()
        run(function()
            local me = asyncoro.current()
            local other = asyncoro.isolate(function(to)
                to:send "hello"
                return require("asyncoro").receive()
            end, me)
            local queue = asyncoro.queue()
            assert.same({ 2, "hello" }, { asyncoro.select { queue, me } })
            assert.is_nil(asyncoro.select({ queue, other }, 0.001))
            other:send "result"
            assert.same({ 3, true, "result" }, { asyncoro.select { queue, me, other } })
            assert.same({ 1, true, "result" }, { asyncoro.select { other } })
        end)
    end)

    it("takes sources of other kinds", function()
        run(function()
            local core = require "asyncoro.core"
            local log = {}
            local Kind = {}
            Kind.__select = {
                poll = function(self) return self.ready, "polled" end,
                queue = function(self)
                    log[#log + 1] = "queue"
                    return self.waiters
                end,
                leave = function() log[#log + 1] = "leave" end,
            }
            local hint = setmetatable({ waiters = core.waitq() }, Kind)
            asyncoro.spawn(function()
                hint.waiters:wake() -- for nothing
                asyncoro.yield()
                hint.ready = true
                hint.waiters:wake()
            end)
            assert.same({ 2, "polled" }, { asyncoro.select({ asyncoro.queue(), hint }, 10) })
            assert.same({ "queue", "leave", "queue", "leave" }, log)
            hint.ready = false
            local coro = asyncoro.spawn(function() asyncoro.select { hint } end)
            asyncoro.yield()
            coro:terminate()
            coro:finish()
            assert.same({ "queue", "leave", "queue", "leave", "queue", "leave" }, log)
        end)
    end)

    it("refuses what nobody can wait for", function()
        run(function()
            local queue = asyncoro.queue()
            assert.error_matches(function() asyncoro.select { queue, -1 } end, "source 2: a time of 0 or more")
            assert.error_matches(function() asyncoro.select { queue, 0 / 0 } end, "source 2: a time of 0 or more")
            assert.error_matches(function() asyncoro.select { queue, "x" } end, "source 2 is a string")
            assert.error_matches(function() asyncoro.select({ 1 }, -1) end, "select: a time of 0 or more")
            assert.error_matches(function() asyncoro.select {} end, "list of sources expected")
            assert.error_matches(function() asyncoro.select "x" end, "list of sources expected")
            assert.error_matches(function() asyncoro.select { asyncoro.queue(), {} } end, "source 2 is a table")
            assert.error_matches(function() asyncoro.select { io.stdout } end, "source 1 is a userdata")
        end)
    end)
end)
