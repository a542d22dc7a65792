-- SPDX-License-Identifier: MIT
-- A process with coros for others to try: spec/protocol_spec.lua lets the one in Python talk to it. Prints its location.
--   partner.lua [HEARTBEAT [TIMEOUT]]
local asyncoro = require "asyncoro"

local coros = {}

-- Gives back what it is asked with.
function coros.mirror()
    while true do -- messages() would end at nil
        local message, reply = asyncoro.receive()
        if reply then reply(message) end
    end
end

-- Counts numbered messages, {number, ...}; a call is answered with the count and what was out of order.
function coros.keeper()
    local count, faults = 0, {}
    while true do
        local message, reply = asyncoro.receive()
        if reply then
            reply { count = count, faults = table.concat(faults, " ") }
            count = 0
        else
            count = count + 1
            if message[1] ~= count then faults[#faults + 1] = tostring(message[1]) end
        end
    end
end

-- Computes for so many seconds, without waiting, then looks at what has come meanwhile.
function coros.busy()
    for seconds in asyncoro.messages() do
        local stop = asyncoro.now() + seconds
        while asyncoro.now() < stop do end -- luacheck: ignore 542
        local last = 0
        repeat
            local message, reply = asyncoro.receive()
            if reply then
                reply(last)
            else
                last = message == last + 1 and message or -1
            end
        until reply
    end
end

-- Ends as it is told.
function coros.short()
    local message = asyncoro.receive()
    if message == "fail" then error("broken", 0) end
    return message, 2
end

-- Sends numbers to a coro of the other side, watches its end, and tells the coro "teller" of it.
function coros.talker()
    for other in asyncoro.messages() do
        if asyncoro.is_exit(other) then
            asyncoro.locate("teller", nil, 0):send { other.reason, other.values }
        else
            asyncoro.monitor(other)
            for n = 1, 1000 do assert(other:send { n, "some text" }) end
            assert(other:send { 1001, ("l"):rep(1000000) })
        end
    end
end

-- Keeps what it was told until it is asked.
function coros.teller()
    local told = asyncoro.receive()
    local _, reply = asyncoro.receive()
    reply(told)
end

-- Does not look at its mailbox until it is resumed.
function coros.lazy()
    asyncoro.suspend()
    local count = 0
    while true do
        local _, reply = asyncoro.receive()
        if reply then return reply(count) end
        count = count + 1
    end
end

asyncoro.run(function(heartbeat, timeout)
    io.stdout:setvbuf "line"
    local location = assert(asyncoro.network {
        name = "partner", heartbeat = tonumber(heartbeat), peer_timeout = tonumber(timeout),
    })
    local lazy
    for name, fn in pairs(coros) do
        local coro = asyncoro.spawn({ daemon = true, name = name }, fn)
        coro:register(name)
        if name == "lazy" then lazy = coro end
    end
    print(location)
    for line in asyncoro.stdin:lines() do
        if line == "resume" then lazy:resume() end
        if line == "later" then asyncoro.spawn({ daemon = true }, coros.mirror):register "later" end
        if line == "quit" then break end
    end
end, ...)
