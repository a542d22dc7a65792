-- SPDX-License-Identifier: MIT
-- Coros of other processes, and the network that leads to them. The other side is a program of its own.
local asyncoro = require "asyncoro"
local core = require "asyncoro.core"
local helper = require "spec.helper"
local peer = require "spec.peer"
local program = require "spec.program"
local fails, run = helper.fails, helper.run

-- Runs fn in a program with a network; with the coro that the other side has registered as `name`. `more(other)` gives
-- further options of the network; then the coro is looked for everywhere.
local function with_peer(script, fn, name, more)
    local other = peer.start(script)
    local ok, err = pcall(run, function()
        assert(asyncoro.network(peer.options(more and more(other))))
        fn(assert(asyncoro.locate(name or "echo", not more and other.location or nil, 10)), other)
    end)
    if not ok then peer.kill(other) end
    local code, rest = other:finish()
    if not ok then error(err, 0) end
    return code, rest
end

describe("network", function()
    it("gives the location of the process, starts once, and ends with the program", function()
        run(function()
            assert.is_nil(asyncoro.location())
            local location = assert(asyncoro.network(peer.options()))
            assert.equal("127.0.0.1", location.host)
            assert.is_true(location == asyncoro.location())
            assert.is_true(location == asyncoro.current():location())
            fails("exists", "has been started already", asyncoro.network(peer.options()))
            assert.same({}, asyncoro.peers())
            assert.equal(0, asyncoro.stats().network.peers)
        end)
        assert.is_nil(asyncoro.location())
        assert.is_nil(asyncoro.stats().network)
    end)

    it("raises on options that are unknown or malformed", function()
        run(function()
            local function refuses(text, opts)
                local ok, message = pcall(asyncoro.network, opts)
                assert.is_false(ok)
                assert.truthy(message:find(text, 1, true), message)
            end
            refuses("unknown option 'secrte'", { secrte = "x" })
            refuses("option 'name': a string expected", { name = 7 })
            refuses("option 'secret': it is empty", { secret = "" })
            refuses("a port of 0 to 65535 expected, got 65536", { port = 65536 })
            refuses("unknown option 'brodcast'", { discovery = { brodcast = true } })
            refuses("location 'nowhere': it has no port", { discovery = { peers = { "nowhere" } } })
        end)
    end)

    it("takes its secret from the environment, or from a file that that names", function()
        local folder = program.folder()
        local file = program.write(folder .. "/secret", peer.SECRET .. "\n")
        local script = [[
            local asyncoro = require "asyncoro"
            assert(asyncoro.network { host = "127.0.0.1", discovery = false })
            assert(assert(asyncoro.locate("echo", arg[1], 10)):call "hello" == "hello")
            print "done"
        ]]
        local path = program.write(folder .. "/client.lua", script)
        local other = peer.start(peer.ECHO)
        for _, env in ipairs { { ASYNCORO_SECRET = peer.SECRET }, { ASYNCORO_SECRET_FILE = file } } do
            local code, out, err = program.run({ path, other.location }, { env = env })
            assert.same({ 0, "done\n", "" }, { code, out, err })
        end
        local code, _, err = program.run({ path, other.location }, { env = { ASYNCORO_SECRET_FILE = folder .. "/no" } })
        assert.equal(1, code)
        assert.truthy(err:find("the file of the secret", 1, true), err)
        program.signal("TERM", other.id)
        other:finish()
        program.remove(folder)
    end)

    it("refuses a port of discovery from the environment that is none, unless discovery is off", function()
        local script = 'print(select(2, require "asyncoro".network { host = "127.0.0.1", discovery = %s }))'
        for _, text in ipairs { "no", "0", "65536", "1.5" } do
            local env = { ASYNCORO_DISCOVERY_PORT = text }
            local code, out, err = program.run({ "-e", script:format "nil" }, { env = env })
            assert.same({ 0, "network: ASYNCORO_DISCOVERY_PORT: a port of 1 to 65535 expected, got '" .. text ..
                "'\tinvalid\n", "" },
                { code, out, err })
            assert.same({ 0, "\n", "" }, { program.run({ "-e", script:format "false" }, { env = env }) })
        end
    end)

    it("finds no name elsewhere when it has ended", function()
        run(function() assert(asyncoro.network(peer.options())) end)
        run(function()
            fails("notfound", "no coro has the name", core.locate("name", "localhost:1", 1))
            assert.is_nil(asyncoro.locate("name", nil, 0.01))
        end)
    end)

    it("starts by itself when something needs it, but not in isolates of its own", function()
        local folder = program.folder()
        local code, out, err = program.run({ "-e", [[
            local asyncoro = require "asyncoro"
            print(asyncoro.location())
            print(asyncoro.locate("nobody", nil, 0))
            print(asyncoro.location())
            asyncoro.ignore_peers()
            print(asyncoro.location() == select(2, asyncoro.isolate(asyncoro.location):finish()))
        ]] }, { env = { XDG_CONFIG_HOME = folder, ASYNCORO_DISCOVERY_PORT = "51999" } })
        program.remove(folder)
        assert.same({ "", 0 }, { err, code })
        assert.equal("nil\nnil\tlocate: no coro has the name 'nobody'\ttimeout\nnil\ntrue\n", out)
    end)

    it("sends at the end of the program what is queued", function()
        local other = peer.start [[
            asyncoro.current():register "sink"
            local count = 0
            while asyncoro.receive() ~= "end" do count = count + 1 end
            print(count)
        ]]
        run(function()
            assert(asyncoro.network(peer.options()))
            local sink = assert(asyncoro.locate("sink", other.location, 10))
            for i = 1, 5000 do sink:send(i) end
            sink:send "end"
        end)
        local code, rest = other:finish()
        assert.same({ 0, "5000\n" }, { code, rest })
    end)

    it("reports at the end what could not be sent", function()
        local other = peer.start "asyncoro.current():register 'sink' asyncoro.receive()"
        local folder = program.folder()
        local script = program.write(folder .. "/client.lua", ([[
            local asyncoro = require "asyncoro"
            assert(asyncoro.network { secret = %q, host = "127.0.0.1", discovery = false, linger = 0.05 })
            local sink = assert(asyncoro.locate("sink", arg[1], 10))
            os.execute("kill -STOP " .. arg[2])
            for i = 1, 20 do sink:send(("x"):rep(2 ^ 20), 0.1) end
        ]]):format(peer.SECRET))
        local code, _, err = program.run { script, other.location, tostring(math.tointeger(other.id)) }
        peer.kill(other)
        other:finish()
        program.remove(folder)
        assert.equal(0, code)
        assert.matches("the network has ended with %d+ bytes not sent", err)
    end)

    it("reads certificates again, when it has some", function()
        run(function()
            fails("notfound", "no network", asyncoro.reload_certificates())
            assert(asyncoro.network(peer.options()))
            assert.is_true(asyncoro.reload_certificates()) -- which is none of them
        end)
    end)

    it("keeps a process from forking", function()
        run(function()
            assert(asyncoro.network(peer.options()))
            fails("busy", "the network runs", core.fork())
        end)
    end)
end)

