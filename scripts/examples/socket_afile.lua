-- SPDX-License-Identifier: MIT
-- A file travels through a socket: written in blocks, read in lines, and summed up on both sides.
--   socket_afile.lua [FILE]     this file
local asyncoro = require "asyncoro"

local function client(host, port, name)
    local file <close> = assert(asyncoro.file.open(name))
    local stream <close> = assert(asyncoro.connect(host, port))
    local blocks = {}
    for block in file:chunks(16384) do
        assert(stream:write(block))
        blocks[#blocks + 1] = block
    end
    print("client sha1 csum: " .. asyncoro.digest("sha1", table.concat(blocks)))
end

-- From a descriptor: it might as well have come from another engine, or from a C library.
local function server(fd)
    local stream <close> = assert(asyncoro.socket.from_fd(fd))
    local lines = {}
    for line in stream:lines "L" do lines[#lines + 1] = line end
    print("server sha1 csum: " .. asyncoro.digest("sha1", table.concat(lines)))
    print("lines: " .. #lines)
end

asyncoro.run(function(name)
    local listener <close> = assert(asyncoro.listen("127.0.0.1", 0))
    local host, port = listener:address()
    print(("host: %s, port: %d"):format(host, port))
    asyncoro.spawn(client, host, port, name or arg[0])
    server(assert(assert(listener:accept()):detach()))
end, ...)
