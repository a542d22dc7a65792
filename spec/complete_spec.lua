-- SPDX-License-Identifier: MIT
local complete <const> = require "asyncoro.complete"

describe("asyncoro.complete", function()
    local function never() error("called") end
    local base <const> = {inherited = 1, method = never}
    local globals <const> = {
        format = 1, forest = 2, ["not a name"] = 3, [1] = 4,
        object = setmetatable({field = 1, fill = never}, {__index = base}),
        lazy = setmetatable({own = 1}, {__index = never}),
        text = "",
    }
    globals.loop = setmetatable({}, {})
    getmetatable(globals.loop).__index = globals.loop

    local function names(before)
        return table.concat((complete.candidates(before, globals)), " ")
    end

    it("gives globals and keywords that begin so, sorted", function()
        assert.equal("for forest format", names("x = fo"))
        assert.equal("forest", names("fore"))
        assert.equal("", names("nothing_of_this_name"))
    end)

    it("gives fields, those of __index too", function()
        assert.equal("field fill inherited method", names("print(object."))
        assert.equal("field fill", names("object.fi"))
    end)

    it("gives functions only after a colon", function()
        assert.equal("fill method", names("object:"))
        assert.equal("format", names("text:form"))
    end)

    it("never calls an __index function, and survives one that goes in a circle", function()
        assert.equal("own", names("lazy."))
        assert.equal("", names("lazy.other."))
        assert.equal("", names("loop."))
    end)

    it("gives nothing after a value that has no name, a number or an unknown name", function()
        assert.equal("", names("f().x"))
        assert.equal("", names("1.x"))
        assert.equal("", names("unknown.x"))
    end)

    describe("key", function()
        it("inserts what all candidates share", function()
            assert.same({"r", nil}, {complete.key("x = fo", globals)})
            assert.same({"ield", nil}, {complete.key("object.f", {object = {field = 1}})})
        end)

        it("shows the candidates when they share no more", function()
            local insert <const>, show <const> = complete.key("for", globals)
            assert.is_nil(insert)
            assert.equal("for     forest  format", (show:gsub("%s+$", "")))
        end)

        it("indents where nothing has been typed, and does nothing where nothing fits", function()
            assert.equal("    ", (complete.key("  ", globals)))
            assert.same({}, {complete.key("unknown_", globals)})
        end)

        it("shows no more than a screen can hold", function()
            local many <const> = {}
            for i = 1, 300 do
                many[("name%03d"):format(i)] = i
            end
            assert.equal("ame", (complete.key("all.n", {all = many})))
            local _, show <const> = complete.key("all.name", {all = many})
            assert.matches("^name001  name002.*  name200\n%.%.%. and 100 more$", show)
        end)
    end)
end)
