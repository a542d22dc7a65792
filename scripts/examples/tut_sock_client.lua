-- SPDX-License-Identifier: MIT
-- Clients of tut_sock_server.lua, which must be running.
--   tut_sock_client.lua [CLIENTS [PORT [HOST]]]     10 8010 127.0.0.1
local asyncoro = require "asyncoro"

local function client(host, port, n)
    local stream <close> = assert(asyncoro.connect(host, port))
    assert(stream:write(n, ": ", ("-"):rep(math.random(100, 300)), "/"))
end

asyncoro.run(function(clients, port, host)
    for n = 1, math.tointeger(clients) or 10 do
        asyncoro.spawn(client, host or "127.0.0.1", math.tointeger(port) or 8010, n)
    end
end, ...)
