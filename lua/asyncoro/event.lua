-- SPDX-License-Identifier: MIT
--- Events: coros wait until one is set.
-- @module asyncoro.event
local core <const> = require "asyncoro.core"

local Event <const> = { __name = "event" }
Event.__index = Event

local function failed(code)
    return nil, code == "timeout" and "wait: timed out" or "wait: the event is closed", code
end

local function result(word)
    if word == true then return true end
    return failed(word or "timeout")
end

--- Set it: all who wait go on, and later waits end at once. Does not wait.
-- @function event:set
function Event:set()
    self.is_on = true
    self.waiters:wake_all(true)
end

--- Unset it. Does not wait.
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
-- @treturn[2] string "timeout" or "closed"
function Event:wait(timeout)
    if self.is_on then return true end
    if self.closed then return failed "closed" end
    return result(self.waiters:park(timeout))
end

--- Close it: every wait for it ends with "closed". Does not wait.
-- @function event:close
function Event:close()
    self.closed = true
    self.waiters:wake_all "closed"
end

Event.__close = Event.close

function Event:__tostring()
    return self.is_on and "event (set)" or "event"
end

Event.__select = {
    poll = function(self)
        if self.is_on then return true, true end
        if self.closed then return true, failed "closed" end
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
