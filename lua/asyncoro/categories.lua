-- SPDX-License-Identifier: MIT
--- Selective receive: messages by category, the others put aside in order.
-- @module asyncoro.categories
local core <const> = require "asyncoro.core"

local Categories <const> = { __name = "categories" }
Categories.__index = Categories

local NOTHING <const> = {}
local NONE <const> = {} -- stands for the category nil

--- Add a function that tells categories: `fn(message)` gives one, or nil. The one added last is asked first. Messages
-- that were put aside before keep their category.
-- @function categories:add
-- @tparam function fn must not wait
function Categories:add(fn)
    if type(fn) ~= "function" then error("add: a function expected, got a " .. type(fn), 2) end
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

-- nil and NaN are no keys of tables.
local function key_of(category)
    if category == nil or category ~= category then return NONE end
    return category
end

local function first_category(self, message)
    for _, fn in ipairs(self.functions) do
        local category <const> = fn(message)
        if category ~= nil then return category end
    end
end

-- When a function fails the message is not lost: it is of the category nil then.
local function category_of(self, message, reply)
    local ok <const>, category <const> = pcall(first_category, self, message)
    if ok then return key_of(category) end
    put_aside(self, NONE, message, reply)
    error(category, 0)
end

-- As `receive` gives it: one result, or two.
local function given(message, reply)
    if reply then return message, reply end
    return message
end

local function timed_out(...)
    if select("#", ...) > 0 then return (...) end
    return nil, "receive: timed out", "timeout"
end

--- Take the oldest message of a category; messages of others that come meanwhile are put aside and keep their order.
-- Waits. Only the coro it was made for may call it.
-- @function categories:receive
-- @param[opt] category nil: messages that no function knows; without any function, all
-- @tparam[opt] number timeout seconds for all of it; nil waits for ever, 0 only looks
-- @param[opt] alarm what to return at the time-out
-- @return the message
-- @treturn ?function reply of a call, as in `receive`
-- @return[2] the alarm value at the time-out
-- @treturn[3] nil without an alarm value
-- @treturn[3] string message
-- @treturn[3] string "timeout"
-- @raise the error of a function; its message is then of the category nil
function Categories:receive(category, timeout, ...)
    if core.current() ~= self.coro then error("receive: these are the categories of another coro", 2) end
    if timeout ~= nil then core.check_timeout(timeout, "receive") end
    local wanted <const> = key_of(category)
    local entry <const> = take_aside(self, wanted)
    if entry then return given(entry[1], entry[2]) end
    local deadline <const> = timeout and core.now() + timeout
    while true do
        local left <const> = deadline and math.max(deadline - core.now(), 0)
        local message <const>, reply <const>, code <const> = core.receive(left, NOTHING)
        if message == NOTHING then return timed_out(...) end
        if code then return message, reply, code end -- it could not be decoded
        local found <const> = category_of(self, message, reply)
        if found == wanted then return given(message, reply) end
        put_aside(self, found, message, reply)
    end
end

function Categories:__tostring()
    return ("categories of %s"):format(self.coro)
end

--- Make the categories of a coro's messages.
-- @function categories
-- @tparam[opt] coro coro the running one when it is left out
-- @treturn categories
return function(coro)
    coro = coro or core.current() or error("categories: only a coro has messages", 2)
    if not core.is_coro(coro) then error("categories: a coro expected, got a " .. type(coro), 2) end
    return setmetatable({ coro = coro, functions = {}, aside = {} }, Categories)
end
