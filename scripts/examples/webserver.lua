-- SPDX-License-Identifier: MIT
-- The server of a "ping pong" benchmark: answers whatever it is asked with "Pong!", until 'quit' is typed.
--   webserver.lua [HOST [PORT]]     127.0.0.1 8010; 0: a free port
local asyncoro = require "asyncoro"

local ANSWER = "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nPong!\r\n"

local function process(stream)
    local client <close> = stream
    client:write(ANSWER)
    client:shutdown()
    client:read_all(65536, 5) -- a connection closed with something unread is reset, and the answer perhaps lost
end

asyncoro.run(function(host, port)
    io.stdout:setvbuf "line"
    local listener <close> = assert(asyncoro.listen(host or "127.0.0.1", math.tointeger(port) or 8010))
    print(("listening at %s:%d"):format(listener:address()))
    asyncoro.spawn({ daemon = true }, function()
        for client in listener:clients() do asyncoro.spawn({ daemon = true }, process, client) end
    end)
    for line in asyncoro.stdin:lines() do
        if line == "quit" or line == "exit" then break end
    end
end, ...)
