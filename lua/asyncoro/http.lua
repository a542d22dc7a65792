-- SPDX-License-Identifier: MIT
--- HTTP/1.1: a server, a client, WebSockets and server-sent events.
-- @module asyncoro.http
local core <const> = require "asyncoro.core"

if not core.http then
    error("asyncoro.http: this build has no HTTP parser: install the sources of llhttp (Debian's package node-llhttp) "
        .. "and build asyncoro again", 0)
end

local client <const> = require "asyncoro.http.client"
local url <const> = require "asyncoro.http.url"

local shared = nil

-- The client of those who have none of their own.
local function common()
    shared = shared or client.new()
    return shared
end

return {
    serve = require "asyncoro.http.server",
    client = client.new,
    websocket = require("asyncoro.http.websocket").connect,
    url = url,

    --- The usual text of a status.
    -- @function reason
    -- @tparam integer status
    -- @treturn string perhaps ""
    reason = core.http.reason,

    --- Ask a server. Waits. See `client:request`.
    -- @function request
    -- @tparam table opts
    -- @treturn response
    request = function(opts) return common():request(opts) end,

    --- Get a URL. Waits. See `client:request`.
    -- @function get
    -- @tparam string address
    -- @tparam[opt] table opts
    -- @treturn response
    -- @usage local response = assert(asyncoro.http.get "http://www.example.org/")
    get = function(address, opts) return common():get(address, opts) end,

    --- Post a body. Waits. See `client:request`.
    -- @function post
    -- @tparam string address
    -- @tparam string|function|stream body
    -- @tparam[opt] table opts
    -- @treturn response
    post = function(address, body, opts) return common():post(address, body, opts) end,
}
