-- SPDX-License-Identifier: MIT
-- pipe: N MiB from one program through us to another. Prints MB/s.
local asyncoro <const> = require "asyncoro"

asyncoro.run(function(mib)
    local start <const> = asyncoro.now()
    local source <close> = assert(asyncoro.process.spawn({ "head", "-c", mib .. "M", "/dev/zero" }, { stdout = "pipe" }))
    local sink <close> = assert(asyncoro.process.spawn({ "sh", "-c", "exec cat >/dev/null" }, { stdin = "pipe" }))
    local bytes = 0
    for chunk in source.stdout:chunks() do
        bytes = bytes + #chunk
        assert(sink.stdin:write(chunk))
    end
    sink.stdin:close()
    assert(source:wait() and sink:wait() and bytes == mib * 2 ^ 20)
    print(bytes / (asyncoro.now() - start) / 1e6)
end, math.tointeger(arg[1]))
