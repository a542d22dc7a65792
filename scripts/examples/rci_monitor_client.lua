-- SPDX-License-Identifier: MIT
-- Starts coros with the function that rci_monitor_server.lua offers, and watches how they end.
--   rci_monitor_client.lua [SECRET [UNIT]]     secret "test", as there; pauses of at most a UNIT of 1 second
local asyncoro = require "asyncoro"

local function watch(count)
    for _ = 1, count do
        local exit = asyncoro.receive()
        if exit.reason == "finished" then
            print(("RCI %s finished with: %s"):format(exit.coro, exit.values[1]))
        else
            print(("RCI %s %s with: %s"):format(exit.coro, exit.reason, exit.error))
        end
    end
end

asyncoro.run(function(secret, unit)
    io.stdout:setvbuf "line"
    assert(asyncoro.network { name = "client", secret = secret or "test" })
    local rci = assert(asyncoro.locate_rci "rci_1") -- anywhere
    print("RCI is at " .. tostring(rci:location()))
    local location = assert(asyncoro.locate_peer "server")
    rci = assert(asyncoro.locate_rci("rci_1", location)) -- there
    print("RCI is at " .. tostring(rci:location()))

    local watcher = asyncoro.spawn(watch, 5)
    for x = 0, 4 do
        local coro = assert(rci("test" .. x, x))
        print(("RCI %s created"):format(coro))
        watcher:monitor(coro)
        coro:send("msg:" .. x)
        asyncoro.sleep(math.random() * (tonumber(unit) or 1))
    end
end, ...)
