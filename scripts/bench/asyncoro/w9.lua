-- SPDX-License-Identifier: MIT
-- W9: N messages of 100 bytes one way between two processes, in order. Prints messages/s.
local pair <const> = dofile((arg[0]:gsub("[^/]*$", "pair.lua")))

local function here(asyncoro, there, n)
    local payload <const> = ("x"):rep(100)
    local start <const> = asyncoro.now()
    for _ = 1, n do there:send(payload) end
    assert(there:call "how many?" == n) -- what was sent before has come before
    return n / (asyncoro.now() - start)
end

local function there(asyncoro)
    local receive <const> = asyncoro.receive
    local count = 0
    while true do
        local _, reply = receive()
        if reply then return reply(count) end
        count = count + 1
    end
end

pair(here, there)
