-- SPDX-License-Identifier: MIT
-- Measures skynet's cluster: see pair_skynet.
local cluster = require "skynet.cluster"
local skynet = require "skynet"
local manager = require "skynet.manager"

local PAYLOAD <const> = ("x"):rep(100)

local function one_way(n)
    for _ = 1, n do cluster.send("other", "@there", "put", PAYLOAD) end
    while cluster.call("other", "@there", "seen") < n do skynet.sleep(1) end
end

local function both_ways(n)
    for _ = 1, n do cluster.call("other", "@there", "echo", PAYLOAD) end
end

skynet.start(function()
    cluster.reload { other = "127.0.0.1:" .. skynet.getenv "port" }
    local run = skynet.getenv "what" == "w9" and one_way or both_ways
    local n = tonumber(skynet.getenv "count")
    cluster.call("other", "@there", "echo", PAYLOAD) -- connects
    local start = skynet.hpc()
    run(n)
    local file = assert(io.open(skynet.getenv "result", "w"))
    file:write(n / ((skynet.hpc() - start) / 1e9), "\n")
    file:close()
    manager.abort()
end)
