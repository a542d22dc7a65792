-- SPDX-License-Identifier: MIT
-- Savina, counting: a producer sends N increments to a counter, then asks for the count. Prints messages/s.

local asyncoro <const> = require "asyncoro"

local function counter()
    local count = 0
    while true do
        local msg <const> = asyncoro.receive()
        if msg ~= "increment" then
            msg:send(count)
            return
        end
        count = count + 1
    end
end

asyncoro.run(function(n)
    local start <const> = asyncoro.now()
    local target <const> = asyncoro.spawn(counter)
    for _ = 1, n do
        target:send("increment")
    end
    target:send(asyncoro.current())
    assert(asyncoro.receive() == n)
    print(n / (asyncoro.now() - start))
end, math.tointeger(arg[1]))
