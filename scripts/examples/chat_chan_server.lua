-- SPDX-License-Identifier: MIT
-- A chat over a channel: chat_chan_client.lua sends what is typed there to the channel, which passes it on to all, but
-- drops what is shouted. Type 'quit' to end it.
local asyncoro = require "asyncoro"

-- What the channel passes on of a message {id, text}.
local function transform(_, message)
    local text = message.text
    if text == "joined" then return { id = message.id, text = "joined :-)" } end
    if text == "bye" then return { id = message.id, text = "left :-(" } end
    if text:find "%u" and not text:find "%l" then return nil end
    return { id = message.id, text = "says: " .. text }
end

-- Gives a number to each client that joins, and tells the others who comes and goes.
local function chat_server(channel)
    local last = 0
    for message in asyncoro.messages() do
        if message.what == "join" then
            last = last + 1
            channel:send { id = last, text = "joined" }
            message.client:send(last)
        elseif message.what == "quit" then
            channel:send { id = message.id, text = "bye" }
        end
    end
end

asyncoro.run(function()
    io.stdout:setvbuf "line"
    print("at " .. tostring(assert(asyncoro.network { name = "chat_chan_server" })))
    local channel = asyncoro.channel("chat_channel", { transform = transform })
    channel:register()
    local server = asyncoro.spawn({ daemon = true }, chat_server, channel)
    server:register()
    for line in asyncoro.stdin:lines() do
        if line == "quit" or line == "exit" then break end
    end
    server:unregister()
    server:send(nil) -- ends its loop
    server:finish()
    channel:unregister()
end, ...)
