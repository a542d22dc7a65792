-- SPDX-License-Identifier: MIT
-- Connecting, listening, and what only sockets have. What all streams do is in stream_spec.lua.
local asyncoro = require "asyncoro"
local helper = require "spec.helper"
local program = require "spec.program"

local fails, run = helper.fails, helper.run

local function listen(...) return assert(asyncoro.listen(...)) end

local function local_listener(opts)
    local listener <const> = listen("127.0.0.1", 0, opts)
    return listener, select(2, listener:address())
end

-- Both ends of a TCP connection.
local function tcp_pair()
    local listener <close>, port = local_listener()
    local client <const> = assert(asyncoro.connect("127.0.0.1", port))
    return client, assert(listener:accept())
end

-- A listener at this address which takes no connection any more, without refusing any: as a machine that is down.
local function deaf(host, port)
    local listener <const> = listen(host, port or 0, { backlog = 0 })
    local _, at <const> = listener:address()
    local waiting <const> = {}
    repeat
        local stream = asyncoro.connect(host, at, { timeout = 0.05 })
        waiting[#waiting + 1] = stream
    until not stream
    return setmetatable({}, { __close = function()
        listener:close()
        for _, stream in ipairs(waiting) do stream:close() end
    end }), at
end

local it_ipv6 <const> = helper.needing(helper.has_ipv6(), "there is no IPv6 on this machine", it)

describe("asyncoro.connect and asyncoro.listen", function()
    it("make connections, whose ends know their addresses", function()
        run(function()
            local listener <close>, port = local_listener()
            assert.same({ "127.0.0.1", port }, { listener:address() })
            assert.equal("listener 127.0.0.1:" .. port, tostring(listener))
            local client <close> = assert(asyncoro.connect("127.0.0.1", port))
            local server <close> = assert(listener:accept())
            assert.same({ "127.0.0.1", port }, { client:peer() })
            assert.same({ "127.0.0.1", port }, { server:address() })
            assert.same({ client:address() }, { server:peer() })
            assert.equal("stream 127.0.0.1:" .. port, tostring(client))
            client:write "to the server"
            assert.equal("to the server", server:read())
            server:write "back"
            assert.equal("back", client:read())
        end)
    end)

    it("are those of asyncoro.socket", function()
        assert.equal(asyncoro.socket.connect, asyncoro.connect)
        assert.equal(asyncoro.socket.listen, asyncoro.listen)
    end)

    it_ipv6("speak IPv6, and with one listener both", function()
        run(function()
            local listener <close> = listen(nil, 0)
            local host <const>, port <const> = listener:address()
            assert.equal("::", host)
            local six <close> = assert(asyncoro.connect("::1", port))
            assert.equal("::1", (assert(listener:accept()):peer()))
            assert.equal("stream [::1]:" .. port, tostring(six))
            local four <close> = assert(asyncoro.connect("127.0.0.1", port))
            local server <close> = assert(listener:accept())
            assert.same({ four:address() }, { server:peer() })
            local only <close> = listen("::", 0, { v6_only = true })
            fails("refused", "connect 127.0.0.1", asyncoro.connect("127.0.0.1", select(2, only:address())))
        end)
    end)

    it("take names", function()
        run(function()
            local listener <close> = listen("*", 0)
            local _, port <const> = listener:address()
            local client <close> = assert(asyncoro.connect("localhost", port, { timeout = 10 }))
            assert.truthy(listener:accept(5))
            assert.is_true(client:is_open())
            local named <close> = listen("localhost", 0)
            assert.truthy(named:address())
        end)
    end)

    it("fail in words when the name is none", function()
        run(function()
            local _, _, code <const> = asyncoro.connect("no such host", 80, { timeout = 10 })
            assert.truthy(code)
            fails(code, "connect no such host:80: ", asyncoro.connect("no such host", 80, { timeout = 10 }))
            fails(code, "listen no such host:80: ", asyncoro.listen("no such host", 80))
        end)
    end)

    it("fail in words at addresses that do not answer", function()
        run(function()
            local listener <const>, port <const> = local_listener()
            listener:close()
            fails("refused", ("connect 127.0.0.1:%d: "):format(port), asyncoro.connect("127.0.0.1", port))
            fails("unreachable", "connect 255.255.255.255:9: ", asyncoro.connect("255.255.255.255", 9))
            fails("invalid", "listen 203.0.113.1:9: ", asyncoro.listen("203.0.113.1", 9))
            local there <close>, taken = local_listener()
            fails("exists", ("listen 127.0.0.1:%d: "):format(taken), asyncoro.listen("127.0.0.1", taken))
            assert.truthy(there:address())
        end)
    end)

    it("time out", function()
        run(function()
            local machine <close>, port = deaf "127.0.0.1"
            fails("timeout", ("connect 127.0.0.1:%d: timed out"):format(port),
                asyncoro.connect("127.0.0.1", port, { timeout = 0.01 }))
            fails("timeout", "connect ", asyncoro.connect("127.0.0.1", port, { timeout = 0 }))
            local _ = machine
        end)
    end)

    it("leave nothing behind when the coro that connects is terminated", function()
        local before
        run(function()
            local machine <close>, port = deaf "127.0.0.1"
            before = helper.open_fds()
            local coro <const> = asyncoro.spawn(function() return asyncoro.connect("127.0.0.1", port) end)
            asyncoro.yield()
            coro:terminate()
            coro:finish()
            collectgarbage()
            assert.equal(before, helper.open_fds())
            local _ = machine
        end)
    end)

    it("connect from an address, and share ports", function()
        run(function()
            local listener <close>, port = local_listener { reuse_port = true }
            local other <close> = listen("127.0.0.1", port, { reuse_port = true })
            other:close()
            local client <close> = assert(asyncoro.connect("127.0.0.1", port, { from = "127.0.0.2" }))
            assert.equal("127.0.0.2", (client:address()))
            assert.equal("127.0.0.2", (assert(listener:accept()):peer()))
            fails("invalid", "connect", asyncoro.connect("127.0.0.1", port, { from = "203.0.113.1" }))
        end)
    end)

    it("raise on wrong arguments", function()
        run(function()
            assert.error_matches(function() asyncoro.connect(nil, 80) end, "connect: a host expected, got nil")
            assert.error_matches(function() asyncoro.connect "127.0.0.1" end, "connect: a port of 0 to 65535")
            assert.error_matches(function() asyncoro.connect("127.0.0.1", 65536) end, "a port of 0 to 65535")
            assert.error_matches(function() asyncoro.connect("127.0.0.1", "80") end, "a port of 0 to 65535")
            assert.error_matches(function() asyncoro.connect("127.0.0.1", 1, { time = 1 }) end, "unknown option 'time'")
            assert.error_matches(function() asyncoro.connect("127.0.0.1", 1, { timeout = -1 }) end, "a time of 0 or")
            assert.error_matches(function() asyncoro.connect("127.0.0.1", 1, 5) end, "a table of options expected")
            assert.error_matches(function() asyncoro.listen(80) end, "listen: a host expected, got number")
            assert.error_matches(function() asyncoro.listen("127.0.0.1", -1) end, "a port of 0 to 65535")
            assert.error_matches(function() asyncoro.listen("127.0.0.1", 0, { backlog = "x" }) end, "an integer of 0")
        end)
    end)
end)

describe("a name with several addresses", function()
    -- Socket, as it is when names are looked up in this table.
    local function socket_with(names)
        local resolve <const>, socket <const> = package.loaded["asyncoro.resolve"], package.loaded["asyncoro.socket"]
        package.loaded["asyncoro.resolve"] = function(host)
            if names[host] then return names[host] end
            return nil, host .. ": not found", "notfound"
        end
        package.loaded["asyncoro.socket"] = nil
        local changed <const> = require "asyncoro.socket"
        package.loaded["asyncoro.resolve"], package.loaded["asyncoro.socket"] = resolve, socket
        return changed
    end

    it("is connected at the first that answers", function()
        run(function()
            local listener <close>, port = local_listener()
            local machine <close> = deaf("127.0.0.2", port)
            local socket <const> = socket_with { both = { "127.0.0.2", "127.0.0.1" } }
            local before <const> = asyncoro.now()
            local client <close> = assert(socket.connect("both", port, { timeout = 10 }))
            local took <const> = asyncoro.now() - before
            assert.equal("127.0.0.1", (client:peer()))
            assert.is_true(took >= 0.24 and took < 2, took)
            assert.truthy(listener:accept(5))
            local _ = machine
        end)
    end)

    it("does not wait for an address that refuses", function()
        run(function()
            local listener <close>, port = local_listener()
            local socket <const> = socket_with { both = { "127.0.0.2", "127.0.0.3", "127.0.0.1" } }
            local before <const> = asyncoro.now()
            local client <close> = assert(socket.connect("both", port, { timeout = 10 }))
            assert.is_true(asyncoro.now() - before < 0.24)
            assert.equal("127.0.0.1", (client:peer()))
            assert.truthy(listener:accept(5))
        end)
    end)

    it_ipv6("tries the families in turn", function()
        run(function()
            local listener <close> = listen("::1", 0)
            local _, port <const> = listener:address()
            local machine <close> = deaf("127.0.0.2", port)
            local socket <const> = socket_with { many = { "127.0.0.2", "127.0.0.3", "127.0.0.4", "::1" } }
            local client <close> = assert(socket.connect("many", port, { timeout = 10 }))
            assert.equal("::1", (client:peer()))
            local _ = machine
        end)
    end)

    it("fails with what the first said, or when time is over", function()
        run(function()
            local listener <const>, port <const> = local_listener()
            listener:close()
            local socket <const> =
                socket_with { none = { "127.0.0.2", "127.0.0.3" }, down = { "127.0.0.4", "127.0.0.5" } }
            fails("refused", ("connect 127.0.0.2:%d: "):format(port), socket.connect("none", port, { timeout = 10 }))
            local one <close>, at = deaf "127.0.0.4"
            local other <close> = deaf("127.0.0.5", at)
            fails("timeout", "timed out", socket.connect("down", at, { timeout = 0.01 }))
            fails("notfound", "connect nobody:1: ", socket.connect("nobody", 1))
            local _ = { one, other }
        end)
    end)
end)

describe("Unix sockets", function()
    local folder

    setup(function() folder = program.folder() end)
    teardown(function() program.remove(folder) end)

    it("have paths", function()
        run(function()
            local at <const> = "unix:" .. folder .. "/one"
            local listener <close> = listen(at)
            assert.same({ folder .. "/one" }, { listener:address() })
            assert.equal("listener " .. at, tostring(listener))
            local client <close> = assert(asyncoro.connect(at))
            local server <close> = assert(listener:accept())
            assert.equal("stream " .. at, tostring(client))
            assert.same({ folder .. "/one" }, { client:peer() })
            client:write "hello"
            assert.equal("hello", server:read())
            fails("exists", "listen " .. at, asyncoro.listen(at))
        end)
    end)

    it("may have abstract names", function()
        run(function()
            local at <const> = "unix:@" .. folder
            local listener <close> = listen(at)
            assert.same({ "@" .. folder }, { listener:address() })
            local client <close> = assert(asyncoro.connect(at))
            assert.truthy(listener:accept(5))
            assert.truthy(client:is_open())
            fails("exists", "listen " .. at, asyncoro.listen(at))
        end)
    end)

    it("take over a path that was left behind, and no other", function()
        run(function()
            local at <const> = "unix:" .. folder .. "/left"
            listen(at):close()
            fails("refused", "connect " .. at, asyncoro.connect(at))
            local listener <close> = listen(at)
            local client <close> = assert(asyncoro.connect(at))
            assert.truthy(listener:accept(5))
            assert.is_true(client:is_open())
            program.write(folder .. "/file", "precious")
            fails("exists", "listen unix:", asyncoro.listen("unix:" .. folder .. "/file"))
            assert.equal("precious", program.read(folder .. "/file"))
        end)
    end)

    it("fail in words", function()
        run(function()
            fails("notfound", "connect unix:/nowhere/x: ", asyncoro.connect "unix:/nowhere/x")
            fails("notfound", "listen unix:/nowhere/x: ", asyncoro.listen "unix:/nowhere/x")
            local long <const> = "unix:/tmp/" .. ("x"):rep(200)
            fails("toolarge", "connect " .. long, asyncoro.connect(long))
            fails("toolarge", "listen " .. long, asyncoro.listen(long))
            assert.error_matches(function() asyncoro.connect "unix:" end, "the path of a Unix socket expected")
        end)
    end)
end)

describe("a listener", function()
    it("waits for connections, up to its time-out", function()
        run(function()
            local listener <close>, port = local_listener { timeout = 0.002 }
            fails("timeout", ("accept 127.0.0.1:%d: timed out"):format(port), listener:accept())
            fails("timeout", "accept ", listener:accept(0))
            assert.equal(listener, listener:settimeout(nil))
            local coro <const> = asyncoro.spawn(function() return listener:accept() end)
            asyncoro.yield()
            local client <close> = assert(asyncoro.connect("127.0.0.1", port))
            local ok <const>, server <const> = coro:finish()
            assert.is_true(ok and server:is_open() and client:is_open())
        end)
    end)

    it("gives each connection to one of those who wait", function()
        run(function()
            local listener <close>, port = local_listener()
            local coros <const> = {}
            for i = 1, 5 do
                coros[i] = asyncoro.spawn(function()
                    local server <close> = assert(listener:accept())
                    return server:read_line()
                end)
            end
            asyncoro.yield()
            for i = 1, 5 do
                local client <close> = assert(asyncoro.connect("127.0.0.1", port))
                client:write(i, "\n")
            end
            local seen <const> = {}
            for _, coro in ipairs(coros) do seen[tonumber(select(2, coro:finish()))] = true end
            assert.equal(5, #seen)
        end)
    end)

    it("ends the waits of all when it is closed, and those of clients()", function()
        run(function()
            local listener <const>, port <const> = local_listener()
            local served = 0
            local server <const> = asyncoro.spawn(function()
                for client in listener:clients() do
                    served = served + 1
                    client:close()
                end
                return "done"
            end)
            for _ = 1, 3 do
                local client <close> = assert(asyncoro.connect("127.0.0.1", port))
                assert.is_nil(client:read())
            end
            local waiting <const> = asyncoro.spawn(function() return listener:accept() end)
            asyncoro.yield()
            assert.is_true(listener:close())
            assert.is_true(listener:close())
            assert.same({ true, "done" }, { server:finish() })
            assert.equal(3, served)
            local _, value <const>, _, code <const> = waiting:finish()
            assert.same({ nil, "closed" }, { value, code })
            fails("closed", "accept ", listener:accept())
            fails("closed", "address", listener:address())
            assert.is_nil(listener:fileno())
            assert.equal(("listener 127.0.0.1:%d (closed)"):format(port), tostring(listener))
            assert.equal(("accept 127.0.0.1:%d: closed"):format(port), select(2, listener:accept()))
            fails("refused", "connect ", asyncoro.connect("127.0.0.1", port))
        end)
    end)

    it("goes on after a coro that accepts was terminated", function()
        run(function()
            local listener <close>, port = local_listener()
            local coro <const> = asyncoro.spawn(function() return listener:accept() end)
            asyncoro.yield()
            coro:terminate()
            coro:finish()
            local client <close> = assert(asyncoro.connect("127.0.0.1", port))
            assert.truthy(listener:accept(5))
            assert.is_true(client:is_open())
        end)
    end)

    it("is a source of select", function()
        run(function()
            local listener <close>, port = local_listener()
            assert.equal(2, (asyncoro.select { listener, 0.001 }))
            local connecting <const> = asyncoro.spawn(function() return asyncoro.connect("127.0.0.1", port) end)
            assert.equal(1, (asyncoro.select { listener, 5 }))
            local server <close> = assert(listener:accept(0))
            local _, client <const> = connecting:finish()
            local other <close>, other_port = local_listener()
            asyncoro.spawn(function() client:write "data" end)
            assert.equal(2, (asyncoro.select { other, server, 5 }))
            local closer <const> = asyncoro.spawn(function() other:close() end)
            assert.equal(1, (asyncoro.select { other, 5 }))
            closer:finish()
            client:close()
            assert.is_number(other_port)
        end)
    end)

    it("passes over connections that were reset before they were accepted", function()
        run(function()
            local listener <close>, port = local_listener()
            local hasty <const> = assert(asyncoro.connect("127.0.0.1", port))
            hasty:setoption("linger", 0)
            hasty:close()
            local client <close> = assert(asyncoro.connect("127.0.0.1", port))
            client:write "here"
            local server = assert(listener:accept(5))
            local data, _, code = server:read()
            if not data then -- the system gives it all the same: it is broken
                assert.equal("reset", code)
                server = assert(listener:accept(5))
                data = server:read()
            end
            assert.equal("here", data)
        end)
    end)
end)

describe("a TCP connection", function()
    it("that the other side has reset says so", function()
        run(function()
            local client <close>, server = tcp_pair()
            server:setoption("linger", 0)
            local reader <const> = asyncoro.spawn(function() return client:read() end)
            asyncoro.yield()
            server:close()
            local _, value <const>, message <const>, code <const> = reader:finish()
            fails("reset", "read 127.0.0.1:", value, message, code)
            assert.equal(0, fails("reset", "write ", client:write "x"))
        end)
    end)

    it("gives what came before the reset", function()
        run(function()
            local client <close>, server = tcp_pair()
            local at <const> = ("read_line %s:%d: "):format(client:peer())
            server:write "line one\npart"
            assert.equal("line one", client:read_line())
            server:setoption("linger", 0)
            server:close()
            assert.equal("part", fails("reset", at, client:read_line()))
        end)
    end)

    it("that is closed is still named by its address", function()
        run(function()
            local client <const>, server <close> = tcp_pair()
            local host <const>, port <const> = client:peer()
            local reader <const> = asyncoro.spawn(function() return client:read() end)
            asyncoro.yield()
            client:close()
            assert.same({ true, nil, ("read %s:%d: closed"):format(host, port), "closed" }, { reader:finish() })
            assert.equal(("write %s:%d: closed"):format(host, port), select(2, client:write "x"))
            assert.equal(("stream %s:%d (closed)"):format(host, port), tostring(client))
            server:detach()
            assert.matches("^detach 127%.0%.0%.1:%d+: closed$", select(2, server:detach()))
        end)
    end)

    it("that is half closed can still be read", function()
        run(function()
            local client <close>, server = tcp_pair()
            asyncoro.spawn(function()
                local all <const> = server:read_all()
                server:write(all:upper())
                server:close()
            end)
            client:write "half"
            client:shutdown()
            assert.equal("HALF", client:read_all())
        end)
    end)

    it("has options", function()
        run(function()
            local client <close>, server = tcp_pair()
            assert.is_true(client:getoption "nodelay")
            assert.is_true(server:getoption "nodelay")
            for _, option in ipairs {
                { "nodelay", false }, { "keepalive", true }, { "keepalive_idle", 77 }, { "keepalive_interval", 11 },
                { "keepalive_count", 4 }, { "linger", 3 }, { "linger", false },
            } do
                assert.is_true(client:setoption(option[1], option[2]))
                assert.equal(option[2], client:getoption(option[1]), option[1])
            end
            for _, name in ipairs { "send_buffer", "receive_buffer" } do
                assert.is_true(client:setoption(name, 50000))
                assert.is_true(client:getoption(name) >= 50000)
            end
            assert.error_matches(function() client:setoption("delay", 1) end, "unknown option 'delay'")
            assert.error_matches(function() client:getoption "delay" end, "unknown option 'delay'")
            assert.error_matches(function() client:setoption("nodelay", 1) end, "boolean expected, got number")
            assert.error_matches(function() client:setoption("keepalive_count", -1) end, "not a negative number")
            server:close()
            fails("closed", "setoption", server:setoption("nodelay", true))
            fails("closed", "getoption", server:getoption "nodelay")
        end)
    end)

    it("with nodelay = false collects small writes", function()
        run(function()
            local listener <close>, port = local_listener()
            local client <close> = assert(asyncoro.connect("127.0.0.1", port, { nodelay = false }))
            assert.is_false(client:getoption "nodelay")
            assert.truthy(listener:accept(5))
        end)
    end)

    it("serves several thousand requests over many connections", function()
        run(function()
            local listener <close>, port = local_listener()
            asyncoro.spawn({ daemon = true }, function()
                for client in listener:clients() do
                    asyncoro.spawn(function()
                        local stream <close> = client
                        for line in stream:lines() do stream:write("<", line, ">\n") end
                    end)
                end
            end)
            asyncoro.group(function(group)
                for i = 1, 50 do
                    group:spawn(function()
                        local stream <close> = assert(asyncoro.connect("127.0.0.1", port))
                        for n = 1, 60 do
                            stream:write(i, " ", n, "\n")
                            assert.equal(("<%d %d>"):format(i, n), stream:read_line())
                        end
                    end)
                end
            end)
        end)
    end)
end)

-- A program in a process with a limit of open descriptors.
local function run_limited(descriptors, code)
    local command <const> = ("ulimit -n %d && exec %s -e %s"):format(descriptors, program.quote(program.path),
        program.quote(code))
    return program.run({ "-c", command }, { program = "sh" })
end

describe("descriptors", function()
    it("of a connection are not left behind, whatever ends it", function()
        local before <const> = helper.open_fds()
        run(function()
            for _ = 1, 20 do
                local client <close>, server = tcp_pair()
                client:write "x"
                assert.equal("x", server:read())
            end
            asyncoro.connect("127.0.0.1", 1)
            asyncoro.connect("255.255.255.255", 1)
            asyncoro.listen("203.0.113.1", 1)
            local listener <close>, port = local_listener()
            for _ = 1, 10 do
                local stream <close> = assert(asyncoro.connect("127.0.0.1", port))
                stream:read(1, 0)
            end
            assert.is_true(listener:close())
        end)
        collectgarbage()
        collectgarbage()
        assert.equal(before, helper.open_fds())
    end)

    it("that are used up make accept rest, not spin nor fail, until there are some again", function()
        local code <const>, out <const>, err <const> = run_limited(30, [[
            local asyncoro = require "asyncoro"
            local listener = assert(asyncoro.listen("127.0.0.1", 0))
            local _, port = listener:address()
            local clients, servers = {}, {}
            local code
            while true do
                local stream, message, why = asyncoro.connect("127.0.0.1", port)
                if not stream then
                    print(why, (message:gsub("%d+", "N")))
                    break
                end
                clients[#clients + 1] = stream
            end
            local reserve = table.remove(clients)
            local accepting = asyncoro.spawn({ name = "accepting" }, function()
                for client in listener:clients() do
                    servers[#servers + 1] = client
                end
            end)
            reserve:close() -- one is free: one is accepted
            asyncoro.sleep(0.05)
            local cpu, count = os.clock(), #servers
            asyncoro.sleep(0.3)
            print(os.clock() - cpu < 0.1, #servers == count, #servers < #clients)
            print(select(3, listener:accept(0.01)))
            for i = 1, #clients // 2 do clients[i]:close() end
            local deadline = asyncoro.now() + 5
            while #servers < #clients // 2 and asyncoro.now() < deadline do asyncoro.sleep(0.01) end
            print(#servers >= #clients // 2)
            listener:close()]])
        assert.same({ 0, "" }, { code, err })
        assert.equal("limit\tconnect N.N.N.N:N: Too many open files\ntrue\ttrue\ttrue\ntimeout\ntrue\n", out)
    end)

    it("of many connections at once, with more and more coming and going, take no more and more memory", function()
        local count <const> = math.tointeger(os.getenv "ASYNCORO_CONNECTIONS") or 1000
        -- A sanitizer keeps what is freed for a while.
        local limit <const> = os.getenv "ASAN_OPTIONS" and 64 << 20 or 512 << 10
        local code <const>, out <const>, err <const> = run_limited(2 * count + 100, ([[
            local asyncoro = require "asyncoro"
            local COUNT = %d
            local listener = assert(asyncoro.listen("127.0.0.1", 0, { backlog = 4096 }))
            local _, port = listener:address()

            local function echo(client)
                local stream <close> = client
                for line in stream:lines() do
                    if not stream:write(line, "\n") then break end
                end
            end
            asyncoro.spawn({ daemon = true }, function()
                for client in listener:clients() do asyncoro.spawn({ daemon = true }, echo, client) end
            end)

            local function rss()
                collectgarbage()
                collectgarbage()
                local file <close> = io.open "/proc/self/statm"
                local _, pages = file:read("n", "n")
                return pages * 4096
            end

            local streams = {}
            local function replace(i)
                if streams[i] then streams[i]:close() end
                streams[i] = assert(asyncoro.connect("127.0.0.1", port))
                assert(streams[i]:write(i, "\n"))
                assert(streams[i]:read_line() == tostring(i))
            end
            local function round()
                asyncoro.group(function(group)
                    for worker = 1, 20 do
                        group:spawn(function() for i = worker, COUNT, 20 do replace(i) end end)
                    end
                end)
            end
            local sizes = {} -- after each round: how much garbage there is at a time is chance
            for n = 1, 8 do
                round()
                sizes[n] = rss()
            end
            local grown = sizes[8] - sizes[3]
            print(#streams == COUNT, grown < %d and "flat" or "grown by " .. grown)
            for _, stream in ipairs(streams) do stream:close() end]]):format(count, limit))
        assert.same({ 0, "true\tflat\n", "" }, { code, out, err })
    end)
end)
