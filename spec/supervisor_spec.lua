-- SPDX-License-Identifier: MIT
local asyncoro = require "asyncoro"
local run = require("spec.helper").run

-- A child that says that it has started, and ends as it is told.
local function worker(log, name)
    log[#log + 1] = name
    local order = asyncoro.receive()
    if order == "fail" then error(name .. " fails", 0) end
end

local function quiet() end

local function children(log, restart)
    local list = {}
    for i, name in ipairs { "a", "b", "c" } do
        list[i] = { fn = worker, args = { log, name }, name = name, restart = restart }
    end
    return list
end

-- Wait until the log says this.
local function await(log, wanted)
    for _ = 1, 1000 do
        if table.concat(log) == wanted then return end
        asyncoro.sleep(0)
    end
    assert.equal(wanted, table.concat(log))
end

local function restarts(strategy)
    return run(function()
        local log = {}
        local supervisor <close> = asyncoro.supervisor { on_exit = quiet, strategy = strategy, children = children(log) }
        await(log, "abc")
        supervisor:child "b":send "fail"
        asyncoro.yield()
        for _ = 1, 50 do asyncoro.sleep(0) end
        supervisor:stop()
        return table.concat(log)
    end)
end

describe("supervisor", function()
    it("starts again what its strategy says", function()
        assert.equal("abcb", restarts "one_for_one")
        assert.equal("abcabc", restarts "one_for_all")
        assert.equal("abcbc", restarts "rest_for_one")
    end)

    it("starts permanent children always, transient ones after a failure, temporary ones never", function()
        run(function()
            for restart, wanted in pairs { permanent = "abcab", transient = "abcb", temporary = "abc" } do
                local log = {}
                local supervisor <close> = asyncoro.supervisor { on_exit = quiet, children = children(log, restart) }
                await(log, "abc")
                supervisor:child "a":send "finish"
                asyncoro.sleep(0)
                supervisor:child "b":send "fail"
                await(log, wanted)
                supervisor:stop()
            end
        end)
    end)

    it("fails when a child fails too often", function()
        run(function()
            local count = 0
            local supervisor = asyncoro.supervisor {
                name = "top", max_restarts = 2, on_exit = quiet, children = { { name = "bad", fn = function()
                    count = count + 1
                    error("again", 0)
                end } },
            }
            local ok, message = supervisor:finish()
            assert.is_false(ok)
            assert.equal("supervisor top: more than 2 restarts in 5 s; the last was of bad, which ended: again", message)
            assert.equal(3, count)
        end)
    end)

    it("ends when no child is left to start", function()
        run(function()
            local supervisor = asyncoro.supervisor { children = { { fn = function() end, restart = "transient" } } }
            assert.is_true(supervisor:finish())
            assert.is_true(asyncoro.supervisor {}:finish())
        end)
    end)

    it("stops its children in reverse, and when it is terminated", function()
        run(function()
            local log = {}
            local function child(name)
                local _ <close> = setmetatable({}, { __close = function() log[#log + 1] = name end })
                asyncoro.sleep(100)
            end
            local supervisor = asyncoro.supervisor { children = {
                { fn = child, args = { "a" } }, { fn = child, args = { "b" } } } }
            asyncoro.sleep(0.001)
            assert.equal(2, #supervisor:children())
            assert.is_true(supervisor:stop())
            assert.same({ "b", "a" }, log)
        end)
    end)

    it("may supervise supervisors", function()
        run(function()
            local log = {}
            local function failing()
                log[#log + 1] = "w"
                asyncoro.yield()
                error("w fails", 0)
            end
            local top = asyncoro.supervisor {
                max_restarts = 1, on_exit = function(name, exit) log[#log + 1] = name .. " " .. exit.reason end,
                children = { {
                    supervisor = { name = "below", max_restarts = 1, on_exit = quiet, children = { failing } },
                } },
            }
            asyncoro.sleep(0)
            assert.equal("below", top:child "below":name())
            local ok, message = top:finish()
            assert.is_false(ok)
            assert.same({ "w", "w", "below failed", "w", "w", "below failed" }, log)
            assert.matches("^supervisor supervisor: more than 1 restarts.*supervisor below: more than.*w fails$", message)
        end)
    end)

    it("ends a supervisor below with its children", function()
        run(function()
            local log = {}
            local function child()
                local _ <close> = setmetatable({}, { __close = function()
                    asyncoro.sleep(0)
                    log[#log + 1] = "ended"
                end })
                asyncoro.sleep(100)
            end
            local top = asyncoro.supervisor { children = { { supervisor = { children = { child } } } } }
            asyncoro.sleep(0.001)
            top:stop()
            assert.same({ "ended" }, log)
        end)
    end)

    it("does not wait longer for the end of a child than it is told", function()
        run(function()
            local ended, may_end = false, asyncoro.event()
            local supervisor = asyncoro.supervisor { children = { { shutdown = 0.001, fn = function()
                local _ <close> = setmetatable({}, { __close = function()
                    may_end:wait()
                    ended = true
                end })
                asyncoro.sleep(100)
            end } } }
            asyncoro.sleep(0.001)
            local child = supervisor:children()[1]
            assert.is_true(supervisor:stop())
            assert.is_false(ended)
            may_end:set()
            child:finish()
            assert.is_true(ended)
        end)
    end)

    it("gives up waiting for its own end when told", function()
        run(function()
            local may_end = asyncoro.event()
            local supervisor = asyncoro.supervisor { children = { function()
                local _ <close> = setmetatable({}, { __close = function() may_end:wait() end })
                asyncoro.sleep(100)
            end } }
            asyncoro.sleep(0.001)
            local ok, _, code = supervisor:stop(0.001)
            assert.same({ nil, "timeout" }, { ok, code })
            may_end:set()
            assert.is_true(supervisor:stop())
            assert.is_true(supervisor:close())
            assert.is_true(supervisor:terminate())
        end)
    end)

    it("waits before a restart, longer each time", function()
        run(function()
            local times, exits = {}, 0
            local supervisor <close> = asyncoro.supervisor {
                backoff = 0.004, max_backoff = 0.006, max_restarts = 10,
                on_exit = function() exits = exits + 1 end,
                children = { { name = "bad", fn = function()
                    times[#times + 1] = asyncoro.now()
                    if #times < 4 then error "again" end
                    asyncoro.sleep(100)
                end } },
            }
            while exits == 0 do asyncoro.sleep(0) end
            assert.is_nil(supervisor:child "bad")
            while #times < 4 do asyncoro.sleep(0.001) end
            assert.is_true(times[2] - times[1] >= 0.004)
            assert.is_true(times[3] - times[2] >= 0.006)
            assert.is_true(times[4] - times[3] >= 0.006)
            supervisor:stop()
        end)
    end)

    it("lets other children be started again while one must wait", function()
        run(function()
            local log = {}
            local supervisor <close> = asyncoro.supervisor {
                backoff = 0, on_exit = quiet, children = children(log), max_restarts = 100,
            }
            supervisor.backoff = 1000
            supervisor.max_backoff = 1000
            await(log, "abc")
            supervisor:child "a":send "fail"
            for _ = 1, 5 do asyncoro.sleep(0) end
            assert.is_nil(supervisor:child "a")
            supervisor.backoff = 0
            supervisor:child "b":send "fail"
            await(log, "abcb")
            supervisor:stop()
        end)
    end)

    it("takes children later, and gives them up", function()
        run(function()
            local log = {}
            local supervisor <close> = asyncoro.supervisor { keep = true, on_exit = quiet, name = "top" }
            local child = supervisor:add { fn = worker, args = { log, "x" }, name = "x", restart = "temporary" }
            assert.equal("x", child:name())
            assert.equal(child, supervisor:child "x")
            await(log, "x")
            child:send "end"
            child:finish()
            asyncoro.sleep(0)
            assert.same({}, supervisor:children())
            supervisor:add { fn = worker, args = { log, "y" }, name = "y" }
            await(log, "xy")
            supervisor:child "y":send "fail"
            await(log, "xyy")
            assert.is_true(supervisor:remove "y")
            assert.same({}, supervisor:children())
            local ok, message, code = supervisor:remove "y"
            assert.same({ nil, "remove: supervisor top has no child 'y'", "notfound" }, { ok, message, code })
            assert.error_matches(function() supervisor:add {} end, "child 1 has no fn")
            assert.error_matches(function() supervisor:remove() end, "a name expected")
            supervisor:stop()
            ok, message, code = supervisor:add(worker)
            assert.same({ nil, "add: supervisor top has ended", "notfound" }, { ok, message, code })
        end)
    end)

    it("ignores messages that are not for it", function()
        run(function()
            local log = {}
            local supervisor <close> = asyncoro.supervisor { children = children(log) }
            await(log, "abc")
            supervisor:coro():send "hello"
            supervisor:coro():send(nil)
            assert.equal("timeout", select(3, supervisor:coro():call({}, 0.001)))
            assert.equal(3, #supervisor:children())
            supervisor:stop()
        end)
    end)

    it("stops its children when it fails, and a monitor hears of it", function()
        run(function()
            local sibling
            local supervisor = asyncoro.supervisor { max_restarts = 0, on_exit = quiet, children = {
                function()
                    sibling = asyncoro.current()
                    asyncoro.sleep(100)
                end,
                function() asyncoro.yield() end,
            } }
            asyncoro.monitor(supervisor:coro())
            local exit = asyncoro.receive()
            assert.equal("failed", exit.reason)
            assert.matches("which ended: finished", exit.error)
            assert.is_false(sibling:is_alive())
        end)
    end)

    it("logs failures, those during a stop too", function()
        run(function()
            local log, lines = asyncoro.log, {}
            log:set_output { write = function(_, ...) lines[#lines + 1] = table.concat { ... } end }
            local supervisor = asyncoro.supervisor { children = { { name = "bad", restart = "transient", fn = function()
                local _ <close> = setmetatable({}, { __close = function() error("clean-up", 0) end })
                asyncoro.sleep(100)
            end } } }
            asyncoro.sleep(0.001)
            supervisor:stop()
            log:set_output(io.stderr)
            assert.equal(1, #lines)
            assert.matches("ERROR supervisor supervisor: bad failed: clean%-up\nstack traceback:", lines[1])
        end)
    end)

    it("refuses wrong options", function()
        for wanted, options in pairs {
            ["unknown option 'colour'"] = { colour = 1 }, ["strategy 'x'"] = { strategy = "x" },
            ["child 1 has no fn"] = { children = { {} } }, ["restart 'maybe'"] = { children = { { fn = print,
                restart = "maybe" } } }, ["'period' must be a number"] = { period = "x" },
            ["child 1 must be a table or a function"] = { children = { 3 } },
            ["'backoff' must be 0 or more"] = { backoff = -1 },
            ["unknown field of a child 'x'"] = { children = { { x = 1 } } },
            ["has both fn and supervisor"] = { children = { { fn = print, supervisor = {} } } },
            ["unknown option 'deep'"] = { children = { { supervisor = { deep = 1 } } } },
        } do
            assert.error_matches(function() asyncoro.supervisor(options) end, wanted)
        end
        assert.error_matches(function() asyncoro.supervisor() end, "a table expected")
    end)
end)
