-- SPDX-License-Identifier: MIT
-- The home of a channel to which remote_channel_client.lua sends. One of the two subscribers is here, and takes its time.
-- Type 'quit' to end it.
--   remote_channel_server.lua [SECONDS]     it subscribes after 10 seconds
local asyncoro = require "asyncoro"

local function receiver(channel, seconds)
    asyncoro.sleep(seconds)
    channel:subscribe()
    for message in asyncoro.messages() do -- until a nil message
        print(('Received "%s" from %s at %s'):format(message.text, message.sender:name(), message.sender:location()))
    end
    channel:unsubscribe()
end

asyncoro.run(function(seconds)
    io.stdout:setvbuf "line"
    print("at " .. tostring(assert(asyncoro.network { name = "remote_channel_server" })))
    local channel = asyncoro.channel "2clients"
    channel:register()
    asyncoro.spawn({ daemon = true }, receiver, channel, tonumber(seconds) or 10)
    for line in asyncoro.stdin:lines() do
        if line == "quit" or line == "exit" then break end
    end
    channel:unregister()
end, ...)
