-- SPDX-License-Identifier: MIT
-- Runs the body of a test as a program of its own, and looks afterwards whether it left anything behind.

local asyncoro = require "asyncoro"

local helper = {}

local LIMIT = tonumber(os.getenv("ASYNCORO_TEST_LIMIT")) or 20

if os.getenv("ASYNCORO_TEST_GC") == "stress" then
    collectgarbage("incremental", 1, 1000)
end

-- Descriptors that this process has open. (Not through io.popen, whose own may be there or not.)
function helper.open_fds()
    local name = os.tmpname()
    assert(os.execute(("ls /proc/%d/fd >%s"):format(helper.pid(), name)))
    local count = 0
    for _ in io.lines(name) do count = count + 1 end
    os.remove(name)
    return count
end

function helper.pid()
    local stat = assert(io.open("/proc/self/stat"))
    local pid = stat:read("n")
    stat:close()
    return math.tointeger(pid)
end

--- `it` (or `describe`, which is given) when what it needs is there; otherwise one that says by name what is missing.
function helper.needing(present, missing, it, describe)
    if present then return describe or it end
    return function(name) it(name .. " # SKIP " .. missing, function() end) end
end

--- Can this command be run?
function helper.has(command)
    return os.execute(("command -v %s >/dev/null 2>&1"):format(command)) or false
end

--- Does this machine speak IPv6 to itself?
function helper.has_ipv6()
    local list <close> = io.open "/proc/net/if_inet6"
    return list ~= nil and ("\n" .. list:read "a"):find "\n0+1 " ~= nil
end

--- The rest of the results, after nil, a message with this text in it, and this code.
function helper.fails(code, text, ...)
    local value, message, word = ...
    assert(value == nil, "it did not fail")
    assert(word == code, message)
    assert(message:find(text, 1, true), message)
    return select(4, ...)
end

--- Run fn(...) as the main coro of a program; at most `limit` seconds. Raises its error. Afterwards no coro and no
-- wait may be left.
function helper.run(fn, limit)
    local results = table.pack(asyncoro.run(function()
        local r = table.pack(asyncoro.with_timeout(limit or LIMIT, function() return "done", fn() end))
        if r[1] ~= "done" then error("the test took longer than " .. (limit or LIMIT) .. " s", 0) end
        return table.unpack(r, 2, r.n)
    end))
    collectgarbage()
    collectgarbage()
    local stats = asyncoro.stats()
    assert(stats.live == 0, "coros are left: " .. stats.live)
    assert(stats.waiting == 0, "waits are left: " .. stats.waiting)
    assert(stats.timers == 0, "timers are left: " .. stats.timers)
    assert(stats.isolates == 0, "isolates are left: " .. stats.isolates)
    return table.unpack(results, 1, results.n)
end

return helper
