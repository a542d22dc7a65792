-- SPDX-License-Identifier: MIT
--- LuaSocket's interface over our streams, so that libraries written for it run inside coros without blocking: they call
-- `require "socket"`, and get this after `install`. Results, error words and time-outs are LuaSocket's.
--
-- What differs: a socket has no descriptor before it is connected or bound, so a `connect` that times out begins anew
-- when it is called again; and IPv4 and IPv6 need not be told apart.
-- @module asyncoro.compat.luasocket
local core <const> = require "asyncoro.core"
local asyncoro <const> = require "asyncoro"
local udp_class <const> = require "asyncoro.compat.luasocket_udp"
local words <const> = require "asyncoro.compat.luasocket_words"

local socket <const> = {
    _VERSION = "LuaSocket 3.1.0", _DEBUG = false, _SETSIZE = 1 << 20, BLOCKSIZE = 2048, _DATAGRAMSIZE = 8192,
}

local ENDLESS <const> = math.maxinteger

local fail <const> = words.fail

-- TCP sockets -----------------------------------------------------------------------------------

-- `kind` is "master", "client" or "server"; `handle` a stream or a listener, nil before there is one.
local Tcp <const> = { __index = {} }
local methods <const> = Tcp.__index

local function new(kind, handle, family)
    return setmetatable({
        kind = kind, handle = handle, family = family, options = {}, received = 0, sent = 0, born = core.now(),
    }, Tcp)
end

-- Options by LuaSocket's names: ours, or nil when there is nothing to set.
local OPTIONS <const> = {
    ["keepalive"] = "keepalive", ["tcp-nodelay"] = "nodelay", ["tcp-keepidle"] = "keepalive_idle",
    ["tcp-keepcnt"] = "keepalive_count", ["tcp-keepintvl"] = "keepalive_interval", ["linger"] = "linger",
    ["recv-buffer-size"] = "receive_buffer", ["send-buffer-size"] = "send_buffer",
    ["reuseaddr"] = false, ["reuseport"] = false, ["ipv6-v6only"] = false,
}

local function option_name(name)
    local ours <const> = OPTIONS[name]
    if ours == nil then error(("unsupported option `%s'"):format(tostring(name)), 3) end
    return ours
end

local function our_value(ours, value)
    if ours == "linger" then return value.on and value.timeout or false end
    return value
end

local function apply_options(self)
    for name, value in pairs(self.options) do
        local ours <const> = OPTIONS[name]
        if ours then self.handle:setoption(ours, our_value(ours, value)) end
    end
end

--- LuaSocket's `setoption`; before there is a connection they are kept for it.
function methods:setoption(name, value)
    local ours <const> = option_name(name)
    if self.kind == "closed" then return nil, "closed" end
    self.options[name] = value == nil or value
    if ours and self.kind == "client" then
        local done <const>, message <const>, code <const> = self.handle:setoption(ours, our_value(ours, value))
        if not done then return fail(message, code) end
    end
    return 1
end

--- LuaSocket's `getoption`.
function methods:getoption(name)
    local ours <const> = option_name(name)
    if self.kind == "closed" then return nil, "closed" end
    if not ours or self.kind ~= "client" then return self.options[name] or false end
    local value <const>, message <const>, code <const> = self.handle:getoption(ours)
    if value == nil then return fail(message, code) end
    if ours == "linger" then return { on = value ~= false, timeout = value or 0 } end
    return value
end

methods.settimeout, methods.gettimeout = words.settimeout, words.gettimeout

local wait_for <const>, deadline_of <const> = words.wait_for, words.deadline_of

local function at_path(self, host) return self.family == "unix" and "unix:" .. host or host end

local function port_of(self, port)
    if self.family == "unix" then return nil end
    local number <const> = math.tointeger(tonumber(port))
    if not number then error("port expected, got " .. tostring(port), 3) end
    return number
end

--- LuaSocket's `connect`.
function methods:connect(host, port)
    if self.kind == "closed" then return nil, "closed" end
    if self.kind == "client" then return nil, "already connected" end
    local from = nil
    if self.handle then -- it was bound
        from = self.handle:address()
        self.handle:close()
        self.handle = nil
    end
    local stream <const>, message <const>, code <const> = asyncoro.connect(at_path(self, host), port_of(self, port), {
        timeout = wait_for(self, deadline_of(self)), from = from,
        nodelay = self.options["tcp-nodelay"] and true or false,
    })
    if not stream then return fail(message, code) end
    self.kind, self.handle = "client", stream
    apply_options(self)
    return 1