describe("a coro of another process", function()
    it("gets messages in order, answers calls, and says where it is", function()
        with_peer(peer.ECHO, function(echo, other)
            assert.equal("main", echo:name())
            assert.equal(other.location, tostring(echo:location()))
            assert.truthy(tostring(echo):find(" at " .. other.location, 1, true))
            assert.is_true(echo:send "a note")
            assert.equal(1, echo:deliver("a note", 10))
            for i = 1, 100 do assert.equal(i, echo:call(i, 10)) end
            local t = { 1, 2, { x = "y" } }
            t.self = t
            local back = echo:call(t, 10)
            assert.equal("y", back[3].x)
            assert.is_true(back.self == back)
            assert.equal(2 ^ 20, #echo:call(("x"):rep(2 ^ 20), 10))
            echo:send(nil)
        end)
    end)

    it("is equal wherever its handle has been, and so is this one", function()
        with_peer(peer.ECHO, function(echo)
            local me, location = asyncoro.current(), asyncoro.location()
            local back = echo:call({ echo, me, location, [me] = "me" }, 10)
            assert.is_true(rawequal(echo, back[1]))
            assert.is_true(rawequal(me, back[2]))
            assert.is_true(rawequal(location, back[3]))
            assert.equal("me", back[me])
            echo:send(nil)
        end)
    end)

    it("is alive, has a status and a traceback, and can be told what any can", function()
        with_peer([[
            asyncoro.current():register "echo"
            print(asyncoro.suspend())
            print(pcall(asyncoro.receive))
            asyncoro.receive()
        ]], function(echo)
            assert.is_true(echo:is_alive())
            assert.same({ "waiting", "suspend" }, { echo:status() })
            assert.is_string(echo:traceback())
            assert.is_true(echo:resume "resumed")
            assert.is_false(echo:resume "again")
            assert.is_true(echo:throw "thrown")
            assert.is_true(echo:set_daemon(false))
            echo:send "end"
            assert.is_true(echo:finish(10))
            assert.is_false(echo:is_alive())
            assert.equal("finished", echo:status())
            fails("notfound", "has ended", echo:send "late")
            fails("notfound", "has ended", echo:deliver("late", 10))
            fails("notfound", "has ended", echo:call("late", 10))
            fails("notfound", "has ended", echo:throw "late")
        end)
    end)

    it("tells its end to those who wait and to monitors, with results, errors and tracebacks", function()
        with_peer([[
            local function worker(how)
                asyncoro.receive()
                if how == "fail" then error("as told") end
                return how, { 1 }
            end
            asyncoro.current():register "echo"
            for how, reply in asyncoro.messages() do reply(asyncoro.spawn(worker, how)) end
        ]], function(boss)
            local one = boss:call("one", 10)
            asyncoro.monitor(one)
            fails("timeout", "has not ended", one:finish(0))
            fails("timeout", "has not ended in time", one:finish(0.01))
            one:send "go"
            assert.same({ true, "one", { 1 } }, { one:finish(10) })
            local message = asyncoro.receive(10)
            assert.same({ "finished", "one" }, { message.reason, message.values[1] })
            assert.is_true(rawequal(one, message.coro))

            local bad = boss:call("fail", 10)
            asyncoro.spawn(asyncoro.sleep, 0):finish()
            asyncoro.monitor(bad)
            bad:send "go"
            local ok, err, trace = bad:finish(10)
            assert.is_false(ok)
            assert.truthy(err:find("as told", 1, true))
            assert.truthy(trace:find("stack traceback", 1, true))
            assert.equal("failed", asyncoro.receive(10).reason)

            local third = boss:call("third", 10)
            assert.is_true(third:terminate())
            assert.same({ false, "terminated" }, { third:finish(10) })
            assert.equal("terminated", third:status())
            boss:send(nil)
        end)
    end)

    it("can be a monitor of one of this process", function()
        local _, rest = with_peer([[
            asyncoro.current():register "echo"
            local message = asyncoro.receive()
            print(message.reason, message.values[1])
        ]], function(far)
            local mine = asyncoro.spawn(function() return asyncoro.receive() end)
            assert.is_true(far:monitor(mine))
            mine:send "seen"
            mine:finish()
            far:finish(10)
        end)
        assert.equal("finished\tseen\n", rest)
    end)

    it("that nothing is known of is no other", function()
        with_peer(peer.ECHO, function(echo)
            local bytes = core.encode(echo)
            local stranger = core.decode(bytes:sub(1, 24) .. "\255\255" .. bytes:sub(27))
            fails("notfound", "", stranger:deliver("x", 10))
            fails("notfound", "", stranger:finish(10))
            fails("notfound", "", stranger:status())
            assert.is_false(stranger:is_alive())
            assert.is_true(asyncoro.monitor(stranger))
            assert.equal("notfound", asyncoro.receive(10).reason)
            echo:send(nil)
        end)
    end)

    it("is reached by every engine of this process", function()
        with_peer(peer.ECHO, function(echo)
            local coro = asyncoro.isolate(function(far)
                local me = asyncoro.current()
                return far:call("from an isolate", 10), far:call(me, 10) == me
            end, echo)
            assert.same({ true, "from an isolate", true }, { coro:finish(10) })
            echo:send(nil)
        end)
    end)

    it("is a source of select", function()
        with_peer(peer.ECHO, function(echo)
            local which = asyncoro.select({ echo, 0.01 })
            assert.equal(2, which)
            echo:send(nil)
            assert.same({ 1, true }, { asyncoro.select({ echo, 10 }) })
        end)
    end)
end)

describe("a peer that is lost", function()
    it("ends every wait for its coros, and tells monitors", function()
        with_peer(peer.ECHO, function(echo, other)
            local waits = {
                function() return echo:finish() end,
                function() return asyncoro.select { echo } end,
                function() asyncoro.monitor(echo) return asyncoro.receive().reason end,
            }
            for i, wait in ipairs(waits) do waits[i] = asyncoro.spawn(wait) end
            asyncoro.sleep(0.05)
            peer.kill(other)
            fails("peerdown", "has gone", select(2, waits[1]:finish(10)))
            local results = table.pack(waits[2]:finish(10))
            assert.equal(1, results[2])
            fails("peerdown", "has gone", table.unpack(results, 3, results.n))
            assert.same({ true, "peerdown" }, { waits[3]:finish(10) })
            assert.equal("peerdown", select(3, echo:call("x", 10)))
        end)
    end)
end)

describe("code from other processes", function()
    local function echo_with(more)
        local other = peer.start([[
            asyncoro.current():register "echo"
            while true do
                local message, reply, code = asyncoro.receive()
                if message == "end" then break end
                if message == nil then print(code, reply) else print(message()) end
            end
        ]], more)
        run(function()
            assert(asyncoro.network(peer.options()))
            local echo = assert(asyncoro.locate("echo", other.location, 10))
            echo:send(function() return "it ran" end)
            echo:send "end"
            echo:finish(10)
        end)
        return select(2, other:finish())
    end

    it("is refused", function()
        assert.truthy(echo_with():find("^denied\tthe message brings a function or a class"))
    end)

    it("is taken when the process allows it", function()
        assert.equal("it ran\n", echo_with "code = true")
    end)

    it("is refused in requests too", function()
        with_peer([[
            asyncoro.hot_swappable(true)
            asyncoro.current():register "echo"
            asyncoro.receive()
        ]], function(echo)
            fails("denied", "brings a function", echo:hot_swap(function() end))
            echo:send "end"
        end)
    end)
end)

describe("locate", function()
    it("finds names in peers, also those that come later", function()
        with_peer([[
            asyncoro.current():register "echo"
            local other = asyncoro.spawn(asyncoro.receive)
            asyncoro.receive()
            other:register "later"
            other:finish()
        ]], function(echo)
            assert.is_true(rawequal(echo, asyncoro.locate("echo", nil, 10)))
            fails("timeout", "no coro has the name 'later'", asyncoro.locate("later", nil, 0))
            fails("notfound", "no coro has the name 'later' at", asyncoro.locate("later", echo:location(), 0))
            local seeker = asyncoro.spawn(asyncoro.locate, "later", nil, 10)
            asyncoro.sleep(0.05)
            fails("timeout", "in time", asyncoro.locate("never", nil, 0.01))
            echo:send "go"
            local _, later = seeker:finish()
            assert.is_true(later:send "end")
            later:finish(10)
        end)
    end)

    it("finds names of this process while the network looks too", function()
        run(function()
            local location = assert(asyncoro.network(peer.options()))
            local seeker = asyncoro.spawn(asyncoro.locate, "mine", nil, 10)
            asyncoro.sleep(0.01)
            asyncoro.current():register "mine"
            assert.is_true(rawequal(asyncoro.current(), select(2, seeker:finish())))
            assert.is_true(rawequal(asyncoro.current(), asyncoro.locate("mine", location, 0)))
            fails("timeout", "", asyncoro.locate("others", location, 0.01))
        end)
    end)

    it("says what it tried when it takes long", function()
        local code, _, err = program.run({ "-e", ([[
            local asyncoro = require "asyncoro"
            assert(asyncoro.network { secret = %q, host = "127.0.0.1", discovery = false })
            asyncoro.locate("nobody", nil, 2.1)
        ]]):format(peer.SECRET) })
        assert.equal(0, code)
        assert.truthy(err:find("INFO waiting for coro 'nobody': tried this process; discovery is off, and it has no " ..
            "peer, nothing answered", 1, true), err)
    end)

    it("says where it asked, and that another's secret is not ours", function()
        local udp = run(function()
            local socket <close> = assert(asyncoro.udp("127.0.0.1", 0))
            return select(2, socket:address())
        end)
        local script = [[
            local asyncoro = require "asyncoro"
            assert(asyncoro.network { secret = %q, host = "127.0.0.1", discovery = { port = %d } })
        ]]
        local other = program.start { "-e", program.PRINT_ID ..
            script:format("another secret, as long as it must be", udp) ..
            "for _ = 1, 200 do asyncoro.discover() asyncoro.sleep(0.1) end" }
        local id = tonumber(other:line())
        local code, _, err = program.run { "-e", script:format(peer.SECRET, udp) ..
            "asyncoro.locate('nobody', nil, 2.1)" }
        program.signal("KILL", id)
        other:finish()
        assert.equal(0, code)
        local asked = ("no peer has been found by broadcast to 127.255.255.255 (lo), UDP port %d; datagrams refused: ")
            :format(udp)
        assert.truthy(err:find(asked, 1, true), err)
        assert.truthy(err:find("its secret is not ours, or it was forged, nothing answered", 1, true), err)
    end)
end)

describe("peers", function()
    it("are found by name and location, come and go", function()
        local other = peer.start("asyncoro.current():register 'echo' asyncoro.receive()", "name = 'other side'")
        run(function()
            assert(asyncoro.network(peer.options()))
            assert(asyncoro.peer_status(asyncoro.current()))
            assert.is_true(asyncoro.peer(other.location, { timeout = 10 }))
            assert.is_true(asyncoro.peer(other.location, { timeout = 10 }))
            local online = asyncoro.receive(10)
            assert.same({ "online", "other side", other.location },
                { online.status, online.name, tostring(online.location) })
            assert.equal("peer other side at " .. other.location .. ": online", tostring(online))
            assert.is_true(asyncoro.locate_peer("other side", 10) == asyncoro.location(other.location))
            fails("timeout", "no peer has the name", asyncoro.locate_peer("nobody", 0))
            assert.same({ asyncoro.location(other.location) }, asyncoro.peers())
            assert.equal(1, asyncoro.stats().network.peers)
            assert.is_true(asyncoro.ignore_peers())
            assert.is_true(asyncoro.discover())
            asyncoro.locate("echo", other.location, 10):send "end"
            assert.equal("offline", asyncoro.receive(10).status)
            fails("notfound", "is no peer", asyncoro.close_peer(other.location))
        end)
        assert.equal(0, (other:finish()))
    end)

    it("are found where a file, a list or a function says", function()
        local folder = program.folder()
        local ways = {
            function(place) return { peers = { place } } end,
            function(place) return { find = function() return { place } end } end,
            function(place)
                return { file = program.write(folder .. "/peers", "# those that there are\n" .. place .. "\n") }
            end,
            function(place) return { dns = place } end,
        }
        for _, way in ipairs(ways) do
            with_peer(peer.ECHO, function(echo, other)
                assert.same({ asyncoro.location(other.location) }, asyncoro.peers())
                echo:send(nil)
            end, nil, function(other)
                local discovery = way(other.location)
                discovery.broadcast, discovery.multicast = false, false
                return { discovery = discovery }
            end)
        end
        program.remove(folder)
    end)

    it("can be left", function()
        with_peer(peer.ECHO, function(echo, other)
            assert(asyncoro.peer_status(asyncoro.current()))
            assert.equal("online", asyncoro.receive(10).status)
            assert.is_true(asyncoro.close_peer(other.location))
            assert.equal("offline", asyncoro.receive(10).status)
            assert(asyncoro.peer_status(asyncoro.current(), false))
            assert.equal("x", echo:call("x", 10)) -- and are reached again when they are needed
            echo:send(nil)
        end)
    end)

    it("that do not answer are told of in words", function()
        run(function()
            assert(asyncoro.network(peer.options()))
            local value, message, code = asyncoro.peer("127.0.0.1:1", { timeout = 10 })
            assert.is_nil(value)
            assert.is_string(code)
            assert.truthy(message:find("^peer 127%.0%.0%.1:1: "), message)
            assert.is_false(pcall(asyncoro.peer, "nowhere"))
            assert.is_false(pcall(asyncoro.peer, "127.0.0.1:1", { timeot = 1 }))
        end)
    end)
end)
