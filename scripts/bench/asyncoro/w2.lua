-- SPDX-License-Identifier: MIT
-- W2: N idle coros, each blocked in receive, handles kept. Prints bytes of RSS per coro
-- and the seconds to make them.

local asyncoro <const> = require "asyncoro"

local function rss()
    local file <close> = assert(io.open("/proc/self/statm"))
    file:read("n")
    return file:read("n") * 4096
end

asyncoro.run(function(n)
    local coros <const>, options <const>, waiting = {}, { daemon = true }, 0
    local function idle()
        waiting = waiting + 1
        return asyncoro.receive()
    end
    collectgarbage()
    local before <const>, start <const> = rss(), asyncoro.now()
    for i = 1, n do
        coros[i] = asyncoro.spawn(options, idle)
    end
    while waiting < n do
        asyncoro.yield()
    end
    local seconds <const> = asyncoro.now() - start
    print((rss() - before) / #coros, seconds)
end, math.tointeger(arg[1]))
