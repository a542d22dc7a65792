-- SPDX-License-Identifier: MIT
-- The server of tut_client.lua: prints what the clients send. Type 'quit' to end it.
-- Beside tut_client_server.lua: the coro is registered here and located there, all else is the same.
local asyncoro = require "asyncoro"

local function server()
    for message in asyncoro.messages() do
        print("processing " .. message)
    end
end

asyncoro.run(function()
    io.stdout:setvbuf "line"
    print("at " .. tostring(assert(asyncoro.network { name = "tut_server" })))
    asyncoro.spawn({ daemon = true }, server):register "server_coro"
    for line in asyncoro.stdin:lines() do
        if line == "quit" or line == "exit" then break end
    end
end, ...)
