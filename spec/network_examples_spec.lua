-- SPDX-License-Identifier: MIT
-- The examples in which one program talks to another: each pair as two processes of this machine, which find each other
-- over loopback (of the host, of stock Lua, of a C program that runs them in itself), and as two hosts on a wire, which
-- share a secret; with what they print checked.
local namespaces <const> = require "spec.net.namespaces"
local program <const> = require "spec.program"

if not require("asyncoro").network then
    describe("examples of the network", function()
        it("# SKIP the network is not built", function() end)
    end)
    return
end

local EXAMPLES <const> = "scripts/examples/"

local folder, embedding

setup(function()
    folder = program.folder()
    program.write(folder .. "/secret", "a secret of these tests, longer than most\n")
end)

teardown(function() program.remove(folder) end)

local discovery <const> = os.getenv "ASYNCORO_DISCOVERY_PORT" or tostring(30000 + os.time() % 1000)

local function environment(form)
    local env <const> = { HOME = folder, ASYNCORO_DISCOVERY_PORT = discovery }
    for name, value in pairs(form.env or {}) do env[name] = value end
    return { env = env, program = form.program }
end

-- Two processes of this machine, run by `name`, or by the host.
local function one_machine(name, env)
    return {
        start = function(_, args, opts) return program.converse(args, opts) end,
        program = name,
        env = env,
        close = function() end,
    }
end

-- Where the server and where the clients of a pair run. `start` is program.converse or its like in a namespace, by the
-- number of the host.
local places <const> = {
    ["on one machine"] = one_machine,
    ["as modules of stock Lua"] = function()
        return one_machine("lua5.4", { LUA_PATH = "lua/?.lua;lua/?/init.lua;;", LUA_CPATH = program.module_path })
    end,
    ["in C programs"] = function()
        embedding = embedding or program.embedding(folder)
        return one_machine(embedding)
    end,
    ["on two hosts with a secret"] = function()
        local wire <const> = namespaces.wire()
        return {
            start = function(host, args, opts) return wire[host]:converse(args, opts) end,
            env = { ASYNCORO_SECRET_FILE = folder .. "/secret" },
            close = function() wire:close() end,
        }
    end,
}

local function start(place, host, name, ...)
    return place.start(host, { EXAMPLES .. name .. ".lua", ... }, environment(place))
end

-- A server with a console, which has said where it is.
local function serve(place, name, ...)
    local server <const> = start(place, 1, name, ...)
    local line <const> = server:line()
    return server, assert(line and line:match "^at (%S+:%d+)$", line or server:finish())
end

