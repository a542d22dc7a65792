-- SPDX-License-Identifier: MIT
-- The other side of skynet_client.lua: counts what is sent, gives back what is asked.
local cluster = require "skynet.cluster"
local skynet = require "skynet"

local seen = 0
local handlers = {}

function handlers.put() seen = seen + 1 end

function handlers.seen() skynet.retpack(seen) end

function handlers.echo(text) skynet.retpack(text) end

skynet.start(function()
    skynet.dispatch("lua", function(_, _, what, ...) handlers[what](...) end)
    cluster.register("there", skynet.self())
    cluster.reload { other = "127.0.0.1:" .. skynet.getenv "port" }
    cluster.open "other"
    skynet.error "ready"
end)
