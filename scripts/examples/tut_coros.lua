-- SPDX-License-Identifier: MIT
-- Coros that sleep for a random time each; all of them wait at once, so the whole takes as long as the longest.
--   tut_coros.lua [COUNT [LONGEST]]     10 coros, at most 3 seconds
local asyncoro = require "asyncoro"

local function sleeper(n, longest)
    local seconds = longest / 6 + math.random() * longest * 5 / 6
    print(("%f: coroutine %d sleeping for %f seconds"):format(asyncoro.time(), n, seconds))
    asyncoro.sleep(seconds)
    print(("%f: coroutine %d terminating"):format(asyncoro.time(), n))
end

asyncoro.run(function(count, longest)
    for n = 0, (math.tointeger(count) or 10) - 1 do
        asyncoro.spawn(sleeper, n, tonumber(longest) or 3)
    end
end, ...)
