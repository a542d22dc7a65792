-- SPDX-License-Identifier: MIT
local asyncoro = require "asyncoro"
local helper = require "spec.helper"
local run = helper.run
local process = asyncoro.process

local function children()
    local list <const> = {}
    for line in io.popen("ps -o stat=,comm= --ppid " .. helper.pid()):lines() do
        if not line:find("sh$") and not line:find("ps$") then list[#list + 1] = line end
    end
    return list
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
            assert.error_matches(function() process.run("true", { stdout = "paper" }) end, "invalid option")
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
            for _ = 1, 1000 do
                if #children() == 0 then break end
                asyncoro.sleep(0.001)
            end
            assert.same({}, children())
        end)
    end)

    it("that nobody waits for leaves no zombie", function()
        run(function()
            local list <const> = {}
            for i = 1, 20 do list[i] = assert(process.spawn "true") end
            for _ = 1, 1000 do
                if #children() == 0 then break end
                asyncoro.sleep(0.001)
            end
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
            for _ = 1, 1000 do
                if #children() == 0 then break end
                asyncoro.sleep(0.001)
            end
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

    it("is a source of select", function()
        run(function()
            local p <close> = process.spawn({ "sh", "-c", "read x" }, { stdin = "pipe" })
            assert.same({ 2, true }, { asyncoro.select { p, 0.001 } })
            p.stdin:close()
            assert.same({ 1, false, "exit", 1 }, { asyncoro.select { p, 20 } })
            assert.same({ 1, false, "exit", 1 }, { asyncoro.select { p, 20 } })
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
            for _ = 1, 1000 do
                if #children() == 0 then break end
                asyncoro.sleep(0.001)
            end
        end)
        assert.same({}, children())
    end)
end)
