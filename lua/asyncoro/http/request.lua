-- SPDX-License-Identifier: MIT
--- Requests, as a handler of the server sees them.
--
-- Fields: `method`, `target` (as it came), `path` (decoded), `query` (name -> value), `headers` (lower-case name ->
-- value; several of a name are joined by ", "), `version` (11 or 10), `peer` (the numeric address of the other side),
-- `port` (its port).
-- @module asyncoro.http.request
-- @local
local core <const> = require "asyncoro.core"
local body <const> = require "asyncoro.http.body"
local url <const> = require "asyncoro.http.url"

local methods <const> = {}

-- Made when they are first asked for.
local fields <const> = {
    headers = function(self)
        return self.reader:headers(self.serial)
            or error("the headers of a request are known until its handler has returned", 3)
    end,
    path = function(self)
        local path <const> = self.target:gsub("^%a[%w+.-]*://[^/?]*", ""):match "^[^?]*"
        return path == "" and "/" or url.decode(path)
    end,
    query = function(self) return url.fields(self.target:match "%?(.*)$") end,
    reader = function(self) return self.connection.reader end,
    stream = function(self) return self.connection.stream end,
    options = function(self) return self.connection.server.options end,
    response = function(self) return self.connection.response end,
    received = function() return 0 end,
    waited = function() return 0 end,
    peer = function(self) return (self.stream:peer()) end,
    port = function(self) return (select(2, self.stream:peer())) end,
}

local Request <const> = { __name = "request" }

function Request.__index(self, key)
    local method <const> = methods[key]
    if method then return method end
    local make <const> = fields[key]
    if not make then return nil end
    local value <const> = make(self)
    rawset(self, key, value)
    return value
end

-- Who waits for a sign before it sends its body gets one.
local function invite(self)
    if self.invited then return end
    self.invited = true
    local expect <const> = self.version >= 11 and self.headers.expect
    if expect and expect:lower() == "100-continue" and not self.response.sent then
        self.stream:write "HTTP/1.1 100 Continue\r\n\r\n"
    end
end

local STATUS <const> = { timeout = 408, toolarge = 413, protocol = 400, eof = 400, reset = 400 }

local function failed(self, message, code)
    self.failure = STATUS[code]
    return nil, message, code
end

-- How long the next piece may take: the time of a piece; what is left of the time for all; and who sends less than so
-- much in a second, after the time of the first piece, comes to an end too. It counts only while somebody reads.
local function patience(self)
    local opts <const> = self.options
    local left = opts.body_timeout
    if opts.body_rate > 0 then left = math.min(left, opts.body_timeout + self.received / opts.body_rate - self.waited) end
    if opts.body_time then left = math.min(left, opts.body_time - self.waited) end
    return math.max(left, 0)
end

--- Read a piece of the body. Waits.
-- @function request:read
-- @tparam[opt=65536] integer n bytes at most
-- @treturn ?string nil alone at the end
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "timeout" (see the server's `body_timeout`, `body_rate` and `body_time`), "toolarge" (over its
-- `body_limit`), "eof", "reset", "protocol" ...
function methods:read(n)
    invite(self)
    local begun <const> = core.now()
    local piece <const>, message <const>, code <const> = self.reader:body(n, patience(self))
    self.waited = self.waited + (core.now() - begun)
    if not piece then
        if message then return failed(self, message, code) end
        return nil
    end
    self.received = self.received + #piece
    if self.received > self.options.body_limit then
        return failed(self, ("the body is larger than %d bytes"):format(self.options.body_limit), "toolarge")
    end
    return piece
end

--- Read the whole body. Waits.
-- @function request:body
-- @tparam[opt] integer limit of bytes; the server's `body_limit` when nil
-- @treturn string perhaps empty
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string as `read`
function methods:body(limit)
    local text <const>, message <const>, code <const> = body.collect(function() return self:read() end,
        limit or self.options.body_limit, "request")
    if text then return text end
    return failed(self, message, code)
end

--- Become a WebSocket, when the other side wants that. Waits.
-- @function request:websocket
-- @tparam[opt] table opts as for `http.websocket` (`limit`, `protocol`, `ping`, `timeout`), and
-- @tparam[opt] string|{string,...} opts.origin whose pages may connect besides those of the same host, as browsers say
-- it ("https://a.example"); "*": all
-- @treturn websocket
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "protocol": it does not want to; "denied": a page of another host. The handler may answer as usual
function methods:websocket(opts)
    return require("asyncoro.http.websocket").accept(self, opts)
end

function Request.__tostring(self)
    return ("request %s %s"):format(self.method, self.target)
end

return Request
