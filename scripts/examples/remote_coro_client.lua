-- SPDX-License-Identifier: MIT
-- Finds the coro of remote_coro_server.lua, which may be started before or after, and sends it messages without waiting
-- for anything. The program ends when all have been sent.
--   remote_coro_client.lua [COUNT [LOCATION]]     10 messages; the LOCATION, host:port, where discovery does not reach
local asyncoro = require "asyncoro"

asyncoro.run(function(count, location)
    assert(asyncoro.network { name = "remote_coro_client" })
    local server = assert(asyncoro.locate("server_coro", location))
    print("server is at " .. tostring(server:location()))
    for n = 0, (math.tointeger(count) or 10) - 1 do
        assert(server:send("message " .. n))
    end
end, ...)
