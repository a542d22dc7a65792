-- SPDX-License-Identifier: MIT
--- The prompt: reads a statement or an expression, runs it as a coro, prints its values.
-- Only the coro that reads waits for the terminal; all others go on meanwhile. Only in the host.
-- @module asyncoro.repl
local asyncoro <const> = require "asyncoro"
local complete <const> = require "asyncoro.complete"
local core <const> = require "asyncoro.core"
local edit <const> = require "asyncoro.edit"
local source <const> = require "asyncoro.source"

local load <const> = load -- Lua's own: what is run is kept here
local repl <const> = {}

local CHUNK <const> = "=stdin"
local STDIN <const> = 0
local MAX_PROMPT <const> = 255

--- Compile what has been typed, as lua does: first as an expression, then as a statement.
-- @tparam string text the lines so far
-- @treturn[1] function
-- @treturn[1] string the text that was compiled
-- @treturn[2] nil
-- @treturn[2] string the error
-- @treturn[2] boolean true when more lines may complete it
function repl.compile(text)
    local statement <const> = text:gsub("^=", "return ")
    local as_value <const> = "return " .. text:gsub("^=", "") .. ";"
    local fn = load(as_value, CHUNK, "t")
    if fn then
        return fn, as_value
    end
    local _, value_error = load("return " .. text, CHUNK, "t")
    local chunk, message = load(statement, CHUNK, "t")
    if chunk then
        return chunk, statement
    end
    local more <const> = message:find("<eof>$") or value_error and value_error:find("<eof>$")
    return nil, message, more ~= nil
end

--- Where the lines typed are kept between sessions.
-- @tparam function getenv as `os.getenv`
-- @treturn ?string the path; nil when there is no place for it
function repl.history_path(getenv)
    local state, home = getenv("XDG_STATE_HOME"), getenv("HOME")
    if state and state:sub(1, 1) == "/" then
        return state .. "/asyncoro/history"
    elseif home and home:sub(1, 1) == "/" then
        return home .. "/.local/state/asyncoro/history"
    end
    return nil
end

-- The prompt: a global as in lua, or the default.
local function prompt(first)
    local text = first and _G._PROMPT or not first and _G._PROMPT2
    if text then
        local ok, shown = pcall(tostring, text)
        return ok and shown:sub(1, MAX_PROMPT) or "> "
    end
    return first and "> " or ">> "
end

-- Waits for a line; nil at the end of the input.
local function read_line(first)
    edit.prompt(prompt(first))
    while true do
        local line, why = edit.feed()
        if line then
            return line
        elseif why then
            return nil
        end
        assert(core.wait_fd(STDIN, "r"))
    end
end

local Session <const> = {}
Session.__index = Session

-- Reads lines until they make up a statement. Returns it compiled, with its text; false and the
-- error when it is wrong; nil at the end of the input. After Ctrl-C the next line is a first one.
function Session:read_statement()
    local text = read_line(true)
    while text do
        self.dropped = false
        local fn, result, more = repl.compile(text)
        if fn then
            return fn, result
        end
        local line <const> = more and read_line(false)
        if not line then
            return false, result
        end
        text = self.dropped and line or text .. "\n" .. line
    end
    return nil
end

-- An error as lua shows it: text with its traceback, an object by its __tostring or its type.
local function describe(err, traceback)
    if type(err) == "string" or type(err) == "number" then
        return traceback and ("%s\n%s"):format(err, traceback) or tostring(err)
    end
    local meta <const> = debug.getmetatable(err)
    if meta and meta.__tostring then
        local ok, text = pcall(tostring, err)
        return ok and text or ("(error object is a %s value whose __tostring fails)"):format(type(err))
    end
    return ("(error object is a %s value)"):format(type(err))
end

local function show_values(values)
    if values.n > 1 then
        local ok, message = pcall(print, table.unpack(values, 2, values.n))
        if not ok then
            io.stderr:write("error calling 'print' (", tostring(message), ")\n")
        end
    end
end

-- Runs a chunk as a coro of its own, so that Ctrl-C can end it alone.
function Session:evaluate(fn)
    local coro <const> = asyncoro.spawn({name = "stdin"}, fn)
    self.running = coro
    local values <const> = table.pack(coro:finish())
    self.running = nil
    io.stdout:flush()
    if values[1] then
        show_values(values)
    elseif coro:status() == "terminated" then
        io.stderr:write("terminated\n")
    else
        io.stderr:write(describe(values[2], values[3]), "\n")
    end
end

-- What Ctrl-C does: ends the line that runs, or drops the one being typed.
function Session:interrupt()
    if self.running then
        self.running:terminate()
    else
        self.dropped = true
        edit.cancel()
        edit.prompt(prompt(true))
    end
end

-- Wraps a function that writes so that the line being typed makes room for what it writes.
local function around_line(write, ends_line)
    return function(...)
        local hidden <const> = edit.hide()
        local results <const> = table.pack(pcall(write, ...))
        if hidden then
            if not ends_line(...) then
                io.stdout:write("\n")
            end
            edit.redisplay()
        end
        if not results[1] then
            error(results[2], 0)
        end
        return table.unpack(results, 2, results.n)
    end
end

local function ends_line(...)
    return tostring((select(select("#", ...) > 0 and -1 or 1, ...))):sub(-1) == "\n"
end

-- Replaces the functions that write or leave; returns one that puts them back.
local function patch()
    local print_before <const>, write_before <const>, exit_before <const> = print, io.write, os.exit
    local ours <const> = {
        print = around_line(print, function() return true end),
        write = around_line(io.write, ends_line),
        exit = function(...)
            edit.stop()
            return exit_before(...)
        end,
    }
    local function replace(place, name, from, to)
        if rawget(place, name) == from then
            rawset(place, name, to)
        end
    end
    replace(_G, "print", print_before, ours.print)
    replace(io, "write", write_before, ours.write)
    replace(os, "exit", exit_before, ours.exit)
    return function()
        replace(_G, "print", ours.print, print_before)
        replace(io, "write", ours.write, write_before)
        replace(os, "exit", ours.exit, exit_before)
    end
end

-- At the end of a terminal's input its user wants to leave: what still runs is cancelled.
local function cancel_others()
    local me <const> = asyncoro.current()
    for _, coro in pairs(asyncoro.coros()) do
        if coro ~= me then
            coro:terminate()
        end
    end
end

--- Read and run lines until standard input ends.
-- Runs in a coro. `asyncoro` becomes a global unless there is one. Ctrl-C ends the line that runs, or
-- drops what is being typed; Ctrl-D ends, and cancels the coros that are left. When standard input is
-- not a terminal its lines are run the same way, and the coros left at its end go on.
function repl.run()
    local session <const> = setmetatable({dropped = false}, Session)
    if rawget(_G, "asyncoro") == nil then
        rawset(_G, "asyncoro", asyncoro)
    end
    local edited <const> = edit.start({history = repl.history_path(os.getenv), completer = complete.key})
    local restore <const> = patch()
    core.on_interrupt(function() session:interrupt() end)
    local _ <close> = setmetatable({}, {__close = function()
        core.on_interrupt(nil)
        restore()
        edit.stop()
    end})
    while true do
        local fn, result = session:read_statement()
        if fn then
            source.keep(CHUNK, result)
            session:evaluate(fn)
        elseif fn == false then
            io.stderr:write(result, "\n")
        else
            break
        end
    end
    io.stdout:write("\n")
    if edited then
        cancel_others()
    end
end

return repl
