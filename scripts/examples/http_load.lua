-- SPDX-License-Identifier: MIT
-- A small load generator: so many coros ask for a page again and again, each over a connection of its own.
--   asyncoro http_load.lua URL [CONNECTIONS [REQUESTS]]
local asyncoro = require "asyncoro"
local http <const> = asyncoro.http

local function ask(url, count, times, statuses)
    local client <close> = http.client()
    while count.left > 0 do
        count.left = count.left - 1
        local start <const> = asyncoro.now()
        local response <const>, message <const> = client:get(url)
        if response then response:body() end
        local what <const> = response and response.status or message
        statuses[what] = (statuses[what] or 0) + 1
        times[#times + 1] = asyncoro.now() - start
    end
end

local function milliseconds(times, share)
    return (times[math.max(1, math.ceil(#times * share))] or 0) * 1000
end

asyncoro.run(function(url, connections, requests)
    assert(url, "usage: http_load.lua URL [CONNECTIONS [REQUESTS]]")
    local times <const>, statuses <const> = {}, {}
    local count <const> = { left = tonumber(requests or 1000) }
    local start <const> = asyncoro.now()
    asyncoro.group(function(group)
        for _ = 1, tonumber(connections or 10) do group:spawn(ask, url, count, times, statuses) end
    end)
    local took <const> = asyncoro.now() - start
    table.sort(times)
    print(("%d requests in %.3f s: %.0f a second"):format(#times, took, #times / took))
    print(("latency in ms: median %.2f, 95%% %.2f, 99%% %.2f, longest %.2f"):format(milliseconds(times, 0.5),
        milliseconds(times, 0.95), milliseconds(times, 0.99), milliseconds(times, 1)))
    for status, n in pairs(statuses) do print(("%s: %d"):format(status, n)) end
end, ...)
