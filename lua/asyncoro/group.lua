-- SPDX-License-Identifier: MIT
--- Structured concurrency: coros that end with the block that started them.
-- @module asyncoro.group
local class <const> = require "asyncoro.class"
local core <const> = require "asyncoro.core"

local Group <const> = { __name = "group" }
Group.__index = Group

-- After so many children those that have ended are forgotten; then after twice as many as are left.
local FIRST_SWEEP <const> = 64

--- What `group` raises. `error` is the first error, `errors` a list of all in the order in which they came,
-- `traceback` where the first was raised. tostring gives the text of the first; fields of the first error, when it is a
-- table, can be read from this one too.
-- @type group_error
local GroupError <const> = class("asyncoro.group_error")

function GroupError:__index(key)
    local first <const> = rawget(self, "error")
    return type(first) == "table" and first[key] or nil
end

function GroupError:__tostring()
    local others <const> = #self.errors - 1
    if others == 0 then return tostring(self.error) end
    return ("%s (and %d more error%s)"):format(tostring(self.error), others, others > 1 and "s" or "")
end

local function fail(self, err, traceback)
    local errors <const> = self.errors
    if err == nil then err = "(the error is nil)" end
    errors[#errors + 1] = err
    if #errors == 1 then self.traceback = traceback end
    self.cancelled = true
    self.scope:cancel()
end

-- The end of a child. A failure that its own body has not told the group of is that of a body swapped in later.
local function note_end(self, coro)
    if coro:status() ~= "failed" then return end
    local _, err <const>, traceback <const> = coro:finish(0)
    if self.told[coro] then
        self.traceback = self.traceback or self.told[coro] == 1 and traceback or nil
        self.told[coro] = nil
    else
        fail(self, err, traceback)
    end
end

local function settle(self, ok, ...)
    if ok then return ... end
    local err <const> = ...
    if not core.is_cancel(err) then
        local coro <const> = core.current()
        core.answer_for(coro)
        fail(self, err)
        self.told[coro] = #self.errors
    end
    error(err, 0)
end

-- The body of every child: its failure cancels the group at once.
local function child(self, fn, ...)
    return settle(self, xpcall(fn, core.keep_traceback, ...))
end

-- Forget children that have ended.
local function sweep(self)
    local alive <const> = {}
    for _, coro in ipairs(self.list) do
        if coro:is_alive() then
            alive[#alive + 1] = coro
        else
            note_end(self, coro)
        end
    end
    self.list, self.limit = alive, math.max(FIRST_SWEEP, 2 * #alive)
end

local function adopt(self, coro, fn)
    core.named_after(coro, fn)
    if #self.list >= self.limit then sweep(self) end
    self.list[#self.list + 1] = coro
    if self.cancelled then coro:terminate() end
    return coro
end

--- Start a child of the group. Children may start further ones. In a group that is being cancelled it runs nothing.
-- Does not wait.
-- @function group:spawn
-- @tparam[opt] table options as for `asyncoro.spawn`
-- @tparam function fn
-- @param ... its arguments
-- @treturn coro
-- @raise when the group has ended
function Group:spawn(options, ...)
    if not self.open then error("spawn: the group has ended", 2) end
    if type(options) == "function" then return adopt(self, core.spawn(child, self, options, ...), options) end
    local fn <const> = ...
    if type(options) ~= "table" or type(fn) ~= "function" then error("spawn: a function expected", 2) end
    return adopt(self, core.spawn(options, child, self, ...), fn)
end

--- Cancel all children and the function of the group, which then returns nil, message, "canceled". Any coro may do it.
-- Does not wait.
-- @function group:cancel
-- @treturn boolean true
function Group:cancel()
    if self.open then
        self.cancelled = true
        self.scope:cancel()
    end
    return true
end

--- The children that have not ended.
-- @function group:children
-- @treturn {coro,...}
function Group:children()
    sweep(self)
    return table.move(self.list, 1, #self.list, 1, {})
end

function Group:__tostring()
    local count = 0
    for _, coro in ipairs(self.list) do
        if coro:is_alive() then count = count + 1 end
    end
    return ("group (%s)"):format(self.open and count .. " alive" or "ended")
end

-- Wait until no child is left, those included that are started meanwhile.
local function join(self)
    while true do
        local list <const> = self.list
        local coro <const> = list[#list]
        if coro == nil then return end
        if coro:is_alive() then
            coro:finish()
        else
            list[#list] = nil
            note_end(self, coro)
        end
    end
end

local function stop(self)
    self.cancelled = true
    for _, coro in ipairs(self.list) do coro:terminate() end
    join(self)
    self.open = false
end

-- Also for an error that the leash raises in the middle of the code here.
local Stop <const> = {}

function Stop:__close()
    if self.group.open then core.shield(stop, self.group) end
end

local function joined(self, ok, ...)
    if ok then
        join(self)
        return ...
    end
    local err <const> = ...
    if not core.is_cancel(err) then fail(self, err, self.trace) end
    error(err, 0)
end

local function body(scope, self, fn)
    self.scope, self.open = scope, true
    return joined(self, xpcall(fn, function(err)
        self.trace = debug.traceback(nil, 2)
        return err
    end, self))
end

local function raise(self)
    local traceback <const> = self.traceback or debug.traceback(nil, 2)
    local err <const> = setmetatable(
        { error = self.errors[1], errors = self.errors, traceback = traceback }, GroupError)
    core.set_traceback(err, traceback)
    error(err, 0)
end

local function conclude(self, ok, done, ...)
    if ok and done and #self.errors == 0 then
        self.open = false
        return ...
    end
    core.shield(stop, self)
    if #self.errors > 0 then raise(self) end
    if not ok then error(done, 0) end
    return nil, "group: canceled", "canceled"
end

--- Run fn(group) and wait until every child has ended that was started with `group:spawn`. The first error, of fn or of
-- a child, cancels all the others, and is raised when they have ended. A cancel from outside cancels the children too,
-- and goes on when they have ended. Waits.
-- @function group
-- @tparam function fn
-- @return what fn returns
-- @treturn[2] nil when group:cancel was called
-- @treturn[2] string message
-- @treturn[2] string "canceled"
-- @raise a @{group_error} with the first error and all others
-- @usage asyncoro.group(function(group)
--     for _, host in ipairs(hosts) do group:spawn(check, host) end
-- end)
return function(fn)
    if type(fn) ~= "function" then error("group: a function expected, got a " .. type(fn), 2) end
    if core.current() == nil then error("group: only a coro can have a group: call it inside asyncoro.run", 2) end
    local self <const> = setmetatable({
        list = {}, limit = FIRST_SWEEP, errors = {}, told = {}, open = false, cancelled = false,
    }, Group)
    local _ <close> = setmetatable({ group = self }, Stop)
    return conclude(self, pcall(core.scoped, body, self, fn))
end
