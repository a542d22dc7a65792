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

local DYING <const> = 2 -- seconds for a killed program to end
local MEBI <const> = 1 << 20

local SPAWN <const> = {
    env = "table", clear_env = "boolean", cwd = "string", stdin = "any", stdout = "any", stderr = "any",
    group = "boolean",
}

local function is_text(value)
    return type(value) == "string" or type(value) == "number"
end

local function check_zero(text, what, level)
    if text:find("\0", 1, true) then error(what .. " has a zero byte, which no program can get", level + 1) end
    return text
end

local function check_argv(argv, level)
    if type(argv) == "string" then argv = { argv } end
    if type(argv) ~= "table" or #argv == 0 then
        error("spawn: a program, or a list of a program and its arguments, expected", level + 1)
    end
    local strings <const> = {}
    for i = 1, #argv do
        local value <const> = argv[i]
        if not is_text(value) then
            error(("spawn: argument %d is a %s, not a string"):format(i - 1, type(value)), level + 1)
        end
        strings[i] = check_zero(tostring(value), ("spawn: argument %d"):format(i - 1), level + 1)
    end
    return strings
end

local function check_variable(name, value, level)
    if type(name) ~= "string" or name == "" or name:find("[=\0]") then
        error(("spawn: env: '%s' is no name of a variable"):format(tostring(name)), level + 1)
    end
    if value == false then return nil end
    if not is_text(value) then
        error(("spawn: env: '%s' is a %s; a string, or false, expected"):format(name, type(value)), level + 1)
    end
    return check_zero(tostring(value), ("spawn: env: '%s'"):format(name), level + 1)
end

