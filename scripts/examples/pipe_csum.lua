-- SPDX-License-Identifier: MIT
-- Asynchronous pipes to a program: the checksum of a file, by sha1sum, in two ways.
--   asyncoro pipe_csum.lua [FILE]
local asyncoro = require "asyncoro"

local SHA1 <const> = { "sha1sum" }
local PIPES <const> = { stdin = "pipe", stdout = "pipe" }

-- With `communicate`: it feeds the program from a stream, and collects what comes.
local function by_communicate(name)
    local file <close> = assert(asyncoro.file.open(name))
    local sha1 <close> = assert(asyncoro.process.spawn(SHA1, PIPES))
    return (assert(sha1:communicate(file)))
end

-- With coros of our own: one writes, one reads.
local function by_feeder(name)
    local sha1 <close> = assert(asyncoro.process.spawn(SHA1, PIPES))

    local function write()
        local file <close> = assert(asyncoro.file.open(name))
        for data in file:chunks(8192) do assert(sha1.stdin:write(data)) end
        sha1.stdin:close() -- the end of the input
    end

    local function read()
        return assert(sha1.stdout:read_all())
    end

    local writer <const>, reader <const> = asyncoro.spawn(write), asyncoro.spawn(read)
    assert(writer:finish())
    local _, out <const> = assert(reader:finish())
    sha1:wait()
    return out
end

asyncoro.run(function(name)
    io.write("communicate sha1sum: ", by_communicate(name))
    io.write("     feeder sha1sum: ", by_feeder(name))
end, (...) or asyncoro.program)
