-- SPDX-License-Identifier: MIT
--- Responses, as a handler of the server makes them: either at once by what it returns, or piece by piece.
-- @module asyncoro.http.response
-- @local
local core <const> = require "asyncoro.core"
local body <const> = require "asyncoro.http.body"

local head <const>, send <const> = core.http.response, core.http.send

local Response <const> = { __name = "response", code = 200, sent = false, finished = false, close = false,
    failed = false }
Response.__index = Response

-- Set by the server itself.
local OWN <const> = { ["transfer-encoding"] = true, connection = true, date = true }

-- A body up to this size is sent in one piece with the head.
Response.JOINED_MOST = 16384

-- May a response of this status have a body?
local function may_have_body(status)
    return status >= 200 and status ~= 204 and status ~= 304
end

--- Set the status, 200 unless told.
-- @function response:status
-- @tparam integer status
-- @treturn response itself
function Response:status(status)
    if math.type(status) ~= "integer" or status < 200 or status > 999 then
        error("response: a status of 200 to 999 expected, got " .. tostring(status), 2)
    end
    if self.sent then error("response: the head has been sent already", 2) end
    self.code = status
    return self
end

--- Set a header.
-- @function response:header
-- @tparam string name
-- @tparam string|number|table|nil value a list makes several lines; nil takes it away
-- @treturn response itself
function Response:header(name, value)
    if self.sent then error("response: the head has been sent already", 2) end
    name = name:lower()
    if OWN[name] then error(("response: the header '%s' is set by the server"):format(name), 2) end
    if name == "content-length" and value ~= nil then
        value = math.tointeger(tonumber(value))
        if not value or value < 0 then error("response: content-length: a number of bytes expected", 2) end
    end
    if not self.headers then self.headers = {} end
    self.headers[name] = value
    return self
end

-- What the Connection header is to say.
local function connection_of(self)
    local request <const> = self.request
    if self.close or request.connection.server.stopping or not request.keep_alive or request.failure then
        self.close = true
        return "close"
    end
    return request.version < 11 and "keep-alive" or nil
end

-- From here to `written` bytes go out. Who is cancelled in between, or whose time is over, may have sent a part of them:
-- nothing can follow that, lest it be taken for the rest.
local function writing(self)
    self.sent, self.failed = true, true
    return self.stream
end

local function written(self, done, message, code)
    if done then
        self.failed = false
        return true
    end
    self.close = true
    return nil, message, code
end

local function unread()
    return nil, "response: nobody reads it any more", "closed"
end

-- Send the head of a response whose body comes in pieces.
local function begin(self)
    local length <const> = self.headers and self.headers["content-length"]
    self.left = length
    self.silent = self.request.method == "HEAD" or not may_have_body(self.code)
    self.chunked = not length and not self.silent and self.request.version >= 11
    if not length and not self.chunked and not self.silent then self.close = true end -- its end is the stream's
    local bytes <const> = head(self.code, self.headers, self.chunked, connection_of(self))
    return written(self, writing(self):write(bytes))
end

--- Send a piece of the body, and the head before the first. Waits until the system has taken it. Without a
-- Content-Length header the body goes in chunks.
-- @function response:write
-- @tparam string|number piece
-- @treturn boolean true
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "closed", "reset", "timeout": nobody reads it any more
-- @raise when it is no string, longer than what is left of the Content-Length, or comes after the end
function Response:write(piece)
    if type(piece) == "number" then piece = tostring(piece) end
    if type(piece) ~= "string" then error("response: a string expected, got " .. type(piece), 2) end
    if self.finished then error("response: it has been finished already", 2) end
    if self.failed then return unread() end
    if not self.sent then
        local ok <const>, message <const>, code <const> = begin(self)
        if not ok then return nil, message, code end
    end
    if self.silent or #piece == 0 then return true end
    if self.chunked then return written(self, writing(self):write(body.chunk(piece))) end
    if self.left then
        if #piece > self.left then
            self.close, self.failed = true, true
            error("response: the body is longer than its content-length", 2)
        end
        self.left = self.left - #piece
    end
    return written(self, writing(self):write(piece))
end

-- Send a whole response: in one piece, or the head and a long body. Raises what is wrong with it, before anything is
-- sent.
local function send_whole(self, text)
    local status <const>, headers <const>, stream <const> = self.code, self.headers, self.stream
    if type(text) ~= "string" then
        if type(text) ~= "number" then error("response: the body is a " .. type(text) .. ", not a string", 0) end
        text = tostring(text)
    end
    local connection <const> = connection_of(self)
    if not may_have_body(status) then return send(status, headers, nil, connection, nil, stream) end
    local length = #text
    local given <const> = headers and headers["content-length"]
    if self.request.method == "HEAD" then
        text, length = nil, not given and length or nil
    elseif given then
        if given ~= length then
            error(("response: a body of %d bytes, and a content-length of %d"):format(length, given), 0)
        end
        length = nil
    end
    if text and #text > Response.JOINED_MOST then return stream:write(head(status, headers, length, connection), text) end
    return send(status, headers, length, connection, text, stream)
end

local function finish_whole(self, text)
    writing(self)
    local ok <const>, done <const>, message <const>, code <const> = pcall(send_whole, self, text)
    if not ok then
        if not core.is_cancel(done) then self.sent, self.failed = false, false end -- nothing has gone out
        error(done, 0)
    end
    self.finished = true
    return written(self, done, message, code)
end

--- Send the response, or what is left of it. Waits until the system has taken it.
-- @function response:finish
-- @tparam[opt] string text the body, or its last piece
-- @treturn boolean true
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string code
function Response:finish(text)
    if self.finished then return true end
    if self.sent then
        if text then self:write(text) end
        self.finished = true
        if self.failed then return unread() end
        if self.left and self.left > 0 and not self.silent then
            self.close, self.failed = true, true
            return nil, "response: the body is shorter than its content-length", "protocol"
        end
        return not self.chunked or written(self, writing(self):write(body.LAST_CHUNK))
    end
    return finish_whole(self, text or "")
end

local Events <const> = { __name = "events" }
Events.__index = Events

--- Send an event. Waits.
-- @function events:send
-- @tparam string|table event its data; or a table of `data`, `event` (its name), `id`, `retry` (milliseconds)
-- @treturn boolean true
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "closed", "reset", "timeout": nobody listens any more
function Events:send(event)
    if type(event) == "string" then event = { data = event } end
    local lines <const> = {}
    for _, name in ipairs { "event", "id", "retry" } do
        local value <const> = event[name] and tostring(event[name])
        if value and value:find "[\r\n]" then error(("events: the %s has a line end"):format(name), 2) end
        if value then lines[#lines + 1] = name .. ": " .. value end
    end
    local data <const> = event.data or event.event and "" -- an id or a time alone is no event
    for line in (data and data .. "\n" or ""):gsub("\r\n?", "\n"):gmatch "([^\n]*)\n" do
        lines[#lines + 1] = "data: " .. line
    end
    return self.response:write(table.concat(lines, "\n") .. "\n\n")
end

--- Send something that keeps the connection alive and is no event. Waits.
-- @function events:ping
-- @treturn boolean true, or as `send`
function Events:ping() return self.response:write ":\n\n" end

--- Make the response a stream of server-sent events; it lasts until the handler returns.
-- @function response:sse
-- @treturn events
function Response:sse()
    self:header("content-type", "text/event-stream")
    self:header("cache-control", "no-store")
    return setmetatable({ response = self }, Events)
end

return Response