end

--- LuaSocket's `bind`. (It listens from now on.)
function methods:bind(host, port)
    if self.kind ~= "master" then return nil, self.kind == "closed" and "closed" or "Invalid argument" end
    if host == "*" and self.family ~= "unix" then host = self.family == "inet6" and "::" or "0.0.0.0" end
    local listener <const>, message <const>, code <const> = asyncoro.listen(at_path(self, host), port_of(self, port), {
        reuse_port = self.options.reuseport and true or nil, v6_only = self.options["ipv6-v6only"] and true or nil,
    })
    if not listener then return fail(message, code) end
    self.handle = listener
    return 1
end

--- LuaSocket's `listen`.
function methods:listen()
    if self.kind == "closed" then return nil, "closed" end
    if self.kind == "master" and not self.handle then
        local done <const>, message <const> = self:bind("*", 0)
        if not done then return nil, message end
    end
    self.kind = "server"
    return 1
end

--- LuaSocket's `accept`.
function methods:accept()
    if self.kind ~= "server" then return nil, "closed" end
    local stream <const>, message <const>, code <const> = self.handle:accept(wait_for(self, deadline_of(self)))
    if not stream then return fail(message, code) end
    stream:setoption("nodelay", self.options["tcp-nodelay"] and true or false)
    return new("client", stream, self.family)
end

