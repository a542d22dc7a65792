-- SPDX-License-Identifier: MIT
-- New code for the coros of hotswap.lua. It may be edited while that runs: it is loaded again for each swap.
local asyncoro = require "asyncoro"

function server_proc2(fname)
    local me, fn = asyncoro.current(), math[fname]
    asyncoro.hot_swappable(function(new)
        print(("\n replacing with function: %s, %d\n"):format(new.name, new.nparams))
        return true
    end)
    for number in asyncoro.messages() do
        print(("  * %s received: %d,  %s=%.2f"):format(me, number, fname, fn(number)))
    end
end

function client_proc2(server, longest)
    asyncoro.hot_swappable(true)
    local number = 40
    while true do
        number = number + 2
        print(("  * %s: sending %d"):format(asyncoro.current(), number))
        server:send(number)
        asyncoro.sleep(longest * 2 / 3 + math.random() * longest * 4 / 3)
    end
end
