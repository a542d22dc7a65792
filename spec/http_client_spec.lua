-- SPDX-License-Identifier: MIT
local asyncoro = require "asyncoro"
local certificates = require "spec.certificates"
local helper = require "spec.helper"

local has_http, http = pcall(require, "asyncoro.http")
if not has_http then return it("http client # SKIP this build has no asyncoro.http (node-llhttp)", function() end) end

-- Run fn(server, port) with a server of this handler.
local function serving(options, fn)
    if type(options) == "function" then options = { handler = options } end
    options.on_error = options.on_error or function() end
    return helper.run(function()
        local server <close> = assert(http.serve(options))
        return fn(server, select(2, server:address()))
    end)
end

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

    it("takes nothing to another server that may be a credential", function()
        serving(function(request)
            local names <const> = {}
            for name in pairs(request.headers) do names[#names + 1] = name end
            table.sort(names)
            return table.concat(names, " ")
        end, function(_, elsewhere)
            local base
            local other <close> = http.serve { handler = function(request)
                local place <const> = request.path == "/far" and "http://127.0.0.1:" .. elsewhere or base .. "/there"
                if request.path == "/there" then return request.headers["x-api-key"] end
                return 302, "", { location = place }
            end }
            base = "http://127.0.0.1:" .. select(2, other:address())
            local headers <const> = {
                ["Authorization"] = "a", ["Proxy-Authorization"] = "b", ["X-Api-Key"] = "c", ["Cookie"] = "d",
                ["X-Auth"] = "e", ["Accept-Language"] = "fr",
            }
            assert.equal("c", http.get(base .. "/near", { headers = headers }):body())
            assert.equal("accept accept-language host user-agent",
                http.get(base .. "/far", { headers = headers }):body())
        end)
    end)

    it("gives cookies one by one", function()
        helper.run(function()
            local listener <close> = asyncoro.listen("127.0.0.1", 0)
            asyncoro.spawn(function()
                for _, lines in ipairs { "Set-Cookie: a=1; Path=/\r\nset-cookie: b=x, y\r\n", "" } do
                    local stream <close> = listener:accept()
                    stream:read_until "\r\n\r\n"
                    stream:write("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n" .. lines .. "\r\n")
                end
            end)
            local url <const> = "http://127.0.0.1:" .. select(2, listener:address())
            assert.same({ "a=1; Path=/", "b=x, y" }, http.get(url):cookies())
            assert.same({}, http.get(url):cookies())
        end)
    end)

    it("closes connections that nobody wants any more, whichever server they are to", function()
        helper.run(function()
            local client <close> = http.client { idle_timeout = 0.01 }
            local listeners <const>, ends <const> = {}, {}
            for i = 1, 3 do
                listeners[i] = asyncoro.listen("127.0.0.1", 0)
                asyncoro.spawn(function()
                    local stream <close> = listeners[i]:accept()
                    stream:read_until "\r\n\r\n"
                    stream:write "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
                    ends[i] = select(3, stream:read(1, 2))
                end)
                assert.equal("ok", client:get("http://127.0.0.1:" .. select(2, listeners[i]:address())):body())
                asyncoro.sleep(0.03)
            end
            assert.same({ "eof", "eof" }, ends)
            for _, listener in ipairs(listeners) do listener:close() end
        end)
    end)

    it("does not wait for the body of a redirect longer than it was told to", function()
        helper.run(function()
            local listener <close> = asyncoro.listen("127.0.0.1", 0)
            asyncoro.spawn(function()
                local stream <close> = listener:accept()
                stream:read_until "\r\n\r\n"
                stream:write "HTTP/1.1 302 Found\r\nLocation: /b\r\nContent-Length: 100\r\n\r\n"
                repeat asyncoro.sleep(0.02) until not stream:write "x"
            end)
            local begun <const> = asyncoro.now()
            assert.equal("timeout", select(3, http.get("http://127.0.0.1:" .. select(2, listener:address()),
                { timeout = 0.05 })))
            assert.is_true(asyncoro.now() - begun < 1)
        end)
    end)

    it("says what went wrong", function()
        helper.run(function()
            assert.equal("invalid", select(3, http.get "nonsense"))
            assert.equal("invalid", select(3, http.get "ftp://host/"))
            assert.equal("refused", select(3, http.get "http://127.0.0.1:1/"))
            assert.error_matches(function() http.request {} end, "'url' is missing")
            assert.error_matches(function() http.get("http://x/", { heders = {} }) end, "unknown option")
            for _, name in ipairs { "Content-Length", "Transfer-Encoding" } do
                assert.error_matches(function() http.post("http://x/", "b", { headers = { [name] = "1" } }) end,
                    "set by the client")
            end
            assert.error_matches(function() http.get("http://x/", { method = "GET /y" }) end, "is no method")
            assert.error_matches(function()
                http.get("http://127.0.0.1:1/", { headers = { ["A\r\n"] = "b" } })
                error "not reached: refused before"
            end, "not reached")
            local listener <close> = asyncoro.listen("127.0.0.1", 0)
            local url <const> = "http://127.0.0.1:" .. select(2, listener:address())
            local answers <const> = {
                { "SSH-2.0-x\r\n\r\n", "protocol" }, { "", "eof" },
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

describe("https", function()
    setup(certificates.make)
    teardown(certificates.remove)

    -- A server that asks clients for a certificate, and its address.
    local function secure_server(handler)
        local server <const> = assert(http.serve {
            host = "localhost", handler = handler,
            tls = certificates.identity("good", { ca = certificates.path "ca.pem", verify = "request" }),
        })
        return server, "https://localhost:" .. select(2, server:address())
    end

    local function secured(handler, fn)
        helper.run(function()
            local server <close>, url <const> = secure_server(handler) -- luacheck: ignore 211
            fn(url)
        end)
    end

    local function who(request)
        local peer <const> = request.stream:tls_info().peer
        return ("%s %s %s"):format(request.method, request.path, peer and peer.subject or "nobody")
    end

    it("asks, and looks at the server's certificate", function()
        secured(who, function(url)
            local client <close> = http.client { tls = certificates.trusting() }
            assert.equal("GET /a nobody", client:get(url .. "/a"):body())
            assert.equal("POST /b nobody", client:post(url .. "/b", ("x"):rep(100000)):body())
            local response <const>, message <const>, code <const> = http.get(url)
            assert.same({ nil, "auth" }, { response, code })
            assert.matches("who is not known", message)
            local ws <const>, why <const>, word <const> = http.websocket((url:gsub("^https", "wss")),
                { tls = certificates.trusting() })
            assert.same({ nil, "protocol" }, { ws, word }, why)
        end)
    end)

    it("keeps connections with a certificate for those who have it", function()
        local ports <const> = {}
        secured(function(request)
            ports[#ports + 1] = request.port
            return who(request)
        end, function(url)
            local client <close> = http.client { tls = certificates.trusting() }
            local mine <const> = certificates.trusting(certificates.identity "client")
            assert.equal("GET / CN=somebody", client:get(url, { tls = mine }):body())
            assert.equal("GET / nobody", client:get(url):body())
            assert.equal("GET / CN=somebody", client:get(url, { tls = mine }):body())
            assert.equal("GET / nobody", client:get(url):body())
            assert.same({ ports[1], ports[2] }, { ports[3], ports[4] })
            assert.not_equal(ports[1], ports[2])
        end)
    end)

    it("shows its certificate to no other server that it is sent to", function()
        local place
        secured(function(request)
            if request.path == "/" then return who(request) end
            return 302, "", { location = request.path == "/far" and place or "/" }
        end, function(url)
            local elsewhere <close>, address <const> = secure_server(who)
            place = address
            local mine <const> = certificates.trusting(certificates.identity "client")
            assert.equal("GET / CN=somebody", http.get(url .. "/near", { tls = mine }):body())
            assert.equal("GET / nobody", http.get(url .. "/far", { tls = mine }):body())
            local tls <const> = require "asyncoro.tls"
            local without <const> = assert(tls.context(certificates.trusting()))
            assert.equal("GET / nobody", http.get(url .. "/far", { tls = without }):body())
            local response <const>, message <const>, code <const> =
                http.get(url .. "/far", { tls = { context = assert(tls.context(mine)) } })
            assert.same({ nil, "denied" }, { response, code })
            assert.matches("it redirects to localhost, which the certificate of this side is not for", message)
            elsewhere:close()
            place = "http://127.0.0.1:1/"
            assert.equal("denied", select(3, http.get(url .. "/far", { tls = mine })))
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
