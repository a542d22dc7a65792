-- SPDX-License-Identifier: MIT
-- W10: N round trips of 100 bytes between two processes, one outstanding. Prints round trips/s.
local pair <const> = dofile((arg[0]:gsub("[^/]*$", "pair.lua")))

local function here(asyncoro, there, n)
    local payload <const> = ("x"):rep(100)
    for _ = 1, 100 do there:call(payload) end
    local start <const> = asyncoro.now()
    for _ = 1, n do assert(there:call(payload) == payload) end
    local figure <const> = n / (asyncoro.now() - start)
    there:send(nil)
    return figure
end

local function there(asyncoro)
    for message, reply in asyncoro.messages() do reply(message) end
end

pair(here, there)
