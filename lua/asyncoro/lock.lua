-- SPDX-License-Identifier: MIT
--- Locks and conditions. Between two waits a coro needs no lock; these are for work that waits in its middle.
-- @module asyncoro.lock
local core <const> = require "asyncoro.core"

local current <const>, now <const>, waitq <const> = core.current, core.now, core.waitq

local function me(what)
    return current() or error(what .. ": only a coro can hold a lock", 3)
end

local function remaining(deadline)
    return deadline and math.max(deadline - now(), 0)
end

local function failed(what, code)
    return nil, ("%s: %s"):format(what, code == "timeout" and "timed out" or "the lock is closed"), code
end

-- Locks ------------------------------------------------------------------------------------------

local Lock <const> = { __name = "lock" }
Lock.__index = Lock

-- What `hold` gives: released at the end of its block.
local Guard <const> = { __name = "lock guard" }
Guard.__index = Guard

local function new_lock(reentrant)
    return setmetatable({ waiters = waitq(), depth = 0, reentrant = reentrant, closed = false, owner = nil }, Lock)
end

--- Make a lock: one coro holds it at a time, the others wait in the order in which they came.
-- @function lock
-- @treturn lock
local function lock()
    return new_lock(false)
end

--- Make a lock that its holder may acquire again; it is free after as many releases.
-- @function rlock
-- @treturn lock
local function rlock()
    return new_lock(true)
end

local function is_free(self)
    return self.owner == nil or not self.owner:is_alive()
end

local function take(self, coro)
    self.owner, self.depth = coro, 1
    return true
end

--- Wait until this coro holds the lock. A lock whose holder has ended without a release is free. Waits.
-- @function lock:acquire
-- @tparam[opt] number timeout seconds; nil waits for ever, 0 only tries
-- @treturn boolean true
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "timeout" or "closed"
-- @raise outside a coro, and when it is no rlock and this coro holds it already
function Lock:acquire(timeout)
    local coro <const>, deadline <const> = me "acquire", timeout and now() + timeout
    if self.owner == coro then
        if not self.reentrant then error("acquire: this coro holds the lock already (an rlock allows it)", 2) end
        self.depth = self.depth + 1
        return true
    end
    while not self.closed do
        if is_free(self) and self.waiters:is_empty() then return take(self, coro) end
        local sources <const> = { self.waiters, not is_free(self) and self.owner or nil }
        local index <const>, code <const> = core.wait_many(sources, remaining(deadline))
        if index == nil then return failed("acquire", "timeout") end
        if index == 1 then -- handed over, or closed
            if code then return failed("acquire", code) end
            return true
        end
        if is_free(self) then return take(self, coro) end
    end
    return failed("acquire", "closed")
end

-- Give the lock to the coro that waits longest.
local function pass_on(self)
    self.owner, self.depth = nil, 0
    local next <const> = self.waiters:wake()
    if next then take(self, next) end
end

--- Let the lock go; the coro that waits longest has it then. Does not wait.
-- @function lock:release
-- @raise when this coro does not hold it
function Lock:release()
    if self.owner == nil or self.owner ~= current() then
        error("release: this coro does not hold the lock", 2)
    end
    self.depth = self.depth - 1
    if self.depth == 0 then pass_on(self) end
end

--- Acquire the lock for a block: `local held <close> = lock:hold()`. Waits.
-- @function lock:hold
-- @tparam[opt] number timeout seconds; nil waits for ever
-- @treturn guard releases the lock when it is closed
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "timeout" or "closed"
function Lock:hold(timeout)
    local ok <const>, message <const>, code <const> = self:acquire(timeout)
    if not ok then return nil, message, code end
    return setmetatable({ lock = self, owner = self.owner }, Guard)
end

-- Release, once.
local function guard_close(self)
    local held <const> = self.lock
    self.lock = nil
    if held and held.owner == self.owner then held:release() end
end

Guard.close, Guard.__close = guard_close, guard_close

--- Who holds it.
-- @function lock:holder
-- @treturn ?coro nil when it is free
function Lock:holder()
    return not is_free(self) and self.owner or nil
end

--- Close it: every wait for it ends with "closed", now and later. Does not wait.
-- @function lock:close
function Lock:close()
    self.closed = true
    self.waiters:wake_all "closed"
end

Lock.__close = Lock.close

function Lock:__tostring()
    local kind <const> = self.reentrant and "rlock" or "lock"
    return is_free(self) and kind .. " (free)" or ("%s (held by %s)"):format(kind, tostring(self.owner))
end

-- Conditions -------------------------------------------------------------------------------------

local Condition <const> = { __name = "condition" }
Condition.__index = Condition

--- Make a condition: coros that hold its lock wait for others to notify them.
-- @function condition
-- @tparam[opt] lock lock of its own unless given
-- @treturn condition
local function condition(given)
    if given ~= nil and getmetatable(given) ~= Lock then error("condition: a lock expected", 2) end
    return setmetatable({ lock = given or new_lock(true), waiters = waitq() }, Condition)
end

for _, name in ipairs { "acquire", "release", "hold" } do
    Condition[name] = function(self, ...) return self.lock[name](self.lock, ...) end
end

local function check_held(self, what)
    if self.lock.owner == nil or self.lock.owner ~= current() then
        error(what .. ": this coro does not hold the lock of the condition", 3)
    end
end

local function reacquire(held, depth)
    if held:acquire() then held.depth = depth end
end

--- Release the lock, wait until notified, and acquire the lock again; it is held again whatever ends the wait, a cancel
-- too. Waits.
-- @function condition:wait
-- @tparam[opt] number timeout seconds; nil waits for ever
-- @treturn boolean true
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "timeout" or "closed"
-- @raise when this coro does not hold the lock
function Condition:wait(timeout)
    check_held(self, "wait")
    local depth <const> = self.lock.depth
    pass_on(self.lock)
    local ok <const>, reason <const> = pcall(self.waiters.park, self.waiters, timeout)
    core.shield(reacquire, self.lock, depth)
    if not ok then error(reason, 0) end
    if reason == true then return true end
    return failed("wait", reason or "timeout")
end

--- Wake coros that wait, the first come first. Does not wait.
-- @function condition:notify
-- @tparam[opt=1] integer n how many
-- @raise when this coro does not hold the lock
function Condition:notify(n)
    check_held(self, "notify")
    for _ = 1, n or 1 do
        if self.waiters:wake(true) == nil then break end
    end
end

--- Wake all coros that wait. Does not wait.
-- @function condition:notify_all
-- @raise when this coro does not hold the lock
function Condition:notify_all()
    check_held(self, "notify_all")
    self.waiters:wake_all(true)
end

--- Close it and its lock: every wait ends with "closed". Does not wait.
-- @function condition:close
function Condition:close()
    self.waiters:wake_all "closed"
    self.lock:close()
end

Condition.__close = Condition.close

function Condition:__tostring()
    return "condition of " .. tostring(self.lock)
end

-- How `select` waits for a lock: see asyncoro.select.
Lock.__select = {
    poll = function(self)
        if self.closed then return true, failed("acquire", "closed") end
        return is_free(self) and self.waiters:is_empty() and take(self, current())
    end,
    queue = function(self) return self.waiters end,
    done = function(_, code)
        if code then return failed("acquire", code) end
        return true
    end,
}

return { lock = lock, rlock = rlock, condition = condition }
