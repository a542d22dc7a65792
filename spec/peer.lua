-- SPDX-License-Identifier: MIT
--- Other processes for specs of the network: a script in the host binary, whose network listens on loopback.
local program <const> = require "spec.program"

local peer <const> = {}

--- What both sides start their networks with.
peer.SECRET = "a secret for specs, and for nothing else"

--- Options for asyncoro.network; `more` goes on top.
function peer.options(more)
    local opts <const> = { secret = peer.SECRET, host = "127.0.0.1", discovery = false, linger = 2 }
    for name, value in pairs(more or {}) do opts[name] = value end
    return opts
end

local HEAD <const> = [[
local asyncoro = require "asyncoro"
%s
print(assert(asyncoro.network { secret = %q, host = "127.0.0.1", discovery = false, %s }))
io.stdout:flush()
]]

--- Starts a script in a process of its own, with its network running; `asyncoro` is a local of it.
-- @tparam string script
-- @tparam[opt=""] string more options of its network, as text of a table
-- @treturn table as of program.start, with `location` and the process id `id`
function peer.start(script, more)
    local text <const> = HEAD:format(program.PRINT_ID, peer.SECRET, more or "") .. script
    local running <const> = program.start { "-e", text }
    running.id = tonumber(running:line())
    running.location = running:line()
    return running
end

--- Kills it, if it has not ended.
function peer.kill(running)
    os.execute(("kill -KILL %d 2>/dev/null"):format(running.id))
end

--- A script that answers calls with what it was sent, under the name "echo", until it is sent nil.
peer.ECHO = [[
asyncoro.current():register "echo"
for message, reply in asyncoro.messages() do
    if reply then reply(message) end
end
]]

return peer
