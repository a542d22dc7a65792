-- SPDX-License-Identifier: MIT
--- Runs the built host binary for specs: to its end, under the eye of the spec, or on a terminal.
-- Whatever hangs is killed after LIMIT seconds, or as many as its options say; nothing here sleeps: the spec reads until
-- what it waits for has come.
local program <const> = {}

local LIMIT <const> = 30

local BUILD <const> = os.getenv("ASYNCORO_BUILD") or "build"

--- The binary under test.
program.path = BUILD .. "/bin/asyncoro"

--- The interpreter that stands for stock Lua.
program.lua = os.getenv("ASYNCORO_LUA") or "lua5.4"

--- Where stock Lua finds the module under test, for its LUA_CPATH.
program.module_path = BUILD .. "/lib/?.so;;"

--- The folder with the library for C programs.
program.lib_folder = BUILD .. "/lib"

function program.quote(word)
    return "'" .. word:gsub("'", "'\\''") .. "'"
end

local quote <const> = program.quote

--- Writes a file.
function program.write(path, text)
    local file <const> = assert(io.open(path, "wb"))
    assert(file:write(text))
    assert(file:close())
    return path
end

--- Reads a whole file, "" when there is none.
function program.read(path)
    local file <const> = io.open(path, "rb")
    if not file then
        return ""
    end
    local text <const> = file:read("a")
    file:close()
    return text
end

--- What a shell command prints, without the last line end.
function program.capture(command)
    local pipe <const> = assert(io.popen(command, "r"))
    local text <const> = pipe:read("a")
    pipe:close()
    return (text:gsub("\n$", ""))
end

--- Builds the C program that runs a script in itself, spec/embed/run.c, into a folder.
-- @treturn string its path
function program.embedding(folder)
    local lib <const> = quote(program.lib_folder)
    local out <const> = program.capture(("cc -std=c11 -Wall -Wextra -Werror -Ibindings spec/embed/run.c -L%s -lasyncoro "
        .. "-Wl,-rpath,$(realpath %s) -o %s/run 2>&1"):format(lib, lib, folder))
    if out ~= "" then error(out, 2) end
    return folder .. "/run"
end

--- A new private folder; remove it with program.remove.
function program.folder()
    return program.capture("mktemp -d")
end

function program.remove(folder)
    os.execute("rm -rf " .. quote(folder))
end

