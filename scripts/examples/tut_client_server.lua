-- SPDX-License-Identifier: MIT
-- Clients send messages to a server. They share a counter without any lock: coros only switch where they wait.
--   tut_client_server.lua [CLIENTS [LONGEST]]     10 clients, pauses of at most 3 seconds
local asyncoro = require "asyncoro"

local function server()
    for message in asyncoro.messages() do
        print("processing " .. message)
    end
end

asyncoro.run(function(clients, longest)
    longest = tonumber(longest) or 3
    local receiver = asyncoro.spawn({ daemon = true }, server)
    local messages = 0

    local function client(n)
        for x = 0, 2 do
            asyncoro.suspend(longest / 6 + math.random() * longest * 5 / 6) -- nobody resumes it: a pause
            messages = messages + 1
            receiver:send(("%d: %d / %d"):format(messages, n, x))
        end
    end

    for n = 1, math.tointeger(clients) or 10 do
        asyncoro.spawn(client, n)
    end
end, ...)
