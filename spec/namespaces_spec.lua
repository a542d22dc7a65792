-- SPDX-License-Identifier: MIT
-- The wires of the tests themselves: what specs of the network find on them.
local namespaces <const> = require "spec.net.namespaces"
local program <const> = require "spec.program"

local missing <const> = namespaces.missing()
if missing then
    describe("namespaces", function()
        it("# SKIP " .. missing, function() end)
    end)
    return
end

local folder, answer, ask_file

-- Answers datagrams at port 7000, "you: " before them.
local ANSWER <const> = [[
local asyncoro = require "asyncoro"
asyncoro.run(function(address)
    local socket <close> = assert(asyncoro.udp(address, 7000))
    print "ready"
    io.stdout:flush()
    for _ = 1, math.huge do
        local text, host, port = socket:recvfrom()
        socket:sendto("you: " .. text, host, port)
    end
end, ...)]]

-- Sends COUNT datagrams to port 7000 of an address, and prints what comes back within a time: the numbers, and after how
-- many seconds the first one was back.
local ASK <const> = [[
local asyncoro = require "asyncoro"
asyncoro.run(function(address, count, seconds)
    local socket <close> = assert(asyncoro.udp("0.0.0.0", 0, { broadcast = true }))
    local start, first, numbers = asyncoro.now(), nil, {}
    for n = 1, count do socket:sendto(tostring(n), address, 7000) end
    while #numbers < tonumber(count) do
        local text = socket:recvfrom(2048, tonumber(seconds))
        if not text then break end
        first = first or asyncoro.now() - start
        numbers[#numbers + 1] = text:match "%d+"
    end
    print(table.concat(numbers, " "))
    print(first or "none")
end, ...)]]

setup(function()
    folder = program.folder()
    answer = program.write(folder .. "/answer.lua", ANSWER)
    ask_file = program.write(folder .. "/ask.lua", ASK)
end)

teardown(function() program.remove(folder) end)

-- The answers and the seconds until the first.
local function ask(wire, count, seconds, address)
    local _ <const>, out <const>, err <const> =
        wire[1]:run { ask_file, address or wire[2].address, tostring(count), tostring(seconds or 1) }
    assert.equal("", err)
    local numbers <const>, first <const> = out:match "^([^\n]*)\n([^\n]*)"
    return numbers, tonumber(first)
end

-- Calls fn(wire) with an answering program at the second host, and at all further ones.
local function with_wire(wire, fn)
    local servers <const> = {}
    for n = 2, #wire do
        servers[n] = wire[n]:converse { answer, "0.0.0.0" }
        assert.equal("ready", servers[n]:line())
    end
    local ok <const>, message <const> = pcall(fn, wire)
    for n = 2, #wire do
        servers[n]:type ""
        program.capture(("kill $(ip netns pids %s)"):format(wire[n].namespace))
        servers[n]:finish()
    end
    wire:close()
    assert(ok, message)
end

local function count(numbers)
    return select(2, numbers:gsub("%d+", ""))
end

describe("namespaces.wire", function()
    it("joins two hosts; loses packets, is slow, is a hole, is unplugged", function()
        with_wire(namespaces.wire(), function(wire)
            assert.equal("1 2 3", (ask(wire, 3)))
            wire[2]:lose(50)
            local came <const> = count((ask(wire, 200, 0.2)))
            assert.is_true(came > 50 and came < 150, came)
            wire[2]:lose(0)
            assert.equal("1 2 3", (ask(wire, 3)))
            wire[2]:blackhole(true)
            assert.equal("", (ask(wire, 3, 0.1)))
            wire[2]:blackhole()
            wire[1]:plug(false)
            assert.equal("", (ask(wire, 3, 0.1)))
            wire[1]:plug(true)
            assert.equal("1 2 3", (ask(wire, 3)))
            wire[1]:limit_rate(100) -- 16 KiB at once, then 12 KB a second
            assert.is_true(count((ask(wire, 1000, 0.2))) < 1000)
            wire[1]:limit_rate()
            assert.equal(100, count((ask(wire, 100))))
        end)
    end)

    it("makes a broadcast domain of several hosts", function()
        with_wire(namespaces.wire(4), function(wire)
            assert.equal("1", (ask(wire, 1, 0.3, "10.51.0.255")))
            local numbers <const> = ask(wire, 3, 0.3, "10.51.0.255") -- three answers to each, the first three count
            assert.equal(3, count(numbers))
        end)
    end)
end)

describe("namespaces.relayed", function()
    it("delays, changes the order, loses, doubles, cuts and freezes", function()
        with_wire(namespaces.relayed(folder), function(wire)
            assert.equal("1 2 3", (ask(wire, 3)))
            wire:relay "delay 50"
            local numbers, seconds = ask(wire, 3)
            assert.equal("1 2 3", numbers)
            assert.is_true(seconds >= 0.1 and seconds < 0.5, seconds)
            wire:relay "delay 5"
            wire:relay "jitter 50"
            numbers = ask(wire, 50)
            assert.equal(50, count(numbers))
            assert.not_equal("1 2 3 4 5 6 7 8 9 10", numbers:sub(1, 20))
            wire:relay "jitter 0"
            wire:relay "twice 1000"
            numbers = ask(wire, 4)
            assert.equal("1 1 1 1", numbers)
            wire:relay "twice 0"
            wire:relay "loss 500"
            assert.is_true(count((ask(wire, 100, 0.2))) < 60)
            wire:relay "loss 0"
            wire:relay "cut"
            assert.equal("", (ask(wire, 3, 0.1)))
            wire:relay "mend"
            wire:relay "freeze"
            assert.equal("", (ask(wire, 3, 0.1)))
            wire:relay "thaw"
            assert.equal("1 2 3", (ask(wire, 3)))
        end)
    end)
end)
