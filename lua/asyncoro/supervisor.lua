-- SPDX-License-Identifier: MIT
--- Supervisors: coros that start others, watch them and start them again when they end.
-- The strategies and limits are those of Erlang/OTP's supervisor behaviour.
-- @module asyncoro.supervisor
local core <const> = require "asyncoro.core"
local source <const> = require "asyncoro.source"

local Supervisor <const> = { __name = "supervisor" }
Supervisor.__index = Supervisor

local STRATEGIES <const> = { one_for_one = true, one_for_all = true, rest_for_one = true }
local RESTARTS <const> = { permanent = true, transient = true, temporary = true }
local OPTIONS <const> = {
    children = "table", strategy = "string", max_restarts = "number", period = "number", backoff = "number",
    name = "string",
}
local CHILD_OPTIONS <const> = {
    fn = "function", args = "table", name = "string", restart = "string", shutdown = "number", options = "table",
}

local function check_fields(what, given, known)
    for key, value in pairs(given) do
        local wanted <const> = known[key]
        if wanted == nil then
            error(("supervisor: unknown %s '%s'"):format(what, tostring(key)), 4)
        elseif type(value) ~= wanted then
            error(("supervisor: %s '%s' must be a %s, not a %s"):format(what, key, wanted, type(value)), 4)
        end
    end
end

local function child_of(given, index)
    if type(given) == "function" then given = { fn = given } end
    if type(given) ~= "table" then error(("supervisor: child %d must be a table or a function"):format(index), 3) end
    check_fields("field of a child", given, CHILD_OPTIONS)
    if given.fn == nil then error(("supervisor: child %d has no fn"):format(index), 3) end
    local restart <const> = given.restart or "permanent"
    if not RESTARTS[restart] then
        error(("supervisor: restart '%s': permanent, transient or temporary expected"):format(restart), 3)
    end
    return {
        fn = given.fn, args = given.args or {}, restart = restart, shutdown = given.shutdown,
        name = given.name or source.name(given.fn) or "child " .. index, options = given.options or {},
    }
end

-- Starting and stopping --------------------------------------------------------------------------

