-- SPDX-License-Identifier: MIT
local asyncoro = require "asyncoro"
local core = require "asyncoro.core"
local helper = require "spec.helper"
local peer = require "spec.peer"
local fails, run = helper.fails, helper.run

local function add(a, b)
    return a + b
end

describe("rci", function()
    it("starts a coro in its own engine when it is called there", function()
        run(function()
            local rci = asyncoro.rci(add)
            assert.equal("add", rci:name())
            assert.equal("rci add", tostring(rci))
            local coro = rci(1, 2)
            assert.equal("add", coro:name())
            assert.same({ true, 3 }, { coro:finish() })
        end)
    end)

    it("is found by name, in every engine, as one value", function()
        run(function()
            local rci = asyncoro.rci(add, "sum")
            fails("timeout", "no RCI has the name 'sum'", asyncoro.locate_rci("sum", nil, 0))
            assert.is_true(rci:register())
            assert.is_true(rci:register())
            assert.is_true(rci:register "another")
            assert.is_true(rawequal(rci, asyncoro.locate_rci("sum", nil, 0)))
            fails("timeout", "no coro has the name", asyncoro.locate("sum", nil, 0))
            assert.is_true(rawequal(rci, core.decode(core.encode(rci))))
            local coro = asyncoro.isolate(function(home)
                local far = asyncoro.locate_rci "another"
                local sum = far(2, 3)
                return far == home, select(2, sum:finish()), far:name()
            end, rci)
            assert.same({ true, true, 5, "sum" }, { coro:finish() })
            fails("exists", "another RCI has the name", asyncoro.rci(print, "sum"):register())
            assert.is_true(rci:unregister "another")
            assert.is_true(rci:unregister())
            fails("notfound", "has no name", rci:unregister())
        end)
    end)

    it("waits for names that come later", function()
        run(function()
            local seeker = asyncoro.spawn(asyncoro.locate_rci, "later")
            asyncoro.yield()
            local rci = asyncoro.rci(add, "later")
            rci:register()
            assert.is_true(rawequal(rci, select(2, seeker:finish())))
            rci:unregister()
        end)
    end)

    it("is called only while it is registered", function()
        run(function()
            local rci = asyncoro.rci(add, "sum")
            rci:register()
            local coro = asyncoro.isolate(function()
                local far = asyncoro.locate_rci "sum"
                asyncoro.receive()
                return far(1, 2)
            end)
            asyncoro.sleep(0.05)
            rci:unregister()
            coro:send "go"
            local ok, value, message, code = coro:finish()
            assert.same({ true, nil, "rci sum is not registered any more", "notfound" }, { ok, value, message, code })
        end)
    end)

    it("refuses by rule, in words", function()
        run(function()
            local one = asyncoro.rci(add, { name = "one", allow = function(_, a) return a > 0, "a is negative" end })
            assert.same({ true, 3 }, { one(1, 2):finish() })
            fails("denied", "rci one: not allowed: a is negative", one(-1, 2))
            local two = asyncoro.rci(add, { check = function(a) return type(a) == "number" end })
            fails("invalid", "rci add: its arguments are refused", two("1", 2))
            assert.same({ true, 3 }, { asyncoro.rci(add, { allow = {} })(1, 2):finish() })
            local log = asyncoro.log
            log:set_output(io.tmpfile())
            fails("denied", "it failed", asyncoro.rci(add, { allow = function() asyncoro.sleep(1) end })(1))
            log:set_output(io.stderr)
        end)
    end)

    it("raises on wrong options", function()
        assert.is_false(pcall(asyncoro.rci, 7))
        assert.is_false(pcall(asyncoro.rci, add, { nme = "x" }))
        assert.is_false(pcall(asyncoro.rci, add, { allow = 7 }))
        assert.is_false(pcall(asyncoro.rci, add, ""))
        run(function()
            local rci = asyncoro.rci(add)
            assert.is_false(pcall(rci.start, rci, { moniter = asyncoro.current() }, 1))
            assert.is_false(pcall(rci.start, rci, { monitor = 7 }, 1))
            assert.is_false(pcall(rci.start, rci))
        end)
    end)

    it("tells a monitor of the end, however soon that is", function()
        run(function()
            local rci = asyncoro.rci(add)
            local coro = rci:start({ monitor = asyncoro.current() }, 1, 2)
            local message = asyncoro.receive(5)
            assert.is_true(message.coro == coro)
            assert.equal(3, message.values[1])
        end)
    end)
end)

describe("an RCI of another process", function()
    local SERVER = [[
        local function greet(name) return "hello " .. name, asyncoro.current() end
        asyncoro.rci(greet):register()
        asyncoro.rci(function() error "as told" end, "fail"):register()
        asyncoro.rci(greet, { name = "closed", allow = {} }):register()
        asyncoro.rci(greet, { name = "open", allow = function(from) return from ~= nil, tostring(from) end }):register()
        asyncoro.current():register "main"
        asyncoro.receive()
    ]]

    local function with_server(fn)
        local other = peer.start(SERVER)
        local ok, err = pcall(run, function()
            assert(asyncoro.network(peer.options()))
            fn(function(name) return assert(asyncoro.locate_rci(name, other.location, 10)) end, other)
            local main = asyncoro.locate("main", other.location, 1)
            if main then main:send "end" end
        end)
        if not ok then peer.kill(other) end
        other:finish()
        if not ok then error(err, 0) end
    end

    it("starts a coro there", function()
        with_server(function(locate, other)
            local greet = locate "greet"
            assert.equal("rci greet at " .. other.location, tostring(greet))
            assert.equal(other.location, tostring(greet:location()))
            assert.is_true(rawequal(greet, locate "greet"))
            local coro = greet "world"
            local ok, text, same = coro:finish(10)
            assert.same({ true, "hello world", true }, { ok, text, same == coro })
        end)
    end)

    it("tells a monitor of the end, and refuses what it does not want", function()
        with_server(function(locate)
            local coro = locate("fail"):start({ monitor = asyncoro.current(), timeout = 10 })
            local message = asyncoro.receive(10)
            assert.is_true(rawequal(coro, message.coro))
            assert.equal("failed", message.reason)
            fails("denied", "rci closed: not allowed", locate "closed"("x"))
            assert.is_true((locate "open"("x"):finish(10)))
            fails("denied", "brings a function", locate "greet"(function() end))
            fails("unsendable", "rci greet at", locate "greet"(coroutine.create(print)))
            fails("timeout", "no RCI has the name 'main'", asyncoro.locate_rci("main", nil, 0))
        end)
    end)

    it("that is lost is told of", function()
        with_server(function(locate, other)
            local greet = locate "greet"
            peer.kill(other)
            local value, _, code = greet "world"
            assert.is_nil(value)
            assert.equal("peerdown", code)
        end)
    end)
end)
