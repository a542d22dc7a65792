-- SPDX-License-Identifier: MIT
local asyncoro = require "asyncoro"
local helper = require "spec.helper"
local program = require "spec.program"
local run = helper.run
local signal = asyncoro.signal

local function kill(name)
    assert(os.execute(("kill -%s %d"):format(name, helper.pid())))
end

local function caught()
    local status <const> = assert(io.open("/proc/self/status"))
    local text <const> = status:read("a")
    status:close()
    return text:match("SigCgt:%s(%x+)")
end

describe("signals", function()
    it("are waited for, and keep those that came before", function()
        run(function()
            local signals <close> = signal.open { "USR1", "USR2" }
            kill "USR1"
            assert.equal("USR1", signals:wait(20))
            assert.equal("timeout", select(3, signals:wait(0)))
            local waiter <const> = asyncoro.spawn(function() return signals:wait() end)
            asyncoro.yield()
            assert.equal("busy", select(3, signals:wait()))
            kill "USR2"
            assert.same({ true, "USR2" }, { waiter:finish() })
            assert.equal("signals USR1, USR2", tostring(signals))
        end)
    end)

    it("reach every handle that wants them", function()
        run(function()
            local one <close> = signal.open "USR1"
            local other <close> = signal.open { "USR1", "HUP" }
            kill "USR1"
            assert.same({ "USR1", "USR1" }, { one:wait(20), other:wait(20) })
            kill "HUP"
            assert.equal("HUP", other:wait(20))
            assert.equal("timeout", select(3, one:wait(0)))
        end)
    end)

    it("reach other engines", function()
        run(function()
            local coro <const> = asyncoro.isolate(function(parent)
                local signals <close> = asyncoro.signal.open "USR1"
                parent:send "ready"
                return signals:wait(20)
            end, asyncoro.current())
            assert.equal("ready", asyncoro.receive(20))
            kill "USR1"
            assert.same({ true, "USR1" }, { coro:finish() })
        end)
    end)

    it("are as before when the last handle is closed", function()
        local before <const> = caught()
        run(function()
            local one <const>, other <const> = signal.open "USR1", signal.open "USR1"
            assert.not_equal(before, caught())
            one:close()
            one:close()
            assert.not_equal(before, caught())
            local waiter <const> = asyncoro.spawn(function() return other:wait() end)
            asyncoro.yield()
            other:close()
            assert.equal("closed", select(4, waiter:finish()))
            assert.equal("closed", select(3, other:wait()))
        end)
        assert.equal(before, caught())
        run(function() signal.open "USR2" end)
        collectgarbage()
        collectgarbage()
        assert.equal(before, caught())
    end)

    it("are sources of select", function()
        run(function()
            local signals <close> = signal.open "USR1"
            assert.same({ 2, true }, { asyncoro.select { signals, 0.001 } })
            asyncoro.spawn(kill, "USR1")
            assert.same({ 1, "USR1" }, { asyncoro.select { signals, 20 } })
        end)
    end)

    it("that cannot be taken are refused", function()
        run(function()
            for name, text in pairs {
                KILL = "cannot be caught", STOP = "cannot be caught", SEGV = "a fault", URG = "the engine itself",
                NONE = "no signal 'NONE'",
            } do
                assert.error_matches(function() signal.open(name) end, text)
            end
            assert.error_matches(function() signal.open {} end, "the name of a signal expected")
            assert.error_matches(function() signal.open(1) end, "the names of signals expected")
            assert.equal("timeout", select(3, signal.wait("USR1", 0)))
        end)
    end)

    it("to a forked process are not its parent's", function()
        local folder <const> = program.folder()
        local script <const> = program.write(folder .. "/script.lua", [[
            local asyncoro, core = require "asyncoro", require "asyncoro.core"
            local signals = asyncoro.signal.open { "USR1", "USR2" }
            local ours, theirs = asyncoro.socket.pair()
            local parent = tonumber(io.open("/proc/self/stat"):read("n"))
            local pid = core.fork()
            if pid == 0 then
                theirs:write(signals:wait(20), "\n")
                os.execute("kill -USR2 " .. parent)
                os.exit(0, false)
            end
            os.execute("kill -USR1 " .. pid)
            print(ours:read_line(), signals:wait(20), select(3, signals:wait(0)))]])
        assert.same({ 0, "USR1\tUSR2\ttimeout\n", "" }, { program.run { script } })
        program.remove(folder)
    end)

    it("may still be taken when the program ends", function()
        local code <const>, out <const> = program.run { "-e", [[
            local asyncoro = require "asyncoro"
            never_closed = asyncoro.signal.open { "INT", "TERM" }
            os.execute "kill -TERM $PPID"
            print(never_closed:wait(20))]] }
        assert.same({ 0, "TERM\n" }, { code, out })
    end)
end)
