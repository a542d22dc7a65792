-- SPDX-License-Identifier: MIT
local asyncoro = require "asyncoro"
local run = require("spec.helper").run

describe("thread_pool", function()
    it("runs functions elsewhere and returns what they return", function()
        run(function()
            local pool <close> = asyncoro.thread_pool(2)
            assert.same(table.pack(3, nil, "x"), table.pack(pool:call(function(a, b) return a + b, nil, "x" end, 1, 2)))
            assert.equal(9, pool:call(math.max, 3, 9))
            assert.equal(0, select("#", pool:call(function() end)))
            assert.equal("thread pool of 2", tostring(pool))
        end)
    end)

    it("does not hold up the engine", function()
        run(function()
            local pool <close> = asyncoro.thread_pool(1)
            local ticks, done = 0, false
            local ticker = asyncoro.spawn(function()
                while not done do
                    ticks = ticks + 1
                    asyncoro.sleep(0.001)
                end
            end)
            pool:call(function()
                local start = os.clock()
                while os.clock() - start < 0.05 do end
            end)
            done = true
            ticker:finish()
            assert.is_true(ticks > 3)
        end)
    end)

    it("uses all its workers, and makes callers wait for one", function()
        run(function()
            local pool <close> = asyncoro.thread_pool(3)
            local at_work, results = 0, {}
            asyncoro.group(function(g)
                for i = 1, 12 do
                    g:spawn(function()
                        results[i] = pool:call(function(n) asyncoro.sleep(0.005) return n * n end, i)
                        at_work = at_work + 1
                    end)
                end
            end)
            assert.equal(12, at_work)
            for i = 1, 12 do assert.equal(i * i, results[i]) end
        end)
    end)

    it("raises the error of the function", function()
        run(function()
            local pool <close> = asyncoro.thread_pool(1)
            local ok, err = pcall(pool.call, pool, function() error "bad" end)
            assert.is_false(ok)
            assert.matches("pool_spec.lua:%d+: bad", err)
            ok, err = pcall(pool.call, pool, function() error { code = 3 } end)
            assert.same({ false, { code = 3 } }, { ok, err })
            assert.equal(1, pool:call(function() return 1 end))
        end)
    end)

    it("sends fresh copies of upvalues with every call", function()
        run(function()
            local pool <close> = asyncoro.thread_pool(1)
            local n = 0
            local function count()
                n = n + 1
                return n
            end
            assert.equal(1, pool:call(count))
            assert.equal(1, pool:call(count))
            n = 10
            assert.equal(11, pool:call(count))
            assert.equal(10, n)
        end)
    end)

    it("sends one that has none only once, and forgets without harm", function()
        run(function()
            local pool <close> = asyncoro.thread_pool(1)
            local function square(x) return x * x end
            for i = 1, 5 do assert.equal(i * i, pool:call(square, i)) end
            for i = 1, 450 do assert.equal(i, pool:call(load("return " .. i))) end
            assert.equal(49, pool:call(square, 7))
        end)
    end)

    it("says what cannot be sent", function()
        run(function()
            local pool <close> = asyncoro.thread_pool(1)
            local thread = coroutine.create(print)
            local ok, message, code = pool:call(function() return thread end)
            assert.same({ nil, "unsendable" }, { ok, code })
            assert.matches("upvalue `thread` is a thread", message)
            ok, message, code = pool:call(function() return coroutine.create(print) end)
            assert.same({ nil, "unsendable" }, { ok, code })
            assert.matches("results", message)
            assert.equal(5, pool:call(function() return 5 end))
        end)
    end)

    it("goes on after a caller was cancelled", function()
        run(function()
            local pool <close> = asyncoro.thread_pool(1)
            local ok, _, code = asyncoro.with_timeout(0.01, pool.call, pool, function()
                local start = os.clock()
                while os.clock() - start < 0.05 do end
            end)
            assert.same({ nil, "timeout" }, { ok, code })
            assert.equal("next", pool:call(function() return "next" end))
        end)
    end)

    it("when closed refuses, and tells those who wait", function()
        run(function()
            local pool = asyncoro.thread_pool(1)
            local function slow() asyncoro.sleep(0.02) return "done" end
            local busy = asyncoro.spawn(function() return pool:call(slow) end)
            local waits = asyncoro.spawn(function() return pool:call(function() end) end)
            asyncoro.yield()
            assert.is_true(pool:close())
            assert.is_true(pool:close())
            assert.same({ true, "done" }, { busy:finish() })
            assert.equal("closed", select(4, waits:finish()))
            assert.equal("closed", select(3, pool:call(function() end)))
            assert.matches("closed", tostring(pool))
        end)
    end)

    it("that nobody holds any more ends its threads", function()
        run(function()
            asyncoro.thread_pool(2)
            while asyncoro.stats().isolates > 0 do
                collectgarbage()
                asyncoro.sleep(0.001)
            end
        end)
    end)

    it("has as many workers as there are processors", function()
        run(function()
            local pool <close> = asyncoro.thread_pool()
            assert.matches("^thread pool of %d+$", tostring(pool))
            assert.has_error(function() asyncoro.thread_pool(0) end)
            assert.has_error(function() asyncoro.thread_pool "2" end)
            assert.has_error(function() pool:call "x" end)
        end)
    end)
end)
