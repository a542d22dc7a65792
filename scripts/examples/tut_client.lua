-- SPDX-License-Identifier: MIT
-- Clients send messages to the coro of tut_server.lua in another process. They share a counter without any lock: coros
-- only switch where they wait.
--   tut_client.lua [CLIENTS [LONGEST]]     10 clients, pauses of at most 3 seconds
local asyncoro = require "asyncoro"

asyncoro.run(function(clients, longest)
    longest = tonumber(longest) or 3
    assert(asyncoro.network { name = "tut_client" })
    local messages = 0

    local function client(n)
        local server = assert(asyncoro.locate "server_coro") -- each waits until it is there
        for x = 0, 2 do
            asyncoro.suspend(longest / 6 + math.random() * longest * 5 / 6) -- nobody resumes it: a pause
            messages = messages + 1
            assert(server:send(("%d: %d / %d"):format(messages, n, x)))
        end
    end

    for n = 1, math.tointeger(clients) or 10 do
        asyncoro.spawn(client, n)
    end
end, ...)
