-- SPDX-License-Identifier: MIT
--- LuaSocket's UDP objects over ours.
-- @module asyncoro.compat.luasocket_udp
-- @local
local asyncoro <const> = require "asyncoro"
local words <const> = require "asyncoro.compat.luasocket_words"

local fail <const>, wait_for <const>, deadline_of <const> = words.fail, words.wait_for, words.deadline_of

local DATAGRAM <const> = 8192

local Udp <const> = { __index = {} }
local methods <const> = Udp.__index

local FLAGS <const> = { reuseaddr = true, reuseport = true, ["ipv6-v6only"] = true, dontroute = true }

local ANY <const> = { inet = "0.0.0.0", inet6 = "::" }

-- Our socket, made when it is first needed.
local function handle_of(self)
    if self.closed then return nil, "closed" end
    if not self.handle then
        local made <const>, message <const>, code <const> =
            asyncoro.udp(self.host or ANY[self.family], self.port or 0, {
                reuse = (self.options.reuseaddr or self.options.reuseport) and true or nil,
            })
        if not made then return fail(message, code) end
        self.handle = made
    end
    return self.handle
end

methods.settimeout, methods.gettimeout = words.settimeout, words.gettimeout
methods.getfd, methods.setfd, methods.dirty = words.getfd, words.setfd, words.dirty

--- LuaSocket's `setsockname`.
function methods:setsockname(host, port)
    if self.handle then return nil, "Invalid argument" end
    self.host, self.port = host ~= "*" and host or ANY[self.family or "inet"], math.tointeger(tonumber(port)) or 0
    local handle <const>, word <const> = handle_of(self)
    if not handle then return nil, word end
    return 1
end

--- LuaSocket's `setpeername`; "*" undoes it.
function methods:setpeername(host, port)
    local handle <const>, word <const> = handle_of(self)
    if not handle then return nil, word end
    local done, message, code
    if host == "*" then
        done, message, code = handle:connect()
    else
        done, message, code = handle:connect(host, math.tointeger(tonumber(port)))
    end
    if not done then return fail(message, code) end
    self.connected = host ~= "*"
    return 1
end

--- LuaSocket's `getpeername`.
function methods:getpeername()
    if self.closed then return nil, "closed" end
    if not self.connected then return nil, "Transport endpoint is not connected" end
    return words.name(self.handle:peer())
end

--- LuaSocket's `getsockname`.
function methods:getsockname()
    local handle <const>, word <const> = handle_of(self)
    if not handle then return nil, word end
    return words.name(handle:address())
end

--- LuaSocket's `send`.
function methods:send(data)
    local handle <const>, word <const> = handle_of(self)
    if not handle then return nil, word end
    local sent <const>, message <const>, code <const> = handle:send(data, wait_for(self, deadline_of(self)))
    if not sent then return fail(message, code) end
    return 1
end

--- LuaSocket's `sendto`.
function methods:sendto(data, host, port)
    local handle <const>, word <const> = handle_of(self)
    if not handle then return nil, word end
    local sent <const>, message <const>, code <const> =
        handle:sendto(data, host, math.tointeger(tonumber(port)), wait_for(self, deadline_of(self)))
    if not sent then return fail(message, code) end
    return 1
end

--- LuaSocket's `receive`.
function methods:receive(size)
    local handle <const>, word <const> = handle_of(self)
    if not handle then return nil, word end
    local data <const>, message <const>, code <const> =
        handle:recv(size or DATAGRAM, wait_for(self, deadline_of(self)))
    if not data then return fail(message, code) end
    return data
end

--- LuaSocket's `receivefrom`: data, address, port.
function methods:receivefrom(size)
    local handle <const>, word <const> = handle_of(self)
    if not handle then return nil, word end
    local data <const>, host <const>, port <const> =
        handle:recvfrom(size or DATAGRAM, wait_for(self, deadline_of(self)))
    if not data then return fail(host, port) end
    return data, host, port
end

local OPTIONS <const> = {
    broadcast = "broadcast", ["ip-multicast-loop"] = "multicast_loop", ["ip-multicast-ttl"] = "multicast_ttl",
    ["ip-multicast-if"] = "multicast_interface", ["ipv6-multicast-loop"] = "multicast_loop",
    ["ipv6-multicast-hops"] = "multicast_ttl", ["ipv6-unicast-hops"] = "ttl",
    ["recv-buffer-size"] = "receive_buffer", ["send-buffer-size"] = "send_buffer",
}

local GROUPS <const> = {
    ["ip-add-membership"] = "join", ["ip-drop-membership"] = "leave", ["ipv6-add-membership"] = "join",
    ["ipv6-drop-membership"] = "leave",
}

-- "*", "0.0.0.0" and 0: whichever the system takes.
local function interface_of(value)
    if value == nil or value == "*" or value == "0.0.0.0" or value == 0 then return nil end
    return value
end

local function check(name, level)
    if not OPTIONS[name] and not GROUPS[name] and not FLAGS[name] then
        error(("unsupported option `%s'"):format(tostring(name)), level + 1)
    end
end

--- LuaSocket's `setoption`.
function methods:setoption(name, value)
    check(name, 2)
    if FLAGS[name] then
        self.options[name] = value
        return 1
    end
    local handle <const>, word <const> = handle_of(self)
    if not handle then return nil, word end
    local done, message, code
    if GROUPS[name] then
        done, message, code = handle[GROUPS[name]](handle, value.multiaddr, interface_of(value.interface))
    else
        if OPTIONS[name] == "multicast_interface" then value = interface_of(value) end
        done, message, code = handle:setoption(OPTIONS[name], value)
    end
    if not done then return fail(message, code) end
    return 1
end

--- LuaSocket's `getoption`.
function methods:getoption(name)
    check(name, 2)
    if FLAGS[name] then return self.options[name] or false end
    local handle <const>, word <const> = handle_of(self)
    if not handle then return nil, word end
    return handle:getoption(OPTIONS[name])
end

--- LuaSocket's `close`.
function methods:close()
    if self.handle then self.handle:close() end
    self.closed = true
    return 1
end

function Udp:__tostring()
    return ("udp{%s}: %p"):format(self.connected and "connected" or "unconnected", self)
end

function Udp:__close() self:close() end

return {
    meta = Udp,
    new = function(family) return setmetatable({ family = family, options = {} }, Udp) end,
}
