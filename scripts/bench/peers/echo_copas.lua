-- SPDX-License-Identifier: MIT
package.path = "/usr/share/lua/5.2/?.lua;" .. package.path
local copas <const> = require "copas"
local socket <const> = require "socket"

local server <const> = socket.bind("127.0.0.1", 0)
print((select(2, server:getsockname())))
io.stdout:flush()
copas.addserver(server, function(client)
    client = copas.wrap(client)
    while true do
        local data <const> = client:receive(64)
        if not data then break end
        client:send(data)
    end
end)
copas.loop()
