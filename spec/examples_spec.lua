-- SPDX-License-Identifier: MIT
-- The examples, each as the host runs it, as stock Lua with the module runs it, and as a C program runs it in itself,
-- with what they print checked.
local helper = require "spec.helper"
local program = require "spec.program"

local EXAMPLES <const> = "scripts/examples/"
local CURL <const> = helper.has "curl"

local forms <const> = {
    host = {},
    ["stock Lua"] = {
        program = "lua5.4",
        env = { LUA_PATH = "lua/?.lua;lua/?/init.lua;;", LUA_CPATH = program.module_path },
    },
    ["a C program"] = {},
}

-- The lines an example prints; it must end well and say nothing on stderr.
local function run(form, name, args, stdin)
    local options <const> = setmetatable({ stdin = stdin }, { __index = form })
    local code <const>, out <const>, err <const> =
        program.run({ EXAMPLES .. name .. ".lua", table.unpack(args or {}) }, options)
    assert.equal("", err)
    assert.equal(0, code)
    local lines <const> = {}
    for line in out:gmatch "[^\n]+" do lines[#lines + 1] = line end
    return lines
end

local function check_coros(form, count, longest)
    local lines <const> = run(form, "tut_coros", { count, longest })
    assert.equal(2 * count, #lines)
    local wanted <const>, first, last = {}, math.huge, 0
    for _, line in ipairs(lines) do
        local time, n, seconds = line:match "^(%d+%.%d+): coroutine (%d+) sleeping for (%d+%.%d+) seconds$"
        if time then
            wanted[n] = tonumber(time) + tonumber(seconds)
            first = math.min(first, tonumber(time))
        else
            time, n = line:match "^(%d+%.%d+): coroutine (%d+) terminating$"
            assert.is_true(tonumber(time) >= wanted[n] - 0.001, line)
            last = math.max(last, tonumber(time))
            wanted[n] = nil
        end
    end
    assert.is_nil(next(wanted))
    return last - first
end

-- A server with a console, and the port that it has chosen.
local function start(form, name, args)
    local running <const> = program.converse({ EXAMPLES .. name .. ".lua", table.unpack(args) }, form)
    local line <const> = running:line()
    return running, assert(line:match "^listening at 127%.0%.0%.1:(%d+)$", line)
end

local function finish(running)
    local code <const>, rest <const> = running:finish()
    assert.equal(0, code, rest)
    return rest
end

for form_name, form in pairs(forms) do
    describe("examples with " .. form_name, function()
        if form_name == "a C program" then
            local folder
            setup(function()
                folder = program.folder()
                form.program = program.embedding(folder)
            end)
            teardown(function() program.remove(folder) end)
        end

        it("tut_coros", function()
            assert.is_true(check_coros(form, "20", "0.2") < 2)
        end)

        it("tut_client_server", function()
            local lines <const> = run(form, "tut_client_server", { "10", "0.1" })
            local seen <const> = {}
            assert.equal(30, #lines)
            for i, line in ipairs(lines) do
                local id <const>, n <const>, x <const> = line:match "^processing (%d+): (%d+) / (%d)$"
                assert.equal(i, tonumber(id))
                assert.equal(seen[n] or 0, tonumber(x))
                seen[n] = tonumber(x) + 1
            end
        end)

        it("tut_channel", function()
            local sum, product = 0, 1
            local lines <const> = run(form, "tut_channel")
            assert.equal(6, #lines)
            for _, line in ipairs(lines) do
                local number <const> = tonumber(line:match "^sent (%d+%.%d+)$")
                if number then sum, product = sum + number, product * number end
            end
            local results <const> = lines[5] .. "\n" .. lines[6]
            assert.is_true(math.abs(results:match "sum: (%S+)" - sum) < 0.001)
            assert.is_true(math.abs(results:match "prod: (%S+)" - product) < 0.001)
        end)

        it("hotswap", function()
            local file <const> = form_name == "a C program" and EXAMPLES .. "hotswap_funcs.lua" or nil -- has no `arg`
            local input <const> = "server\n" .. ("\n"):rep(20) .. "client\nserver\n" .. ("\n"):rep(200) .. "nonsense\n"
            local lines <const> = run(form, "hotswap", { "0.003", file }, input)
            local text <const> = table.concat(lines, "\n")
            assert.matches("new function: server_proc2, 1", text)
            assert.matches("replacing with function: server_proc2, 1", text)
            assert.matches("%* coro server_proc2#%d+ received: ", text)
        end)

        it("files", function()
            local lines <const> = run(form, "files", { "docs" })
            local total = 0
            for _, line in ipairs(lines) do total = total + tonumber(line:match "%d+") end
            assert.equal(tonumber(program.capture("cat docs/*.md | wc -l"):match "%d+"), total)
        end)

        it("pipe_csum", function()
            local sum <const> = program.capture("sha1sum <README.md"):match "%x+"
            assert.same({ ("communicate sha1sum: %s  -"):format(sum), ("     feeder sha1sum: %s  -"):format(sum) },
                run(form, "pipe_csum", { "README.md" }))
        end)

        it("pipe_grep", function()
            local counts <const> = program.capture "grep -i error docs/sync.md | wc"
            assert.same(counts:match "[^\n]+", run(form, "pipe_grep", { "docs/sync.md" })[1])
        end)

        it("tut_group", function()
            assert.same({
                "all: one after 0.01 s, three after 0.03 s, two after 0.02 s", "an error: \tfalse\tbroken: no answer",
                "a time limit: \tnil\twith_timeout: timed out\ttimeout", "the first: racer after 0.01 s",
            }, run(form, "tut_group"))
        end)

        it("tut_supervisor", function()
            local lines <const> = run(form, "tut_supervisor")
            for i = 1, 4 do
                assert.equal("log: crawler runs, number " .. i, lines[2 * i - 1])
                assert.equal(("crawler ended: page %d is broken"):format(i), lines[2 * i])
            end
            assert.matches("^false\tsupervisor site: more than 3 restarts", lines[9])
        end)

        it("tut_isolates", function()
            assert.same({ "669 primes below 5000, counted by 3 isolates", "97 is prime: true" },
                run(form, "tut_isolates", { "3", "5000" }))
        end)

        it("udp", function()
            local ports <const> = {}
            local lines <const> = run(form, "udp", { "50" })
            for _, line in ipairs(lines) do
                local port <const> = line:match '^Received "client socket: %d+" from 127%.0%.0%.1:(%d+)$'
                assert.is_nil(ports[assert(port, line)])
                ports[port] = true
            end
            assert.equal(50, #lines)
        end)

        it("tut_sock_server and tut_sock_client", function()
            local server <const>, port <const> = start(form, "tut_sock_server", { "127.0.0.1", "0" })
            for _, clients in ipairs { 10, 3 } do
                assert.same({}, run(form, "tut_sock_client", { tostring(clients), port }))
                local seen <const> = {}
                for _ = 1, clients do
                    local n <const>, dashes <const> = server:line():match "^recieved: (%d+): (%-+)/$"
                    assert.is_true(#dashes >= 100 and #dashes <= 300)
                    seen[tonumber(n)] = true
                end
                assert.equal(clients, #seen)
            end
            server:type "quit"
            assert.equal("n = 13\n", finish(server))
        end)

        helper.needing(pcall(require, "asyncoro.http"), "this build has no asyncoro.http (node-llhttp)", it)(
            "http_server, http_load", function()
            local server <const> = program.converse({ EXAMPLES .. "http_server.lua" }, form)
            local url <const> = assert(server:line():match "^http://127%.0%.0%.1:%d+/$")
            local lines <const> = run(form, "http_load", { url .. "hello?name=you", "5", "100" })
            assert.matches("^100 requests in ", lines[1])
            assert.equal("200: 100", lines[3])
            local code <const>, out <const> = program.run { "-e", ([[
                local http = require("asyncoro").http
                local url = "%s"
                print(http.post(url .. "hello", "name=World"):body())
                print((http.get(url .. "count?to=3"):body():gsub("\n", " ")))
                print(http.get(url .. "none").status, http.get(url .. "echo").status, #http.get(url):body() > 500)
                local events <close> = http.get(url .. "events")
                print((events:read()))
                local ws <close> = http.websocket((url:gsub("^http", "ws")) .. "echo")
                ws:send "echoed"
                print((ws:receive()))]]):format(url) }
            assert.same({ 0, "Hello, World!\n\n1 2 3 \n404\t426\ttrue\ndata: 1\n\n\nechoed\n" }, { code, out })
            assert.equal("", finish(server))
        end)

        if not CURL then it("webserver with curl # SKIP curl is not installed", function() end) end

        it("webserver", function()
            local server <const>, port <const> = start(form, "webserver", { "127.0.0.1", "0" })
            local script <const> = [[
                local asyncoro = require "asyncoro"
                for n = 1, 200 do
                    asyncoro.spawn(function()
                        local stream <close> = assert(asyncoro.connect("127.0.0.1", PORT))
                        assert(stream:write "GET / HTTP/1.0\r\n\r\n")
                        local answer = assert(stream:read_all())
                        if answer ~= "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nPong!\r\n" then print(answer) end
                    end)
                end]]
            local code <const>, out <const>, err <const> = program.run { "-e", (script:gsub("PORT", port)) }
            assert.same({ 0, "", "" }, { code, out, err })
            if CURL then
                assert.equal("Pong!", program.capture("curl -s -m 10 http://127.0.0.1:" .. port .. "/"))
            end
            server:type "quit"
            assert.equal("", finish(server))
        end)

        it("chat_sock_server and chat_sock_client", function()
            local server <const>, port <const> = start(form, "chat_sock_server", { "127.0.0.1", "0" })
            local function client()
                local running <const> =
                    program.converse({ EXAMPLES .. "chat_sock_client.lua", "127.0.0.1", port }, form)
                return running, assert(running:line():match "^id: (%d+)$")
            end
            local one <const>, one_id <const> = client()
            local two <const>, two_id <const> = client()
            assert.equal(two_id .. " joined", one:line())
            two:type ""
            two:type "hi"
            assert.equal(two_id .. " says: hi", one:line())
            one:type "hello"
            assert.equal(one_id .. " says: hello", two:line())
            two:type "quit"
            assert.equal("", finish(two)) -- no echo of its own
            assert.equal(two_id .. " left", one:line())
            local three <const>, three_id <const> = client()
            assert.equal(three_id .. " joined", one:line())
            assert.equal("", finish(three)) -- the end of what is typed ends it, too
            assert.equal(three_id .. " left", one:line())
            server:type "quit"
            assert.equal("", finish(server))
            assert.equal("", finish(one)) -- it ends when the server has
        end)

        it("tls_echo_server and tls_echo_client", function()
            local folder <const> = program.folder()
            local cert <const>, key <const> = folder .. "/cert.pem", folder .. "/key.pem"
            program.capture(("openssl req -x509 -newkey rsa:2048 -nodes -keyout %s -out %s -days 30 -subj /CN=localhost "
                .. "-addext subjectAltName=DNS:localhost,IP:127.0.0.1 2>&1"):format(key, cert))
            local server <const>, port <const> = start(form, "tls_echo_server", { cert, key, "127.0.0.1", "0" })
            for _ = 1, 2 do
                local lines <const> = run(form, "tls_echo_client", { cert, "127.0.0.1", port }, "hello\nworld\n")
                assert.matches("^TLSv1.3, TLS_%w+_%w+_%w+_%w+, CN=localhost$", lines[1])
                assert.same({ "hello", "world" }, { lines[2], lines[3] })
                server:type "reload"
                assert.equal("true", server:line())
            end
            server:type "quit"
            assert.equal("", finish(server))
            program.remove(folder)
        end)

        it("socket_afile", function()
            local name <const> = "core/io/stream.c"
            local sum <const> = program.capture("sha1sum " .. name):match "^%x+"
            local lines <const> = run(form, "socket_afile", { name })
            assert.matches("^host: 127%.0%.0%.1, port: %d+$", lines[1])
            local rest <const> = { lines[2], lines[3], lines[4] }
            table.sort(rest)
            local count <const> = program.capture("wc -l <" .. name)
            assert.same({ "client sha1 csum: " .. sum, "lines: " .. count, "server sha1 csum: " .. sum }, rest)
        end)
    end)
end

describe("examples", function()
    it("tut_coros runs 100,000 coros", function()
        check_coros({}, "100000", "0.5")
    end)
end)
