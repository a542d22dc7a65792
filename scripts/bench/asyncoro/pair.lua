-- SPDX-License-Identifier: MIT
-- Two processes for w9, w10 and w12: the program starts itself once more, with the word "there" behind its arguments;
-- that one runs there(asyncoro) in a registered coro, this one here(asyncoro, handle, n), and prints the figure that it
-- gives.
local asyncoro <const> = require "asyncoro"

-- Both know the location, so nobody has to be discovered.
local function join(name, dest_path)
    return assert(asyncoro.network {
        name = name, host = "127.0.0.1", discovery = { broadcast = false, multicast = false }, dest_path = dest_path,
    })
end

local function serve(there, dest_path)
    local location <const> = join("there", dest_path)
    local coro <const> = asyncoro.spawn(there, asyncoro)
    assert(coro:register "there")
    io.write(tostring(location), "\n")
    io.flush()
    coro:finish()
end

return function(here, there, dest_path)
    local n <const>, role <const> = math.tointeger(arg[1]), arg[2]
    asyncoro.run(function()
        if role == "there" then return serve(there, dest_path) end
        local other <close> =
            assert(asyncoro.process.spawn({ arg[-1], arg[0], arg[1], "there" }, { stdout = "pipe" }))
        local location <const> = other.stdout:read_line()
        join "here"
        print(here(asyncoro, assert(asyncoro.locate("there", location)), n))
        other:wait(5)
    end)
end
