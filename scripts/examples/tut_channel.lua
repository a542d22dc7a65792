-- SPDX-License-Identifier: MIT
-- A channel broadcasts numbers to two coros: one adds them, the other multiplies them.
local asyncoro = require "asyncoro"

local function sum(channel)
    channel:subscribe()
    local result = 0
    for number in asyncoro.messages() do -- until a nil message
        result = result + number
    end
    channel:unsubscribe()
    print(("sum: %f"):format(result))
end

local function product(channel)
    channel:subscribe()
    local result = 1
    for number in asyncoro.messages() do
        result = result * number
    end
    channel:unsubscribe()
    print(("prod: %f"):format(result))
end

local function client(channel)
    for _ = 1, 4 do
        local number = 0.5 + math.random() * 2.5
        channel:send(number)
        print(("sent %f"):format(number))
    end
    channel:send(nil)
end

asyncoro.run(function()
    local channel = asyncoro.channel "sum_prod"
    asyncoro.spawn(sum, channel)
    asyncoro.spawn(product, channel)
    asyncoro.yield() -- both subscribe
    asyncoro.spawn(client, channel)
end)
