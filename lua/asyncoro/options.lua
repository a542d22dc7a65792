-- SPDX-License-Identifier: MIT
--- Checks of option tables, so that a mistyped name is an error and not silence.
-- @module asyncoro.options
-- @local
local options <const> = {}

local checks <const> = {
    any = function() return true end,
    time = function(value) return type(value) == "number" and value >= 0 end,
    integer = function(value) return math.type(value) == "integer" and value >= 0 end,
}

local texts <const> = {
    time = "a time of 0 or more seconds",
    integer = "an integer of 0 or more",
}

local NONE <const> = {}

local function names_of(known)
    local names <const> = {}
    for name in pairs(known) do names[#names + 1] = name end
    table.sort(names)
    return table.concat(names, ", ")
end

--- The options given, or an empty table. Raises, on behalf of the caller's caller, on one that is not known or has the
-- wrong type.
-- @tparam string what the function, for the message
-- @tparam ?table given
-- @tparam table known name -> "any", "time", "integer" (not negative), or a type of Lua
-- @tparam[opt=2] integer level whom to blame, counted from here as `error` does
-- @treturn table
function options.check(what, given, known, level)
    level = (level or 2) + 1
    if given == nil then return NONE end
    if type(given) ~= "table" then
        error(("%s: a table of options expected, got %s"):format(what, type(given)), level)
    end
    for name, value in pairs(given) do
        local kind <const> = known[name]
        if kind == nil then
            error(("%s: unknown option '%s' (there are: %s)"):format(what, tostring(name), names_of(known)), level)
        end
        local right <const> = checks[kind] or function(v) return type(v) == kind end
        if not right(value) then
            error(("%s: option '%s': %s expected, got %s"):format(what, name, texts[kind] or "a " .. kind,
                tostring(value)), level)
        end
    end
    return given
end

--- Raises, on behalf of the caller's caller, when this is no port.
-- @tparam string what the function, for the message
-- @param port
-- @tparam[opt=2] integer level whom to blame, counted from here as `error` does
function options.check_port(what, port, level)
    if math.type(port) ~= "integer" or port < 0 or port > 65535 then
        error(("%s: a port of 0 to 65535 expected, got %s"):format(what, tostring(port)), (level or 2) + 1)
    end
end

return options
