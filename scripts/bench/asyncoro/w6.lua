-- SPDX-License-Identifier: MIT
-- W6: N coros sleep uniformly 0..1 s. Prints the seconds beyond one from the first spawn to the last wake-up.

local asyncoro <const> = require "asyncoro"

asyncoro.run(function(n)
    local sleep <const>, random <const> = asyncoro.sleep, math.random
    local main <const>, left = asyncoro.current(), n
    local function sleeper()
        sleep(random())
        left = left - 1
        if left == 0 then
            main:send(true)
        end
    end
    local start <const> = asyncoro.now()
    for _ = 1, n do
        asyncoro.spawn(sleeper)
    end
    asyncoro.receive()
    print(asyncoro.now() - start - 1)
end, math.tointeger(arg[1]))
