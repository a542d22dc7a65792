-- SPDX-License-Identifier: MIT
-- Sockets and the netcat of others: as clients and as servers, over TCP, UDP and Unix sockets.
local asyncoro = require "asyncoro"
local helper = require "spec.helper"
local program = require "spec.program"
local process <const>, run <const> = asyncoro.process, helper.run

local it_nc <const> = helper.needing(helper.has "nc", "nc (netcat-openbsd) is not installed", it)

local TEXT <const> = ("0123456789abcde\n"):rep(65536) -- a MiB: more than sockets hold

-- Gives each client of a listener to fn; the port, or the path.
local function serve(fn, ...)
    local listener <const> = assert(asyncoro.listen(...))
    asyncoro.spawn({ daemon = true }, function()
        for stream in listener:clients() do
            fn(stream)
            stream:close()
        end
    end)
    local _, port <const> = listener:address()
    return port
end

local function echo(stream)
    for data in stream:chunks() do stream:write(data) end
end

-- What nc prints that listens and gets what fn writes to it.
local function listening(connect, ...)
    local nc <close> = assert(process.spawn({ "nc", "-v", "-l", ... },
        { stdin = "null", stdout = "pipe", stderr = "pipe" }))
    local line <const> = assert(nc.stderr:read_line()) -- "Listening on localhost 4711"
    local stream <close> = assert(connect(tonumber(line:match "(%d+)$")))
    assert(stream:write(TEXT))
    stream:shutdown()
    local got <const> = nc.stdout:read_all(2 * #TEXT)
    assert.is_true(got == TEXT)
    nc:wait()
end

describe("sockets and nc", function()
    local folder

    before_each(function() folder = program.folder() end)
    after_each(function() program.remove(folder) end)

    it_nc("as a client over TCP, IPv4 and IPv6", function()
        run(function()
            for _, host in ipairs { "127.0.0.1", "::1" } do
                local port <const> = serve(echo, host, 0)
                local out <const>, err <const>, ok <const> = process.run({ "nc", "-N", host, port }, { input = TEXT })
                assert.is_true(ok, err)
                assert.is_true(out == TEXT)
            end
        end)
    end)

    it_nc("as a server over TCP", function()
        run(function()
            listening(function(port) return asyncoro.connect("127.0.0.1", port) end, "127.0.0.1", "0")
        end)
    end)

    it_nc("as a client over a Unix socket", function()
        run(function()
            serve(echo, "unix:" .. folder .. "/s")
            local out <const>, err <const>, ok <const> =
                process.run({ "nc", "-N", "-U", folder .. "/s" }, { input = TEXT })
            assert.is_true(ok, err)
            assert.is_true(out == TEXT)
        end)
    end)

    it_nc("as a client that leaves in the middle", function()
        run(function()
            local codes <const> = asyncoro.queue()
            local port <const> = serve(function(stream)
                local code
                repeat code = select(3, stream:write(TEXT)) until code
                codes:put(code)
            end, "127.0.0.1", 0)
            process.run { "sh", "-c", ("nc 127.0.0.1 %d </dev/null | head -c 10"):format(port) }
            assert.equal("reset", codes:get())
        end)
    end)

    it_nc("over UDP", function()
        run(function()
            local socket <close> = assert(asyncoro.udp("127.0.0.1", 0))
            local _, port <const> = socket:address()
            local nc <close> = assert(process.spawn({ "nc", "-u", "127.0.0.1", port },
                { stdin = "pipe", stdout = "pipe" }))
            nc.stdin:write "how do you do"
            local data <const>, host <const>, from <const> = assert(socket:recvfrom())
            assert.equal("how do you do", data)
            socket:sendto("very well", host, from)
            assert.equal("very well", nc.stdout:read_exact(9))
            nc:kill()
            nc:wait()
        end)
    end)
end)
