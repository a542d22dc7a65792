-- SPDX-License-Identifier: MIT
-- Structured concurrency: children that end with their group, a time limit for all, an error that cancels the rest.
local asyncoro = require "asyncoro"

-- Pretends to fetch something that takes a while.
local function fetch(name, seconds)
    asyncoro.sleep(seconds)
    if name == "broken" then error(name .. ": no answer", 0) end
    return name .. " after " .. seconds .. " s"
end

local function fetch_all(jobs)
    local results = {}
    asyncoro.group(function(group)
        for name, seconds in pairs(jobs) do
            group:spawn(function()
                local result = fetch(name, seconds) -- others run meanwhile: only now look at `results`
                results[#results + 1] = result
            end)
        end
    end)
    table.sort(results)
    return table.concat(results, ", ")
end

asyncoro.run(function()
    print("all: " .. fetch_all { one = 0.01, two = 0.02, three = 0.03 })
    print("an error: ", pcall(fetch_all, { broken = 0.01, slow = 60 }))
    print("a time limit: ", asyncoro.with_timeout(0.02, fetch_all, { slow = 60, slower = 120 }))

    local first = asyncoro.queue()
    local racers <close> = setmetatable({}, { __close = function(self)
        for _, coro in ipairs(self) do coro:terminate() end
    end })
    for _, seconds in ipairs { 60, 0.01, 30 } do
        racers[#racers + 1] = asyncoro.spawn(function() first:put(fetch("racer", seconds)) end)
    end
    print("the first: " .. first:get())
end)
