-- SPDX-License-Identifier: MIT
-- Clients send datagrams to a server.
--   udp.lua [CLIENTS]     50
local asyncoro = require "asyncoro"

local function server(socket, count)
    for _ = 1, count do
        local data, host, port = assert(socket:recvfrom(1024, 10)) -- a datagram may be lost: do not wait for ever
        print(('Received "%s" from %s:%d'):format(data, host, port))
    end
end

local function client(host, port)
    local socket <close> = assert(asyncoro.udp("127.0.0.1"))
    asyncoro.yield() -- the others make theirs meanwhile
    assert(socket:sendto("client socket: " .. socket:fileno(), host, port))
end

asyncoro.run(function(clients)
    clients = math.tointeger(clients) or 50
    local socket <close> = assert(asyncoro.udp("127.0.0.1"))
    local host, port = socket:address()
    local receiver = asyncoro.spawn(server, socket, clients)
    for _ = 1, clients do asyncoro.spawn(client, host, port) end
    assert(receiver:finish())
end, ...)
