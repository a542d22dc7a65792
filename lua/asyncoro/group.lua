-- SPDX-License-Identifier: MIT
--- Structured concurrency: coros that end with the block that started them.
-- @module asyncoro.group
local core <const> = require "asyncoro.core"
local source <const> = require "asyncoro.source"

local Group <const> = { __name = "group" }
Group.__index = Group

-- What is raised when children have failed.
local GroupError <const> = { __name = "group error" }
GroupError.__index = GroupError

function GroupError:__tostring()
    local others <const> = #self.errors - 1
    return tostring(self.error) .. (others > 0 and (" (and %d more errors)"):format(others) or "")
end

local function is_cancel(err)
    local meta <const> = type(err) == "userdata" and getmetatable(err)
    return meta and meta.__name == "asyncoro.cancel"
end

-- The body of every child: its failure cancels the group at once.
local function child(self, fn, ...)
    local trace = nil
    local results <const> = table.pack(xpcall(fn, function(err)
        if not is_cancel(err) then trace = debug.traceback(nil, 2) end
        return err
    end, ...))
    if results[1] then return table.unpack(results, 2, results.n) end
    if not is_cancel(results[2]) then
        self.errors[#self.errors + 1] = results[2]
        self.traceback = self.traceback or trace
        self.scope:cancel()
    end
    error(results[2], 0)
end

--- Start a child of the group. Does not wait.
-- @function group:spawn
-- @tparam[opt] table options as for asyncoro.spawn
-- @tparam function fn
-- @param ... its arguments
-- @treturn coro
-- @raise when the group has ended or was cancelled
function Group:spawn(options, fn, ...)
    if type(options) == "function" then return self:spawn({}, options, fn, ...) end
    if type(options) ~= "table" or type(fn) ~= "function" then error("spawn: a function expected", 2) end
    if not self.open then error("spawn: the group has ended", 2) end
    local given <const> = { name = source.name(fn) }
    for key, value in pairs(options) do given[key] = value end
    local coro <const> = core.spawn(given, child, self, fn, ...)
    self.children[#self.children + 1] = coro
    return coro
end

--- Cancel all children and the function of the group; `group` returns nil, message, "canceled". Does not wait.
-- @function group:cancel
function Group:cancel()
    self.open = false
    self.scope:cancel()
end

function Group:__tostring()
    return ("group (%d coros)"):format(#self.children)
end

local function join(self)
    local at = 1
    while self.children[at] do -- children may start further ones
        self.children[at]:finish()
        self.children[at] = false
        at = at + 1
    end
end

local function cancel_children(self)
    self.open = false
    for _, coro in ipairs(self.children) do
        if coro then coro:terminate() end
    end
    for _, coro in ipairs(self.children) do
        if coro then coro:finish() end
    end
end

local function body(scope, self, fn)
    self.scope = scope
    local results <const> = table.pack(fn(self))
    join(self)
    self.open = false
    return table.unpack(results, 1, results.n)
end

local function conclude(self, ok, done, ...)
    if ok and done then return ... end
    core.shield(cancel_children, self)
    if #self.errors > 0 then
        error(setmetatable({ error = self.errors[1], errors = self.errors, traceback = self.traceback }, GroupError), 0)
    end
    if not ok then error(done, 0) end
    return nil, "group: canceled", "canceled"
end

--- Run fn(group) and wait until every child it started has ended. The first error, of fn or of a child, cancels all the
-- others; it is raised when they have ended. So does a cancel from outside. Waits.
-- @function group
-- @tparam function fn
-- @return what fn returns
-- @treturn[2] nil when group:cancel was called
-- @treturn[2] string message
-- @treturn[2] string "canceled"
-- @raise the error of fn; or, when a child failed, an object with `error` (the first child's), `errors` (a list of all),
-- `traceback`, and the text of the first as its tostring
-- @usage asyncoro.group(function(group)
--     for _, host in ipairs(hosts) do group:spawn(check, host) end
-- end)
return function(fn)
    if type(fn) ~= "function" then error("group: a function expected", 2) end
    local self <const> = setmetatable({ children = {}, errors = {}, open = true }, Group)
    return conclude(self, pcall(core.scoped, body, self, fn))
end
