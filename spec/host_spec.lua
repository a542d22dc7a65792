-- SPDX-License-Identifier: MIT
local program <const> = require "spec.program"
local run <const>, write <const> = program.run, program.write

local ASYNCORO <const> = 'local asyncoro = require "asyncoro" '
local WORDS <const> = {
    "node", "scheduler", "cluster", "doctor", "secret", "cert", "status", "top", "console",
}

describe("the host binary", function()
    local folder, absolute

    setup(function()
        folder = program.folder()
        absolute = program.capture("realpath " .. program.quote(program.path))
    end)
    teardown(function() program.remove(folder) end)

    local function script(text, name)
        return write(folder .. "/" .. (name or "script.lua"), text)
    end

    describe("options", function()
        it("-e runs statements, in order, before the script", function()
            local path <const> = script("print(x)")
            local code <const>, out <const>, err <const> = run {"-e", "x = 1", "-ex = x + 1", path}
            assert.same({0, "2\n", ""}, {code, out, err})
        end)

        it("-l requires a module into a global of its name, -l g=mod into another", function()
            write(folder .. "/mod.lua", "return {name = ...}")
            local code <const>, out <const> = run({"-l", "mod", "-lg=mod", "-e", "print(mod.name, g == mod)"},
                {env = {LUA_PATH = folder .. "/?.lua"}})
            assert.same({0, "mod\ttrue\n"}, {code, out})
        end)

        it("-v shows the version of asyncoro and Lua's, and runs nothing more", function()
            local code <const>, out <const> = run {"-v"}
            assert.equal(0, code)
            assert.matches("^asyncoro %d+%.%d+%.%d+, Lua 5%.4%.%d+  Copyright[^\n]*\n$", out)
        end)

        it("-W turns warnings on", function()
            local _, _, err = run {"-W", "-e", "warn('so', 'so')"}
            assert.equal("Lua warning: soso\n", err)
            _, _, err = run {"-e", "warn('soso')"}
            assert.equal("", err)
        end)

        it("-E ignores LUA_INIT and LUA_PATH", function()
            local env <const> = {LUA_INIT = "print 'init'", LUA_PATH = "nowhere"}
            local _, out = run({"-E", "-e", "print(package.path == 'nowhere')"}, {env = env})
            assert.equal("false\n", out)
            _, out = run({"-e", "print(package.path == 'nowhere')"}, {env = env})
            assert.equal("init\ntrue\n", out)
        end)

        it("-- ends the options", function()
            script("print(...)", "-e")
            local code <const>, out <const> = run({"--", "-e", "a"}, {folder = folder, program = absolute})
            assert.same({0, "a\n"}, {code, out})
        end)

        it("- runs standard input with arguments", function()
            local code <const>, out <const> = run({"-", "a", "b"},
                {stdin = "print(...) print(arg[0], arg[2])"})
            assert.same({0, "a\tb\n-\tb\n"}, {code, out})
        end)

        it("-i reads statements after the script, and says its version first", function()
            local path <const> = script("x = 20")
            local code <const>, out <const>, err <const> = run({"-i", path},
                {stdin = "x + 1\ny = 2 return y, nil\n"})
            assert.equal(0, code)
            assert.matches("^asyncoro .-\n> 21\n> 2\tnil\n> \n$", out)
            assert.equal("", err)
        end)

        it("--version names asyncoro, Lua, libevent and OpenSSL, and warns of an old Lua", function()
            local code <const>, out <const> = run {"--version"}
            assert.equal(0, code)
            assert.matches("^asyncoro %d[%d.]+\nLua 5%.4%.%d+\nlibevent %d[^\n]+\nOpenSSL %d[^\n]+\n", out)
            local release <const> = tonumber(out:match("Lua 5%.4%.(%d+)"))
            assert.equal(release < 6, out:find("\nwarning: [^\n]+\n$") ~= nil)
        end)

        it("--help explains itself", function()
            local code <const>, out <const> = run {"--help"}
            assert.equal(0, code)
            assert.matches("^usage: asyncoro %[options%] %[script %[args%]%]\n", out)
            assert.matches("scheduler", out)
        end)

        for _, case in ipairs {
            {{"-x"}, "unrecognized option '-x'"}, {{"-vx"}, "unrecognized option '-vx'"},
            {{"--nonsense"}, "unrecognized option '--nonsense'"}, {{"-e"}, "'-e' needs argument"},
            {{"-l", "-v"}, "'-l' needs argument"},
        } do
            it("refuses " .. table.concat(case[1], " ") .. " with its usage and code 1", function()
                local code <const>, out <const>, err <const> = run(case[1])
                assert.same({1, ""}, {code, out})
                assert.equal("asyncoro: " .. case[2] .. "\nusage: asyncoro", err:sub(1, #case[2] + 26))
            end)
        end
    end)

    describe("LUA_INIT", function()
        it("is run first, that with the version rather than that without", function()
            local env <const> = {LUA_INIT = "x = 1", LUA_INIT_5_4 = "x = 2"}
            local _, out <const> = run({"-e", "print(x)"}, {env = env})
            assert.equal("2\n", out)
        end)

        it("may name a file", function()
            local _, out <const> = run({"-e", "print(x)"}, {env = {LUA_INIT = "@" .. script("x = 3")}})
            assert.equal("3\n", out)
        end)

        it("names itself in its errors, and nothing is run after one", function()
            local code <const>, out <const>, err <const> = run({"-e", "print(1)"}, {env = {LUA_INIT = "x ="}})
            assert.same({1, "", "asyncoro: LUA_INIT:1: unexpected symbol near <eof>\n"}, {code, out, err})
        end)
    end)

    describe("a script", function()
        it("gets its arguments as ... and in arg, with the words before it at negative indices", function()
            local path <const> = script(
                "print(select('#', ...), ...) print(arg[-2], arg[-1], arg[0], arg[1], #arg)")
            local _, out <const> = run {"-e", " ", path, "a b", ""}
            assert.equal(("2\ta b\t\n-e\t \t%s\ta b\t2\n"):format(path), out)
        end)

        it("may change arg before it is called", function()
            local _, out <const> = run {"-e", "arg[1] = 'changed'", script("print(...)"), "a"}
            assert.equal("changed\n", out)
        end)

        it("may start with #! and be started by it", function()
            local path <const> = script(("#!%s\nprint('line', debug.getinfo(1, 'l').currentline, ...)")
                :format(absolute), "shebang")
            assert.equal("line\t2\tx", program.capture("chmod +x " .. path .. " && " .. path .. " x"))
        end)

        it("is standard input when that is no terminal", function()
            local _, out <const> = run({}, {stdin = "#!/usr/bin/asyncoro\n" ..
                "print(debug.getinfo(1, 'Sl').short_src, debug.getinfo(1, 'l').currentline)"})
            assert.equal("stdin\t2\n", out)
        end)

        it("may be compiled, as for lua", function()
            local path <const> = script(string.dump(assert(load("print('compiled', ...)")), true))
            local _, out = run {path, "x"}
            assert.equal("compiled\tx\n", out)
            _, out = run({"-"}, {stdin = "#!\n" .. program.read(path)})
            assert.equal("compiled\n", out)
        end)

        it("may be empty", function()
            assert.same({0, "", ""}, {run {script("")}})
            assert.same({0, "", ""}, {run({}, {stdin = ""})})
        end)

        it("sets the exit code by os.exit", function()
            assert.equal(3, (run {"-e", "os.exit(3)"}))
            assert.equal(1, (run {"-e", "os.exit(false)"}))
            assert.equal(0, (run {"-e", "os.exit(true, true)"}))
        end)
    end)

    describe("waiting", function()
        it("works in -e, in -l, in LUA_INIT, in a script from standard input and while requiring", function()
            write(folder .. "/waits.lua", ASYNCORO .. "asyncoro.sleep(0) return 'waited'")
            local code <const>, out <const>, err <const> = run({"-l", "waits", "-e", ASYNCORO ..
                "asyncoro.yield() print(waits)", "-"}, {
                stdin = ASYNCORO .. "asyncoro.sleep(0) print 'stdin'",
                env = {
                    LUA_PATH = folder .. "/?.lua;;",
                    LUA_INIT = ASYNCORO .. "asyncoro.sleep(0) print 'init'",
                },
            })
            assert.same({0, "init\nwaited\nstdin\n", ""}, {code, out, err})
        end)

        it("of other coros goes on when the script has ended", function()
            local code <const>, out <const> = run {"-e", ASYNCORO ..
                "asyncoro.spawn(function() asyncoro.sleep(0.01) print 'late' end) print 'script'"}
            assert.same({0, "script\nlate\n"}, {code, out})
        end)

        it("for what cannot come is a deadlock: code 2, names and what they wait for", function()
            local code <const>, out <const>, err <const> = run {"-e", ASYNCORO ..
                "asyncoro.spawn({name = 'listener'}, function() asyncoro.receive() end)"}
            assert.same({2, ""}, {code, out})
            assert.matches("listener", err)
            assert.matches("receive", err)
        end)
    end)

    describe("an error", function()
        local function fails(text)
            local code <const>, out <const>, err <const> = run {script(text)}
            assert.same({1, ""}, {code, out})
            return err
        end

        it("is shown with its traceback", function()
            local err <const> = fails("local function f() error('oops') end\nf()")
            assert.matches("^asyncoro: [^\n]*script%.lua:1: oops\nstack traceback:\n", err)
            assert.matches(":\n\t%[C%]: in function 'error'\n", err)
            assert.matches("script%.lua:2: in main chunk\n\t%[C%]: in %?\n$", err)
        end)

        it("that is a table with __tostring is shown by it alone", function()
            assert.equal("asyncoro: me\n",
                fails("error(setmetatable({}, {__tostring = function() return 'me' end}))"))
        end)

        it("that is a table without __tostring is named by its type", function()
            assert.matches("^asyncoro: %(error object is a table value%)\n", fails("error({})"))
        end)

        it("that is nil is named by its type", function()
            assert.matches("^asyncoro: .*nil", fails("error(nil)"))
        end)

        it("inside __tostring of an error object is survived", function()
            assert.matches("^asyncoro: [^\n]+\n",
                fails("error(setmetatable({}, {__tostring = function() error('twice') end}))"))
        end)

        it("whose __tostring gives no text is survived", function()
            assert.matches("^asyncoro: [^\n]+\n",
                fails("error(setmetatable({}, {__tostring = function() return {} end}))"))
        end)

        it("of too deep a recursion is shown", function()
            -- on a slow machine the leash has something to say before it
            assert.matches("asyncoro: [^\n]*stack overflow",
                fails("local function f() return 1 + f() end f()"))
        end)

        it("in a __close handler is shown", function()
            assert.matches("closing", fails(
                "local _ <close> = setmetatable({}, {__close = function() error('closing') end})"))
        end)

        it("in __gc is a warning, as in lua", function()
            local code <const>, _, err <const> = run {"-W", "-e",
                "setmetatable({}, {__gc = function() error('collected') end}) collectgarbage()"}
            assert.equal(0, code)
            assert.matches("^Lua warning: error in __gc.*collected", err)
        end)

        it("in -e, in -l and in the script each end the program before what follows", function()
            local code, out, err = run {"-e", "error('first', 0)", "-e", "print 'second'"}
            assert.same({1, ""}, {code, out})
            assert.matches("^asyncoro: first\nstack traceback:\n", err)
            code, out, err = run {"-l", "no.such.module", "-e", "print 'second'"}
            assert.same({1, ""}, {code, out})
            assert.matches("^asyncoro: module 'no%.such%.module' not found:\n", err)
            code, out = run({"-i", script("error 'no prompt after this'")}, {stdin = "print 'prompt'"})
            assert.equal(1, code)
            assert.is_nil(out:find("\nprompt"))
        end)

        it("of the script cancels the other coros", function()
            local code <const>, out <const>, err <const> = run {"-e", ASYNCORO .. [[
                asyncoro.spawn(function()
                    local _ <close> = setmetatable({}, {__close = function() print 'cleaned up' end})
                    asyncoro.sleep(1000)
                end)
                asyncoro.sleep(0)
                error('script')]]}
            assert.same({1, "cleaned up\n"}, {code, out})
            assert.matches("script", err)
        end)

        it("that nobody observes is reported with the name of its coro", function()
            local code <const>, _, err <const> = run {"-e", ASYNCORO ..
                "asyncoro.spawn({name = 'unlucky'}, function() error('ignored') end)"}
            assert.equal(1, code)
            assert.matches("unlucky", err)
            assert.matches("ignored", err)
            assert.matches("stack traceback:", err)
        end)
    end)

    describe("a script that cannot be loaded", function()
        local function fails(args, opts)
            local code <const>, out <const>, err <const> = run(args, opts)
            assert.same({1, ""}, {code, out})
            return err
        end

        it("does not parse: file, line and reason, no traceback", function()
            local path <const> = script("x = 1\nx = = 2\n")
            assert.equal(("asyncoro: %s:2: unexpected symbol near '='\n"):format(path), fails {path})
            assert.equal("asyncoro: stdin:1: unexpected symbol near <eof>\n", fails({}, {stdin = "x ="}))
            assert.matches("^asyncoro: %(command line%):1: ", fails {"-e", "x x"})
        end)

        it("does not exist", function()
            assert.matches("^asyncoro: cannot open no%-such%-file[^\n]*\n$", fails {"no-such-file"})
        end)

        it("is a directory", function()
            assert.matches("^asyncoro: cannot read /[^\n]*\n$", fails {folder})
        end)

        it("is a damaged compiled chunk", function()
            assert.matches("^asyncoro: [^\n]*truncated", fails {script("\27Lua")})
        end)
    end)

    describe("a signal", function()
        local WAIT <const> = ASYNCORO .. program.PRINT_ID

        local function ended_by(name, text)
            local running <const> = program.start {"-e", WAIT .. text}
            local id <const> = assert(tonumber(running:line()))
            program.signal(name, id)
            return running:finish()
        end

        it("SIGINT cancels all coros, lets them clean up, and ends with 130", function()
            local running <const> = program.start {"-e", ASYNCORO .. [[
                local function clean() asyncoro.sleep(0.01) print 'cleaned up' end
                local function wait()
                    local _ <close> = setmetatable({}, {__close = clean})
                    asyncoro.sleep(1000)
                end
                asyncoro.spawn(wait)
                asyncoro.spawn(wait)
                asyncoro.yield()
                ]] .. program.PRINT_ID .. "asyncoro.sleep(1000)"}
            program.signal("INT", assert(tonumber(running:line())))
            local code <const>, rest <const> = running:finish()
            assert.equal(130, code)
            assert.matches("cleaned up\ncleaned up\n", rest)
        end)

        it("SIGTERM does the same and ends with 143", function()
            local running <const> = program.start {"-e", ASYNCORO
                .. "local _ <close> = setmetatable({}, {__close = function() print 'cleaned up' end}) "
                .. program.PRINT_ID .. "asyncoro.sleep(1000)"}
            program.signal("TERM", assert(tonumber(running:line())))
            local code <const>, rest <const> = running:finish()
            assert.equal(143, code)
            assert.matches("cleaned up\n", rest)
        end)

        it("SIGINT reaches a loop that never waits", function()
            assert.equal(130, (ended_by("INT", "while true do end")))
        end)

        it("a second SIGINT ends at once, whatever clean-up is doing", function()
            local running <const> = program.start {"-e", WAIT .. [[
                local function clean()
                    print 'cleaning'
                    io.stdout:flush()
                    asyncoro.sleep(1000)
                end
                local _ <close> = setmetatable({}, {__close = clean})
                asyncoro.sleep(1000)]]}
            local id <const> = assert(tonumber(running:line()))
            program.signal("INT", id)
            assert.equal("cleaning", running:line())
            program.signal("INT", id)
            assert.equal(130, (running:finish()))
        end)

        it("ends a program that nothing can reach, some seconds later", function()
            local running <const> = program.converse {"-e", WAIT .. "io.read()"}
            program.signal("TERM", assert(tonumber(running:line())))
            assert.equal("asyncoro: ended by a signal: the script could not be reached", running:line())
            assert.equal(143, (running:finish()))
        end)

        it("ends a program whose clean-up nothing can reach", function()
            local running <const> = program.converse {"-e", WAIT .. [[
                local _ <close> = setmetatable({}, {__close = function()
                    asyncoro.sleep(0.1)
                    print "cleaning"
                    io.stdout:flush()
                    io.read()
                end})
                asyncoro.sleep(1000)]]}
            program.signal("INT", assert(tonumber(running:line())))
            assert.equal("cleaning", running:line())
            assert.equal("asyncoro: ended by a signal: the script could not be reached", running:line())
            assert.equal(130, (running:finish()))
        end)

        it("ends at once a program that cannot say why it failed", function()
            local running <const> = program.start {"-e", WAIT .. [[
                error(setmetatable({}, {__tostring = function()
                    print "saying it"
                    io.stdout:flush()
                    while true do end
                end}))]]}
            local id <const> = assert(tonumber(running:line()))
            assert.equal("saying it", running:line())
            program.signal("TERM", id)
            assert.equal(143, (running:finish()))
        end)
    end)

    describe("subcommands", function()
        it("that are not in this build say so, with code 1", function()
            for _, word in ipairs(WORDS) do
                local _, out <const> = run {"-e", ("print(package.preload['asyncoro.cli.%s'])"):format(word)}
                if out == "nil\n" then
                    local code <const>, _, err <const> = run {word}
                    assert.same({1, ("asyncoro: '%s' is not part of this build\n"):format(word)}, {code, err})
                end
            end
        end)

        it("call main(arg) of their module, whose result is the exit code", function()
            local function result(text)
                local module <const> = ("package.preload['asyncoro.cli.node'] = function() " ..
                    "return {main = function(a) %s end} end"):format(text)
                return run {"-e", module, "node", "x"}
            end
            local code, out, err = result("print(a[0], a[1]) require('asyncoro').sleep(0) return 7")
            assert.same({7, "node\tx\n", ""}, {code, out, err})
            assert.same({0, "", ""}, {result("")})
            assert.same({1, "", "asyncoro: node: no luck\n"}, {result("return nil, 'no luck', 'refused'")})
            code, out, err = result("error('broken')")
            assert.same({1, ""}, {code, out})
            assert.matches("^asyncoro: .*broken\nstack traceback:", err)
        end)

        it("leave a file of the same name to ./name and to --", function()
            script("print('file', ...)", "node")
            local opts <const> = {folder = folder, program = absolute}
            local _, out = run({"./node", "x"}, opts)
            assert.equal("file\tx\n", out)
            _, out = run({"--", "node"}, opts)
            assert.equal("file\n", out)
        end)
    end)

    it("carries its Lua files inside: copied alone to another folder, it runs", function()
        local copy <const> = folder .. "/copied"
        assert(os.execute(("cp %s %s"):format(program.quote(program.path), copy)))
        local alone <const> = ASYNCORO .. "asyncoro.sleep(0) print 'alone'"
        local code <const>, out <const>, err <const> = run({"-e", alone},
            {program = copy, folder = folder})
        assert.same({0, "alone\n", ""}, {code, out, err})
    end)

    it("answers like lua to the same command lines", function()
        local path <const> = script("print(select('#', ...), ...) " ..
            "for i = -3, 3 do print(i, (arg[i] or ''):match('[^/]*$')) end")
        for _, args in ipairs {
            {path}, {path, "-e", "--"}, {"--", path}, {"-E", path, "a"}, {"-", "a"},
            {"-e", "", path, "x"}, {"-e", "print(arg[0] == nil, #arg)"}, {"-lm=math", "-e", "print(m.pi)"},
            {"-W", "-e", "print(...)"},
        } do
            local opts <const> = {stdin = "print('stdin', ...)"}
            local _, ours <const> = run(args, opts)
            opts.program = "lua5.4"
            local _, theirs <const> = run(args, opts)
            assert.equal((theirs:gsub("lua5%.4", "asyncoro")), ours)
        end
    end)
end)