local function start(child)
    local options <const> = { name = child.name }
    for key, value in pairs(child.options) do options[key] = value end
    child.coro = core.spawn(options, child.fn, table.unpack(child.args, 1, child.args.n or #child.args))
    core.monitor(child.coro)
end

-- Ends a child; its exit message, if it still comes, is of a coro that nobody knows any more.
local function stop(child)
    local coro <const> = child.coro
    child.coro = nil
    if coro == nil then return end
    coro:terminate()
    coro:finish(child.shutdown)
end

local function stop_from(self, first)
    for i = #self.list, first, -1 do stop(self.list[i]) end
end

-- The children that a failure of number `index` concerns are stopped, the last first, and started again.
local function restart(self, index)
    local first, last = index, index
    if self.strategy == "one_for_all" then
        first, last = 1, #self.list
    elseif self.strategy == "rest_for_one" then
        last = #self.list
    end
    for i = last, first, -1 do stop(self.list[i]) end
    if self.backoff > 0 then core.sleep(self.backoff) end
    for i = first, last do
        local child <const> = self.list[i]
        if i == index or child.restart ~= "temporary" then start(child) end
    end
end

-- Limits -----------------------------------------------------------------------------------------

local function reason_of(exit)
    return exit.error ~= nil and tostring(exit.error) or exit.reason
end

local function note_restart(self, child, exit)
    local now <const>, times <const> = core.now(), self.times
    times[#times + 1] = now
    while times[1] and times[1] < now - self.period do table.remove(times, 1) end
    if #times > self.max_restarts then
        error(("supervisor %s: more than %d restarts in %g s; the last was of %s, which ended: %s")
            :format(self.name, self.max_restarts, self.period, child.name, reason_of(exit)), 0)
    end
end

local function wants_restart(child, exit)
    return child.restart == "permanent" or child.restart == "transient" and exit.reason ~= "finished"
end

local function index_of(self, coro)
    for i, child in ipairs(self.list) do
        if child.coro == coro then return i end
    end
end

local function any_alive(self)
    for _, child in ipairs(self.list) do
        if child.coro then return true end
    end
    return false
end

local function on_exit(self, exit)
    local index <const> = index_of(self, exit.coro)
    if index == nil then return end
    local child <const> = self.list[index]
    child.coro = nil
    if wants_restart(child, exit) then
        note_restart(self, child, exit)
        restart(self, index)
    end
end

local function is_exit(message)
    local meta <const> = getmetatable(message)
    return type(meta) == "table" and meta.__name == "asyncoro.exit"
end

-- Whatever ends it, its children end with it, the last first.
local function supervise(self)
    local _ <close> = setmetatable({}, { __close = function() core.shield(stop_from, self, 1) end })
    for _, child in ipairs(self.list) do start(child) end
    while any_alive(self) do
        local message <const> = core.receive()
        if is_exit(message) then on_exit(self, message) end
    end
end

-- Methods ----------------------------------------------------------------------------------------

--- The coro of a child as it is now.
-- @function supervisor:child
-- @tparam string name
-- @treturn ?coro nil when it does not run at the moment
function Supervisor:child(name)
    for _, child in ipairs(self.list) do
        if child.name == name then return child.coro end
    end
end

--- The children that run now.
-- @function supervisor:children
-- @treturn {coro,...}
function Supervisor:children()
    local list <const> = {}
    for _, child in ipairs(self.list) do list[#list + 1] = child.coro end
    return list
end

--- The coro of the supervisor itself: to monitor, to name, to put under another supervisor.
-- @function supervisor:coro
-- @treturn coro
function Supervisor:coro()
    return self.self
end

--- Wait until the supervisor ends: when no child is left to be started, when it is stopped, or with an error when a
-- child had to be started too often. Waits.
-- @function supervisor:finish
-- @tparam[opt] number timeout seconds; nil waits for ever
-- @return as coro:finish
function Supervisor:finish(timeout)
    return self.self:finish(timeout)
end

--- Stop it and its children, the last one first, and wait until they have ended. Waits.
-- @function supervisor:stop
-- @tparam[opt] number timeout seconds; nil waits for ever
-- @treturn boolean true
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "timeout"
function Supervisor:stop(timeout)
    self:close()
    local _, message <const>, code <const> = self.self:finish(timeout)
    if code == "timeout" then return nil, message, code end
    return true
end

--- Stop it; does not wait for the end. Idempotent.
-- @function supervisor:close
function Supervisor:close()
    self.self:terminate()
end

Supervisor.__close = Supervisor.close

function Supervisor:__tostring()
    return "supervisor " .. self.name
end

--- Start a supervisor: a coro that starts its children in order, and starts them again when they end. Does not wait.
-- @function supervisor
-- @tparam table options `children`: a list of functions, or of tables with `fn`, `args` (a list), `name`, `restart`
-- ("permanent": always started again; "transient": unless it finished; "temporary": never), `shutdown` (seconds to wait
-- for its end when it is stopped; nil: as long as it takes), `options` (of spawn). `strategy`: which children are started
-- again with the one that ended: "one_for_one" (none else), "one_for_all", "rest_for_one" (those after it).
-- `max_restarts` (3) in `period` (5) seconds; one more, and the supervisor fails. `backoff` (0): seconds to wait before a
-- restart. `name`.
-- @treturn supervisor
-- @raise on a wrong option
return function(options)
    if type(options) ~= "table" then error("supervisor: a table expected", 2) end
    check_fields("option", options, OPTIONS)
    local strategy <const> = options.strategy or "one_for_one"
    if not STRATEGIES[strategy] then
        error(("supervisor: strategy '%s': one_for_one, one_for_all or rest_for_one expected"):format(strategy), 2)
    end
    local self <const> = setmetatable({
        list = {}, times = {}, strategy = strategy, max_restarts = options.max_restarts or 3,
        period = options.period or 5, backoff = options.backoff or 0, name = options.name or "supervisor",
    }, Supervisor)
    for index, given in ipairs(options.children or {}) do self.list[index] = child_of(given, index) end
    self.self = core.spawn({ name = self.name }, supervise, self)
    return self
end
