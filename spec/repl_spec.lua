-- SPDX-License-Identifier: MIT
local program <const> = require "spec.program"

local UP <const>, CTRL_C <const>, CTRL_D <const> = "\27[A", "\3", "\4"

describe("the prompt", function()
    local folder, terminal

    before_each(function() folder = program.folder() end)
    after_each(function()
        if terminal then
            terminal:finish(CTRL_C .. CTRL_D)
            terminal = nil
        end
        program.remove(folder)
    end)

    local function start(env, args)
        local variables <const> = {
            TERM = "xterm", LC_ALL = "C.UTF-8", HOME = folder, XDG_STATE_HOME = folder .. "/state",
        }
        for name, value in pairs(env or {}) do
            variables[name] = value
        end
        terminal = program.terminal(args or {}, {env = variables})
        terminal:expect("> ")
        return terminal
    end

    local function leave(keys)
        local code <const>, rest <const> = terminal:finish(keys)
        terminal = nil
        return code, rest
    end

    it("says its version, and ends with Ctrl-D on an empty line only", function()
        start()
        assert.matches("asyncoro [%d.]+, Lua 5%.4", terminal.all)
        terminal:type("x" .. CTRL_D .. "\r", "> ")
        assert.equal(0, (leave(CTRL_D)))
    end)

    it("prints the values of expressions as lua does, with or without =", function()
        start()
        terminal:type("1 + 1, nil, 'x'\r", "\r\n2\tnil\tx\r\n> ")
        terminal:type("=2 * 21\r", "\r\n42\r\n> ")
        terminal:type("x = 3\r", "\r\n> ")
        terminal:type("x\r", "\r\n3\r\n> ")
    end)

    it("forgets locals after their line, as lua does", function()
        start()
        terminal:type("local y = 5\r", "> ")
        terminal:type("y\r", "\r\nnil\r\n> ")
    end)

    it("goes on reading until a statement or an expression is whole", function()
        start()
        terminal:type("for i = 1, 2 do\r", ">> ")
        terminal:type("print(i * 10)\r", ">> ")
        terminal:type("end\r", "\r\n10\r\n20\r\n> ")
        terminal:type("= {\r", ">> ")
        terminal:type("7})[1]\r", "> ")
        terminal:type("math.max(\r", ">> ")
        terminal:type("3, 4)\r", "\r\n4\r\n> ")
    end)

    it("shows errors: of syntax alone, others with their traceback, tables by __tostring", function()
        start()
        terminal:type("x y\r", "stdin:1: syntax error near 'y'\r\n> ")
        terminal:type("error('oops')\r", "stdin:1: oops\r\nstack traceback:\r\n")
        terminal:type("", "> ")
        terminal:type("error(setmetatable({}, {__tostring = function() return 'me' end}))\r",
            "\r\nme\r\n> ")
        terminal:type("error()\r", "nil")
        terminal:type("", "> ")
        terminal:type("'still' .. 'here'\r", "\r\nstillhere\r\n> ")
    end)

    it("survives values whose __tostring fails", function()
        start()
        terminal:type("setmetatable({}, {__tostring = function() error('no') end})\r",
            "error calling 'print'")
        terminal:type("", "> ")
        terminal:type("_PROMPT = 'next: '\r", "next: ")
    end)

    it("waits, while other coros go on", function()
        start()
        terminal:type("o = asyncoro.spawn(function() asyncoro.sleep(0.02) print 'other' end)\r", "> ")
        terminal:type("o:finish() print 'line'\r", "line\r\n> ")
        assert.matches("\r\nother\r\n.*line\r\n", terminal.all)
    end)

    it("lets other coros run and write while a line is typed, and keeps the line", function()
        start()
        local sign <const> = folder .. "/sign"
        terminal:type("sign = '" .. sign .. "'\r", "> ")
        terminal:type("function wait() while not io.open(sign) do asyncoro.sleep(0.01) end end\r", "> ")
        terminal:type("_ = asyncoro.spawn(function() wait() print('oth' .. 'er') end)\r", "> ")
        terminal:type("20 + ", "20 + ")
        program.write(sign, "")
        terminal:expect("other\r\n")
        terminal:expect("> 20 + ")
        terminal:type("1\r", "\r\n21\r\n> ")
    end)

    it("Ctrl-C ends the line that waits", function()
        start()
        terminal:type("print('g' .. 'o') asyncoro.sleep(1000)\r", "\r\ngo\r\n")
        terminal:type(CTRL_C, "> ")
        terminal:type("1 + 1\r", "\r\n2\r\n> ")
    end)

    it("Ctrl-C ends the line that loops", function()
        start()
        terminal:type("print('g' .. 'o') while true do end\r", "\r\ngo\r\n")
        terminal:type(CTRL_C, "> ")
        terminal:type("1 + 1\r", "\r\n2\r\n> ")
    end)

    it("Ctrl-C drops what is being typed, lines before it too", function()
        start()
        terminal:type("do\r", ">> ")
        terminal:type("nonsense" .. CTRL_C, "^C\r\n> ")
        terminal:type("1 + 1\r", "\r\n2\r\n> ")
    end)

    it("Ctrl-D cancels the coros that are left", function()
        start()
        terminal:type("asyncoro.spawn(function() local _ <close> = setmetatable({}, " ..
            "{__close = function() print 'cleaned up' end}) asyncoro.sleep(1000) end)\r", "\r\ncoro ")
        terminal:expect("\r\n> ") -- the text typed has a "> " of its own
        local code <const>, rest <const> = leave(CTRL_D)
        assert.equal(0, code)
        assert.matches("cleaned up", rest)
    end)

    it("os.exit leaves with its code", function()
        start()
        assert.equal(5, (leave("os.exit(5)\r")))
    end)

    it("completes globals, fields and methods, and shows them when there are several", function()
        start()
        terminal:type("string.form\t", "string.format")
        terminal:type("('%d', 4)\r", "\r\n4\r\n> ")
        terminal:type("stri\t", "string")
        terminal:type(".rep\t('ab', 2)", "string.rep")
        terminal:type("\r", "\r\nabab\r\n> ")
        terminal:type("table.\t", "concat")
        terminal:expect("unpack")
        terminal:expect("> table.")
        terminal:type("\21s = 'x'\r", "> ")
        terminal:type("s:upp\t", "s:upper")
        terminal:type("()\r", "\r\nX\r\n> ")
    end)

    it("edits: cursor keys, deleting, characters of several bytes", function()
        start()
        terminal:type("12 + 3\27[D\27[D\27[D\27[D\127", "1 + 3")
        terminal:type("\r", "\r\n4\r\n> ")
        terminal:type("#'é→x'\27[D\127\127\r", "\r\n2\r\n> ")
        terminal:type("1\27[3~\27[99~\27x1\r", "\r\n11\r\n> ")
    end)

    it("takes several lines that come at once", function()
        start()
        terminal:type("1\n'\t' == '\\t'\n3\n", "\r\n1\r\n")
        terminal:expect("\r\ntrue\r\n")
        terminal:expect("\r\n3\r\n> ")
    end)

    it("keeps lines between sessions, in a file that only the user can read", function()
        start()
        terminal:type("'fir' .. 'st'\r", "\r\nfirst\r\n> ")
        terminal:type("'seco' .. 'nd'\r", "\r\nsecond\r\n> ")
        leave(CTRL_D)
        local path <const> = folder .. "/state/asyncoro/history"
        assert.equal("'fir' .. 'st'\n'seco' .. 'nd'\n", program.read(path))
        assert.equal("600", program.capture("stat -c %a " .. path))
        assert.equal("700", program.capture("stat -c %a " .. folder .. "/state/asyncoro"))
        start()
        terminal:type(UP, "'seco' .. 'nd'")
        terminal:type(UP, "fir")
        terminal:type("\r", "\r\nfirst\r\n> ")
    end)

    it("uses ~/.local/state without XDG_STATE_HOME, and does without where it cannot", function()
        start({XDG_STATE_HOME = ""})
        terminal:type("1 + 1\r", "\r\n2\r\n> ")
        leave(CTRL_D)
        assert.equal("1 + 1\n", program.read(folder .. "/.local/state/asyncoro/history"))
        start({XDG_STATE_HOME = "/dev/null"})
        terminal:type("1 + 1\r", "\r\n2\r\n> ")
        terminal:type(UP .. "\r", "\r\n2\r\n> ")
    end)

    it("works on a terminal that cannot be edited on", function()
        start({TERM = "dumb"})
        terminal:type("1 + 1\n", "\r\n2\r\n> ")
        terminal:type("do\n", ">> ")
        terminal:type(CTRL_C, "> ")
        terminal:type("2 + 3\n", "\r\n5\r\n> ")
        assert.equal(0, (leave(CTRL_D)))
    end)

    it("comes after a script with -i", function()
        local path <const> = program.write(folder .. "/first.lua", "x = 30")
        start({}, {"-i", path})
        terminal:type("x + 1\r", "\r\n31\r\n> ")
    end)

    it("keeps the source of what is typed, so that its functions can be sent", function()
        start()
        terminal:type("f = function(x) return x + 1 end\r", "> ")
        terminal:type("core = require 'asyncoro.core'\r", "> ")
        terminal:type("core.decode(core.encode(f))(41)\r", "\r\n42\r\n> ")
    end)
end)
