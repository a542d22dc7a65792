-- SPDX-License-Identifier: MIT
-- W12: a file of N MiB between two processes, from tmpfs to tmpfs. Prints MB/s.
local pair <const> = dofile((arg[0]:gsub("[^/]*$", "pair.lua")))

local FOLDER <const> = "/dev/shm/asyncoro-w12"

-- Blocks that differ from each other.
local function make(asyncoro, path, mib)
    local stream <close> = assert(asyncoro.file.open(path, "w"))
    local block <const> = ("0123456789abcdef"):rep(2 ^ 16 - 1)
    for i = 1, mib do assert(stream:write(("%016d"):format(i), block)) end
    assert(stream:flush())
end

local function here(asyncoro, there, mib)
    local path <const> = FOLDER .. ".source"
    make(asyncoro, path, mib)
    local start <const> = asyncoro.now()
    local arrived <const>, sent = asyncoro.send_file(there:location(), path)
    local took <const> = asyncoro.now() - start
    os.remove(path)
    if arrived then asyncoro.del_file(there:location(), arrived) end
    there:call "end"
    os.execute("rm -rf " .. FOLDER)
    assert(arrived, sent)
    assert(sent == mib * 2 ^ 20)
    return sent / took / 1e6
end

local function there(asyncoro)
    local _, reply <const> = asyncoro.receive()
    reply(true)
end

pair(here, there, FOLDER)
