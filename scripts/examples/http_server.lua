-- SPDX-License-Identifier: MIT
-- An HTTP server: a page, a form, a stream of chunks, server-sent events and a WebSocket. Prints its address; Ctrl-C or
-- the end of standard input ends it gracefully.
--   asyncoro http_server.lua [PORT [HOST]]
local asyncoro = require "asyncoro"
local http <const> = asyncoro.http

local PAGE <const> = [[
<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<title>asyncoro</title>
<h1>asyncoro</h1>
<p>Ticks, as server-sent events: <b id="tick">-</b></p>
<p>Echo, over a WebSocket: <b id="echo">-</b></p>
<script>
new EventSource("/events").onmessage = (event) => { document.getElementById("tick").textContent = event.data; };
const ws = new WebSocket("ws://" + location.host + "/echo");
ws.onopen = () => ws.send("hello");
ws.onmessage = (event) => { document.getElementById("echo").textContent = event.data; };
</script>
</html>
]]

local routes <const> = {}

routes["/"] = function() return 200, PAGE, { ["Content-Type"] = "text/html; charset=utf-8" } end

routes["/hello"] = function(request)
    local fields <const> = request.method == "POST" and http.url.fields(assert(request:body())) or request.query
    return ("Hello, %s!\n"):format(fields.name or "world")
end

routes["/count"] = function(request, response)
    for i = 1, math.min(tonumber(request.query.to) or 5, 1000) do
        response:write(i .. "\n")
        asyncoro.sleep(0.01)
    end
end

routes["/events"] = function(_, response)
    local events <const> = response:sse()
    for i = 1, 100 do
        if not events:send(tostring(i)) then return end -- nobody listens any more
        asyncoro.sleep(0.1)
    end
end

routes["/echo"] = function(request)
    local ws <close> = request:websocket()
    if not ws then return 426, "a WebSocket is spoken here\n" end
    for message, kind in ws:messages() do ws:send(message, kind) end
end

asyncoro.run(function(port, host)
    local server <const> = assert(http.serve {
        host = host, port = math.tointeger(tonumber(port or 0)),
        handler = function(request, response)
            local route <const> = routes[request.path]
            if route then return route(request, response) end
            return 404, "not found\n"
        end,
    })
    print(("http://%s:%d/"):format(server:address()))
    io.stdout:flush()
    asyncoro.stdin:read_all()
    server:shutdown(5)
end, ...)
