-- SPDX-License-Identifier: MIT
--- Files between processes, each over a connection of its own beside that for messages.
-- The receiver has one folder for them, which nothing leaves (`dest_path`); a file appears there under its name only when
-- it is whole.
-- @module asyncoro.transfer
local core <const> = require "asyncoro.core"
local network <const> = require "asyncoro.network"
local options <const> = require "asyncoro.options"

local OVERWRITE <const>, CHECKSUM <const>, RESUME <const> = 1, 2, 4

local SEND <const> = { dir = "string", overwrite = "boolean", checksum = "boolean", resume = "boolean", timeout = "time" }
local REMOVE <const> = { dir = "string", timeout = "time" }

local transfer <const> = {}

-- Raises on behalf of the caller's caller.
local function check(what, location, path)
    if not core.is_location(location) then
        if type(location) ~= "string" then error(("%s: a location expected, got %s"):format(what, type(location)), 3) end
        local place <const>, message <const> = core.location(location)
        if place == nil then error(what .. ": " .. message, 3) end
    end
    if type(path) ~= "string" then error(("%s: a path expected, got %s"):format(what, type(path)), 3) end
end

--- Send a file to the process at a location: under its own last name, into the folder for files there. Waits.
-- One that is there already, with the same size, permissions and time (within a second), is not sent again. Permissions
-- and the time of the last change are kept.
-- @function send_file
-- @tparam location|string location
-- @tparam string path of the file here
-- @tparam[opt] table opts
-- @tparam[opt] string opts.dir a folder below that for files there; it is made when it is not there
-- @tparam[opt=false] boolean opts.overwrite replace another file of this name, in one step
-- @tparam[opt=false] boolean opts.checksum compare SHA-256 sums: of a file that seems to be the same, and of all that
-- was sent
-- @tparam[opt=true] boolean opts.resume go on from what an earlier transfer, which was cut off, has left there
-- @tparam[opt=10] number opts.timeout seconds in which nothing moves
-- @treturn string its path there
-- @treturn integer how many bytes were sent: 0 when the file was there
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "exists" (another file of this name), "notfound", "denied" (the path would leave the folder),
-- "invalid" (no plain file, here or there), "toolarge", "nospace", "busy" (too many files on their way, or it was changed
-- meanwhile), "timeout", "refused", "reset", "auth" ...
-- @usage local path = assert(asyncoro.send_file(location, "data.csv", { dir = "input", checksum = true }))
function transfer.send_file(location, path, opts)
    local given <const> = options.check("send_file", opts, SEND)
    check("send_file", location, path)
    local flags <const> = (given.overwrite and OVERWRITE or 0) | (given.checksum and CHECKSUM or 0) |
        (given.resume == false and 0 or RESUME)
    local ok <const>, message <const>, code <const> = network.ready "send_file"
    if not ok then return nil, message, code end
    return core.send_file(location, path, given.dir, flags, given.timeout)
end

--- Remove a file from the folder for files of the process at a location, and the folders above it that are empty then.
-- Waits.
-- @function del_file
-- @tparam location|string location
-- @tparam string path below that folder, or as `send_file` has returned it
-- @tparam[opt] table opts
-- @tparam[opt] string opts.dir a folder below that for files, in front of the path
-- @tparam[opt=10] number opts.timeout seconds in which nothing is heard
-- @treturn boolean true
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string code as of `send_file`
function transfer.del_file(location, path, opts)
    local given <const> = options.check("del_file", opts, REMOVE)
    check("del_file", location, path)
    local ok <const>, message <const>, code <const> = network.ready "del_file"
    if not ok then return nil, message, code end
    local done, why, word = core.del_file(location, path, given.dir, 0, given.timeout)
    if done then return true end
    return nil, why, word
end

--- The folder in which this process receives files. Waits only when the network starts.
-- @function dest_path
-- @treturn string an absolute path
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string code
function transfer.dest_path()
    local ok <const>, message <const>, code <const> = network.ready "dest_path"
    if not ok then return nil, message, code end
    return core.dest_path()
end

return transfer
