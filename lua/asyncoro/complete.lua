-- SPDX-License-Identifier: MIT
--- Completion of names at the prompt: globals, keywords, fields and methods.
-- Values are looked at raw, along tables in `__index`, and no function is ever called, so that
-- pressing a key has no effects and cannot fail.
-- @module asyncoro.complete
local complete <const> = {}

local KEYWORDS <const> = {
    "and", "break", "do", "else", "elseif", "end", "false", "for", "function", "goto", "if", "in",
    "local", "nil", "not", "or", "repeat", "return", "then", "true", "until", "while",
}
local WIDTH <const> = 78
local MAX_SHOWN <const> = 200
local MAX_CHAIN <const> = 20

-- The tables in which a field of `value` is looked for, in order.
local function places(value)
    local found <const> = {}
    for _ = 1, MAX_CHAIN do
        if type(value) == "table" then
            found[#found + 1] = value
        end
        local meta = debug.getmetatable(value)
        value = meta and rawget(meta, "__index")
        if value == nil then
            break
        end
    end
    return found
end

local function field(value, name)
    for _, place in ipairs(places(value)) do
        local found = rawget(place, name)
        if found ~= nil then
            return found
        end
    end
    return nil
end

-- The value of a path such as "string.format" or "table", nil when there is none.
local function resolve(path, globals)
    local value = globals
    for name in path:gmatch("[^.:]+") do
        value = field(value, name)
        if value == nil then
            return nil
        end
    end
    return value
end

local function names_of(value, word, methods_only, found)
    for _, place in ipairs(places(value)) do
        for name, member in next, place do
            if type(name) == "string" and name:find("^[%a_][%w_]*$") and name:sub(1, #word) == word
                and (not methods_only or type(member) == "function") then
                found[name] = true
            end
        end
    end
end

--- The names that a text may go on with.
-- @tparam string before the text up to the cursor
-- @tparam table globals the table of globals
-- @treturn {string,...} the whole last names that fit, sorted
-- @treturn string what is there of the last name
function complete.candidates(before, globals)
    local chain <const> = before:match("[%w_%.:]*$")
    local path, separator, word = chain:match("^(.*)([.:])([%w_]*)$")
    local found <const>, list <const> = {}, {}
    if path == nil then
        word = chain
        names_of(globals, word, false, found)
        for _, keyword in ipairs(KEYWORDS) do
            if keyword:sub(1, #word) == word then
                found[keyword] = true
            end
        end
    elseif path:find("^[%a_]") then
        local value <const> = resolve(path, globals)
        if value ~= nil then
            names_of(value, word, separator == ":", found)
        end
    end
    for name in pairs(found) do
        list[#list + 1] = name
    end
    table.sort(list)
    return list, word
end

-- What all of a sorted list begin with: what its first and its last share.
local function common_prefix(list)
    local first <const>, last <const> = list[1], list[#list]
    local length = 0
    while length < #first and first:byte(length + 1) == last:byte(length + 1) do
        length = length + 1
    end
    return first:sub(1, length)
end

local function columns(list)
    local width = 0
    for i = 1, math.min(#list, MAX_SHOWN) do
        width = math.max(width, #list[i] + 2)
    end
    local per_row <const> = math.max(1, WIDTH // width)
    local rows <const>, row = {}, {}
    for i = 1, math.min(#list, MAX_SHOWN) do
        row[#row + 1] = list[i] .. (" "):rep(width - #list[i])
        if #row == per_row or i == math.min(#list, MAX_SHOWN) then
            rows[#rows + 1] = (table.concat(row):gsub("%s+$", ""))
            row = {}
        end
    end
    if #list > MAX_SHOWN then
        rows[#rows + 1] = ("... and %d more"):format(#list - MAX_SHOWN)
    end
    return table.concat(rows, "\n")
end

--- What the completion key does, as asyncoro.edit wants it.
-- @tparam string before the text up to the cursor
-- @tparam[opt=_G] table globals the table of globals
-- @treturn ?string text to insert at the cursor
-- @treturn ?string text to show: the names there are, when nothing can be inserted
function complete.key(before, globals)
    if before:find("^%s*$") then
        return "    "
    end
    local list <const>, word <const> = complete.candidates(before, globals or _G)
    if #list == 0 then
        return nil
    end
    local rest <const> = common_prefix(list):sub(#word + 1)
    if rest ~= "" then
        return rest
    elseif #list > 1 then
        return nil, columns(list)
    end
    return nil
end

return complete
