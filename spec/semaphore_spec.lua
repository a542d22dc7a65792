-- SPDX-License-Identifier: MIT
local asyncoro = require "asyncoro"
local run = require("spec.helper").run

local function started(...)
    local coro = asyncoro.spawn(...)
    asyncoro.yield()
    return coro
end

describe("semaphore", function()
    it("has so many places", function()
        run(function()
            local semaphore, inside, most = asyncoro.semaphore(2), 0, 0
            asyncoro.group(function(group)
                for _ = 1, 6 do
                    group:spawn(function()
                        local _ <close> = semaphore:hold()
                        inside = inside + 1
                        most = math.max(most, inside)
                        asyncoro.sleep(0)
                        inside = inside - 1
                    end)
                end
            end)
            assert.equal(2, most)
            assert.equal(2, semaphore:available())
            assert.equal("semaphore (2 free)", tostring(semaphore))
        end)
    end)

    it("gives places in the order of coming, and nobody comes between", function()
        run(function()
            local semaphore, log = asyncoro.semaphore(), {}
            semaphore:acquire()
            for i = 1, 3 do
                started(function()
                    semaphore:acquire()
                    log[#log + 1] = i
                end)
            end
            semaphore:release()
            assert.equal("timeout", select(3, semaphore:acquire(0)))
            semaphore:release(3)
            assert.equal(1, semaphore:available())
            asyncoro.yield()
            assert.same({ 1, 2, 3 }, log)
            assert.is_true(semaphore:acquire(0))
        end)
    end)

    it("may get more places than it had", function()
        run(function()
            local semaphore = asyncoro.semaphore(0)
            assert.is_true(semaphore:release(2))
            assert.is_true(semaphore:acquire(0))
            assert.is_true(semaphore:acquire(0))
            assert.same({ nil, "acquire: timed out", "timeout" }, { semaphore:acquire(0) })
            assert.same({ nil, "acquire: timed out", "timeout" }, { semaphore:hold(0.001) })
        end)
    end)

    it("loses no place to a coro that is cancelled while it waits", function()
        run(function()
            local semaphore = asyncoro.semaphore(0)
            local coro = started(semaphore.acquire, semaphore)
            coro:terminate()
            coro:finish()
            semaphore:release()
            assert.equal(1, semaphore:available())
        end)
    end)

    it("gives a place back that was handed to a coro as it was cancelled", function()
        run(function()
            local semaphore, had = asyncoro.semaphore(0), false
            local coro = started(function()
                local _ <close> = semaphore:hold()
                had = true
                asyncoro.sleep(100)
            end)
            semaphore:release()
            coro:terminate()
            coro:finish()
            assert.is_true(had)
            assert.equal(1, semaphore:available())
        end)
    end)

    it("gets its place back once from a guard that is closed twice", function()
        run(function()
            local semaphore = asyncoro.semaphore(1)
            local guard = semaphore:hold()
            assert.equal("guard of a semaphore", tostring(guard))
            assert.is_true(guard:close())
            assert.is_true(guard:close())
            assert.equal("guard of a semaphore (released)", tostring(guard))
            assert.equal(1, semaphore:available())
        end)
    end)

    it("closes", function()
        run(function()
            local semaphore = asyncoro.semaphore(0)
            local waiter = started(semaphore.acquire, semaphore)
            assert.is_true(semaphore:close())
            assert.is_true(semaphore:close())
            assert.same({ true, nil, "acquire: the semaphore is closed", "closed" }, { waiter:finish() })
            semaphore:release()
            assert.equal("closed", select(3, semaphore:acquire()))
            assert.equal("semaphore (closed)", tostring(semaphore))
        end)
    end)

    it("refuses nonsense", function()
        assert.error_matches(function() asyncoro.semaphore(-1) end, "0 or more")
        assert.error_matches(function() asyncoro.semaphore(1.5) end, "an integer")
        assert.error_matches(function() asyncoro.semaphore(1):release(-1) end, "0 or more")
        assert.error_matches(function() asyncoro.semaphore(1):acquire {} end, "acquire: a time")
        assert.error_matches(function() asyncoro.semaphore(1):hold(0 / 0) end, "hold: a time")
    end)
end)
