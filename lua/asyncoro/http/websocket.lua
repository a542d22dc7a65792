-- SPDX-License-Identifier: MIT
--- WebSockets (RFC 6455), of both sides. Without extensions.
-- @module asyncoro.http.websocket
local core <const> = require "asyncoro.core"
local options <const> = require "asyncoro.options"

local websocket <const> = {}

local GUID <const> = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
local CONTINUATION <const>, TEXT <const>, BINARY <const>, CLOSE <const>, PING <const>, PONG <const> = 0, 1, 2, 8, 9, 10

-- So long the other side has to answer a close.
local CLOSE_WAIT <const> = 5

local OPTIONS <const> = { limit = "integer", protocol = "string", ping = "time", timeout = "time" }
local CONNECT <const> = { limit = "integer", protocol = "string", ping = "time", timeout = "time", headers = "table",
    tls = "any" }

local WebSocket <const> = { __name = "websocket" }
WebSocket.__index = WebSocket

local function new(stream, is_client, opts, protocol)
    stream:settimeout(opts.timeout or 30)
    return setmetatable({
        stream = stream, masks = is_client, limit = opts.limit or 1 << 20, ping_after = opts.ping or 30,
        protocol = protocol, writing = require("asyncoro.lock").lock(),
    }, WebSocket)
end

-- Frames ------------------------------------------------------------------------------------------

-- The bytes of one frame, whole.
local function frame(self, opcode, data)
    local mask <const> = self.masks and 128 or 0
    local size <const> = #data
    local head
    if size < 126 then
        head = string.pack("BB", 128 | opcode, mask | size)
    elseif size < 65536 then
        head = string.pack(">BBI2", 128 | opcode, mask | 126, size)
    else
        head = string.pack(">BBI8", 128 | opcode, mask | 127, size)
    end
    if not self.masks then return head, data end
    local key <const> = core.http.random(4)
    return head .. key, core.http.mask(data, key)
end

-- Frames of several coros do not mix.
local function send(self, opcode, data)
    local held <close> = self.writing:hold() -- luacheck: ignore 211
    return self.stream:write(frame(self, opcode, data))
end

-- The other side has not kept to the protocol: say so, and end.
local function break_off(self, status, why)
    if not self.closing then
        self.closing = true
        send(self, CLOSE, string.pack(">I2", status) .. why)
    end
    self.status, self.reason = status, why
    self.stream:close()
    return nil, "websocket: " .. why, status == 1009 and "toolarge" or "protocol"
end

-- Length, payload, checks of one frame: opcode, is it the last, data.
local function read_frame(self, timeout)
    local stream <const> = self.stream
    local head, message, code = stream:read_exact(2, timeout)
    if not head then return nil, message, code end
    local first <const>, second <const> = head:byte(1, 2)
    local opcode <const>, last <const>, size = first & 15, first & 128 ~= 0, second & 127
    if first & 112 ~= 0 then return break_off(self, 1002, "a reserved bit is set") end
    if (second & 128 ~= 0) == self.masks then
        return break_off(self, 1002, "masked where it must not be, or the reverse")
    end
    if opcode >= 8 and (not last or size > 125) then
        return break_off(self, 1002, "a control frame is too long or in parts")
    end
    if size >= 126 then
        local format <const> = size == 126 and ">I2" or ">I8"
        head, message, code = stream:read_exact(size == 126 and 2 or 8)
        if not head then return nil, message, code end
        local long <const> = string.unpack(format, head)
        if long < (size == 126 and 126 or 65536) then
            return break_off(self, 1002, "a length is not as short as it could be")
        end
        size = long
    end
    if size > self.limit then return break_off(self, 1009, ("a message is larger than %d bytes"):format(self.limit)) end
    local key
    if not self.masks then
        key, message, code = stream:read_exact(4)
        if not key then return nil, message, code end
    end
    local data = ""
    if size > 0 then
        data, message, code = stream:read_exact(size)
        if not data then return nil, message, code end
        if key then data = core.http.mask(data, key) end
    end
    return opcode, last, data
end

-- Messages ------------------------------------------------------------------------------------------

local function is_status(status)
    return status >= 3000 and status <= 4999 or status >= 1000 and status <= 1014 and status ~= 1004
        and status ~= 1005 and status ~= 1006
end

-- The other side closes, or answers our close.
local function closed_by_other(self, data)
    self.status, self.reason = 1005, ""
    if #data == 1 then return break_off(self, 1002, "a close of one byte") end
    if #data >= 2 then
        self.status, self.reason = string.unpack(">I2", data), data:sub(3)
        if not is_status(self.status) then return break_off(self, 1002, "a status that there is not") end
        if not utf8.len(self.reason) then return break_off(self, 1007, "text that is not UTF-8") end
    end
    if not self.closing then
        self.closing = true
        send(self, CLOSE, data:sub(1, 2))
    end
    self.stream:close()
    return nil, "websocket: closed by the other side", "closed"
