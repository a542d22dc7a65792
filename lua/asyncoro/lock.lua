-- SPDX-License-Identifier: MIT
--- Locks and conditions. Between two waits a coro needs no lock; these are for work that waits in its middle.
-- @module asyncoro.lock
local core <const> = require "asyncoro.core"

local check_timeout <const>, lock_restore <const> = core.check_timeout, core.lock_restore

--- Make a lock: one coro holds it at a time, the others wait in the order in which they came.
-- @function lock
-- @treturn lock
local function lock()
    return core.lock(false)
end

--- Make a lock that its holder may acquire again; it is free after as many releases.
-- @function rlock
-- @treturn lock
local function rlock()
    return core.lock(true)
end

local Lock <const> = getmetatable(lock())

local function tried(ok, word, code)
    if code == "timeout" then return false end
    if code then return true, nil, word, code end
    if word then return true, ok, word end
    return true, ok
end

Lock.__select = {
    poll = function(self) return tried(self:acquire(0)) end,
    queue = function(self) return self end,
    done = function(_, ok, abandoned)
        if not ok then return nil, "acquire: the lock is closed", "closed" end
        if abandoned then return true, "abandoned" end
        return true
    end,
}

-- Conditions -------------------------------------------------------------------------------------

local Condition <const> = { __name = "condition" }
Condition.__index = Condition

--- Make a condition: coros that hold its lock wait for others to notify them. Its field `lock` is the lock.
-- @function condition
-- @tparam[opt] lock lock an rlock of its own unless given
-- @treturn condition
local function condition(given)
    if given ~= nil and getmetatable(given) ~= Lock then
        error("condition: a lock expected, got a " .. type(given), 2)
    end
    return setmetatable({ lock = given or rlock(), waiters = core.waitq(), closed = false }, Condition)
end

--- Acquire its lock. See `lock:acquire`. Waits.
-- @function condition:acquire
-- @tparam[opt] number timeout seconds
-- @return as lock:acquire
function Condition:acquire(timeout)
    return self.lock:acquire(timeout)
end

--- Acquire its lock for a block. See `lock:hold`. Waits.
-- @function condition:hold
-- @tparam[opt] number timeout seconds
-- @return as lock:hold
function Condition:hold(timeout)
    return self.lock:hold(timeout)
end

local function check_held(self, what)
    local holder <const> = self.lock:holder()
    if holder == nil or holder ~= core.current() then
        error(what .. ": this coro does not hold the lock of the condition", 3)
    end
end

--- Release its lock. See `lock:release`. Does not wait.
-- @function condition:release
-- @treturn boolean true
-- @raise when this coro does not hold it
function Condition:release()
    check_held(self, "release")
    return self.lock:release()
end

local function failed(code)
    return nil, code == "timeout" and "wait: timed out" or "wait: the condition is closed", code
end

local function acquire_again(held, depth)
    local ok <const>, word <const> = held:acquire()
    if not ok then return nil end
    lock_restore(held, depth)
    return word
end

-- The wait has ended, somehow. The lock comes first: also after a cancel, which must not disturb that.
local function woken(self, depth, ok, reason)
    local held <const> = self.lock
    local got <const>, word = held:acquire(0)
    if got then
        lock_restore(held, depth)
    else
        word = core.shield(acquire_again, held, depth)
    end
    if not ok then error(reason, 0) end
    if reason ~= true then return failed(reason or "timeout") end
    if word then return true, word end
    return true
end

--- Release the lock, wait until notified, and acquire the lock again. It is held again whatever ends the wait: a
-- time-out and a cancel too. Waits.
-- @function condition:wait
-- @tparam[opt] number timeout seconds to be notified; nil waits for ever
-- @treturn boolean true
-- @treturn ?string "abandoned", as of `lock:acquire`
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "timeout" or "closed"
-- @raise when this coro does not hold the lock
function Condition:wait(timeout)
    if timeout ~= nil then check_timeout(timeout, "wait") end
    check_held(self, "wait")
    if self.closed then return failed "closed" end
    local depth <const> = core.lock_leave(self.lock)
    return woken(self, depth, pcall(self.waiters.park, self.waiters, timeout))
end

--- Wake coros that wait, those that came first. The caller may hold the lock, but need not. Does not wait.
-- @function condition:notify
-- @tparam[opt=1] integer n how many at most
-- @treturn integer how many
function Condition:notify(n)
    n = n or 1
    if math.type(n) ~= "integer" or n < 0 then error("notify: n must be an integer of 0 or more", 2) end
    for i = 1, n do
        if not self.waiters:wake(true) then return i - 1 end
    end
    return n
end

--- Wake all coros that wait. Does not wait.
-- @function condition:notify_all
-- @treturn integer how many
function Condition:notify_all()
    return self.waiters:wake_all(true)
end

--- Close it: every wait for a notification ends with "closed", now and later. The lock stays as it is. Does not wait.
-- @function condition:close
-- @treturn boolean true
function Condition:close()
    self.closed = true
    self.waiters:wake_all "closed"
    return true
end

Condition.__close = Condition.close

function Condition:__tostring()
    return ("condition of %s%s"):format(self.lock, self.closed and " (closed)" or "")
end

return { lock = lock, rlock = rlock, condition = condition }
