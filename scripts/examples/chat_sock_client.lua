-- SPDX-License-Identifier: MIT
-- A client of chat_sock_server.lua, which must be running: sends the lines that are typed, prints what comes. 'quit' ends
-- it.
--   chat_sock_client.lua [HOST [PORT]]     127.0.0.1 1234
local asyncoro = require "asyncoro"

local function send_lines(stream)
    for line in asyncoro.stdin:lines() do
        if line == "quit" or line == "exit" then break end
        if line ~= "" and not stream:send_msg(line) then break end
    end
    stream:shutdown() -- the server answers by closing the connection
end

asyncoro.run(function(host, port)
    io.stdout:setvbuf "line"
    local stream <close> = assert(asyncoro.connect(host or "127.0.0.1", math.tointeger(port) or 1234))
    asyncoro.spawn({ daemon = true }, send_lines, stream)
    for message in function() return stream:recv_msg() end do print(message) end
end, ...)
