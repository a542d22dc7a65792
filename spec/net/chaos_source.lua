-- SPDX-License-Identifier: MIT
-- Sends numbered messages to chaos_sink.lua without end, whatever happens to the way there, and finds it again when it is
-- lost. Obeys lines:
--   more N       waits until so many more deliveries have been confirmed: "more SECONDS"
--   wait S       "waited"
--   check        "sound", or what is wrong: a delivery that was confirmed and has not come, order, duplicates
--   losses       "losses N": how often the peer was lost, as a monitor saw it
--   quit
--   chaos_source.lua LOCATION [SIZE]     messages of SIZE bytes, and now and then one of a million
local asyncoro = require "asyncoro"

local confirmed, losses, calls = 0, 0, 0
local acked = {}  -- who the sink was -> the numbers that it has confirmed
local progress    -- an event, set by each confirmation

-- The sink, and who it is; as often as it takes.
local function find(location)
    while true do
        local sink = asyncoro.locate("sink", location, 2)
        local who = sink and sink:call({ what = "who" }, 2)
        if who then return sink, who end
        asyncoro.sleep(0.05)
    end
end

local function watch(location)
    while true do
        asyncoro.monitor((find(location)))
        local exit = asyncoro.receive()
        if exit.reason == "peerdown" or exit.reason == "notfound" then losses = losses + 1 end
    end
end

local function deliver(location, filling)
    local number = 0
    while true do
        local sink, who = find(location)
        acked[who] = acked[who] or {}
        repeat
            number = number + 1
            local big = number % 200 == 0 and ("b"):rep(1000000) or nil
            local count = sink:deliver({ from = "deliver", n = number, filling = filling, big = big }, 3)
            if count == 1 then
                table.insert(acked[who], number)
                confirmed = confirmed + 1
                progress:set()
            end
        until count ~= 1
    end
end

local function send(location, filling)
    local number = 0
    while true do
        local sink = find(location)
        repeat
            number = number + 1
            local ok = sink:send({ from = "send", n = number, filling = filling }, 3)
            if number % 20 == 0 then asyncoro.sleep(0.002) end
        until not ok
    end
end

-- Calls without a time-out: the loss of the peer must end them.
local function call(location)
    while true do
        local sink = find(location)
        repeat
            local who = sink:call { what = "who" }
            calls = calls + 1
            asyncoro.sleep(0.01)
        until not who
    end
end

local function more(count)
    local start, wanted = asyncoro.now(), confirmed + count
    while confirmed < wanted do
        progress:clear()
        progress:wait()
    end
    return ("more %.2f"):format(asyncoro.now() - start)
end

local function check(location)
    local sink, who = find(location)
    local result = assert(sink:call({ what = "check", from = "deliver", numbers = acked[who] or {} }, 10))
    return result.faults == "" and "sound" or result.faults
end

asyncoro.run(function(location, size)
    io.stdout:setvbuf "line"
    progress = asyncoro.event()
    local filling = ("f"):rep(math.tointeger(size) or 100)
    assert(asyncoro.network { name = "source", heartbeat = 0.3, peer_timeout = 1 })
    for _, fn in ipairs { watch, deliver, send, call } do
        asyncoro.spawn({ daemon = true }, fn, location, filling)
    end
    for line in asyncoro.stdin:lines() do
        local word, number = line:match "^(%a+) ?(%S*)"
        number = tonumber(number)
        if word == "more" then
            print(more(number))
        elseif word == "wait" then
            asyncoro.sleep(number)
            print "waited"
        elseif word == "check" then
            print(check(location))
        elseif word == "losses" then
            print("losses " .. losses)
        else
            break
        end
    end
end, ...)
