-- SPDX-License-Identifier: MIT
-- turn: 100 coros take N turns of sleep(0) together. Prints nanoseconds per turn.

local asyncoro <const> = require "asyncoro"

asyncoro.run(function(n)
    local sleep <const>, main <const>, left = asyncoro.sleep, asyncoro.current(), 100
    local function turner()
        for _ = 1, n // 100 do
            sleep(0)
        end
        left = left - 1
        if left == 0 then
            main:send(true)
        end
    end
    local start <const> = asyncoro.now()
    for _ = 1, 100 do
        asyncoro.spawn(turner)
    end
    asyncoro.receive()
    print((asyncoro.now() - start) * 1e9 / n)
end, math.tointeger(arg[1]))
