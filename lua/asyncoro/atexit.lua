-- SPDX-License-Identifier: MIT
--- Functions that run at the end of the program: after its last coro that is no daemon, before the daemons are
-- cancelled. They run in a coro, may wait, and may start coros, which are waited for.
-- @module asyncoro.atexit

local core <const> = require "asyncoro.core"

local entries = {}

local function run_all()
    local due <const> = entries
    entries = {}
    table.sort(due, function(a, b)
        if a.priority ~= b.priority then return a.priority > b.priority end
        return a.order < b.order
    end)
    for _, entry in ipairs(due) do
        local ok <const>, err <const> = xpcall(entry.fn, debug.traceback)
        if not ok then core.report("atexit: " .. tostring(err)) end
    end
end

--- Register a function.
-- @function atexit
-- @tparam function fn called without arguments
-- @tparam[opt=0] number priority higher ones run first; equal ones in the order of registration
local function atexit(fn, priority)
    if type(fn) ~= "function" then
        error(("bad argument #1 to 'atexit' (function expected, got %s)"):format(type(fn)), 2)
    end
    if priority ~= nil and math.type(priority) == nil then
        error(("bad argument #2 to 'atexit' (number expected, got %s)"):format(type(priority)), 2)
    end
    entries[#entries + 1] = { fn = fn, priority = priority or 0, order = #entries }
    core.set_atexit(run_all)
end

return atexit
