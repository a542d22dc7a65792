-- SPDX-License-Identifier: MIT
--- The tokens of Lua 5.4 source text.
-- @module asyncoro.lexer
local lexer <const> = {}

local keywords <const> = {}
for word in ([[and break do else elseif end false for function goto if in local nil not or repeat return then true
    until while]]):gmatch "%a+" do
    keywords[word] = true
end

-- Longest first.
local operators <const> = {
    "...", "<<", ">>", "//", "==", "~=", "<=", ">=", "::", "..",
    "+", "-", "*", "/", "%", "^", "#", "&", "~", "|", "<", ">", "=", "(", ")", "{", "}", "[", "]", ";", ":", ",", ".",
}

local numerals <const> = {
    "^0[xX]%x*%.?%x*[pP][+-]?%d+", "^0[xX]%x*%.?%x*", "^%d*%.?%d*[eE][+-]?%d+", "^%d*%.?%d*",
}

local function line_breaks(text, from, to)
    local count, at = 0, from
    while true do
        local first <const> = text:find("[\r\n]", at)
        if first == nil or first > to then return count end
        count = count + 1
        local pair <const> = text:sub(first, first + 1)
        at = first + ((pair == "\r\n" or pair == "\n\r") and 2 or 1)
    end
end

local function fail(line, what)
    error(("line %d: %s"):format(line, what), 0)
end

-- The last byte of the long bracket that begins at `at`; nil when none does.
local function long_bracket(text, at, line)
    local level <const> = text:match("^%[(=*)%[", at)
    if level == nil then return nil end
    local _, last <const> = text:find("]" .. level .. "]", at, true)
    return last or fail(line, "a long string or comment is not finished")
end

-- The last byte of the quoted string that begins at `at`.
local function quoted(text, at, line)
    local quote <const>, i = text:sub(at, at), at + 1
    while true do
        local stop <const> = text:find('[\\\r\n"\']', i)
        if stop == nil then fail(line, "a string is not finished") end
        local c <const> = text:sub(stop, stop)
        if c == quote then return stop end
        if c == "\\" then
            local white <const> = text:match("^z%s*()", stop + 1)
            local pair <const> = text:match("^\r\n", stop + 1) or text:match("^\n\r", stop + 1)
            i = white or stop + (pair and 3 or 2)
        elseif c == "\r" or c == "\n" then
            fail(line, "a string is not finished")
        else
            i = stop + 1
        end
    end
end

-- Skip white space and comments: where the next token begins, and its line.
local function skip(text, at, line)
    while true do
        local _, white <const> = text:find("^%s+", at)
        local last = white
        if white == nil and text:find("^%-%-", at) then
            last = long_bracket(text, at + 2, line) or (text:find("[\r\n]", at) or #text + 1) - 1
        end
        if last == nil then return at, line end
        line = line + line_breaks(text, at, last)
        at = last + 1
    end
end

local function operator_at(text, at)
    for _, operator in ipairs(operators) do
        if text:sub(at, at + #operator - 1) == operator then return operator end
    end
end

-- The kind and the last byte of the token at `at`.
local function token_at(text, at, line)
    local word <const> = text:match("^[%a_][%w_]*", at)
    if word then return keywords[word] and "keyword" or "name", at + #word - 1 end
    if text:find("^%.?%d", at) then
        for _, pattern in ipairs(numerals) do
            local _, last <const> = text:find(pattern, at)
            if last and last >= at then return "number", last end
        end
    end
    if text:find("^[\"']", at) then return "string", quoted(text, at, line) end
    local long <const> = long_bracket(text, at, line)
    if long then return "string", long end
    local operator <const> = operator_at(text, at)
    if operator == nil then fail(line, ("'%s' is no Lua"):format(text:sub(at, at))) end
    return "operator", at + #operator - 1
end

-- Where the text proper begins: behind a byte order mark and a first line that starts with '#'.
local function start(text)
    local at <const> = text:sub(1, 3) == "\xEF\xBB\xBF" and 4 or 1
    return text:match("^#[^\r\n]*()", at) or at
end

--- Split source text into tokens.
-- @tparam string text
-- @treturn ?{table,...} each with `kind` ("keyword", "name", "number", "string", "operator"), `text`, `line`, and
-- `from` and `to`, its first and last byte
-- @treturn ?string what is wrong, when it is no Lua
function lexer.tokens(text)
    local ok <const>, result <const> = pcall(function()
        local tokens <const> = {}
        local at, line = skip(text, start(text), 1)
        while at <= #text do
            local kind <const>, last <const> = token_at(text, at, line)
            tokens[#tokens + 1] = { kind = kind, text = text:sub(at, last), line = line, from = at, to = last }
            at, line = skip(text, last + 1, line + line_breaks(text, at, last))
        end
        return tokens
    end)
    if ok then return result end
    return nil, result
end

return lexer
