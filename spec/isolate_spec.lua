-- SPDX-License-Identifier: MIT
local asyncoro = require "asyncoro"
local core = require "asyncoro.core"
local helper = require "spec.helper"
local program = require "spec.program"
local run = helper.run

-- Loops that never wait call asyncoro.now(): without any C call the thread sanitizer would keep the leash's signal.
local function values(...)
    return table.pack(...)
end

describe("isolate", function()
    it("runs a function with arguments, and its results come back", function()
        run(function()
            local coro = asyncoro.isolate(function(a, b, ...)
                return a + b, nil, { a = a }, select("#", ...), nil
            end, 1, 2, nil, nil)
            assert.same(values(true, 3, nil, { a = 1 }, 2, nil), values(coro:finish()))
            assert.same(values(true, 3, nil, { a = 1 }, 2, nil), values(coro:finish(0)))
            assert.equal("finished", coro:status())
            assert.is_false(coro:is_alive())
        end)
    end)

    it("delivers before what is sent here after it has said so", function()
        run(function()
            local receiver = asyncoro.spawn(function() return asyncoro.receive() .. " " .. asyncoro.receive() end)
            asyncoro.yield() -- it waits now
            local folder = program.folder()
            local mark = folder .. "/delivered"
            asyncoro.isolate(function(to, path)
                assert(to:deliver "far" == 1)
                assert(io.open(path, "w")):close()
            end, receiver, mark)
            local file
            local late = asyncoro.now() + 10
            repeat -- without a wait: nothing tells this engine of the message
                file = io.open(mark)
            until file or asyncoro.now() > late
            assert(file, "it was not delivered"):close()
            receiver:send "near"
            assert.equal("far near", select(2, receiver:finish()))
            program.remove(folder)
        end)
    end)

    it("has a Lua state of its own", function()
        run(function()
            shared = 1 -- luacheck: ignore
            local ok, seen, mine = asyncoro.isolate(function()
                local before = shared -- luacheck: ignore
                shared = 2 -- luacheck: ignore
                return before, shared -- luacheck: ignore
            end):finish()
            assert.same({ true, nil, 2 }, { ok, seen, mine })
            assert.equal(1, shared) -- luacheck: ignore
            shared = nil -- luacheck: ignore
        end)
    end)

    it("gets copies of upvalues", function()
        run(function()
            local list = { 1, 2 }
            local function add(n) list[#list + 1] = n return #list end
            local ok, n = asyncoro.isolate(function() add(3) return add(4) end):finish()
            assert.same({ true, 4 }, { ok, n })
            assert.equal(2, #list)
        end)
    end)

    it("has the name, id and text of a coro", function()
        run(function()
            local function compute() end
            local coro = asyncoro.isolate(compute)
            local named = asyncoro.isolate({ name = "counter" }, compute)
            assert.equal("compute", coro:name())
            assert.equal("counter", named:name())
            assert.equal(1, named:id())
            assert.matches("^coro counter#1@%d+$", tostring(named))
            assert.is_nil(named:location())
            assert.is_true(core.is_remote(named))
            assert.is_false(core.is_remote(asyncoro.current()))
            coro:finish()
            named:finish()
        end)
    end)

    it("fails as a coro does, with the traceback of its own thread", function()
        run(function()
            local ok, err, trace = asyncoro.isolate(function() error "boom" end):finish()
            assert.is_false(ok)
            assert.matches("isolate_spec.lua:%d+: boom$", err)
            assert.matches("isolate_spec.lua", trace)
            local _, object = asyncoro.isolate(function() error { code = 7 } end):finish()
            assert.same({ code = 7 }, object)
            local _, text = asyncoro.isolate(function()
                error(setmetatable({}, { __tostring = function() return "an object" end }))
            end):finish()
            assert.equal("an object", text)
        end)
    end)

    it("says which results cannot be sent", function()
        run(function()
            local ok, message, code = asyncoro.isolate(function() return 1, coroutine.create(print) end):finish()
            assert.is_nil(ok)
            assert.matches("values%[2%] is a thread, which cannot be sent", message)
            assert.equal("unsendable", code)
        end)
    end)

    it("refuses at once what cannot be shipped, and names it", function()
        run(function()
            local thread = coroutine.create(print)
            local function compute() return thread end
            local coro, message, code = asyncoro.isolate(compute)
            assert.is_nil(coro)
            assert.equal("isolate: compute: upvalue `thread` is a thread, which cannot be sent", message)
            assert.equal("unsendable", code)
            coro, message, code = asyncoro.isolate(function() end, 1, { x = { thread } })
            assert.is_nil(coro)
            assert.equal("isolate: argument 2.x[1] is a thread, which cannot be sent", message)
            assert.equal("unsendable", code)
            assert.equal(0, asyncoro.stats().isolates)
        end)
    end)

    it("raises on wrong arguments and options", function()
        run(function()
            local function nothing() end
            assert.has_error(function() asyncoro.isolate() end)
            assert.has_error(function() asyncoro.isolate(1) end)
            assert.has_error(function() asyncoro.isolate({}, nil) end)
            assert.has_error(function() asyncoro.isolate({ nam = "x" }, nothing) end,
                "isolate: unknown option 'nam' (name, daemon, mailbox and memory are known)")
            assert.has_error(function() asyncoro.isolate({ 1 }, nothing) end)
            assert.has_error(function() asyncoro.isolate({ name = 1 }, nothing) end)
            assert.has_error(function() asyncoro.isolate({ daemon = 1 }, nothing) end)
            assert.has_error(function() asyncoro.isolate({ mailbox = 0 }, nothing) end)
            assert.has_error(function() asyncoro.isolate({ memory = -1 }, nothing) end)
        end)
    end)

    it("is held to its memory", function()
        run(function()
            local ok, err = asyncoro.isolate({ memory = 8 << 20 }, function()
                local text = "x"
                for _ = 1, 30 do text = text .. text end
            end):finish()
            assert.is_false(ok)
            assert.equal("not enough memory", err)
            local coro, message, code = asyncoro.isolate({ memory = 1000 }, function() end)
            assert.is_nil(coro)
            assert.matches("not enough memory", message)
            assert.equal("nomem", code)
        end)
    end)

    it("keeps the program alive, with all coros it has started", function()
        local start <const> = asyncoro.now()
        run(function()
            asyncoro.isolate(function()
                asyncoro.spawn(function() asyncoro.sleep(0.05) end)
            end)
        end)
        assert.is_true(asyncoro.now() - start >= 0.05)
    end)

    it("is ended with the program when it is a daemon", function()
        local start <const> = asyncoro.now()
        run(function()
            asyncoro.isolate({ daemon = true }, function() asyncoro.sleep(100) end)
            asyncoro.isolate({ daemon = true }, function() while true do asyncoro.now() end end)
            local changed = asyncoro.isolate(function() asyncoro.sleep(100) end)
            assert.is_true(changed:set_daemon())
            asyncoro.isolate(function()
                asyncoro.current():set_daemon(true)
                asyncoro.sleep(100)
            end)
        end)
        assert.is_true(asyncoro.now() - start < 10)
        assert.equal(0, asyncoro.stats().isolates)
    end)

    it("may start isolates itself", function()
        run(function()
            local function depth(n, self)
                if n == 0 then return 0 end
                local ok, below = asyncoro.isolate(self, n - 1, self):finish()
                assert(ok, below)
                return below + 1
            end
            assert.same({ true, 3 }, { asyncoro.isolate(depth, 3, depth):finish() })
        end)
    end)

    it("works in hundreds", function()
        run(function()
            local coros, sum = {}, 0
            for i = 1, 200 do
                coros[i] = assert(asyncoro.isolate(function(n) return asyncoro.receive() + n end, i))
                asyncoro.yield()
            end
            for i = 1, 200 do assert(coros[i]:send(i)) end
            for i = 1, 200 do
                local ok, n = coros[i]:finish()
                assert(ok, n)
                sum = sum + n
            end
            assert.equal(200 * 201, sum)
        end, 60)
    end)

    it("leaves nothing behind", function()
        local function churn(n)
            run(function()
                for _ = 1, n do
                    assert(select(2, asyncoro.isolate(function(x) return x end, 5):finish()) == 5)
                end
            end, 60)
        end
        -- A thread that has just ended may still close its state: the least of some looks counts.
        local function settled_fds()
            local least = math.huge
            for _ = 1, 20 do
                least = math.min(least, helper.open_fds())
                run(function() asyncoro.sleep(0.002) end)
            end
            return least
        end
        churn(10)
        local fds <const> = settled_fds()
        churn(200)
        assert.equal(fds, settled_fds())
        local threads = 0
        for _ in io.popen("ls /proc/" .. helper.pid() .. "/task"):lines() do threads = threads + 1 end
        assert.is_true(threads <= 2, threads .. " threads")
    end)

    it("ends without its creator having closed anything", function()
        local fds <const> = helper.open_fds()
        run(function()
            local kept = {}
            for i = 1, 50 do kept[i] = asyncoro.isolate(function() end) end
            for i = 1, 50 do kept[i]:finish() end
            while asyncoro.stats().isolates > 0 do asyncoro.sleep(0.001) end
            assert.is_true(helper.open_fds() <= fds + 2) -- although all handles live
        end)
    end)
end)

describe("terminate", function()
    it("ends a coro of another engine where it waits, with its clean-up", function()
        run(function()
            local coro = asyncoro.isolate(function(home)
                local _ <close> = setmetatable({}, { __close = function() home:send "cleaned" end })
                home:send "ready"
                asyncoro.sleep(100)
            end, asyncoro.current())
            assert.equal("ready", asyncoro.receive())
            assert.is_true(coro:terminate())
            assert.same({ false, "terminated" }, { coro:finish() })
            assert.equal("cleaned", asyncoro.receive(0))
            local ok, _, code = coro:terminate()
            assert.same({ nil, "notfound" }, { ok, code })
            assert.is_true(coro:close())
        end)
    end)

    it("reaches one that computes", function()
        run(function()
            local coro = asyncoro.isolate(function(home)
                home:send "ready"
                while true do asyncoro.now() end
            end, asyncoro.current())
            asyncoro.receive()
            coro:terminate()
            assert.same({ false, "terminated" }, { coro:finish() })
        end)
    end)

    it("before its first turn lets it run nothing", function()
        run(function()
            local coro = asyncoro.isolate(function(home) home:send "ran" end, asyncoro.current())
            coro:terminate()
            local ok, why = coro:finish()
            assert.is_true(ok and asyncoro.receive(0) == "ran" or why == "terminated")
        end)
    end)

    it("is what closing a handle does", function()
        run(function()
            local coro
            do
                local other <close> = asyncoro.isolate(function() asyncoro.sleep(100) end)
                coro = other
            end
            assert.same({ false, "terminated" }, { coro:finish() })
        end)
    end)
end)

describe("a program", function()
    local function host(text)
        local folder <const> = program.folder()
        local script <const> = program.write(folder .. "/script.lua",
            'local asyncoro = require "asyncoro"\n' .. text)
        local code <const>, out <const>, err <const> = program.run({ script })
        program.remove(folder)
        return code, out, err
    end

    it("reports an isolate's error that nobody observes, and fails", function()
        local code, out, err = host [[
            asyncoro.isolate({ name = "bad" }, function() error "boom" end)
            asyncoro.sleep(0.01) print "goes on"]]
        assert.equal(1, code)
        assert.equal("goes on\n", out)
        assert.matches("asyncoro: coro bad failed: .*boom\nstack traceback", err)
    end)

    it("reports none that was observed, by whomever", function()
        assert.same({ 0, "", "" }, { host [[
            local bad = asyncoro.isolate(function() asyncoro.receive() error "boom" end)
            local observer = asyncoro.isolate(function(coro) assert(not coro:finish()) end, bad)
            local monitor = asyncoro.isolate(function(coro)
                asyncoro.monitor(coro)
                assert(asyncoro.receive().reason == "failed")
            end, bad)
            asyncoro.sleep(0.05) bad:send(1) ]] })
        assert.same({ 0, "", "" }, { host [[
            local bad = asyncoro.isolate(function() error "boom" end)
            while bad:is_alive() do asyncoro.sleep(0.001) end
            assert(not bad:finish())]] })
    end)

    it("reports what coros of isolates fail with", function()
        local code, _, err = host [[
            asyncoro.isolate(function()
                asyncoro.spawn({ name = "inner" }, error, "lost")
                asyncoro.sleep(0.01)
            end)]]
        assert.equal(1, code)
        assert.matches("asyncoro: coro inner failed: lost", err)
    end)

    it("says when engines wait for each other", function()
        local code, _, err = host [[
            local waits = asyncoro.isolate({ name = "waits" }, function() asyncoro.receive() end)
            print(waits:finish())]]
        assert.equal(2, code)
        assert.matches("deadlock: nothing can wake the coros that are left %(2%):", err)
        assert.matches("coro main#%d+ waits in finish", err)
        assert.matches("isolate waits waits for others", err)
    end)

    it("says when nobody can wake an isolate any more", function()
        local code, _, err = host [[
            asyncoro.isolate({ name = "lonely" }, function(home) asyncoro.receive() end, asyncoro.current())]]
        assert.equal(2, code)
        assert.matches("isolate lonely waits for others", err)
        code, _, err = host [[
            asyncoro.isolate({ name = "stuck" }, function()
                asyncoro.spawn({ name = "inner" }, asyncoro.receive)
            end)]]
        assert.equal(1, code)
        assert.matches("isolate stuck: deadlock: .*coro inner#2 waits in receive", err)
    end)

    it("takes no engine that will go on for a deadlock", function()
        assert.same({ 0, "true\tdone\n", "" }, { host [[
            local home = asyncoro.current()
            local slow = asyncoro.isolate(function() asyncoro.sleep(0.05) return "done" end)
            for _ = 1, 200 do
                local echo = asyncoro.isolate(function()
                    for message, reply in asyncoro.messages() do reply(message) end
                end)
                assert(echo:call(1) == 1)
                echo:send(nil)
            end
            print(slow:finish())]] })
    end)

    it("cancels isolates at Ctrl-C", function()
        local running <const> = program.start { "-e", program.PRINT_ID .. [[
            local asyncoro = require "asyncoro"
            local home = asyncoro.current()
            for _ = 1, 2 do
                asyncoro.isolate(function(to)
                    local _ <close> = setmetatable({}, { __close = function() print "cleaned" end })
                    to:send "ready"
                    asyncoro.sleep(100)
                end, home)
                asyncoro.isolate(function(to) to:send "ready" while true do asyncoro.now() end end, home)
            end
            for _ = 1, 4 do asyncoro.receive() end
            print "go" io.stdout:flush()
            asyncoro.receive()]] }
        local id <const> = running:line()
        assert.equal("go", running:line())
        program.signal("INT", id)
        local code <const>, rest <const> = running:finish()
        assert.equal(130, code)
        assert.equal("cleaned\ncleaned\n", rest)
    end)

    it("ends when its state is closed with isolates running", function()
        local code <const>, out <const> = host [[
            asyncoro.isolate(function() while true do asyncoro.now() end end)
            asyncoro.isolate(function() asyncoro.sleep(100) end)
            print "closing" os.exit(3, true)]]
        assert.same({ 3, "closing\n" }, { code, out })
    end)

    it("is the same in stock Lua", function()
        local folder <const> = program.folder()
        local script <const> = program.write(folder .. "/script.lua", [[
            local asyncoro = require "asyncoro"
            for _ = 1, 2 do
                print(asyncoro.run(function()
                    return select(2, asyncoro.isolate(function(n) return n * 2 end, 21):finish())
                end))
            end]])
        local code <const>, out <const>, err <const> = program.run({ script }, {
            program = program.lua,
            env = { LUA_PATH = "lua/?.lua;lua/?/init.lua;;", LUA_CPATH = program.module_path },
        })
        program.remove(folder)
        assert.same({ 0, "42\n42\n", "" }, { code, out, err })
    end)
end)
