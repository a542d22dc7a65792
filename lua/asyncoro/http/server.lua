-- SPDX-License-Identifier: MIT
--- The HTTP server: a coro for each connection, a call of the handler for each request.
-- @module asyncoro.http.server
local core <const> = require "asyncoro.core"
local log <const> = require "asyncoro.log"
local options <const> = require "asyncoro.options"
local socket <const> = require "asyncoro.socket"
local Request <const> = require "asyncoro.http.request"
local Response <const> = require "asyncoro.http.response"

local reader_of <const>, respond <const>, send <const> = core.http.reader, core.http.response, core.http.send

local KNOWN <const> = {
    handler = "function", host = "string", port = "integer", listener = "any", tls = "any", backlog = "integer",
    reuse_port = "boolean", header_timeout = "time", idle_timeout = "time", body_timeout = "time", body_time = "time",
    body_rate = "integer", write_timeout = "time", header_limit = "integer", header_count = "integer",
    body_limit = "integer", connections = "integer", on_error = "function",
}

local DEFAULTS <const> = {
    header_timeout = 10, idle_timeout = 60, body_timeout = 30, body_rate = 100, write_timeout = 30,
    header_limit = 16384, header_count = 100, body_limit = 16 << 20, connections = 10000,
}

-- What is read and dropped of a body that the handler did not want, so that the connection can be kept.
local DROPPED_MOST <const> = 65536

local Server <const> = { __name = "server" }
Server.__index = Server

local STATUS <const> = { toolarge = 431, protocol = 400, timeout = 408 }

-- How long the other side has to take an answer, when it sends what nobody wants to read.
local LINGER <const> = 1

-- Connections over the limit that are told so at a time.
local REFUSED_MOST <const> = 100

-- Say that no more is coming, and pass over what still comes, for a moment: to close with unread bytes resets the
-- connection, and could take the answer from the other side.
local function linger(stream)
    if not stream:is_open() or not stream:shutdown(LINGER) then return end
    local limit <const> = core.now() + LINGER
    local left = 1 << 20
    while left > 0 do
        local data <const> = stream:read(65536, math.max(limit - core.now(), 0))
        if not data then return end
        left = left - #data
    end
end

