-- SPDX-License-Identifier: MIT
-- Work on other threads: isolates that count primes, each in an engine of its own, and a thread pool for calls.
--   tut_isolates.lua [WORKERS [LIMIT]]     4 isolates, primes below 20,000
local asyncoro = require "asyncoro"

local function is_prime(n)
    for d = 2, math.floor(math.sqrt(n)) do
        if n % d == 0 then return false end
    end
    return n > 1
end

-- Runs in an isolate: takes ranges from its mailbox and answers with the number of primes.
local function count_primes()
    for range, reply in asyncoro.messages() do
        local count = 0
        for n = range.first, range.last do
            if is_prime(n) then count = count + 1 end
        end
        reply(count)
    end
end

asyncoro.run(function(workers, limit)
    workers, limit = math.tointeger(workers) or 4, math.tointeger(limit) or 20000
    local step, total = limit // (workers * 4) + 1, 0
    local ranges = asyncoro.queue()
    for first = 1, limit, step do
        ranges:put { first = first, last = math.min(first + step - 1, limit) }
    end
    ranges:close()

    asyncoro.group(function(group)
        for _ = 1, workers do
            group:spawn(function()
                local worker = asyncoro.isolate(count_primes)
                for range in ranges:values() do
                    local count = worker:call(range) -- others change the total meanwhile
                    total = total + count
                end
                worker:send(nil)
                worker:finish()
            end)
        end
    end)
    print(("%d primes below %d, counted by %d isolates"):format(total, limit, workers))

    local pool <close> = asyncoro.thread_pool(2)
    print("97 is prime: " .. tostring(pool:call(is_prime, 97)))
end, ...)