-- The lines that a client prints; it must end well.
local function run(place, name, ...)
    local client <const> = start(place, 2, name, ...)
    local code <const>, out <const> = client:finish()
    assert.equal(0, code, out)
    local lines <const> = {}
    for line in out:gmatch "[^\n]+" do lines[#lines + 1] = line end
    return lines
end

-- Ends a server; it must print nothing more.
local function quit(server)
    server:type "quit"
    local code <const>, rest <const> = server:finish()
    assert.same({ 0, "" }, { code, rest })
end

local pairs_of_programs <const> = {
    ["remote_coro_server and remote_coro_client"] = function(place)
        local server <const>, location <const> = serve(place, "remote_coro_server")
        assert.same({ "server is at " .. location }, run(place, "remote_coro_client"))
        for n = 0, 9 do assert.equal("Received message " .. n, server:line()) end
        assert.same({ "server is at " .. location }, run(place, "remote_coro_client", "1000", location))
        for n = 0, 999 do assert.equal("Received message " .. n, server:line()) end
        quit(server)
    end,

    ["remote_coro_client before its server"] = function(place)
        local client <const> = start(place, 2, "remote_coro_client")
        local server <const>, location <const> = serve(place, "remote_coro_server")
        local code <const>, out <const> = client:finish()
        assert.same({ 0, "server is at " .. location .. "\n" }, { code, out })
        for n = 0, 9 do assert.equal("Received message " .. n, server:line()) end
        quit(server)
    end,

    ["tut_server and tut_client"] = function(place)
        local server <const> = serve(place, "tut_server")
        assert.same({}, run(place, "tut_client", "10", "0.1"))
        local seen <const> = {}
        for i = 1, 30 do
            local id <const>, n <const>, x <const> = server:line():match "^processing (%d+): (%d+) / (%d)$"
            assert.equal(i, tonumber(id))
            assert.equal(seen[n] or 0, tonumber(x))
            seen[n] = tonumber(x) + 1
        end
        quit(server)
    end,

    ["remote_channel_server and remote_channel_client"] = function(place)
        local server <const>, location <const> = serve(place, "remote_channel_server", "0.3")
        local lines <const> = run(place, "remote_channel_client")
        assert.equal("server is at " .. location, table.remove(lines, 1))
        local received <const>, delivered = {}, 0
        for _, line in ipairs(lines) do
            if line == "delivered to: 2" then delivered = delivered + 1 else received[#received + 1] = line end
        end
        assert.same({ 10, 10 }, { delivered, #received })
        local sender
        for n = 0, 9 do
            local text <const>, from <const> = received[n + 1]:match '^Received "(.*)" from sender_proc at (%S+:%d+)$'
            assert.equal("message " .. n, text)
            sender = sender or from
            assert.equal(sender, from)
            assert.equal(received[n + 1], server:line())
        end
        assert.not_equal(location, sender)
        quit(server)
    end,

    ["chat_chan_server and chat_chan_client"] = function(place)
        local server <const>, location <const> = serve(place, "chat_chan_server")
        local one <const> = start(place, 1, "chat_chan_client")
        assert.equal("you are 1", one:line())
        local two <const> = start(place, 2, "chat_chan_client", location)
        assert.equal("you are 2", two:line())
        assert.equal("    2 joined :-)", one:line())
        two:type "SHOUT"
        two:type "hi there"
        assert.equal("    2 says: hi there", one:line())
        one:type "hello"
        assert.equal("    1 says: hello", two:line())
        one:type "quit"
        assert.same({ 0, "" }, { one:finish() })
        assert.equal("    1 left :-(", two:line())
        two:type "quit"
        assert.same({ 0, "" }, { two:finish() })
        quit(server)
    end,

    ["rci_monitor_server and rci_monitor_client"] = function(place)
        local secret <const> = "one that both are told"
        local server <const>, location <const> = serve(place, "rci_monitor_server", secret, "0.05")
        local lines <const> = run(place, "rci_monitor_client", secret, "0.05")
        local found <const>, finished <const>, failed <const>, created = {}, {}, {}, 0
        for _, line in ipairs(lines) do
            local n <const> = tonumber(line:match "(%d+)$")
            if line == "RCI is at " .. location then found[#found + 1] = line end
            if line:match "^RCI coro .* created$" then created = created + 1 end
            if line:match "^RCI coro .* finished with: msg:%d$" then finished[#finished + 1] = n end
            if line:match "^RCI coro .* failed with: invalid invocation: %d$" then failed[#failed + 1] = n end
        end
        table.sort(finished)
        table.sort(failed)
        assert.same({ 2, 5, { 0, 2, 4 }, { 1, 3 } }, { #found, created, finished, failed }, table.concat(lines, "\n"))
        server:type "quit"
        local code <const>, out <const> = server:finish()
        assert.equal(0, code)
        for n = 0, 4 do assert.matches("running [^\n]* with test" .. n .. ", " .. n, out) end
        assert.equal(3, select(2, out:gsub(" done\n", "")), out)
    end,
}

for where, make in pairs(places) do
    describe("examples " .. where, function()
        local missing <const> = where:find "hosts" and namespaces.missing()
        if missing then
            it("# SKIP " .. missing, function() end)
            return
        end
        for name, check in pairs(pairs_of_programs) do
            it(name, function()
                local place <const> = make()
                local ok <const>, message <const> = pcall(check, place)
                place.close()
                if not ok then error(message, 0) end
            end)
        end
    end)
end