end

local function lost(self, message, code)
    self.status = self.status or 1006
    self.stream:close()
    return nil, message, code
end

-- Answer a control frame. True: go on.
local function control(self, opcode, data)
    if opcode == PING then
        if not self.closing then send(self, PONG, data) end
        return true
    elseif opcode == PONG then
        return true
    elseif opcode == CLOSE then
        return closed_by_other(self, data)
    end
    return break_off(self, 1002, "a kind of frame that there is not")
end

-- The next frame. When nothing comes for a while the other side is asked whether it lives; who has asked for a
-- time-out gets it.
local function next_frame(self, deadline)
    local asked = false
    while true do
        local wait = self.ping_after > 0 and self.ping_after or nil
        if deadline then wait = math.min(wait or math.huge, math.max(deadline - core.now(), 0)) end
        local opcode <const>, last <const>, data <const> = read_frame(self, wait)
        if opcode or data ~= "timeout" then return opcode, last, data end
        if deadline and core.now() >= deadline then return nil, "websocket: timed out", "timeout" end
        if asked then return lost(self, "websocket: the other side does not answer", "timeout") end
        asked = true
        send(self, PING, "")
    end
end

--- Wait for the next message. Waits. Pings are answered meanwhile, and sent when nothing comes for `ping` seconds.
-- @function websocket:receive
-- @tparam[opt] number timeout seconds
-- @treturn string
-- @treturn string "text" (valid UTF-8) or "binary"
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "closed" (see `status` and `reason`), "eof" or "reset" without a close, "timeout", "protocol",
-- "toolarge", "busy" when another coro receives
function WebSocket:receive(timeout)
    local deadline <const> = timeout and core.now() + timeout
    local parts <const> = self.parts or { size = 0 }
    self.parts = parts -- kept over a time-out
    while true do
        local opcode <const>, last <const>, data <const> = next_frame(self, deadline)
        if not opcode then
            if data ~= "timeout" and data ~= "busy" then lost(self) end
            return nil, last, data
        end
        if opcode >= 8 then
            local ok <const>, message <const>, code <const> = control(self, opcode, data)
            if not ok then return nil, message, code end
        else
            if opcode > BINARY then return break_off(self, 1002, "a kind of frame that there is not") end
            if (opcode == CONTINUATION) ~= (parts.kind ~= nil) then
                return break_off(self, 1002, "the parts of a message are not in order")
            end
            parts.kind = parts.kind or opcode
            parts.size = parts.size + #data
            if parts.size > self.limit then
                return break_off(self, 1009, ("a message is larger than %d bytes"):format(self.limit))
            end
            parts[#parts + 1] = data
            if last then
                self.parts = nil
                local message <const> = table.concat(parts)
                if parts.kind == BINARY then return message, "binary" end
                if not utf8.len(message) then return break_off(self, 1007, "text that is not UTF-8") end
                return message, "text"
            end
        end
    end
end

--- Send a message. Waits until the system has taken it.
-- @function websocket:send
-- @tparam string data
-- @tparam[opt="text"] string kind "text" (must be UTF-8) or "binary"
-- @treturn boolean true
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "closed", "reset", "timeout"
function WebSocket:send(data, kind)
    if kind ~= nil and kind ~= "text" and kind ~= "binary" then
        error("websocket: 'text' or 'binary' expected, got " .. tostring(kind), 2)
    end
    if kind ~= "binary" and not utf8.len(data) then
        error("websocket: the text is not UTF-8: send it as 'binary'", 2)
    end
    if self.closing then return nil, "websocket: closed", "closed" end
    local done <const>, message <const>, code <const> = send(self, kind == "binary" and BINARY or TEXT, data)
    if done then return true end
    return nil, message, code
end

--- Iterate over the messages: `for message, kind in ws:messages() do`. Ends when the connection does.
-- @function websocket:messages
-- @treturn function iterator
function WebSocket:messages()
    return function()
        local message <const>, kind <const> = self:receive()
        if message then return message, kind end
    end
end

--- Ask whether the other side lives; the answer is no message.
-- @function websocket:ping
-- @treturn boolean true, or nil, message, code
function WebSocket:ping()
    local done <const>, message <const>, code <const> = send(self, PING, "")
    if done then return true end
    return nil, message, code
end

--- Close in order: say so, and wait for the answer, 5 seconds at most. Closing twice is harmless.
-- @function websocket:close
-- @tparam[opt=1000] integer status 1000 to 1014, 3000 to 4999
-- @tparam[opt=""] string reason up to 123 bytes of UTF-8
-- @treturn boolean true
function WebSocket:close(status, reason)
    if math.type(status) ~= "integer" then status, reason = 1000, "" end -- by <close>, with an error perhaps
    if not self.closing and self.stream:is_open() then
        self.closing = true
        if send(self, CLOSE, string.pack(">I2", status) .. (reason or ""):sub(1, 123)) then
            local deadline <const> = core.now() + CLOSE_WAIT
            while self.stream:is_open() do
                local opcode <const>, _, data <const> = read_frame(self, math.max(deadline - core.now(), 0))
                if not opcode then break end
                if opcode == CLOSE then closed_by_other(self, data) end
            end
        end
    end
    self.stream:close()
    return true
end

WebSocket.__close = WebSocket.close

function WebSocket:__tostring() return "websocket " .. tostring(self.stream) end

-- Handshakes ------------------------------------------------------------------------------------------

local function base64(text) return require("asyncoro.http.client").base64(text) end

local function from_hex(text)
    return (text:gsub("%x%x", function(digits) return string.char(tonumber(digits, 16)) end))
end

--- What a server answers to a key.
function websocket.accept_key(key)
    return base64(from_hex(core.digest("sha1", key .. GUID)))
end

local function has_word(list, word)
    for item in (list or ""):gmatch "[^,%s]+" do
        if item:lower() == word then return true end
    end
    return false
end

local function chosen(offered, ours)
    for item in (offered or ""):gmatch "[^,%s]+" do
        if item == ours then return ours end
    end
end

-- Answer the request of a WebSocket: the side of the server. See request:websocket.
function websocket.accept(request, opts)
    local given <const> = options.check("websocket", opts, OPTIONS, 3)
    local headers <const> = request.headers
    local key <const> = headers["sec-websocket-key"]
    if request.method ~= "GET" or not has_word(headers.upgrade, "websocket")
        or not has_word(headers.connection, "upgrade") or not key or #key ~= 24
        or headers["sec-websocket-version"] ~= "13" then
        return nil, "websocket: the request is for none", "protocol"
    end
    if request.response.sent then error("websocket: the request has been answered", 3) end
    local protocol <const> = given.protocol and chosen(headers["sec-websocket-protocol"], given.protocol)
    local done <const>, message <const>, code <const> = request.stream:write(core.http.response(101, {
        Upgrade = "websocket", ["Sec-WebSocket-Accept"] = websocket.accept_key(key),
        ["Sec-WebSocket-Protocol"] = protocol,
    }, nil, "Upgrade"))
    if not done then return nil, message, code end
    request.upgraded, request.response.sent, request.response.finished = true, true, true
    return new(request.stream, false, given, protocol)
end

--- Connect to a WebSocket server. Waits.
-- @function websocket
-- @tparam string address "ws://..." or "wss://..."
-- @tparam[opt] table opts
-- @tparam[opt=1048576] integer opts.limit bytes of a message that is received
-- @tparam[opt] string opts.protocol to ask for (Sec-WebSocket-Protocol)
-- @tparam[opt=30] number opts.ping seconds of silence after which the other side is asked whether it lives; 0: never
-- @tparam[opt=30] number opts.timeout seconds for the handshake, and for each write
-- @tparam[opt] table opts.headers more of them
-- @tparam[opt] table|boolean opts.tls of wss (see asyncoro.tls)
-- @treturn websocket its field `protocol` is what the server has chosen
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "protocol" when the server wants none, and what connecting gives
function websocket.connect(address, opts)
    local given <const> = options.check("websocket", opts, CONNECT)
    local headers <const> = {}
    for name, value in pairs(given.headers or {}) do headers[name:lower()] = value end
    local key <const> = base64(core.http.random(16))
    headers.upgrade, headers.connection = "websocket", "Upgrade"
    headers["sec-websocket-key"], headers["sec-websocket-version"] = key, "13"
    headers["sec-websocket-protocol"] = given.protocol
    local response <const>, message <const>, code <const> = require("asyncoro.http.client").new():request {
        url = address, headers = headers, timeout = given.timeout or 30, redirects = 0, tls = given.tls,
    }
    if not response then return nil, message, code end
    local answer <const> = response.headers
    if response.status ~= 101 or answer["sec-websocket-accept"] ~= websocket.accept_key(key)
        or not has_word(answer.upgrade, "websocket") then
        response:close()
        return nil, ("websocket %s: the server answers %d"):format(address, response.status), "protocol"
    end
    return new(response:take_stream(), true, given, answer["sec-websocket-protocol"])
end

return websocket