-- Answer what is no proper request, and close.
local function refuse(stream, status)
    local text <const> = ("%d %s\n"):format(status, core.http.reason(status))
    if stream:write(respond(status, { ["content-type"] = "text/plain" }, #text, "close", text)) then linger(stream) end
    stream:close()
end

local function report(self, err, request)
    if self.options.on_error then return self.options.on_error(err, request) end
    log:error("%s: %s", tostring(request), tostring(err))
end

-- Send what a handler has returned.
local function answer(response, first, text, headers)
    local request <const> = response.request
    if first == nil and not response.sent and request.failure then -- it could not read the body, and says nothing
        response:status(request.failure)
        response:finish(core.http.reason(request.failure) .. "\n")
    elseif math.type(first) == "integer" then
        response:status(first)
        for name, value in pairs(headers or {}) do response:header(name, value) end
        response:finish(text)
    else
        response:finish(first)
    end
end

local function traceback(err)
    if core.is_cancel(err) then return err end
    return type(err) == "string" and debug.traceback(err, 2) or err
end

-- The handler, or what it has returned, has failed.
local function fail(self, request, response, err)
    if core.is_cancel(err) then error(err, 0) end
    if not request.failure then report(self, err, request) end
    response.close = true
    if response.sent then
        response.finished, response.failed = true, true -- cut short, so that nobody takes it for whole
    else
        response.headers, response.code = nil, request.failure or 500
        response:header("content-type", "text/plain")
        response:finish(core.http.reason(response.code) .. "\n")
    end
end

-- Read the rest of a body, when it is short.
local function drop_rest(request)
    local limit <const> = core.now() + LINGER
    local left = DROPPED_MOST
    while left > 0 do
        local piece <const>, message <const> = request.reader:body(left, math.max(limit - core.now(), 0))
        if not piece then return not message end
        left = left - #piece
    end
    return false
end

-- A request with a body has been answered. True when another may follow.
local function after_body(self, connection, request, response)
    local _, complete <const> = connection.reader:state()
    if complete then return not response.close end
    local awaited <const> = request.headers.expect and not request.invited
    if not awaited and not response.close and drop_rest(request) then return not self.stopping end
    if not response.failed then linger(connection.stream) end
    return false
end

-- What the handler has left to be done. True when another request may follow.
local function settle(self, connection, request, response, has_body, ok, ...)
    if ok and not response.finished then
        local err
        ok, err = xpcall(answer, traceback, response, ...)
        if not ok then fail(self, request, response, err) end
    elseif not ok then
        fail(self, request, response, (...))
    end
    if connection.upgraded then
        connection.upgraded:close()
        return false
    end
    if response.failed then response.close = true end
    if has_body then return after_body(self, connection, request, response) end
    return not response.close
end

-- After the handler. Most often it has returned a text, and that is all.
local function handled(self, connection, request, response, has_body, ok, first, ...)
    if ok and not has_body and type(first) == "string" and #first <= Response.JOINED_MOST and not response.sent
        and not response.headers and response.code == 200 and not response.close and not self.stopping
        and request.version >= 11 and request.method ~= "HEAD" then
        return send(200, nil, #first, nil, first, connection.stream) ~= nil
    end
    return settle(self, connection, request, response, has_body, ok, first, ...)
end

-- One request. True when another may follow.
local function serve_one(self, connection, method, target, version, keep_alive, serial, has_body)
    local request <const> = setmetatable({
        method = method, target = target, version = version, keep_alive = keep_alive, serial = serial,
        connection = connection,
    }, Request)
    local response <const> = setmetatable({ request = request, stream = connection.stream }, Response)
    connection.response = response
    if not keep_alive then response.close = true end
    if has_body then
        local length <const> = tonumber(request.headers["content-length"])
        if length and length > self.options.body_limit then
            refuse(connection.stream, 413)
            return false
        end
    end
    return handled(self, connection, request, response, has_body, xpcall(self.handler, traceback, request, response))
end

-- All requests of one connection.
local function serve(self, connection)
    local stream <const>, opts <const> = connection.stream, self.options
    local reader <const> = reader_of(stream, "request", opts.header_limit, opts.header_count)
    local header_timeout <const>, idle_timeout <const> = opts.header_timeout, opts.idle_timeout
    stream:settimeout(opts.write_timeout)
    connection.reader = reader
    local head <const> = reader.head
    local wait = header_timeout
    repeat
        connection.idle, connection.response = true, false
        local method <const>, target <const>, version <const>, keep_alive <const>, serial <const>, has_body <const> =
            head(reader, wait, header_timeout)
        connection.idle = false
        if not method then
            -- nil, message, code, has it begun?, which status says so?
            local status <const> = serial or STATUS[version]
            if status and (status ~= 408 or keep_alive) then refuse(stream, status) end
            return
        end
        wait = idle_timeout
        -- Its answer may have promised another before the server was told to stop.
    until not serve_one(self, connection, method, target, version, keep_alive, serial, has_body) or self.stopping
end

local Connection <const> = {}

function Connection:__close()
    local server <const> = self.server
    self.stream:close()
    server.open[self] = nil
    server.count = server.count - 1
    if server.count == 0 then server.drained:set() end
end

local function connected(self, stream)
    local connection <close> = setmetatable({
        server = self, stream = stream, coro = core.current(), idle = true, reader = false, response = false,
        upgraded = false,
    }, Connection)
    if self.stopping then return end -- since it was accepted
    self.open[connection] = true
    serve(self, connection)
end

-- There are too many connections: say so, unless too many are being told already.
local function turn_away(self, stream)
    if self.refused >= REFUSED_MOST then return stream:close() end
    self.refused = self.refused + 1
    core.spawn({ name = "http refusal", daemon = true }, function()
        local _ <close> = setmetatable({}, { __close = function() self.refused = self.refused - 1 end })
        stream:settimeout(LINGER)
        refuse(stream, 503)
    end)
end

local CONNECTION <const> = { name = "http connection" }

local function accept(self)
    while true do
        local stream <const>, message <const>, code <const> = self.listener:accept()
        if stream then
            if self.count >= self.options.connections then
                turn_away(self, stream)
            else
                self.count = self.count + 1
                self.drained:clear()
                core.spawn(CONNECTION, connected, self, stream)
            end
        elseif code == "closed" then
            return
        else
            log:error("http: %s", message)
            core.sleep(0.1)
        end
    end
end

--- Where it listens.
-- @function server:address
-- @treturn string host, or the path of a Unix socket
-- @treturn ?integer port
function Server:address() return self.listener:address() end

--- Stop at once: no new connections, those that are open are closed, and their handlers terminated. Never waits.
-- @function server:close
-- @treturn boolean true
function Server:close()
    self.stopping, self.closed = true, true
    self.listener:close()
    for connection in pairs(self.open) do
        connection.stream:close()
        if connection.coro ~= core.current() then connection.coro:terminate() end
    end
    return true
end

Server.__close = Server.close

--- Stop gracefully: no new connections, idle ones are closed, requests that are being served are answered. Waits until
-- all are done; what is left then is closed.
-- @function server:shutdown
-- @tparam[opt=30] number timeout seconds
-- @treturn boolean true
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "timeout": requests were cut off
function Server:shutdown(timeout)
    self.stopping = true
    self.listener:close()
    for connection in pairs(self.open) do
        local ws <const> = connection.upgraded
        if connection.idle then
            connection.stream:close()
        elseif ws then
            core.spawn(ws.close, ws, 1001, "the server stops")
        end
    end
    if self.count == 0 or self.drained:wait(timeout or 30) then return true end
    local count <const> = self.count
    self:close()
    return nil, ("http: %d connections were cut off"):format(count), "timeout"
end

function Server:__tostring()
    return "http server " .. tostring(self.listener):gsub("^listener ", "")
end

--- Serve HTTP, until it is closed. Does not wait; the server's coros keep the program running.
--
-- The handler is called with each request (`method`, `target`, `path`, `query`, `headers`, `:read()`, `:body()`,
-- `:websocket()`) and a response (`:status()`, `:header()`, `:write()`, `:finish()`, `:sse()`), in the coro of its
-- connection: it may wait. It returns the body; or a status, and perhaps a body and a table of headers; or nothing when
-- it has used the response. An error of the handler is logged and answered with 500.
-- @function serve
-- @tparam table opts
-- @tparam function opts.handler
-- @tparam[opt="127.0.0.1"] string opts.host as of `asyncoro.listen`; "*": every address
-- @tparam[opt=0] integer opts.port 0: a free one
-- @tparam[opt] listener opts.listener one that listens already, in place of host and port
-- @tparam[opt] table opts.tls certificate and key (see asyncoro.tls)
-- @tparam[opt] integer opts.backlog see `asyncoro.listen`
-- @tparam[opt] boolean opts.reuse_port see `asyncoro.listen`
-- @tparam[opt=10] number opts.header_timeout seconds in which the head of a request must have come (else 408)
-- @tparam[opt=60] number opts.idle_timeout seconds between two requests of a connection
-- @tparam[opt=30] number opts.body_timeout seconds for each piece of a body (else 408)
-- @tparam[opt=100] integer opts.body_rate bytes of a body that must come in each second, on average and after the first
-- `body_timeout` seconds (else 408); 0: as slowly as it likes
-- @tparam[opt] number opts.body_time seconds for all of a body (else 408); nil: no limit. Of all three only the time
-- counts in which the handler waits for the body
-- @tparam[opt=30] number opts.write_timeout seconds for each write
-- @tparam[opt=16384] integer opts.header_limit bytes of a head (else 431)
-- @tparam[opt=100] integer opts.header_count headers of a request (else 431)
-- @tparam[opt=16777216] integer opts.body_limit bytes of a body (else 413)
-- @tparam[opt=10000] integer opts.connections at most, others get 503
-- @tparam[opt] function opts.on_error gets an error of the handler and the request, in place of the log
-- @treturn server
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string as `asyncoro.listen`
-- @usage asyncoro.http.serve { port = 8080, handler = function(request) return "Hello, " .. request.path end }
return function(opts)
    local given <const> = setmetatable({}, { __index = DEFAULTS })
    for name, value in pairs(options.check("serve", opts, KNOWN)) do given[name] = value end
    if not given.handler then error("serve: the option 'handler', a function, is missing", 2) end
    local listener, message, code = given.listener, nil, nil
    if not listener then
        listener, message, code = socket.listen(given.host or "127.0.0.1", given.port or 0,
            { tls = given.tls, backlog = given.backlog, reuse_port = given.reuse_port })
    end
    if not listener then return nil, message, code end
    local self <const> = setmetatable({
        options = given, handler = given.handler, stopping = false, listener = listener, open = {}, count = 0,
        refused = 0, drained = require "asyncoro.event"(),
    }, Server)
    core.spawn({ name = "http server" }, accept, self)
    return self
end
