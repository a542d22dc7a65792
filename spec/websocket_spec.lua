-- SPDX-License-Identifier: MIT
local asyncoro = require "asyncoro"
local run = require("spec.helper").run

local found <const>, http <const> = pcall(function() return asyncoro.http end)
if not found then return it("websockets # SKIP this build has no asyncoro.http (node-llhttp)", function() end) end
local websocket <const> = require "asyncoro.http.websocket"

-- A WebSocket of the server's side, or the client's, and the raw stream at the other end.
local function over_pair(opts)
    local near <const>, far <const> = assert(asyncoro.socket.pair())
    far:settimeout(5)
    return websocket.new(near, opts), far
end

local KEY <const> = "\1\2\3\4"

local function masked(data)
    return (data:gsub("()(.)", function(at, c) return string.char(c:byte() ~ KEY:byte((at - 1) % 4 + 1)) end))
end

-- A frame of a client: first byte, data.
local function frame(first, data)
    local size <const> = #data
    local head
    if size < 126 then
        head = string.pack("BB", first, 128 | size)
    elseif size < 65536 then
        head = string.pack(">BBI2", first, 128 | 126, size)
    else
        head = string.pack(">BBI8", first, 128 | 127, size)
    end
    return head .. KEY .. masked(data)
end

local TEXT <const>, BINARY <const>, CLOSE <const>, PING <const>, PONG <const> = 0x81, 0x82, 0x88, 0x89, 0x8A

-- The next frame that a server has sent: first byte, data.
local function sent(far)
    local head <const> = assert(far:read_exact(2))
    local size = head:byte(2)
    if size == 126 then
        size = string.unpack(">I2", assert(far:read_exact(2)))
    elseif size == 127 then
        size = string.unpack(">I8", assert(far:read_exact(8)))
    end
    return head:byte(1), size > 0 and assert(far:read_exact(size)) or ""
end

-- Bytes that are no WebSocket: the status of the close that answers them.
local function refused(bytes, opts)
    return run(function()
        local ws <const>, far <const> = over_pair(opts)
        far:write(bytes)
        local data <const>, message <const>, code <const> = ws:receive(5)
        assert.is_nil(data)
        assert.matches("^websocket: ", message)
        local again <const>, same <const>, word <const> = ws:receive(5)
        assert.same({ nil, message, code }, { again, same, word })
        assert.is_false(ws.stream:is_open())
        local first <const>, payload <const> = sent(far)
        assert.equal(CLOSE, first)
        assert.is_nil((far:read(1)))
        far:close()
        return string.unpack(">I2", payload), code
    end)
end

