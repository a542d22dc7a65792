-- SPDX-License-Identifier: MIT
--- `require` inside a program: a module's loader may wait.
-- Lua's own `require` is a C function that cannot be suspended. This one does the same in Lua; a coro that requires a
-- module which another is loading waits for it.
-- @module asyncoro.require
local core <const> = require "asyncoro.core"

local original <const>, package <const> = require, package

-- Calls a function in place, from C: so the errors of loaders and searchers name the same places as below Lua's own.
local call <const> = core.run

-- name -> the load that is under way: `by`, the coro that does it, and `waiters`
local loads <const> = {}

-- coro -> the load that it waits for
local awaited <const> = {}

local function is_cancel(err)
    local meta <const> = type(err) == "userdata" and getmetatable(err)
    return meta and meta.__name == "asyncoro.cancel"
end

local function not_found(name, tried)
    return ("module '%s' not found:%s"):format(name, tried)
end

-- As Lua's own says it, whichever 5.4 it is: only those before 5.4.4 begin what a searcher says with a line end.
local function add(tried, text)
    text = tostring(text)
    return tried .. (text:sub(1, 1) == "\n" and "" or "\n\t") .. text
end

local function find_loader(name)
    if type(package.searchers) ~= "table" then return nil, "'package.searchers' must be a table" end
    local tried = ""
    for i = 1, math.huge do
        local searcher <const> = rawget(package.searchers, i)
        if searcher == nil then return nil, not_found(name, tried) end
        local loader <const>, data <const> = call(searcher, name)
        if type(loader) == "function" then return loader, data end
        if type(loader) == "string" or type(loader) == "number" then tried = add(tried, loader) end
    end
end

-- Load the module and keep in `load` how it went: true, the module and its loader data; or false, an error and whether
-- the position of the caller belongs before it.
local function load_module(name, load)
    local loader <const>, data <const> = find_loader(name)
    if not loader then
        load.ok, load.value, load.data = false, data, true
        return
    end
    local value <const> = call(loader, name, data)
    if value ~= nil then package.loaded[name] = value end
    if package.loaded[name] == nil then package.loaded[name] = true end
    load.ok, load.value, load.data = true, package.loaded[name], data
end

-- Would waiting for this load be waiting for ourselves?
local function is_circular(load, me)
    while load do
        if load.by == me then return true end
        load = awaited[load.by]
    end
    return false
end

-- Another coro loads it: wait until it has.
local function await(load, me)
    awaited[me] = load
    local _ <close> = setmetatable({}, { __close = function() awaited[me] = nil end })
    load.waiters:park()
end

-- The load is over, by an error or not: tell those who wait for it. One that was cancelled has no result, and one of
-- them begins anew.
local function conclude(load, name, err)
    loads[name] = nil
    if err ~= nil and not is_cancel(err) then load.ok, load.value = false, err end
    load.waiters:wake_all()
end

local function load_here(name, me)
    local load <const> = { by = me, waiters = core.waitq() }
    local _ <close> = setmetatable({}, {
        __close = function(_, err) conclude(load, name, err) end,
    })
    loads[name] = load
    load_module(name, load)
    return load
end

-- The load of the module that came to an end: ours, or that of another coro.
local function obtain(name, me)
    while true do
        local load <const> = loads[name]
        if load == nil or not load.by:is_alive() then return load_here(name, me) end
        if is_circular(load, me) then
            return { ok = false, value = ("loop or previous error loading module '%s'"):format(name), data = true }
        end
        await(load, me)
        if load.ok ~= nil then return load end
    end
end

local function waiting(...)
    local me <const>, name = core.current(), ...
    if me == nil then return original(...) end
    if type(name) == "number" then name = tostring(name) end
    if type(name) ~= "string" then
        local kind <const> = select("#", ...) == 0 and "no value" or type(name)
        error(("bad argument #1 to 'require' (string expected, got %s)"):format(kind), 2)
    end
    if package.loaded[name] then return package.loaded[name] end
    local load <const> = obtain(name, me)
    if load.ok then return load.value, load.data end
    error(load.value, load.data and 2 or 0)
end

return waiting
