-- SPDX-License-Identifier: MIT
-- A client of chat_chan_server.lua: what is typed goes to all others, what they say is printed. 'quit' ends it.
--   chat_chan_client.lua [LOCATION]     of the server, where discovery does not reach
local asyncoro = require "asyncoro"

-- Prints what others say.
local function receive(channel, id, ready)
    channel:subscribe()
    ready:set()
    for message in asyncoro.messages() do
        if message.id ~= id then print(("    %d %s"):format(message.id, message.text)) end
    end
end

asyncoro.run(function(location)
    io.stdout:setvbuf "line"
    assert(asyncoro.network { name = "chat_chan_client" })
    local server = assert(asyncoro.locate("chat_server", location))
    assert(server:send { what = "join", client = asyncoro.current() })
    local id = asyncoro.receive()
    local channel = assert(asyncoro.locate_channel("chat_channel", server:location()))
    local ready = asyncoro.event()
    asyncoro.spawn({ daemon = true }, receive, channel, id, ready)
    ready:wait()
    print("you are " .. id)
    for line in asyncoro.stdin:lines() do
        if line == "quit" or line == "exit" then break end
        if line ~= "" and not channel:send { id = id, text = line } then break end
    end
    server:send { what = "quit", id = id }
end, ...)
