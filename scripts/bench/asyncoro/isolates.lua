-- SPDX-License-Identifier: MIT
-- isolates: N small messages one way from this engine to a coro of another isolate. Prints messages/s.

local asyncoro <const> = require "asyncoro"

asyncoro.run(function(n)
    local sink <const> = asyncoro.isolate(function(count, home)
        home:send("ready")
        for _ = 1, count do
            asyncoro.receive()
        end
        home:send("done")
    end, n, asyncoro.current())
    asyncoro.receive()
    local start <const> = asyncoro.now()
    for i = 1, n do
        sink:send(i)
    end
    asyncoro.receive()
    print(n / (asyncoro.now() - start))
end, math.tointeger(arg[1]))
