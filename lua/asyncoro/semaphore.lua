-- SPDX-License-Identifier: MIT
--- Semaphores: so many coros at once may have what they guard.
-- @module asyncoro.semaphore
local core <const> = require "asyncoro.core"

local check_timeout <const> = core.check_timeout

local Semaphore <const> = { __name = "semaphore" }
Semaphore.__index = Semaphore

local Guard <const> = { __name = "guard of a semaphore" }
Guard.__index = Guard

local function result(word)
    if word == true then return true end
    if word == "closed" then return nil, "acquire: the semaphore is closed", "closed" end
    return nil, "acquire: timed out", "timeout"
end

-- Nobody waits while a place is free, so whoever finds one may have it.
local function try(self)
    if self.free == 0 then return false end
    self.free = self.free - 1
    return true
end

local function acquire(self, timeout)
    if self.closed then return result "closed" end
    if try(self) then return true end
    return result(self.waiters:park(timeout))
end

--- Take one of the places; wait for one, in the order in which coros came. Waits.
-- @function semaphore:acquire
-- @tparam[opt] number timeout seconds; nil waits for ever, 0 only tries
-- @treturn boolean true
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "timeout" or "closed"
function Semaphore:acquire(timeout)
    if timeout ~= nil then check_timeout(timeout, "acquire") end
    return acquire(self, timeout)
end

--- Give places back; whoever waits longest gets one. Any coro may do it, and there may be more places then than at the
-- beginning. Does not wait.
-- @function semaphore:release
-- @tparam[opt=1] integer n how many
-- @treturn boolean true
function Semaphore:release(n)
    n = n or 1
    if math.type(n) ~= "integer" or n < 0 then error("release: n must be an integer of 0 or more", 2) end
    while n > 0 and self.waiters:wake(true) do n = n - 1 end
    self.free = self.free + n
    return true
end

local function held(self, guard, ok, ...)
    if not ok then return ok, ... end
    guard.semaphore = self
    return guard
end

--- Take a place for a block: `local place <close> = semaphore:hold()`. Waits.
-- @function semaphore:hold
-- @tparam[opt] number timeout seconds; nil waits for ever, 0 only tries
-- @treturn guard gives the place back when it is closed: at the end of its block, or by `guard:close()`
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "timeout" or "closed"
function Semaphore:hold(timeout)
    if timeout ~= nil then check_timeout(timeout, "hold") end
    return held(self, setmetatable({}, Guard), acquire(self, timeout))
end

--- Give the place back, unless that was done. Does not wait.
-- @function guard:close
-- @treturn boolean true
function Guard:close()
    local semaphore <const> = self.semaphore
    self.semaphore = nil
    if semaphore then semaphore:release() end
    return true
end

Guard.__close = Guard.close

function Guard:__tostring()
    return self.semaphore and "guard of a semaphore" or "guard of a semaphore (released)"
end

--- How many places are free.
-- @function semaphore:available
-- @treturn integer
function Semaphore:available()
    return self.free
end

--- Close it: waits for it end with "closed", and so do later ones. Places may still be given back. Does not wait.
-- @function semaphore:close
-- @treturn boolean true
function Semaphore:close()
    self.closed = true
    self.waiters:wake_all "closed"
    return true
end

Semaphore.__close = Semaphore.close

function Semaphore:__tostring()
    return ("semaphore (%s)"):format(self.closed and "closed" or self.free .. " free")
end

Semaphore.__select = {
    poll = function(self)
        if self.closed then return true, result "closed" end
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
    n = n == nil and 1 or n
    if math.type(n) ~= "integer" or n < 0 then error("semaphore: n must be an integer of 0 or more", 2) end
    return setmetatable({ waiters = core.waitq(), free = n, closed = false }, Semaphore)
end
