-- SPDX-License-Identifier: MIT
--- The class of the messages of `asyncoro.peer_status`: `location` and `name` of a peer, and its `status`, "online" or
-- "offline".
-- @module asyncoro.peer_status
local class <const> = require "asyncoro.class"

local Status <const> = class("asyncoro.peer_status")

function Status:__tostring()
    return ("peer %s at %s: %s"):format(self.name, tostring(self.location), self.status)
end

return Status
