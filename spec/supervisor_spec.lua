-- SPDX-License-Identifier: MIT
local asyncoro = require "asyncoro"
local run = require("spec.helper").run

-- A child that says that it has started, and ends as it is told.
local function worker(log, name)
    log[#log + 1] = name
    local order = asyncoro.receive()
    if order == "fail" then error(name .. " fails", 0) end
end

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
        local supervisor <close> = asyncoro.supervisor { strategy = strategy, children = children(log) }
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
                local supervisor <close> = asyncoro.supervisor { children = children(log, restart) }
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
                name = "top", max_restarts = 2, children = { { name = "bad", fn = function()
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
            local function inner()
                log[#log + 1] = "s"
                local below <close> = asyncoro.supervisor { max_restarts = 0, children = { { fn = worker,
                    args = { log, "w" }, name = "w" } } }
                asyncoro.sleep(0)
                below:child "w":send "fail"
                local ok, message = below:finish()
                if not ok then error(message, 0) end
            end
            local top = asyncoro.supervisor { max_restarts = 1, children = { inner } }
            local ok, message = top:finish()
            assert.is_false(ok)
            assert.equal("swsw", table.concat(log))
            assert.matches("w fails", message)
        end)
    end)

    it("refuses wrong options", function()
        for wanted, options in pairs {
            ["unknown option 'colour'"] = { colour = 1 }, ["strategy 'x'"] = { strategy = "x" },
            ["child 1 has no fn"] = { children = { {} } }, ["restart 'maybe'"] = { children = { { fn = print,
                restart = "maybe" } } }, ["'period' must be a number"] = { period = "x" },
            ["child 1 must be a table or a function"] = { children = { 3 } },
        } do
            assert.error_matches(function() asyncoro.supervisor(options) end, wanted)
        end
    end)
end)
