-- SPDX-License-Identifier: MIT
-- The HTTP server and others' clients: wrk, with many connections; a browser, with a page that asks back, listens to
-- events and speaks over a WebSocket. (curl is in http_server_spec.lua.)
local asyncoro = require "asyncoro"
local helper = require "spec.helper"
local program = require "spec.program"

local found <const>, http <const> = pcall(function() return asyncoro.http end)
if not found then return it("http peers # SKIP this build has no asyncoro.http (node-llhttp)", function() end) end

local SECONDS <const> = 60 -- for a browser to start on a slow machine

-- What wrk says about a server with these arguments before its address.
local function wrk(handler, ...)
    local args <const> = { "wrk", "-t1", "-c50", "-d1s", ... }
    local said
    helper.run(function()
        local server <close> = assert(http.serve { handler = handler })
        args[#args + 1] = ("http://%s:%d/"):format(server:address())
        said = assert(asyncoro.process.run(args))
    end)
    assert.matches("%d+ requests in", said)
    assert.not_matches("Socket errors", said)
    assert.not_matches("Non%-2xx", said)
    return tonumber(said:match "(%d+) requests in")
end

local it_wrk <const> = helper.needing(helper.has "wrk", "wrk is not installed", it)

describe("the HTTP server and wrk", function()
    it_wrk("keep 50 connections busy, without an error", function()
        local served = 0
        local asked <const> = wrk(function()
            served = served + 1
            return "pong\n"
        end)
        assert.is_true(asked > 50 and served >= asked, asked .. " asked, " .. served .. " served")
    end)

    it_wrk("close each connection when they are told to", function()
        assert.is_true(wrk(function() return "pong\n" end, "-H", "Connection: close") > 50)
    end)

    it_wrk("agree on bodies in chunks", function()
        assert.is_true(wrk(function(_, response)
            for n = 1, 5 do response:write("part " .. n .. "\n") end
        end) > 50)
    end)
end)

local PAGE <const> = [[
<!DOCTYPE html>
<title>asked</title>
<script>
const listen = new Promise((good) => {
    const source = new EventSource("/events"), got = [];
    source.onmessage = (event) => {
        got.push(event.data);
        if (got.length == 3) { source.close(); good(got.join("+")); }
    };
});
const talk = new Promise((good) => {
    const socket = new WebSocket("ws://" + location.host + "/socket");
    socket.onopen = () => socket.send("g\u00fc\u20ac");
    socket.onmessage = (event) => { socket.close(); good(event.data); };
});
const load = fetch("/chunks").then((answer) => answer.text());
Promise.all([listen, talk, load])
    .then((all) => fetch("/done", { method: "POST", body: all.join("|") }))
    .catch((error) => fetch("/done", { method: "POST", body: "" + error }));
</script>
]]

local BROWSER <const> = helper.has "chromium" and "chromium" or "chromium-browser"

describe("the HTTP server and a browser", function()
    helper.needing(helper.has(BROWSER), "chromium is not installed", it)("understand each other", function()
        local folder <const> = program.folder()
        local told <const> = {}
        local routes <const> = {
            ["/"] = function() return 200, PAGE, { ["Content-Type"] = "text/html; charset=utf-8" } end,
            ["/events"] = function(_, response)
                local events <const> = response:sse()
                for n = 1, 3 do events:send("event " .. n) end
            end,
            ["/socket"] = function(request)
                local socket <close> = assert(request:websocket())
                for message, kind in socket:messages() do socket:send("you: " .. message, kind) end
            end,
            ["/chunks"] = function(_, response)
                for n = 1, 100 do response:write(n .. ",") end
            end,
        }
        helper.run(function()
            local done <const> = asyncoro.event()
            routes["/done"] = function(request)
                told.text = request:body()
                done:set()
                return "thank you\n"
            end
            local server <close> = assert(http.serve {
                handler = function(request, response)
                    local route <const> = routes[request.path]
                    if route then return route(request, response) end
                    return 404, "not found\n"
                end,
            })
            local browser <close> = assert(asyncoro.process.spawn({
                BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage",
                "--user-data-dir=" .. folder, "--remote-debugging-port=0", ("http://%s:%d/"):format(server:address()),
            }, { stdin = "null", stdout = "null", stderr = "null", group = true }))
            assert.is_true(done:wait(SECONDS))
            browser:terminate(5)
        end, SECONDS + 10)
        program.remove(folder)
        local numbers <const> = {}
        for n = 1, 100 do numbers[n] = n .. "," end
        assert.equal("event 1+event 2+event 3|you: gü€|" .. table.concat(numbers), told.text)
    end)
end)
