-- SPDX-License-Identifier: MIT
-- TLS begun on a plain stream, and with openssl's s_client and s_server.
local asyncoro = require "asyncoro"
local certificates = require "spec.certificates"
local program = require "spec.program"
local run = require("spec.helper").run
local tls = require "asyncoro.tls"

local path <const>, identity <const>, trusting <const> = certificates.path, certificates.identity, certificates.trusting
local serve <const> = certificates.serve

local function free_port()
    local listener <const> = assert(asyncoro.listen("127.0.0.1", 0))
    local _, port <const> = listener:address()
    listener:close()
    return port
end

-- s_server, for the time of fn(port).
local function with_server(arguments, fn)
    local port <const> = free_port()
    local pid <const> = program.capture(("cd %s; openssl s_server -accept 127.0.0.1:%d %s " ..
        ">/dev/null 2>&1 </dev/null & echo $!"):format(path ".", port, arguments))
    local probe
    repeat
        asyncoro.sleep(0.01)
        probe = asyncoro.connect("127.0.0.1", port)
    until probe
    probe:close()
    local ok <const>, err <const> = pcall(fn, port)
    os.execute("kill " .. pid)
    if not ok then error(err, 0) end
end

-- What s_client prints that talks to a server of this program.
local function s_client(port, arguments, input)
    local out <const> = os.tmpname()
    local done <const> = out .. ".done"
    os.execute(("(cd %s; (%s) | timeout 10 openssl s_client -connect 127.0.0.1:%d %s >%s 2>&1; echo $? >%s) &"):format(
        path ".", input or "sleep 5", port, arguments, out, done))
    while not io.open(done) do asyncoro.sleep(0.01) end
    local text <const> = program.read(out)
    os.remove(out)
    os.remove(done)
    return text
end

