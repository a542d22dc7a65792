-- SPDX-License-Identifier: MIT
--- Events: coros wait until one is set.
-- @module asyncoro.event
local core <const> = require "asyncoro.core"

local check_timeout <const> = core.check_timeout

local Event <const> = { __name = "event" }
Event.__index = Event

local function result(word)
    if word == true then return true end
    if word == "closed" then return nil, "wait: the event is closed", "closed" end
    return nil, "wait: timed out", "timeout"
end

--- Set it: all who wait go on, and later waits end at once. Does not wait.
-- @function event:set
function Event:set()
    self.is_on = true
    self.waiters:wake_all(true)
end

--- Unset it. Those who were waiting when it was set go on all the same. Does not wait.
-- @function event:clear
function Event:clear()
    self.is_on = false
end

--- Whether it is set.
-- @function event:is_set
-- @treturn boolean
function Event:is_set()
    return self.is_on
end

--- Wait until it is set. Waits.
-- @function event:wait
-- @tparam[opt] number timeout seconds; nil waits for ever, 0 only looks
-- @treturn boolean true
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "timeout", or "closed" when it is closed and was not set before
function Event:wait(timeout)
    if timeout ~= nil then check_timeout(timeout, "wait") end
    if self.is_on then return true end
    if self.closed then return result "closed" end
    return result(self.waiters:park(timeout))
end

--- Close it: waits for it end with "closed", and so do later ones unless it is set. Does not wait.
-- @function event:close
-- @treturn boolean true
function Event:close()
    self.closed = true
    self.waiters:wake_all "closed"
    return true
end

Event.__close = Event.close

function Event:__tostring()
    return ("event (%s)"):format(self.is_on and "set" or self.closed and "closed" or "not set")
end

Event.__select = {
    poll = function(self)
        if self.is_on then return true, true end
        if self.closed then return true, result "closed" end
    end,
    queue = function(self) return self.waiters end,
    done = function(_, word) return result(word) end,
}

--- Make an event, which is not set.
-- @function event
-- @treturn event
return function()
    return setmetatable({ waiters = core.waitq(), is_on = false, closed = false }, Event)
end
