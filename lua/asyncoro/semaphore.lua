-- SPDX-License-Identifier: MIT
--- Semaphores: so many coros at once may have what they guard.
-- @module asyncoro.semaphore
local core <const> = require "asyncoro.core"

local Semaphore <const> = { __name = "semaphore" }
Semaphore.__index = Semaphore

local Guard <const> = { __name = "semaphore guard" }
Guard.__index = Guard

local function failed(code)
    return nil, code == "timeout" and "acquire: timed out" or "acquire: the semaphore is closed", code
end

local function result(word)
    if word == true then return true end
    return failed(word or "timeout")
end

local function try(self)
    if self.free == 0 or not self.waiters:is_empty() then return false end
    self.free = self.free - 1
    return true
end

--- Take one of the places; wait for one, in the order in which coros came. Waits.
-- @function semaphore:acquire
-- @tparam[opt] number timeout seconds; nil waits for ever, 0 only tries
-- @treturn boolean true
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "timeout" or "closed"
function Semaphore:acquire(timeout)
    if self.closed then return failed "closed" end
    if try(self) then return true end
    return result(self.waiters:park(timeout))
end

--- Give places back; whoever waits longest gets one. Does not wait. Any coro may do it.
-- @function semaphore:release
-- @tparam[opt=1] integer n how many
function Semaphore:release(n)
    for _ = 1, n or 1 do
        if self.waiters:wake(true) == nil then self.free = self.free + 1 end
    end
end

--- Take a place for a block: `local place <close> = semaphore:hold()`. Waits.
-- @function semaphore:hold
-- @tparam[opt] number timeout seconds; nil waits for ever
-- @treturn guard gives the place back when it is closed
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "timeout" or "closed"
function Semaphore:hold(timeout)
    local ok <const>, message <const>, code <const> = self:acquire(timeout)
    if not ok then return nil, message, code end
    return setmetatable({ semaphore = self }, Guard)
end

-- Give the place back, once.
local function guard_close(self)
    local held <const> = self.semaphore
    self.semaphore = nil
    if held then held:release() end
end

Guard.close, Guard.__close = guard_close, guard_close

--- How many places are free.
-- @function semaphore:available
-- @treturn integer
function Semaphore:available()
    return self.free
end

--- Close it: every wait for it ends with "closed". Does not wait.
-- @function semaphore:close
function Semaphore:close()
    self.closed = true
    self.waiters:wake_all "closed"
end

Semaphore.__close = Semaphore.close

function Semaphore:__tostring()
    return ("semaphore (%d free)"):format(self.free)
end

Semaphore.__select = {
    poll = function(self)
        if self.closed then return true, failed "closed" end
        return try(self), true
    end,
    queue = function(self) return self.waiters end,
    done = function(_, word) return result(word) end,
}

--- Make a semaphore.
-- @function semaphore
-- @tparam[opt=1] integer n how many places it has
-- @treturn semaphore
return function(n)
    n = n or 1
    if math.type(n) ~= "integer" or n < 0 then error("semaphore: n must be an integer of 0 or more", 2) end
    return setmetatable({ waiters = core.waitq(), free = n, closed = false }, Semaphore)
end
