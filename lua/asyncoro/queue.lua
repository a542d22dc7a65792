-- SPDX-License-Identifier: MIT
--- Queues: values pass from coros that put to coros that get, first in, first out.
-- Values are handed over: whoever takes one lets the coro in that waits longest to put one, in the same step, and
-- whoever puts one while others wait to get gives it to the first of them. So nobody can come between.
-- @module asyncoro.queue
local core <const> = require "asyncoro.core"

local check_timeout <const> = core.check_timeout

local Queue <const> = { __name = "queue" }
Queue.__index = Queue

local function failed(what, code)
    return nil, ("%s: %s"):format(what, code == "timeout" and "timed out" or "the queue is closed"), code
end

local function count(self)
    return self.last - self.first + 1
end

local function append(self, value)
    self.last = self.last + 1
    self.items[self.last] = value
end

-- Whether there is a value, in the queue or, as in one of limit 0, with a coro that waits to put it.
local function has_value(self)
    return self.first <= self.last or not self.putters:is_empty()
end

local function take(self)
    local first <const> = self.first
    local woken <const>, offer <const> = self.putters:wake(true)
    if first > self.last then return offer end
    local value <const> = self.items[first]
    self.items[first] = nil
    self.first = first + 1
    if woken then
        append(self, offer)
    elseif first == self.last then
        self.first, self.last = 1, 0
    end
    return value
end

--- Add a value at the end; wait for room when the queue is full, in the order in which coros came. Waits.
-- @function queue:put
-- @param value any value; nil and false too
-- @tparam[opt] number timeout seconds; nil waits for ever, 0 only tries
-- @treturn boolean true
-- @treturn[2] nil when the value is not in the queue
-- @treturn[2] string message
-- @treturn[2] string "timeout" or "closed"
function Queue:put(value, timeout)
    if timeout ~= nil then check_timeout(timeout, "put") end
    if self.closed then return failed("put", "closed") end
    if self.getters:wake(true, value) then return true end
    if count(self) < self.limit then
        append(self, value)
        return true
    end
    local word <const> = self.putters:park(timeout, value)
    if word == true then return true end
    return failed("put", word or "timeout")
end

local function got(word, value)
    if word == true then return value end
    return failed("get", word or "timeout")
end

--- Take the oldest value; wait for one when the queue is empty, in the order in which coros came. What was put before a
-- close is still given. Waits.
-- @function queue:get
-- @tparam[opt] number timeout seconds; nil waits for ever, 0 only tries
-- @return the value
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "timeout" or "closed"
function Queue:get(timeout)
    if timeout ~= nil then check_timeout(timeout, "get") end
    if has_value(self) then return take(self) end
    if self.closed then return failed("get", "closed") end
    return got(self.getters:park(timeout))
end

--- Iterate over the values: `for value in queue:values() do`. Each step takes a value, and waits for it; the loop ends
-- when the queue is closed and empty, at the time-out, and at a nil value.
-- @function queue:values
-- @tparam[opt] number timeout seconds for each value; nil waits for ever
-- @treturn function iterator
function Queue:values(timeout)
    if timeout ~= nil then check_timeout(timeout, "values") end
    return function() return (self:get(timeout)) end
end

--- How many values are in it; `#queue` is the same.
-- @function queue:count
-- @treturn integer
function Queue:count()
    return count(self)
end

Queue.__len = count

--- Close it: nothing more can be put, and waits to put and to get end with "closed". What is in it can still be taken.
-- Does not wait.
-- @function queue:close
-- @treturn boolean true
function Queue:close()
    self.closed = true
    self.putters:wake_all "closed"
    self.getters:wake_all "closed"
    return true
end

Queue.__close = Queue.close

function Queue:__tostring()
    return ("queue (%d values%s)"):format(count(self), self.closed and ", closed" or "")
end

Queue.__select = {
    poll = function(self)
        if has_value(self) then return true, take(self) end
        if self.closed then return true, failed("get", "closed") end
    end,
    queue = function(self) return self.getters end,
    done = function(_, word, value) return got(word, value) end,
}

--- Make a queue.
-- @function queue
-- @tparam[opt] integer limit how many values it holds at most. 0: none, so that `put` waits until a coro takes the value;
-- nil: any number, so that `put` never waits
-- @treturn queue
return function(limit)
    if limit ~= nil and (math.type(limit) ~= "integer" or limit < 0) then
        error("queue: the limit must be an integer of 0 or more", 2)
    end
    return setmetatable({
        items = {}, first = 1, last = 0, limit = limit or math.huge, closed = false,
        getters = core.waitq(), putters = core.waitq(),
    }, Queue)
end
