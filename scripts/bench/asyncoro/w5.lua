-- SPDX-License-Identifier: MIT
-- W5: a token makes N hops round a ring of 1,000 coros. Prints hops/s.

local asyncoro <const> = require "asyncoro"

local SIZE <const> = 1000

asyncoro.run(function(n)
    local receive <const>, rounds <const> = asyncoro.receive, n // SIZE
    local function station(following)
        for _ = 1, rounds do
            following:send(receive())
        end
    end
    local following = asyncoro.current()
    for _ = 2, SIZE do
        following = asyncoro.spawn(station, following)
    end
    asyncoro.yield()
    local start <const> = asyncoro.now()
    for i = 1, rounds do
        following:send(i)
        receive()
    end
    print(n / (asyncoro.now() - start))
end, math.tointeger(arg[1]))
