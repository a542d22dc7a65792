-- SPDX-License-Identifier: MIT
-- idle: N idle TCP connections (or as many as descriptors may be open), a coro that reads on each; the clients are
-- another process. Prints bytes of the server's resident memory for each.
local asyncoro <const> = require "asyncoro"

local function resident()
    collectgarbage()
    local statm <close> = assert(io.open "/proc/self/statm")
    return select(2, statm:read("n", "n")) * 4096
end

local function allowed()
    local limits <close> = assert(io.open "/proc/self/limits")
    return math.tointeger(limits:read("a"):match "Max open files%s+(%d+)") or math.huge
end

local function serve(n)
    n = math.min(n, allowed() - 100)
    local listener <const> = assert(asyncoro.listen("127.0.0.1", 0, { backlog = 4096 }))
    local _, port <const> = listener:address()
    local clients <close> = assert(asyncoro.process.spawn({ arg[-1], arg[0], n, port }, { stdin = "pipe" }))
    local before <const> = resident()
    local streams <const> = {}
    for i = 1, n do
        streams[i] = assert(listener:accept())
        asyncoro.spawn({ daemon = true }, streams[i].read, streams[i])
    end
    asyncoro.yield()
    print((resident() - before) / n)
    clients.stdin:close()
    clients:wait()
end

local function connect(n, port)
    local streams <const> = {}
    for i = 1, n do streams[i] = assert(asyncoro.connect("127.0.0.1", port)) end
    asyncoro.stdin:read()
    for _, stream in ipairs(streams) do stream:close() end
end

asyncoro.run(arg[2] and connect or serve, math.tointeger(arg[1]), math.tointeger(arg[2]))
