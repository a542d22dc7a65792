-- SPDX-License-Identifier: MIT
--- Comparing compiled functions: equal but for where their upvalues come from.
-- Reads the binary chunks of the running Lua 5.4, as its ldump.c writes them without debug information.
-- @module asyncoro.prototype
local prototype <const> = {}

-- Signature, version, format, check bytes, sizes of three types, and the two sample numbers.
local HEADER <const> = 4 + 1 + 1 + 6 + 3 + string.packsize "jn"

-- Types of constants that have a value behind them, and how long that is; strings have their length first.
local FIXED <const> = { [0x03] = string.packsize "j", [0x13] = string.packsize "n" }
local STRINGS <const> = { [0x04] = true, [0x14] = true }

-- A number in groups of seven bits, the highest first; the last has its top bit set.
local function number_at(dump, at)
    local value = 0
    while true do
        local byte <const> = dump:byte(at)
        value = value << 7 | byte & 0x7f
        at = at + 1
        if byte & 0x80 ~= 0 then return value, at end
    end
end

local function string_end(dump, at)
    local size <const>, next <const> = number_at(dump, at)
    return size == 0 and next or next + size - 1
end

local function constants_end(dump, at)
    local count
    count, at = number_at(dump, at)
    for _ = 1, count do
        local kind <const> = dump:byte(at)
        at = STRINGS[kind] and string_end(dump, at + 1) or at + 1 + (FIXED[kind] or 0)
    end
    return at
end

-- Add the parts of the function at `at` to `parts`, its upvalues masked; where it ends.
local function function_parts(dump, at, parts)
    local from <const> = at
    at = string_end(dump, at)
    at = select(2, number_at(dump, at)) -- first line
    at = select(2, number_at(dump, at)) -- last line
    local count
    count, at = number_at(dump, at + 3)
    at = constants_end(dump, at + 4 * count)
    count, at = number_at(dump, at)
    parts[#parts + 1] = dump:sub(from, at - 1)
    at = at + 3 * count -- of each upvalue: whether it is on the stack, its index, its kind
    count, at = number_at(dump, at)
    for _ = 1, count do at = function_parts(dump, at, parts) end
    for _ = 1, 4 do -- the empty debug information
        count, at = number_at(dump, at)
        assert(count == 0)
    end
    return at
end

--- A text that is the same for functions with the same code on the same lines.
-- @tparam function fn a Lua function
-- @treturn string
function prototype.key(fn)
    local dump <const> = string.dump(fn, true)
    local parts <const> = {}
    function_parts(dump, HEADER + 2, parts)
    return table.concat(parts, "\0")
end

return prototype
