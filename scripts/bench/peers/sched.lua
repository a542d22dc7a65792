-- SPDX-License-Identifier: MIT
-- A small scheduler in pure Lua, what a program writes when it has nothing else: a queue of ready tasks, each
-- with its mailbox. A task is a table that holds its coroutine and its messages, numbered first..last.

local sched <const> = {}

local resume <const>, suspend <const> = coroutine.resume, coroutine.yield
local ready <const>, head, tail = {}, 1, 0
local current

local function make_ready(task)
    tail = tail + 1
    ready[tail] = task
end

function sched.spawn(fn, ...)
    local co <const> = coroutine.create(fn)
    local task <const> = { co = co, first = 1, last = 0, waiting = false }
    if select("#", ...) > 0 then
        task.argument = ...
    end
    make_ready(task)
    return task
end

function sched.current()
    return current
end

function sched.send(task, msg)
    local last <const> = task.last + 1
    task.last, task[last] = last, msg
    if task.waiting then
        task.waiting = false
        make_ready(task)
    end
end

function sched.receive()
    local task <const> = current
    local first <const> = task.first
    if first > task.last then
        task.waiting = true
        suspend()
    end
    local msg <const> = task[first]
    task[first], task.first = nil, first + 1
    return msg
end

function sched.yield()
    make_ready(current)
    suspend()
end

--- Suspends the running task; `wake` makes it ready again.
sched.suspend = suspend
sched.wake = make_ready

--- Runs what is ready, at most `limit` turns; returns whether more is ready.
function sched.drain(limit)
    while head <= tail and limit > 0 do
        local task <const> = ready[head]
        ready[head] = nil
        head, limit, current = head + 1, limit - 1, task
        local ok <const>, err <const> = resume(task.co, task.argument)
        if not ok then
            error(debug.traceback(task.co, err), 0)
        end
    end
    return head <= tail
end

return sched
