-- SPDX-License-Identifier: MIT
--- The HTTP client: requests, connections that are used again, redirects.
-- @module asyncoro.http.client
local core <const> = require "asyncoro.core"
local body <const> = require "asyncoro.http.body"
local options <const> = require "asyncoro.options"
local socket <const> = require "asyncoro.socket"
local url <const> = require "asyncoro.http.url"

local client <const> = {}

local CLIENT <const> = {
    timeout = "time", redirects = "integer", tls = "any", idle = "integer", idle_timeout = "time",
    header_limit = "integer", header_count = "integer",
}
local REQUEST <const> = {
    url = "string", method = "string", headers = "table", body = "any", timeout = "time", redirects = "integer",
    tls = "any",
}
local DEFAULTS <const> = {
    timeout = 60, redirects = 10, idle = 8, idle_timeout = 30, header_limit = 65536, header_count = 200,
}
local BODY_LIMIT <const> = 64 << 20

-- Said by the client itself, of the body it has been given: two lengths would be understood in two ways.
local OWN <const> = { ["content-length"] = true, ["transfer-encoding"] = true }

-- What may go to another server than the one it was written for: it says what is asked, not who asks. All else may be
-- a credential, whatever it is called.
local HARMLESS <const> = {
    accept = true, ["accept-charset"] = true, ["accept-encoding"] = true, ["accept-language"] = true,
    ["cache-control"] = true, ["content-encoding"] = true, ["content-language"] = true, ["content-type"] = true,
    ["if-match"] = true, ["if-modified-since"] = true, ["if-none-match"] = true, ["if-range"] = true,
    ["if-unmodified-since"] = true, pragma = true, range = true, ["user-agent"] = true,
}

-- Methods that may be asked again when a kept connection turns out to be closed.
local SAFE <const> = { GET = true, HEAD = true, OPTIONS = true, PUT = true, DELETE = true }

local Client <const> = { __name = "http client" }
Client.__index = Client

local Response <const> = { __name = "response" }
Response.__index = Response

-- Connections -----------------------------------------------------------------------------------

local function close_old(list)
    local now <const> = core.now()
    while list[1] and list[1].until_ < now do table.remove(list, 1).stream:close() end
end

-- Close what waits for too long, of all servers, and forget those that nothing is left of.
local function sweep(self)
    local now <const> = core.now()
    if now < self.sweep_at then return end
    self.sweep_at = now + self.options.idle_timeout
    for key, list in pairs(self.connections) do
        close_old(list)
        if #list == 0 then self.connections[key] = nil end
    end
end

local function is_quiet(stream)
    return stream:is_open() and not getmetatable(stream).__select.poll(stream)
end

-- A connection that waits to be used again, the youngest first, and has been made as this plan of TLS wants it: with
-- this side's certificate, or without.
local function kept(self, key, plan)
    local list <const> = self.connections[key]
    if not list then return nil end
    close_old(list)
    for i = #list, 1, -1 do
        local connection <const> = list[i]
        if connection.context == (plan and plan.context) and connection.name == (plan and plan.name) then
            table.remove(list, i)
            if is_quiet(connection.stream) then return connection end
            connection.stream:close()
        end
    end
end

