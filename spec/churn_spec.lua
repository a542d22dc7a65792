-- SPDX-License-Identifier: MIT
-- Ten thousand connections at once, of which some go and others come all the time: the server's memory stays what it
-- is. The clients are another program; where descriptors are few there are fewer connections.
local program <const> = require "spec.program"

local SERVER <const> = [[
local asyncoro = require "asyncoro"

local function resident()
    collectgarbage()
    local statm <close> = io.open "/proc/self/statm"
    return select(2, statm:read("n", "n")) // 256 -- MiB
end

asyncoro.run(function()
    local open, all, most, ended = 0, 0, 0, 0
    local function serve(stream)
        open, all = open + 1, all + 1
        most = math.max(most, open)
        for line in stream.read_line, stream do stream:write(line, "\n") end -- also to the end by a reset
        stream:close()
        open = open - 1
    end
    local listener <const> = assert(asyncoro.listen("127.0.0.1", 0, { backlog = 1024 }))
    print((select(2, listener:address())))
    io.stdout:flush()
    asyncoro.spawn({ daemon = true }, function()
        for stream in listener:clients() do asyncoro.spawn({ daemon = true }, serve, stream) end
    end)
    for _ in asyncoro.stdin:lines() do
        print(open, all, most, resident())
        io.stdout:flush()
    end
end)]]

-- CLIENTS PORT COUNT ROUNDS CHURN: COUNT connections; then in each round CHURN times one of them is replaced, every other
-- one after an abrupt end. Says "filled" and "churned" and waits for a line after each.
local CLIENTS <const> = [[
local asyncoro = require "asyncoro"
asyncoro.run(function(port, count, rounds, churn)
    local streams = {}
    local function connect(i)
        local stream = assert(asyncoro.connect("127.0.0.1", tonumber(port)))
        assert(stream:write(i, "\n"))
        assert(stream:read_line() == tostring(i))
        streams[i] = stream
    end
    local function pause(text)
        print(text)
        io.stdout:flush()
        asyncoro.stdin:read_line()
    end
    for i = 1, count do connect(i) end
    pause "filled"
    for round = 1, rounds do
        for k = 1, churn do
            local i = k % count + 1
            if k % 2 == 0 then streams[i]:setoption("linger", 0) end
            streams[i]:close()
            connect(i)
        end
        pause "churned"
    end
end, ...)]]

describe("a server with ten thousand connections", function()
    local folder
    setup(function() folder = program.folder() end)
    teardown(function() program.remove(folder) end)

    it("holds them, and its memory stays flat while they come and go", function()
        local allowed <const> = tonumber(program.capture "ulimit -n") or 20000
        local count <const> = math.min(10000, allowed - 100)
        local rounds <const>, churn <const> = 3, count
        local limits <const> = { seconds = 100 }
        local server <const> = program.converse({ program.write(folder .. "/server.lua", SERVER) }, limits)
        local port <const> = server:line()
        local clients <const> = program.converse({ program.write(folder .. "/clients.lua", CLIENTS), port,
            tostring(count), tostring(rounds), tostring(churn) }, limits)

        -- What the server says: connections now, in all, at most, MiB of memory.
        local function ask()
            server:type "now"
            local line <const> = server:line()
            local open <const>, all <const>, most <const>, memory <const> =
                line:match "^(%d+)\t(%d+)\t(%d+)\t(%d+)$"
            return { tonumber(open), tonumber(all), tonumber(most) }, tonumber(memory)
        end

        assert.equal("filled", clients:line())
        assert.same({ count, count, count }, (ask()))
        clients:type "go on"
        -- What the first round leaves is what all that is open at once takes, and what the collector lets be.
        local first
        for round = 1, rounds do
            assert.equal("churned", clients:line())
            local said <const>, memory <const> = ask()
            first = first or memory
            assert.equal(count + round * churn, said[2])
            assert.is_true(memory <= first * 1.15 + 2, ("%d MiB, then %d MiB"):format(first, memory))
            if round < rounds then clients:type "go on" end
        end
        clients:type "end"
        assert.same({ 0, "" }, { clients:finish() })
        assert.same({ 0, "" }, { server:finish() })
    end)
end)
