-- SPDX-License-Identifier: MIT
-- Offers a function that rci_monitor_client.lua starts as coros here: no code travels, and nothing else can be started.
-- Type 'quit' to end it.
--   rci_monitor_server.lua [SECRET [UNIT]]     secret "test"; a coro sleeps at most 4 UNITs of 1 second
local asyncoro = require "asyncoro"

asyncoro.run(function(secret, unit)
    io.stdout:setvbuf "line"
    print("at " .. tostring(assert(asyncoro.network { name = "server", secret = secret or "test" })))
    unit = tonumber(unit) or 1

    local rci = asyncoro.rci(function(a, b)
        local me = tostring(asyncoro.current())
        print(("running %s with %s, %d"):format(me, a, b))
        local message = asyncoro.receive()
        if b % 2 == 1 then error("invalid invocation: " .. b, 0) end
        asyncoro.sleep(b * unit)
        print(me .. " done")
        return message
    end, "rci_1")
    assert(rci:register())

    for line in asyncoro.stdin:lines() do
        if line == "quit" or line == "exit" then break end
    end
    rci:unregister()
end, ...)
