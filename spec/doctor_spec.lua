-- SPDX-License-Identifier: MIT
-- `asyncoro doctor`: what it says of this machine and of a peer, whole or broken. Its home is a folder of its own.
-- Broken peers are listeners of this spec; the whole one is a program with its network.
local asyncoro <const> = require "asyncoro"
local doctor <const> = require "asyncoro.cli.doctor"
local program <const> = require "spec.program"
local run <const> = require("spec.helper").run

-- Runs it in this process: its exit code, and what it printed (or, when the command line is wrong, nil and why).
local function examine(...)
    local parts <const> = {}
    local out <const> = {}
    function out:write(...)
        for _, text in ipairs { ... } do parts[#parts + 1] = text end
        return self
    end
    function out:flush() return self end
    local code <const>, message <const> = doctor.main({ ... }, out)
    return code, message or table.concat(parts)
end

local function has(text, report)
    assert(report:find(text, 1, true), ("%q is not in:\n%s"):format(text, report))
end

local function has_not(text, report)
    assert(not report:find(text, 1, true), ("%q is in:\n%s"):format(text, report))
end

-- A UDP port that nobody uses now.
local function free_port()
    return asyncoro.run(function()
        local socket <close> = assert(asyncoro.udp("127.0.0.1", 0))
        return select(2, socket:address())
    end)
end

describe("asyncoro doctor", function()
    local folder, secret

    setup(function()
        folder = program.folder()
        secret = program.write(folder .. "/secret", "kS8fW2qLz0Vh3nYt6RbXc9Ma\n")
        os.execute("chmod 600 " .. secret)
    end)
    teardown(function() program.remove(folder) end)

    -- The report on a peer that does `serve` with each connection.
    local function look_at(serve, ...)
        local more <const> = { ... }
        return run(function()
            local listener <close> = assert(asyncoro.listen("127.0.0.1", 0))
            local _, port <const> = listener:address()
            local server <const> = asyncoro.spawn({ daemon = true }, function()
                for client in listener:clients() do
                    serve(client)
                    client:close()
                end
            end)
            local code <const>, report <const> = examine("--secret-file", secret, "--listen", "0",
                "127.0.0.1:" .. port, table.unpack(more))
            server:terminate()
            server:finish()
            has("something listens at 127.0.0.1:" .. port, report)
            assert.equal(1, code)
            return report
        end)
    end

    -- A peer that answers the preface with these bytes.
    local function answers(bytes)
        return function(client)
            assert.equal("ACO\1MS\0\0", client:read_exact(8))
            client:write(bytes)
        end
    end

    describe("takes a command line", function()
        it("and says how", function()
            local code <const>, text <const> = examine("--help")
            assert.equal(0, code)
            has("usage: asyncoro doctor [options] [location]", text)
        end)

        it("and refuses what is wrong in it", function()
            for words, text in pairs {
                ["--nonsense"] = "'--nonsense' is not expected",
                ["a:1 b:2"] = "'b:2' is not expected",
                ["--port"] = "--port needs a value",
                ["--port x"] = "--port: x is no port",
                ["--discovery-port 0"] = "0 is no port",
                ["--discovery-port 65536"] = "65536 is no port",
                ["--port 1.5"] = "1.5 is no port",
                ["--listen -1"] = "--listen: -1 is no number of seconds",
            } do
                local list <const> = {}
                for word in words:gmatch("%S+") do list[#list + 1] = word end
                local code <const>, message <const> = examine(table.unpack(list))
                assert.is_nil(code)
                has(text, message)
            end
        end)

        it("and ends with a code", function()
            local env <const> = { HOME = folder, ASYNCORO_SECRET_FILE = secret, XDG_CONFIG_HOME = folder }
            local code, out, err = program.run({ "doctor", "--listen", "0" }, { env = env })
            assert.same({ 0, "" }, { code, err })
            has("this build\n  ok       asyncoro ", out)
            env.ASYNCORO_SECRET_FILE = folder .. "/nowhere"
            code, out, err = program.run({ "doctor", "--listen", "0" }, { env = env })
            assert.same({ 1, "" }, { code, err })
            has("problem  the secret cannot be read: " .. folder .. "/nowhere", out)
            code, out, err = program.run({ "doctor", "--nonsense" }, { env = env })
            assert.same({ 1, "" }, { code, out })
            has("asyncoro: doctor: '--nonsense' is not expected", err)
        end)
    end)

    describe("looks at this build and this machine", function()
        it("and names what it runs on", function()
            local _, report <const> = run(function() return examine("--secret-file", secret, "--listen", "0") end)
            has(asyncoro._VERSION .. ", libevent 2", report)
            has("OpenSSL ", report)
            local number <const> = tonumber(report:match("Lua 5%.4%.(%d+)"))
            if number < 6 then
                has("warning  Lua 5.4." .. number .. " has known faults", report)
            else
                has("ok       Lua 5.4." .. number, report)
            end
            has("lo 127.0.0.1", report)
            has_not("127.0.1.1", report)
        end)

        it("and its ports", function()
            run(function()
                local taken <close> = assert(asyncoro.udp("0.0.0.0", 0))
                local listener <close> = assert(asyncoro.listen("0.0.0.0", 0))
                local _, udp <const> = taken:address()
                local _, tcp <const> = listener:address()
                local code, report = examine("--secret-file", secret, "--listen", "0", "--port", tostring(tcp),
                    "--discovery-port", tostring(udp))
                assert.equal(1, code)
                has(("problem  UDP port %d, of discovery, is taken"):format(udp), report)
                has("ASYNCORO_DISCOVERY_PORT", report)
                has(("note     TCP port %d is in use"):format(tcp), report)
                taken:close()
                listener:close()
                code, report = examine("--secret-file", secret, "--listen", "0", "--port", tostring(tcp),
                    "--discovery-port", tostring(udp))
                assert.equal(0, code)
                has(("ok       UDP port %d, of discovery, is free"):format(udp), report)
                has(("ok       TCP port %d is free"):format(tcp), report)
            end)
        end)

        it("and the file of the secret", function()
            run(function()
                local file <const> = program.write(folder .. "/open", "0123456789abcdef0123456789")
                os.execute("chmod 644 " .. file)
                local code, report = examine("--secret-file", file, "--listen", "0")
                assert.equal(1, code)
                has("may be read by other users of this machine\n           -> chmod 600 " .. file, report)
                os.execute("chmod 600 " .. file)
                code, report = examine("--secret-file", file, "--listen", "0")
                assert.equal(0, code)
                has("may be read by this user only", report)
                program.write(file, "\n")
                code, report = examine("--secret-file", file, "--listen", "0")
                assert.equal(1, code)
                has(file .. ": is empty", report)
                code, report = examine("--certfile", folder .. "/nowhere", "--keyfile", "x", "--listen", "0")
                assert.equal(1, code)
                has("problem  certificates need both certfile (and keyfile) and cafile", report)
                code, report = examine("--certfile", folder .. "/nowhere", "--keyfile", "x", "--cafile", "y",
                    "--listen", "0")
                assert.equal(1, code)
                has(folder .. "/nowhere", report)
            end)
        end)
    end)

    it("says what was tried when nobody answers to discovery", function()
        local env <const> = { XDG_CONFIG_HOME = folder, HOME = folder, ASYNCORO_DISCOVERY_PORT = tostring(free_port()) }
        local code, out = program.run({ "doctor", "--listen", "0.05" }, { env = env })
        assert.equal(0, code)
        has(("nobody answered within 0.05 s; tried broadcast to 127.255.255.255 (lo), UDP port %s"):format(
            env.ASYNCORO_DISCOVERY_PORT), out)
        has("no secret and no certificates", out)
        has("peers are told 127.0.0.1", out)
        env.ASYNCORO_DISCOVERY_PORT = "nine"
        code, out = program.run({ "doctor", "--listen", "0.05" }, { env = env })
        assert.equal(1, code)
        has("ASYNCORO_DISCOVERY_PORT is 'nine'", out)
    end)

    describe("looks at a peer", function()
        it("that is well, and is taken no notice of", function()
            local port <const> = tostring(free_port())
            local env <const> = { XDG_CONFIG_HOME = folder, HOME = folder, ASYNCORO_DISCOVERY_PORT = port }
            local peer <const> = program.start({ "-e", [[
                local asyncoro = require "asyncoro"
                print(asyncoro.network { name = "the other" })
                io.stdout:flush()
                asyncoro.peer_status(asyncoro.current())
                print(asyncoro.receive(8))]] }, { env = env })
            local location <const> = peer:line()
            local code, out = program.run({ "doctor", "--listen", "0.5", location }, { env = env })
            has("heard the other at " .. location, out)
            has("it speaks asyncoro's protocol, version 1, with the same kind of security", out)
            has("it has the key of the same user", out)
            has("it is the other, asyncoro ", out)
            has("its clock is 0", out)
            assert.equal(0, code)
            env.ASYNCORO_SECRET_FILE = secret
            code, out = program.run({ "doctor", "--listen", "0", location }, { env = env })
            assert.equal(1, code)
            has("problem  it refuses: ", out)
            env.ASYNCORO_SECRET_FILE = nil
            code, out = program.run({ "-e", ([[
                local asyncoro = require "asyncoro"
                assert(asyncoro.network { name = "a real one", discovery = false })
                assert(asyncoro.peer(%q))
                asyncoro.sleep(0.2)]]):format(location) }, { env = env })
            assert.same({ 0, "" }, { code, out })
            local _, rest <const> = peer:finish() -- the first that it hears of is not the doctor
            has("a real one", rest)
            has("online", rest)
        end)

        it("where nobody listens", function()
            run(function()
                local listener <const> = assert(asyncoro.listen("127.0.0.1", 0))
                local _, port <const> = listener:address()
                listener:close()
                local code <const>, report <const> = examine("--secret-file", secret, "--listen", "0",
                    "127.0.0.1:" .. port)
                assert.equal(1, code)
                has("problem  nobody listens at 127.0.0.1:" .. port, report)
            end)
        end)

        it("at what is no location", function()
            run(function()
                local code <const>, report <const> = examine("--secret-file", secret, "--listen", "0", "127.0.0.1")
                assert.equal(1, code)
                has("problem  '127.0.0.1' is no location: it has no port", report)
            end)
        end)

        it("on another machine only with a secret", function()
            local env <const> = { XDG_CONFIG_HOME = folder, HOME = folder }
            local code <const>, out <const> = program.run({ "doctor", "--listen", "0", "192.0.2.1:51351" }, { env = env })
            assert.equal(1, code)
            has("problem  192.0.2.1:51351 is not of this machine, and without a secret", out)
        end)

        it("that is another program", function()
            local report <const> = look_at(answers "HTTP/1.1 400 Bad Request\r\n\r\n")
            has("problem  what it answers is not asyncoro's protocol", report)
        end)

        it("that closes at once", function()
            has("problem  it closed the connection", look_at(function() end))
        end)

        it("that says nothing", function()
            local report <const> = look_at(function(client) client:read_all() end, "--timeout", "0.05")
            has("problem  it says nothing", report)
        end)

        it("of another version", function()
            has("bring asyncoro here up to date", look_at(answers "ACO\2\1S\0\0"))
        end)

        it("with another kind of security", function()
            has("problem  it refuses: it wants certificates", look_at(answers "ACO\1\2C\0\0"))
        end)

        it("that has no such server, is busy, takes no peers", function()
            has("no such server", look_at(answers "ACO\1\3S\0\0"))
            has("too many", look_at(answers "ACO\1\4S\0\0"))
            has("takes no peers", look_at(answers "ACO\1\5S\0\0"))
        end)

        it("that breaks off in the handshake", function()
            has("problem  the handshake failed", look_at(answers "ACO\1\0S\0\0"))
        end)
    end)
end)
