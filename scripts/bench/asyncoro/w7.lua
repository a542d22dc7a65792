-- SPDX-License-Identifier: MIT
local asyncoro <const> = require "asyncoro"

local function echo(stream)
    while true do
        local data <const> = stream:read()
        if not data or not stream:write(data) then break end
    end
    stream:close()
end

asyncoro.run(function()
    local listener <const> = assert(asyncoro.listen("127.0.0.1", 0))
    print((select(2, listener:address())))
    io.stdout:flush()
    for stream in listener:clients() do asyncoro.spawn(echo, stream) end
end)