describe("websocket frames", function()
    it("carry texts and bytes of every size, both ways", function()
        run(function()
            for _, size in ipairs { 0, 1, 125, 126, 127, 65535, 65536, 300000 } do
                local ws <const>, far <const> = over_pair()
                local data <const> = ("x\255"):rep(size):sub(1, size)
                asyncoro.spawn(function() far:write(frame(BINARY, data)) end)
                local got <const>, kind <const> = ws:receive(5)
                assert.equal("binary", kind)
                assert.is_true(got == data)
                asyncoro.spawn(function() ws:send(data, "binary") end)
                local first <const>, back <const> = sent(far)
                assert.equal(BINARY, first)
                assert.is_true(back == data)
                far:close()
                ws:close()
            end
        end)
    end)

    it("of a client are masked, each with a key of its own", function()
        run(function()
            local ws <const>, far <const> = over_pair { client = true }
            assert(ws:send "Hello")
            assert(ws:send "Hello")
            local one <const>, two <const> = far:read_exact(11), far:read_exact(11)
            assert.equal("\x81\x85", one:sub(1, 2))
            assert.not_equal(one:sub(3, 6), two:sub(3, 6))
            assert.equal("Hello", require("asyncoro.core").http.mask(one:sub(7), one:sub(3, 6)))
            far:write "\x81\x05Hello"
            assert.equal("Hello", (ws:receive(5)))
            far:close()
            ws:close()
        end)
    end)

    it("in parts make one message, with control frames in between", function()
        run(function()
            local ws <const>, far <const> = over_pair()
            far:write(frame(0x01, "Hel"), frame(PING, "are you there"), frame(0x00, ""), frame(PONG, ""),
                frame(0x80, "lo"))
            assert.same({ "Hello", "text" }, { ws:receive(5) })
            assert.same({ PONG, "are you there" }, { sent(far) })
            far:write(frame(0x01, "h\xC3"), frame(0x80, "\xA9")) -- a letter cut in two
            assert.equal("h\u{E9}", (ws:receive(5)))
            far:close()
            ws:close()
        end)
    end)

    it("may come byte by byte, and over time-outs", function()
        run(function()
            local ws <const>, far <const> = over_pair()
            local bytes <const> = frame(TEXT, "slowly") .. frame(BINARY, ("y"):rep(200))
            local got <const> = {}
            for at = 1, #bytes do
                far:write(bytes:sub(at, at))
                local data <const>, kind <const>, code <const> = ws:receive(0)
                if data then
                    got[#got + 1] = kind .. " " .. data
                else
                    assert.equal("timeout", code)
                end
            end
            assert.same({ "text slowly", "binary " .. ("y"):rep(200) }, got)
            far:close()
            ws:close()
        end)
    end)
end)

describe("websocket refuses", function()
    it("frames without a mask from a client", function()
        assert.same({ 1002, "protocol" }, { refused "\x81\x05Hello" })
    end)
    it("frames with a mask from a server", function()
        run(function()
            local ws <const>, far <const> = over_pair { client = true }
            far:write(frame(TEXT, "Hello"))
            assert.equal("protocol", (select(3, ws:receive(5))))
            far:close()
        end)
    end)
    it("reserved bits", function() assert.equal(1002, (refused(frame(0xC1, "x")))) end)
    it("unknown kinds", function()
        assert.equal(1002, (refused(frame(0x83, "x"))))
        assert.equal(1002, (refused(frame(0x8B, "x"))))
    end)
    it("control frames that are long or in parts", function()
        assert.equal(1002, (refused(frame(PING, ("x"):rep(126)))))
        assert.equal(1002, (refused(frame(0x09, "x"))))
    end)
    it("a continuation of nothing, and a message inside another", function()
        assert.equal(1002, (refused(frame(0x80, "x"))))
        assert.equal(1002, (refused(frame(0x01, "x") .. frame(TEXT, "y"))))
    end)
    it("lengths that are not as short as they could be", function()
        assert.equal(1002, (refused("\x82\xFE\0\5" .. KEY .. "hello")))
        assert.equal(1002, (refused("\x82\xFF\0\0\0\0\0\0\1\0" .. KEY)))
    end)
    it("text that is not UTF-8", function()
        for _, text in ipairs { "\xFF", "\xC0\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80", "abc\xC3" } do
            assert.equal(1007, (refused(frame(TEXT, text))))
        end
    end)
    it("messages over the limit, before they have come", function()
        assert.same({ 1009, "toolarge" }, { refused("\x82\xFE\1\1" .. KEY, { limit = 256 }) })
        assert.same({ 1009, "toolarge" }, { refused("\x82\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF" .. KEY) })
        assert.same({ 1009, "toolarge" },
            { refused(frame(0x02, ("x"):rep(200)) .. frame(0x80, ("x"):rep(57)), { limit = 256 }) })
    end)
    it("closes that say nonsense", function()
        assert.equal(1002, (refused(frame(CLOSE, "x"))))
        for _, status in ipairs { 0, 999, 1004, 1005, 1006, 1015, 2999, 5000 } do
            assert.equal(1002, (refused(frame(CLOSE, string.pack(">I2", status)))))
        end
        assert.equal(1007, (refused(frame(CLOSE, "\3\xE8\xFF"))))
    end)
    it("wrong arguments", function()
        run(function()
            local ws <const>, far <const> = over_pair()
            assert.has_error(function() ws:send("\xFF") end)
            assert.has_error(function() ws:send("x", "json") end)
            assert.has_error(function() ws:close(1005) end)
            assert.has_error(function() ws:close(1000, ("x"):rep(124)) end)
            far:close()
            ws:close()
            assert.same({ nil, "websocket: closed", "closed" }, { ws:receive() })
            assert.same({ nil, "websocket: closed", "closed" }, { ws:send "x" })
        end)
    end)
end)

describe("websocket close", function()
    it("is answered, and tells why", function()
        run(function()
            local ws <const>, far <const> = over_pair()
            far:write(frame(CLOSE, "\3\xE9going away"))
            assert.same({ nil, "websocket: closed by the other side", "closed" }, { ws:receive(5) })
            assert.same({ 1001, "going away" }, { ws.status, ws.reason })
            assert.same({ CLOSE, "\3\xE9" }, { sent(far) })
            assert.is_nil((far:read(1)))
            far:close()
        end)
    end)

    it("waits for the answer, passing over what comes before", function()
        run(function()
            local ws <const>, far <const> = over_pair()
            local closer <const> = asyncoro.spawn(function() return ws:close(3001, "enough") end)
            assert.same({ CLOSE, "\x0B\xB9enough" }, { sent(far) })
            far:write(frame(TEXT, "late"))
            asyncoro.sleep(0)
            assert.is_true(closer:is_alive())
            far:write(frame(CLOSE, "\x0B\xB9"))
            assert.same({ true, true }, { closer:finish(5) })
            assert.is_nil((far:read(1)))
            assert.is_true(ws:close())
            far:close()
        end)
    end)

    it("reaches a coro that receives", function()
        run(function()
            local ws <const>, far <const> = over_pair()
            local reader <const> = asyncoro.spawn(function() return ws:receive() end)
            asyncoro.sleep(0)
            assert.equal("busy", (select(3, ws:receive())))
            local closer <const> = asyncoro.spawn(function() ws:close() end)
            sent(far)
            far:write(frame(CLOSE, "\3\xE8"))
            assert.same({ true, nil, "websocket: closed by the other side", "closed" }, { reader:finish(5) })
            closer:finish(5)
            far:close()
        end)
    end)

    it("is not waited for when an error ends the block", function()
        run(function()
            local far
            assert.is_false(pcall(function()
                local one <const>, other <const> = over_pair()
                local ws <close> = one
                far = other
                error(ws)
            end))
            assert.is_nil((far:read(1)))
            far:close()
        end)
    end)

    it("is no need for the end: then it is eof", function()
        run(function()
            local ws <const>, far <const> = over_pair()
            far:write "\x82"
            far:close()
            assert.equal("eof", (select(3, ws:receive(5))))
            assert.equal(1006, ws.status)
        end)
    end)
end)

describe("websocket ping", function()
    it("is sent in silence, and its answer is life", function()
        run(function()
            local ws <const>, far <const> = over_pair { ping = 0.02 }
            local reader <const> = asyncoro.spawn(function() return ws:receive() end)
            for _ = 1, 3 do
                assert.equal(PING, (sent(far)))
                far:write(frame(PONG, ""))
            end
            far:write(frame(TEXT, "here"))
            assert.same({ true, "here", "text" }, { reader:finish(5) })
            far:close()
            ws:close()
        end)
    end)

    it("that is not answered ends the connection", function()
        run(function()
            local ws <const>, far <const> = over_pair { ping = 0.01 }
            assert.same({ nil, "websocket: the other side does not answer", "timeout" }, { ws:receive() })
            assert.is_false(ws.stream:is_open())
            assert.equal("timeout", (select(3, ws:receive())))
            far:close()
        end)
    end)
end)

describe("websocket send", function()
    it("of several coros does not mix", function()
        run(function()
            local ws <const>, far <const> = over_pair()
            local big <const> = ("z"):rep(400000)
            for _ = 1, 5 do
                asyncoro.spawn(function() ws:send(big, "binary") end)
                asyncoro.spawn(function() ws:ping() end)
            end
            local bigs, pings = 0, 0
            for _ = 1, 10 do
                local first <const>, data <const> = sent(far)
                if first == PING then pings = pings + 1 elseif data == big then bigs = bigs + 1 end
            end
            assert.same({ 5, 5 }, { bigs, pings })
            far:close()
            ws:close()
        end)
    end)
end)

describe("websocket send that is cut off", function()
    local big <const> = ("z"):rep(16 << 20)

    it("by its time ends the connection", function()
        run(function()
            local ws <const>, far <const> = over_pair { timeout = 0.02 }
            assert.equal("timeout", (select(3, ws:send(big))))
            assert.is_false(ws.stream:is_open())
            assert.equal("closed", (select(3, ws:send "x")))
            assert.equal("closed", (select(3, ws:receive())))
            far:close()
        end)
    end)

    it("by the end of its coro is followed by nothing", function()
        run(function()
            local ws <const>, far <const> = over_pair()
            local writer <const> = asyncoro.spawn(function() ws:send(big) end)
            asyncoro.sleep(0)
            writer:terminate()
            assert.equal("closed", (select(3, ws:send "x")))
            assert.is_false(ws.stream:is_open())
            assert.matches("z$", far:read_all())
            far:close()
        end)
    end)
end)

describe("websocket over HTTP", function()
    local PYTHON <const> = "/usr/bin/python3"

    local function serve(opts, handler)
        return assert(http.serve { handler = function(request)
            local ws <const>, message <const>, code <const> = request:websocket(opts)
            if not ws then return message .. " " .. code end
            return handler(ws)
        end })
    end

    it("computes the answer to a key", function()
        assert.equal("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", websocket.accept_key "dGhlIHNhbXBsZSBub25jZQ==")
    end)

    it("serves a client in Python", function()
        run(function()
            local big <const> = ("\u{20AC}"):rep(30000)
            local echoed
            local server <close> = serve({ protocol = "b" }, function(ws)
                assert(ws:send "Hello")
                local one <const> = ws:receive(5)
                assert(ws:send(big))
                local two <const> = ws:receive(5)
                assert(ws:send("\0\255", "binary"))
                echoed = { one, two == big, ws:receive(5) }
                ws:close(3000, "bye")
            end)
            local _, port <const> = server:address()
            local out <const>, err <const> =
                asyncoro.process.run { PYTHON, "spec/websocket_peer.py", "client", tostring(port) }
            assert.same({ "b\nclosed 3000 bye\n", "" }, { out, err })
            assert.same({ "Hello", true, "\0\255", "binary" }, echoed)
        end)
    end)

    it("keeps pages of other hosts out, unless they are welcome", function()
        run(function()
            local function first_line(opts, origin)
                local server <close> = serve(opts, function(ws) ws:close(1000) end)
                local _, port <const> = server:address()
                local out <const> = asyncoro.process.run { PYTHON, "spec/websocket_peer.py", "client", tostring(port),
                    origin:gsub("PORT", port) .. "" }
                return out:match "^[^\n]*"
            end
            assert.equal("HTTP/1.1 403 Forbidden", first_line({}, "https://evil.example"))
            assert.equal("HTTP/1.1 403 Forbidden", first_line({ origin = "https://a.example" }, "https://evil.example"))
            assert.equal("None", first_line({}, "http://127.0.0.1:PORT"))
            assert.equal("None", first_line({ origin = { "https://a.example" } }, "https://A.example"))
            assert.equal("None", first_line({ origin = "*" }, "null"))
        end)
    end)

    it("is a client of a server in Python", function()
        run(function()
            local peer <close> = assert(asyncoro.process.spawn({ PYTHON, "spec/websocket_peer.py", "server" },
                { stdout = "pipe" }))
            local port <const> = assert(peer.stdout:read_line())
            local ws <const> = assert(http.websocket(("ws://127.0.0.1:%s/there?x=1"):format(port)))
            assert.same({ "h\u{E9}", "text" }, { ws:receive(5) })
            local data <const>, kind <const> = ws:receive(5)
            assert.same({ 76800, "binary" }, { #data, kind })
            assert(ws:send "one")
            assert(ws:close(3999))
            assert.equal("10 4 b'ping'\n1 3 b'one'\n8 2 b'\\x0f\\x9f'\n", peer.stdout:read_all())
        end)
    end)

    it("takes nothing from a server that was not offered", function()
        run(function()
            for _, line in ipairs { "Sec-WebSocket-Protocol: other", "Sec-WebSocket-Extensions: permessage-deflate" } do
                local listener <close> = asyncoro.listen("127.0.0.1", 0)
                asyncoro.spawn(function()
                    local stream <close> = listener:accept()
                    local key <const> = stream:read_until("\r\n\r\n"):match "\r\nsec%-websocket%-key: (%S+)"
                    stream:write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                        .. "Sec-WebSocket-Accept: " .. websocket.accept_key(key) .. "\r\n" .. line .. "\r\n\r\n")
                end)
                local ws <const>, message <const>, code <const> =
                    http.websocket("ws://127.0.0.1:" .. select(2, listener:address()))
                assert.same({ nil, "protocol" }, { ws, code })
                assert.matches("not offered", message)
            end
        end)
    end)

    it("takes an answer that does not agree for none", function()
        run(function()
            local accepts <const> = { ["Connection: Upgrade\r\nUpgrade: websocket"] = true }
            for _, line in ipairs { "Connection: Upgrade\r\nUpgrade: websocket", "Upgrade: websocket",
                "Connection: close\r\nUpgrade: websocket", "Connection: Upgrade", } do
                local listener <close> = asyncoro.listen("127.0.0.1", 0)
                asyncoro.spawn(function()
                    local stream <close> = listener:accept()
                    local key <const> = stream:read_until("\r\n\r\n"):match "\r\nsec%-websocket%-key: (%S+)"
                    stream:write("HTTP/1.1 101 Switching Protocols\r\n" .. line .. "\r\n"
                        .. "Sec-WebSocket-Accept: " .. websocket.accept_key(key) .. "\r\n\r\n")
                    stream:read(1, 5)
                end)
                local ws <const>, _, code <const> = http.websocket("ws://127.0.0.1:" .. select(2, listener:address()))
                assert.equal(accepts[line] or false, ws ~= nil, line)
                if ws then ws.stream:close() else assert.equal("protocol", code) end
            end
        end)
    end)

    it("answers what asks for none, or for another version", function()
        run(function()
            local server <close> = serve({}, function(ws) ws:close() end)
            local _, port <const> = server:address()
            local client <close> = http.client()
            local address <const> = ("http://127.0.0.1:%d/"):format(port)
            assert.matches("^websocket: the request is for none protocol", client:get(address):body())
            local fields <const> = { upgrade = "websocket", connection = "upgrade", ["sec-websocket-version"] = "8",
                ["sec-websocket-key"] = "dGhlIHNhbXBsZSBub25jZQ==" }
            local response <const> = client:get(address, { headers = fields })
            assert.same({ 426, "13" }, { response.status, response.headers["sec-websocket-version"] })
            response:close()
            assert.equal("protocol", (select(3, http.websocket(("ws://127.0.0.1:%d/"):format(port),
                { headers = { origin = "http://evil.example" } }))))
        end)
    end)

    it("is told when the server stops", function()
        run(function()
            local server <const> = serve({}, function(ws) while ws:receive() do asyncoro.yield() end end)
            local _, port <const> = server:address()
            local ws <const> = assert(http.websocket(("ws://127.0.0.1:%d/"):format(port)))
            assert(ws:send "x")
            asyncoro.sleep(0.01)
            local stopper <const> = asyncoro.spawn(function() return server:shutdown(5) end)
            assert.equal("closed", (select(3, ws:receive(5))))
            assert.equal(1001, ws.status)
            assert.same({ true, true }, { stopper:finish(5) })
        end)
    end)

    it("that begins when the server is about to stop is told so", function()
        run(function()
            local asked <const>, go <const> = asyncoro.event(), asyncoro.event()
            local server <const> = assert(http.serve { handler = function(request)
                asked:set()
                go:wait()
                local ws <const> = assert(request:websocket())
                while ws:receive() do asyncoro.yield() end
            end })
            local _, port <const> = server:address()
            local client <const> = asyncoro.spawn(function()
                local ws <const> = assert(http.websocket(("ws://127.0.0.1:%d/"):format(port)))
                local _, _, code <const> = ws:receive(5)
                return code, ws.status
            end)
            asked:wait()
            local stopper <const> = asyncoro.spawn(function() return server:shutdown(5) end)
            asyncoro.sleep(0.005)
            go:set()
            assert.same({ true, "closed", 1001 }, { client:finish(5) })
            assert.same({ true, true }, { stopper:finish(5) })
        end)
    end)

    it("is closed when its handler returns", function()
        run(function()
            local server <close> = serve({}, function(ws) ws:send "only this" end)
            local _, port <const> = server:address()
            local ws <const> = assert(http.websocket(("ws://127.0.0.1:%d/"):format(port)))
            assert.equal("only this", (ws:receive(5)))
            assert.equal("closed", (select(3, ws:receive(5))))
            assert.equal(1000, ws.status)
        end)
    end)
end)
