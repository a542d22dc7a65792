-- SPDX-License-Identifier: MIT
--- Supervisors: coros that start others, watch them and start them again when they end.
-- The strategies and limits are those of Erlang/OTP's supervisor behaviour.
-- @module asyncoro.supervisor
local core <const> = require "asyncoro.core"
local log <const> = require "asyncoro.log"
local source <const> = require "asyncoro.source"

local Supervisor <const> = { __name = "supervisor" }
Supervisor.__index = Supervisor

local STRATEGIES <const> = { one_for_one = true, one_for_all = true, rest_for_one = true }
local RESTARTS <const> = { permanent = true, transient = true, temporary = true }
local OPTIONS <const> = {
    children = "table", strategy = "string", max_restarts = "number", period = "number", backoff = "number",
    max_backoff = "number", name = "string", keep = "boolean", daemon = "boolean", on_exit = "function",
}
local CHILD_OPTIONS <const> = {
    fn = "function", args = "table", name = "string", restart = "string", shutdown = "number", options = "table",
    supervisor = "table",
}

-- The first item of a request to a supervisor, and what a receive gives when there is no message.
local REQUEST <const>, NOTHING <const> = {}, {}

-- Options ----------------------------------------------------------------------------------------

local function check_fields(what, given, known)
    for key, value in pairs(given) do
        local wanted <const> = known[key]
        if wanted == nil then
            error(("supervisor: unknown %s '%s'"):format(what, tostring(key)), 0)
        elseif type(value) ~= wanted then
            error(("supervisor: %s '%s' must be a %s, not a %s"):format(what, key, wanted, type(value)), 0)
        elseif wanted == "number" and (value < 0 or value ~= value) then
            error(("supervisor: %s '%s' must be 0 or more, not %s"):format(what, key, value), 0)
        end
    end
end

local supervise, build

local function body_of(given, index)
    if given.fn and given.supervisor then
        error(("supervisor: child %d has both fn and supervisor"):format(index), 0)
    end
    if given.supervisor then
        build(given.supervisor) -- what is wrong in it is wrong now
        return function() return supervise(build(given.supervisor)) end
    end
    return given.fn or error(("supervisor: child %d has no fn"):format(index), 0)
end

local function child_of(given, index)
    if type(given) == "function" then given = { fn = given } end
    if type(given) ~= "table" then
        error(("supervisor: child %d must be a table or a function"):format(index), 0)
    end
    check_fields("field of a child", given, CHILD_OPTIONS)
    local fn <const>, restart <const> = body_of(given, index), given.restart or "permanent"
    if not RESTARTS[restart] then
        error(("supervisor: restart '%s': permanent, transient or temporary expected"):format(restart), 0)
    end
    local name <const> = given.name or given.supervisor and given.supervisor.name or source.name(fn)
    return {
        fn = fn, args = given.args or {}, restart = restart, shutdown = given.shutdown,
        name = name or "child " .. index, options = given.options or {}, streak = 0,
    }
end

function build(options)
    if type(options) ~= "table" then error("supervisor: a table expected, got a " .. type(options), 0) end
    check_fields("option", options, OPTIONS)
    local strategy <const> = options.strategy or "one_for_one"
    if not STRATEGIES[strategy] then
        error(("supervisor: strategy '%s': one_for_one, one_for_all or rest_for_one expected"):format(strategy), 0)
    end
    local self <const> = setmetatable({
        list = {}, times = {}, strategy = strategy, max_restarts = options.max_restarts or 3,
        period = options.period or 5, backoff = options.backoff or 0, max_backoff = options.max_backoff or 30,
        name = options.name or "supervisor", keep = options.keep, on_exit = options.on_exit,
    }, Supervisor)
    for index, given in ipairs(options.children or {}) do self.list[index] = child_of(given, index) end
    return self
end

-- Starting and stopping --------------------------------------------------------------------------

