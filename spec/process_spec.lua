-- SPDX-License-Identifier: MIT
local asyncoro = require "asyncoro"
local helper = require "spec.helper"
local program = require "spec.program"
local run = helper.run
local process = asyncoro.process

-- Is a descriptor of ours non-blocking?
local function is_nonblocking(fd)
    local file <close> = assert(io.open("/proc/self/fdinfo/" .. fd))
    return tonumber(file:read("a"):match("flags:%s*(%d+)"), 8) & tonumber("4000", 8) ~= 0
end

local function children()
    local list <const> = {}
    for line in io.popen("ps -o stat=,comm= --ppid " .. helper.pid()):lines() do
        if not line:find("sh$") and not line:find("ps$") then list[#list + 1] = line end
    end
    return list
end

-- Wait until no child is left, alive or as a zombie.
local function await_no_children()
    for _ = 1, 1000 do
        if #children() == 0 then return end
        asyncoro.sleep(0.001)
    end
end

describe("process.run", function()
    it("gives output, errors and the end", function()
        run(function()
            assert.same({ "out\n", "err\n", false, "exit", 3 },
                { process.run { "sh", "-c", "echo out; echo err >&2; exit 3" } })
            assert.same({ "out\nerr\n", false, true, "exit", 0 },
                { process.run({ "sh", "-c", "echo out; echo err >&2" }, { stderr = "merge" }) })
            assert.same({ "", "", false, "signal", "KILL" }, { process.run { "sh", "-c", "kill -9 $$" } })
            assert.same({ "hello", "", true, "exit", 0 }, { process.run("cat", { input = "hello" }) })
        end)
    end)

    it("feeds and takes ten megabytes at once", function()
        run(function()
            local big <const> = ("0123456789"):rep(1000000)
            local out <const>, _, ok <const> = process.run("cat", { input = big })
            assert.is_true(ok and out == big)
            local head <const> = process.run({ "head", "-c", "5" }, { input = big })
            assert.equal("01234", head) -- which reads no more
        end)
    end)

    it("takes input from iterators and streams", function()
        run(function()
            local n = 0
            assert.equal("123", process.run("cat", { input = function()
                n = n + 1
                return n <= 3 and tostring(n) or nil
            end }))
            local a <close>, b <const> = asyncoro.socket.pair()
            asyncoro.spawn(function()
                a:write "through a socket"
                a:shutdown()
            end)
            assert.equal("through a socket", process.run("cat", { input = b }))
        end)
    end)

    it("says why a program could not be started", function()
        run(function()
            assert.same({ nil, "spawn no-such-program: No such file or directory", "notfound" },
                { process.run "no-such-program" })
            assert.equal("denied", select(3, process.run "/etc"))
            assert.equal("denied", select(3, process.run "/etc/passwd"))
            assert.same({ nil, "spawn true: the folder /no/such: No such file or directory", "notfound" },
                { process.run("true", { cwd = "/no/such" }) })
            assert.error_matches(function() process.run {} end, "a program, or a list")
            assert.error_matches(function() process.run { "a", {} } end, "argument 1 is a table")
            assert.error_matches(function() process.run { "a\0b" } end, "zero byte")
            assert.error_matches(function() process.run("true", { cvd = "/" }) end, "unknown option 'cvd'")
            assert.error_matches(function() process.run("true", { stdin = "merge" }) end, "only standard error")
            assert.error_matches(function() process.run("true", { stdout = "paper" }) end,
                "^spawn: option 'stdout': 'pipe', 'inherit'")
        end)
    end)

    it("sets folder and environment", function()
        run(function()
            assert.equal("/\n", (process.run("pwd", { cwd = "/" })))
            assert.equal("x y\n", (process.run({ "sh", "-c", "echo $A" }, { env = { A = "x y" } })))
            assert.equal("A=1\n", (process.run("/usr/bin/env", { env = { A = 1 }, clear_env = true })))
            assert.equal("\n", (process.run({ "sh", "-c", "echo $HOME" }, { env = { HOME = false } })))
        end)
    end)

    it("keeps to its limits", function()
        run(function()
            local start <const> = asyncoro.now()
            assert.same({ nil, "sleep: timed out", "timeout" },
                { process.run({ "sleep", "100" }, { timeout = 0.05 }) })
            local out <const>, message <const>, code <const> = process.run("yes", { limit = 100000 })
            assert.same({ nil, "toolarge" }, { out, code })
            assert.matches("^yes: ", message)
            assert.is_true(asyncoro.now() - start < 20)
        end)
        assert.same({}, children())
    end)

    it("refuses what is no environment, no folder, no input", function()
        run(function()
            for text, env in pairs {
                ["'1' is no name"] = { "A=1" }, ["'A=B' is no name"] = { ["A=B"] = "c" },
                ["'' is no name"] = { [""] = 1 }, ["'A' is a table"] = { A = {} },
                ["'B' is a boolean"] = { B = true }, ["'C' has a zero byte"] = { C = "\0" },
            } do
                assert.error_matches(function() process.run("true", { env = env }) end, text)
            end
            assert.error_matches(function() process.run("true", { cwd = "/\0" }) end, "zero byte")
            assert.error_matches(function() process.run("cat", { input = {} }) end, "a string, a stream or an iterator")
            assert.equal("12", (process.run("cat", { input = 12 })))
            assert.same({ nil, "spawn pwd: the folder /etc/passwd: Not a directory", "notfound" },
                { process.run("pwd", { cwd = "/etc/passwd" }) })
            assert.same({ nil, "spawn /etc: it is a folder", "denied" }, { process.run "/etc" })
        end)
    end)

    it("does not wait for input that nobody will read", function()
        run(function()
            local a <close>, b <const> = asyncoro.socket.pair()
            assert.same({ "", "", true, "exit", 0 }, { process.run("true", { input = b }) })
            assert.same({ "x", "", true, "exit", 0 }, { process.run({ "head", "-c", "1" }, { input = function()
                asyncoro.sleep(0)
                return "x"
            end }) })
            assert.is_true(a:is_open())
        end)
    end)

    it("feeds who reads on when the program has ended", function()
        run(function()
            local big <const> = ("x"):rep(1000000)
            assert.equal("1000000", (process.run({ "sh", "-c", "exec 3<&0; { sleep 0.05; wc -c; } <&3 & exit 0" },
                { input = big }):match "%d+"))
        end)
    end)

    it("leaves no descriptor to the program but those that it was given", function()
        run(function()
            local listener <close> = asyncoro.listen("127.0.0.1", 0)
            assert.is_true(listener:fileno() > 2)
            local out <const> = process.run { "ls", "/proc/self/fd" }
            assert.equal("0\n1\n2\n3\n", out) -- 3: of ls itself
        end)
    end)

    it("leaves the program its signals", function()
        run(function()
            local out <const> = process.run { "cat", "/proc/self/status" }
            assert.matches("SigBlk:%s0000000000000000", out)
            assert.matches("SigCgt:%s0000000000000000", out)
            local masked <const> = process.run { "sh", "-c", "kill -s PIPE $$; echo not reached" }
            assert.equal("", masked)
        end)
    end)
end)

describe("a process", function()
    it("is waited for by many, again and again", function()
        run(function()
            local p <close> = process.spawn({ "sh", "-c", "read x; exit $x" }, { stdin = "pipe" })
            local ends <const> = {}
            asyncoro.group(function(group)
                for i = 1, 3 do
                    group:spawn(function() ends[i] = select(3, p:wait()) end)
                end
                asyncoro.yield()
                assert.is_nil(p:poll())
                assert.equal("timeout", select(3, p:wait(0.001)))
                p.stdin:write "7\n"
            end)
            assert.same({ 7, 7, 7 }, ends)
            assert.same({ false, "exit", 7 }, { p:poll() })
            assert.same({ false, "exit", 7 }, { p:wait(0) })
            assert.equal("notfound", select(3, p:kill()))
            assert.matches("^process %d+ %(sh%)$", tostring(p))
        end)
    end)

    it("gets signals", function()
        run(function()
            local p <close> = process.spawn { "sleep", "100" }
            assert.is_true(p:kill "TERM")
            assert.same({ false, "signal", "TERM" }, { p:wait() })
            assert.error_matches(function() p:kill "NONE" end, "the name of a signal")
        end)
    end)

    it("that ignores SIGTERM is killed after a grace", function()
        run(function()
            local p <close> = process.spawn({ "sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.01; done" },
                { stdout = "pipe" })
            assert.equal("ready", p.stdout:read_line())
            assert.same({ false, "signal", "KILL" }, { p:terminate(0.05) })
            local q <close> = process.spawn { "sleep", "100" }
            assert.same({ false, "signal", "TERM" }, { q:terminate() })
        end)
    end)

    it("ends when its handle is closed, or its coro cancelled", function()
        run(function()
            local p <const> = process.spawn { "sleep", "100" }
            local waiter <const> = asyncoro.spawn(function() return p:wait() end)
            asyncoro.yield()
            p:close()
            p:close()
            assert.equal("closed", select(4, waiter:finish()))
            local coro <const> = asyncoro.spawn(function()
                local q <close> = process.spawn { "sleep", "100" }
                q:wait()
            end)
            asyncoro.yield()
            coro:terminate()
            coro:finish()
            await_no_children()
            assert.same({}, children())
        end)
    end)

    it("that nobody waits for leaves no zombie", function()
        run(function()
            local list <const> = {}
            for i = 1, 20 do list[i] = assert(process.spawn "true") end
            await_no_children()
            assert.same({}, children())
            assert.same({ true, "exit", 0 }, { list[1]:wait() })
        end)
    end)

    it("is killed when its handle is collected, and when the program ends", function()
        run(function()
            process.spawn { "sleep", "100" }
            collectgarbage()
            collectgarbage()
            asyncoro.sleep(0)
            assert(process.spawn { "sleep", "100" })
        end)
        collectgarbage()
        collectgarbage()
        run(function()
            await_no_children()
        end)
        assert.same({}, children())
    end)

    it("of a group of its own takes its children along", function()
        run(function()
            local p <const> = process.spawn({ "sh", "-c", "sleep 1000 & echo $!; wait" },
                { group = true, stdout = "pipe" })
            local pid <const> = p.stdout:read_line()
            p:close()
            for _ = 1, 1000 do
                local stat <const> = io.open("/proc/" .. pid .. "/stat")
                if not stat or stat:read("a"):find(") Z", 1, true) then return end
                stat:close()
                asyncoro.sleep(0.001)
            end
            error "it goes on"
        end)
    end)

    it("reads and writes files and sockets that it is given", function()
        run(function()
            local name <const> = os.tmpname()
            asyncoro.file.write(name, "from a file\n")
            local input <close> = asyncoro.file.open(name)
            assert.equal("from a file\n", (process.run("cat", { stdin = input })))
            assert.is_true(input:is_open())
            local output <close> = asyncoro.file.open(name, "w")
            process.run({ "echo", "to a file" }, { stdout = output })
            assert.equal("to a file\n", asyncoro.file.read(name))
            os.remove(name)
            local a <close>, b <const> = asyncoro.socket.pair()
            local p <close> = process.spawn({ "echo", "to a socket" }, { stdout = b })
            assert.is_false(b:is_open())
            assert.equal("to a socket\n", a:read_all())
            assert.is_true((p:wait()))
        end)
    end)

    it("that could not be started leaves its streams as they were", function()
        run(function()
            local a <close>, b <const> = asyncoro.socket.pair()
            assert.equal("notfound", select(3, process.spawn("no-such-program", { stdin = b })))
            assert.is_true(b:is_open() and is_nonblocking(b:fileno()))
            assert.error_matches(function() process.spawn("true", { stdin = b, stdout = "paper" }) end,
                "^spawn: option 'stdout': 'pipe', 'inherit'")
            assert.is_true(b:is_open() and is_nonblocking(b:fileno()))
            a:write "x"
            assert.equal("x", b:read(1))
            b:close()
        end)
    end)

    it("writes after what has been written to its file before", function()
        run(function()
            local name <const> = os.tmpname()
            local file <close> = asyncoro.file.open(name, "w")
            file:write "one\n"
            process.run({ "echo", "two" }, { stdout = file })
            file:write "three\n"
            file:flush()
            assert.equal("one\ntwo\nthree\n", asyncoro.file.read(name))
            os.remove(name)
        end)
    end)

    it("gets descriptors, and our standard streams, which stay ours", function()
        local code <const>, out <const>, err <const> = program.run { "-e", [[
            local asyncoro = require "asyncoro"
            local spawn = asyncoro.process.spawn
            io.write "first "
            spawn({ "echo", "to stdout" }, { stdout = asyncoro.stdout }):wait()
            spawn({ "echo", "to stderr" }, { stdout = asyncoro.stderr }):wait()
            spawn({ "sh", "-c", "echo numbered >&2" }, { stderr = 1 }):wait()
            asyncoro.stdout:write "ours\n"
            asyncoro.stderr:write "ours\n"]] }
        assert.same({ 0, "first to stdout\nnumbered\nours\n", "to stderr\nours\n" }, { code, out, err })
        run(function()
            assert.error_matches(function() process.spawn("true", { stdin = 9999 }) end, "an open descriptor")
        end)
    end)

    it("lives as long as a stream of its, or of who reads from it", function()
        run(function()
            local function collected() for _ = 1, 3 do collectgarbage() end end
            local out <const> = process.spawn({ "sh", "-c", "read x; echo $x" }, { stdin = "pipe", stdout = "pipe" })
            local stdin, stdout = out.stdin, out.stdout
            local function chain()
                local first <const> = process.spawn({ "sh", "-c", "sleep 0.02; echo first" }, { stdout = "pipe" })
                return process.spawn("cat", { stdin = first.stdout, stdout = "pipe" }).stdout
            end
            local last <const> = chain()
            collected()
            stdin:write "word\n"
            assert.same({ "word", "first" }, { stdout:read_line(), last:read_line() })
            local p <const> = process.pipeline({ "cat", "cat", "cat" }, { stdin = "pipe", stdout = "pipe" })
            stdin, stdout = p.stdin, p.stdout
            p.stdin = nil
            collected()
            stdin:write "through all\n"
            assert.equal("through all", stdout:read_line())
        end)
    end)

    it("is seen to end where SIGCHLD is ignored", function()
        assert.equal("false\texit\t3", program.capture(("bash -c \"trap '' CHLD; exec %s -e %s\""):format(
            program.path, "'print(require[[asyncoro]].process.spawn{[[sh]],[[-c]],[[exit 3]]}:wait())'")))
    end)

    it("does not take us along when it reads no more", function()
        run(function()
            local p <close> = process.spawn("true", { stdin = "pipe" })
            p:wait()
            assert.same({ nil, "write stdin of true: Broken pipe", "reset", 0 }, { p.stdin:write "x" })
        end)
        local folder <const> = program.folder()
        local script <const> = program.write(folder .. "/script.lua", [[
            local asyncoro = require "asyncoro"
            local done, code
            repeat
                io.write "by C"
                done, _, code = asyncoro.stdout:write "by us"
                asyncoro.sleep(0.001)
            until not done
            io.stderr:write(code, "\n")]])
        assert.equal("reset\n0",
            program.capture(("( { %s %s; echo $? >&2; } | true ) 2>&1"):format(program.path, script)))
        program.remove(folder)
    end)

    it("is a source of select", function()
        run(function()
            local p <close> = process.spawn({ "sh", "-c", "read x" }, { stdin = "pipe" })
            assert.same({ 2, true }, { asyncoro.select { p, 0.001 } })
            p.stdin:close()
            assert.same({ 1, false, "exit", 1 }, { asyncoro.select { p, 20 } })
            assert.same({ 1, false, "exit", 1 }, { asyncoro.select { p, 20 } })
            local q <const> = process.spawn { "sleep", "100" }
            local waiter <const> = asyncoro.spawn(asyncoro.select, { q, 20 })
            asyncoro.yield()
            q:close()
            assert.same({ true, 1, nil, ("wait for process %d: closed"):format(q:pid()), "closed" },
                { waiter:finish() })
            assert.same({ 1, "closed" }, { (asyncoro.select { q }), select(4, asyncoro.select { q }) })
            assert.equal("closed", select(3, q:kill()))
        end)
    end)

    it("is one of many", function()
        local before <const> = helper.open_fds()
        run(function()
            local sum = 0
            asyncoro.group(function(group)
                for i = 1, 100 do
                    group:spawn(function()
                        local n <const> = tonumber((process.run { "echo", i }))
                        sum = sum + n
                    end)
                end
            end)
            assert.equal(5050, sum)
        end)
        collectgarbage()
        collectgarbage()
        assert.is_true(helper.open_fds() <= before)
        assert.same({}, children())
    end)
end)

describe("process.pipeline", function()
    it("chains programs", function()
        run(function()
            local p <close> = process.pipeline({ { "grep", "a" }, { "tr", "a", "b" }, { "wc", "-l" } },
                { stdin = "pipe", stdout = "pipe" })
            p.stdin:write("a\nx\nba\n")
            p.stdin:close()
            assert.equal(2, tonumber(p.stdout:read_line()))
            assert.same({ true, "exit", 0 }, { p:wait() })
            assert.equal(3, #p.processes)
        end)
    end)

    it("ends all when one cannot be started", function()
        run(function()
            assert.equal("notfound", select(3, process.pipeline { { "sleep", "100" }, "no-such-program" }))
            await_no_children()
        end)
        assert.same({}, children())
    end)

    it("gives the errors of all, and has them all read", function()
        run(function()
            local script <const> = "head -c 200000 /dev/zero >&2; cat; echo %s >&2"
            local p <close> = process.pipeline(
                { { "sh", "-c", script:format "one" }, { "sh", "-c", script:format "two" } },
                { stdin = "pipe", stdout = "pipe", stderr = "pipe" })
            local out <const>, err <const>, ok <const> = p:communicate "in"
            assert.same({ "in", true, 400008 }, { out, ok, #err })
            assert.same({ "one\n", "two\n" }, { err:sub(200001, 200004), err:sub(400005) })
        end)
    end)

    it("gives one stream to all for their errors", function()
        run(function()
            local a <close>, b <const> = asyncoro.socket.pair()
            local p <close> = process.pipeline({ { "sh", "-c", "echo one >&2" }, { "sh", "-c", "cat; echo two >&2" } },
                { stderr = b })
            assert.is_false(b:is_open())
            assert.equal("one\ntwo\n", a:read_all())
            p:wait()
        end)
    end)

    it("gets signals and ends as one", function()
        run(function()
            local p <close> = process.pipeline { { "sleep", "100" }, { "sleep", "100" } }
            assert.is_true(p:kill "TERM")
            for _, one in ipairs(p.processes) do assert.same({ false, "signal", "TERM" }, { one:wait() }) end
            assert.equal("notfound", select(3, p:kill "TERM"))
            local deaf <const> = { "sh", "-c", "trap '' TERM; echo; while :; do sleep 0.01; done" }
            local q <close> = process.pipeline({ deaf, { "sh", "-c", "read x; echo; exec sleep 100" } },
                { stdout = "pipe" })
            q.stdout:read_line()
            assert.same({ false, "signal", "TERM" }, { q:terminate(0.02) })
            assert.same({ false, "signal", "KILL" }, { q.processes[1]:wait() })
            local start <const> = asyncoro.now()
            assert.equal("timeout", select(3, process.pipeline({ { "sleep", "100" }, "cat" },
                { stdout = "pipe" }):communicate(nil, { timeout = 0.02 })))
            assert.is_true(asyncoro.now() - start < 20)
        end)
    end)

    it("starts none when one is not right", function()
        run(function()
            await_no_children()
            assert.error_matches(function() process.pipeline { { "sleep", "100" }, {} } end, "a program, or a list")
            assert.error_matches(function() process.pipeline { { "sleep", "100" }, { "a", {} } } end, "argument 1")
        end)
        assert.same({}, children())
    end)
end)
