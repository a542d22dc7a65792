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
            local queue, event = asyncoro.queue(), asyncoro.event()
            local lock, semaphore = asyncoro.lock(), asyncoro.semaphore(0)
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
            end
            assert.equal(me, lock:holder())
            lock:release()
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

    it("refuses what nobody can wait for", function()
        run(function()
            assert.error_matches(function() asyncoro.select {} end, "list of sources expected")
            assert.error_matches(function() asyncoro.select "x" end, "list of sources expected")
            assert.error_matches(function() asyncoro.select { asyncoro.queue(), {} } end, "source 2 is a table")
            assert.error_matches(function() asyncoro.select { io.stdout } end, "source 1 is a userdata")
        end)
    end)
end)
