-- SPDX-License-Identifier: MIT
--- `require` inside a program: a module's loader may wait.
-- Lua's own `require` is a C function that cannot be suspended. This one does the same in Lua; a coro that requires a
-- module which another is loading waits for it.
-- @module asyncoro.require
local core <const> = require "asyncoro.core"

local original <const> = require

-- name -> the load that is under way: who does it, and who waits for it
local loading <const> = {}

local function find_loader(name)
    local tried <const> = {}
    for _, searcher in ipairs(package.searchers) do
        local loader <const>, data <const> = searcher(name)
        if type(loader) == "function" then return loader, data end
        if type(loader) == "string" then tried[#tried + 1] = loader end
    end
    error(("module '%s' not found:%s"):format(name, table.concat(tried):gsub("^([^\n])", "\n\t%1")), 3)
end

local function load_module(name)
    local loader <const>, data <const> = find_loader(name)
    local value <const> = loader(name, data)
    if value ~= nil then package.loaded[name] = value end
    if package.loaded[name] == nil then package.loaded[name] = true end
    return package.loaded[name], data
end

-- Would waiting for this load be waiting for ourselves?
local function is_circular(load, me)
    while load do
        if load.by == me then return true end
        load = load.by and loading[load.by]
    end
    return false
end

-- Another coro loads it: wait until it has, and see how it went.
local function await(name, load, me)
    if is_circular(load, me) then
        error(("loop or previous error loading module '%s'"):format(name), 3)
    end
    loading[me] = load
    load.waiters[#load.waiters + 1] = me
    while not load.done do core.suspend() end
    loading[me] = nil
    if not load.ok then error(load.data, 0) end
    return package.loaded[name], load.data
end

local function waiting(name)
    if type(name) ~= "string" then return original(name) end
    if package.loaded[name] ~= nil then return package.loaded[name] end
    local me <const> = core.current()
    if me == nil then return original(name) end
    if loading[name] then return await(name, loading[name], me) end
    local load <const> = { by = me, waiters = {} }
    local function finish(ok, ...)
        loading[name], load.done, load.ok = nil, true, ok
        load.data = select(ok and 2 or 1, ...)
        for _, coro in ipairs(load.waiters) do coro:resume() end
        if not ok then error((...), 0) end
        return ...
    end
    loading[name] = load
    return finish(xpcall(load_module, function(err) return err end, name))
end

return { waiting = waiting, original = original }