local function give_back(self, connection)
    sweep(self)
    local list = self.connections[connection.key]
    if self.closed then return connection.stream:close() end
    if not list then
        list = {}
        self.connections[connection.key] = list
    end
    close_old(list)
    if #list >= self.options.idle then return connection.stream:close() end
    connection.until_ = core.now() + self.options.idle_timeout
    connection.used = true
    list[#list + 1] = connection
end

local function is_secure(parts) return parts.scheme == "https" or parts.scheme == "wss" end

local function connect(self, parts, tls, plan, timeout)
    local stream <const>, message <const>, code <const> = socket.connect(parts.host, parts.port,
        { timeout = timeout, tls = plan and (tls or true) or nil })
    if not stream then return nil, message, code end
    return {
        stream = stream, key = parts.key, context = plan and plan.context, name = plan and plan.name,
        reader = core.http.reader(stream, "response", self.options.header_limit, self.options.header_count),
    }
end

-- Requests ----------------------------------------------------------------------------------------

local function lower(headers)
    local result <const> = {}
    for name, value in pairs(headers or {}) do
        name = name:lower()
        if OWN[name] then error(("request: the header '%s' is set by the client"):format(name), 3) end
        result[name] = value
    end
    return result
end

local function base64(text)
    local alphabet <const> = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    return (text:gsub("..?.?", function(group)
        local a <const>, b <const>, c <const> = group:byte(1, 3)
        local bits <const> = a << 16 | (b or 0) << 8 | (c or 0)
        local out = ""
        for i = 0, #group do
            local place <const> = (bits >> (18 - 6 * i) & 63) + 1
            out = out .. alphabet:sub(place, place)
        end
        return out .. ("="):rep(3 - #group)
    end))
end

-- A string, a number, nil; a function or a stream gives pieces.
local function pieces_of(content)
    if type(content) == "function" then return content end
    if type(content) == "userdata" then return content:chunks() end
    error("request: the body is a " .. type(content) .. ", not a string, a function or a stream", 4)
end

local function send(connection, what)
    local stream <const>, content = connection.stream, what.body
    local line <const> = ("%s %s HTTP/1.1"):format(what.method, what.parts.target)
    if content == nil or type(content) == "string" or type(content) == "number" then
        content = content and tostring(content)
        local length <const> = content and #content or (what.method == "POST" or what.method == "PUT") and 0 or nil
        return stream:write(core.http.request(line, what.headers, length), content or "")
    end
    local done, message, code = stream:write(core.http.request(line, what.headers, true))
    for piece in pieces_of(content) do
        if not done then return nil, message, code end
        if #piece > 0 then done, message, code = stream:write(body.chunk(piece)) end
    end
    if done then done, message, code = stream:write(body.LAST_CHUNK) end
    return done, message, code
end

local function remaining(deadline) return math.max(deadline - core.now(), 0) end

-- The head of the answer; those of 1xx are passed over.
local function receive(connection, what, deadline)
    connection.reader:skip_body(what.method == "HEAD")
    while true do
        local status <const>, reason <const>, version <const>, keep <const>, serial <const> =
            connection.reader:head(remaining(deadline))
        if not status then return nil, reason, version, keep end
        if status >= 200 or status == 101 then return status, reason, version, keep, serial end
    end
end

local function exchange(connection, what, deadline)
    connection.stream:settimeout(remaining(deadline))
    local sent <const>, message <const>, code <const> = send(connection, what)
    if not sent and code ~= "reset" and code ~= "closed" then return nil, message, code end
    return receive(connection, what, deadline) -- an answer may have come although not all was taken
end

local function response_of(self, connection, what, status, reason, version, keep, serial)
    local response <const> = setmetatable({
        status = status, reason = reason, version = version, headers = connection.reader:headers(serial),
        url = what.text, client = self, connection = connection, keep = keep, timeout = what.timeout,
        method = what.method,
    }, Response)
    local _, complete <const>, _, _, has_body <const> = connection.reader:state()
    if status == 101 then return response end
    if complete or what.method == "HEAD" or status == 204 or status == 304 or (keep and not has_body) then
        response:drop()
    end
    return response
end

local function ask(self, what, deadline)
    local parts <const>, plan, message, code = what.parts, nil, nil, nil
    if is_secure(parts) then
        plan, message, code = require("asyncoro.tls").prepare(parts.host, parts.port, what.tls or true)
        if not plan then return nil, message, code end
    end
    while true do
        local connection = kept(self, parts.key, plan)
        if not connection then
            connection, message, code = connect(self, parts, what.tls, plan, remaining(deadline))
        end
        if not connection then return nil, message, code end
        local guard <close> = setmetatable({}, { __close = function(held)
            if not held.over then connection.stream:close() end -- cancelled, or failed
        end })
        local status <const>, reason <const>, version <const>, keep <const>, serial <const> =
            exchange(connection, what, deadline)
        if status then
            guard.over = true
            return response_of(self, connection, what, status, reason, version, keep, serial)
        end
        local gone <const> = version == "eof" or version == "reset" or version == "closed"
        local again <const> = connection.used and gone and not keep and SAFE[what.method]
            and type(what.body) ~= "function" and type(what.body) ~= "userdata"
        if not again then return nil, ("%s %s: %s"):format(what.method, what.text, reason), version end
    end
end

local function key_of(parts)
    return ("%s://%s:%d"):format(parts.scheme, parts.host:lower(), parts.port)
end

local function prepare(text, method, headers, content, tls, timeout)
    local parts <const>, message <const>, code <const> = url.parse(text)
    if not parts then return nil, message, code end
    parts.key = key_of(parts)
    local default <const> = parts.scheme == "https" and 443 or 80
    headers.host = headers.host or (parts.port == default and parts.authority:gsub(":%d*$", "") or parts.authority)
    if parts.user and not headers.authorization then
        headers.authorization = "Basic " .. base64(url.decode(parts.user))
    end
    headers["user-agent"] = headers["user-agent"] or "asyncoro/" .. core.version
    headers.accept = headers.accept or "*/*"
    return {
        text = text, parts = parts, method = method, headers = headers, body = content, tls = tls, timeout = timeout,
    }
end

local REDIRECTS <const> = { [301] = true, [302] = true, [303] = true, [307] = true, [308] = true }

-- Options of TLS for another server: without this side's certificate, and without what they say of the first server.
-- nil: that cannot be.
local function tls_elsewhere(tls)
    if tls == nil or type(tls) == "boolean" then return tls end
    local context <const> = type(tls) == "userdata" and tls or tls.context
    if context then return not core.tls.has_certificate(context) and context or nil end
    local result <const> = {}
    for name, value in pairs(tls) do result[name] = value end
    result.certificate, result.key, result.password, result.name, result.pin = nil, nil, nil, nil, nil
    return result
end

-- The same request at another server: credentials stay with the one they were given for.
local function elsewhere(what, next_one)
    for name in pairs(next_one.headers) do
        if not HARMLESS[name] and name ~= "host" then next_one.headers[name] = nil end
    end
    if is_secure(what.parts) and not is_secure(next_one.parts) then
        return false, ("%s: it redirects from https to %s"):format(what.text, next_one.parts.scheme), "denied"
    end
    next_one.tls = tls_elsewhere(what.tls)
    if what.tls ~= nil and next_one.tls == nil and is_secure(next_one.parts) then
        return false, ("%s: it redirects to %s, which the certificate of this side is not for"):format(what.text,
            next_one.parts.host), "denied"
    end
    return next_one
end

-- The request that a redirect asks for; nil when there is none.
local function redirected(what, response)
    local place <const> = REDIRECTS[response.status] and response.headers.location
    if not place then return nil end
    local method, content = what.method, what.body
    if response.status == 303 and method ~= "HEAD" or response.status <= 302 and method == "POST" then
        method, content = "GET", nil
    end
    if type(content) == "function" or type(content) == "userdata" then return nil end -- it has been sent once
    local headers <const> = {}
    for name, value in pairs(what.headers) do headers[name] = value end
    headers.host = nil
    if content == nil then headers["content-type"] = nil end
    local next_one <const>, message <const>, code <const> = prepare(url.resolve(what.parts, place), method, headers,
        content, what.tls, what.timeout)
    if not next_one then return false, message, code end
    if next_one.parts.key == what.parts.key then return next_one end
    return elsewhere(what, next_one)
end

--- Ask a server. Waits until the head of its answer has come; the body is read from the response, or that is closed.
-- @function client:request
-- @tparam table opts
-- @tparam string opts.url "http://..." or "https://..."
-- @tparam[opt] string opts.method "GET", or "POST" with a body
-- @tparam[opt] table opts.headers name -> value
-- @tparam[opt] string|function|stream opts.body an iterator or a stream is sent in chunks, as it comes
-- @tparam[opt=60] number opts.timeout seconds until the head of the answer; then for each piece of its body
-- @tparam[opt=10] integer opts.redirects to follow at most; 0: none
-- @tparam[opt] table|boolean opts.tls of https (see asyncoro.tls)
-- @treturn response `status`, `reason`, `headers` (lower-case name -> value; several of a name are joined by ", ", but
-- see `:cookies()`), `url` (after redirects), `:read([n])`, `:body([limit])`, `:close()`
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "timeout", "refused", "notfound", "auth", "protocol", "toolarge" (redirects, the head) ...
function Client:request(opts)
    options.check("request", opts, REQUEST)
    if not opts or not opts.url then error("request: the option 'url' is missing", 2) end
    if opts.method and not opts.method:find "^[%w!#$%%&'*+.^_`|~-]+$" then
        error(("request: '%s' is no method"):format(opts.method), 2)
    end
    local timeout <const> = opts.timeout or self.options.timeout
    local deadline <const> = core.now() + timeout
    local what, message, code = prepare(opts.url, (opts.method or (opts.body ~= nil and "POST" or "GET")):upper(),
        lower(opts.headers), opts.body, opts.tls or self.options.tls, timeout)
    for _ = 0, opts.redirects or self.options.redirects do
        if not what then return nil, message, code end
        local response <const>, why <const>, word <const> = ask(self, what, deadline)
        if not response then return nil, why, word end
        local following
        following, message, code = redirected(what, response)
        if following == nil or (opts.redirects or self.options.redirects) == 0 then return response end
        response:drop(deadline)
        what = following
    end
    if not what then return nil, message, code end
    return nil, ("%s: too many redirects"):format(opts.url), "toolarge"
end

local function with(opts, fields)
    local result <const> = {}
    for name, value in pairs(opts or {}) do result[name] = value end
    for name, value in pairs(fields) do result[name] = value end
    return result
end

--- Get a URL. Waits. See `client:request`.
-- @function client:get
-- @tparam string address
-- @tparam[opt] table opts
-- @treturn response
function Client:get(address, opts) return self:request(with(opts, { url = address })) end

--- Post a body. Waits. See `client:request`.
-- @function client:post
-- @tparam string address
-- @tparam string|function|stream content
-- @tparam[opt] table opts
-- @treturn response
function Client:post(address, content, opts)
    return self:request(with(opts, { url = address, body = content or "", method = opts and opts.method or "POST" }))
end

--- Close the connections that wait to be used again. Never waits.
-- @function client:close
-- @treturn boolean true
function Client:close()
    self.closed = true
    for _, list in pairs(self.connections) do
        for _, connection in ipairs(list) do connection.stream:close() end
    end
    self.connections = {}
    return true
end

Client.__close = Client.close

--- A client with connections of its own.
-- @function client
-- @tparam[opt] table opts `timeout`, `redirects`, `tls`: of requests that do not say; `idle` (8) connections kept for
-- each server, `idle_timeout` (30 seconds); `header_limit` (65536 bytes), `header_count` (200)
-- @treturn client
function client.new(opts)
    local given <const> = setmetatable({}, { __index = DEFAULTS })
    for name, value in pairs(options.check("client", opts, CLIENT)) do given[name] = value end
    return setmetatable({ options = given, connections = {}, sweep_at = 0 }, Client)
end

-- Responses ---------------------------------------------------------------------------------------

-- The body is over: the connection may be used again.
local function over(self)
    local connection <const> = self.connection
    self.connection = nil
    if not connection then return end
    if self.keep and self.status ~= 101 then
        give_back(self.client, connection)
    else
        connection.stream:close()
    end
end

--- The cookies that the server sets: the values of its Set-Cookie headers, one by one and in order, as they came. (In
-- `headers` they are lines of one text, since a comma may be a part of them.)
-- @function response:cookies
-- @treturn {string,...}
function Response:cookies()
    local list <const> = {}
    for line in (self.headers["set-cookie"] or ""):gmatch "[^\n]+" do list[#list + 1] = line end
    return list
end

--- Read a piece of the body. Waits.
-- @function response:read
-- @tparam[opt=65536] integer n bytes at most
-- @treturn ?string nil alone at the end
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "timeout", "eof" when it was cut off, "reset", "closed" ...
function Response:read(n)
    if self.closed then return nil, ("%s: closed"):format(self.url), "closed" end
    if not self.connection then return nil end
    local piece <const>, message <const>, code <const> = self.connection.reader:body(n, self.timeout)
    if piece then return piece end
    if message then
        self:close()
        return nil, ("%s: %s"):format(self.url, message), code
    end
    over(self)
    return nil
end

--- Read the whole body. Waits.
-- @function response:body
-- @tparam[opt=67108864] integer limit of bytes
-- @treturn string
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string as `read`; "toolarge" over the limit
function Response:body(limit)
    local text <const>, message <const>, code <const> = body.collect(function() return self:read() end,
        limit or BODY_LIMIT, self.url)
    if text then return text end
    self:close()
    return nil, message, code
end

-- Read what is left when that is little, so that the connection can be used again; else close it.
function Response:drop(deadline)
    local left = 65536
    while self.connection and left > 0 do
        if deadline then self.timeout = remaining(deadline) end
        local piece <const> = self:read(left)
        if not piece then return end
        left = left - #piece
    end
    self:close()
end

-- The stream of an answer 101, which speaks another protocol from now on.
function Response:take_stream()
    local stream <const> = self.connection.stream
    self.connection = nil
    return stream
end

--- Close: what is left of the body is not wanted. Never waits.
-- @function response:close
-- @treturn boolean true
function Response:close()
    local connection <const> = self.connection
    self.connection = nil
    if connection then
        self.closed = true
        connection.stream:close()
    end
    return true
end

Response.__close = Response.close

function Response:__tostring() return ("response %d of %s"):format(self.status, self.url) end

client.base64 = base64

return client
