-- SPDX-License-Identifier: MIT
-- Connections whose other side is gone without a word: hosts on a wire that goes dead. What a server does then.
local namespaces <const> = require "spec.net.namespaces"
local program <const> = require "spec.program"

local missing <const> = namespaces.missing()
if missing then
    describe("half-open connections", function()
        it("# SKIP " .. missing, function() end)
    end)
    return
end

-- Serves one client: says "here" when it has read a line, and what became of ACTION when that is over.
local SERVER <const> = [[
local asyncoro = require "asyncoro"
asyncoro.run(function(address)
    local function say(...)
        print(...)
        io.stdout:flush()
    end
    local listener <close> = assert(asyncoro.listen(address, 7000))
    say "ready"
    local stream <close> = assert(listener:accept())
    stream:setoption("keepalive", true)
    stream:setoption("keepalive_idle", 1)
    stream:setoption("keepalive_interval", 1)
    stream:setoption("keepalive_count", 1)
    say(stream:read_line())
    local result, message, code, partial = (function() ACTION end)()
    say(result, message, code, partial)
end, ...)]]

local CLIENT <const> = [[
local asyncoro = require "asyncoro"
local id = io.open("/proc/self/stat"):read "n"
asyncoro.run(function(address)
    local stream <close> = assert(asyncoro.connect(address, 7000))
    stream:write("process ", id, "\npart")
    print(stream:read_all())
end, ...)]]

describe("half-open connections", function()
    local folder, wire

    before_each(function()
        folder, wire = program.folder(), namespaces.wire()
    end)
    after_each(function()
        wire:close()
        program.remove(folder)
    end)

    -- Server and client, connected; and the process of the client.
    local function connected(action)
        local file <const> = program.write(folder .. "/server.lua", (SERVER:gsub("ACTION", action)))
        local server <const> = wire[1]:converse { file, wire[1].address }
        assert.equal("ready", server:line())
        local client <const> = wire[2]:converse {
            program.write(folder .. "/client.lua", CLIENT), wire[1].address }
        return server, client, assert(server:line():match "^process (%d+)$")
    end

    local function ended(server)
        local line <const> = server:line()
        assert.equal(0, (server:finish()))
        return line
    end

    it("are noticed by keepalive; what had come is not lost", function()
        local server <const>, client <const>, id <const> = connected "return stream:read_line()"
        wire[2]:blackhole(true)
        assert.matches("^nil\tread_line 10%.51%.0%.%d:%d+: timed out\ttimeout\tpart$", ended(server))
        program.signal("KILL", id)
        client:finish()
    end)

    it("end a read, and a write of much, in the time it was given", function()
        local server <const>, client <const>, id <const> = connected [[
            stream:settimeout(0.2)
            local _, _, code = stream:read_exact(100)
            local _, _, other, sent = stream:write(("x"):rep(2^24))
            return code, other, sent < 2^24]]
        wire[2]:blackhole(true)
        assert.equal("timeout\ttimeout\ttrue\tnil", ended(server))
        program.signal("KILL", id)
        client:finish()
    end)

    it("whose host has forgotten them are reset", function()
        local server <const>, client <const>, id <const> = connected "return stream:read_line()"
        wire[2]:blackhole(true)
        program.signal("KILL", id)
        client:finish()
        assert(os.execute(("ip netns exec %s ss -K dport = 7000 >/dev/null 2>&1"):format(wire[2].namespace)))
        wire[2]:blackhole(nil)
        assert.matches("^nil\tread_line 10%.51%.0%.%d:%d+: Connection reset by peer\treset\tpart$", ended(server))
    end)
end)
