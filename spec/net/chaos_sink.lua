-- SPDX-License-Identifier: MIT
-- The receiver of chaos_source.lua: takes numbered messages and keeps what is wrong with them.
--   chaos_sink.lua PORT
local asyncoro = require "asyncoro"

-- The numbers of each sender only grow; each comes once.
local function receive()
    local me, senders, faults = tostring(asyncoro.time()), {}, {}
    local answers = {}

    function answers.who() return me end

    -- Whether these numbers of a sender have come.
    function answers.check(message)
        local seen = senders[message.from] and senders[message.from].seen or {}
        for _, n in ipairs(message.numbers) do
            if not seen[n] then faults[#faults + 1] = ("%s: %d was lost"):format(message.from, n) end
        end
        return { faults = table.concat(faults, "; "), count = senders[message.from] and senders[message.from].count or 0 }
    end

    for message, reply in asyncoro.messages() do
        if message.what then
            local answer = answers[message.what](message)
            if reply then reply(answer) end
        else
            local sender = senders[message.from] or { last = 0, count = 0, seen = {} }
            senders[message.from] = sender
            if message.n <= sender.last then
                faults[#faults + 1] = ("%s: %d after %d"):format(message.from, message.n, sender.last)
            end
            sender.last, sender.count, sender.seen[message.n] = message.n, sender.count + 1, true
        end
    end
end

asyncoro.run(function(port)
    io.stdout:setvbuf "line"
    local location = assert(asyncoro.network {
        name = "sink", port = math.tointeger(port), heartbeat = 0.3, peer_timeout = 1,
    })
    asyncoro.spawn({ daemon = true }, receive):register "sink"
    print(location)
    for line in asyncoro.stdin:lines() do
        if line == "quit" then break end
    end
end, ...)
