-- SPDX-License-Identifier: MIT
-- Savina, chameneos: 100 creatures of three colours meet in pairs at a mall, N meetings. Prints meetings/s.

local asyncoro <const> = require "asyncoro"

local CREATURES <const> = 100

local function complement(one, other)
    return one == other and one or 3 - one - other
end

local function creature(mall, colour)
    local receive <const>, self <const>, met = asyncoro.receive, asyncoro.current(), 0
    while true do
        mall:send({ "meet", self, colour })
        local msg <const> = receive()
        local kind <const> = msg[1]
        if kind == "exit" then
            mall:send({ "count", met })
            return
        end
        met = met + 1
        if kind == "meet" then
            colour = complement(colour, msg[3])
            msg[2]:send({ "change", colour })
        else
            colour = msg[2]
        end
    end
end

local function run_mall(meetings)
    local receive <const> = asyncoro.receive
    local left, ended, sum, waiting = meetings, 0, 0, nil
    while ended < CREATURES do
        local msg <const> = receive()
        if msg[1] == "count" then
            ended, sum = ended + 1, sum + msg[2]
        elseif left == 0 then
            msg[2]:send({ "exit" })
        elseif not waiting then
            waiting = msg[2]
        else
            waiting:send(msg)
            waiting, left = nil, left - 1
        end
    end
    assert(sum == 2 * meetings)
end

asyncoro.run(function(n)
    local start <const> = asyncoro.now()
    for i = 1, CREATURES do
        asyncoro.spawn(creature, asyncoro.current(), i % 3)
    end
    run_mall(n)
    print(n / (asyncoro.now() - start))
end, math.tointeger(arg[1]))
