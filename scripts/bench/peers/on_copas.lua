-- SPDX-License-Identifier: MIT
-- copas as a peer. The version Debian packages (1.2) waits for sockets only, so it takes part in W1 alone.
-- Its file is installed for Lua 5.1 and 5.2 but runs unchanged in 5.4.

package.path = package.path:gsub("^", "/usr/share/lua/5.2/?.lua;")

local copas <const> = require "copas"
local socket <const> = require "socket"

local n <const>, done = math.tointeger(arg[2]), 0

local function trivial()
    done = done + 1
end

assert(arg[1] == "w1")
local start <const> = socket.gettime()
for _ = 1, n do
    copas.addthread(trivial)
end
assert(done == n)
print(n / (socket.gettime() - start))
