-- SPDX-License-Identifier: MIT
--- The subcommands of the host binary: `asyncoro node`, `asyncoro doctor` and so on.
-- Each is a module `asyncoro.cli.WORD` with a function `main(arg)`; a build has those whose file it
-- carries, so that a new one is only a new file.
-- @module asyncoro.cli
local file <const> = require "asyncoro.file"

local cli <const> = {}

-- Modules of this build only: one that merely lies in the current folder is not ours.
local function is_built_in(name)
    return package.loaded[name] ~= nil or package.preload[name] ~= nil
end

local function complain(word, message)
    io.stderr:write("asyncoro: ", word and word .. ": " or "", tostring(message), "\n")
    return 1
end

--- Run a subcommand.
-- @tparam string word the subcommand
-- @tparam table arg the words of the command line: its name at 0, its arguments from 1
-- @treturn integer the exit code: 0 when its main returned nothing or true, the number it returned,
-- 1 (said on stderr) when it returned nil and a message or is not part of this build
function cli.main(word, arg)
    local name <const> = "asyncoro.cli." .. word
    if not is_built_in(name) then
        return complain(nil, ("'%s' is not part of this build"):format(word))
    end
    local code, message = require(name).main(arg)
    if message ~= nil then
        return complain(word, message)
    elseif math.type(code) == "integer" then
        return code
    end
    return code == false and 1 or 0
end

--- Write a new file, whole or not at all; one that is there is kept. For the subcommands. Waits.
-- @tparam string path
-- @tparam string text
-- @tparam integer permissions
-- @tparam string advice what to do when the file is there
-- @treturn boolean true
-- @treturn[2] nil
-- @treturn[2] string what is wrong
function cli.create(path, text, permissions, advice)
    local stream <close>, message <const>, code <const> = file.open(path, "x", { permissions = permissions })
    if not stream then
        if code ~= "exists" then return nil, message end
        return nil, ("%s is there already, and is kept: %s"):format(path, advice)
    end
    local written, why = stream:write(text)
    if written then written, why = stream:flush() end
    if written then return true end
    os.remove(path)
    return nil, why
end

return cli
