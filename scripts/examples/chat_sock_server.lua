-- SPDX-License-Identifier: MIT
-- A chat: what a client says is shown to all others. Each client has a coro that receives; one coro knows them all. Type
-- 'quit' to end it.
--   chat_sock_server.lua [HOST [PORT]]     127.0.0.1 1234; 0: a free port
local asyncoro = require "asyncoro"

-- To each in the set but one. Who does not take it within a second is thrown out, so that nobody waits for long.
local function tell(clients, but, text)
    for client in pairs(clients) do
        if client ~= but then
            if not client:send_msg(text, 1) then client:close() end -- its own coro will say that it left
        end
    end
end

-- Gets "join", "say" and "leave" from the coros of the clients.
local function center()
    local clients = {} -- stream -> its id
    for event in asyncoro.messages() do
        local client = event.client
        if event.what == "join" then
            clients[client] = event.id
            client:send_msg("id: " .. event.id, 1)
            tell(clients, client, event.id .. " joined")
        elseif event.what == "say" then
            tell(clients, client, ("%d says: %s"):format(event.id, event.text))
        else
            clients[client] = nil
            client:close()
            tell(clients, client, event.id .. " left")
        end
    end
end

local function receive(client, chat)
    local id = client:fileno()
    chat:send { what = "join", client = client, id = id }
    for text in function() return client:recv_msg(65536) end do
        chat:send { what = "say", client = client, id = id, text = text }
    end
    chat:send { what = "leave", client = client, id = id }
end

asyncoro.run(function(host, port)
    io.stdout:setvbuf "line"
    local listener <close> = assert(asyncoro.listen(host or "127.0.0.1", math.tointeger(port) or 1234))
    print(("listening at %s:%d"):format(listener:address()))
    local chat = asyncoro.spawn({ daemon = true }, center)
    asyncoro.spawn({ daemon = true }, function()
        for client in listener:clients() do asyncoro.spawn({ daemon = true }, receive, client, chat) end
    end)
    for line in asyncoro.stdin:lines() do
        if line == "quit" or line == "exit" then break end
    end
end, ...)
