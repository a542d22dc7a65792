-- SPDX-License-Identifier: MIT
local lexer = require "asyncoro.lexer"

local function texts(source)
    local list = {}
    for i, token in ipairs(assert(lexer.tokens(source))) do list[i] = token.text end
    return table.concat(list, " ")
end

local function kinds(source)
    local list = {}
    for i, token in ipairs(assert(lexer.tokens(source))) do list[i] = token.kind:sub(1, 1) end
    return table.concat(list)
end

describe("lexer", function()
    it("splits operators, the longest first", function()
        assert.equal("a <= b >> c // d :: .. ... ~= ~ e", texts "a<=b>>c//d::.. ...~=~e")
    end)

    it("knows all numerals", function()
        assert.equal("3 345 0xff 0xBEBADA 3.0 3.1416 314.16e-2 0.31416E1 34e1 0x0.1E 0xA23p-4 0X1.921FB54442D18P+1 .5 3.",
            texts "3 345 0xff 0xBEBADA 3.0 3.1416 314.16e-2 0.31416E1 34e1 0x0.1E 0xA23p-4 0X1.921FB54442D18P+1 .5 3.")
        assert.equal("a .. 1 .. b", texts "a..1 ..b")
    end)

    it("knows strings with all escapes", function()
        assert.equal("s", kinds [["a \" \\ \z
            b \x41 \u{20AC} 'end'"]])
        assert.equal("s", kinds [['it\'s "end" -- no comment']])
        assert.equal("s", kinds "[==[ ]] ]=] end ]==]")
        assert.equal("s", kinds '"line \\\r\n more"')
    end)

    it("skips comments and white space, and counts lines", function()
        local tokens = lexer.tokens "#!/bin/lua\n-- one\r\n--[[ two\n three ]] x --[==[ ]] ]==] y\n\n--\nz"
        assert.equal("x y z", tokens[1].text .. " " .. tokens[2].text .. " " .. tokens[3].text)
        assert.equal(4, tokens[1].line)
        assert.equal(7, tokens[3].line)
    end)

    it("counts the lines of long strings", function()
        local tokens = lexer.tokens "a = [[\n\n]] b"
        assert.equal(1, tokens[3].line)
        assert.equal(3, tokens[4].line)
    end)

    it("tells keywords from names", function()
        assert.equal("knknk", kinds "function endless end _end goto")
    end)

    it("says what is no Lua", function()
        for source, wanted in pairs {
            ['"abc'] = "line 1: a string is not finished", ["\n'a\nb'"] = "line 2: a string is not finished",
            ["[[ a"] = "line 1: a long string", ["--[==[ a ]]"] = "long string or comment", ["a ? b"] = "'%?' is no Lua",
        } do
            local tokens, message = lexer.tokens(source)
            assert.is_nil(tokens)
            assert.matches(wanted, message)
        end
    end)

    it("reads its own source", function()
        local file = assert(io.open "lua/asyncoro/lexer.lua")
        local text = file:read "a"
        file:close()
        local tokens = assert(lexer.tokens(text))
        for i = 2, #tokens do assert.is_true(tokens[i].from > tokens[i - 1].to) end
    end)
end)
