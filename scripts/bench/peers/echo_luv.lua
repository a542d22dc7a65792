-- SPDX-License-Identifier: MIT
local uv <const> = require "luv"

local server <const> = uv.new_tcp()
server:bind("127.0.0.1", 0)
server:listen(1024, function()
    local client <const> = uv.new_tcp()
    server:accept(client)
    client:read_start(function(_, data)
        if data then client:write(data) else client:close() end
    end)
end)
print(server:getsockname().port)
io.stdout:flush()
uv.run()
