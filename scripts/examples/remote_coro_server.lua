-- SPDX-License-Identifier: MIT
-- A coro that others send messages to: see remote_coro_client.lua. Type 'quit' to end it.
-- The two find each other by themselves: on one machine as they are, on several when ASYNCORO_SECRET or
-- ASYNCORO_SECRET_FILE gives all of them the same secret.
local asyncoro = require "asyncoro"

local function server_coro()
    for message in asyncoro.messages() do
        print("Received " .. message)
    end
end

asyncoro.run(function()
    io.stdout:setvbuf "line"
    print("at " .. tostring(assert(asyncoro.network { name = "remote_coro_server" })))
    asyncoro.spawn({ daemon = true }, server_coro):register()
    for line in asyncoro.stdin:lines() do
        if line == "quit" or line == "exit" then break end
    end
end, ...)
