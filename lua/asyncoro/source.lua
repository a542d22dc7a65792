-- SPDX-License-Identifier: MIT
--- Functions as source text: their names, and how they travel (docs/shipping.md).
-- A function's text is found by the lines it was defined on; which of several functions there it is, and that the file
-- still says what was loaded, is made sure by compiling the text and comparing the result with the function.
-- @module asyncoro.source
local core <const> = require "asyncoro.core"
local lexer <const> = require "asyncoro.lexer"
local prototype <const> = require "asyncoro.prototype"

local load <const> = load -- Lua's own: what is only tried is not kept

local source <const> = {}

-- Texts of chunks that have no file: at most so many of one name, the newest first.
local KEPT <const> = 256
local kept <const> = {}

--- Keep the text of a chunk that came from stdin, a command line or the prompt.
-- @tparam string chunkname as given to `load`
-- @tparam string text
function source.keep(chunkname, text)
    local list <const> = kept[chunkname] or {}
    kept[chunkname] = list
    table.insert(list, 1, text)
    list[KEPT + 1] = nil
end

--- Keep it no longer.
-- @tparam string chunkname
function source.forget(chunkname)
    kept[chunkname] = nil
end

-- Functions in a text ----------------------------------------------------------------------------

local opens <const> = { ["function"] = true, ["do"] = true, ["if"] = true, ["repeat"] = true }
local closes <const> = { ["end"] = true, ["until"] = true }

