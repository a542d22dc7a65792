-- SPDX-License-Identifier: MIT
local asyncoro = require "asyncoro"
local helper = require "spec.helper"
local run = helper.run

local found <const>, http <const> = pcall(function() return asyncoro.http end)
if not found then return it("http server # SKIP this build has no asyncoro.http (node-llhttp)", function() end) end

-- A server for the time of fn(port, server); handler, or options.
local function with_server(opts, fn)
    return run(function()
        if type(opts) == "function" then opts = { handler = opts } end
        local server <close> = assert(http.serve(opts))
        local _, port <const> = server:address()
        return fn(port, server)
    end)
end

local function connect(port)
    return assert(asyncoro.connect("127.0.0.1", port)):settimeout(5)
end

-- All that a server sends in answer to some bytes, until it closes.
local function answer(port, ...)
    local stream <const> = connect(port)
    for _, bytes in ipairs { ... } do stream:write(bytes) end
    local text <const>, message <const>, _, part <const> = stream:read_all()
    stream:close()
    return text or part or message
end

local function get(target, more)
    return ("GET %s HTTP/1.1\r\nHost: x\r\n%s\r\n"):format(target, more or "")
end

local CLOSE <const> = "Connection: close\r\n"

-- Without the date.
local function stripped(text)
    return (text:gsub("Date: %u%l%l, %d%d %u%l%l %d%d%d%d %d%d:%d%d:%d%d GMT\r\n", ""))
end

