-- SPDX-License-Identifier: MIT
-- Sends the lines that are typed to tls_echo_server.lua, which must be running, and prints what comes back.
--   tls_echo_client.lua CA [HOST [PORT]]     localhost 8443; CA: the server's certificate, or that of its authority
local asyncoro = require "asyncoro"

asyncoro.run(function(ca, host, port)
    io.stdout:setvbuf "line"
    local stream <close> = assert(asyncoro.connect(host or "localhost", math.tointeger(port) or 8443, {
        tls = { ca = assert(ca, "the path of a certificate expected") }, timeout = 10,
    }))
    local info = assert(stream:tls_info())
    print(("%s, %s, %s"):format(info.version, info.cipher, info.peer.subject))
    for line in asyncoro.stdin:lines() do
        assert(stream:write(line, "\n"))
        print(assert(stream:read_line()))
    end
end, ...)
