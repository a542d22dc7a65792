-- SPDX-License-Identifier: MIT
-- Takes what the clients of tut_sock_client.lua send, each in a coro of its own, until 'quit' is typed.
--   tut_sock_server.lua [HOST [PORT]]     127.0.0.1 8010; 0: a free port
local asyncoro = require "asyncoro"

local count = 0 -- of clients; coros share it without a lock

-- A client has said everything when what it sends ends with "/".
local function process(stream)
    local client <close> = stream
    local pieces = {}
    repeat
        local piece, message = client:read(128)
        if not piece then return print("lost a client: " .. message) end
        pieces[#pieces + 1] = piece
    until piece:sub(-1) == "/"
    count = count + 1
    print("recieved: " .. table.concat(pieces))
end

asyncoro.run(function(host, port)
    io.stdout:setvbuf "line"
    local listener <close> = assert(asyncoro.listen(host or "127.0.0.1", math.tointeger(port) or 8010))
    print(("listening at %s:%d"):format(listener:address()))
    asyncoro.spawn({ daemon = true }, function()
        for client in listener:clients() do asyncoro.spawn(process, client) end
    end)
    for line in asyncoro.stdin:lines() do
        if line == "quit" or line == "exit" then break end
    end
    print("n = " .. count)
end, ...)
