-- SPDX-License-Identifier: MIT
-- Sends back what clients send, over TLS, each client in a coro of its own, until 'quit' is typed; 'reload' reads the
-- certificate again.
--   tls_echo_server.lua CERTIFICATE KEY [HOST [PORT]]     127.0.0.1 8443; port 0: a free one
-- A certificate to try it with, which signs itself:
--   openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 30 -subj /CN=localhost \
--     -addext subjectAltName=DNS:localhost,IP:127.0.0.1
local asyncoro = require "asyncoro"

-- The first read does the handshake: a client that fails in it, or is slow, is nobody else's trouble.
local function echo(stream)
    local client <close> = stream
    local data, message, code
    repeat
        data, message, code = client:read()
        if data then
            data, message, code = client:write(data)
        end
    until not data
    if code ~= "eof" then print("lost a client: " .. message) end
end

asyncoro.run(function(certificate, key, host, port)
    io.stdout:setvbuf "line"
    local listener <close> = assert(asyncoro.listen(host or "127.0.0.1", math.tointeger(port) or 8443, {
        tls = { certificate = assert(certificate, "the path of a certificate expected"), key = key },
    }))
    print(("listening at %s:%d"):format(listener:address()))
    asyncoro.spawn({ daemon = true }, function()
        for client in listener:clients() do asyncoro.spawn({ daemon = true }, echo, client) end
    end)
    for line in asyncoro.stdin:lines() do
        if line == "quit" then break end
        if line == "reload" then print(listener:context():reload()) end
    end
end, ...)
