-- SPDX-License-Identifier: MIT
-- The pure-Lua scheduler as a peer. Stock Lua cannot wait for time, so it has no W6.

local sched <const> = require "sched"

sched.now = os.clock

function sched.run(main)
    sched.spawn(main)
    sched.drain(math.huge)
end

require "workloads"(sched)
