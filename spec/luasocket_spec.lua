-- SPDX-License-Identifier: MIT
-- LuaSocket's interface: by itself, under LuaSocket's own modules as Debian ships them (lua-socket), and under a Redis
-- client (lua-redis) that talks to a real server (redis-server).
local asyncoro = require "asyncoro"
local helper = require "spec.helper"
local program = require "spec.program"
local socket = require "asyncoro.compat.luasocket"

local run = helper.run

-- A connected client and server.
local function tcp_pair()
    local master <const> = assert(socket.bind("127.0.0.1", 0))
    local host <const>, port <const> = master:getsockname()
    local client <const> = assert(socket.connect(host, port))
    local server <const> = assert(master:accept())
    master:close()
    return client, server
end

describe("LuaSocket's TCP over streams", function()
    it("connects, listens, and tells addresses", function()
        run(function()
            local master <close> = assert(socket.tcp())
            assert.equal(1, master:setoption("reuseaddr", true))
            assert.matches("^tcp{master}: ", tostring(master))
            assert.equal(1, master:bind("127.0.0.1", 0))
            assert.equal(1, master:listen(5))
            assert.matches("^tcp{server}: ", tostring(master))
            local host <const>, port <const>, family <const> = master:getsockname()
            assert.same({ "127.0.0.1", "inet" }, { host, family })
            local client <close> = socket.tcp()
            assert.equal(1, client:connect("localhost", port))
            assert.matches("^tcp{client}: ", tostring(client))
            local server <close> = assert(master:accept())
            assert.same({ "127.0.0.1", port, "inet" }, { client:getpeername() })
            assert.same({ client:getsockname() }, { server:getpeername() })
            assert.same({ nil, "already connected" }, { client:connect(host, port) })
            assert.same({ nil, "Transport endpoint is not connected" }, { master:getpeername() })
            local again <const>, message <const> = socket.bind("127.0.0.1", port)
            assert.same({ nil, "address already in use" }, { again, message })
            local from <close> = assert(socket.connect("127.0.0.1", port, "127.0.0.2"))
            assert.equal("127.0.0.2", (from:getsockname()))
            assert.truthy(master:accept())
        end)
    end)

    it("says what fails in LuaSocket's words", function()
        run(function()
            local gone <const> = assert(socket.bind("127.0.0.1", 0))
            local _, port <const> = gone:getsockname()
            assert.equal(1, gone:close())
            assert.same({ nil, "connection refused" }, { socket.connect("127.0.0.1", port) })
            assert.same({ nil, "Network is unreachable" }, { socket.connect("255.255.255.255", port) })
            assert.same({ nil, "closed" }, { gone:accept() })
            assert.same({ nil, "closed" }, { gone:getsockname() })
            local master <close> = assert(socket.bind("127.0.0.1", 0))
            assert.equal(1, master:settimeout(0.002))
            assert.same({ nil, "timeout" }, { master:accept() })
            master:settimeout(0)
            assert.same({ nil, "timeout" }, { master:accept() })
            local closed <const> = socket.tcp()
            closed:close()
            assert.same({ nil, "closed", 0 }, { closed:send "x" })
            assert.same({ nil, "closed", "" }, { closed:receive() })
            assert.same({ nil, "closed" }, { closed:connect("127.0.0.1", port) })
            assert.same({ nil, "closed" }, { closed:setoption("keepalive", true) })
        end)
    end)

    it("receives lines, numbers of bytes, and all", function()
        run(function()
            local client <close>, server = tcp_pair()
            server:send "line\r\nan\rother\n12345rest\nof all"
            assert.same({ "line" }, { client:receive() })
            assert.equal("another", client:receive "*l")
            assert.equal("123", client:receive(3))
            assert.equal("", client:receive(0))
            server:close()
            assert.equal("45rest\nof all", client:receive "*a")
            assert.same({ nil, "closed", "" }, { client:receive "*a" })
            assert.same({ nil, "closed", "" }, { client:receive() })
            assert.same({ nil, "closed", "" }, { client:receive(1) })
            assert.error_matches(function() client:receive "*x" end, "invalid receive pattern")
            assert.error_matches(function() client:receive(-1) end, "invalid receive pattern")
        end)
    end)

    it("gives what has come of a piece, and goes on from a prefix", function()
        run(function()
            local client <close>, server = tcp_pair()
            client:settimeout(0.002)
            server:send "par"
            local value, word, part = client:receive()
            assert.same({ nil, "timeout", "par" }, { value, word, part })
            server:send "tial\nfour"
            assert.equal("partial", client:receive("*l", part))
            value, word, part = client:receive(6)
            assert.same({ nil, "timeout", "four" }, { value, word, part })
            server:send "ty"
            assert.equal("fourty", client:receive(6, part))
            assert.equal("already", client:receive(3, "already"))
            server:send "the end"
            server:close()
            assert.same({ nil, "closed", "the end" }, { client:receive "*l" })
        end)
    end)

    it("times out by how long nothing happens, and by the whole", function()
        run(function()
            local client <close>, server = tcp_pair()
            local dribbler <const> = asyncoro.spawn(function()
                for _ = 1, 15 do
                    asyncoro.sleep(0.005)
                    server:send "x"
                end
                server:send "\n"
            end)
            client:settimeout(0.05) -- no pause is that long
            assert.equal(("x"):rep(15), client:receive())
            dribbler:finish()
            assert.same({ 0.05, -1 }, { client:gettimeout() })
            client:settimeout(0.02, "t")
            assert.same({ 0.05, 0.02 }, { client:gettimeout() })
            local started <const> = socket.gettime()
            assert.same({ nil, "timeout", "" }, { client:receive() })
            assert.is_true(socket.gettime() - started < 0.045)
            client:settimeout(nil, "t")
            client:settimeout(-1)
            assert.same({ -1, -1 }, { client:gettimeout() })
            assert.error_matches(function() client:settimeout(1, "x") end, "invalid timeout mode")
            server:close()
        end)
    end)

    it("sends parts, and says how far it came", function()
        run(function()
            local client <close>, server = tcp_pair()
            assert.equal(5, client:send "hello")
            assert.equal(4, client:send("hello", 2, 4))
            assert.equal(5, client:send("hello", -2))
            assert.equal("helloelllo", server:receive(10))
            client:settimeout(0)
            local text <const> = ("0123456789"):rep(1 << 20)
            local value <const>, word <const>, last <const> = client:send(text, 11)
            assert.same({ nil, "timeout" }, { value, word })
            assert.is_true(last > 10 and last < #text)
            assert.is_true(text:sub(11, last) == server:receive(last - 10))
            client:settimeout(nil)
            local rest <const> = asyncoro.spawn(function() return client:send(text, last + 1) end)
            assert.is_true(text:sub(last + 1) == server:receive(#text - last))
            assert.same({ true, #text }, { rest:finish() })
            server:setoption("linger", { on = true, timeout = 0 })
            server:close()
            assert.same({ nil, "closed", 0 }, { client:send "x" })
            assert.equal(10 + #text - 10, (select(2, client:getstats())))
        end)
    end)

    it("shuts down one way or both", function()
        run(function()
            local client <close>, server = tcp_pair()
            client:send "question"
            assert.equal(1, client:shutdown "send")
            assert.equal("question", server:receive "*a")
            server:send "answer"
            assert.equal(1, server:shutdown())
            assert.equal("answer", client:receive "*a")
            assert.same({ nil, "closed", "" }, { server:receive() })
            assert.error_matches(function() client:shutdown "up" end, "invalid shutdown method")
            server:close()
        end)
    end)

    it("has LuaSocket's options and figures", function()
        run(function()
            local client <close>, server = tcp_pair()
            assert.is_false(client:getoption "tcp-nodelay")
            for name, value in pairs {
                ["tcp-nodelay"] = true, keepalive = true, ["tcp-keepidle"] = 60, ["tcp-keepcnt"] = 3,
                ["tcp-keepintvl"] = 7,
            } do
                assert.equal(1, client:setoption(name, value))
                assert.equal(value, client:getoption(name), name)
            end
            client:setoption("linger", { on = true, timeout = 2 })
            assert.same({ on = true, timeout = 2 }, client:getoption "linger")
            assert.error_matches(function() client:setoption("no-such", true) end, "unsupported option `no%-such'")
            server:send "12345"
            client:receive(5)
            client:send "abc"
            local received <const>, sent <const>, age <const> = client:getstats()
            assert.same({ 5, 3 }, { received, sent })
            assert.is_true(age >= 0 and age < 20)
            client:setstats(0, 1, 100)
            assert.equal(0, (client:getstats()))
            assert.is_true(client:getfd() > 2)
            server:close()
            assert.equal(-1, server:getfd())
        end)
    end)
end)

describe("LuaSocket's select", function()
    it("waits for the first that can be read", function()
        run(function()
            local client <close>, server = tcp_pair()
            local quiet <close>, other = tcp_pair()
            local readable, writable, word = socket.select({ client, quiet }, nil, 0.002)
            assert.same({ {}, {}, "timeout" }, { readable, writable, word })
            asyncoro.spawn(function()
                asyncoro.sleep(0.002)
                server:send "a\nb\n"
            end)
            readable, writable, word = socket.select({ client, quiet }, {}, 5)
            assert.same({ 1, 0 }, { #readable, #writable })
            assert.is_nil(word)
            assert.equal(client, readable[1])
            assert.equal(1, readable[client])
            assert.equal("a", client:receive())
            assert.is_true(client:dirty())
            assert.equal(client, socket.select({ quiet, client }, nil, 0)[1]) -- what it has received already
            server:close()
            other:close()
            assert.equal(2, #socket.select({ quiet, client }, nil, 5))
        end)
    end)

    it("waits for those that can be written, and for listeners", function()
        run(function()
            local client <close>, server = tcp_pair()
            local master <close> = assert(socket.bind("127.0.0.1", 0))
            local readable, writable, word = socket.select({ master }, { client }, 5)
            assert.same({ 0, client }, { #readable, writable[1] })
            assert.is_nil(word)
            client:settimeout(0)
            while client:send(("x"):rep(100000)) do end
            readable, writable, word = socket.select({ master }, { client }, 0.002)
            assert.same({ 0, 0, "timeout" }, { #readable, #writable, word })
            asyncoro.spawn(function()
                asyncoro.sleep(0.002)
                server:close()
            end)
            assert.equal(client, select(2, socket.select({ master }, { client }, 5))[1])
            local _, port <const> = master:getsockname()
            local knocking <close> = assert(socket.connect("127.0.0.1", port))
            assert.equal(master, socket.select({ master }, nil, 5)[1])
            assert.is_true(knocking:getfd() > 0)
            assert.same({ {}, {}, "timeout" }, { socket.select(nil, nil, 0.001) })
        end)
    end)
end)

describe("LuaSocket's UDP", function()
    it("sends and receives", function()
        run(function()
            local one <close> = socket.udp()
            assert.equal(1, one:setsockname("127.0.0.1", 0))
            local _, port <const> = one:getsockname()
            assert.matches("^udp{unconnected}: ", tostring(one))
            local other <close> = socket.udp4()
            assert.equal(1, other:sendto("hello", "127.0.0.1", port))
            local data <const>, host <const>, from <const> = one:receivefrom()
            assert.same({ "hello", "127.0.0.1" }, { data, host })
            assert.equal(1, one:setpeername("127.0.0.1", from))
            assert.same({ "127.0.0.1", from, "inet" }, { one:getpeername() })
            assert.equal(1, one:send "back")
            assert.equal("ba", other:receive(2))
            assert.equal(1, one:setpeername "*")
            assert.same({ nil, "Transport endpoint is not connected" }, { one:getpeername() })
            one:settimeout(0.002)
            assert.same({ nil, "timeout" }, { one:receive() })
            assert.equal(1, one:setoption("broadcast", true))
            assert.is_true(one:getoption "broadcast")
            assert.equal(1, other:setoption("ip-add-membership", { multiaddr = "239.255.77.2", interface = "lo" }))
            assert.equal(1, other:setoption("ip-multicast-ttl", 2))
            other:close()
            assert.same({ nil, "closed" }, { other:receive() })
            assert.error_matches(function() one:setoption("no-such", 1) end, "unsupported option")
        end)
    end)
end)

describe("LuaSocket's other functions", function()
    it("look names up", function()
        run(function()
            local ip <const>, about <const> = socket.dns.toip "localhost"
            assert.equal("127.0.0.1", ip)
            assert.same({ "127.0.0.1" }, { about.ip[1] })
            assert.is_string(socket.dns.gethostname())
            assert.equal("inet", socket.dns.getaddrinfo("127.0.0.1")[1].family)
            local name <const> = socket.dns.tohostname "127.0.0.1"
            if name then assert.is_string(name) end
            local nobody <const>, word <const> = socket.dns.toip "no such host"
            assert.is_nil(nobody)
            assert.is_string(word)
        end)
    end)

    it("try and protect", function()
        run(function()
            local finalized = 0
            local try <const> = socket.newtry(function() finalized = finalized + 1 end)
            local attempt <const> = socket.protect(function(...)
                asyncoro.sleep(0.001)
                return try(...)
            end)
            assert.same({ 1, 2 }, { attempt(1, 2) })
            assert.same({ nil, "why" }, { attempt(nil, "why") })
            assert.equal(1, finalized)
            assert.same({ nil, "because" }, { socket.protect(function() socket.try(nil, "because") end)() })
            assert.error_matches(socket.protect(function() error "other" end), "other")
            assert.same({ 3, 4 }, { socket.skip(2, 1, 2, 3, 4) })
        end)
    end)

    it("make sources and sinks", function()
        run(function()
            local client <close>, server = tcp_pair()
            local sink <const> = socket.sink("keep-open", server)
            assert.equal(1, sink(nil))
            sink(("x"):rep(3000))
            local source <const> = socket.source("by-length", client, 3000)
            assert.same({ 2048, 952, nil }, { #source(), #source(), source() })
            local last <const> = socket.sink("close-when-done", server)
            last "end"
            last(nil)
            local rest <const> = socket.source("until-closed", client)
            assert.same({ "end" }, { rest() })
            assert.is_nil(rest())
            assert.error_matches(function() socket.sink("no-such", server) end, "unknown key %(no%-such%)")
        end)
    end)

    it("sleep without keeping the others", function()
        run(function()
            local turns = 0
            asyncoro.spawn(function() turns = turns + 1 end)
            socket.sleep(0.001)
            assert.equal(1, turns)
            socket.sleep(-1)
        end)
    end)

    it("put themselves in LuaSocket's place, and back", function()
        local before <const> = package.loaded.socket
        local restore <const> = socket.install()
        assert.equal(socket, require "socket")
        assert.equal(socket, require "socket.core")
        assert.equal(socket.unix, require "socket.unix")
        restore()
        assert.equal(before, package.loaded.socket)
    end)
end)

describe("Unix sockets", function()
    it("are streams, too", function()
        local folder <const> = program.folder()
        run(function()
            local master <close> = socket.unix()
            assert.equal(1, master:bind(folder .. "/s"))
            master:listen()
            local client <close> = socket.unix.stream()
            assert.equal(1, client:connect(folder .. "/s"))
            local server <close> = assert(master:accept())
            client:send "hello\n"
            assert.equal("hello", server:receive())
        end)
        program.remove(folder)
    end)
end)

-- A module of Debian's over our sockets, or false when it is not installed.
local function load_over(name, path)
    local restore <const>, old_path <const> = socket.install(), package.path
    package.path = path or old_path
    package.loaded[name] = nil
    local ok <const>, module <const> = pcall(require, name)
    package.path = old_path
    restore()
    return ok and module
end

-- Runs fn beside a coro that counts its turns; how many those were.
local function turns_during(fn)
    local turns, done = 0, false
    local counter <const> = asyncoro.spawn(function()
        while not done do
            turns = turns + 1
            asyncoro.sleep(0.001)
        end
    end)
    fn()
    done = true
    counter:finish()
    return turns
end

local http <const> = load_over "socket.http"

describe("LuaSocket's own http module", function()
    if not http then
        it("# SKIP lua-socket is not installed", function() end)
        return
    end

    -- Answers slowly, whatever it is asked: what it was asked.
    local function serve(listener, answer)
        asyncoro.spawn({ daemon = true }, function()
            for client in listener:clients() do
                asyncoro.spawn({ daemon = true }, function()
                    local stream <close> = client
                    local head <const> = stream:read_until "\r\n\r\n"
                    local size <const> = tonumber(head:lower():match "content%-length: (%d+)") or 0
                    local body <const> = stream:read_exact(size)
                    asyncoro.sleep(0.01)
                    stream:write(answer(head, body))
                end)
            end
        end)
    end

    it("gets and posts, while others run", function()
        run(function()
            local listener <close> = assert(asyncoro.listen("127.0.0.1", 0))
            local _, port <const> = listener:address()
            serve(listener, function(head, body)
                local text <const> = head:match "^%u+ %S+" .. " " .. body
                return ("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s"):format(#text, text)
            end)
            local url <const> = ("http://127.0.0.1:%d/path"):format(port)
            local turns <const> = turns_during(function()
                local body <const>, code <const>, headers <const> = http.request(url)
                assert.same({ "GET /path ", 200, "close" }, { body, code, headers.connection })
            end)
            assert.is_true(turns > 2, turns)
            assert.equal("POST /path a=1", (http.request(url, "a=1")))
        end)
    end)

    it("reads chunks, and follows redirects", function()
        run(function()
            local listener <close> = assert(asyncoro.listen("127.0.0.1", 0))
            local _, port <const> = listener:address()
            serve(listener, function(head)
                if head:find "^GET /old" then
                    return "HTTP/1.1 302 Found\r\nLocation: /new\r\nContent-Length: 0\r\n\r\n"
                end
                return "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
            end)
            assert.equal("hello world", (http.request(("http://127.0.0.1:%d/old"):format(port))))
        end)
    end)

    it("fails in LuaSocket's words", function()
        run(function()
            local listener <const> = assert(asyncoro.listen("127.0.0.1", 0))
            local _, port <const> = listener:address()
            listener:close()
            assert.same({ nil, "connection refused" }, { http.request(("http://127.0.0.1:%d/"):format(port)) })
        end)
    end)

    it("serves many coros at once", function()
        run(function()
            local listener <close> = assert(asyncoro.listen("127.0.0.1", 0))
            local _, port <const> = listener:address()
            serve(listener, function(head)
                return "HTTP/1.0 200 OK\r\n\r\n" .. head:match "^%u+ /(%S+)"
            end)
            local started <const> = asyncoro.now()
            asyncoro.group(function(group)
                for i = 1, 50 do
                    group:spawn(function()
                        assert.equal(tostring(i), (http.request(("http://127.0.0.1:%d/%d"):format(port, i))))
                    end)
                end
            end)
            assert.is_true(asyncoro.now() - started < 0.4) -- one after the other they would take 0.5
        end)
    end)
end)

local redis <const> = load_over("redis", package.path .. ";/usr/share/lua/5.3/?.lua")

-- A server of its own at a free port: its process and the port; nil when there is none to be had.
local function start_redis(folder)
    for _ = 1, 5 do
        local port
        run(function()
            local listener <close> = assert(asyncoro.listen("127.0.0.1", 0))
            _, port = listener:address()
        end)
        local server <const> = program.start({
            "--port", tostring(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder, "--daemonize", "no",
        }, { program = "redis-server" })
        for line in function() return server:line() end do
            if line:find "eady to accept connections" then return server, port end
        end
        server:finish()
    end
end

describe("a Redis client written for LuaSocket", function()
    if not redis or program.capture "command -v redis-server" == "" then
        it("# SKIP lua-redis or redis-server is not installed", function() end)
        return
    end

    it("talks to a real server, while others run", function()
        local folder <const> = program.folder()
        local server <const>, port <const> = start_redis(folder)
        assert(server, "redis-server does not start")
        local restore <const> = socket.install()
        run(function()
            local client <const> = redis.connect("127.0.0.1", port)
            assert.is_true(client:ping())
            assert.is_true(client:set("key", "a value\r\nof two lines"))
            assert.equal("a value\r\nof two lines", client:get "key")
            assert.is_nil(client:get "none")
            asyncoro.group(function(group)
                for i = 1, 20 do
                    group:spawn(function()
                        local other <const> = redis.connect("127.0.0.1", port)
                        for n = 1, 10 do other:incrby("sum", i * n) end
                        other:quit()
                    end)
                end
            end)
            assert.equal("11550", client:get "sum")
            local blob <const> = ("0123456789abcdef"):rep(100000)
            client:set("blob", blob)
            assert.is_true(blob == client:get "blob")
            -- One waits for a list; another, in this process, puts something in it.
            local turns <const> = turns_during(function()
                local waiter <const> = asyncoro.spawn(function()
                    local waiting <const> = redis.connect("127.0.0.1", port)
                    local value <const> = waiting:blpop("list", 10)
                    waiting:quit()
                    return value
                end)
                asyncoro.sleep(0.02)
                assert.is_true(waiter:is_alive())
                client:rpush("list", "item")
                local _, value <const> = waiter:finish()
                assert.same({ "list", "item" }, value)
            end)
            assert.is_true(turns > 5, turns)
            assert.is_false(pcall(client.incrby, client, "key", 1))
            pcall(client.shutdown, client)
        end)
        restore()
        server:finish()
        program.remove(folder)
    end)
end)
