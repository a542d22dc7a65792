-- SPDX-License-Identifier: MIT
local cqueues <const> = require "cqueues"
local socket <const> = require "cqueues.socket"

local loop <const> = cqueues.new()
local server <const> = socket.listen("127.0.0.1", 0)
server:listen()
print((select(3, server:localname())))
io.stdout:flush()
loop:wrap(function()
    for client in server:clients() do
        client:setmode("b", "bn")
        loop:wrap(function()
            while true do
                local data <const> = client:read(-65536)
                if not data then break end
                client:write(data)
            end
            client:close()
        end)
    end
end)
assert(loop:loop())
