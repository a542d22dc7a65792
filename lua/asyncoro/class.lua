-- SPDX-License-Identifier: MIT
--- Classes whose instances can be sent: they travel by the name of their class, with their fields.
-- @module asyncoro.class
local core <const> = require "asyncoro.core"

-- Say why this name and this table cannot be a class.
local function refuse(name, class)
    local known <const>, other <const> = core.class_of(name), class and core.class_of(class)
    if other and other ~= name then
        error(("class: this table is the class '%s' already"):format(other), 3)
    elseif known and known ~= class then
        error(("class: there is a class '%s' already"):format(name), 3)
    end
end

--- Make a class: a table that is its own `__index`, to be the metatable of its instances. Instances can be sent to any
-- engine where a class of the same name is known. With `__encode(self)` an instance travels as what that returns, and
-- `__decode(value)` makes an instance of it again, or refuses it with nil, message; without them, its fields travel.
-- Neither is inherited, and neither may wait. A class that inherits has its parent behind its own metatable.
-- @function class
-- @tparam string name the name under which instances travel
-- @tparam[opt] table class to be used for it; again the table of this name is no error
-- @treturn table the class
-- @raise on a wrong argument, when another class has this name, or when the table is a class of another name
-- @usage local Point = asyncoro.class "Point"
-- function Point.new(x, y) return setmetatable({ x = x, y = y }, Point) end
return function(name, class)
    if type(name) ~= "string" or name == "" then
        error("class: the name must be a string that is not empty", 2)
    elseif class ~= nil and type(class) ~= "table" then
        error("class: the class must be a table, not a " .. type(class), 2)
    end
    refuse(name, class)
    class = class or {}
    if rawget(class, "__index") == nil then rawset(class, "__index", class) end
    if rawget(class, "__name") == nil then rawset(class, "__name", name) end
    core.set_class(name, class)
    return class
end
