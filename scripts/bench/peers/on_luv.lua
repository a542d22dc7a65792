-- SPDX-License-Identifier: MIT
-- luv as a peer: it brings loop and timers but no scheduler, so the pure-Lua one is drained from an
-- idle handle.

local sched <const> = require "sched"
local uv <const> = require "luv"

local idle <const> = uv.new_idle()

local function drain()
    if not sched.drain(1000) then
        idle:stop()
    end
end

function sched.now()
    return uv.hrtime() / 1e9
end

function sched.sleep(seconds)
    local timer <const>, task <const> = uv.new_timer(), sched.current()
    uv.update_time()
    timer:start(math.floor(seconds * 1000), 0, function()
        timer:close()
        sched.wake(task)
        if not idle:is_active() then
            idle:start(drain)
        end
    end)
    sched.suspend()
end

function sched.run(main)
    sched.spawn(main)
    idle:start(drain)
    uv.run()
end

require "workloads"(sched)
