-- SPDX-License-Identifier: MIT
-- The process under test of a soak: registered coros ("box 1" ...) that check what many peers (peers.c) send them, and
-- a "watcher" that monitors each peer, and calls it without a time-out. Prints its location and its process, then obeys
-- lines:
--   status       "status NAME=NUMBER ..."
--   settle [N]   the same, when N messages have come and all peers have gone, or after 30 s
--   faults       "faults TEXT": what was wrong
--   compute S    computes for so long without waiting, then "computed"
--   quit
--   target.lua BOXES FOLDER     FOLDER: where files arrive
local asyncoro = require "asyncoro"

local ECHO, CHECK = 1, 2 -- what a message is for, besides being counted

local messages, joined, ended, fault_count = 0, 0, 0, 0
local faults = {}

local function fault(...)
    fault_count = fault_count + 1
    if #faults < 20 then faults[#faults + 1] = string.format(...) end
end

-- What a box knows of a peer: its life, the last number of it, and the same of the life before.
local function take(box, peers, slot, life, number)
    local known = peers[slot]
    if not known then
        known = { life = life, last = 0, before = 0, before_last = 0 }
        peers[slot] = known
    elseif life > known.life then
        known.before, known.before_last = known.life, known.last
        known.life, known.last = life, 0
    end
    local last
    if life == known.life then
        last, known.last = known.last, number
    elseif life == known.before then -- bytes of a process that was killed
        last, known.before_last = known.before_last, number
    else
        return fault("box %d: life %d of peer %d after %d", box, life, slot, known.life)
    end
    if number ~= last + 1 then
        fault("box %d: %d of peer %d, life %d, after %d", box, number, slot, life, last)
    end
end

local function last_of(known, life)
    if not known then return 0 end
    return known.life == life and known.last or known.before == life and known.before_last or 0
end

local function box_main(box)
    local peers, echoes = {}, {}
    for message, reply in asyncoro.messages() do
        local slot, life, number, what, handle = table.unpack(message)
        if what == CHECK then
            reply(last_of(peers[slot], life) >= number and number or -1)
        else
            messages = messages + 1
            take(box, peers, slot, life, number)
            if what == ECHO then
                local echo = echoes[slot]
                echo = echo and echo.life == life and echo or { life = life, count = 0 }
                echo.count = echo.count + 1
                echoes[slot] = echo
                handle:send { box, echo.count } -- the peer may have gone
            elseif reply then
                reply(number)
            end
        end
    end
end

-- Both the monitor and the call must end when the peer does, in whatever way.
local function watch(handle)
    asyncoro.monitor(handle)
    local answer, _, code = handle:call "never answered"
    if answer ~= nil then fault("a peer answered: %s", tostring(answer)) end
    local exit = asyncoro.receive()
    if exit.coro ~= handle then fault("after %s: the exit of another coro", tostring(code)) end
    ended = ended + 1
end

local function watcher_main()
    for message in asyncoro.messages() do
        joined = joined + 1
        asyncoro.spawn({ daemon = true }, watch, message[5])
    end
end

local function status()
    local network = asyncoro.stats().network
    return ("status messages=%d joined=%d ended=%d faults=%d peers=%d refused=%d limited=%d memory=%.0f"):format(messages,
        joined, ended, fault_count, network.peers, network.refused, network.limited, collectgarbage "count")
end

local function settle(count)
    local limit = asyncoro.now() + 30
    while asyncoro.now() < limit do
        if messages >= count and joined == ended and asyncoro.stats().network.peers == 0 then break end
        asyncoro.sleep(0.1)
    end
    return status()
end

local function compute(seconds)
    local over = asyncoro.now() + seconds
    while asyncoro.now() < over do end
    return "computed"
end

asyncoro.run(function(boxes, folder)
    io.stdout:setvbuf "line"
    local location = assert(asyncoro.network {
        name = "tested", host = "127.0.0.1", discovery = false, dest_path = folder,
    })
    for box = 1, math.tointeger(boxes) do
        assert(asyncoro.spawn({ daemon = true }, box_main, box):register("box " .. box))
    end
    asyncoro.spawn({ daemon = true }, watcher_main):register "watcher"
    print(tostring(location) .. " " .. io.open "/proc/self/stat":read "n")
    for line in asyncoro.stdin:lines() do
        local word, number = line:match "^(%a+) ?(%S*)"
        if word == "status" then
            print(status())
        elseif word == "settle" then
            print(settle(tonumber(number) or 0))
        elseif word == "faults" then
            print("faults " .. table.concat(faults, "; "))
        elseif word == "compute" then
            print(compute(tonumber(number)))
        else
            break
        end
    end
end, ...)
