-- SPDX-License-Identifier: MIT
--- Child processes: starting programs, talking to them through pipes, waiting for their ends.
-- A handle that is closed or collected kills its program. No program is left as a zombie, none inherits a descriptor
-- that it was not given, and each starts with its signals as usual.
-- @module asyncoro.process
local core <const> = require "asyncoro.core"
local group <const> = require "asyncoro.group"
local options <const> = require "asyncoro.options"

local process <const> = {}

local Process <const> = { __name = "process" }
Process.__index = Process

local MEBI <const> = 1 << 20

local SPAWN <const> = {
    env = "table", clear_env = "boolean", cwd = "string", stdin = "any", stdout = "any", stderr = "any",
    group = "boolean",
}

local function check_argv(argv, level)
    if type(argv) == "string" then return { argv } end
    if type(argv) ~= "table" or #argv == 0 then
        error("spawn: a program, or a list of a program and its arguments, expected", level + 1)
    end
    local strings <const> = {}
    for i = 1, #argv do
        local value <const> = argv[i]
        if type(value) ~= "string" and type(value) ~= "number" then
            error(("spawn: argument %d is a %s, not a string"):format(i - 1, type(value)), level + 1)
        end
        strings[i] = tostring(value)
    end
    return strings
end

-- The environment as a list of "NAME=value": ours with the changes, false takes a name away.
local function environment(changes, clear)
    if not changes and not clear then return nil end
    local variables <const>, list <const> = clear and {} or core.process.environ(), {}
    for name, value in pairs(changes or {}) do variables[name] = value or nil end
    for name, value in pairs(variables) do list[#list + 1] = name .. "=" .. tostring(value) end
    return list
end

--- Start a program.
-- @function spawn
-- @tparam string|{string,...} argv the program, or the program and its arguments; no shell is in between. It is looked
-- for in $PATH when it has no slash.
-- @tparam[opt] table opts
-- @tparam[opt="inherit"] string|stream opts.stdin "pipe" (the handle's `stdin`), "inherit", "null", or a stream (a file,
-- a pipe, a socket; all but files are given away: closed here)
-- @tparam[opt="inherit"] string|stream opts.stdout as stdin
-- @tparam[opt="inherit"] string|stream opts.stderr as stdin, or "merge": where stdout goes
-- @tparam[opt] table opts.env changes to the environment: name = value, name = false to take it away
-- @tparam[opt=false] boolean opts.clear_env begin with an empty environment
-- @tparam[opt] string opts.cwd folder to start in
-- @tparam[opt=false] boolean opts.group a process group of its own: signals reach its children too, Ctrl-C does not
-- reach it
-- @treturn process with the fields `stdin`, `stdout`, `stderr`: streams, where "pipe" was asked for
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "notfound" (the program, or the folder), "denied", "limit" ...
-- @usage local sort <close> = assert(asyncoro.process.spawn({ "sort", "-n" }, { stdin = "pipe", stdout = "pipe" }))
function process.spawn(argv, opts)
    local given <const> = options.check("spawn", opts, SPAWN)
    local strings <const> = check_argv(argv, 2)
    local child <const>, stdin <const>, stdout <const>, stderr <const> = core.process.spawn(strings,
        environment(given.env, given.clear_env), given.cwd, given.stdin or "inherit", given.stdout or "inherit",
        given.stderr or "inherit", given.group)
    if not child then return nil, stdin, stdout end
    return setmetatable({
        child = child, program = strings[1], stdin = stdin, stdout = stdout, stderr = stderr,
    }, Process)
end

-- See bindings/process.c for what these do.

--- Wait for the end of the program.
function Process:wait(timeout) return self.child:wait(timeout) end

--- Look whether the program has ended.
function Process:poll() return self.child:poll() end

--- Send a signal.
function Process:kill(name) return self.child:kill(name) end

--- The number of the process.
function Process:pid() return self.child:pid() end

--- Ask the program to end (SIGTERM); when it has not after a time, kill it (SIGKILL). Waits for its end.
-- @function process:terminate
-- @tparam[opt=5] number grace seconds
-- @return as `wait`
function Process:terminate(grace)
    self.child:kill "TERM"
    self.child:kill "CONT"
    local ok <const>, how <const>, code <const> = self.child:wait(grace or 5)
    if code ~= "timeout" then return ok, how, code end
    self.child:kill "KILL"
    return self.child:wait()
end

local function each_piece(input)
    if type(input) == "string" then
        local rest = input
        return function()
            local piece <const> = rest
            rest = nil
            return piece
        end
    end
    if type(input) == "function" then return input end
    return input:chunks()
end

-- Feed the input until the program wants no more of it.
local function feed(stream, input)
    for piece in each_piece(input) do
        local done <const>, message <const>, code <const> = stream:write(piece)
        if not done then
            stream:close()
            if code ~= "reset" and code ~= "closed" then error(message, 0) end
            return
        end
    end
    stream:close()
end

-- Take the output; when there is too much of it the program is killed, so that all the rest ends too.
local function collect(p, results, name, limit)
    local data <const>, message <const>, code <const> = p[name]:read_all(limit)
    results[name] = data or false
    if not data and not results.code then
        results.message, results.code = message, code
        p.child:kill "KILL"
    end
    p[name]:close()
end

--- Give the program its input, take all its output, and wait for its end. Waits; everything goes on at once, so that no
-- full pipe keeps anybody.
-- @function process:communicate
-- @tparam[opt] string|stream|function input for `stdin`: a string, a stream to be read to its end, or an iterator over
-- strings. `stdin` is closed after it. A program that does not read it all is no failure.
-- @tparam[opt] table opts
-- @tparam[opt=67108864] integer opts.limit bytes of each output
-- @tparam[opt] number opts.timeout seconds for all of it; then the program is killed
-- @treturn ?string what came from `stdout`; false when it is no pipe
-- @treturn ?string what came from `stderr`; false when it is no pipe
-- @treturn boolean as `wait`
-- @treturn string "exit" or "signal"
-- @treturn integer|string
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "timeout"; "toolarge": over the limit; the program has been killed
function Process:communicate(input, opts)
    local given <const> = options.check("communicate", opts, { limit = "integer", timeout = "time" })
    if input ~= nil and not self.stdin then error("communicate: the program's stdin is not a pipe", 2) end
    local results <const> = {}
    local limit <const> = given.limit or 64 * MEBI
    local function work()
        group(function(g)
            if self.stdin then g:spawn(feed, self.stdin, input or "") end
            if self.stdout then g:spawn(collect, self, results, "stdout", limit) end
            if self.stderr then g:spawn(collect, self, results, "stderr", limit) end
        end)
        return self:wait()
    end
    local function outcome(ok, how, code)
        if ok == nil and code == "timeout" then
            self.child:kill "KILL"
            return nil, ("%s: timed out"):format(self.program), code
        end
        if results.code then return nil, ("%s: %s"):format(self.program, results.message), results.code end
        return results.stdout or false, results.stderr or false, ok, how, code
    end
    if given.timeout then return outcome(core.with_timeout(given.timeout, work)) end
    return outcome(work())
end

--- Kill the program if it still runs (with its group, if it has its own), and close the pipes. Never waits.
-- @function process:close
-- @treturn boolean true
function Process:close()
    self.child:close()
    for _, name in ipairs { "stdin", "stdout", "stderr" } do
        if self[name] then self[name]:close() end
    end
    return true
end

Process.__close = Process.close

function Process:__tostring()
    return ("process %d (%s)"):format(self.child:pid(), self.program)
end

Process.__select = {
    poll = function(p)
        local ok <const>, how <const>, code <const> = p.child:poll()
        return ok ~= nil, ok, how, code
    end,
    queue = function(p) return p.child:queue() end,
}

--- Run a program to its end. Waits.
-- @function run
-- @tparam string|{string,...} argv
-- @tparam[opt] table opts as of `spawn`, with stdout and stderr "pipe" unless they say otherwise; and
-- @tparam[opt] string|stream|function opts.input for its standard input, else that is "null"
-- @tparam[opt=67108864] integer opts.limit bytes of each output
-- @tparam[opt] number opts.timeout seconds
-- @return as `communicate`; or as `spawn` when it could not be started
-- @usage local out, err, ok = asyncoro.process.run { "uname", "-r" }
function process.run(argv, opts)
    if opts ~= nil and type(opts) ~= "table" then error("run: a table of options expected", 2) end
    local spawn <const> = { stdout = "pipe", stderr = "pipe" }
    for name, value in pairs(opts or {}) do
        if name ~= "input" and name ~= "limit" and name ~= "timeout" then spawn[name] = value end
    end
    local input <const> = opts and opts.input
    spawn.stdin = spawn.stdin or input ~= nil and "pipe" or "null"
    local p <close>, message <const>, code <const> = process.spawn(argv, spawn)
    if not p then return nil, message, code end
    return p:communicate(input, opts and { limit = opts.limit, timeout = opts.timeout })
end

local Pipeline <const> = setmetatable({ __name = "pipeline" }, { __index = Process })
Pipeline.__index = Pipeline
Pipeline.__select = Process.__select
Pipeline.__tostring = Process.__tostring

--- Close all of its programs, as `process:close`.
function Pipeline:close()
    for _, p in ipairs(self.processes) do p:close() end
    return true
end

Pipeline.__close = Pipeline.close

--- Start several programs, each reading what the one before writes.
-- @function pipeline
-- @tparam {string|{string,...},...} list the programs with their arguments
-- @tparam[opt] table opts as of `spawn`: stdin is of the first, stdout of the last, everything else of all
-- @treturn process `stdin` is of the first, `stdout` and `stderr` and the end that is waited for are of the last;
-- `processes` is the list of all; closing it closes all
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string code
function process.pipeline(list, opts)
    if type(list) ~= "table" or #list == 0 then error("pipeline: a list of programs expected", 2) end
    local given <const> = options.check("pipeline", opts, SPAWN)
    local processes <const> = {}
    local before = given.stdin
    for i, argv in ipairs(list) do
        local own <const> = setmetatable({}, nil)
        for name, value in pairs(given) do own[name] = value end
        own.stdin = before
        if i < #list then own.stdout = "pipe" end
        local p <const>, message <const>, code <const> = process.spawn(argv, own)
        if not p then
            for _, started in ipairs(processes) do started:close() end
            return nil, message, code
        end
        processes[i] = p
        before = p.stdout
        if i < #list then p.stdout = nil end
    end
    local last <const> = processes[#processes]
    return setmetatable({
        child = last.child, program = last.program, processes = processes, stdin = processes[1].stdin,
        stdout = last.stdout, stderr = last.stderr,
    }, Pipeline)
end

return process
