-- SPDX-License-Identifier: MIT
--- WebSockets (RFC 6455), of both sides. Without extensions.
-- @module asyncoro.http.websocket
local core <const> = require "asyncoro.core"
local event <const> = require "asyncoro.event"
local lock <const> = require("asyncoro.lock").lock
local options <const> = require "asyncoro.options"

local websocket <const> = {}

local GUID <const> = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
local CONTINUATION <const>, TEXT <const>, BINARY <const>, CLOSE <const>, PING <const>, PONG <const> = 0, 1, 2, 8, 9, 10

-- So long the other side has to answer a close.
local CLOSE_WAIT <const> = 5

-- Parts of one message; more are sent by nobody who means well.
local PARTS_MOST <const> = 65536

local OPTIONS <const> = { limit = "integer", protocol = "string", ping = "time", timeout = "time", origin = "any" }
local CONNECT <const> = { limit = "integer", protocol = "string", ping = "time", timeout = "time", headers = "table",
    tls = "any" }

local WebSocket <const> = { __name = "websocket" }
WebSocket.__index = WebSocket

--- A WebSocket over a stream on which both sides have agreed to speak it.
-- @function new
-- @tparam stream stream
-- @tparam[opt] table opts `client` (this is the side of the client), `limit`, `ping`, `timeout`, `protocol`
-- @treturn websocket
-- @local
function websocket.new(stream, opts)
    opts = opts or {}
    stream:settimeout(opts.timeout or 30)
    return setmetatable({
        stream = stream, masks = opts.client or false, limit = opts.limit or 1 << 20, ping_after = opts.ping or 30,
        protocol = opts.protocol, writing = lock(), ended = event(), received = "",
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

-- The end, whoever wanted it.
local function shut(self)
    self.stream:close()
    self.ended:set()
end

-- Frames of several coros do not mix, and nothing follows a frame of which only a part may have been sent.
local function send(self, opcode, data)
    local held <close> = self.writing:hold() -- luacheck: ignore 211
    if self.torn then -- by a coro that was cancelled
        shut(self)
        return nil, "websocket: a frame was cut off", "closed"
    end
    local head <const>, payload <const> = frame(self, opcode, data)
    self.torn = true
    local done <const>, message <const>, code <const> = self.stream:write(head, payload)
    if done then
        self.torn = false
        return true
    end
    self.status = self.status or 1006
    shut(self)
    return nil, message, code
end

-- The other side has not kept to the protocol: say so, and end.
local function break_off(self, status, why)
    if not self.closing then
        self.closing = true
        send(self, CLOSE, string.pack(">I2", status) .. why)
    end
    self.status, self.reason = status, why
    shut(self)
    self.failure = { "websocket: " .. why, status == 1009 and "toolarge" or "protocol" }
    return nil, self.failure[1], self.failure[2]
end

local function too_large(self)
    return break_off(self, 1009, ("a message is larger than %d bytes"):format(self.limit))
end

local function remaining(deadline)
    return deadline and math.max(deadline - core.now(), 0)
end

-- Have n bytes received. What has come before a time-out is kept.
local function fill(self, n, deadline)
    while #self.received < n do
        local data <const>, message <const>, code <const>, part <const> =
            self.stream:read_exact(n - #self.received, remaining(deadline))
        self.received = self.received .. (data or part or "")
        if not data then return nil, message, code end
    end
    return true
end

-- What is wrong with the first two bytes of a frame, if anything is.
local function wrong_with(self, first, second)
    local opcode <const> = first & 15
    if first & 112 ~= 0 then return "a reserved bit is set" end
    if (second & 128 ~= 0) == self.masks then return "masked where it must not be, or the reverse" end
    if opcode > BINARY and opcode < CLOSE or opcode > PONG then return "a kind of frame that there is not" end
    if opcode >= CLOSE and (first & 128 == 0 or second & 127 > 125) then
        return "a control frame is too long or in parts"
    end
end

-- The head of a frame: opcode, last, size, key; kept over a time-out.
local function read_head(self, deadline)
    local ok, message, code = fill(self, 2, deadline)
    if not ok then return nil, message, code end
    local first <const>, second <const> = self.received:byte(1, 2)
    local wrong <const> = wrong_with(self, first, second)
    if wrong then return break_off(self, 1002, wrong) end
    local short <const> = second & 127
    local long <const> = short == 126 and 2 or short == 127 and 8 or 0
    ok, message, code = fill(self, 2 + long + (self.masks and 0 or 4), deadline)
    if not ok then return nil, message, code end
    local size = short
    if long > 0 then
        size = string.unpack(long == 2 and ">I2" or ">i8", self.received, 3)
        if size >= 0 and size < (long == 2 and 126 or 65536) then
            return break_off(self, 1002, "a length is not as short as it could be")
        end
    end
    local opcode <const> = first & 15
    if opcode < CLOSE and (size < 0 or size > self.limit - (self.parts and self.parts.size or 0)) then
        return too_large(self)
    end
    local key <const> = not self.masks and self.received:sub(3 + long) or nil
    self.received = ""
    self.head = { opcode = opcode, last = first & 128 ~= 0, size = size, key = key }
    return self.head
end

-- One frame: opcode, is it the last, data.
local function read_frame(self, deadline)
    if not self.head then
        local begun <const>, message <const>, code <const> = read_head(self, deadline)
        if not begun then return nil, message, code end
    end
    local head <const> = self.head
    local ok <const>, why <const>, word <const> = fill(self, head.size, deadline)
    if not ok then return nil, why, word end
    local data = self.received
    self.received, self.head = "", nil
    if head.key then data = core.http.mask(data, head.key) end
    return head.opcode, head.last, data
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
    shut(self)
    return nil, "websocket: closed by the other side", "closed"
end

local function lost(self, message, code)
    self.status = self.status or 1006
    shut(self)
    return nil, message, code
end

-- Answer a control frame. True: go on.
local function control(self, opcode, data)
    if opcode == CLOSE then return closed_by_other(self, data) end
    if opcode == PING and not self.closing then send(self, PONG, data) end
    return true
end

-- The next frame. When nothing comes for a while the other side is asked whether it lives; who has asked for a
-- time-out gets it.
local function next_frame(self, deadline)
    local asked = false
    while true do
        local silence <const> = self.ping_after > 0 and core.now() + self.ping_after or math.huge
        local limit <const> = math.min(deadline or math.huge, silence)
        local before <const> = #self.received
        local opcode <const>, last <const>, data <const> = read_frame(self, limit < math.huge and limit or nil)
        if opcode or data ~= "timeout" then return opcode, last, data end
        if #self.received > before then asked = false end
        if deadline and core.now() >= deadline then return nil, "websocket: timed out", "timeout" end
        if asked then
            lost(self)
            self.failure = { "websocket: the other side does not answer", "timeout" }
            return nil, self.failure[1], "lost"
        end
        asked = true
        send(self, PING, "")
    end
end

-- A frame of a message: the message and its kind when it was the last one; false: there are more.
local function gather(self, opcode, last, data)
    local parts <const> = self.parts or { size = 0 }
    if (opcode == CONTINUATION) ~= (parts.kind ~= nil) then
        return break_off(self, 1002, "the parts of a message are not in order")
    end
    parts.kind = parts.kind or opcode
    parts.size = parts.size + #data
    parts[#parts + 1] = data
    self.parts = parts
    if not last then return #parts >= PARTS_MOST and break_off(self, 1009, "a message has too many parts") end
    self.parts = nil
    local message <const> = table.concat(parts)
    if parts.kind == BINARY then return message, "binary" end
    if not utf8.len(message) then return break_off(self, 1007, "text that is not UTF-8") end
    return message, "text"
end

local function receive(self, deadline)
    while true do
        local opcode <const>, last <const>, data <const> = next_frame(self, deadline)
        if not opcode then
            if data == "lost" then return nil, last, "timeout" end
            if data ~= "timeout" then lost(self) end
            return nil, last, data
        end
        if opcode >= CLOSE then
            local ok <const>, message <const>, code <const> = control(self, opcode, data)
            if not ok then return nil, message, code end
        else
            local message <const>, kind <const>, code <const> = gather(self, opcode, last, data)
            if message ~= false then return message, kind, code end
        end
    end
end

-- Lasts while a coro receives.
local Receiving <const> = {}

function Receiving:__close() self.websocket.receiving = false end

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
    if self.failure then return nil, self.failure[1], self.failure[2] end
    if not self.stream:is_open() then return nil, "websocket: closed", "closed" end
    if self.receiving then return nil, "websocket: another coro receives", "busy" end
    self.receiving = true
    local _ <close> = setmetatable({ websocket = self }, Receiving)
    return receive(self, timeout and core.now() + timeout)
end

--- Send a message. Waits until the system has taken it. When that fails the connection is closed: a part of the message
-- may have gone.
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

-- Wait for the other side's close, passing over what it still sends. A coro that receives will see it.
local function await_close(self)
    if self.receiving then return self.ended:wait(CLOSE_WAIT) end
    local deadline <const> = core.now() + CLOSE_WAIT
    while self.stream:is_open() do
        local opcode <const>, _, data <const> = read_frame(self, deadline)
        if not opcode then return end
        if opcode == CLOSE then return closed_by_other(self, data) end
    end
end

--- Close in order: say so, and wait for the answer, 5 seconds at most. Closing twice is harmless.
-- @function websocket:close
-- @tparam[opt=1000] integer status 1000 to 1014, 3000 to 4999
-- @tparam[opt=""] string reason up to 123 bytes of UTF-8
-- @treturn boolean true
function WebSocket:close(status, reason)
    status, reason = status or 1000, reason or ""
    if math.type(status) ~= "integer" or not is_status(status) then
        error("websocket: a status of 1000 to 1014 or 3000 to 4999 expected, got " .. tostring(status), 2)
    end
    if type(reason) ~= "string" or #reason > 123 or not utf8.len(reason) then
        error("websocket: a reason of at most 123 bytes of UTF-8 expected", 2)
    end
    if not self.closing and self.stream:is_open() then
        self.closing = true
        self.status, self.reason = self.status or status, self.reason or reason
        if send(self, CLOSE, string.pack(">I2", status) .. reason) then await_close(self) end
    end
    shut(self)
    return true
end

-- At the end of a block; after an error nobody waits for an answer.
function WebSocket:__close(err)
    if err == nil then
        self:close()
    else
        shut(self)
    end
end

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

-- May pages of this origin connect? Those of the same host may, and those that are listed. Who is no browser does not
-- say where it comes from.
local function is_welcome(origin, host, welcome)
    if not origin or welcome == "*" then return true end
    if not welcome then return (origin:lower():match "^%a[%w+.-]*://(.*)$") == (host or ""):lower() end
    for _, one in ipairs(type(welcome) == "table" and welcome or { welcome }) do
        if one:lower() == origin:lower() then return true end
    end
    return false
end

-- Answer the request of a WebSocket: the side of the server. See request:websocket.
function websocket.accept(request, opts)
    local given <const> = options.check("websocket", opts, OPTIONS, 3)
    local headers <const> = request.headers
    local key <const> = headers["sec-websocket-key"]
    if request.method ~= "GET" or not has_word(headers.upgrade, "websocket")
        or not has_word(headers.connection, "upgrade") or not key or not key:find "^[%w+/]+==$" or #key ~= 24 then
        return nil, "websocket: the request is for none", "protocol"
    end
    if request.response.sent then error("websocket: the request has been answered", 3) end
    if headers["sec-websocket-version"] ~= "13" then
        request.response:status(426):header("sec-websocket-version", "13")
        return nil, "websocket: the request is for another version of it", "protocol"
    end
    if not is_welcome(headers.origin, headers.host, given.origin) then
        request.response:status(403)
        return nil, "websocket: a page of another host wants to connect: " .. headers.origin, "denied"
    end
    local protocol <const> = given.protocol and chosen(headers["sec-websocket-protocol"], given.protocol)
    local done <const>, message <const>, code <const> = request.stream:write(core.http.response(101, {
        Upgrade = "websocket", ["Sec-WebSocket-Accept"] = websocket.accept_key(key),
        ["Sec-WebSocket-Protocol"] = protocol,
    }, nil, "Upgrade"))
    if not done then return nil, message, code end
    request.response.sent, request.response.finished = true, true
    local ws <const> = websocket.new(request.stream,
        { limit = given.limit, ping = given.ping, timeout = given.timeout, protocol = protocol })
    request.connection.upgraded = ws
    if request.connection.server.stopping then core.spawn(ws.close, ws, 1001, "the server stops") end
    return ws
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
        or not has_word(answer.upgrade, "websocket") or not has_word(answer.connection, "upgrade") then
        response:close()
        return nil, ("websocket %s: the server answers %d"):format(address, response.status), "protocol"
    end
    local protocol <const> = answer["sec-websocket-protocol"]
    if protocol and protocol ~= given.protocol or answer["sec-websocket-extensions"] then
        response:close()
        return nil, ("websocket %s: the server has chosen what was not offered"):format(address), "protocol"
    end
    return websocket.new(response:take_stream(), {
        client = true, limit = given.limit, ping = given.ping, timeout = given.timeout,
        protocol = protocol,
    })
end

return websocket
