-- SPDX-License-Identifier: MIT
-- Programs that fork, each in a process of its own.
local program = require "spec.program"

local function host(text)
    local folder <const> = program.folder()
    local script <const> = program.write(folder .. "/script.lua",
        'local asyncoro, core = require "asyncoro", require "asyncoro.core"\nlocal OUT = ...\n' .. text)
    local code <const>, out <const>, err <const> = program.run({ script, folder .. "/child" })
    local child <const> = program.read(folder .. "/child")
    program.remove(folder)
    return code, out, err, child
end

-- The child says what it found in the file OUT; the parent waits until it is there.
local REPORT <const> = [[
    local function report(pid, text)
        if pid ~= 0 then
            print(text)
            local file repeat asyncoro.sleep(0.002) file = io.open(OUT) until file
            return file:close()
        end
        local file = io.open(OUT .. ".new", "w")
        file:write(text, "\n")
        file:close()
        os.rename(OUT .. ".new", OUT)
    end
]]

describe("a program that forks", function()
    it("goes on on both sides, with its coros, timers and mailboxes", function()
        local code, out, err, child = host(REPORT .. [[
            local got = {}
            local coro = asyncoro.spawn(function()
                asyncoro.sleep(0.03)
                local first, second = asyncoro.receive(), asyncoro.receive()
                return first .. second
            end)
            coro:send "before "
            asyncoro.yield()
            local pid = core.fork()
            coro:send(pid == 0 and "child" or "parent")
            report(pid, select(2, coro:finish()))]])
        assert.same({ 0, "before parent\n", "", "before child\n" }, { code, out, err, child })
    end)

    it("is two processes: handles that left before are the parent's", function()
        local code, out, err, child = host(REPORT .. [[
            local me = asyncoro.current()
            local bytes = core.encode(me)
            local pid = core.fork()
            local back = core.decode(bytes)
            report(pid, ("%s %s %s"):format(back == me, core.encode(me) == bytes, core.decode(core.encode(me)) == me))]])
        assert.same({ 0, "true true true\n", "", "false false true\n" }, { code, out, err, child })
    end)

    it("may start isolates afterwards on both sides, and be reached by the leash", function()
        local code, out, err, child = host(REPORT .. [[
            local pid = core.fork()
            local isolate = asyncoro.isolate(function(n) return n + 1 end, 41)
            local spinning = asyncoro.with_timeout(0.02, function() while true do asyncoro.now() end end)
            report(pid, ("%s %s"):format(select(2, isolate:finish()), spinning))]])
        assert.same({ 0, "42 nil\n", "", "42 nil\n" }, { code, out, err, child })
    end)

    it("is refused while isolates run", function()
        local code, out, err = host [[
            local isolate = asyncoro.isolate(asyncoro.receive)
            print(core.fork())
            print(select(3, core.prefork()))
            isolate:send(1)
            isolate:finish()
            repeat asyncoro.sleep(0.001) until core.prefork()
            core.postfork_parent()
            print(asyncoro.isolate(function() return 1 end):finish())]]
        assert.same({ 0, "" }, { code, err })
        assert.equal("nil\tfork: isolates run, or jobs on other threads, which a child would not have\tbusy\n" ..
            "busy\ntrue\t1\n", out)
    end)

    it("can be the base of many", function()
        local code, out, err = host [[
            local children = 0
            for _ = 1, 5 do
                if core.fork() == 0 then
                    asyncoro.sleep(0.01)
                    os.exit(asyncoro.spawn(function() return true end):finish() and 0 or 1)
                end
                children = children + 1
            end
            print(children)]]
        assert.same({ 0, "5\n", "" }, { code, out, err })
    end)
end)
