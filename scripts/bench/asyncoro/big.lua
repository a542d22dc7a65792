-- SPDX-License-Identifier: MIT
-- Savina, big: 120 actors, each sends N / 120 pings to actors picked at random, one at a time, and answers
-- the pings of the others; a sink ends them. Prints pings/s.

local asyncoro <const> = require "asyncoro"

local ACTORS <const> = 120

local function actor(seed, pings, sink)
    local receive <const>, self <const> = asyncoro.receive, asyncoro.current()
    local others <const>, left = receive(), pings
    local function ping()
        seed = (seed * 1309 + 13849) & 65535
        others[seed % ACTORS + 1]:send(self)
    end
    ping()
    while true do
        local msg <const> = receive()
        if msg == "exit" then
            return
        elseif msg ~= "pong" then
            msg:send("pong")
        elseif left > 1 then
            left = left - 1
            ping()
        else
            sink:send("done")
        end
    end
end

asyncoro.run(function(n)
    local actors <const>, start <const> = {}, asyncoro.now()
    for i = 1, ACTORS do
        actors[i] = asyncoro.spawn(actor, i, n // ACTORS, asyncoro.current())
    end
    for i = 1, ACTORS do
        actors[i]:send(actors)
    end
    for _ = 1, ACTORS do
        asyncoro.receive()
    end
    for i = 1, ACTORS do
        actors[i]:send("exit")
    end
    print(n / (asyncoro.now() - start))
end, math.tointeger(arg[1]))
