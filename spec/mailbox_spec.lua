-- SPDX-License-Identifier: MIT
local asyncoro = require "asyncoro"
local run = require("spec.helper").run

local function code(_, _, word) return word end

local function collect(n)
    return asyncoro.spawn(function()
        local list = {}
        for i = 1, n do list[i] = asyncoro.receive() end
        return list
    end)
end

describe("send and receive", function()
    it("keep the order of each sender", function()
        run(function()
            local receiver = collect(300)
            for sender = 1, 3 do
                asyncoro.spawn(function()
                    for i = 1, 100 do
                        receiver:send { sender, i }
                        if i % 7 == 0 then asyncoro.yield() end
                    end
                end)
            end
            local _, list = receiver:finish()
            local last = { 0, 0, 0 }
            for _, m in ipairs(list) do
                assert.equal(last[m[1]] + 1, m[2])
                last[m[1]] = m[2]
            end
        end)
    end)

    it("pass every kind of value, by reference", function()
        run(function()
            local me, t = asyncoro.current(), {}
            for _, value in ipairs { 1, 0.5, "text", true, t, print, me } do
                me:send(value)
                assert.equal(value, asyncoro.receive(0))
            end
            me:send(false)
            me:send(nil)
            assert.is_false(asyncoro.receive(0, "alarm"))
            assert.is_nil(asyncoro.receive(0, "alarm"))
            assert.equal("alarm", asyncoro.receive(0, "alarm"))
            assert.equal("timeout", code(asyncoro.receive(0)))
            assert.is_nil(asyncoro.receive(0.001, nil))
            assert.equal("timeout", code(asyncoro.receive(0.001)))
        end)
    end)

    it("iterate until nil or the time-out", function()
        run(function()
            local me, list = asyncoro.current(), {}
            for i = 1, 3 do me:send(i) end
            me:send(nil)
            me:send(4)
            for m in asyncoro.messages() do list[#list + 1] = m end
            for m in asyncoro.messages(0.001) do list[#list + 1] = m end
            assert.same({ 1, 2, 3, 4 }, list)
        end)
    end)

    it("lose nothing to a time-out or a cancel", function()
        run(function()
            local receiver = asyncoro.spawn(function()
                asyncoro.receive(0.001)
                pcall(asyncoro.with_timeout, 0.001, asyncoro.receive)
                asyncoro.suspend()
                return asyncoro.receive()
            end)
            while not receiver:resume() do asyncoro.sleep(0.001) end
            receiver:send "late"
            assert.same({ true, "late" }, { receiver:finish() })
        end)
    end)

    it("say that a coro has ended", function()
        run(function()
            local coro = asyncoro.spawn(function() end)
            coro:finish()
            assert.equal("notfound", code(coro:send(1)))
            assert.equal("notfound", code(coro:deliver(1)))
            assert.equal("notfound", code(coro:call(1)))
            assert.is_false(coro:resume())
        end)
    end)
end)

describe("a bounded mailbox", function()
    it("makes senders wait, in order", function()
        run(function()
            local receiver = asyncoro.spawn({ mailbox = 2 }, function()
                asyncoro.suspend()
                local list = {}
                for i = 1, 6 do list[i] = asyncoro.receive() end
                return list
            end)
            asyncoro.yield()
            local senders = {}
            for i = 1, 3 do
                senders[i] = asyncoro.spawn(function()
                    receiver:send(i)
                    return receiver:deliver(i + 10)
                end)
            end
            asyncoro.sleep(0.001)
            assert.equal("timeout", code(receiver:send("x", 0)))
            assert.equal("timeout", code(receiver:send("x", { timeout = 0.001 })))
            receiver:resume()
            local _, list = receiver:finish()
            table.sort(list)
            assert.same({ 1, 2, 3, 11, 12, 13 }, list)
            for i = 1, 3 do assert.same({ true, 1 }, { senders[i]:finish() }) end
        end)
    end)

    it("is busy where nobody can wait", function()
        run(function()
            local me = asyncoro.spawn({ mailbox = 1 }, function()
                local self = asyncoro.current()
                self:send(1)
                return code(self:send(2))
            end)
            assert.same({ true, "busy" }, { me:finish() })
            local full = asyncoro.spawn({ mailbox = 1 }, asyncoro.suspend)
            asyncoro.yield()
            full:send(1)
            local result
            table.sort({ 2, 1 }, function(a, b)
                result = code(full:send(2))
                return a < b
            end)
            assert.equal("busy", result)
            full:terminate()
            full:finish()
        end)
    end)

    it("lets senders go when its coro ends", function()
        run(function()
            local full = asyncoro.spawn({ mailbox = 1 }, asyncoro.suspend)
            asyncoro.yield()
            full:send(1)
            local sender = asyncoro.spawn(function() return code(full:send(2)) end)
            asyncoro.yield()
            full:terminate()
            assert.same({ true, "notfound" }, { sender:finish() })
        end)
    end)
end)

describe("call", function()
    it("waits for the reply", function()
        run(function()
            local server = asyncoro.spawn({ daemon = true }, function()
                for message, reply in asyncoro.messages() do reply(message and message * 2) end
            end)
            assert.equal(8, server:call(4))
            local list = {}
            asyncoro.group(function(group)
                for i = 1, 5 do group:spawn(function() list[i] = server:call(i) end) end
            end)
            assert.same({ 2, 4, 6, 8, 10 }, list)
        end)
    end)

    it("times out; a late reply finds nobody", function()
        run(function()
            local late
            local server = asyncoro.spawn(function()
                local _, reply = asyncoro.receive()
                asyncoro.suspend()
                late = code(reply(1))
            end)
            assert.equal("timeout", code(server:call("x", 0.001)))
            server:resume()
            server:finish()
            assert.equal("notfound", late)
        end)
    end)

    it("ends when the callee ends, and refuses oneself", function()
        run(function()
            local deaf = asyncoro.spawn(function() asyncoro.receive() end)
            local _, message, word = deaf:call "x"
            assert.equal("notfound", word)
            assert.matches("ended without a reply", message)
            local never = asyncoro.spawn(function() asyncoro.sleep(0) end)
            assert.equal("notfound", code(never:call "x"))
            assert.error_matches(function() asyncoro.current():call(1) end, "cannot call itself")
        end)
    end)
end)
