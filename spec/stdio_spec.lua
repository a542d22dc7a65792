-- SPDX-License-Identifier: MIT
-- Standard input, output and error of programs of their own, over all that they may be.
local asyncoro = require "asyncoro"
local program = require "spec.program"
local run = require("spec.helper").run
local process = asyncoro.process

local quote = program.quote

-- The bits of the mode of this descriptor, of the program that runs this text.
local MODES <const> = [[
local function modes()
    local list = {}
    for fd = 0, 2 do
        local file <close> = io.open("/proc/self/fdinfo/" .. fd)
        local flags = tonumber(file:read("a"):match("flags:%s*(%d+)"), 8)
        list[#list + 1] = flags & tonumber("4000", 8) == 0 and "b" or "n"
    end
    return table.concat(list)
end
]]

-- Reads a line, the rest, and writes both, with the modes in front.
local COPY <const> = MODES .. [[
local asyncoro = require "asyncoro"
asyncoro.run(function()
    local first = asyncoro.stdin:read_line()
    local rest = asyncoro.stdin:read_all()
    asyncoro.stderr:write ""
    assert(asyncoro.stdout:write(first or "nothing", "|", rest or "nothing", "|"))
    assert(asyncoro.stdout:write(modes()))
end)
]]

-- The output of a shell command in which `asyncoro` is our program; its code.
local function shell(command, script)
    local folder <const> = program.folder()
    program.write(folder .. "/script.lua", script)
    local text <const> = ("cd %s; asyncoro() { timeout -s KILL 30 %s \"$@\"; }; %s"):format(folder, quote(program.path),
        command)
    local code <const>, out <const>, err <const> = program.run({ "-c", text },
        { program = "sh", env = { LUA_PATH = os.getenv "LUA_PATH" } })
    program.remove(folder)
    return out, err, code
end

describe("standard input and output", function()
    it("may be plain files", function()
        assert.same({ 0, "one|two\nthree|bbb", "" },
            { program.run({ "-e", COPY }, { stdin = "one\ntwo\nthree" }) })
        assert.same({ 0, "nothing||bbb", "" }, { program.run({ "-e", COPY }, { stdin = "" }) })
    end)

    it("may be pipes", function()
        assert.equal("one|two\n|bbb", (shell("printf 'one\\ntwo\\n' | asyncoro script.lua 2>&1 | cat", COPY)))
        assert.equal("nothing||bbb", (shell("true | asyncoro script.lua 2>&1 | cat", COPY)))
    end)

    it("may be sockets", function()
        run(function()
            local ours <const>, theirs <const> = assert(asyncoro.socket.pair())
            local child <close> = assert(process.spawn({ program.path, "-e", COPY },
                { stdin = theirs, stdout = theirs }))
            ours:write "one\ntwo\n"
            ours:shutdown()
            local text <const> = ours:read_all()
            assert.equal("one|two\n|bbb", text)
            assert.is_true(child:wait())
        end)
    end)

    it("may be a terminal, whose mode stays", function()
        local terminal <const> = program.terminal { "-e", MODES .. [[
            local asyncoro = require "asyncoro"
            asyncoro.run(function()
                asyncoro.stdout:write "ready\n"
                for line in asyncoro.stdin:lines() do
                    asyncoro.stdout:write("<", line, "> ", modes(), "\n")
                end
            end)]] }
        terminal:expect "ready\r\n"
        terminal:type("one\r", "<one> bbb\r\n")
        terminal:type("two\r", "<two> bbb\r\n")
        assert.equal(0, (terminal:finish "\4"))
    end)

    it("may be nothing", function()
        assert.equal("nothing||bbb", (shell("asyncoro script.lua </dev/null 2>/dev/null | cat", COPY)))
        assert.equal("", (shell("echo x | asyncoro script.lua >/dev/null", COPY)))
    end)

    it("may be closed: then they are as /dev/null, and nothing else gets their numbers", function()
        assert.equal("nothing||bbb", (shell("asyncoro script.lua <&- 2>/dev/null | cat", COPY)))
        local out <const> = shell("asyncoro script.lua >&- 2>&-; cat file", [[
            local asyncoro = require "asyncoro"
            local stream = asyncoro.file.open("file", "w")
            print "printed"
            stream:write "written"
            stream:close()]])
        assert.equal("written", out)
    end)

    it("that a host has closed are closed streams", function()
        local lua <const> = os.getenv "ASYNCORO_LUA" or "lua5.4"
        local out <const> = shell(quote(lua) .. " script.lua <&-", [[
            local hold = io.open("/dev/null")
            local asyncoro = require "asyncoro"
            hold:close()
            asyncoro.run(function()
                print(asyncoro.stdin:read_line())
                print(asyncoro.stdin:is_open())
            end)]])
        assert.equal("nil\tread_line stdin: closed\tclosed\nfalse\n", out)
    end)

    it("are written in one order by print and by streams", function()
        local out <const> = shell("asyncoro script.lua | cat; asyncoro script.lua >file; cat file", [[
            local asyncoro = require "asyncoro"
            io.write "1 " asyncoro.stdout:write "2 " print "3" asyncoro.stderr:write "" io.write "4 "
            asyncoro.stdout:write("5 ", 6, "\n")]])
        assert.equal(("1 2 3\n4 5 6\n"):rep(2), out)
    end)

    it("can be closed: others that have the descriptor keep it", function()
        assert.equal("before after\n", (shell("asyncoro script.lua", [[
            local asyncoro = require "asyncoro"
            asyncoro.stdout:write "before "
            asyncoro.stdout:close()
            assert(select(3, asyncoro.stdout:write "lost") == "closed")
            print "after"]])))
    end)

    it("seek where that can be", function()
        local script <const> = [[
            local asyncoro = require "asyncoro"
            asyncoro.stdin:read_all()
            local place, _, code = asyncoro.stdin:seek("set", 2)
            print(place, code, asyncoro.stdin:read_all())]]
        assert.same({ 0, "2\tnil\tcdef\n", "" }, { program.run({ "-e", script }, { stdin = "abcdef" }) })
        assert.equal("nil\tunsupported\t\n", (shell("printf abc | asyncoro script.lua", script)))
    end)
end)

describe("a program that reads its input", function()
    it("goes on while it waits for a line", function()
        run(function()
            local child <close> = assert(process.spawn({ program.path, "-e", [[
                local asyncoro = require "asyncoro"
                asyncoro.run(function()
                    local reader = asyncoro.spawn(function() return asyncoro.stdin:read_line() end)
                    for _ = 1, 3 do asyncoro.sleep(0.001) end
                    asyncoro.stdout:write "ticked\n"
                    local _, line = reader:finish()
                    asyncoro.stdout:write(line, "\n")
                end)]] }, { stdin = "pipe", stdout = "pipe" }))
            assert.equal("ticked", child.stdout:read_line())
            child.stdin:write "typed at last\n"
            assert.equal("typed at last", child.stdout:read_line())
            assert.is_true(child:wait())
        end)
    end)

    it("leaves to its child what it has not read", function()
        assert.equal("one\ntwo\n", (shell("printf 'one\\n' | (asyncoro script.lua; cat)", [[
            local asyncoro = require "asyncoro"
            asyncoro.run(function()
                print(asyncoro.stdin:read_line())
                asyncoro.stdout:write "two\n"
            end)]])))
    end)

    it("can give up", function()
        run(function()
            local child <close> = assert(process.spawn({ program.path, "-e", [[
                local asyncoro = require "asyncoro"
                asyncoro.run(function()
                    print(select(3, asyncoro.stdin:read_line(nil, 0.001)))
                    print(select(3, asyncoro.stdin:read_line(nil, 0)))
                    local reader = asyncoro.spawn(function() asyncoro.stdin:read() end)
                    asyncoro.yield()
                    print(select(3, asyncoro.stdin:read()))
                    reader:terminate()
                end)]] }, { stdin = "pipe", stdout = "pipe" }))
            assert.equal("timeout\ntimeout\nbusy\n", child.stdout:read_all())
            assert.is_true(child:wait())
        end)
    end)
end)

describe("a program that writes its output", function()
    it("waits for who reads slowly, and loses nothing", function()
        local out <const> = shell("asyncoro script.lua | (sleep 0.05; sha1sum)", [[
            local asyncoro = require "asyncoro"
            asyncoro.run(function()
                local ticks, done = 0, false
                asyncoro.spawn(function() while not done do asyncoro.sleep(0.001) ticks = ticks + 1 end end)
                for i = 1, 20000 do assert(asyncoro.stdout:write(("line %06d of many\n"):format(i))) end
                assert(asyncoro.stdout:write(("x"):rep(3 << 20)))
                done = true
                assert(ticks > 2, "nobody else had a turn")
            end)]])
        assert.equal(program.capture(
            "(seq -f 'line %06.0f of many' 1 20000; head -c 3145728 /dev/zero | tr '\\0' x) | sha1sum") .. "\n", out)
    end)

    it("is told when nobody reads, and not killed", function()
        local _, err <const> = shell("asyncoro script.lua | true", [[
            local asyncoro = require "asyncoro"
            asyncoro.run(function()
                local sent, message, code
                repeat sent, message, code = asyncoro.stdout:write(("x"):rep(1000)) until not sent
                asyncoro.stderr:write(message, ", ", code, "\n")
            end)]])
        assert.equal("write stdout: Broken pipe, reset\n", err)
    end)

    it("is told when the disk is full", function()
        local _, err <const> = shell("asyncoro script.lua >/dev/full", [[
            local asyncoro = require "asyncoro"
            asyncoro.stderr:write(table.concat({ select(2, asyncoro.stdout:write "x") }, ", "), "\n")]])
        assert.equal("write stdout: No space left on device, nospace, 0\n", err)
    end)

    it("writes where others have written", function()
        assert.equal("before\nours\nafter\n",
            (shell("(echo before; asyncoro script.lua; echo after) >file; cat file",
                "require('asyncoro').stdout:write 'ours\\n'")))
    end)
end)
