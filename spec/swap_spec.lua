-- SPDX-License-Identifier: MIT
local asyncoro = require "asyncoro"
local run = require("spec.helper").run

local function started(...)
    local coro = asyncoro.spawn(...)
    asyncoro.yield()
    return coro
end

describe("hot_swap", function()
    it("gives a willing coro a new body, in its wait, with its mailbox", function()
        run(function()
            local unwound = false
            local function old()
                local _ <close> = setmetatable({}, { __close = function() unwound = true end })
                asyncoro.hot_swappable(true)
                asyncoro.suspend()
            end
            local function new(a, b) return a, b, asyncoro.receive(), asyncoro.receive() end
            local coro = started(old)
            local id = coro:id()
            coro:send(1)
            coro:send(2)
            assert.is_true(coro:hot_swap(new, "a", nil))
            assert.same({ true, "a", nil, 1, 2 }, { coro:finish() })
            assert.is_true(unwound)
            assert.same({ id, "new" }, { coro:id(), coro:name() })
        end)
    end)

    it("is postponed until the coro is willing", function()
        run(function()
            local coro = started(function()
                asyncoro.suspend()
                asyncoro.hot_swappable(true)
                asyncoro.sleep(0)
                return "old"
            end)
            coro:hot_swap(function() return "new" end)
            asyncoro.yield()
            assert.equal("waiting", (coro:status()))
            coro:resume()
            assert.same({ true, "new" }, { coro:finish() })
        end)
    end)

    it("can be inspected, and refused without losing a message", function()
        run(function()
            local seen
            local coro = started(function()
                asyncoro.hot_swappable(function(new)
                    seen = new
                    return false
                end)
                return asyncoro.receive()
            end)
            local function candidate(a, b, c) return a, b, c end
            coro:hot_swap(candidate, 1, 2)
            asyncoro.yield()
            coro:send "kept"
            assert.same({ true, "kept" }, { coro:finish() })
            assert.same({ "candidate", 3 }, { seen.name, seen.nparams })
            assert.same({ 1, 2 }, { seen.args[1], seen.args[2] })
        end)
    end)

    it("can happen again and again", function()
        run(function()
            local log = {}
            local function body(name)
                asyncoro.hot_swappable(true)
                log[#log + 1] = name
                asyncoro.receive()
            end
            local coro = started(body, "a")
            for _, name in ipairs { "b", "c" } do
                coro:hot_swap(body, name)
                asyncoro.yield()
                asyncoro.yield()
            end
            coro:send(1)
            coro:finish()
            assert.same({ "a", "b", "c" }, log)
        end)
    end)

    it("refuses what is wrong", function()
        run(function()
            local coro = asyncoro.spawn(function() end)
            assert.error_matches(function() coro:hot_swap(3) end, "function expected")
            coro:finish()
            assert.equal("notfound", select(3, coro:hot_swap(print)))
            assert.error_matches(function() asyncoro.hot_swappable(3) end, "boolean expected, got number")
        end)
    end)
end)