local function start(child)
    local options <const> = { name = child.name }
    for key, value in pairs(child.options) do options[key] = value end
    child.due, child.started = nil, core.now()
    child.coro = core.spawn(options, child.fn, table.unpack(child.args, 1, child.args.n or #child.args))
    core.monitor(child.coro)
end

local function describe(exit)
    if exit.reason ~= "failed" then return exit.reason end
    return tostring(exit.error)
end

-- Nobody else may hear of this end, so it is told here.
local function tell(self, child, exit)
    if self.on_exit then return self.on_exit(child.name, exit) end
    if exit.reason == "failed" then
        log:error("supervisor %s: %s failed: %s%s", self.name, child.name, describe(exit),
            exit.traceback and "\n" .. exit.traceback or "")
    end
end

-- End a child. Its exit message, when it comes, is of a coro that is nobody's child any more.
local function stop(self, child)
    local coro <const> = child.coro
    child.coro, child.due = nil, nil
    if coro == nil then return end
    coro:terminate()
    local ok <const>, err <const>, traceback <const> = coro:finish(child.shutdown)
    if ok == false and coro:status() == "failed" then
        tell(self, child, { coro = coro, reason = "failed", error = err, traceback = traceback })
    end
end

local function stop_range(self, first, last)
    for i = last, first, -1 do stop(self, self.list[i]) end
end

local function stop_all(self)
    stop_range(self, 1, #self.list)
end

-- Restarts ---------------------------------------------------------------------------------------

local function note_restart(self, child, exit)
    local now <const>, times <const> = core.now(), self.times
    times[#times + 1] = now
    while times[1] < now - self.period do table.remove(times, 1) end
    if #times > self.max_restarts then
        error(("supervisor %s: more than %d restarts in %g s; the last was of %s, which ended: %s")
            :format(self.name, self.max_restarts, self.period, child.name, describe(exit)), 0)
    end
end

-- How long to wait before a restart: longer each time, until a child has lived for a period.
local function pause_of(self, child)
    if core.now() - child.started > self.period then child.streak = 0 end
    child.streak = child.streak + 1
    return math.min(self.backoff * 2 ^ (child.streak - 1), self.max_backoff)
end

local function range_of(self, index)
    if self.strategy == "one_for_all" then return 1, #self.list end
    if self.strategy == "rest_for_one" then return index, #self.list end
    return index, index
end

-- The children that the end of number `index` concerns are stopped, the last first, and started again.
local function restart(self, index)
    local first <const>, last <const> = range_of(self, index)
    local due <const> = core.now() + pause_of(self, self.list[index])
    stop_range(self, first, last)
    for i = last, first, -1 do
        local child <const> = self.list[i]
        if child.restart == "temporary" then table.remove(self.list, i) else child.due = due end
    end
end

-- Start what is due, in order; the time of the next that is not.
local function start_due(self)
    local now <const>, next = core.now(), nil
    for _, child in ipairs(self.list) do
        if child.due and child.due <= now then
            start(child)
        elseif child.due and (next == nil or child.due < next) then
            next = child.due
        end
    end
    return next
end

local function index_of(self, field, value)
    for i, child in ipairs(self.list) do
        if child[field] == value then return i end
    end
end

local function wants_restart(child, exit)
    return child.restart == "permanent" or child.restart == "transient" and exit.reason ~= "finished"
end

local function on_exit(self, exit)
    local index <const> = index_of(self, "coro", exit.coro)
    if index == nil then return end
    local child <const> = self.list[index]
    child.coro = nil
    tell(self, child, exit)
    if wants_restart(child, exit) then
        note_restart(self, child, exit)
        restart(self, index)
    elseif child.restart == "temporary" then
        table.remove(self.list, index)
    end
end

-- The coro of a supervisor -----------------------------------------------------------------------

local requests <const> = {}

function requests.add(self, child)
    self.list[#self.list + 1] = child
    start(child)
    return { child.coro }
end

function requests.remove(self, name)
    local index <const> = index_of(self, "name", name)
    if index == nil then
        return { nil, ("remove: supervisor %s has no child '%s'"):format(self.name, name), "notfound" }
    end
    local child <const> = self.list[index]
    stop(self, child)
    table.remove(self.list, index)
    return { true }
end

local function is_exit(message)
    local meta <const> = getmetatable(message)
    return type(meta) == "table" and meta.__name == "asyncoro.exit"
end

local function act(self, message, reply)
    if is_exit(message) then
        on_exit(self, message)
    elseif reply and type(message) == "table" and message[1] == REQUEST then
        reply(requests[message[2]](self, message[3]))
    end
end

local function is_idle(self)
    for _, child in ipairs(self.list) do
        if child.coro or child.due then return false end
    end
    return not self.keep
end

-- Whatever ends it, its children end with it, the last first.
function supervise(self)
    local _ <close> = setmetatable({}, { __close = function() core.shield(stop_all, self) end })
    for _, child in ipairs(self.list) do start(child) end
    while not is_idle(self) do
        local next <const> = start_due(self)
        local message <const>, reply <const> = core.receive(next and math.max(next - core.now(), 0), NOTHING)
        if message ~= NOTHING then act(self, message, reply) end
    end
end

-- Methods ----------------------------------------------------------------------------------------

--- The coro of a child as it is now; each restart makes another.
-- @function supervisor:child
-- @tparam string name
-- @treturn ?coro nil when it does not run at the moment, or there is none of this name
function Supervisor:child(name)
    local index <const> = index_of(self, "name", name)
    local coro <const> = index and self.list[index].coro
    return coro and coro:is_alive() and coro or nil
end

--- The children that run now, in the order of their start.
-- @function supervisor:children
-- @treturn {coro,...}
function Supervisor:children()
    local list <const> = {}
    for _, child in ipairs(self.list) do
        if child.coro and child.coro:is_alive() then list[#list + 1] = child.coro end
    end
    return list
end

local function request(self, timeout, what, argument)
    if core.current() == self.runner then error(what .. ": a supervisor cannot wait for itself", 3) end
    local answer <const>, message <const>, code <const> = self.runner:call({ REQUEST, what, argument }, timeout)
    if answer then return table.unpack(answer, 1, answer[3] and 3 or 1) end
    if code == "notfound" then return nil, ("%s: supervisor %s has ended"):format(what, self.name), code end
    return nil, message, code
end

local function checked(fn, ...)
    local ok <const>, result <const> = pcall(fn, ...)
    if not ok then error(result, 3) end
    return result
end

--- Start one more child, the last in the order. Waits until the supervisor has done it.
-- @function supervisor:add
-- @tparam table|function child as in `children` of @{supervisor}
-- @tparam[opt] number timeout seconds; nil waits for ever
-- @treturn coro the child's
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "notfound" when the supervisor has ended, "timeout"
function Supervisor:add(child, timeout)
    return request(self, timeout, "add", checked(child_of, child, #self.list + 1))
end

--- Stop a child and forget it. Waits for its end.
-- @function supervisor:remove
-- @tparam string name
-- @tparam[opt] number timeout seconds; nil waits for ever
-- @treturn boolean true
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "notfound" when there is no such child, or the supervisor has ended; "timeout"
function Supervisor:remove(name, timeout)
    if type(name) ~= "string" then error("remove: a name expected, got a " .. type(name), 2) end
    return request(self, timeout, "remove", name)
end

--- The coro of the supervisor itself: to monitor, to name.
-- @function supervisor:coro
-- @treturn coro
function Supervisor:coro()
    return self.runner
end

--- Wait until the supervisor ends: when no child is left to be started, when it is stopped, or with an error when
-- children had to be started too often. Waits.
-- @function supervisor:finish
-- @tparam[opt] number timeout seconds; nil waits for ever
-- @return as coro:finish
function Supervisor:finish(timeout)
    return self.runner:finish(timeout)
end

--- Stop it and its children, the last one first, and wait until they have ended. Waits.
-- @function supervisor:stop
-- @tparam[opt] number timeout seconds; nil waits for ever
-- @treturn boolean true
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "timeout": it goes on being stopped
function Supervisor:stop(timeout)
    self.runner:close()
    local _, message <const>, code <const> = self.runner:finish(timeout)
    if code == "timeout" then return nil, message, code end
    return true
end

--- Stop it, and its children, without waiting for the end. Does not wait.
-- @function supervisor:close
-- @treturn boolean true
function Supervisor:close()
    return self.runner:close()
end

--- The same as `close`, as of a coro.
-- @function supervisor:terminate
-- @treturn boolean true
Supervisor.terminate = Supervisor.close

Supervisor.__close = Supervisor.close

function Supervisor:__tostring()
    return "supervisor " .. self.name
end

--- Start a supervisor: a coro that starts its children in order, and starts them again when they end. It ends when no
-- child runs or will be started, unless `keep` is true. Does not wait.
--
-- Options: `children`, a list of functions or of tables with
--
-- - `fn` and `args` (a list), or `supervisor` (the options of a supervisor that is the child),
-- - `name` (default: the function's declared name),
-- - `restart`: "permanent" (the default: always started again), "transient" (unless it finished), "temporary" (never),
-- - `shutdown`: seconds to wait for its end when it is stopped; nil: as long as it takes,
-- - `options` of `spawn`;
--
-- `strategy`: which others are stopped and started again with a child that ended: "one_for_one" (none, the default),
-- "one_for_all", "rest_for_one" (those after it); `max_restarts` (3) in `period` (5) seconds: at one more the supervisor
-- stops its children and fails; `backoff` (0): seconds to wait before a restart, doubled for each that follows until the
-- child has lived for a period, `max_backoff` (30) at most; `name`; `keep`; `daemon`; `on_exit(name, exit)`, called with
-- the exit message of each child that ended by itself, or failed when it was stopped: without it failures are logged.
-- @function supervisor
-- @tparam table options
-- @treturn supervisor
-- @raise on a wrong option
return function(options)
    local self <const> = checked(build, options)
    self.runner = core.spawn({ name = self.name, daemon = options.daemon or false }, supervise, self)
    return self
end
