-- SPDX-License-Identifier: MIT
local asyncoro <const> = require "asyncoro"

local function pong()
    return "Pong!"
end

asyncoro.run(function()
    local server <const> = assert(asyncoro.http.serve { handler = pong })
    print((select(2, server:address())))
    io.stdout:flush()
end)
