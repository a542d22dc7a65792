-- SPDX-License-Identifier: MIT
-- idle10m: N idle coros (10 million by default), and is the engine still responsive? Prints bytes of RSS
-- per coro, the seconds to make them, the seconds of a full collection, and the worst lateness in seconds of
-- 200 timers of 10 ms while a coro makes garbage.

local asyncoro <const> = require "asyncoro"

local function rss()
    local file <close> = assert(io.open("/proc/self/statm"))
    file:read("n")
    return file:read("n") * 4096
end

local function worst_lateness()
    local worst = 0
    for _ = 1, 200 do
        local start <const> = asyncoro.now()
        asyncoro.sleep(0.01)
        worst = math.max(worst, asyncoro.now() - start - 0.01)
        for i = 1, 1000 do
            local _ <const> = { i }
        end
    end
    return worst
end

asyncoro.run(function(n)
    local options <const>, waiting = { daemon = true }, 0
    local function idle()
        waiting = waiting + 1
        return asyncoro.receive()
    end
    collectgarbage()
    local before <const>, start <const> = rss(), asyncoro.now()
    for spawned = 1000, n, 1000 do
        for _ = 1, 1000 do
            asyncoro.spawn(options, idle)
        end
        while waiting < spawned do
            asyncoro.yield()
        end
    end
    local seconds <const> = asyncoro.now() - start
    local bytes <const> = (rss() - before) / n
    local collecting <const> = asyncoro.now()
    collectgarbage()
    local pause <const> = asyncoro.now() - collecting
    print(bytes, seconds, pause, worst_lateness())
end, math.tointeger(arg[1]))
