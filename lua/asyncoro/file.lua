-- SPDX-License-Identifier: MIT
--- Files and folders. Everything here waits on other threads, not on the disk: the other coros go on.
-- An open file is a stream, with `seek`, `flush` and `sync`. Every function but `open` with a wrong mode gives nil,
-- message, code when it fails: "notfound", "denied", "exists", "invalid" (a folder where a file was expected, or the
-- other way round), "nospace", "limit" (too many open files), "toolarge" (a name), "busy" ...
-- @module asyncoro.file
local core <const> = require "asyncoro.core"
local options <const> = require "asyncoro.options"

local path <const> = core.file.path

local file <const> = {}

--- Open a file. Waits.
-- @function open
-- @tparam string name
-- @tparam[opt="r"] string mode as of `io.open`: "r", "w", "a", each with "+" and "b"; or "x": as "w", for a file that
-- does not exist yet
-- @tparam[opt] table opts
-- @tparam[opt=0o666] integer opts.permissions of a new file, less the umask
-- @treturn stream
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string code
-- @raise on a mode that is none
function file.open(name, mode, opts)
    local given <const> = options.check("open", opts, { permissions = "integer" })
    local flags <const> = core.file.open_flags(mode or "r")
    if not flags then error(("open: '%s' is no mode ('r', 'w', 'a', 'x', '+', 'b')"):format(mode), 2) end
    return path("open", name, nil, given.permissions or 438, flags)
end

--- What is known of a file, of where it leads when it is a symbolic link. Waits.
-- @function stat
-- @tparam string name
-- @treturn table `type` ("file", "directory", "link", "fifo", "socket", "device"), `size` (bytes), `mode`
-- (permissions), `modified`, `accessed`, `changed` (seconds since 1970), `links`, `inode`, `device`, `uid`, `gid`
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string code
function file.stat(name) return path("stat", name) end

--- The same of a symbolic link itself. Waits.
-- @function lstat
-- @tparam string name
-- @treturn table see `stat`
function file.lstat(name) return path("lstat", name) end

--- Is there such a file? Waits.
-- @function exists
-- @tparam string name
-- @treturn ?string its type (see `stat`); false when there is none
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string code when that cannot be known: "denied" ...
function file.exists(name)
    local about <const>, message <const>, code <const> = path("stat", name)
    if about then return about.type end
    if code == "notfound" then return false end
    return nil, message, code
end

--- Rename a file or folder; one that has the new name already is replaced. Waits.
-- @function rename
-- @tparam string from
-- @tparam string to
-- @treturn boolean true
function file.rename(from, to) return path("rename", from, to) end

--- Remove a file, or an empty folder. Waits.
-- @function remove
-- @tparam string name
-- @treturn boolean true
function file.remove(name) return path("remove", name) end

--- Make a folder. Waits.
-- @function mkdir
-- @tparam string name
-- @tparam[opt=0o777] integer permissions less the umask
-- @treturn boolean true
function file.mkdir(name, permissions) return path("mkdir", name, nil, permissions or 511) end

--- The names in a folder, sorted, without "." and "..". Waits.
-- @function list
-- @tparam[opt="."] string name
-- @treturn {string,...}
function file.list(name)
    local names <const>, message <const>, code <const> = path("list", name or ".")
    if not names then return nil, message, code end
    table.sort(names)
    return names
end

--- Copy a plain file. Waits. A file that has the other name is overwritten; a new one gets the permissions of the first,
-- less the umask.
-- @function copy
-- @tparam string from
-- @tparam string to
-- @treturn integer how many bytes that was
function file.copy(from, to) return path("copy", from, to) end

--- Make a symbolic link. Waits.
-- @function symlink
-- @tparam string target where it leads
-- @tparam string name of the link
-- @treturn boolean true
function file.symlink(target, name) return path("symlink", target, name) end

--- Change the permissions of a file. Waits.
-- @function chmod
-- @tparam string name
-- @tparam integer permissions
-- @treturn boolean true
function file.chmod(name, permissions) return path("chmod", name, nil, permissions) end

--- The path without links, "." and "..". Waits.
-- @function realpath
-- @tparam string name
-- @treturn string
function file.realpath(name) return path("realpath", name) end