local function environment(env)
    local words <const> = {"env -u LUA_INIT -u LUA_INIT_5_4 -u LUA_PATH -u LUA_PATH_5_4"}
    for name, value in pairs(env or {}) do
        words[#words + 1] = quote(name .. "=" .. value)
    end
    return table.concat(words, " ")
end

local function command_line(args, opts)
    local words <const> = {environment(opts.env), opts.limit or "", quote(opts.program or program.path)}
    for _, word in ipairs(args) do
        words[#words + 1] = quote(word)
    end
    return table.concat(words, " ")
end

local TIMEOUT <const> = "timeout -s KILL "

local function with_limit(opts)
    local seconds <const> = opts and opts.seconds or LIMIT
    return setmetatable({limit = TIMEOUT .. seconds}, {__index = opts})
end

--- Runs the program to its end.
-- @tparam {string,...} args its arguments
-- @tparam[opt] table opts `stdin`: text for it; `env`: more of its environment; `program`: another one;
-- `folder`: its current folder; `seconds`: how long it may take
-- @treturn integer its exit code
-- @treturn string what it printed
-- @treturn string what it printed on stderr
function program.run(args, opts)
    opts = with_limit(opts)
    local folder <const> = program.folder()
    program.write(folder .. "/in", opts.stdin or "")
    local _, _, code = os.execute(("cd %s && %s <%s/in >%s/out 2>%s/err"):format(
        quote(opts.folder or "."), command_line(args, opts), folder, folder, folder))
    local out <const>, err <const> = program.read(folder .. "/out"), program.read(folder .. "/err")
    program.remove(folder)
    return code, out, err
end

local Running <const> = {}
Running.__index = Running

--- Starts the program with both of its outputs read by the spec.
-- @tparam {string,...} args its arguments; to be sent signals it must print its process id first
-- @tparam[opt] table opts as for run, without `stdin`
function program.start(args, opts)
    local command <const> = command_line(args, with_limit(opts))
    local pipe <const> = assert(io.popen("exec " .. command .. " 2>&1 </dev/null", "r"))
    return setmetatable({pipe = pipe}, Running)
end

--- The same, and the spec types to it: Running:type.
function program.converse(args, opts)
    local folder <const> = program.folder()
    assert(os.execute("mkfifo " .. folder .. "/keys"))
    local command <const> = command_line(args, with_limit(opts or {}))
    local pipe <const> = assert(io.popen(("exec %s 2>&1 <%s/keys"):format(command, folder), "r"))
    -- The second cat takes what is typed after the program's end, which would kill the spec with SIGPIPE.
    local keys <const> = assert(io.popen(("cat >%s/keys 2>/dev/null; cat >/dev/null"):format(folder), "w"))
    keys:setvbuf("no")
    return setmetatable({pipe = pipe, keys = keys, folder = folder}, Running)
end

--- Sends a signal to a process.
function program.signal(name, id)
    assert(os.execute(("kill -%s %d"):format(name, id)))
end

--- Lua code that prints the process id of the program it runs in, as its first line.
program.PRINT_ID = "io.write(io.open('/proc/self/stat'):read('n'), '\\n') io.stdout:flush() "

function Running:line()
    return self.pipe:read("l")
end

--- Types a line.
function Running:type(line)
    assert(self.keys:write(line, "\n"))
end

--- Reads the rest and waits for the end; what was typed, if anything, ends here.
-- @treturn integer its exit code
-- @treturn string the rest of what it printed
function Running:finish()
    if self.keys then self.keys:close() end
    local rest <const> = self.pipe:read("a")
    if self.folder then program.remove(self.folder) end
    local _, _, code = self.pipe:close()
    return code, rest
end

local Terminal <const> = {}
Terminal.__index = Terminal

--- Starts the program on a pseudo terminal of 80 columns.
function program.terminal(args, opts)
    local folder <const> = program.folder()
    assert(os.execute("mkfifo " .. folder .. "/screen"))
    local inner <const> = "stty rows 24 cols 80; exec " .. command_line(args, opts or {})
    -- cat takes the keys typed after the program's end, which would kill the spec with SIGPIPE.
    local keys <const> = assert(io.popen(
        ("%s script -qfec %s /dev/null >%s/screen 2>&1; code=$?; cat >/dev/null; exit $code"):format(
        TIMEOUT .. LIMIT, quote(inner), folder), "w"))
    keys:setvbuf("no")
    local screen <const> = assert(io.open(folder .. "/screen", "rb"))
    return setmetatable({folder = folder, keys = keys, screen = screen, seen = "", all = ""}, Terminal)
end

--- Types something, then waits until a text appears on the screen after all that was waited for before.
function Terminal:type(keys, text)
    assert(self.keys:write(keys))
    return self:expect(text)
end

function Terminal:expect(text)
    while true do
        local _, last = self.seen:find(text, 1, true)
        if last then
            local before <const> = self.seen:sub(1, last)
            self.seen = self.seen:sub(last + 1)
            return before
        end
        local byte <const> = self.screen:read(1)
        if not byte then
            error(("%q did not appear; the screen showed:\n%s"):format(text, self.all), 2)
        end
        self.seen, self.all = self.seen .. byte, self.all .. byte
    end
end

--- Types something and waits for the end of the program.
-- @treturn integer its exit code
-- @treturn string the rest of what it printed
function Terminal:finish(keys)
    assert(self.keys:write(keys or ""))
    local rest <const> = self.screen:read("a")
    local _, _, code = self.keys:close()
    self.screen:close()
    program.remove(self.folder)
    return code, rest
end

return program