-- The environment as a list of "NAME=value": ours with the changes, false takes a name away.
local function environment(changes, clear, level)
    if not changes and not clear then return nil end
    local variables <const>, list <const> = clear and {} or core.process.environ(), {}
    for name, value in pairs(changes or {}) do variables[name] = check_variable(name, value, level + 1) end
    for name, value in pairs(variables) do list[#list + 1] = name .. "=" .. value end
    return list
end

local STANDARD <const> = { "stdin", "stdout", "stderr" }

-- What a standard descriptor shall be, for the core: our own standard streams by their numbers, since they are not
-- given away.
local function redirection(value)
    local standard <const> = package.loaded["asyncoro.standard"]
    if standard and type(value) == "userdata" then
        for number, name in ipairs(STANDARD) do
            if value == standard[name] then return number - 1 end
        end
    end
    return value or "inherit"
end

local function is_stream(value)
    local meta <const> = type(value) == "userdata" and getmetatable(value)
    return type(meta) == "table" and meta.__index == core.stream
end

-- What has been written to files comes before what the program will write. nil, message, code.
local function flush_files(given)
    if not core.current() then return true end
    for _, name in ipairs(STANDARD) do
        if is_stream(given[name]) then
            local done <const>, message <const>, code <const> = given[name]:flush()
            if not done then return nil, message, code end
        end
    end
    return true
end

local function start(strings, variables, given, keep)
    local ok <const>, message <const>, reason <const> = flush_files(given)
    if not ok then return nil, message, reason end
    local child <const>, stdin <const>, stdout <const>, stderr <const> = core.process.spawn(strings, variables,
        given.cwd, redirection(given.stdin), redirection(given.stdout), redirection(given.stderr), given.group, keep)
    if not child then return nil, stdin, stdout end
    return setmetatable({
        child = child, program = strings[1], stdin = stdin, stdout = stdout, stderr = stderr,
    }, Process)
end

--- Start a program.
-- @function spawn
-- @tparam string|{string,...} argv the program, or the program and its arguments; no shell is in between. It is looked
-- for in our $PATH (not that of `env`) when it has no slash.
-- @tparam[opt] table opts
-- @tparam[opt="inherit"] string|stream|integer opts.stdin "pipe" (the handle's `stdin`), "inherit", "null", a stream (a
-- file, a pipe, a socket; all but files and our own standard streams are given away: closed here), or the number of a
-- descriptor
-- @tparam[opt="inherit"] string|stream|integer opts.stdout as stdin
-- @tparam[opt="inherit"] string|stream|integer opts.stderr as stdin, or "merge": where stdout goes
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
    return start(strings, environment(given.env, given.clear_env, 2), given)
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
    if grace ~= nil then core.check_timeout(grace, "terminate") end
    self:kill "TERM"
    self:kill "CONT"
    local ok <const>, how <const>, code <const> = self:wait(grace or 5)
    if code ~= "timeout" then return ok, how, code end
    self:kill "KILL"
    return self:wait()
end

-- An iterator over the strings of the input.
local function pieces_of(input, level)
    if is_text(input) then
        local rest = tostring(input)
        return function()
            local piece <const> = rest
            rest = nil
            return piece
        end
    end
    if type(input) == "function" then return input end
    local ok <const>, next_piece <const>, state <const> = pcall(function() return input:chunks() end)
    if not ok then
        error(("communicate: input: a string, a stream or an iterator expected, got a %s"):format(type(input)), level + 1)
    end
    return function() return next_piece(state) end
end

-- Feed the input until the program wants no more of it.
local function feed(stream, next_piece)
    local _ <close> = stream
    for piece in next_piece do
        local done <const>, message <const>, code <const> = stream:write(piece)
        if not done then
            if code ~= "reset" and code ~= "closed" then error(message, 0) end
            return
        end
    end
end

-- Take the output; when there is too much of it the programs are killed, so that all the rest ends too.
local function collect(p, results, stream, index)
    local data <const>, message <const>, code <const> = stream:read_all(results.limit)
    results[index] = data or ""
    if not data and not results.code then
        results.message, results.code = message, code
        p:kill "KILL"
    end
    stream:close()
end

-- The input may be of a kind that waits for ever: when nobody is left to read it, it is not waited for.
local function stop_feeding(first, stdin, feeder)
    first:wait()
    if core.process.unread(stdin) then feeder:terminate() end
end

-- The pipes with errors: of a pipeline there are several.
local function errors_of(p)
    local list <const> = {}
    for _, one in ipairs(p.processes or { p }) do list[#list + 1] = one.stderr end
    return list
end

local function exchange(p, results, errors, next_piece)
    group(function(g)
        local feeder <const> = p.stdin and g:spawn(feed, p.stdin, next_piece)
        if p.stdout then g:spawn(collect, p, results, p.stdout, 1) end
        for i, stream in ipairs(errors) do g:spawn(collect, p, results, stream, i + 1) end
        if feeder then stop_feeding(p.processes and p.processes[1] or p, p.stdin, feeder) end
    end)
    return p:wait()
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
    local next_piece <const> = pieces_of(input or "", 2)
    local results <const>, errors <const> = { limit = given.limit or 64 * MEBI }, errors_of(self)
    local function outcome(ok, how, code)
        if ok == nil and code == "timeout" then
            self:kill "KILL"
            self:wait(DYING) -- so that no zombie is left, though a disk may hold up its end
            return nil, ("%s: timed out"):format(self.program), code
        end
        if results.code then return nil, ("%s: %s"):format(self.program, results.message), results.code end
        if ok == nil then return nil, how, code end
        return results[1] or false, #errors > 0 and table.concat(results, "", 2, #errors + 1), ok, how, code
    end
    if given.timeout then
        return outcome(core.with_timeout(given.timeout, exchange, self, results, errors, next_piece))
    end
    return outcome(exchange(self, results, errors, next_piece))
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
        local ok <const>, how <const>, code <const> = p.child:wait(0)
        return ok ~= nil or code ~= "timeout", ok, how, code
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

--- Send a signal to each program of a pipeline, as `process:kill`.
function Pipeline:kill(name)
    local first <const> = table.pack(self.processes[1]:kill(name))
    local sent = first[1]
    for i = 2, #self.processes do sent = self.processes[i]:kill(name) or sent end
    if sent then return true end
    return table.unpack(first, 1, first.n)
end

--- Ask all programs of a pipeline to end, and kill those that have not after a time, as `process:terminate`.
function Pipeline:terminate(grace)
    if grace ~= nil then core.check_timeout(grace, "terminate") end
    self:kill "TERM"
    self:kill "CONT"
    local until_then <const> = core.now() + (grace or 5)
    for _, p in ipairs(self.processes) do
        if p:poll() == nil then p:wait(math.max(until_then - core.now(), 0)) end
    end
    self:kill "KILL"
    for _, p in ipairs(self.processes) do p:wait() end
    return self:wait()
end

--- Close all of its programs, as `process:close`.
function Pipeline:close()
    for _, p in ipairs(self.processes) do p:close() end
    for _, name in ipairs { "stdin", "stdout" } do
        if self[name] then self[name]:close() end
    end
    return true
end

Pipeline.__close = Pipeline.close

-- The programs of a pipeline: closed unless all of them could be started.
local Started <const> = {}

function Started:__close()
    if self.complete then return end
    for _, p in ipairs(self.processes) do p:close() end
end

-- What the i-th of n programs is given.
local function link_of(given, i, n, before)
    local own <const> = {}
    for name, value in pairs(given) do own[name] = value end
    if i > 1 then own.stdin = before end
    if i < n then own.stdout = "pipe" end
    return own
end

-- Start them all. The handle, or nil, message, code.
local function start_all(programs, variables, given)
    local processes <const> = {}
    local started <close> = setmetatable({ processes = processes }, Started)
    for i, argv in ipairs(programs) do
        local before <const> = i > 1 and processes[i - 1] or nil
        local p <const>, message <const>, code <const> =
            start(argv, variables, link_of(given, i, #programs, before and before.stdout), i < #programs)
        if not p then return nil, message, code end
        if before then before.stdout = nil end
        processes[i] = p
    end
    started.complete = true
    return processes
end

--- Start several programs, each reading what the one before writes.
-- @function pipeline
-- @tparam {string|{string,...},...} list the programs with their arguments
-- @tparam[opt] table opts as of `spawn`: stdin is of the first, stdout of the last, everything else of all
-- @treturn process `stdin` is of the first, `stdout` and the end that is waited for are of the last; `processes` is the
-- list of all, each of which can be waited for, and has its own `stderr`. Closing it, and signals, are for all;
-- `communicate` gives the errors of all, in the order of the programs
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string code
function process.pipeline(list, opts)
    if type(list) ~= "table" or #list == 0 then error("pipeline: a list of programs expected", 2) end
    local given <const> = options.check("pipeline", opts, SPAWN)
    local programs <const> = {}
    for i = 1, #list do programs[i] = check_argv(list[i], 2) end
    local processes <const>, message <const>, code <const> =
        start_all(programs, environment(given.env, given.clear_env, 2), given)
    if not processes then return nil, message, code end
    local first <const>, last <const> = processes[1], processes[#processes]
    local pipeline <const> = setmetatable({
        child = last.child, program = last.program, processes = processes, stdin = first.stdin, stdout = last.stdout,
        stderr = last.stderr,
    }, Pipeline)
    if first.stdin then core.process.keep(first.stdin, pipeline) end
    return pipeline
end

return process