--- Read a whole file. Waits.
-- @function read
-- @tparam string name
-- @tparam[opt=67108864] integer limit of bytes
-- @treturn string
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string code; "toolarge" over the limit
function file.read(name, limit)
    local stream <close>, message <const>, code <const> = file.open(name)
    if not stream then return nil, message, code end
    return stream:read_all(limit)
end

local function template_in(folder, prefix)
    return ("%s/%sXXXXXX"):format(folder, prefix)
end

local function write_all(stream, data, sync)
    local done, message, code = stream:write(data)
    if done and sync then done, message, code = stream:sync() end
    if done then done, message, code = stream:close() end
    if done then return #data end
    return nil, message, code
end

-- A new file beside `name`, with the permissions that `name` would have got.
local function open_beside(name)
    local folder <const>, flags <const> = name:match("^.*/") or "", core.file.open_flags "x"
    local stream, message, code
    for _ = 1, 100 do
        local temporary <const> = ("%s.new-%08x"):format(folder, math.random(0, 0xffffffff))
        stream, message, code = path("open", temporary, nil, 438, flags)
        if stream then return stream, temporary end
        if code ~= "exists" then break end
    end
    return nil, ("write %s: %s"):format(name, message), code
end

-- A symbolic link stays one: what it leads to is replaced.
local function write_new(name, data, sync)
    local target <const> = path("realpath", name) or name
    local about <const> = path("stat", target)
    if about and about.type ~= "file" then
        return nil, ("write %s: a %s, which cannot be replaced"):format(name, about.type), "invalid"
    end
    local stream <close>, temporary <const>, code <const> = open_beside(target)
    if not stream then return nil, temporary, code end
    local replaced, message, word
    local _ <close> = setmetatable({}, { __close = function()
        if not replaced then path("remove", temporary) end
    end })
    local done = true
    if about then done, message, word = path("chmod", temporary, nil, about.mode) end
    if done then done, message, word = write_all(stream, data, sync) end
    if done then replaced, message, word = path("rename", temporary, target) end
    if replaced and sync then replaced, message, word = path("sync", target:match "^(.*/)[^/]*$" or ".") end
    if replaced then return #data end
    return nil, message, word
end

--- Write a whole file. Waits.
-- @function write
-- @tparam string name
-- @tparam string data
-- @tparam[opt] table opts
-- @tparam[opt=false] boolean opts.atomic write beside it and rename: others see the old file or the new one, never a
-- part; permissions stay, links too
-- @tparam[opt=false] boolean opts.append at the end of what is there
-- @tparam[opt=false] boolean opts.sync wait until the disk has it (fsync), and of an atomic write its new name too
-- @treturn integer how many bytes
function file.write(name, data, opts)
    local given <const> = options.check("write", opts, { atomic = "boolean", append = "boolean", sync = "boolean" })
    if type(data) ~= "string" then error("write: a string expected, got " .. type(data), 2) end
    if given.atomic and given.append then error("write: 'atomic' and 'append' exclude each other", 2) end
    if given.atomic then return write_new(name, data, given.sync) end
    local stream <close>, message <const>, code <const> = file.open(name, given.append and "a" or "w")
    if not stream then return nil, message, code end
    return write_all(stream, data, given.sync)
end

--- Iterate over the lines of a file, without their ends: `for line in file.lines(name) do`. Waits. Raises when the file
-- cannot be opened or read.
-- @function lines
-- @tparam string name
-- @tparam[opt="l"] string format "l", or "L": with the ends of lines
-- @treturn function iterator; the file is closed at the end of the loop
function file.lines(name, format)
    local stream <const>, message <const> = file.open(name)
    if not stream then error(message, 2) end
    local iterator <const> = stream:lines(format)
    return function() return iterator(stream) end, nil, nil, stream
end

local function temporary_folder() return os.getenv("TMPDIR") or "/tmp" end

--- A new file that nobody else has, readable and writable only for this user. Waits. Remove it when it is done with.
-- @function temporary
-- @tparam[opt] string folder $TMPDIR or /tmp when nil
-- @treturn stream
-- @treturn string its name
function file.temporary(folder) return path("temporary", template_in(folder or temporary_folder(), "asyncoro-")) end

--- A new folder, only for this user. Waits. Remove it when it is done with.
-- @function temporary_dir
-- @tparam[opt] string folder $TMPDIR or /tmp when nil
-- @treturn string its name
function file.temporary_dir(folder)
    return path("temporary_dir", template_in(folder or temporary_folder(), "asyncoro-"))
end

return file
