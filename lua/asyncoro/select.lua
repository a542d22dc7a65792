-- SPDX-License-Identifier: MIT
--- Waiting for several things at once.
-- A source of another kind takes part with a field `__select` in its metatable: `poll(source)` gives true and the
-- results when it is ready, and takes what it gives; `queue(source)` is the wait queue it is woken through; and
-- `done(source, ...)` makes the results of what was handed over.
-- @module asyncoro.select
local core <const> = require "asyncoro.core"

local NOTHING <const> = {}

local mailbox <const> = {
    poll = function()
        local message <const>, reply <const> = core.receive(0, NOTHING)
        return message ~= NOTHING, message, reply
    end,
    queue = function(coro) return coro end,
    done = function(_, ...) return ... end,
}

local ending <const> = {
    poll = function(coro)
        if not coro:is_alive() then return true, coro:finish(0) end
    end,
    queue = function(coro) return coro end,
    done = function(coro) return coro:finish(0) end,
}

local timer <const> = {
    poll = function(seconds) return seconds <= 0, true end,
}

local function kind_of(source, index)
    if math.type(source) then return timer end
    local meta <const> = getmetatable(source)
    if type(meta) == "table" then
        if meta.__name == "coro" then return source == core.current() and mailbox or ending end
        if meta.__select then return meta.__select end
    end
    error(("select: source %d is a %s, for which nobody can wait"):format(index, type(source)), 3)
end

-- The first source that is ready: its index and results.
local function poll(kinds, sources)
    for index, kind in ipairs(kinds) do
        local result <const> = table.pack(kind.poll(sources[index]))
        if result[1] then return index, table.unpack(result, 2, result.n) end
    end
end

local function nearest_timer(kinds, sources)
    local nearest = nil
    for index, kind in ipairs(kinds) do
        if kind == timer and (nearest == nil or sources[index] < sources[nearest]) then nearest = index end
    end
    return nearest
end

-- A coro of another engine is waited for by one of ours.
local function local_end(queue)
    if type(queue) ~= "userdata" or not core.is_remote or not core.is_remote(queue) then return queue end
    return core.spawn({ daemon = true, name = "select" }, function() queue:finish() end)
end

local function wait(kinds, sources, timeout)
    local queues <const>, indices <const> = {}, {}
    for index, kind in ipairs(kinds) do
        if kind.queue then
            queues[#queues + 1] = local_end(kind.queue(sources[index]))
            indices[#queues] = index
        end
    end
    local function pick(place, ...)
        if place == nil then return nil end
        local index <const> = indices[place]
        return index, kinds[index].done(sources[index], ...)
    end
    return pick(core.wait_many(queues, timeout))
end

--- Wait for the first of several sources: the end of a coro, a message (the running coro's own handle), a queue, an
-- event, a lock, a semaphore, a time (a number of seconds). Of several that are ready the first in the list is taken, and
-- only that one: nothing else is consumed. Waits.
-- @function select
-- @tparam {source,...} sources 255 at most
-- @tparam[opt] number timeout seconds; nil waits for ever, 0 only looks
-- @treturn integer the index of the source
-- @return what the source's own wait returns; true for a time
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "timeout"
-- @raise on a source for which nobody can wait, and when there is none
return function(sources, timeout)
    if type(sources) ~= "table" or #sources == 0 then error("select: a list of sources expected", 2) end
    local kinds <const> = {}
    for index, source in ipairs(sources) do kinds[index] = kind_of(source, index) end
    local function timed_out() return nil, "select: timed out", "timeout" end
    local function polled(index, ...)
        if index then return index, ... end
        if timeout == 0 then return timed_out() end
        local nearest <const> = nearest_timer(kinds, sources)
        local by_timer <const> = nearest and (timeout == nil or sources[nearest] <= timeout)
        local function waited(first, ...)
            if first then return first, ... end
            if by_timer then return nearest, true end
            return timed_out()
        end
        return waited(wait(kinds, sources, by_timer and sources[nearest] or timeout))
    end
    return polled(poll(kinds, sources))
end
