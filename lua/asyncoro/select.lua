-- SPDX-License-Identifier: MIT
--- Waiting for several things at once.
--
-- A source of another kind takes part with a table in the field `__select` of its metatable:
--
-- - `poll(source)` gives true and the results when it is ready, and takes what it gives; else false or nil. It may not
--   wait.
-- - `queue(source)` is called before a wait and gives the wait queue through which the source wakes coros.
-- - `done(source, ...)` makes results of what the queue handed over. Without it the source is only a hint: all are
--   polled again.
-- - `leave(source)`, optional: the wait has ended, for whatever reason.
-- @module asyncoro.select
local core <const> = require "asyncoro.core"

local NOTHING <const> = {}

-- Whether a message was there, and the message.
local function received(message, ...)
    if message == NOTHING then return false end
    return true, message, ...
end

local mailbox <const> = {
    poll = function() return received(core.receive(0, NOTHING)) end,
    queue = function(coro) return coro end,
    done = function(_, ...) return ... end,
}

local ending <const> = {
    poll = function(coro)
        if core.has_ended(coro) then return true, coro:finish(0) end
    end,
    queue = function(coro) return coro end,
    done = function(coro, code)
        if code == nil then return coro:finish(0) end
        return nil, ("select: the process of %s has gone, or cannot be reached"):format(tostring(coro)), code
    end,
}

local timer <const> = {
    poll = function(seconds) return seconds <= 0, true end,
}

local function kind_of(source, index)
    if math.type(source) then
        if source < 0 or source ~= source then
            error(("select: source %d: a time of 0 or more seconds expected, got %s"):format(index, source), 3)
        end
        return timer
    end
    if core.is_coro(source) then return source == core.current() and mailbox or ending end
    local meta <const> = getmetatable(source)
    local kind <const> = type(meta) == "table" and meta.__select
    if kind then return kind end
    error(("select: source %d is a %s, for which nobody can wait"):format(index, type(source)), 3)
end

local poll

local function polled(kinds, sources, index, ready, ...)
    if ready then return index, ... end
    return poll(kinds, sources, index + 1)
end

-- The first source that is ready, from this one on: its index and results.
function poll(kinds, sources, index)
    local kind <const> = kinds[index]
    if kind == nil then return nil end
    return polled(kinds, sources, index, kind.poll(sources[index]))
end

local Leave <const> = {}

function Leave:__close()
    for index, kind in ipairs(self.kinds) do
        if kind.leave then kind.leave(self.sources[index]) end
    end
end

local function is_left(kinds)
    for _, kind in ipairs(kinds) do
        if kind.leave then return true end
    end
    return false
end

-- The queues of the sources that have one, and the indices of those sources.
local function queues_of(kinds, sources)
    local queues <const>, indices <const> = {}, {}
    for index, kind in ipairs(kinds) do
        if kind.queue then
            queues[#queues + 1] = kind.queue(sources[index])
            indices[#queues] = index
        end
    end
    return queues, indices
end

local function nearest_timer(kinds, sources)
    local nearest = nil
    for index, kind in ipairs(kinds) do
        if kind == timer and (nearest == nil or sources[index] < sources[nearest]) then nearest = index end
    end
    return nearest
end

-- A wake-up that was only a hint.
local HINT <const> = {}

local function woken(kinds, sources, nearest, indices, place, ...)
    if place then
        local index <const> = indices[place]
        local done <const> = kinds[index].done
        if done then return index, done(sources[index], ...) end
        return HINT
    end
    if nearest then return nearest, true end
    return nil, "select: timed out", "timeout"
end

local function wait_once(kinds, sources, nearest, deadline)
    local _ <close> = is_left(kinds) and setmetatable({ kinds = kinds, sources = sources }, Leave) or nil
    local queues <const>, indices <const> = queues_of(kinds, sources)
    local timeout <const> = deadline and math.max(deadline - core.now(), 0)
    return woken(kinds, sources, nearest, indices, core.wait_many(queues, timeout))
end

local wait

local function waited(kinds, sources, nearest, deadline, index, ...)
    if index ~= HINT then return index, ... end
    return wait(kinds, sources, nearest, deadline, poll(kinds, sources, 1))
end

-- Wait until the deadline, which is that of the source `nearest`, or else the time-out; unless one is ready.
function wait(kinds, sources, nearest, deadline, index, ...)
    if index then return index, ... end
    return waited(kinds, sources, nearest, deadline, wait_once(kinds, sources, nearest, deadline))
end

-- The nearest timer and the deadline.
local function limit_of(kinds, sources, timeout)
    local nearest = nearest_timer(kinds, sources)
    if nearest and timeout and timeout < sources[nearest] then nearest = nil end
    local limit <const> = nearest and sources[nearest] or timeout
    return nearest, limit and core.now() + limit
end

--- Wait for the first of several sources: the end of a coro, a message (the running coro's own handle stands for its
-- mailbox), a queue (to get), an event, a lock (to acquire), a semaphore, a time (a number of seconds). Exactly one
-- source is consumed: of several that are ready the first in the list. Waits.
-- @function select
-- @tparam {source,...} sources 255 at most
-- @tparam[opt] number timeout seconds; nil waits for ever, 0 only looks
-- @treturn integer the index of the source
-- @return what the source's own wait returns; true for a time
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "timeout"
-- @raise when the list is empty, and on a source for which nobody can wait
-- @usage local which, value = asyncoro.select { queue, asyncoro.current(), 2.5 }
return function(sources, timeout)
    if type(sources) ~= "table" or #sources == 0 then error("select: a list of sources expected", 2) end
    if timeout ~= nil then core.check_timeout(timeout, "select") end
    local kinds <const> = {}
    for index = 1, #sources do kinds[index] = kind_of(sources[index], index) end
    local nearest <const>, deadline <const> = limit_of(kinds, sources, timeout)
    return wait(kinds, sources, nearest, deadline, poll(kinds, sources, 1))
end
