-- SPDX-License-Identifier: MIT
--- Datagram sockets: making them, and sending to names. The other methods are in `bindings/udp.c`.
-- @module asyncoro.udp
local core <const> = require "asyncoro.core"
local options <const> = require "asyncoro.options"
local resolve <const> = require "asyncoro.resolve"

local raw <const> = core.udp
local methods <const> = raw.methods

local OPTIONS <const> = { reuse = "boolean", broadcast = "boolean", timeout = "time" }

local function remaining(deadline)
    return deadline and math.max(deadline - core.now(), 0)
end

local function check_to(what, host, port)
    if type(host) ~= "string" then error(("%s: a host expected, got %s"):format(what, type(host)), 3) end
    if host:sub(1, 5) ~= "unix:" then options.check_port(what, port, 3) end
end

-- The first address of a name with which try(address) gives more than "unsupported" (a family that the socket has not).
local function with_name(what, host, port, deadline, try)
    local addresses <const>, why <const>, word <const> = resolve(host, { timeout = remaining(deadline) })
    if not addresses then return nil, ("%s %s:%d: %s"):format(what, host, port, why), word end
    local results
    for _, address in ipairs(addresses) do
        results = table.pack(try(address))
        if results[1] or results[3] ~= "unsupported" then break end
    end
    return table.unpack(results, 1, results.n)
end

--- Send one datagram.
-- Waits, hardly ever, until the system takes it; a name is looked up first (so keep the address for many).
-- @function udp:sendto
-- @tparam string data perhaps empty
-- @tparam string host numeric address, or a name
-- @tparam integer port
-- @tparam[opt] number timeout seconds; its own (`settimeout`) when nil
-- @treturn integer how many bytes
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "toolarge", "denied" (a broadcast, without the option), "unreachable", "notfound", "timeout",
-- "closed", "busy" when another coro sends ...
function methods:sendto(data, host, port, timeout)
    check_to("sendto", host, port)
    if type(data) ~= "string" then error("sendto: a string expected, got " .. type(data), 2) end
    local sent <const>, message <const>, code <const> = raw.sendto(self, data, host, port, timeout)
    if sent ~= false then return sent, message, code end
    timeout = timeout or self:gettimeout()
    local deadline <const> = timeout and core.now() + timeout
    return with_name("sendto", host, port, deadline, function(address)
        return raw.sendto(self, data, address, port, remaining(deadline))
    end)
end

--- Exchange datagrams with one other side only: for `send` and `recv`. Nothing is sent, and nobody has to be there; what
-- is sent to nobody may be told by a later operation as "refused".
-- Waits only when a name has to be looked up.
-- @function udp:connect
-- @tparam ?string host nil: with everybody again
-- @tparam ?integer port
-- @treturn boolean true
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "unreachable", "notfound", "closed" ...
function methods:connect(host, port)
    if host ~= nil then check_to("connect", host, port) end
    local done <const>, message <const>, code <const> = raw.connect(self, host, port)
    if done ~= false then return done, message, code end
    local timeout <const> = self:gettimeout()
    return with_name("connect", host, port, timeout and core.now() + timeout, function(address)
        return raw.connect(self, address, port)
    end)
end

local function open_any(port, given)
    local udp <const>, message <const>, code <const> = raw.open("::", port, given.reuse, given.broadcast)
    if udp or (code ~= "unsupported" and code ~= "system" and code ~= "invalid") then return udp, message, code end
    return raw.open("0.0.0.0", port, given.reuse, given.broadcast)
end

local function open(host, port, given)
    if host == nil or host == "*" then return open_any(port, given) end
    local udp <const>, message <const>, code <const> = raw.open(host, port, given.reuse, given.broadcast)
    if udp ~= false then return udp, message, code end
    return with_name("udp", host, port, nil, function(address)
        return raw.open(address, port, given.reuse, given.broadcast)
    end)
end

--- A datagram socket.
-- Waits only when a name has to be looked up.
-- @function udp
-- @tparam[opt] string host numeric address or name to be bound to; nil or "*": every address, IPv4 and IPv6
-- @tparam[opt=0] integer port 0: a free one (see `udp:address`)
-- @tparam[opt] table opts
-- @tparam[opt] boolean opts.reuse others that want it, too, may be bound to the same port (for groups and broadcasts)
-- @tparam[opt] boolean opts.broadcast it may send to broadcast addresses
-- @tparam[opt] number opts.timeout of each operation, as `settimeout`
-- @treturn udp
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "exists" when the port is in use, "denied", "invalid" when it is none of this machine's, ...
-- @usage local udp = assert(asyncoro.udp("127.0.0.1"))
return function(host, port, opts)
    local given <const> = options.check("udp", opts, OPTIONS)
    if host ~= nil and type(host) ~= "string" then error("udp: a host expected, got " .. type(host), 2) end
    if port == nil then port = 0 end
    options.check_port("udp", port)
    local udp <const>, message <const>, code <const> = open(host, port, given)
    if not udp then return nil, message, code end
    if given.timeout then udp:settimeout(given.timeout) end
    return udp
end
