-- SPDX-License-Identifier: MIT
-- Sends messages over the channel of remote_channel_server.lua, each as soon as two coros get it: one here, one there.
local asyncoro = require "asyncoro"

-- The handle of the sender travels inside each message, and works wherever it arrives.
local function sender_proc(channel)
    for n = 0, 9 do
        local count = assert(channel:deliver({ text = "message " .. n, sender = asyncoro.current() }, nil, 2))
        print("delivered to: " .. count)
    end
    channel:send(nil)
end

asyncoro.run(function()
    io.stdout:setvbuf "line"
    assert(asyncoro.network { name = "remote_channel_client" })
    local channel = assert(asyncoro.locate_channel "2clients")
    print("server is at " .. tostring(channel:location()))
    assert(channel:subscribe())
    asyncoro.spawn(sender_proc, channel)
    for message in asyncoro.messages() do -- until a nil message
        print(('Received "%s" from %s at %s'):format(message.text, message.sender:name(), message.sender:location()))
    end
    channel:unsubscribe()
end, ...)
