-- SPDX-License-Identifier: MIT
-- Chained pipes: how many lines, words and bytes of a file say "error": grep -i error FILE | wc.
--   asyncoro pipe_grep.lua [FILE]
-- To follow a log as it grows, start the pipeline { "tail", "-f", name }, { "grep", "--line-buffered", "-i", "error" }
-- without input, and print its lines as they come.
local asyncoro = require "asyncoro"

local function write(stream, name)
    for line in asyncoro.file.lines(name, "L") do assert(stream:write(line)) end
    stream:close() -- the end of the input
end

local function read(stream)
    for line in stream:lines "L" do print(line) end
end

asyncoro.run(function(name)
    local pipeline <close> = assert(asyncoro.process.pipeline({ { "grep", "-i", "error" }, "wc" },
        { stdin = "pipe", stdout = "pipe" }))
    local writer <const> = asyncoro.spawn(write, pipeline.stdin, name)
    local reader <const> = asyncoro.spawn(read, pipeline.stdout)
    assert(writer:finish())
    assert(reader:finish())
end, (...) or "/var/log/syslog")
