-- SPDX-License-Identifier: MIT
-- Channels of other processes: the other side is a program of its own.
local asyncoro = require "asyncoro"
local helper = require "spec.helper"
local peer = require "spec.peer"
local fails, run = helper.fails, helper.run

-- Runs fn(other, control) in a program with a network; `control` is the coro that the other side registers so.
local function with_peer(script, fn)
    local other = peer.start(script)
    local ok, err = pcall(run, function()
        assert(asyncoro.network(peer.options()))
        fn(other, assert(asyncoro.locate("control", other.location, 10)))
    end)
    if not ok then peer.kill(other) end
    local code, rest = other:finish()
    if not ok then error(err, 0) end
    return code, rest
end

-- The other side has a channel "news", with a subscriber, and does what it is told.
local NEWS <const> = [==[
local news = asyncoro.channel "news"
news:register()
local mine = asyncoro.spawn(function()
    local got = {}
    for message in asyncoro.messages() do got[#got + 1] = message end
    return table.concat(got, " ")
end)
news:subscribe(mine)
asyncoro.current():register "control"
local sum = 0
local what = {
    transform = function() return news:set_transform(function(_, m) return m ~= "drop" and m .. "!" or nil end) end,
    publish = function(...) return news:deliver(...) end,
    send = function(...) return news:send(...) end,
    got = function() mine:send(nil) return select(2, mine:finish()) end,
    close = function() news:close() return true end,
    subscribe = function(channel) return channel:subscribe(mine) end,
    unsubscribe = function(channel) return channel:unsubscribe(mine) end,
    crowd = function(channel, count) -- of subscribers, which add up what comes
        for _ = 1, count do
            local one = asyncoro.spawn({ daemon = true }, function()
                for message in asyncoro.messages() do sum = sum + message end
            end)
            if not channel:subscribe(one, 10) then return "not subscribed" end
        end
        return count
    end,
    sum = function() return sum end,
    coro = function() return mine end,
    channel = function() return news end,
    compute = function(seconds)
        local over = asyncoro.now() + seconds
        while asyncoro.now() < over do end
        return true
    end,
    same = function(channel) return channel == news and rawequal(channel, news) end,
}
for order, reply in asyncoro.messages() do
    reply(table.pack(what[order[1]](table.unpack(order, 2))))
end
mine:terminate()
]==]

local function ask(control, ...)
    local reply <const> = assert(control:call({ ... }, 10))
    return table.unpack(reply, 1, reply.n)
end

describe("a channel of another process", function()
    it("is located, is one value, and says where it lives", function()
        with_peer(NEWS, function(other, control)
            local news = assert(asyncoro.locate_channel("news", other.location, 10))
            assert.equal("news", news:name())
            assert.equal(other.location, tostring(news:location()))
            assert.is_true(rawequal(news, (ask(control, "channel"))))
            assert.is_true(rawequal(news, asyncoro.locate_channel("news", nil, 10)))
            assert.is_true(ask(control, "same", news))
            fails("unsupported", "lives elsewhere", news:set_transform(nil))
            fails("unsupported", "another process", news:register())
            fails("notfound", "", asyncoro.locate_channel("nothing", other.location, 0))
            news:close() -- only lets go
            assert.equal(1, news:deliver("x", 10))
            control:send(nil)
        end)
    end)

    it("is subscribed to from here, and published on from both sides", function()
        with_peer(NEWS, function(_, control)
            local news = ask(control, "channel")
            assert.is_true(news:subscribe(nil, 10))
            assert.is_true(news:subscribe(nil, 10))
            assert.equal(2, (ask(control, "publish", "a")))
            assert.equal("a", asyncoro.receive(10))
            assert.equal(2, news:deliver("b", 10))
            for i = 1, 100 do assert.is_true(news:send(tostring(i))) end
            assert.equal("b", asyncoro.receive(10))
            for i = 1, 100 do assert.equal(tostring(i), asyncoro.receive(10)) end
            local other_one = asyncoro.spawn(function() return asyncoro.receive(10) end)
            assert.is_true(news:subscribe(other_one, 10))
            assert.equal(3, (ask(control, "publish", "c")))
            assert.same({ true, "c" }, { other_one:finish() })
            assert.is_true(news:unsubscribe())
            fails("notfound", "not subscribed", news:unsubscribe())
            assert.equal("c", asyncoro.receive(10))
            assert.equal(1, (ask(control, "publish", "d")))
            assert.is_nil(asyncoro.receive(0))
            local expected = { "a", "b" }
            for i = 1, 100 do expected[#expected + 1] = tostring(i) end
            assert.equal(table.concat(expected, " ") .. " c d", (ask(control, "got")))
            control:send(nil)
        end)
    end)

    it("transforms at home, once", function()
        with_peer(NEWS, function(_, control)
            local news = ask(control, "channel")
            assert.is_true(ask(control, "transform"))
            news:subscribe(nil, 10)
            assert.equal(2, news:deliver("x", 10))
            assert.equal(0, news:deliver("drop", 10))
            assert.is_true(news:send "y")
            assert.equal("x!", asyncoro.receive(10))
            assert.equal("y!", asyncoro.receive(10))
            control:send(nil)
        end)
    end)

    it("passes messages on while the engine where it lives computes", function()
        with_peer(NEWS, function(_, control)
            local news = ask(control, "channel")
            assert.is_true(news:subscribe(nil, 10))
            local computing = asyncoro.spawn(ask, control, "compute", 0.5)
            asyncoro.sleep(0.05)
            assert.equal(2, news:deliver("meanwhile", 10))
            assert.equal("meanwhile", asyncoro.receive(0))
            assert.is_true(computing:is_alive())
            assert.same({ true, true }, { computing:finish(10) })
            control:send(nil)
        end)
    end)

    it("carries large messages, in order with small ones", function()
        with_peer(NEWS, function(_, control)
            local news = ask(control, "channel")
            assert.is_true(news:subscribe(nil, 10))
            for i = 1, 5 do
                assert.is_true(news:send(("x"):rep(2 ^ 20) .. i))
                assert.is_true(news:send(i))
            end
            for i = 1, 5 do
                assert.is_true(("x"):rep(2 ^ 20) .. i == asyncoro.receive(10))
                assert.equal(i, asyncoro.receive(10))
            end
            control:send(nil)
        end)
    end)

    it("waits for n subscribers there, tells of time-outs, and ends with closed", function()
        with_peer(NEWS, function(_, control)
            local news = ask(control, "channel")
            local count, _, code = news:deliver("x", 0.01, 2)
            assert.equal(0, count)
            assert.equal("timeout", code)
            local waiting = asyncoro.spawn(function() return news:deliver("both", 10, 2) end)
            asyncoro.yield()
            news:subscribe(nil, 10)
            assert.same({ true, 2 }, { waiting:finish(10) })
            assert.equal("both", asyncoro.receive(10))
            waiting = asyncoro.spawn(function() return select(3, news:deliver("never", 10, 3)) end)
            asyncoro.yield()
            assert.is_true(ask(control, "close"))
            assert.same({ true, "closed" }, { waiting:finish(10) })
            fails("closed", "is closed", news:send "x")
            fails("closed", "is closed", news:subscribe(nil, 10))
            control:send(nil)
        end)
    end)

    it("is subscribed to a channel of this one, and so are coros there", function()
        with_peer(NEWS, function(_, control)
            local here = asyncoro.channel "here"
            local news, far = ask(control, "channel"), ask(control, "coro")
            assert.is_true(here:subscribe(far, 10))
            assert.equal(1, here:deliver("direct", 10))
            assert.is_true(here:unsubscribe(far, 10))
            fails("notfound", "not subscribed", here:unsubscribe(far, 10))
            assert.equal(0, here:deliver("nobody", 10))
            assert.is_true(here:subscribe(news, 10))
            assert.equal(1, here:deliver("through", 10))
            assert.is_true(ask(control, "subscribe", here))
            assert.equal(2, here:deliver("twice", 10))
            assert.is_true(here:unsubscribe(news, 10))
            assert.is_true(ask(control, "unsubscribe", here))
            assert.equal("direct through twice twice", (ask(control, "got")))
            here:close()
            control:send(nil)
        end)
    end)

    it("sends a message once to a process with a thousand subscribers", function()
        with_peer(NEWS, function(_, control)
            local here <close> = asyncoro.channel "to many"
            assert.equal(1000, (ask(control, "crowd", here, 1000)))
            local before = asyncoro.stats().network.sent_messages
            for i = 1, 10 do assert.equal(1000, here:deliver(i, 10)) end
            assert.equal(10, asyncoro.stats().network.sent_messages - before)
            assert.equal(55000, (ask(control, "sum")))
            control:send(nil)
        end)
    end)

    it("holds back who publishes while a mailbox here is full; nothing is lost", function()
        with_peer(NEWS, function(_, control)
            local news = ask(control, "channel")
            local gate = asyncoro.event()
            local slow = asyncoro.spawn({ mailbox = 4 }, function()
                gate:wait()
                local sum = 0
                for message in asyncoro.messages(10) do sum = sum + message end
                return sum
            end)
            assert.is_true(news:subscribe(slow, 10))
            local sent, sum, code = 0, 0, nil
            while not code and sent < 1000 do
                _, _, code = ask(control, "send", sent + 1, 0.01)
                sent = sent + 1
                sum = sum + sent
            end
            assert.equal("timeout", code)
            assert.is_true(sent < 1000)
            sum = sum - sent -- the last one was not taken
            local count = 0
            while news:send(0, 0.05) do
                count = count + 1
                assert.is_true(count < 1000)
            end
            gate:set()
            assert.is_true(news:send(7, 10))
            news:deliver(nil, 10)
            assert.same({ true, sum + 7 }, { slow:finish(10) })
            control:send(nil)
        end)
    end)

    it("is gone with its process: who waits is told so, who is subscribed gets nothing more", function()
        run(function()
            local other = peer.start(NEWS)
            assert(asyncoro.network(peer.options { heartbeat = 0.2 }))
            local control = assert(asyncoro.locate("control", other.location, 10))
            local news = ask(control, "channel")
            assert.is_true(news:subscribe(nil, 10))
            local waiting = asyncoro.spawn(function() return select(3, news:deliver("x", 10, 9)) end)
            assert.equal(2, news:deliver("y", 10))
            assert.equal("y", asyncoro.receive(10))
            peer.kill(other)
            assert.same({ true, "peerdown" }, { waiting:finish(10) })
            assert.equal("peerdown", select(3, news:deliver("z", 10)))
            assert.is_nil(asyncoro.receive(0))
            other:finish()
        end)
    end)

    it("does not miss a subscriber whose process is gone", function()
        run(function()
            local other = peer.start(NEWS)
            assert(asyncoro.network(peer.options()))
            local control = assert(asyncoro.locate("control", other.location, 10))
            local here <close> = asyncoro.channel "home stays"
            assert.is_true(ask(control, "subscribe", here))
            here:subscribe()
            assert.equal(2, here:deliver("x", 10))
            peer.kill(other)
            local count
            for _ = 1, 1000 do
                count = here:deliver("x", 10)
                if count == 1 and select("#", here:deliver("x", 10)) == 1 then break end
                asyncoro.sleep(0.001)
            end
            assert.equal(1, count)
            other:finish()
        end)
    end)
end)
