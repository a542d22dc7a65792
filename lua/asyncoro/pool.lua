-- SPDX-License-Identifier: MIT
--- A pool of threads: Lua work that computes for long, or calls what blocks, off the engine.
-- Its workers are isolates, so functions and values are shipped to them and results back.
-- @module asyncoro.pool

local core <const> = require "asyncoro.core"
local queue <const> = require "asyncoro.queue"

-- So many functions does a worker keep; then it forgets them all.
local CACHED <const> = 200

local Pool <const> = {}
Pool.__index = Pool
Pool.__name = "thread pool"

--- The body of a worker; for the pool's own use. As a field of a module it travels by its name.
-- @function worker
-- @tparam integer cached how many functions it keeps
local function worker(cached)
    local functions, epoch, kept = {}, 0, 0
    for job, reply in core.messages() do
        if job.epoch > epoch or kept >= cached then
            functions, epoch, kept = {}, job.epoch, 0
        end
        local fn <const> = job.fn or functions[job.key]
        if job.key and job.fn then
            functions[job.key], kept = fn, kept + 1
        end
        local results <const> = table.pack(xpcall(fn, function(err)
            return { err = err, trace = debug.traceback(nil, 2) }
        end, table.unpack(job, 1, job.n)))
        local ok <const>, message <const>, code <const> = reply(results)
        if not ok then reply({ "unsent", message, code }) end
    end
end

-- Workers are told a function once: that is right for one that keeps no state, so without upvalues.
local function is_stateless(fn)
    local name <const> = debug.getupvalue(fn, 1)
    return name == nil or name == "_ENV" and debug.getupvalue(fn, 2) == nil
end

local function key_of(self, fn)
    if not is_stateless(fn) then return nil end
    local key = self.keys[fn]
    if key == nil then
        if self.last >= CACHED then
            self.keys, self.last, self.epoch = setmetatable({}, { __mode = "k" }), 0, self.epoch + 1
        end
        self.last = self.last + 1
        key = self.last
        self.keys[fn] = key
    end
    return key
end

--- Make a pool.
-- @function thread_pool
-- @tparam[opt] integer n how many workers; as many as there are processors when it is left out
-- @treturn pool
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string code, when a worker could not be started
-- @raise when n is no integer of 1 or more
local function thread_pool(n)
    n = n == nil and core.cpu_count() or n
    if math.type(n) ~= "integer" or n < 1 then
        error("thread_pool: the number of workers must be an integer of 1 or more", 2)
    end
    local self <const> = setmetatable({
        workers = {}, idle = queue(), keys = setmetatable({}, { __mode = "k" }), last = 0, epoch = 0,
    }, Pool)
    for i = 1, n do
        local coro <const>, message <const>, code <const> =
            core.isolate({ name = "worker " .. i, daemon = true }, worker, CACHED)
        if not coro then
            self:close()
            return nil, "thread_pool: " .. message, code
        end
        self.workers[i] = { coro = coro, known = {}, epoch = 0 }
        self.idle:put(self.workers[i])
    end
    return self
end

local function give_back(self, one)
    if not self.closed then self.idle:put(one) end
end

-- The caller was cancelled while a worker was at its job: the worker is idle again when that is done.
local function abandon(self, one)
    core.spawn({ name = "pool worker", daemon = true }, function()
        one.coro:call({ epoch = self.epoch, fn = function() end, n = 0 })
        give_back(self, one)
    end)
end

local function job_of(self, one, fn, ...)
    local key <const> = key_of(self, fn)
    local job <const> = { epoch = self.epoch, key = key, n = select("#", ...), ... }
    if one.epoch ~= self.epoch then one.epoch, one.known = self.epoch, {} end
    if key == nil or not one.known[key] then job.fn = fn end
    return job, key
end

local function run(self, one, fn, ...)
    local job <const>, key <const> = job_of(self, one, fn, ...)
    local at_work = true
    local _ <close> = setmetatable({}, { __close = function()
        if at_work then abandon(self, one) else give_back(self, one) end
    end })
    local results <const>, message <const>, code <const> = one.coro:call(job)
    at_work = false
    if results and key then one.known[key] = true end
    return results, message, code
end

--- Call a function in a worker and wait for what it returns. Waits first for a worker that is idle. When the caller
-- is cancelled, the work is abandoned: it goes on in its worker, and nobody hears of its results.
-- @function pool:call
-- @tparam function fn it is shipped, with copies of its upvalues
-- @param ... its arguments
-- @return what fn returns
-- @return[2] nil
-- @treturn[2] string message
-- @treturn[2] string "unsendable", "toolarge", or "closed"
-- @raise the error of fn
function Pool:call(fn, ...)
    if type(fn) ~= "function" then
        error(("bad argument #1 to 'call' (function expected, got %s)"):format(type(fn)), 2)
    end
    local one <const> = not self.closed and self.idle:get()
    if not one then return nil, "call: the pool is closed", "closed" end
    local results <const>, message <const>, code <const> = run(self, one, fn, ...)
    if not results then
        if code == "notfound" then return nil, "call: the pool is closed", "closed" end
        return nil, message, code
    end
    if results[1] == true then return table.unpack(results, 2, results.n) end
    if results[1] == "unsent" then return nil, "call: the results: " .. results[2], results[3] end
    error(results[2].err, 0)
end

--- End the workers, each when it has done its job. Waits for nothing; callers that wait for a worker get "closed".
-- @function pool:close
-- @treturn boolean true
function Pool:close()
    if self.closed then return true end
    self.closed = true
    for _, one in ipairs(self.workers) do one.coro:send(nil) end
    self.idle:close()
    return true
end

Pool.__close = Pool.close
Pool.__gc = Pool.close

function Pool:__tostring()
    return ("thread pool of %d%s"):format(#self.workers, self.closed and ", closed" or "")
end

return { thread_pool = thread_pool, worker = worker }
