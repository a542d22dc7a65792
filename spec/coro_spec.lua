-- SPDX-License-Identifier: MIT
local asyncoro = require "asyncoro"
local run = require("spec.helper").run

describe("spawn", function()
    it("runs the function later, with its arguments", function()
        run(function()
            local ran = false
            local coro = asyncoro.spawn(function(...)
                ran = true
                return select("#", ...), ...
            end, 1, nil, "x", nil)
            assert.is_false(ran)
            assert.equal("ready", coro:status())
            assert.same({ true, 4, 1, nil, "x", nil }, { coro:finish() })
        end)
    end)

    it("takes options", function()
        run(function()
            local coro = asyncoro.spawn({ name = "n", daemon = true, mailbox = 3 }, function() asyncoro.receive() end)
            assert.equal("n", coro:name())
            assert.equal(1, asyncoro.stats().daemons)
            coro:set_daemon(false)
            assert.equal(0, asyncoro.stats().daemons)
            coro:send(1)
            coro:finish()
        end)
    end)

    it("refuses wrong arguments and unknown options", function()
        run(function()
            for wanted, arguments in pairs {
                ["function expected"] = { 3 }, ["unknown option 'colour'"] = { { colour = 1 }, print },
                ["'daemon' must be true or false"] = { { daemon = "yes" }, print },
                ["'mailbox' must be a number"] = { { mailbox = 0 }, print },
                ["'name' must be a string"] = { { name = {} }, print },
                ["'time_slice' must be a time"] = { { time_slice = -1 }, print },
            } do
                assert.error_matches(function() asyncoro.spawn(table.unpack(arguments)) end, wanted)
            end
            assert.error_matches(function() asyncoro.spawn({}) end, "function expected")
        end)
    end)

    it("takes many arguments, and starts many coros", function()
        run(function()
            local list = {}
            for i = 1, 200 do list[i] = i end
            local coro = asyncoro.spawn(function(...) return select("#", ...) end, table.unpack(list))
            assert.same({ true, 200 }, { coro:finish() })
            local count, all = 0, os.getenv "ASYNCORO_TEST_GC" and 500 or 20000
            for _ = 1, all do asyncoro.spawn(function() count = count + 1 end) end
            while count < all do asyncoro.yield() end
        end)
    end)

    it("starts coros in the order of their spawn, whatever their arguments, and some of them waiting", function()
        run(function()
            local order, wanted, coros = {}, {}, {}
            for i = 1, 600 do
                local arguments = {}
                for k = 1, i % 7 == 0 and 120 or i % 13 do arguments[k] = i + k end
                coros[i] = asyncoro.spawn(function(...)
                    assert(asyncoro.current() == coros[i])
                    order[#order + 1] = i
                    if i % 11 == 0 then asyncoro.sleep(0) end
                    if i % 17 == 0 then asyncoro.spawn(function() order[#order + 1] = -i end) end
                    assert(asyncoro.current() == coros[i])
                    return select("#", ...), (select(-1, i, ...))
                end, table.unpack(arguments))
                wanted[i] = { true, #arguments, i + #arguments }
            end
            assert.equal(601, #asyncoro.coros())
            asyncoro.yield()
            for i = 1, 600 do
                assert.equal(i, order[i])
                assert.same(wanted[i], { coros[i]:finish() })
            end
        end)
    end)

    it("gives each coro that asks a thread of its own", function()
        run(function()
            local threads, count = {}, 0
            for _ = 1, 20 do
                asyncoro.spawn(function()
                    local thread = coroutine.running()
                    assert(not threads[thread])
                    threads[thread] = true
                    count = count + 1
                end)
            end
            asyncoro.yield()
            assert.equal(20, count)
        end)
    end)

    it("keeps no handle of a coro that has ended", function()
        run(function()
            local weak = setmetatable({}, { __mode = "k" })
            for _ = 1, 50 do weak[asyncoro.spawn(function() end)] = true end
            collectgarbage()
            local count = 0
            for coro in pairs(weak) do
                assert.equal("ready", coro:status())
                assert.equal("stack traceback:", coro:traceback())
                count = count + 1
            end
            assert.equal(50, count)
            asyncoro.yield()
            collectgarbage()
            collectgarbage()
            assert.is_nil(next(weak))
        end)
    end)

    it("lets new coros be terminated, swapped and written to before they start", function()
        run(function()
            local log, coros = {}, {}
            for i = 1, 9 do
                coros[i] = asyncoro.spawn(function() log[i] = asyncoro.receive(0) or "none" end)
            end
            coros[2]:terminate()
            coros[4]:send("mail")
            coros[6]:throw("thrown")
            coros[8]:hot_swap(function() log[8] = "swapped" end)
            assert.same({ false, "terminated" }, { coros[2]:finish() })
            assert.same({ false, "thrown" }, { select(1, coros[6]:finish()), (select(2, coros[6]:finish())) })
            assert.is_true(coros[9]:finish())
            assert.same({ "none", nil, "none", "mail", "none", nil, "none", "none", "none" }, log)
        end)
    end)
end)

describe("a coro", function()
    it("has a name, an id, a status and a text", function()
        run(function()
            local function worker() asyncoro.receive() end
            local a, b = asyncoro.spawn(worker), asyncoro.spawn(worker)
            assert.equal("worker", a:name())
            assert.is_true(b:id() > a:id())
            assert.equal(("coro worker#%d"):format(a:id()), tostring(a))
            asyncoro.yield()
            assert.same({ "waiting", "receive" }, { a:status() })
            assert.equal("running", asyncoro.current():status())
            assert.matches("coro_spec.lua:%d+: in function <", a:traceback())
            assert.is_true(a:is_alive())
            a:send(1)
            b:terminate()
            a:finish()
            b:finish()
            assert.same({ "finished", "terminated" }, { a:status(), b:status() })
            assert.is_false(a:is_alive())
            assert.matches("coro_spec.lua:%d+", asyncoro.spawn(function() end):name())
        end)
    end)

    it("is one value, which indexes tables", function()
        run(function()
            local me = asyncoro.current()
            assert.equal(me, asyncoro.current())
            assert.is_true(rawequal(me, asyncoro.current()))
            local listed = false
            for _, coro in ipairs(asyncoro.coros()) do listed = listed or coro == me end
            assert.is_true(listed)
        end)
        assert.is_nil(asyncoro.current())
    end)

    it("ends with its block", function()
        run(function()
            local kept
            do
                local coro <close> = asyncoro.spawn(asyncoro.sleep, 100)
                kept = coro
            end
            assert.same({ false, "terminated" }, { kept:finish() })
            assert.is_true(kept:close())
        end)
    end)
end)

describe("finish", function()
    it("gives the outcome, as often as it is asked", function()
        run(function()
            local object = setmetatable({}, { __tostring = function() return "object" end })
            local good = asyncoro.spawn(function() return 1, nil, 3 end)
            local bad = asyncoro.spawn(function() error(object) end)
            local text = asyncoro.spawn(function() error "text" end)
            local none = asyncoro.spawn(function() error(nil) end)
            for _ = 1, 2 do
                assert.same({ true, 1, nil, 3 }, { good:finish() })
                local ok, err, trace = bad:finish()
                assert.is_false(ok)
                assert.equal(object, err)
                assert.matches("stack traceback:\n", trace)
                assert.matches("coro_spec.lua:%d+: text", select(2, text:finish()))
                ok, err = none:finish()
                assert.is_false(ok)
                assert.is_nil(err)
            end
            assert.equal("failed", bad:status())
        end)
    end)

    it("waits, times out, and serves many", function()
        run(function()
            local coro = asyncoro.spawn(asyncoro.receive)
            assert.equal("timeout", select(3, coro:finish(0)))
            assert.equal("timeout", select(3, coro:finish(0.001)))
            local waiters = {}
            for i = 1, 3 do waiters[i] = asyncoro.spawn(function() return coro:finish() end) end
            asyncoro.yield()
            coro:send "x"
            for i = 1, 3 do assert.same({ true, true, "x" }, { waiters[i]:finish() }) end
        end)
    end)

    it("refuses oneself and wrong times", function()
        run(function()
            assert.error_matches(function() asyncoro.current():finish() end, "its own end")
            assert.error_matches(function() asyncoro.spawn(print):finish(-1) end, "0 or more seconds")
            assert.error_matches(function() asyncoro.spawn(print):finish(0 / 0) end, "0 or more seconds")
            assert.error_matches(function() asyncoro.spawn(print):finish("x") end, "number expected")
            assert.error_matches(function() asyncoro.current().finish(3) end, "coro expected")
        end)
    end)
end)

describe("stats", function()
    it("counts", function()
        run(function()
            local coro = asyncoro.spawn(asyncoro.sleep, 100)
            asyncoro.yield()
            local stats = asyncoro.stats()
            assert.is_true(stats.live >= 2)
            assert.is_true(stats.waiting >= 1 and stats.timers >= 1 and stats.memory > 0)
            coro:terminate()
            coro:finish()
        end)
        assert.is_true(math.abs(asyncoro.time() - os.time()) < 5)
        local now = asyncoro.now()
        assert.is_true(asyncoro.now() >= now)
    end)

    it("the script and its folder are known", function()
        assert.is_true(asyncoro.program == nil or type(asyncoro.script_dir) == "string")
    end)
end)
