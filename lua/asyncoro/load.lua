-- SPDX-License-Identifier: MIT
--- `load` inside a program: as Lua's own, and the text of a chunk with a name of its own is kept, so that its functions
-- can travel (docs/shipping.md).
-- @module asyncoro.load
local source <const> = require "asyncoro.source"

local original <const> = load

-- Texts of so many names are kept, the youngest.
local NAMES_MOST <const> = 1024

local order <const>, known <const> = {}, {}
local oldest = 1

local function keep(name, text)
    if text:sub(1, 1) == "\27" then return end
    source.keep(name, text)
    if known[name] then return end
    known[name] = true
    order[#order + 1] = name
    if #order - oldest < NAMES_MOST then return end
    source.forget(order[oldest])
    known[order[oldest]] = nil
    order[oldest] = false
    oldest = oldest + 1
end

-- A reader that remembers what it has given.
local function listening(reader, pieces)
    return function()
        local piece <const> = reader()
        if type(piece) == "string" then pieces[#pieces + 1] = piece end
        return piece
    end
end

local function loaded(name, text, fn, ...)
    if fn then keep(name, type(text) == "table" and table.concat(text) or text) end
    return fn, ...
end

return function(chunk, name, ...)
    if type(name) ~= "string" or name == chunk then return original(chunk, name, ...) end
    if type(chunk) == "string" then return loaded(name, chunk, original(chunk, name, ...)) end
    if type(chunk) ~= "function" then return original(chunk, name, ...) end
    local pieces <const> = {}
    return loaded(name, pieces, original(listening(chunk, pieces), name, ...))
end
