-- SPDX-License-Identifier: MIT
-- A supervisor keeps a crawler and a logger alive; when the crawler fails too often it gives up.
local asyncoro = require "asyncoro"

local function logger()
    for text in asyncoro.messages() do
        print("log: " .. text)
    end
end

asyncoro.run(function()
    local supervisor
    local runs = 0

    local function crawler()
        runs = runs + 1
        supervisor:child("logger"):send("crawler runs, number " .. runs)
        asyncoro.sleep(0.005)
        error("page " .. runs .. " is broken", 0)
    end

    supervisor = asyncoro.supervisor {
        name = "site",
        max_restarts = 3,
        on_exit = function(name, exit) print(name .. " ended: " .. tostring(exit.error)) end,
        children = { { fn = logger, name = "logger" }, { fn = crawler, name = "crawler" } },
    }
    local ok, message = supervisor:finish()
    print(ok, message)
end)
