-- SPDX-License-Identifier: MIT
-- Savina, concurrent dictionary: 20 workers make N requests, one in ten a write, of one dictionary actor and
-- wait for each answer. Prints requests/s.

local asyncoro <const> = require "asyncoro"

local WORKERS <const> = 20

local function dictionary()
    local receive <const>, data <const> = asyncoro.receive, {}
    while true do
        local msg <const> = receive()
        local key <const>, value <const> = msg[2], msg[3]
        if value then
            data[key] = value
        end
        msg[1]:send(data[key] or 0)
    end
end

local function worker(seed, requests, dict, main)
    local receive <const>, self <const> = asyncoro.receive, asyncoro.current()
    for i = 1, requests do
        seed = (seed * 1309 + 13849) & 65535
        dict:send({ self, seed, seed % 10 == 0 and i or nil })
        receive()
    end
    main:send("done")
end

asyncoro.run(function(n)
    local start <const> = asyncoro.now()
    local dict <const> = asyncoro.spawn({ daemon = true }, dictionary)
    for i = 1, WORKERS do
        asyncoro.spawn(worker, i, n // WORKERS, dict, asyncoro.current())
    end
    for _ = 1, WORKERS do
        asyncoro.receive()
    end
    print(n / (asyncoro.now() - start))
end, math.tointeger(arg[1]))