--- LuaSocket's `send`: the index of the last byte sent; nil, error, that index.
function methods:send(data, i, j)
    if self.kind ~= "client" then return nil, "closed", 0 end
    data = tostring(data)
    i, j = i or 1, j or -1
    if i < 0 then i = math.max(#data + i + 1, 1) end
    if j < 0 then j = #data + j + 1 end
    j = math.min(j, #data)
    local at, deadline <const> = math.max(i, 1), deadline_of(self)
    while at <= j do
        self.handle:settimeout(wait_for(self, deadline))
        local n <const>, message <const>, code <const>, part <const> = self.handle:write(data:sub(at, j))
        self.handle:settimeout(nil)
        at = at + (n or part)
        self.sent = self.sent + (n or part)
        -- "b" is how long nothing may happen: something has.
        local again <const> = code == "timeout" and part > 0 and wait_for(self, deadline) ~= 0
        if not n and not again then
            local _, word <const> = fail(message, code)
            return nil, word, at - 1
        end
    end
    return j
end

local reads <const> = {
    line = function(stream, _, timeout)
        local line <const>, message <const>, code <const>, part <const> = stream:read_until("\n", ENDLESS, timeout)
        return line and line:sub(1, -2), message, code, part
    end,
    all = function(stream, _, timeout)
        local data <const>, message <const>, code <const>, part <const> = stream:read_all(ENDLESS, timeout)
        if data == "" then return nil, message, "eof" end
        return data, message, code, part
    end,
    exact = function(stream, size, timeout) return stream:read_exact(size, timeout) end,
}

-- Read in this way, on from these parts.
local function gather(self, read, size, parts)
    local deadline <const> = deadline_of(self)
    while true do
        local data <const>, message <const>, code <const>, part <const> =
            read(self.handle, size, wait_for(self, deadline))
        parts[#parts + 1] = data or part
        local n <const> = #(data or part or "")
        self.received = self.received + n
        if data then return table.concat(parts) end
        if code == "eof" and read == reads.all and #parts > 1 then return table.concat(parts) end
        if size then size = size - n end
        if code ~= "timeout" or n == 0 or wait_for(self, deadline) == 0 then
            local _, word <const> = fail(message, code)
            return nil, word, table.concat(parts)
        end
    end
end

local patterns <const> = { l = reads.line, a = reads.all }

local function without_returns(value) return value and (value:gsub("\r", "")) end

--- LuaSocket's `receive`: "*l", "*a" or a number of bytes; the prefix counts as received.
function methods:receive(pattern, prefix)
    prefix = prefix or ""
    if self.kind ~= "client" or self.deaf then return nil, "closed", prefix end
    local size <const> = tonumber(pattern)
    if size then
        if size < 0 then error("invalid receive pattern", 2) end
        local missing <const> = math.max(math.floor(size) - #prefix, 0)
        if missing == 0 then return prefix end
        return gather(self, reads.exact, missing, { prefix })
    end
    local read <const> = patterns[tostring(pattern or "*l"):match "^%*?([la])"]
    if not read then error("invalid receive pattern", 2) end
    if read == reads.all then return gather(self, read, nil, { prefix }) end
    local line <const>, word <const>, part <const> = gather(self, read, nil, {})
    if line then return prefix .. without_returns(line) end
    return nil, word, prefix .. without_returns(part)
end

--- LuaSocket's `shutdown`.
function methods:shutdown(how)
    how = how or "both"
    if how ~= "both" and how ~= "send" and how ~= "receive" then error("invalid shutdown method", 2) end
    if self.kind ~= "client" then return nil, "closed" end
    if how ~= "receive" then self.handle:shutdown() end
    if how ~= "send" then self.deaf = true end
    return 1
end

--- LuaSocket's `close`.
function methods:close()
    if self.handle then self.handle:close() end
    self.kind = "closed"
    return 1
end

--- LuaSocket's `getpeername`: address, port and family.
function methods:getpeername()
    if self.kind == "closed" then return nil, "closed" end
    if self.kind ~= "client" then return nil, "Transport endpoint is not connected" end
    return words.name(self.handle:peer())
end

--- LuaSocket's `getsockname`.
function methods:getsockname()
    if self.kind == "closed" then return nil, "closed" end
    if not self.handle then return "0.0.0.0", 0, "inet" end
    return words.name(self.handle:address())
end

--- LuaSocket's `getstats`: bytes received and sent, seconds since it was made.
function methods:getstats() return self.received, self.sent, core.now() - self.born end

--- LuaSocket's `setstats`.
function methods:setstats(received, sent, age)
    self.received, self.sent = received or self.received, sent or self.sent
    if age then self.born = core.now() - age end
    return 1
end

methods.getfd, methods.setfd, methods.dirty = words.getfd, words.setfd, words.dirty

--- LuaSocket's `getfamily`.
function methods:getfamily() return self.family or "unspec" end

function Tcp:__tostring()
    return ("tcp{%s}: %p"):format(self.kind, self)
end

function Tcp:__close() self:close() end

--- A TCP socket, not connected.
-- @treturn table with LuaSocket's methods
function socket.tcp() return new "master" end

--- A TCP socket of IPv4.
function socket.tcp4() return new("master", nil, "inet") end

--- A TCP socket of IPv6.
function socket.tcp6() return new("master", nil, "inet6") end

--- Connect; from this address, when one is given.
-- @tparam string host
-- @tparam integer port
-- @tparam[opt] string from
-- @tparam[opt] integer from_port
-- @treturn table
function socket.connect(host, port, from, from_port)
    local made <const> = new "master"
    if from then
        local done <const>, message <const> = made:bind(from, from_port or 0)
        if not done then return nil, message end
    end
    local done <const>, message <const> = made:connect(host, port)
    if not done then
        made:close()
        return nil, message
    end
    return made
end

socket.connect4, socket.connect6 = socket.connect, socket.connect

--- A socket that listens.
-- @tparam string host "*": all of IPv4
-- @tparam integer port
-- @treturn table
function socket.bind(host, port)
    local made <const> = new "master"
    local done <const>, message <const> = made:bind(host, port)
    if not done then return nil, message end
    made:listen()
    return made
end

-- Unix sockets ----------------------------------------------------------------------------------

local function unix_stream() return new("master", nil, "unix") end

--- What `require "socket.unix"` gives: a function that makes a stream socket for paths.
socket.unix = setmetatable({ stream = unix_stream, tcp = unix_stream }, { __call = unix_stream })

-- Datagrams -------------------------------------------------------------------------------------

--- A UDP socket.
-- @treturn table with LuaSocket's methods
function socket.udp() return udp_class.new() end

--- A UDP socket of IPv4.
function socket.udp4() return udp_class.new "inet" end

--- A UDP socket of IPv6.
function socket.udp6() return udp_class.new "inet6" end

-- Time, and waiting for several -----------------------------------------------------------------

--- Seconds since 1970.
socket.gettime = core.time

--- Wait.
-- @tparam number seconds
function socket.sleep(seconds) asyncoro.sleep(math.max(seconds, 0)) end

-- Our stream, listener or socket in this object; nil: it is somebody else's.
local function handle_in(object)
    local meta <const> = getmetatable(object)
    return (meta == Tcp or meta == udp_class.meta) and object.handle or nil
end

local function fd_of(object)
    local fd <const> = object.getfd and object:getfd()
    return fd and fd >= 0 and fd or nil
end

-- Would it have to wait for this? What cannot be waited for is told at once.
local function is_readable(object)
    local handle <const> = handle_in(object)
    if handle then return (getmetatable(handle).__select.poll(handle)) end
    if object.dirty and object:dirty() then return true end
    local fd <const> = fd_of(object)
    return not fd or asyncoro.wait_fd(fd, "r", 0) == true
end

local function is_writable(object)
    local fd <const> = fd_of(object)
    return not fd or asyncoro.wait_fd(fd, "w", 0) == true
end

local function ready_of(list, is_ready)
    local ready <const> = {}
    for _, object in ipairs(list or {}) do
        if is_ready(object) then
            ready[#ready + 1] = object
            ready[object] = #ready
        end
    end
    return ready
end

local Waiters <const> = {}

function Waiters:__close()
    for _, coro in ipairs(self.coros) do coro:terminate() end
end

local function add_waiter(waiters, sources, object, mode)
    local fd <const> = fd_of(object)
    local coro <const> = asyncoro.spawn({ name = "socket.select", daemon = true }, function()
        asyncoro.wait_fd(fd, mode)
    end)
    waiters.coros[#waiters.coros + 1] = coro
    sources[#sources + 1] = coro
end

local function wait_for_any(receivers, senders, timeout)
    local waiters <close> = setmetatable({ coros = {} }, Waiters)
    local sources <const> = {}
    for _, object in ipairs(receivers or {}) do
        local handle <const> = handle_in(object)
        if handle then
            sources[#sources + 1] = handle
        else
            add_waiter(waiters, sources, object, "r")
        end
    end
    for _, object in ipairs(senders or {}) do add_waiter(waiters, sources, object, "w") end
    if #sources == 0 then
        if timeout then asyncoro.sleep(timeout) else asyncoro.suspend() end
        return nil
    end
    return (asyncoro.select(sources, timeout))
end

--- LuaSocket's `select`.
-- @tparam ?table receivers
-- @tparam ?table senders
-- @tparam[opt] number timeout
-- @treturn table those that can be read
-- @treturn table those that can be written
-- @treturn ?string "timeout" when there is none
function socket.select(receivers, senders, timeout)
    if timeout and timeout < 0 then timeout = nil end
    local deadline <const> = timeout and core.now() + timeout
    while true do
        local readable <const>, writable <const> = ready_of(receivers, is_readable), ready_of(senders, is_writable)
        if #readable > 0 or #writable > 0 then return readable, writable, nil end
        local left <const> = deadline and deadline - core.now()
        if left and left <= 0 then return readable, writable, "timeout" end
        wait_for_any(receivers, senders, left)
    end
end

-- Names -----------------------------------------------------------------------------------------

local dns <const> = {}
socket.dns = dns

--- The name of this machine.
function dns.gethostname()
    local file <close> = io.open "/proc/sys/kernel/hostname"
    return file and file:read "l" or "localhost"
end

--- The addresses of a host.
-- @treturn {table,...} each with `family` and `addr`
function dns.getaddrinfo(host)
    if host == "*" then host = "0.0.0.0" end
    local addresses <const>, message <const>, code <const> = asyncoro.resolve(host)
    if not addresses then return fail(message, code) end
    local list <const> = {}
    for i, address in ipairs(addresses) do
        list[i] = { addr = address, family = address:find(":", 1, true) and "inet6" or "inet" }
    end
    return list
end

--- The first IPv4 address of a host, and all of them in a table.
function dns.toip(host)
    local addresses <const>, message <const>, code <const> = asyncoro.resolve(host, { family = "ipv4" })
    if not addresses then return fail(message, code) end
    return addresses[1], { name = host, alias = {}, ip = addresses }
end

local function name_of(address)
    local job <const>, message <const>, code <const> = core.lookup(address, "name")
    if not job then return nil, message, code end
    return core.lookup_wait(job)
end

--- The name of a host, and a table with it.
function dns.tohostname(host)
    local address = host
    if not core.is_numeric(host) then
        local addresses <const>, why <const>, word <const> = asyncoro.resolve(host)
        if not addresses then return fail(why, word) end
        address = addresses[1]
    end
    local names <const>, message <const>, code <const> = name_of(address)
    if not names then return fail(message, code) end
    return names[1], { name = names[1], alias = {}, ip = { address } }
end

--- The names of a host.
-- @treturn {string,...}
function dns.getnameinfo(host)
    local name <const>, message <const> = dns.tohostname(host)
    if not name then return nil, message end
    return { name }
end

-- Exceptions ------------------------------------------------------------------------------------

local Exception <const> = {}

function Exception:__tostring() return tostring(self[1]) end

--- A function that returns its arguments when the first is true, and else calls the finalizer and raises the second, for
-- `protect` to catch.
-- @tparam[opt] function finalizer
function socket.newtry(finalizer)
    return function(...)
        if (...) then return ... end
        if finalizer then pcall(finalizer) end
        error(setmetatable({ (select(2, ...)) }, Exception), 0)
    end
end

socket.try = socket.newtry()

local function unprotect(ok, ...)
    if ok then return ... end
    local raised <const> = ...
    if getmetatable(raised) == Exception then return nil, raised[1] end
    error(raised, 0)
end

--- The function, but what `try` raises inside it becomes nil, error.
-- @tparam function fn
function socket.protect(fn)
    return function(...) return unprotect(pcall(fn, ...)) end
end

--- The arguments after the first `count`.
function socket.skip(count, ...) return select(count + 1, ...) end

-- Sources and sinks, as LTN12 has them ------------------------------------------------------------

local function polled(sock, fn)
    return setmetatable({
        getfd = function() return sock:getfd() end,
        dirty = function() return sock:dirty() end,
    }, { __call = fn })
end

socket.sinkt = {
    ["close-when-done"] = function(sock)
        return polled(sock, function(_, chunk)
            if chunk then return sock:send(chunk) end
            sock:close()
            return 1
        end)
    end,
    ["keep-open"] = function(sock)
        return polled(sock, function(_, chunk)
            if chunk then return sock:send(chunk) end
            return 1
        end)
    end,
}
socket.sinkt.default = socket.sinkt["keep-open"]

socket.sourcet = {
    ["by-length"] = function(sock, length)
        return polled(sock, function()
            if length <= 0 then return nil end
            local chunk <const>, message <const> = sock:receive(math.min(socket.BLOCKSIZE, length))
            if message then return nil, message end
            length = length - #chunk
            return chunk
        end)
    end,
    ["until-closed"] = function(sock)
        local done = false
        return polled(sock, function()
            if done then return nil end
            local chunk <const>, message <const>, part <const> = sock:receive(socket.BLOCKSIZE)
            if chunk then return chunk end
            if message ~= "closed" then return nil, message end
            sock:close()
            done = true
            return part
        end)
    end,
}
socket.sourcet.default = socket.sourcet["until-closed"]

--- A function that makes a source or sink by its name in a table.
function socket.choose(from)
    return function(name, one, two)
        if type(name) ~= "string" then name, one, two = "default", name, one end
        local make <const> = from[name]
        if not make then error(("unknown key (%s)"):format(name), 3) end
        return make(one, two)
    end
end

--- A source or a sink: `socket.source("by-length", sock, length)`.
socket.source, socket.sink = socket.choose(socket.sourcet), socket.choose(socket.sinkt)

-- In the place of LuaSocket ---------------------------------------------------------------------

-- Modules of LuaSocket that are Lua over `socket`: they are loaded anew, over ours.
local ABOVE <const> = {
    "socket.http", "socket.url", "socket.tp", "socket.smtp", "socket.ftp", "socket.headers",
}

--- Be what `require "socket"`, "socket.core" and "socket.unix" give from now on. Libraries that have been loaded before
-- keep what they have.
-- @treturn function puts everything back as it was
-- @usage require("asyncoro.compat.luasocket").install()
-- local http = require "socket.http"
function socket.install()
    local loaded <const> = package.loaded
    local before <const>, ours <const> = {}, { socket = socket, ["socket.core"] = socket, ["socket.unix"] = socket.unix }
    for name in pairs(ours) do before[name] = loaded[name] or false end
    for _, name in ipairs(ABOVE) do before[name] = loaded[name] or false end
    for name in pairs(before) do loaded[name] = ours[name] end
    return function()
        for name, module in pairs(before) do loaded[name] = module or nil end
    end
end

return socket
