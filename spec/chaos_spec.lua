-- SPDX-License-Identifier: MIT
-- Two hosts on a wire that is made bad while they talk (spec/net/chaos.lua).
local chaos <const> = require "spec.net.chaos"
local namespaces <const> = require "spec.net.namespaces"
local program <const> = require "spec.program"

local missing <const> = not require("asyncoro").network and "the network is not built" or namespaces.missing()
if missing then
    describe("chaos", function()
        it("# SKIP " .. missing, function() end)
    end)
    return
end

local folder

setup(function() folder = chaos.folder() end)

teardown(function() program.remove(folder) end)

local function talk(wire, fn) return chaos.talk(wire, folder, fn) end

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
                chaos.signal(wire[1], "KILL")
                sink:finish()
                sink = chaos.start_sink(wire, folder)
                source:more(50, 10)
            end
            assert.is_true(source:losses() >= 3)
            return sink
        end)
    end)

    it("with a receiver that is stopped for longer than the time-out", function()
        local wire <const> = namespaces.wire()
        talk(wire, function(source)
            chaos.signal(wire[1], "STOP")
            source:wait(2)
            assert.is_true(source:losses() >= 1)
            chaos.signal(wire[1], "CONT")
        end)
    end)

    it("with a sender that is stopped for longer than the time-out", function()
        local wire <const> = namespaces.wire()
        talk(wire, function(source)
            chaos.signal(wire[2], "STOP")
            program.capture "timeout 2 tail -f /dev/null"
            chaos.signal(wire[2], "CONT")
            source:more(50, 10)
        end)
    end)
end)
