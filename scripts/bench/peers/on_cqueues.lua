-- SPDX-License-Identifier: MIT
-- cqueues as a peer: a task is a table of messages with a condition variable its receiver waits on.

local cqueues <const> = require "cqueues"
local condition <const> = require "cqueues.condition"

local api <const> = { now = cqueues.monotime, sleep = cqueues.sleep }
local tasks <const> = setmetatable({}, { __mode = "k" })
local queue <const> = cqueues.new()

function api.spawn(fn, ...)
    queue:wrap(fn, ...)
end

--- A task that receives. The bare spawn above is what W1 and W6 use.
local function spawn_receiver(fn, ...)
    local task <const> = { first = 1, last = 0, ready = condition.new() }
    queue:wrap(function(...)
        tasks[coroutine.running()] = task
        return fn(...)
    end, ...)
    return task
end

function api.current()
    return tasks[coroutine.running()]
end

function api.send(task, msg)
    local last <const> = task.last + 1
    task.last, task[last] = last, msg
    task.ready:signal()
end

function api.receive()
    local task <const> = tasks[coroutine.running()]
    local first <const> = task.first
    while first > task.last do
        task.ready:wait()
    end
    local msg <const> = task[first]
    task[first], task.first = nil, first + 1
    return msg
end

function api.yield()
    cqueues.sleep(0)
end

function api.run(main)
    spawn_receiver(main)
    assert(queue:loop())
end

if arg[1] ~= "w1" and arg[1] ~= "w6" and arg[1] ~= "w4" then
    api.spawn = spawn_receiver
end

require "workloads"(api)
