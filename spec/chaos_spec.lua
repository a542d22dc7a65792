-- SPDX-License-Identifier: MIT
-- Two hosts on a wire that is made bad while they talk: nothing hangs, no message comes out of order or twice, every
-- delivery that was confirmed has come, and both go on when the wire is good again. spec/net/chaos_source.lua is who
-- sends.
local namespaces <const> = require "spec.net.namespaces"
local program <const> = require "spec.program"

local PORT <const> = "7100"

local missing <const> = not require("asyncoro").network and "the network is not built" or namespaces.missing()
if missing then
    describe("chaos", function()
        it("# SKIP " .. missing, function() end)
    end)
    return
end

local folder

setup(function()
    folder = program.folder()
    program.write(folder .. "/secret", "a secret of these tests, longer than most\n")
end)

teardown(function() program.remove(folder) end)

local function options()
    return { env = { HOME = folder, ASYNCORO_SECRET_FILE = folder .. "/secret" } }
end

local function start_sink(wire)
    local sink <const> = wire[1]:converse({ "spec/net/chaos_sink.lua", PORT }, options())
    local location <const> = sink:line()
    assert(location and location:match ":%d+$", location or sink:finish())
    return sink
end

-- The processes of a host; there is one.
local function signal(host, name)
    program.capture(("kill -%s $(ip netns pids %s) 2>&1"):format(name, host.namespace))
end

local Source <const> = {}
Source.__index = Source

local function ask(self, line, pattern)
    self.running:type(line)
    local answer <const> = self.running:line()
    return answer and answer:match(pattern) or error(("%s: %s"):format(line, answer or "it has ended"), 2)
end

-- So many more confirmed deliveries, within so many seconds.
function Source:more(count, limit)
    local seconds <const> = tonumber(ask(self, "more " .. count, "^more (%S+)$"))
    assert.is_true(seconds < limit, ("%d more took %.1f s"):format(count, seconds))
end

function Source:wait(seconds) ask(self, "wait " .. seconds, "^waited$") end

function Source:check() ask(self, "check", "^sound$") end

function Source:losses() return tonumber(ask(self, "losses", "^losses (%d+)$")) end

-- Calls fn(wire, source, sink) with both programs running, and looks whether all is well at the end.
local function talk(wire, fn, size)
    local sink <const> = start_sink(wire)
    local source <const> = setmetatable({ running = wire[2]:converse(
        { "spec/net/chaos_source.lua", wire[1].address .. ":" .. PORT, size }, options()) }, Source)
    local ok, message = pcall(function()
        source:more(50, 10)
        local last_sink <const> = fn(source, sink) or sink
        source:more(50, 15)
        source:check()
        for _, running in ipairs { source.running, last_sink } do
            running:type "quit"
            local code <const>, rest <const> = running:finish()
            assert.same({ 0, "" }, { code, rest })
        end
    end)
    for _, host in ipairs(wire) do signal(host, "KILL") end
    wire:close()
    if not ok then error(message, 0) end
end

describe("chaos", function()
    it("on a line of 1 Mbit/s", function()
        local wire <const> = namespaces.wire()
        talk(wire, function(source)
            for _, host in ipairs(wire) do host:limit_rate(1000) end
            source:wait(3)
            for _, host in ipairs(wire) do host:limit_rate() end
        end)
    end)

    it("with 5 % of the packets lost", function()
        local wire <const> = namespaces.wire()
        talk(wire, function(source)
            for _, host in ipairs(wire) do host:lose(5) end
            source:wait(1)
            source:more(20, 20)
            for _, host in ipairs(wire) do host:lose(0) end
        end)
    end)

    it("with 200 ms of delay, and packets out of order and twice", function()
        local wire <const> = namespaces.relayed(folder)
        talk(wire, function(source)
            wire:relay "delay 100"
            source:more(10, 60) -- each behind all that was sent to the same coro before
            assert.equal(0, source:losses())
            wire:relay "delay 10"
            wire:relay "jitter 30"
            wire:relay "twice 100"
            source:more(50, 20)
            wire:relay "delay 0"
            wire:relay "jitter 0"
            wire:relay "twice 0"
        end)
    end)

    it("in a partition that is shorter than the time-out", function()
        local wire <const> = namespaces.wire()
        talk(wire, function(source)
            wire[1]:blackhole(true)
            source:wait(0.4)
            wire[1]:blackhole()
            source:more(50, 10)
            assert.equal(0, source:losses())
        end)
    end)

    for _, way in ipairs { "a black hole", "a pulled plug" } do
        it("in a partition by " .. way, function()
            local wire <const> = namespaces.wire()
            talk(wire, function(source)
                for n = 1, 2 do
                    if way == "a black hole" then wire[n]:blackhole(true) else wire[n]:plug(false) end
                    source:wait(2.5)
                    assert.is_true(source:losses() >= n)
                    if way == "a black hole" then wire[n]:blackhole() else wire[n]:plug(true) end
                    source:more(50, 10)
                end
            end)
        end)
    end

    it("with a receiver that is killed and started again", function()
        local wire <const> = namespaces.wire()
        talk(wire, function(source, sink)
            for _ = 1, 3 do
                signal(wire[1], "KILL")
                sink:finish()
                sink = start_sink(wire)
                source:more(50, 10)
            end
            assert.is_true(source:losses() >= 3)
            return sink
        end)
    end)

    it("with a receiver that is stopped for longer than the time-out", function()
        local wire <const> = namespaces.wire()
        talk(wire, function(source)
            signal(wire[1], "STOP")
            source:wait(2)
            assert.is_true(source:losses() >= 1)
            signal(wire[1], "CONT")
        end)
    end)

    it("with a sender that is stopped for longer than the time-out", function()
        local wire <const> = namespaces.wire()
        talk(wire, function(source)
            signal(wire[2], "STOP")
            program.capture "timeout 2 tail -f /dev/null"
            signal(wire[2], "CONT")
            source:more(50, 10)
        end)
    end)
end)
