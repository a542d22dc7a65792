-- SPDX-License-Identifier: MIT
-- W1-W6 for the schedulers that run in stock Lua. Each gives its own `api`: spawn(fn, ...) -> task,
-- current(), send(task, msg), receive(), yield(), now(), run(main) and, where it can wait for time,
-- sleep(seconds).

local workloads <const> = {}

local function rss()
    local file <close> = assert(io.open("/proc/self/statm"))
    file:read("n")
    return file:read("n") * 4096
end

local function rate(api, n, start)
    print(n / (api.now() - start))
end

function workloads.w1(api, n)
    local spawn <const>, yield <const>, done = api.spawn, api.yield, 0
    local function trivial()
        done = done + 1
    end
    local start <const> = api.now()
    for spawned = 1000, n, 1000 do
        for _ = 1, 1000 do
            spawn(trivial)
        end
        while done < spawned do
            yield()
        end
    end
    rate(api, n, start)
end

function workloads.w2(api, n)
    local tasks <const>, waiting = {}, 0
    local function idle()
        waiting = waiting + 1
        return api.receive()
    end
    collectgarbage()
    local before <const>, start <const> = rss(), api.now()
    for i = 1, n do
        tasks[i] = api.spawn(idle)
    end
    while waiting < n do
        api.yield()
    end
    local seconds <const> = api.now() - start
    print((rss() - before) / #tasks, seconds)
    os.exit(0)
end

function workloads.w3(api, n)
    local send <const>, receive <const>, ping <const> = api.send, api.receive, api.current()
    local pong <const> = api.spawn(function()
        for _ = 1, n do
            send(ping, receive())
        end
    end)
    local start <const> = api.now()
    for i = 1, n do
        send(pong, i)
        receive()
    end
    rate(api, n, start)
end

function workloads.w4(api, n)
    local send <const>, receive <const>, sink <const> = api.send, api.receive, api.current()
    local each <const> = n // 1000
    local function sender()
        for i = 1, each do
            send(sink, i)
        end
    end
    local start <const> = api.now()
    for _ = 1, 1000 do
        api.spawn(sender)
    end
    for _ = 1, each * 1000 do
        receive()
    end
    rate(api, n, start)
end

function workloads.w5(api, n)
    local send <const>, receive <const>, rounds <const> = api.send, api.receive, n // 1000
    local function station(following)
        for _ = 1, rounds do
            send(following, receive())
        end
    end
    local following = api.current()
    for _ = 2, 1000 do
        following = api.spawn(station, following)
    end
    api.yield()
    local start <const> = api.now()
    for i = 1, rounds do
        send(following, i)
        receive()
    end
    rate(api, n, start)
end

function workloads.w6(api, n)
    local sleep <const>, random <const>, main <const>, left = api.sleep, math.random, api.current(), n
    local function sleeper()
        sleep(random())
        left = left - 1
        if left == 0 then
            api.send(main, true)
        end
    end
    local start <const> = api.now()
    for _ = 1, n do
        api.spawn(sleeper)
    end
    api.receive()
    print(api.now() - start - 1)
    os.exit(0)
end

--- Runs the workload named on the command line: WORKLOAD N.
return function(api)
    local workload <const>, n <const> = workloads[arg[1]], math.tointeger(arg[2])
    api.run(function()
        workload(api, n)
    end)
end
