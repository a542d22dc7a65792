-- SPDX-License-Identifier: MIT
--- asyncoro: coroutines that wait for messages, timers and each other, in plain Lua.
-- This file is the public face: it gathers what the engine (`asyncoro.core`) and the files beside it provide.
-- @module asyncoro

local core <const> = require "asyncoro.core"
local class <const> = require "asyncoro.class"
local source <const> = require "asyncoro.source"

local asyncoro <const> = { _VERSION = "asyncoro " .. core.version }

for _, name in ipairs {
    "run", "spawn", "current", "coros", "sleep", "yield", "suspend", "receive", "messages", "monitor",
    "hot_swappable", "digest", "with_timeout", "shield", "isolate", "location", "time", "now", "stats", "wait_fd",
} do
    asyncoro[name] = core[name]
end

asyncoro.class = class

local Exit <const> = class("asyncoro.exit")

function Exit:__tostring()
    return string.format("exit of %s: %s", tostring(self.coro), self.reason)
end

core.set_exit_class(Exit)
core.set_namer(source.name)

--- Tell an exit message, which a monitor gets, from any other.
-- @function is_exit
-- @param message any value
-- @treturn boolean
function asyncoro.is_exit(message)
    return getmetatable(message) == Exit
end

-- The other nouns, each loaded at its first use.
local nouns <const> = {
    atexit = "atexit", categories = "categories", channel = "channel", close_peer = "network", condition = "lock",
    connect = "socket", del_file = "transfer", dest_path = "transfer", discover = "network", event = "event",
    file = "file", group = "group", http = "http", ignore_peers = "network", listen = "socket", locate = "names",
    locate_channel = "names", locate_peer = "network", locate_rci = "names", lock = "lock", log = "log",
    network = "network", peer = "network", peer_status = "network", peers = "network", process = "process",
    queue = "queue", rci = "rci", reload_certificates = "network", resolve = "resolve", rlock = "lock",
    select = "select", semaphore = "semaphore",
    send_file = "transfer", signal = "signal", socket = "socket", stderr = "standard", stdin = "standard",
    stdout = "standard", supervisor = "supervisor", thread_pool = "pool", tls = "tls", udp = "udp",
}

local function load_noun(name)
    local noun <const> = nouns[name]
    if noun == nil then return nil end
    local module <const> = require("asyncoro." .. noun)
    local value <const> = type(module) == "table" and rawget(module, name) or module
    asyncoro[name] = value
    return value
end

--- The path of the running script, as it was given; nil at the prompt.
asyncoro.program = arg and arg[0]

--- The folder of the running script, without a slash at its end.
asyncoro.script_dir = asyncoro.program and (asyncoro.program:match("^(.*)/[^/]*$") or ".")

return setmetatable(asyncoro, { __index = function(_, name) return load_noun(name) end })
