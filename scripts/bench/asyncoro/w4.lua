-- SPDX-License-Identifier: MIT
-- W4: fan-in, 1,000 senders of N / 1,000 messages each to one receiver. Prints messages/s.

local asyncoro <const> = require "asyncoro"

asyncoro.run(function(n)
    local receive <const> = asyncoro.receive
    local sink <const>, each <const> = asyncoro.current(), n // 1000
    local function sender()
        for i = 1, each do
            sink:send(i)
        end
    end
    local start <const> = asyncoro.now()
    for _ = 1, 1000 do
        asyncoro.spawn(sender)
    end
    for _ = 1, each * 1000 do
        receive()
    end
    print(n / (asyncoro.now() - start))
end, math.tointeger(arg[1]))
