-- SPDX-License-Identifier: MIT
--- Classes whose instances can be sent: they travel by the name of their class, with their fields.
-- @module asyncoro.class
local core <const> = require "asyncoro.core"

--- Make a class: a table that is its own `__index`, to be the metatable of its instances. Instances can be sent to any
-- engine where a class of the same name is known. With `__encode(self)` an instance travels as what that returns, and
-- `__decode(value)` makes an instance of it again; without them, its fields travel.
-- @function class
-- @tparam string name the name under which instances travel
-- @tparam[opt] table class to be used for it
-- @treturn table the class
-- @raise on a wrong argument, or when there is another class of this name
-- @usage local Point = asyncoro.class "Point"
-- function Point.new(x, y) return setmetatable({ x = x, y = y }, Point) end
return function(name, class)
    if type(name) ~= "string" or name == "" then
        error("class: the name must be a string that is not empty", 2)
    elseif class ~= nil and type(class) ~= "table" then
        error("class: the class must be a table, not a " .. type(class), 2)
    elseif core.class_of(name) then
        error(("class: there is a class '%s' already"):format(name), 2)
    end
    class = class or {}
    if rawget(class, "__index") == nil then class.__index = class end
    if rawget(class, "__name") == nil then class.__name = name end
    core.set_class(name, class)
    return class
end
