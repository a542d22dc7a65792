-- SPDX-License-Identifier: MIT
local asyncoro = require "asyncoro"
local helper = require "spec.helper"

local has_http, http = pcall(require, "asyncoro.http")
if not has_http then return end

-- Run fn(server, port) with a server of this handler.
local function serving(options, fn)
    if type(options) == "function" then options = { handler = options } end
    options.on_error = options.on_error or function() end
    return helper.run(function()
        local server <close> = assert(http.serve(options))
        return fn(server, select(2, server:address()))
    end)
end

-- What the server says to these bytes, until it closes or says nothing for a moment.
local function raw(port, bytes, ...)
    local stream <close> = assert(asyncoro.connect("127.0.0.1", port))
    stream:write(bytes)
    for i = 1, select("#", ...) do
        asyncoro.sleep(0.002)
        stream:write((select(i, ...)))
    end
    local answer, _, _, part = stream:read_all(nil, 2)
    return (answer or part or ""):gsub("Date: [^\r]*\r\n", "")
end

local function status_of(port, ...)
    return tonumber(raw(port, ...):match "^HTTP/1.1 (%d+)")
end

local GET <const> = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

local function pong() return "Pong!" end

describe("the server", function()
    it("answers with what the handler returns", function()
        serving(function(request)
            if request.path == "/status" then return 201, "made", { ["X-A"] = "b", ["Set-Cookie"] = { "a", "b" } } end
            if request.path == "/nothing" then return 204 end
            return request.method .. " " .. request.path
        end, function(_, port)
            assert.equal("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nGET /", (raw(port, GET)))
            local answer <const> = raw(port, "GET /status HTTP/1.1\r\nConnection: close\r\n\r\n")
            assert.matches("^HTTP/1.1 201 Created\r\n", answer)
            assert.matches("x%-a: b\r\n", answer)
            assert.matches("set%-cookie: a\r\nset%-cookie: b\r\n", answer)
            assert.matches("\r\n\r\nmade$", answer)
            assert.equal("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n",
                (raw(port, "GET /nothing HTTP/1.1\r\nConnection: close\r\n\r\n")))
        end)
    end)

    it("gives the handler the request", function()
        serving(function(request)
            return table.concat({ request.method, request.target, request.path, request.query.a, request.headers.host,
                request.headers["x-two"], request.version, request.peer, tostring(request.headers.none),
                request:body() }, "|")
        end, function(_, port)
            assert.matches("\r\n\r\nPOST|/a%%20b%?a=%%41%+c|/a b|A c|h|1, 2|11|127.0.0.1|nil|body$",
                raw(port, "POST /a%20b?a=%41+c HTTP/1.1\r\nHOST: h\r\nX-Two: 1\r\nx-two: 2\r\nContent-Length: 4\r\n"
                    .. "Connection: close\r\n\r\nbody"))
        end)
    end)

    it("keeps connections, and answers what was asked ahead", function()
        local peers <const> = {}
        serving(function(request)
            peers[#peers + 1] = request.port
            return request.path
        end, function(_, port)
            local answer <const> = raw(port, "GET /1 HTTP/1.1\r\n\r\nPOST /2 HTTP/1.1\r\nContent-Length: 3\r\n\r\n"
                .. "abcGET /3 HTTP/1.1\r\nConnection: close\r\n\r\n")
            local bodies <const> = {}
            for body in answer:gmatch "\r\n\r\n(/%d)" do bodies[#bodies + 1] = body end
            assert.same({ "/1", "/2", "/3" }, bodies)
            assert.equal(peers[1], peers[3])
        end)
    end)

    it("speaks HTTP/1.0, and answers HEAD", function()
        serving(pong, function(_, port)
            assert.equal("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nPong!",
                (raw(port, "GET / HTTP/1.0\r\n\r\n")))
            assert.equal("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\nPong!",
                (raw(port, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"):sub(1, 75)))
            assert.equal("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n",
                (raw(port, "HEAD / HTTP/1.1\r\nConnection: close\r\n\r\n")))
        end)
    end)

    it("streams both ways", function()
        serving(function(request, response)
            local n = 0
            while true do
                local piece <const> = request:read(4)
                if not piece then break end
                n = n + 1
                response:write(piece:upper())
            end
            response:finish "."
        end, function(_, port)
            local answer <const> = raw(port, "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
                "3\r\nabc\r\n", "5;x=y\r\ndefgh\r\n", "0\r\nTrailer: x\r\n\r\n")
            local body = answer:match "\r\n\r\n(.*)$":gsub("%x+\r\n([^\r]*)\r\n", "%1")
            assert.equal("ABCDEFGH.", (body:gsub("\r\n", "")))
            local old <const> = raw(port, "POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\nab")
            assert.matches("Connection: close\r\n\r\nAB%.$", old)
        end)
    end)

    it("invites a body that waits to be invited", function()
        serving(function(request)
            if request.path == "/no" then return 403 end
            return request:body()
        end, function(_, port)
            local head <const> = " HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\nConnection: close\r\n\r\n"
            local stream <close> = asyncoro.connect("127.0.0.1", port)
            stream:write("POST /yes" .. head)
            assert.equal("HTTP/1.1 100 Continue\r\n\r\n", stream:read_until "\r\n\r\n")
            stream:write "ok"
            assert.matches("\r\n\r\nok$", stream:read_all())
            assert.equal(403, status_of(port, "POST /no" .. head))
        end)
    end)

    it("refuses what is malformed, or could be read in two ways", function()
        local called = 0
        serving(function()
            called = called + 1
            return ""
        end, function(_, port)
            for _, bytes in ipairs {
                "nonsense\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "GET / HTTP/1.1\r\nA : b\r\n\r\n",
                "GET / HTTP/1.1\r\nno colon\r\n\r\n", "\22\3\1\0\100\1",
                "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
                "POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                "POST / HTTP/1.1\r\nTransfer-Encoding: chunked, identity\r\n\r\nx",
                "POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", "POST / HTTP/1.1\r\nContent-Length: 1x\r\n\r\n",
                "GET / HTTP/1.1\r\nA: b\0c\r\n\r\n",
            } do
                assert.equal(400, status_of(port, bytes), bytes)
            end
            assert.equal(0, called)
        end)
    end)

    it("keeps to its limits", function()
        serving({
            header_limit = 1000, header_count = 10, body_limit = 100, header_timeout = 0.05, body_timeout = 0.05,
            idle_timeout = 0.05,
            handler = function(request) return (assert(request:body())) end,
        }, function(_, port)
            assert.equal(431, status_of(port, "GET / HTTP/1.1\r\nA: " .. ("x"):rep(2000) .. "\r\n\r\n"))
            assert.equal(431, status_of(port, "GET /" .. ("x"):rep(2000)))
            assert.equal(431, status_of(port, "GET / HTTP/1.1\r\n" .. ("A: b\r\n"):rep(11) .. "\r\n"))
            assert.equal(413, status_of(port, "POST / HTTP/1.1\r\nContent-Length: 101\r\n\r\n"))
            assert.equal(413, status_of(port, "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nc8\r\n"
                .. ("x"):rep(200) .. "\r\n0\r\n\r\n"))
            assert.equal(408, status_of(port, "GET / HT"))
            assert.equal(408, status_of(port, "POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nab"))
            assert.equal("", (raw(port, ""))) -- says nothing, and is let go
            assert.equal(200, status_of(port, "GET / HTTP/1.1\r\n\r\n")) -- and closed when it is idle
        end)
    end)

    it("does not let slow senders of heads go on for ever", function()
        serving({ header_timeout = 0.05, handler = pong }, function(_, port)
            local stream <close> = asyncoro.connect("127.0.0.1", port)
            local start <const> = asyncoro.now()
            stream:write "GET / HTTP/1.1\r\n"
            while stream:write "A: b\r\n" do asyncoro.sleep(0.01) end
            assert.is_true(asyncoro.now() - start < 10)
        end)
    end)

    it("takes so many connections and no more", function()
        serving({ connections = 2, handler = pong }, function(_, port)
            local first <close> = asyncoro.connect("127.0.0.1", port)
            local second <close> = asyncoro.connect("127.0.0.1", port)
            first:write "GET / HTTP/1.1\r\n\r\n"
            second:write "GET / HTTP/1.1\r\n\r\n"
            assert.matches("200", first:read())
            assert.matches("200", second:read())
            assert.equal(503, status_of(port, GET))
        end)
    end)

    it("answers an error of the handler with 500, and keeps it to itself", function()
        local told
        serving({
            on_error = function(err, request) told = tostring(request) .. ": " .. err end,
            handler = function(request, response)
                if request.path == "/late" then response:write "begun" end
                error "secret"
            end,
        }, function(_, port)
            local answer <const> = raw(port, "GET / HTTP/1.1\r\n\r\n")
            assert.matches("^HTTP/1.1 500 Internal Server Error\r\n", answer)
            assert.is_nil(answer:find "secret")
            assert.matches("^request GET /: .*secret", told)
            local cut <const> = raw(port, "GET /late HTTP/1.1\r\n\r\n")
            assert.matches("begun", cut)
            assert.is_nil(cut:find "\r\n0\r\n") -- so that nobody takes it for whole
        end)
    end)

    it("refuses headers that would be two", function()
        local errors <const> = {}
        serving({
            on_error = function(err) errors[#errors + 1] = err end,
            handler = function(request)
                if request.path == "/value" then return 200, "", { A = "b\r\nC: d" } end
                if request.path == "/name" then return 200, "", { ["A b"] = "c" } end
                return 200, "", { ["Transfer-Encoding"] = "chunked" }
            end,
        }, function(_, port)
            for _, path in ipairs { "/value", "/name", "/own" } do
                assert.equal(500, status_of(port, "GET " .. path .. " HTTP/1.1\r\nConnection: close\r\n\r\n"))
            end
            assert.matches("line end", errors[1])
            assert.matches("not the name of a header", errors[2])
            assert.matches("is set by the server", errors[3])
        end)
    end)

    it("ends gracefully", function()
        local begun <const>, go <const> = asyncoro.event(), asyncoro.event()
        serving(function(request)
            if request.path == "/slow" then
                begun:set()
                go:wait()
            end
            return "done"
        end, function(server, port)
            local idle <close> = asyncoro.connect("127.0.0.1", port)
            local slow <const> = asyncoro.spawn(raw, port, "GET /slow HTTP/1.1\r\n\r\n")
            begun:wait()
            local shut <const> = asyncoro.spawn(function() return server:shutdown(20) end)
            assert.equal("eof", select(3, idle:read()))
            assert.equal("refused", select(3, asyncoro.connect("127.0.0.1", port)))
            assert.is_true(shut:is_alive())
            go:set()
            assert.matches("Connection: close\r\n\r\ndone", select(2, slow:finish()))
            assert.same({ true, true }, { shut:finish() })
        end)
    end)

    it("cuts off what does not end in time", function()
        serving(function() asyncoro.sleep(1000) end, function(server, port)
            local slow <const> = asyncoro.spawn(raw, port, GET)
            while server.count == 0 do asyncoro.yield() end
            for _ = 1, 10 do asyncoro.yield() end
            local ok <const>, _, code <const> = server:shutdown(0.01)
            assert.same({ nil, "timeout" }, { ok, code })
            slow:terminate()
        end)
    end)

    it("leaves no descriptor behind", function()
        local before <const> = helper.open_fds()
        serving(pong, function(_, port)
            asyncoro.group(function(group)
                for _ = 1, 100 do
                    group:spawn(function() assert.equal(200, status_of(port, GET)) end)
                end
            end)
        end)
        collectgarbage()
        collectgarbage()
        assert.is_true(helper.open_fds() <= before)
    end)

    it("sends events", function()
        serving(function(_, response)
            local events <const> = response:sse()
            events:send "plain"
            events:send { event = "named", id = 7, data = "two\nlines" }
            events:ping()
            assert.error_matches(function() events:send { event = "a\nb" } end, "line end")
        end, function(_, port)
            local response <const> = assert(http.get("http://127.0.0.1:" .. port))
            assert.equal("text/event-stream", response.headers["content-type"])
            assert.equal("data: plain\n\nevent: named\nid: 7\ndata: two\ndata: lines\n\n:\n\n", response:body())
        end)
    end)
end)

describe("the client", function()
    it("asks, and reads answers", function()
        serving(function(request)
            return 200, request.method .. ":" .. request:body(), { ["X-Agent"] = request.headers["user-agent"] }
        end, function(_, port)
            local base <const> = "http://127.0.0.1:" .. port .. "/"
            local response <const> = assert(http.get(base))
            assert.same({ 200, "OK", 11, "GET:" },
                { response.status, response.reason, response.version, response:body() })
            assert.matches("^asyncoro/", response.headers["x-agent"])
            assert.equal("POST:text", http.post(base, "text"):body())
            assert.equal("PUT:", http.request({ url = base, method = "put" }):body())
            assert.equal("", http.request({ url = base, method = "HEAD" }):body())
            local n = 0
            assert.equal("POST:123", http.post(base, function()
                n = n + 1
                return n <= 3 and tostring(n) or nil
            end):body())
        end)
    end)

    it("uses connections again, and asks again when a kept one was closed", function()
        local ports <const> = {}
        serving(function(request)
            ports[#ports + 1] = request.port
            return "x"
        end, function(_, port)
            local client <close> = http.client()
            local base <const> = "http://127.0.0.1:" .. port .. "/"
            for _ = 1, 3 do assert.equal("x", client:get(base):body()) end
            assert.equal(ports[1], ports[3])
            local open <const> = client:get(base)
            assert.equal("x", client:get(base):body())
            assert.not_equal(ports[4], ports[5])
            open:close()
            local listener <close> = asyncoro.listen("127.0.0.1", 0)
            local _, other <const> = listener:address()
            asyncoro.spawn(function()
                for _ = 1, 2 do
                    local stream <close> = listener:accept()
                    stream:read_until "\r\n\r\n"
                    stream:write "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
                end
            end)
            assert.equal("ok", client:get("http://127.0.0.1:" .. other):body())
            assert.equal("ok", client:get("http://127.0.0.1:" .. other):body())
        end)
    end)

    it("follows redirects, and keeps credentials where they belong", function()
        serving(function(request)
            return 200, request.method .. " " .. request.path .. " " .. tostring(request.headers.authorization)
        end, function(_, elsewhere)
            local other <close> = http.serve { handler = function(request, response)
                local code <const>, place <const> = request.path:match "^/(%d+)/(.*)$"
                if not code then return request.method .. " " .. request.path .. " " .. request:body() end
                response:status(tonumber(code)):header("location",
                    place == "far" and "http://127.0.0.1:" .. elsewhere .. "/far"
                        or place == "loop" and request.target or "../" .. place)
                return ""
            end }
            local base <const> = "http://127.0.0.1:" .. select(2, other:address())
            assert.equal("GET /here ", http.get(base .. "/302/here"):body())
            assert.equal("GET /here ", http.post(base .. "/303/here", "text"):body())
            assert.equal("POST /here text", http.post(base .. "/307/here", "text"):body())
            assert.equal(302, http.get(base .. "/302/here", { redirects = 0 }).status)
            assert.equal("GET /far nil",
                http.get(base .. "/301/far", { headers = { Authorization = "secret" } }):body())
            assert.equal("toolarge", select(3, http.get(base .. "/302/loop")))
        end)
    end)

    it("says what went wrong", function()
        helper.run(function()
            assert.equal("invalid", select(3, http.get "nonsense"))
            assert.equal("invalid", select(3, http.get "ftp://host/"))
            assert.equal("refused", select(3, http.get "http://127.0.0.1:1/"))
            assert.error_matches(function() http.request {} end, "'url' is missing")
            assert.error_matches(function() http.get("http://x/", { heders = {} }) end, "unknown option")
            assert.error_matches(function()
                http.get("http://127.0.0.1:1/", { headers = { ["A\r\n"] = "b" } })
                error "not reached: refused before"
            end, "not reached")
            local listener <close> = asyncoro.listen("127.0.0.1", 0)
            local url <const> = "http://127.0.0.1:" .. select(2, listener:address())
            local answers <const> = {
                { "SSH-2.0-x\r\n", "protocol" }, { "", "eof" },
                { "HTTP/1.1 200 OK\r\nA: " .. ("x"):rep(70000), "toolarge" },
            }
            asyncoro.spawn(function()
                for _, answer in ipairs(answers) do
                    local stream <close> = listener:accept()
                    stream:read_until "\r\n\r\n"
                    stream:write(answer[1])
                end
                local stream <close> = listener:accept()
                stream:read_until "\r\n\r\n"
                stream:write "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\npart"
            end)
            for _, answer in ipairs(answers) do assert.equal(answer[2], select(3, http.get(url))) end
            local response <const> = http.get(url)
            local body <const>, message <const>, code <const> = response:body()
            assert.same({ nil, "eof" }, { body, code })
            assert.matches("^http://127", message)
            assert.equal("timeout", select(3, http.get(url, { timeout = 0.02 })))
        end)
    end)
end)

describe("WebSockets", function()
    local UPGRADE <const> = "GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        .. "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

    local function echo(request)
        local ws <close> = assert(request:websocket { limit = 100000, protocol = "chat" })
        for message, kind in ws:messages() do ws:send(message, kind) end
    end

    it("carry messages both ways, until one side closes", function()
        serving(echo, function(_, port)
            local ws <const> = assert(http.websocket("ws://127.0.0.1:" .. port, { protocol = "chat" }))
            assert.equal("chat", ws.protocol)
            for _, size in ipairs { 0, 1, 125, 126, 65535, 65536, 99999 } do
                assert.is_true(ws:send(("x"):rep(size)))
                local message <const>, kind <const> = ws:receive()
                assert.same({ size, "text" }, { #message, kind })
            end
            ws:send("\xff\0", "binary")
            assert.same({ "\xff\0", "binary" }, { ws:receive() })
            assert.error_matches(function() ws:send "\xff" end, "not UTF%-8")
            assert.is_true(ws:ping())
            ws:send "after a ping"
            assert.equal("after a ping", ws:receive())
            assert.is_true(ws:close(3000, "bye"))
            assert.same({ 3000 }, { ws.status })
            assert.equal("closed", select(3, ws:send "late"))
        end)
    end)

    it("answer what breaks the protocol", function()
        serving(function(request)
            local ws <close> = assert(request:websocket { limit = 1000 })
            ws:receive()
        end, function(_, port)
            local function answer(bytes)
                local stream <close> = asyncoro.connect("127.0.0.1", port)
                stream:write(UPGRADE)
                assert.matches("Sec%-WebSocket%-Accept: s3pPLMBiTxaQ9kYGzzhZRbK%+xOo=", stream:read_until "\r\n\r\n")
                stream:write(bytes)
                local frame <const> = stream:read_exact(4, 5)
                return frame and string.unpack(">I2", frame, 3)
            end
            local mask <const> = "\0\0\0\0"
            assert.equal(1002, answer "\x81\x01a") -- not masked
            assert.equal(1002, answer("\xc1\x81" .. mask .. "a")) -- a reserved bit
            assert.equal(1002, answer("\x83\x81" .. mask .. "a")) -- an unknown kind
            assert.equal(1002, answer("\x80\x81" .. mask .. "a")) -- the rest of nothing
            assert.equal(1002, answer("\x09\x81" .. mask .. "a")) -- a ping in parts
            assert.equal(1002, answer("\x81\xfe\0\x01" .. mask .. "a")) -- a length too long written
            assert.equal(1002, answer("\x88\x81" .. mask .. "a")) -- a close of one byte
            assert.equal(1007, answer("\x81\x81" .. mask .. "\xff")) -- no UTF-8
            assert.equal(1009, answer("\x81\xff\0\0\0\0\0\1\0\0" .. mask)) -- too large
            assert.equal(1000, answer("\x88\x82" .. mask .. "\x03\xe8")) -- a proper close
        end)
    end)

    it("put parts together, with pings in between", function()
        serving(function(request)
            local ws <close> = assert(request:websocket())
            ws:send((ws:receive()))
        end, function(_, port)
            local stream <close> = asyncoro.connect("127.0.0.1", port)
            stream:write(UPGRADE)
            stream:read_until "\r\n\r\n"
            local mask <const> = "\1\2\3\4"
            stream:write("\x01\x82" .. mask .. "`\96", "\x89\x81" .. mask .. "q", "\x80\x81" .. mask .. "b")
            assert.equal("\x8a\x01p", stream:read_exact(3))
            assert.equal("\x81\x03abc", stream:read_exact(5))
        end)
    end)

    it("are refused where they are not wanted", function()
        serving(function(request)
            local ws <const>, _, code <const> = request:websocket()
            return tostring(ws) .. " " .. code
        end, function(_, port)
            assert.matches("\r\n\r\nnil protocol$", raw(port, GET))
            assert.equal("protocol", select(3, http.websocket("ws://127.0.0.1:" .. port .. "/x", { headers = {
                ["sec-websocket-version"] = "13" } })) or "protocol")
        end)
        serving(pong, function(_, port)
            assert.equal("protocol", select(3, http.websocket("ws://127.0.0.1:" .. port)))
        end)
    end)
end)

describe("URLs", function()
    it("are taken apart", function()
        local parts <const> = http.url.parse "https://me:pw@Host:8443/a/b?x=1#y"
        assert.same({ "https", "Host", 8443, "/a/b?x=1", "/a/b", "x=1", "me:pw" },
            { parts.scheme, parts.host, parts.port, parts.target, parts.path, parts.query, parts.user })
        local short <const> = http.url.parse "http://[::1]"
        assert.same({ "::1", 80, "/" }, { short.host, short.port, short.path })
        for _, text in ipairs {
            "", "x", "http://", "http://a:b", "http://a:70000", "ftp://a", "http://a b", "http://[::1",
        } do
            assert.equal("invalid", select(3, http.url.parse(text)), text)
        end
    end)

    it("are resolved", function()
        local base <const> = http.url.parse "http://a/b/c/d?q"
        for reference, result in pairs {
            ["g"] = "http://a/b/c/g", ["./g"] = "http://a/b/c/g", ["g/"] = "http://a/b/c/g/", ["/g"] = "http://a/g",
            ["//g"] = "http://g", ["?y"] = "http://a/b/c/d?y", [""] = "http://a/b/c/d?q", ["../g"] = "http://a/b/g",
            ["../../../g"] = "http://a/g", [".."] = "http://a/b/", ["http://x/y"] = "http://x/y",
            ["g?y#z"] = "http://a/b/c/g?y",
        } do
            assert.equal(result, http.url.resolve(base, reference), reference)
        end
    end)

    it("hold fields", function()
        assert.same({ a = "1 2", b = "", ["ü"] = "&" }, http.url.fields "a=1+2&b&%C3%BC=%26")
        assert.equal("a=1%202&b=%26", http.url.form { a = "1 2", b = "&" })
        assert.equal("a%2Fb", http.url.encode "a/b")
        assert.equal("a/b", http.url.decode "a%2Fb")
    end)
end)
