-- SPDX-License-Identifier: MIT
-- W3: ping-pong between two coros, N round trips. Prints round trips/s.

local asyncoro <const> = require "asyncoro"

asyncoro.run(function(n)
    local receive <const> = asyncoro.receive
    local ping <const> = asyncoro.current()
    local pong <const> = asyncoro.spawn(function()
        for _ = 1, n do
            ping:send(receive())
        end
    end)
    local start <const> = asyncoro.now()
    for i = 1, n do
        pong:send(i)
        receive()
    end
    print(n / (asyncoro.now() - start))
end, math.tointeger(arg[1]))
