-- SPDX-License-Identifier: MIT
-- copy: a file of N MiB, from tmpfs to tmpfs. Prints MB/s of file.copy, then of a loop over chunks() and write().
local asyncoro <const> = require "asyncoro"
local file <const> = asyncoro.file

local FOLDER <const> = "/dev/shm"

local function loop(from, to)
    local source <close> = assert(file.open(from))
    local sink <close> = assert(file.open(to, "w"))
    for chunk in source:chunks() do assert(sink:write(chunk)) end
    assert(sink:close())
end

asyncoro.run(function(mib)
    local folder <const> = assert(file.temporary_dir(FOLDER))
    local from <const>, to <const> = folder .. "/from", folder .. "/to"
    local function measure(copy)
        local start <const> = asyncoro.now()
        assert(copy(from, to) ~= nil or file.stat(to).size == mib * 2 ^ 20)
        local took <const> = asyncoro.now() - start
        file.remove(to)
        return mib * 2 ^ 20 / took / 1e6
    end
    assert(asyncoro.process.run { "sh", "-c", ("head -c %dM /dev/zero >%s"):format(mib, from) })
    local by_copy <const>, by_loop <const> = measure(file.copy), measure(loop)
    file.remove(from)
    file.remove(folder)
    print(by_copy, by_loop)
end, math.tointeger(arg[1]))
