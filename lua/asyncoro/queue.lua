-- SPDX-License-Identifier: MIT
--- Queues: values pass from coros that put to coros that get, first in, first out.
-- @module asyncoro.queue
local core <const> = require "asyncoro.core"

local Queue <const> = { __name = "queue" }
Queue.__index = Queue

local function failed(what, code)
    return nil, ("%s: %s"):format(what, code == "timeout" and "timed out" or "the queue is closed"), code
end

local function count(self)
    return self.last - self.first + 1
end

local function append(self, value)
    if self.getters:wake(true, value) then return end
    self.last = self.last + 1
    self.items[self.last] = value
end

-- Take the oldest value, and let the coro in that waits longest to put one.
local function take(self)
    local value <const> = self.items[self.first]
    self.items[self.first] = nil
    self.first = self.first + 1
    if self.putters:wake(true) then self.reserved = self.reserved + 1 end
    return value
end

--- Add a value at the end; wait for room when the queue is full. Waits.
-- @function queue:put
-- @param value any value; nil and false too
-- @tparam[opt] number timeout seconds; nil waits for ever, 0 only tries
-- @treturn boolean true
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "timeout" or "closed"
function Queue:put(value, timeout)
    if self.closed then return failed("put", "closed") end
    if count(self) + self.reserved >= self.limit then
        local word <const> = self.putters:park(timeout)
        if word ~= true then return failed("put", word or "timeout") end
        self.reserved = self.reserved - 1 -- this place was kept for us
    end
    append(self, value)
    return true
end

--- Take the oldest value; wait for one when the queue is empty. What was put before a close is still given. Waits.
-- @function queue:get
-- @tparam[opt] number timeout seconds; nil waits for ever, 0 only tries
-- @return the value
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "timeout" or "closed"
function Queue:get(timeout)
    if count(self) > 0 then return take(self) end
    if self.closed and self.reserved == 0 then return failed("get", "closed") end
    local word <const>, value <const> = self.getters:park(timeout)
    if word == true then return value end
    return failed("get", word or "timeout")
end

--- Iterate over the values: `for value in queue:values() do`. Each step waits; it ends at a nil value, at the time-out
-- and when the queue is closed and empty.
-- @function queue:values
-- @tparam[opt] number timeout seconds for each value
-- @treturn function iterator
function Queue:values(timeout)
    return function() return (self:get(timeout)) end
end

--- How many values are in it; `#queue` is the same.
-- @function queue:count
-- @treturn integer
function Queue:count()
    return count(self)
end

Queue.__len = count

--- Close it: nothing more can be put, waits to put and to get end with "closed". Does not wait.
-- @function queue:close
function Queue:close()
    self.closed = true
    self.putters:wake_all "closed"
    self.getters:wake_all "closed"
end

Queue.__close = Queue.close

function Queue:__tostring()
    return ("queue (%d values)"):format(count(self))
end

Queue.__select = {
    poll = function(self)
        if count(self) > 0 then return true, take(self) end
        if self.closed then return true, failed("get", "closed") end
    end,
    queue = function(self) return self.getters end,
    done = function(_, word, value)
        if word == true then return value end
        return failed("get", word)
    end,
}

--- Make a queue.
-- @function queue
-- @tparam[opt] integer limit how many values it holds at most; nil: any number
-- @treturn queue
return function(limit)
    if limit ~= nil and (math.type(limit) ~= "integer" or limit < 1) then
        error("queue: the limit must be an integer of 1 or more", 2)
    end
    return setmetatable({
        items = {}, first = 1, last = 0, limit = limit or math.huge, reserved = 0, closed = false,
        getters = core.waitq(), putters = core.waitq(),
    }, Queue)
end
