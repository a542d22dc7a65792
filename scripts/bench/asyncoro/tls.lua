-- SPDX-License-Identifier: MIT
-- The server of the workloads tls and shake: see peers/tls.c.
local asyncoro <const> = require "asyncoro"

local CHUNK <const> = ("\0"):rep(65536)

local function answer(stream)
    local asked <const> = stream:read_exact(4)
    for _ = 1, asked and string.unpack(">I4", asked) or 0 do
        if not stream:write(CHUNK) then break end
    end
    stream:close()
end

asyncoro.run(function()
    local listener <const> = assert(asyncoro.listen("127.0.0.1", 0,
        { tls = { certificate = os.getenv "BENCH_PEM", suites = "TLS_AES_128_GCM_SHA256" } }))
    print((select(2, listener:address())))
    io.stdout:flush()
    for stream in listener:clients() do asyncoro.spawn(answer, stream) end
end)
