-- SPDX-License-Identifier: MIT
local asyncoro = require "asyncoro"
local run = require("spec.helper").run

local function started(...)
    local coro = asyncoro.spawn(...)
    asyncoro.yield()
    return coro
end

local function timed_out(what, _, message, word)
    assert.same({ what .. ": timed out", "timeout" }, { message, word })
end

describe("queue", function()
    it("passes values in order, nil and false too", function()
        run(function()
            local queue = asyncoro.queue()
            for _, value in ipairs { 1, false, "x" } do assert.is_true(queue:put(value)) end
            queue:put(nil)
            assert.equal(4, #queue)
            assert.equal(4, queue:count())
            assert.same({ 1, false, "x" }, { queue:get(), queue:get(), (queue:get()) })
            assert.same({ n = 1 }, table.pack(queue:get()))
            timed_out("get", queue:get(0))
            timed_out("get", queue:get(0.001))
            local getter = started(queue.get, queue)
            queue:put "y"
            assert.same({ true, "y" }, { getter:finish() })
            getter = started(queue.get, queue)
            queue:put(nil)
            assert.same({ true, n = 2 }, table.pack(getter:finish()))
        end)
    end)

    it("serves those who get in the order of coming, and nobody comes between", function()
        run(function()
            local queue = asyncoro.queue()
            local first, second = started(queue.get, queue), started(queue.get, queue)
            queue:put "a"
            timed_out("get", queue:get(0))
            queue:put "b"
            assert.same({ true, "a" }, { first:finish() })
            assert.same({ true, "b" }, { second:finish() })
        end)
    end)

    it("that is full makes those who put wait; their values keep their order", function()
        run(function()
            local queue = asyncoro.queue(2)
            queue:put(1)
            queue:put(2)
            local a, b = started(queue.put, queue, 3), started(queue.put, queue, 4)
            timed_out("put", queue:put("late", 0))
            assert.equal(1, queue:get())
            assert.equal(2, #queue)
            timed_out("put", queue:put("late", 0))
            assert.equal(2, queue:get())
            assert.equal(3, queue:get())
            assert.is_true(queue:put(5, 0))
            assert.equal(4, queue:get())
            assert.equal(5, queue:get())
            assert.same({ true, true }, { a:finish() })
            assert.same({ true, true }, { b:finish() })
        end)
    end)

    it("of limit 0 passes values from hand to hand", function()
        run(function()
            local queue, done = asyncoro.queue(0), 0
            timed_out("put", queue:put(1, 0))
            local putter = started(function()
                for i = 1, 3 do
                    queue:put(i)
                    done = i
                end
                queue:put(nil)
            end)
            assert.equal(0, #queue)
            for i = 1, 3 do
                assert.equal(i - 1, done)
                assert.equal(i, queue:get())
                asyncoro.yield()
            end
            assert.same({ n = 1 }, table.pack(queue:get()))
            assert.is_true(putter:finish())
            timed_out("get", queue:get(0))
        end)
    end)

    it("can be iterated until it is closed and empty", function()
        run(function()
            local queue = asyncoro.queue(2)
            local putter = asyncoro.spawn(function()
                for i = 1, 6 do queue:put(i) end
                queue:close()
            end)
            local got = {}
            for value in queue:values() do got[#got + 1] = value end
            assert.same({ 1, 2, 3, 4, 5, 6 }, got)
            assert.is_true(putter:finish())
            queue = asyncoro.queue()
            queue:put "only"
            got = {}
            for value in queue:values(0.001) do got[#got + 1] = value end
            assert.same({ "only" }, got)
        end)
    end)

    it("closes: what is in it can be taken, nothing can be put", function()
        run(function()
            local queue = asyncoro.queue(1)
            queue:put "kept"
            local putter = started(queue.put, queue, "refused")
            assert.is_true(queue:close())
            assert.is_true(queue:close())
            assert.same({ true, nil, "put: the queue is closed", "closed" }, { putter:finish() })
            assert.equal("closed", select(3, queue:put(1)))
            assert.equal("queue (1 values, closed)", tostring(queue))
            assert.equal("kept", queue:get())
            assert.equal("closed", select(3, queue:get()))
            queue = asyncoro.queue()
            local getter = started(queue.get, queue)
            queue:close()
            assert.same({ true, nil, "get: the queue is closed", "closed" }, { getter:finish() })
            do local _ <close> = asyncoro.queue() end
        end)
    end)

    it("loses nothing and keeps nothing when waits are cancelled or time out", function()
        run(function()
            local queue = asyncoro.queue(1)
            local getter = started(queue.get, queue)
            getter:terminate()
            getter:finish()
            timed_out("get", queue:get(0.001))
            queue:put "a"
            local putter = started(queue.put, queue, "b")
            putter:terminate()
            putter:finish()
            timed_out("put", queue:put("c", 0.001))
            assert.equal("a", queue:get(0))
            timed_out("get", queue:get(0))
            assert.is_true(queue:put("d", 0))
            assert.equal("d", queue:get(0))
        end)
    end)

    it("gives the value to a coro that is cancelled at the same time: it has it", function()
        run(function()
            local queue, got = asyncoro.queue(1), nil
            local getter = started(function()
                got = queue:get()
                asyncoro.sleep(100)
            end)
            queue:put "x"
            getter:terminate()
            assert.same({ false, "terminated" }, { getter:finish() })
            assert.equal("x", got)
            queue:put "full"
            local done
            local putter = started(function()
                done = queue:put "y"
                asyncoro.sleep(100)
            end)
            assert.equal("full", queue:get())
            putter:terminate()
            putter:finish()
            assert.is_true(done)
            assert.equal("y", queue:get(0))
        end)
    end)

    it("works outside coros as long as nothing waits", function()
        local queue = asyncoro.queue(1)
        assert.is_true(queue:put(1))
        timed_out("put", queue:put(2, 0))
        assert.equal(1, queue:get())
        timed_out("get", queue:get(0))
        assert.error_matches(function() queue:get() end, "only a coro can wait")
        assert.equal("queue (0 values)", tostring(queue))
    end)

    it("refuses nonsense", function()
        assert.error_matches(function() asyncoro.queue(-1) end, "0 or more")
        assert.error_matches(function() asyncoro.queue "3" end, "an integer")
        assert.error_matches(function() asyncoro.queue():get(-1) end, "get: a time of 0 or more")
        assert.error_matches(function() asyncoro.queue():put(1, "x") end, "put: a time of 0 or more")
        assert.error_matches(function() asyncoro.queue():values(-1) end, "values: a time of 0 or more")
    end)

    it("keeps no value that was taken, and is garbage itself", function()
        run(function()
            local seen = setmetatable({}, { __mode = "k" })
            local queue = asyncoro.queue(2)
            local putter = started(function()
                for _ = 1, 10 do
                    local value = {}
                    seen[value] = true
                    queue:put(value)
                end
            end)
            for _ = 1, 10 do queue:get() end
            putter:finish()
            seen[queue] = true
            queue = nil
            collectgarbage()
            collectgarbage()
            assert.is_nil(next(seen))
        end)
    end)

    it("carries much between many", function()
        run(function()
            local queue, sum = asyncoro.queue(7), 0
            asyncoro.group(function(group)
                group:spawn(function()
                    asyncoro.group(function(putters)
                        for from = 1, 20 do
                            putters:spawn(function()
                                for i = from, 1000, 20 do queue:put(i) end
                            end)
                        end
                    end)
                    queue:close()
                end)
                for _ = 1, 5 do
                    group:spawn(function()
                        for value in queue:values() do sum = sum + value end
                    end)
                end
            end)
            assert.equal(500500, sum)
        end)
    end)
end)
