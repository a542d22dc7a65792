-- SPDX-License-Identifier: MIT
-- Files without blocking: the lines of all files of a folder are counted at once; the report is written atomically, so
-- that whoever reads it sees a whole one.
--   asyncoro files.lua [FOLDER [REPORT]]
local asyncoro = require "asyncoro"
local file <const> = asyncoro.file

local function count_lines(name)
    local count = 0
    for _ in file.lines(name) do count = count + 1 end
    return count
end

asyncoro.run(function(folder, report)
    local counts, names <const> = {}, assert(file.list(folder))
    asyncoro.group(function(group)
        for _, name in ipairs(names) do
            if file.exists(folder .. "/" .. name) == "file" then
                group:spawn(function()
                    local count <const> = count_lines(folder .. "/" .. name)
                    counts[name] = count
                end)
            end
        end
    end)
    local lines <const> = {}
    for _, name in ipairs(names) do
        if counts[name] then lines[#lines + 1] = ("%7d %s\n"):format(counts[name], name) end
    end
    local text <const> = table.concat(lines)
    if report then assert(file.write(report, text, { atomic = true })) end
    asyncoro.stdout:write(text)
end, (...) or ".", select(2, ...))
