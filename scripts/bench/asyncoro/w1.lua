-- SPDX-License-Identifier: MIT
-- W1: spawn and finish N trivial coros in batches of 1,000; one shared function, handles dropped.
-- Prints coros/s.

local asyncoro <const> = require "asyncoro"

asyncoro.run(function(n)
    local spawn <const>, yield <const>, done = asyncoro.spawn, asyncoro.yield, 0
    local function trivial()
        done = done + 1
    end
    local start <const> = asyncoro.now()
    for spawned = 1000, n, 1000 do
        for _ = 1, 1000 do
            spawn(trivial)
        end
        while done < spawned do
            yield()
        end
    end
    print(n / (asyncoro.now() - start))
end, math.tointeger(arg[1]))