-- For each token that opens a block the one that closes it.
local function match_blocks(tokens)
    local ends <const>, open <const> = {}, {}
    for i, token in ipairs(tokens) do
        if token.kind == "keyword" then
            if opens[token.text] then
                open[#open + 1] = i
            elseif closes[token.text] and #open > 0 then
                ends[table.remove(open)] = i
            end
        end
    end
    return ends
end

local function is(token, text)
    return token ~= nil and token.kind ~= "string" and token.text == text
end

-- The name behind `function`: "M.foo", whether it is a method, and the index of its parenthesis.
local function declared_name(tokens, i)
    local parts <const>, at = {}, i + 1
    while tokens[at] and not is(tokens[at], "(") do
        parts[#parts + 1] = tokens[at].text
        at = at + 1
    end
    return #parts > 0 and table.concat(parts) or nil, parts[#parts - 1] == ":", at
end

-- The name in front of `= function`: `local foo =`, `M.foo =`, `{ foo =`.
local function assigned_name(tokens, i)
    if not is(tokens[i - 1], "=") then return nil end
    local at = i - 2
    if is(tokens[at], ">") and is(tokens[at - 2], "<") then at = at - 3 end
    local name = tokens[at] and tokens[at].kind == "name" and tokens[at].text
    while name and is(tokens[at - 1], ".") and tokens[at - 2].kind == "name" do
        name = tokens[at - 2].text .. "." .. name
        at = at - 2
    end
    return name or nil
end

local function functions_of(tokens)
    local ends <const>, list <const> = match_blocks(tokens), {}
    for i, token in ipairs(tokens) do
        if is(token, "function") and ends[i] then
            local name <const>, method <const>, paren <const> = declared_name(tokens, i)
            if is(tokens[paren], "(") then
                list[#list + 1] = {
                    name = name or assigned_name(tokens, i), method = method, first = i, paren = paren, last = ends[i],
                    from_line = token.line, paren_line = tokens[paren].line, to_line = tokens[ends[i]].line,
                }
            end
        end
    end
    return list
end

-- Texts --------------------------------------------------------------------------------------------

local function read_file(path)
    local file <const> = io.open(path, "rb")
    if file == nil then return nil end
    local text <const> = file:read "a"
    file:close()
    return text
end

local function texts_of(chunkname)
    local kind <const> = chunkname:sub(1, 1)
    if kept[chunkname] then return kept[chunkname] end
    if kind == "@" then return { read_file(chunkname:sub(2)) } end
    return kind ~= "=" and { chunkname } or {}
end

-- chunkname -> its parsed texts. A file is read again when a function does not fit what is here.
local parsed <const> = {}

local function parse(chunkname, again)
    if parsed[chunkname] and not again and not kept[chunkname] then return parsed[chunkname] end
    local list <const> = {}
    for _, text in ipairs(texts_of(chunkname)) do
        local tokens <const> = lexer.tokens(text)
        if tokens then list[#list + 1] = { text = text, tokens = tokens, functions = functions_of(tokens) } end
    end
    parsed[chunkname] = list
    return list
end

local function fits(candidate, info)
    return candidate.from_line <= info.linedefined and candidate.paren_line >= info.linedefined
        and candidate.to_line == info.lastlinedefined
end

--- The declared name of a function.
-- @tparam function fn
-- @treturn ?string "foo", "M.foo", "M:foo"; nil when it has none, or it is not known which of several it is
function source.name(fn)
    local info <const> = debug.getinfo(fn, "S")
    if info.what ~= "Lua" then return nil end
    local name, count = nil, 0
    for _, chunk in ipairs(parse(info.source)) do
        for _, candidate in ipairs(chunk.functions) do
            if fits(candidate, info) then name, count = candidate.name, count + 1 end
        end
        if count > 0 then break end
    end
    return count == 1 and name or nil
end

-- Constants ----------------------------------------------------------------------------------------

local unary <const> = { ["-"] = true, ["not"] = true, ["~"] = true, ["("] = true }
local literals <const> = { ["true"] = true, ["false"] = true, ["nil"] = true }

local function is_operand(token)
    return token.kind == "number" or token.kind == "string" or token.kind == "name" or literals[token.text]
end

local binary <const> = {}
for operator in ("+ - * / // % ^ & | ~ << >> .. == ~= < > <= >= and or"):gmatch "%S+" do binary[operator] = true end

-- The last token of the simple expression that begins at `at`: operands, operators and parentheses.
local function expression_end(tokens, at)
    local wants_operand, last, depth = true, nil, 0
    while tokens[at] do
        local token <const> = tokens[at]
        if wants_operand then
            if is_operand(token) then
                wants_operand, last = false, at
            elseif not unary[token.text] then
                return nil
            elseif token.text == "(" then
                depth = depth + 1
            end
        elseif is(token, ")") and depth > 0 then
            depth, last = depth - 1, at
        elseif token.kind ~= "string" and binary[token.text] then
            wants_operand = true
        else
            break
        end
        at = at + 1
    end
    return not wants_operand and depth == 0 and last or nil
end

-- The names declared by the `local` at index i, with what initialises each: name -> text, for `<const>` ones.
local function constants_at(tokens, i, text, into)
    local names <const>, at = {}, i + 1
    while tokens[at] and tokens[at].kind == "name" do
        local name <const> = { text = tokens[at].text }
        names[#names + 1] = name
        at = at + 1
        if is(tokens[at], "<") then
            name.const = is(tokens[at + 1], "const")
            at = at + 3
        end
        if not is(tokens[at], ",") then break end
        at = at + 1
    end
    if not is(tokens[at], "=") then return end
    for _, name in ipairs(names) do
        local last <const> = expression_end(tokens, at + 1)
        if last == nil then return end
        into[name.text] = name.const and text:sub(tokens[at + 1].from, tokens[last].to) or nil
        at = last + 1
        if not is(tokens[at], ",") then return end
    end
end

-- Constants that are declared before a function and whose names it uses, as the beginning of a chunk: the compiler has
-- put their values into its code, so they are no upvalues of it.
local function constants_for(chunk, candidate, upvalues)
    local known <const>, lines <const>, done <const> = {}, {}, {}
    for i = 1, candidate.first - 1 do
        if is(chunk.tokens[i], "local") then constants_at(chunk.tokens, i, chunk.text, known) end
    end
    local function add(name)
        if done[name] or known[name] == nil then return end
        done[name] = true
        for _, token in ipairs(lexer.tokens(known[name]) or {}) do
            if token.kind == "name" then add(token.text) end
        end
        lines[#lines + 1] = ("local %s <const> = %s "):format(name, (known[name]:gsub("[\r\n]", " ")))
    end
    for _, name in ipairs(upvalues) do done[name] = true end
    for i = candidate.first, candidate.last do
        if chunk.tokens[i].kind == "name" then add(chunk.tokens[i].text) end
    end
    return table.concat(lines)
end

-- Describing -----------------------------------------------------------------------------------------

-- The function of a candidate as an expression.
local function expression(chunk, candidate)
    local paren <const>, last <const> = chunk.tokens[candidate.paren], chunk.tokens[candidate.last]
    local rest <const> = chunk.text:sub(paren.to + 1, last.to)
    if not candidate.method then return "function(" .. rest end
    local empty <const> = is(chunk.tokens[candidate.paren + 1], ")")
    return (empty and "function(self" or "function(self,") .. rest
end

-- A chunk that returns the function, on its own lines, with fresh upvalues.
local function compile(descriptor)
    if descriptor.main then return load(descriptor.text, descriptor.chunk, "t") end
    local locals = {}
    for _, name in ipairs(descriptor.upvalues) do
        if name ~= "_ENV" then locals[#locals + 1] = name end
    end
    local declare <const> = #locals > 0 and "local " .. table.concat(locals, ",") .. " " or ""
    local chunk <const>, message <const> = load(("\n"):rep(descriptor.line - 1) .. (descriptor.constants or "") .. declare
        .. "return " .. descriptor.text, descriptor.chunk, "t")
    if chunk == nil then return nil, message end
    return chunk()
end

local function upvalue_names(fn)
    local names <const> = {}
    for i = 1, 255 do
        local name <const> = debug.getupvalue(fn, i)
        if name == nil then break end
        names[i] = name
    end
    return names
end

local function is_same(descriptor, key)
    local fn <const> = compile(descriptor)
    return fn ~= nil and prototype.key(fn) == key
end

local function describe_main(info, key)
    for _, chunk in ipairs(parse(info.source)) do
        local text <const> = chunk.text:gsub("^\xEF\xBB\xBF", ""):gsub("^#[^\r\n]*", "")
        local descriptor <const> = { main = true, text = text, chunk = info.source, line = 0, upvalues = { "_ENV" } }
        if is_same(descriptor, key) then return descriptor end
    end
end

local function describe_candidate(chunk, candidate, info, names, key)
    local descriptor <const> = {
        name = candidate.name, text = expression(chunk, candidate), chunk = info.source, line = info.linedefined,
        upvalues = names,
    }
    if is_same(descriptor, key) then return descriptor end
    descriptor.constants = constants_for(chunk, candidate, names)
    return descriptor.constants ~= "" and is_same(descriptor, key) and descriptor or nil
end

local function search(fn, info, again)
    local key <const>, names <const> = prototype.key(fn), upvalue_names(fn)
    if info.what == "main" then return describe_main(info, key) end
    for _, chunk in ipairs(parse(info.source, again)) do
        for _, candidate in ipairs(chunk.functions) do
            local descriptor <const> = fits(candidate, info)
                and describe_candidate(chunk, candidate, info, names, key)
            if descriptor then return descriptor end
        end
    end
end

-- function -> its descriptor
local described <const> = setmetatable({}, { __mode = "k" })

local function refusal(info)
    if info.what == "C" then return "it is a C function that is no field of a module" end
    if info.source == "=?" then return "it was loaded from a binary chunk, without its source" end
    local where <const> = ("%s:%d"):format(info.short_src, info.linedefined)
    if #texts_of(info.source) == 0 then return ("the source of %s is not known"):format(where) end
    return ("its source at %s is not what was loaded: has the file changed since?"):format(where)
end

local function descriptor_of(fn)
    if described[fn] then return described[fn] end
    local info <const> = debug.getinfo(fn, "S")
    local descriptor = nil
    if info.what ~= "C" then descriptor = search(fn, info, false) or search(fn, info, true) end
    if descriptor == nil then return nil, refusal(info) end
    described[fn] = descriptor
    return descriptor
end

-- The cell of an upvalue: one table for all functions of the shipment that share it.
local function cell_of(fn, i, cells)
    local id <const> = debug.upvalueid(fn, i)
    if cells[id] == nil then
        local _, value <const> = debug.getupvalue(fn, i)
        cells[id] = { value }
    end
    return cells[id]
end

local function describe(fn, cells)
    local descriptor <const>, message <const> = descriptor_of(fn)
    if descriptor == nil then return nil, message end
    local list <const> = {}
    for i, name in ipairs(descriptor.upvalues) do
        list[i] = name == "_ENV" and "_ENV" or cell_of(fn, i, cells)
    end
    return descriptor, list
end

-- Loading --------------------------------------------------------------------------------------------

local function check_descriptor(d)
    local ok = type(d.text) == "string" and type(d.chunk) == "string" and math.type(d.line) == "integer"
        and d.line >= 0 and d.line < 1 << 24 and type(d.upvalues) == "table"
        and (d.constants == nil or type(d.constants) == "string")
    for _, name in ipairs(ok and d.upvalues or {}) do
        ok = ok and type(name) == "string" and name:find "^[%a_][%w_]*$" ~= nil
    end
    return ok
end

local function load_function(descriptor)
    if not check_descriptor(descriptor) then return nil, "malformed message: a function without its text" end
    local fn <const>, message <const> = compile(descriptor)
    if type(fn) ~= "function" then return nil, "malformed message: " .. tostring(message) end
    described[fn] = descriptor
    return fn
end

-- cell -> the function and upvalue that has its variable already
local homes <const> = setmetatable({}, { __mode = "k" })

local function link(fn, cells)
    for i, name in ipairs(upvalue_names(fn)) do
        local cell <const> = cells[i]
        if type(cell) == "table" then
            local home <const> = homes[cell]
            if home then
                debug.upvaluejoin(fn, i, home.fn, home.index)
            else
                homes[cell] = { fn = fn, index = i }
            end
            debug.setupvalue(fn, i, cell[1]) -- of a cell inside itself the value comes only now
        elseif name ~= "_ENV" then
            return nil, "malformed message: a function without its upvalues"
        end
    end
    return fn
end

-- Named values ----------------------------------------------------------------------------------------

local standard <const> = { "_G", "string", "table", "math", "io", "os", "coroutine", "utf8", "debug", "package" }

local function is_ours(name)
    return name == "asyncoro" or name:find "^asyncoro%."
end

-- value -> "module:field", of what has been found so far
local names <const> = setmetatable({}, { __mode = "k" })

local function note_fields(name, module)
    if type(module) ~= "table" then return end
    for field, value in next, module do
        local kind <const> = type(value)
        if type(field) == "string" and (kind == "function" or kind == "userdata" or kind == "table") then
            names[value] = names[value] or name .. ":" .. field
        end
    end
end

local function note_modules()
    for name, module in pairs(package.loaded) do
        if type(module) == "table" or type(module) == "function" then names[module] = name end
    end
    for _, name in ipairs(standard) do note_fields(name, package.loaded[name]) end
    for name, module in pairs(package.loaded) do
        if is_ours(name) then note_fields(name, module) end
    end
end

local function named(value)
    local name = names[value]
    if name == nil then
        note_modules()
        name = names[value]
    end
    return name
end

local function find(name)
    local module <const>, field <const> = name:match "^([^:]*):?(.*)$"
    local ok <const>, value = pcall(require, module)
    if ok and field ~= "" then value = type(value) == "table" and value[field] or nil end
    if not ok or value == nil then return nil, ("%s is not known here"):format(name) end
    return value
end

-- The modules as they are before anything is patched.
note_modules()

-- The class of an instance that has come from where no code is taken from.
local function class_here(name)
    local class <const> = core.class_of(name)
    if class then return class end
    return nil, ("the class %s is not known here: asyncoro.class defines it"):format(name)
end

-- The class of an instance that has come. A class of ours is defined by its module.
local function known_class(name)
    if name:find "^asyncoro%." then pcall(require, name) end
    return class_here(name)
end

core.set_shipper {
    class_here = class_here,
    known_class = known_class,
    named = named, describe = describe, load = load_function, link = link, find = find,
    class = function(name) return require "asyncoro.class" (name) end,
}

return source
