-- SPDX-License-Identifier: MIT
--- Looking for names, in this process and in its peers. Whoever waits for more than 2 seconds hears what was tried, in
-- the log.
-- @module asyncoro.names
local core <const> = require "asyncoro.core"
local network <const> = require "asyncoro.network"

local names <const> = {}

--- Find the coro that has a name (see `coro:register`), or wait until one has it. Without a location in this process
-- and, while the network runs, in every peer, those that come later included. Waits.
-- @function locate
-- @tparam string name
-- @tparam[opt] location|string location the process to look in
-- @tparam[opt] number timeout seconds; nil waits for ever, 0 only looks
-- @treturn coro
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "timeout"; with a location and 0 "notfound", or "peerdown" when it cannot be reached
-- @usage local server = assert(asyncoro.locate("server", "host.example.org:4000", 10))
function names.locate(name, location, timeout)
    return network.seek("locate", "coro", core.locate, name, location, timeout)
end

--- The same for channels (see `channel:register`). Waits.
-- @function locate_channel
-- @tparam string name
-- @tparam[opt] location|string location the process to look in
-- @tparam[opt] number timeout seconds; nil waits for ever, 0 only looks
-- @treturn channel
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string as of `locate`
function names.locate_channel(name, location, timeout)
    return network.seek("locate_channel", "channel", core.locate_channel, name, location, timeout)
end

--- The same for RCIs (see `asyncoro.rci`). Waits.
-- @function locate_rci
-- @tparam string name
-- @tparam[opt] location|string location the process to look in
-- @tparam[opt] number timeout seconds; nil waits for ever, 0 only looks
-- @treturn rci call it, and it starts a coro there
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string as of `locate`
function names.locate_rci(name, location, timeout)
    return network.seek("locate_rci", "RCI", core.locate_rci, name, location, timeout)
end

return names
