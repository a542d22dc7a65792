-- SPDX-License-Identifier: MIT
--- Sockets: connecting by name, listening, and what goes with it. The methods of streams and listeners are in the C
-- files `bindings/stream.c`, `read.c`, `write.c` and `socket.c`.
-- @module asyncoro.socket
local core <const> = require "asyncoro.core"
local queue <const> = require "asyncoro.queue"
local options <const> = require "asyncoro.options"
local resolve <const> = require "asyncoro.resolve"

local socket <const> = {}

-- So long one address has before the next is tried beside it (RFC 8305, "connection attempt delay").
local HEAD_START <const> = 0.25

local CONNECT <const> = { timeout = "time", from = "string", tls = "any", nodelay = "boolean" }
local LISTEN <const> = {
    backlog = "integer", reuse_port = "boolean", v6_only = "boolean", tls = "any", timeout = "time",
}

local function is_path(host) return host:sub(1, 5) == "unix:" end

local function remaining(deadline)
    return deadline and math.max(deadline - core.now(), 0)
end

-- The numeric addresses of a host, the families in turn, as RFC 8305 wants it.
local function addresses_of(host, deadline)
    local found <const>, message <const>, code <const> = resolve(host, { timeout = remaining(deadline) })
    if not found then return nil, message, code end
    local first <const>, other <const>, mixed <const> = {}, {}, {}
    local v6 <const> = found[1]:find(":", 1, true) ~= nil
    for _, address in ipairs(found) do
        local list <const> = (address:find(":", 1, true) ~= nil) == v6 and first or other
        list[#list + 1] = address
    end
    for i = 1, math.max(#first, #other) do
        mixed[#mixed + 1] = first[i]
        mixed[#mixed + 1] = other[i]
    end
    return mixed
end

local Attempts <const> = {}

function Attempts:__close()
    for _, coro in ipairs(self) do coro:terminate() end
end

-- Try the addresses, each a head start after the one before, or as soon as that has failed; the first that connects
-- wins, and the others are given up.
local function race(addresses, port, deadline, from)
    local results <const> = queue()
    local attempts <close> = setmetatable({}, Attempts)
    local failure = nil

    local function start(address)
        attempts[#attempts + 1] = core.spawn({ name = "connect " .. address, daemon = true }, function()
            results:put(table.pack(core.socket.connect(address, port, remaining(deadline), from)))
        end)
    end

    local pending, index = 0, 0
    while index < #addresses or pending > 0 do
        local wait = remaining(deadline)
        if index < #addresses then
            index = index + 1
            pending = pending + 1
            start(addresses[index])
            if index < #addresses then wait = math.min(wait or HEAD_START, HEAD_START) end
        end
        local result <const> = results:get(wait)
        if result then
            if result[1] then return result[1] end
            pending = pending - 1
            failure = failure or result
        elseif deadline and core.now() >= deadline then
            break
        end
    end
    if failure then return table.unpack(failure, 1, 3) end
    return nil, ("connect %s:%d: timed out"):format(addresses[1], port), "timeout"
end

local function connect_tcp(host, port, deadline, from)
    local stream <const>, message <const>, code <const> = core.socket.connect(host, port, remaining(deadline), from)
    if code ~= "invalid" then return stream, message, code end
    local addresses <const>, why <const>, word <const> = addresses_of(host, deadline)
    if not addresses then return nil, ("connect %s:%d: %s"):format(host, port, why), word end
    if #addresses == 1 then return core.socket.connect(addresses[1], port, remaining(deadline), from) end
    return race(addresses, port, deadline, from)
end

--- Connect to a host and port, or to a Unix socket.
-- Waits. A name is looked up first; when it has several addresses they are tried one after the other, a quarter of a
-- second apart, and the first that answers is taken.
-- @function connect
-- @tparam string host name, numeric address, or "unix:" and a path ("unix:@name": an abstract one)
-- @tparam ?integer port nil for a path
-- @tparam[opt] table opts
-- @tparam[opt] number opts.timeout seconds for all of it
-- @tparam[opt] string opts.from numeric address to connect from
-- @tparam[opt=true] boolean opts.nodelay send small writes at once
-- @tparam[opt] table|boolean opts.tls speak TLS (see asyncoro.tls)
-- @treturn stream
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "refused", "unreachable", "timeout", "notfound", "denied", "reset", "auth" (a certificate) ...
-- @usage local stream = assert(asyncoro.connect("www.example.org", 80, { timeout = 5 }))
function socket.connect(host, port, opts)
    local given <const> = options.check("connect", opts, CONNECT)
    if type(host) ~= "string" then error("connect: a host expected, got " .. type(host), 2) end
    local deadline <const> = given.timeout and core.now() + given.timeout
    local plan, stream, message, code
    if not is_path(host) then options.check_port("connect", port) end
    if given.tls then
        plan, message, code = require("asyncoro.tls").prepare(host, port, given.tls)
        if not plan then return nil, message, code end
    end
    if is_path(host) then
        stream, message, code = core.socket.connect(host, nil, given.timeout)
    else
        stream, message, code = connect_tcp(host, port, deadline, given.from)
    end
    if not stream then return nil, message, code end
    if given.nodelay == false then stream:setoption("nodelay", false) end
    if plan then return require("asyncoro.tls").connected(stream, plan, remaining(deadline)) end
    return stream
end

local function listen_at(host, port, given)
    return core.socket.listen(host, port, given.backlog, given.reuse_port, given.v6_only)
end

-- At every address of this machine: IPv6 and IPv4 through one socket, where there is IPv6.
local function listen_any(port, given)
    local listener <const>, message <const>, code <const> = listen_at("::", port, given)
    if listener or (code ~= "unsupported" and code ~= "system" and code ~= "invalid") then
        return listener, message, code
    end
    return listen_at("0.0.0.0", port, given)
end

--- Listen for connections.
-- Waits only when a name has to be looked up.
-- @function listen
-- @tparam ?string host numeric address or name; "unix:" and a path; nil or "*": every address, IPv4 and IPv6
-- @tparam ?integer port 0: a free one (see `listener:address`); nil for a path
-- @tparam[opt] table opts
-- @tparam[opt=1024] integer opts.backlog connections that may wait to be accepted
-- @tparam[opt] boolean opts.reuse_port several listeners, also of other processes, share the port
-- @tparam[opt] boolean opts.v6_only an IPv6 address takes no IPv4
-- @tparam[opt] number opts.timeout of each `accept`
-- @tparam[opt] table opts.tls certificate and key (see asyncoro.tls)
-- @treturn listener
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "exists" when the address is in use, "denied", "invalid" when it is none of this machine, ...
function socket.listen(host, port, opts)
    local given <const> = options.check("listen", opts, LISTEN)
    local listener, message, code
    if host ~= nil and type(host) ~= "string" then error("listen: a host expected, got " .. type(host), 2) end
    if host and is_path(host) then
        listener, message, code = listen_at(host, nil, given)
    else
        options.check_port("listen", port)
        if host == nil or host == "*" then
            listener, message, code = listen_any(port, given)
        else
            listener, message, code = listen_at(host, port, given)
            if code == "invalid" and message:find("numeric", 1, true) then
                local addresses <const>, why <const>, word <const> = resolve(host)
                if not addresses then return nil, ("listen %s:%d: %s"):format(host, port, why), word end
                listener, message, code = listen_at(addresses[1], port, given)
            end
        end
    end
    if not listener then return nil, message, code end
    listener:settimeout(given.timeout)
    if given.tls then return require("asyncoro.tls").listener(listener, given.tls) end
    return listener
end

--- Two streams of this process that are connected with each other.
-- @function pair
-- @treturn stream
-- @treturn stream
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "limit" when no descriptor is free
socket.pair = core.socket.pair

--- A stream of a descriptor: a connected socket or a pipe, of another engine (`stream:detach`) or a C library.
-- @function from_fd
-- @tparam integer fd above 2; the stream owns it from now on, and makes it non-blocking
-- @treturn stream
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "invalid" for a closed one, or a plain file
socket.from_fd = core.socket.from_fd

local function next_client(listener)
    local stream <const>, message <const>, code <const> = listener:accept()
    if stream or code == "closed" then return stream end
    error(message, 0)
end

--- Iterate over the connections that come: `for stream in listener:clients() do`. The loop waits for each; it ends when
-- the listener is closed, and raises another failure.
-- @function listener:clients
-- @treturn function iterator
function core.listener:clients()
    return next_client, self
end

return socket
