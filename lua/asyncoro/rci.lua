-- SPDX-License-Identifier: MIT
--- Functions that others may start as coros, in this process, without sending code.
-- @module asyncoro.rci
local core <const> = require "asyncoro.core"
local log <const> = require "asyncoro.log"
local options <const> = require "asyncoro.options"

local OPTIONS <const> = { name = "string", allow = "any", check = "function", daemon = "boolean", mailbox = "integer" }

local function check_allow(allow)
    if allow == nil or type(allow) == "function" then return allow end
    if type(allow) ~= "table" then
        error("rci: option 'allow': a function or a list of locations expected, got " .. type(allow), 3)
    end
    local allowed <const> = {}
    for _, place in ipairs(allow) do allowed[tostring(place)] = true end
    return function(from)
        if from == core.location() then return true end -- this process, which may have none
        return from and (allowed[tostring(from)] or allowed[from.host]) or false
    end
end

-- What the rule says of a call, in words when it says no.
local function judge(entry, rule, what, ...)
    local ok <const>, yes <const>, why <const> = pcall(core.without_wait, rule, ...)
    if not ok then
        log:error("rci %s: its function '%s' failed: %s", entry.name, what, yes)
        return false, "it failed"
    end
    return yes, why
end

local CODES <const> = { allow = "denied", check = "invalid" }
local WORDS <const> = { allow = "not allowed", check = "its arguments are refused" }

local function refused(entry, what, why)
    local text <const> = ("rci %s: %s%s"):format(entry.name, WORDS[what], why and ": " .. tostring(why) or "")
    return nil, text, CODES[what]
end

-- Start a coro for a call, which came from this location.
local function serve(entry, from, ...)
    if entry.allow then
        local yes <const>, why <const> = judge(entry, entry.allow, "allow", from, ...)
        if not yes then return refused(entry, "allow", why) end
    end
    if entry.check then
        local yes <const>, why <const> = judge(entry, entry.check, "check", ...)
        if not yes then return refused(entry, "check", why) end
    end
    return core.spawn({ name = entry.name, daemon = entry.daemon, mailbox = entry.mailbox }, entry.fn, ...)
end

core.set_rci_server(serve)

--- Make an RCI of a function. Once it is registered (`rci:register`), every engine of this process and every peer may
-- find it (`asyncoro.locate_rci`) and call it; each call starts a coro here that runs the function, and returns its
-- handle. Does not wait.
-- @function rci
-- @tparam function fn
-- @tparam[opt] string|table name or options: `name` (the function's own); `allow`: whose calls are accepted, a list of
-- locations or hosts, or a function of the caller's location and the arguments that returns true, or false and why
-- ("denied"); `check`: a function of the arguments that returns true, or false and why ("invalid"); `daemon` and
-- `mailbox` of the coros. The two functions may not wait
-- @treturn rci
-- @raise on an unknown option
-- @usage asyncoro.rci(function(a, b) return a + b end, "add"):register()
local function rci(fn, name)
    if type(fn) ~= "function" then error("rci: a function expected, got " .. type(fn), 2) end
    local given <const> = options.check("rci", type(name) == "string" and { name = name } or name, OPTIONS)
    if given.name == "" then error("rci: the name is empty", 2) end
    return core.rci_new {
        fn = fn,
        name = given.name,
        allow = check_allow(given.allow),
        check = given.check,
        daemon = given.daemon,
        mailbox = given.mailbox,
    }
end

return rci
