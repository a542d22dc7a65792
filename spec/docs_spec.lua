-- SPDX-License-Identifier: MIT
-- The documents: every ```lua block runs, as a script of the host binary in a folder of its own, and prints
-- what the ```output block that follows it says, if one does; every line of an ```sh block that calls
-- scripts/run runs from the top of the tree; every link to a file leads somewhere. Others are for reading.
local program <const> = require "spec.program"

local function documents()
    return program.capture("ls README.md docs/*.md 2>/dev/null")
end

-- The fenced blocks of a document: {kind, text, line}.
local function blocks(path)
    local list <const> = {}
    local number, open = 0, nil
    for line in io.lines(path) do
        number = number + 1
        local indent <const>, kind <const> = line:match("^(%s*)```(.*)$")
        if open and kind == "" then
            list[#list + 1] = open
            open.text = table.concat(open, "\n", 1, #open) .. "\n"
            open = nil
        elseif open then
            open[#open + 1] = line:sub(#open.indent + 1)
        elseif kind then
            open = { kind = kind, line = number, indent = indent }
        end
    end
    assert(open == nil, path .. ": a block that does not end")
    return list
end

describe("the documents", function()
    local folder, absolute

    setup(function()
        folder = program.folder()
        absolute = program.capture("realpath " .. program.quote(program.path))
    end)
    teardown(function() program.remove(folder) end)

    for path in documents():gmatch("[^\n]+") do
        local list <const> = blocks(path)
        for i, block in ipairs(list) do
            if block.kind == "lua" then
                it(("%s:%d: the block runs"):format(path, block.line), function()
                    local script <const> = program.write(folder .. "/snippet.lua", block.text)
                    local code <const>, out <const>, err <const> = program.run({ script },
                        { program = absolute, folder = folder, env = { HOME = folder } })
                    assert.same({ 0, "" }, { code, err })
                    local following <const> = list[i + 1]
                    if following and following.kind == "output" then assert.equal(following.text, out) end
                end)
            elseif block.kind == "sh" then
                for line in block.text:gmatch("[^\n]+") do
                    if line:find("^scripts/run ") then
                        it(path .. ": " .. line, function()
                            local code <const>, _, err <const> =
                                program.run({ "-c", line }, { program = "sh" })
                            assert.same({ 0, "" }, { code, err })
                        end)
                    end
                end
            end
        end

        it(path .. " links to files that are there", function()
            local found <const> = {}
            local place <const> = path:match("^(.*/)") or ""
            for target in program.read(path):gmatch("%]%(([^)%s]+)%)") do
                local file <const> = target:gsub("#.*$", "")
                if file ~= "" and not file:find("^%a+:") and not os.execute("test -e " .. place .. file) then
                    found[#found + 1] = target
                end
            end
            assert.equal("", table.concat(found, "\n"))
        end)
    end

    it("begin with README.md, which shows how to run and how to test", function()
        local text <const> = program.read("README.md")
        assert.matches("scripts/run ", text, 1, true)
        assert.matches("scripts/test", text, 1, true)
    end)
end)