local function statuses(text)
    local list <const> = {}
    for status in text:gmatch "HTTP/1%.1 (%d%d%d)" do list[#list + 1] = tonumber(status) end
    return list
end

local function echo(request)
    local body <const>, _, code <const> = request:body()
    return ("%s %s %s\n"):format(request.method, request.target, body or code)
end

describe("http server", function()
    it("answers with what the handler returns", function()
        with_server(function(request)
            if request.path == "/text" then return "Hello" end
            if request.path == "/status" then return 404, "gone", { ["X-Why"] = "so" } end
            if request.path == "/empty" then return 204 end
        end, function(port)
            local text <const> = stripped(answer(port, get("/text", CLOSE)))
            assert.matches("^HTTP/1.1 200 OK\r\n", text)
            assert.matches("\r\nContent%-Length: 5\r\n", text)
            assert.matches("\r\nConnection: close\r\n\r\nHello$", text)
            local gone <const> = answer(port, get("/status", CLOSE))
            assert.matches("^HTTP/1.1 404 Not Found\r\n", gone)
            assert.matches("\r\nx%-why: so\r\n", gone:lower())
            local empty <const> = answer(port, get("/empty", CLOSE))
            assert.matches("^HTTP/1.1 204 No Content\r\n", empty)
            assert.is_nil(empty:find "Content%-Length")
            assert.matches("\r\n\r\n$", answer(port, get("/other", CLOSE)))
        end)
    end)

    it("says what a request is", function()
        local seen
        with_server(function(request)
            seen = {
                request.method, request.target, request.path, request.query.a, request.query["b c"], request.version,
                request.headers["x-one"], request.headers.accept, request.headers.none, request.peer,
                request:body(),
            }
            assert.equal("integer", math.type(request.port))
        end, function(port)
            answer(port, "POST /a%20b/c?a=1&b+c=%C3%A9&d HTTP/1.1\r\nHOST: x\r\nX-One:  two words \t\r\nACCEPT: a\r\n"
                .. "Accept: b\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody")
            assert.same({ "POST", "/a%20b/c?a=1&b+c=%C3%A9&d", "/a b/c", "1", "\u{E9}", 11, "two words", "a, b", nil,
                "127.0.0.1", "body" }, seen)
            answer(port, "GET http://x/p?q HTTP/1.0\r\n\r\n")
            assert.same({ "/p", 10 }, { seen[3], seen[6] })
        end)
    end)

    it("keeps the connection, answers what comes at once in order, from one read", function()
        with_server(echo, function(port)
            local stream <const> = connect(port)
            for i = 1, 3 do
                stream:write(get("/" .. i))
                assert.matches("GET /" .. i .. " \n$", stream:read())
            end
            stream:close()
            local text <const> = answer(port, get("/1") .. "POST /2 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
                .. "POST /3 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n0\r\nT: u\r\n\r\n"
                .. get("/4", CLOSE) .. get "/5")
            local bodies <const> = {}
            for body in text:gmatch "\r\n\r\n([^\n]*)\n" do bodies[#bodies + 1] = body end
            assert.same({ "GET /1 ", "POST /2 abc", "POST /3 de", "GET /4 " }, bodies)
        end)
    end)

    it("speaks HTTP/1.0", function()
        with_server(function(request, response)
            if request.path == "/pieces" then
                response:write "a"
                response:write "b"
            else
                return "x"
            end
        end, function(port)
            assert.matches("\r\nConnection: close\r\n\r\nx$", answer(port, "GET / HTTP/1.0\r\n\r\n"))
            local kept <const> = answer(port, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET / HTTP/1.0\r\n\r\n")
            assert.matches("\r\nConnection: keep%-alive\r\n", kept)
            assert.same({ 200, 200 }, statuses(kept))
            local pieces <const> = answer(port, "GET /pieces HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            assert.matches("\r\n\r\nab$", pieces)
            assert.is_nil(pieces:find "chunked")
        end)
    end)

    it("sends pieces in chunks, or of the length that was said", function()
        with_server(function(request, response)
            if request.path == "/length" then response:header("Content-Length", 3) end
            response:header("content-type", "text/x")
            assert(response:write "a")
            assert(response:write "")
            assert(response:write "bc")
            assert(response:finish())
        end, function(port)
            local text <const> = answer(port, get("/", CLOSE))
            assert.matches("\r\nTransfer%-Encoding: chunked\r\n", text)
            assert.matches("\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n$", text)
            local exact <const> = answer(port, get("/length", CLOSE))
            assert.matches("\r\ncontent%-length: 3\r\n", exact)
            assert.matches("\r\n\r\nabc$", exact)
            local head <const> = answer(port, (get("/", CLOSE):gsub("GET", "HEAD")))
            assert.matches("\r\n\r\n$", head)
        end)
    end)

    it("sends numbers as their text; what is no piece it refuses before it has sent anything", function()
        with_server(function(_, response)
            for _, piece in ipairs { true, {}, print } do
                local ok <const>, message <const> = pcall(response.write, response, piece)
                assert.is_false(ok)
                assert.matches("response: a string expected, got " .. type(piece), message, 1, true)
            end
            assert.is_false(pcall(response.write, response))
            response:header("content-type", "text/x")
            response:write(12)
            response:write(0.5)
        end, function(port)
            assert.matches("\r\n\r\n2\r\n12\r\n3\r\n0.5\r\n0\r\n\r\n$", answer(port, get("/", CLOSE)))
        end)
    end)

    it("cuts off a body that has not the length that was said", function()
        local errors <const> = {}
        with_server({ on_error = function(err) errors[#errors + 1] = err end, handler = function(request, response)
            response:header("Content-Length", 3)
            if request.path == "/long" then
                response:write "ab"
                response:write "cd"
            elseif request.path == "/short" then
                response:write "ab"
            else
                return "four"
            end
        end }, function(port)
            assert.matches("\r\n\r\nab$", answer(port, get "/long" .. get "/"))
            assert.matches("\r\n\r\nab$", answer(port, get "/short" .. get "/"))
            assert.same({ 500 }, statuses(answer(port, get "/")))
            assert.matches("longer than its content%-length", errors[1])
        end)
    end)

    it("answers HEAD with a length and no body", function()
        with_server(function() return "12345" end, function(port)
            local text <const> = answer(port, (get("/", CLOSE):gsub("GET", "HEAD")))
            assert.matches("\r\nContent%-Length: 5\r\n", text)
            assert.matches("\r\n\r\n$", text)
        end)
    end)

    it("asks for a body that waits to be asked for", function()
        with_server(function(request)
            if request.path == "/no" then return 403, "no" end
            return request:body()
        end, function(port)
            local expect <const> = "POST %s HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
            local stream <const> = connect(port)
            stream:write(expect:format "/yes")
            assert.equal("HTTP/1.1 100 Continue\r\n\r\n", stream:read())
            stream:write "body"
            assert.matches("\r\n\r\nbody$", stream:read())
            stream:close()
            local text <const> = answer(port, expect:format "/no")
            assert.same({ 403 }, statuses(text))
        end)
    end)

    it("lets the handler read a body in pieces", function()
        local sizes, total = 0, 0
        with_server(function(request)
            while true do
                local piece <const>, message <const> = request:read(1000)
                if not piece then return message end
                sizes = math.max(sizes, #piece)
                total = total + #piece
            end
        end, function(port)
            answer(port, ("POST / HTTP/1.1\r\nHost: x\r\n%sContent-Length: 250000\r\n\r\n"):format(CLOSE),
                ("x"):rep(250000))
            assert.same({ 1000, 250000 }, { sizes, total })
        end)
    end)

    it("goes on when the handler leaves a short body, and closes when it leaves a long one", function()
        with_server(function() return "unread" end, function(port)
            local post <const> = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
            assert.same({ 200, 200 }, statuses(answer(port, post:format(5) .. "GET /" .. get("/", CLOSE))))
            assert.same({ 200 }, statuses(answer(port, post:format(1000000), ("x"):rep(1000000))))
        end)
    end)

    it("tells nobody about errors of the handler but the log", function()
        local errors <const> = {}
        with_server({
            handler = function(_, response)
                response:header("x-before", "1")
                error("a secret")
            end,
            on_error = function(err, request) errors[#errors + 1] = err .. request.target end,
        }, function(port)
            local text <const> = answer(port, get "/x")
            assert.same({ 500 }, statuses(text))
            assert.is_nil(text:find "secret")
            assert.is_nil(text:find "x%-before")
            assert.matches("a secret.*traceback.*/x$", errors[1])
        end)
    end)

    it("cuts a response short whose handler fails in its middle", function()
        with_server({
            handler = function(_, response)
                response:write "half"
                error("oh")
            end,
            on_error = function() end,
        }, function(port)
            assert.matches("\r\n\r\n4\r\nhalf\r\n$", answer(port, get "/"))
        end)
    end)

    it("refuses headers with line ends", function()
        local errors = 0
        with_server({
            handler = function(request)
                local bad <const> = { { "X", "a\r\nb" }, { "X\r\nY", "a" }, { "X", "a\0" }, { "X Y", "a" } }
                local one <const> = bad[tonumber(request.path:sub(2))]
                return 200, "", { [one[1]] = one[2] }
            end,
            on_error = function() errors = errors + 1 end,
        }, function(port)
            for i = 1, 4 do assert.same({ 500 }, statuses(answer(port, get("/" .. i)))) end
            assert.equal(4, errors)
        end)
        with_server({ handler = function(_, response)
            for _, name in ipairs { "Transfer-Encoding", "connection", "Date" } do
                assert.is_false(pcall(response.header, response, name, "x"))
            end
            assert.is_false(pcall(response.header, response, "content-length", "-1"))
            assert.is_false(pcall(response.status, response, 100))
            return "fine"
        end }, function(port) assert.matches("fine$", answer(port, get("/", CLOSE))) end)
    end)
end)

-- One request each, that two readers could understand in two ways, or that is none: with the status of the answer.
local REFUSED <const> = {
    { "lines that end in LF", 400, "GET / HTTP/1.1\nHost: x\n\n" },
    { "a line that ends in LF", 400, "GET / HTTP/1.1\r\nHost: x\nA: b\r\n\r\n" },
    { "CR inside a line", 400, "GET / HTTP/1.1\r\nHost: x\rA: b\r\n\r\n" },
    { "CR that hides a length", 400, "GET / HTTP/1.1\r\nHost: x\r\nA: \rContent-Length: 5\r\n\r\nGET /" },
    { "folded fields", 400, "GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n" },
    { "no host", 400, "GET / HTTP/1.1\r\n\r\n" },
    { "two hosts", 400, "GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n" },
    { "a length and a coding", 400,
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" },
    { "a coding and a length", 400,
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" },
    { "two lengths", 400, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello" },
    { "a list of lengths", 400, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5, 5\r\n\r\nhello" },
    { "a length with a sign", 400, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n\r\nhello" },
    { "a negative length", 400, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\nhello" },
    { "a hexadecimal length", 400, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0x5\r\n\r\nhello" },
    { "a length of no bytes", 400, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: \r\n\r\n" },
    { "a huge length", 400, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\nhello" },
    { "another coding", 400, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n0\r\n\r\n" },
    { "a coding before chunked", 501, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" },
    { "a coding behind chunked", 400, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n" },
    { "two codings", 400,
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" },
    { "what looks like chunked", 400, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: \vchunked\r\n\r\n0\r\n\r\n" },
    { "a blank before the colon", 400, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n" },
    { "a coding in HTTP/1.0", 400, "POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" },
    { "HTTP/0.9", 505, "GET /\r\n\r\n" },
    { "HTTP/2.0", 505, "GET / HTTP/2.0\r\nHost: x\r\n\r\n" },
    { "HTTP/1.2", 505, "GET / HTTP/1.2\r\nHost: x\r\n\r\n" },
    { "another protocol", 400, "OPTIONS * RTSP/1.0\r\n\r\n" },
    { "TLS", 400, "\22\3\1\2\0\1\0\1\252\3\3\n\n" },
    { "NUL", 400, "GET / HTTP/1.1\r\nHost: x\r\nA: b\0c\r\n\r\n" },
    { "an unknown method", 400, "FOO / HTTP/1.1\r\nHost: x\r\n\r\n" },
    { "a blank in the target", 400, "GET /a b HTTP/1.1\r\nHost: x\r\n\r\n" },
    { "two blanks", 400, "GET  / HTTP/1.1\r\nHost: x\r\n\r\n" },
    { "a field without a name", 400, "GET / HTTP/1.1\r\nHost: x\r\n: x\r\n\r\n" },
    { "a first field without a name", 400, "GET / HTTP/1.1\r\n: x\r\n\r\n" },
    { "a name with a blank", 400, "GET / HTTP/1.1\r\nHost: x\r\nA b: x\r\n\r\n" },
    { "a field without a colon", 400, "GET / HTTP/1.1\r\nHost: x\r\nFoo\r\n\r\n" },
    { "an unknown expectation", 417, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nExpect: more\r\n\r\n" },
    { "a long head", 431, "GET / HTTP/1.1\r\nHost: x\r\nA: " .. ("x"):rep(20000) .. "\r\n\r\n" },
    { "a long head that does not end", 431, "GET /" .. ("x"):rep(20000) },
    { "many fields", 431, "GET / HTTP/1.1\r\nHost: x\r\n" .. ("A: x\r\n"):rep(150) .. "\r\n" },
    { "a long body", 413, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\nx" },
}

-- Bodies that are none.
local MALFORMED <const> = {
    ["lines that end in LF"] = "5\nhello\n0\n\n",
    ["no size"] = "\r\nhello\r\n0\r\n\r\n",
    ["a size that is no number"] = "zz\r\nhello\r\n0\r\n\r\n",
    ["a size with a sign"] = "+5\r\nhello\r\n0\r\n\r\n",
    ["a huge size"] = "FFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n",
    ["more than the size"] = "5\r\nhelloXX\r\n0\r\n\r\n",
    ["a blank behind the size"] = "5 \r\nhello\r\n0\r\n\r\n",
    ["LF in an extension"] = "5;a\nxx\r\nhello\r\n0\r\n\r\n",
    ["an endless extension"] = "5;" .. ("x"):rep(100000) .. "\r\nhello\r\n0\r\n\r\n",
    ["an endless trailer"] = "0\r\n" .. ("X: y\r\n"):rep(20000) .. "\r\n",
}

describe("http server refuses", function()
    for _, case in ipairs(REFUSED) do
        it(case[1], function()
            with_server(echo, function(port)
                local text <const> = answer(port, case[3] .. get "/smuggled")
                assert.same({ case[2] }, statuses(text))
                assert.matches("\r\nConnection: close\r\n", text)
            end)
        end)
    end

    for what, bytes in pairs(MALFORMED) do
        it("chunks with " .. what, function()
            local code
            with_server(function(request)
                local _
                _, _, code = request:body()
            end, function(port)
                local text <const> = answer(port, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                    .. bytes .. get "/smuggled")
                assert.equal("protocol", code)
                assert.same({ 400 }, statuses(text))
            end)
        end)
    end

    it("chunks beyond the limit of the body", function()
        with_server({ body_limit = 100, handler = echo }, function(port)
            local text <const> = answer(port, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
                ("20\r\n" .. ("x"):rep(32) .. "\r\n"):rep(4) .. "0\r\n\r\n")
            assert.matches("toolarge\n$", text)
            assert.matches("\r\nConnection: close\r\n", text)
        end)
    end)

    it("slow heads, and slow bodies", function()
        with_server({ header_timeout = 0.05, body_timeout = 0.05, handler = function(request)
            request:body()
        end }, function(port)
            local stream <const> = connect(port)
            stream:write "GET / HT"
            for _ = 1, 3 do
                asyncoro.sleep(0.02)
                stream:write "T"
            end
            local text <const> = stream:read_all()
            assert.same({ 408 }, statuses(text))
            stream:close()
            assert.same({ 408 }, statuses(answer(port, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf")))
        end)
    end)

    it("bodies that never end, or come too slowly on average, however many pieces they have", function()
        local waited
        for _, opts in ipairs { { body_time = 0.1, body_rate = 0 }, { body_timeout = 0.1, body_rate = 1000 } } do
            with_server({ handler = function(request)
                local begun <const> = asyncoro.now()
                request:body()
                waited = asyncoro.now() - begun
            end, body_time = opts.body_time, body_rate = opts.body_rate, body_timeout = opts.body_timeout },
            function(port)
                local stream <const> = connect(port)
                stream:write "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n"
                local writer <const> = asyncoro.spawn(function()
                    while stream:write "x" do asyncoro.sleep(0.01) end
                end)
                assert.same({ 408 }, statuses(stream:read_all()))
                stream:close()
                writer:finish(5)
                assert.is_true(waited >= 0.09 and waited < 2)
            end)
        end
    end)

    it("no body that comes fast enough, nor the time that a handler takes", function()
        with_server({ body_timeout = 0.05, body_rate = 1000, body_time = 0.2, handler = function(request)
            local size = 0
            for _ = 1, 4 do
                size = size + #assert(request:read(100))
                asyncoro.sleep(0.06)
            end
            return tostring(size)
        end }, function(port)
            local text <const> = answer(port,
                "POST / HTTP/1.1\r\nHost: x\r\n" .. CLOSE .. "Content-Length: 400\r\n\r\n" .. ("x"):rep(400))
            assert.matches("\r\n\r\n400$", text)
        end)
    end)

    it("truncated bodies", function()
        local code
        with_server(function(request)
            local _
            _, _, code = request:body()
        end, function(port)
            local stream <const> = connect(port)
            stream:write "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf"
            stream:shutdown()
            assert.same({ 400 }, statuses(stream:read_all()))
            stream:close()
            assert.equal("eof", code)
        end)
    end)

    it("more connections than it is told to have", function()
        with_server({ connections = 2, handler = echo }, function(port)
            local streams <const> = { connect(port), connect(port) }
            for _, stream in ipairs(streams) do
                stream:write(get "/")
                assert.matches(" 200 ", stream:read())
            end
            assert.same({ 503 }, statuses(answer(port, get "/")))
            streams[1]:close()
            streams[2]:write(get "/again")
            assert.matches(" 200 ", streams[2]:read())
            assert.same({ 200 }, statuses(answer(port, get("/", CLOSE))))
            streams[2]:close()
        end)
    end)
end)

describe("http server closes", function()
    it("what says nothing for a while", function()
        with_server({ idle_timeout = 0.02, header_timeout = 0.02, handler = echo }, function(port)
            assert.equal("", answer(port))
            assert.same({ 200 }, statuses(answer(port, get "/")))
        end)
    end)

    it("at once, and frees its port", function()
        run(function()
            local server <const> = assert(http.serve { handler = echo })
            local _, port <const> = server:address()
            local stream <const> = connect(port)
            stream:write(get "/")
            assert.matches(" 200 ", stream:read())
            assert.is_true(server:close())
            assert.is_true(server:close())
            assert.is_nil(stream:read())
            stream:close()
            assert.equal("refused", (select(3, asyncoro.connect("127.0.0.1", port))))
        end)
    end)

    it("in order: idle connections first, others behind their answer", function()
        run(function()
            local begun <const> = asyncoro.event()
            local server <const> = assert(http.serve { handler = function()
                begun:set()
                asyncoro.sleep(0.05)
                return "done"
            end })
            local _, port <const> = server:address()
            local idle <const>, busy <const> = connect(port), connect(port)
            busy:write(get "/" .. get "/second")
            begun:wait()
            local stopper <const> = asyncoro.spawn(function() return server:shutdown(5) end)
            assert.is_nil(idle:read())
            local text <const> = busy:read_all()
            assert.same({ 200 }, statuses(text))
            assert.matches("done$", text)
            assert.same({ true, true }, { stopper:finish(5) })
            idle:close()
            busy:close()
        end)
    end)

    it("in order, behind an answer whose head promised more", function()
        run(function()
            local begun <const>, go_on <const> = asyncoro.event(), asyncoro.event()
            local server <const> = assert(http.serve { handler = function(_, response)
                response:write "a"
                begun:set()
                go_on:wait()
                response:write "b"
            end })
            local stream <close> = connect((select(2, server:address())))
            stream:write(get "/")
            begun:wait()
            local stopper <const> = asyncoro.spawn(function() return server:shutdown(5) end)
            asyncoro.sleep(0.01)
            go_on:set()
            assert.same({ true, true }, { stopper:finish(2) })
            assert.matches("\r\n1\r\nb\r\n0\r\n\r\n$", stream:read_all())
        end)
    end)

    it("in order, but not for ever", function()
        run(function()
            local begun <const> = asyncoro.event()
            local server <const> = assert(http.serve { handler = function(request)
                begun:set()
                request:body()
            end })
            local _, port <const> = server:address()
            local stream <const> = connect(port)
            stream:write "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n"
            begun:wait()
            local ok <const>, message <const>, code <const> = server:shutdown(0.02)
            assert.is_nil(ok)
            assert.matches("cut off", message)
            assert.equal("timeout", code)
            stream:close()
        end)
    end)
end)

describe("http server sends events", function()
    it("one by one", function()
        with_server(function(_, response)
            local events <const> = response:sse()
            events:send "one"
            events:send { event = "tick", id = 7, retry = 100, data = "two\r\nlines" }
            events:send { retry = 5 }
            events:ping()
            assert.is_false(pcall(events.send, events, { event = "a\nb", data = "" }))
        end, function(port)
            local text <const> = answer(port, "GET / HTTP/1.0\r\n\r\n")
            assert.matches("\r\ncontent%-type: text/event%-stream\r\n", text)
            assert.equal("data: one\n\nevent: tick\nid: 7\nretry: 100\ndata: two\ndata: lines\n\nretry: 5\n\n:\n\n",
                text:match "\r\n\r\n(.*)$")
        end)
    end)

    it("until nobody listens", function()
        local code
        with_server(function(_, response)
            local events <const> = response:sse()
            repeat
                local _
                asyncoro.sleep(0.001)
                _, _, code = events:send(("x"):rep(10000))
            until code
        end, function(port)
            local stream <const> = connect(port)
            stream:write(get "/")
            assert(stream:read())
            stream:close()
            for _ = 1, 1000 do
                if code then break end
                asyncoro.sleep(0.005)
            end
            assert.truthy(code == "reset" or code == "closed")
        end)
    end)
end)

helper.needing(helper.has "curl", "curl is not installed", it, describe)("http server with curl", function()
    local function curl(...)
        local out <const>, err <const>, ok <const>, _, status <const> =
            asyncoro.process.run { "curl", "-sS", "--max-time", "15", ... }
        assert.same({ "", true, false }, { err, ok, not status })
        return out
    end

    it("gets, posts, uploads and downloads", function()
        local big <const> = ("0123456789abcdef"):rep(50000)
        with_server(function(request, response)
            if request.path == "/big" then return big end
            if request.path == "/pieces" then
                for at = 1, #big, 100000 do response:write(big:sub(at, at + 99999)) end
                return nil
            end
            if request.path == "/size" then return tostring(#request:body()) end
            return echo(request)
        end, function(port)
            local address <const> = ("http://127.0.0.1:%d"):format(port)
                    assert.equal("GET /a ", (curl(address .. "/a"):gsub("\n", "")))
            assert.equal("POST /b x=1", (curl("-d", "x=1", address .. "/b"):gsub("\n", "")))
            assert.is_true(curl(address .. "/big") == big)
            assert.is_true(curl(address .. "/pieces") == big)
            assert.is_true(curl("-0", address .. "/pieces") == big)
            assert.equal("", (curl("-I", address .. "/big"):match "\r\n\r\n(.*)$"))
            local path <const> = os.tmpname()
            local file <const> = assert(io.open(path, "wb"))
            file:write(big)
            file:close()
            assert.equal("800000", curl("-T", path, address .. "/size"))
            assert.equal("800000", curl("-T", path, "-H", "Transfer-Encoding: chunked", address .. "/size"))
            assert.equal("800000", curl("-H", "Expect: 100-continue", "--data-binary", "@" .. path, address .. "/size"))
            os.remove(path)
            assert.equal("GET /1 \nGET /2 \n", curl(address .. "/1", address .. "/2"))
        end)
    end)
end)
