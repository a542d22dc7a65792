-- SPDX-License-Identifier: MIT
--- Selective receive: messages by category, the others put aside in order.
-- @module asyncoro.categories
local core <const> = require "asyncoro.core"

local Categories <const> = { __name = "categories" }
Categories.__index = Categories

local NOTHING <const> = {}
local NONE <const> = {} -- stands for the category nil

--- Add a function that tells categories: `fn(message)` gives one, or nil. The one added last is asked first.
-- @function categories:add
-- @tparam function fn must not wait
function Categories:add(fn)
    if type(fn) ~= "function" then error("add: a function expected", 2) end
    table.insert(self.functions, 1, fn)
end

--- Take a function out again.
-- @function categories:remove
-- @tparam function fn
-- @treturn boolean false when it was not there
function Categories:remove(fn)
    for i, other in ipairs(self.functions) do
        if other == fn then
            table.remove(self.functions, i)
            return true
        end
    end
    return false
end

local function put_aside(self, category, message, reply)
    local list = self.aside[category]
    if list == nil then
        list = { first = 1, last = 0 }
        self.aside[category] = list
    end
    list.last = list.last + 1
    list[list.last] = { message, reply }
end

local function take_aside(self, category)
    local list <const> = self.aside[category]
    if list == nil then return nil end
    local entry <const> = list[list.first]
    list[list.first] = nil
    list.first = list.first + 1
    if list.first > list.last then self.aside[category] = nil end
    return entry
end

-- A function that fails must not cost the message: it is of no category then.
local function category_of(self, message, reply)
    for _, fn in ipairs(self.functions) do
        local ok <const>, category <const> = pcall(fn, message)
        if not ok then
            put_aside(self, NONE, message, reply)
            error(category, 0)
        end
        if category ~= nil then return category end
    end
    return NONE
end

--- Take the oldest message of a category; messages of others that come meanwhile are put aside and keep their order.
-- Waits. Only the coro it was made for may call it.
-- @function categories:receive
-- @param[opt] category nil: messages that no function knows
-- @tparam[opt] number timeout seconds for all of it; nil waits for ever, 0 only looks
-- @param[opt] alarm what to return at the time-out
-- @return the message
-- @treturn ?function reply
-- @return[2] the alarm value at the time-out
-- @treturn[3] nil without an alarm value
-- @treturn[3] string message
-- @treturn[3] string "timeout"
function Categories:receive(category, timeout, ...)
    if core.current() ~= self.coro then error("receive: these are the categories of another coro", 2) end
    if category == nil then category = NONE end
    local entry <const> = take_aside(self, category)
    if entry then return entry[1], entry[2] end
    local deadline <const> = timeout and core.now() + timeout
    while true do
        local message <const>, reply <const> = core.receive(deadline and math.max(deadline - core.now(), 0), NOTHING)
        if message == NOTHING then break end
        local found <const> = category_of(self, message, reply)
        if found == category then return message, reply end
        put_aside(self, found, message, reply)
    end
    if select("#", ...) > 0 then return (...) end
    return nil, "receive: timed out", "timeout"
end

--- Make the categories of a coro's messages.
-- @function categories
-- @tparam[opt] coro coro the running one when it is left out
-- @treturn categories
return function(coro)
    coro = coro or core.current() or error("categories: only a coro has messages", 2)
    return setmetatable({ coro = coro, functions = {}, aside = {} }, Categories)
end