describe("TLS", function()
    setup(certificates.make)
    teardown(certificates.remove)

    describe("begun later (STARTTLS)", function()
        local function dialogue(pipelined)
            local listener <const> = assert(asyncoro.listen("127.0.0.1", 0))
            local _, port <const> = listener:address()
            local server <const> = asyncoro.spawn(function()
                local stream <const> = assert(listener:accept())
                assert.equal("STARTTLS", stream:read_line())
                if not pipelined then stream:write "220 go ahead\r\n" end
                local ok <const>, message <const>, code <const> =
                    tls.server(stream, assert(tls.context(identity "good")), 5)
                if ok then assert(stream:write(assert(stream:read_line()) .. "\n")) end
                stream:close()
                return ok, message, code
            end)
            local stream <const> = assert(asyncoro.connect("127.0.0.1", port))
            assert(stream:write("STARTTLS\r\n" .. (pipelined or "")))
            if not pipelined then
                assert.equal("220 go ahead", stream:read_line())
                assert(tls.client(stream, "localhost", trusting()))
                assert(stream:write "EHLO\n")
                assert.equal("EHLO", stream:read_line())
            end
            local results <const> = table.pack(server:finish())
            stream:close()
            listener:close()
            return table.unpack(results, 2, results.n)
        end

        it("goes on in the same stream", function()
            run(function() assert.truthy(dialogue()) end)
        end)

        it("takes nothing that came in plain for TLS", function()
            run(function()
                local ok <const>, message <const>, code <const> = dialogue "EVIL\r\n"
                assert.is_nil(ok)
                assert.equal("protocol", code)
                assert.matches("bytes have come in plain that nobody has read", message)
            end)
        end)

        it("needs a plain socket that nobody reads", function()
            run(function()
                local client <const>, server <const> = certificates.pair(identity "good", trusting())
                assert.equal("unsupported", select(3, tls.client(client, "localhost")))
                client:close()
                assert.equal("closed", select(3, tls.client(client, "localhost")))
                server:close()
                local one <const>, other <const> = assert(asyncoro.socket.pair())
                local reader <const> = asyncoro.spawn(function() return one:read() end)
                asyncoro.sleep(0)
                assert.equal("busy", select(3, tls.client(one, "localhost")))
                assert.equal("invalid", select(3, tls.client(other, ("x"):rep(300))))
                other:close()
                assert.equal("eof", (select(4, reader:finish())))
                one:close()
            end)
        end)
    end)

    describe("with openssl", function()
        it("s_server: talks, and is told a clean end", function()
            run(function()
                with_server("-cert good.pem -key good.key -rev -quiet", function(port)
                    local stream <const> = assert(asyncoro.connect("127.0.0.1", port, { tls = trusting() }))
                    assert(stream:write "hello\n")
                    assert.equal("olleh", stream:read_line())
                    stream:close()
                end)
            end)
        end)

        it("s_server: TLS 1.2, a certificate of the client, ALPN, resumption", function()
            run(function()
                with_server("-cert good.pem -key good.key -www -tls1_2 -Verify 1 -CAfile ca.pem -alpn http/1.1",
                    function(port)
                        for i = 1, 2 do
                            local stream <const> = assert(asyncoro.connect("127.0.0.1", port,
                                { tls = trusting(identity("client", { alpn = { "http/1.1" } })) }))
                            assert.equal("http/1.1", stream:tls_info().alpn)
                            assert.equal("TLSv1.2", stream:tls_info().version)
                            assert.equal(i == 2, stream:tls_info().resumed)
                            assert(stream:write "GET / HTTP/1.0\r\n\r\n")
                            assert.matches("200 ok.*CN ?= ?somebody", (stream:read_all()))
                            stream:close()
                        end
                    end)
            end)
        end)

        it("s_client: verifies, resumes, sees the clean end", function()
            run(function()
                local port <const>, listener <const> = serve(identity("good", { alpn = { "chat" } }), function(stream)
                    stream:write(assert(stream:read_line()):reverse(), "\n")
                end)
                local arguments <const> = "-CAfile ca.pem -verify_return_error -verify_hostname localhost " ..
                    "-servername localhost -alpn chat"
                local out <const> = s_client(port, arguments .. " -ign_eof -sess_out session", "echo hello")
                assert.matches("Verify return code: 0 %(ok%)", out)
                assert.matches("ALPN protocol: chat", out)
                assert.matches("\nolleh\n", out)
                assert.matches("closed", out)
                assert.not_matches("unexpected eof", out)
                assert.matches("Reused, TLSv1.3", s_client(port, arguments .. " -ign_eof -sess_in session",
                    "echo hello"))
                listener:close()
            end)
        end)

        it("s_client: its versions, its refusal", function()
            run(function()
                local seen <const> = asyncoro.queue()
                local port <const>, listener <const> = serve(identity "unknown", function(stream)
                    seen:put(table.pack(stream:read()))
                end)
                s_client(port, "-CAfile ca.pem -verify_return_error")
                assert.equal("auth", seen:get()[3])
                s_client(port, "-tls1_1")
                assert.equal("protocol", seen:get()[3])
                listener:close()
            end)
        end)

        it("s_client: STARTTLS of a mail server", function()
            run(function()
                local listener <const> = assert(asyncoro.listen("127.0.0.1", 0))
                local _, port <const> = listener:address()
                local context <const> = assert(tls.context(identity "good"))
                asyncoro.spawn(function()
                    local stream <const> = assert(listener:accept())
                    stream:write "220 spec\r\n"
                    assert.matches("^EHLO", (stream:read_line()))
                    stream:write "250-spec\r\n250 STARTTLS\r\n"
                    assert.equal("STARTTLS", stream:read_line())
                    stream:write "220 go\r\n"
                    assert(tls.server(stream, context))
                    stream:write(assert(stream:read_line()):upper(), "\r\n")
                    stream:close()
                end)
                local out <const> = s_client(port, "-starttls smtp -CAfile ca.pem -ign_eof", "echo hello")
                assert.matches("\nHELLO", out)
                assert.matches("Verify return code: 0 %(ok%)", out)
                listener:close()
            end)
        end)
    end)
end)
