-- SPDX-License-Identifier: MIT
-- Lua's own coroutine functions inside a program: as the manual says, and with bodies that wait.
local asyncoro = require "asyncoro"
local run = require("spec.helper").run

-- Each gives values that must be the same with stock functions and with ours.
local snippets = {
    status = function()
        local co, outer
        co = coroutine.create(function()
            coroutine.yield(coroutine.status(co), coroutine.status(outer))
        end)
        outer = coroutine.create(function()
            local results = table.pack(coroutine.resume(co))
            return table.unpack(results, 1, results.n)
        end)
        local r = table.pack(coroutine.resume(outer))
        r[#r + 1] = coroutine.status(co)
        coroutine.resume(co)
        r[#r + 1] = coroutine.status(co)
        return table.unpack(r)
    end,
    ["values both ways"] = function()
        local co = coroutine.create(function(a, b)
            local c = coroutine.yield(a + b)
            local d, e = coroutine.yield(c * 2)
            return d, e, nil
        end)
        local list = table.pack(coroutine.resume(co, 1, 2))
        for _, r in ipairs { table.pack(coroutine.resume(co, 10)), table.pack(coroutine.resume(co, "x", "y")),
            table.pack(coroutine.resume(co)) } do
            for i = 1, r.n do list[#list + 1] = tostring(r[i]) end
        end
        return table.unpack(list)
    end,
    ["errors of resume"] = function()
        local object = {}
        local a = coroutine.create(function() error(object) end)
        local ok, err = coroutine.resume(a)
        return ok, err == object, coroutine.status(a), coroutine.resume(a)
    end,
    ["errors of wrap"] = function()
        local a = coroutine.wrap(function() error "text" end)
        local b = coroutine.wrap(function() error({ 1 }) end)
        local c = coroutine.wrap(function() return 1 end)
        c()
        local _, text = pcall(a)
        local _, object = pcall(b)
        return text, type(object), select(2, pcall(c)), select(2, pcall(a))
    end,
    ["wrong arguments"] = function()
        return select(2, pcall(coroutine.resume, 1)), select(2, pcall(coroutine.wrap, 1)),
            select(2, pcall(coroutine.status)), select(2, pcall(coroutine.create, {}))
    end,
    close = function()
        local order = {}
        local co = coroutine.create(function()
            local _ <close> = setmetatable({}, { __close = function() order[#order + 1] = "a" end })
            local _ <close> = setmetatable({}, { __close = function() order[#order + 1] = "b" end })
            coroutine.yield()
        end)
        coroutine.resume(co)
        local ok = coroutine.close(co)
        local bad = coroutine.create(function()
            local _ <close> = setmetatable({}, { __close = function() error "in close" end })
            coroutine.yield()
        end)
        coroutine.resume(bad)
        return ok, table.concat(order), coroutine.status(co), coroutine.close(co), coroutine.close(bad)
    end,
    ["close of the wrong ones"] = function()
        local co
        co = coroutine.create(function() return pcall(coroutine.close, co) end)
        return select(3, coroutine.resume(co)), select(2, pcall(coroutine.close, 1))
    end,
    ["resume of oneself"] = function()
        local co
        co = coroutine.create(function() return coroutine.resume(co) end)
        return coroutine.resume(co)
    end,
    isyieldable = function()
        local co = coroutine.create(function() return coroutine.isyieldable() end)
        return coroutine.isyieldable(co), coroutine.resume(co)
    end,
    running = function()
        local co
        co = coroutine.create(function()
            local me, main = coroutine.running()
            return me == co, main
        end)
        return coroutine.resume(co)
    end,
    ["a permutation generator"] = function()
        local function permgen(a, n)
            if n == 0 then coroutine.yield(table.concat(a)) return end
            for i = 1, n do
                a[n], a[i] = a[i], a[n]
                permgen(a, n - 1)
                a[n], a[i] = a[i], a[n]
            end
        end
        local list = {}
        for p in coroutine.wrap(function() permgen({ 1, 2, 3 }, 3) end) do list[#list + 1] = p end
        return table.concat(list, " ")
    end,
    ["yield across pcall and metamethods"] = function()
        local t = setmetatable({}, { __index = function(_, k) return coroutine.yield(k) end })
        local co = coroutine.wrap(function()
            local ok, v = pcall(function() return t.x + t.y end)
            return ok, v
        end)
        return co(), co(1), co(2)
    end,
    ["too deep"] = function()
        local function deep(n) return coroutine.wrap(function() return deep(n + 1) end)() end
        local ok, message = pcall(deep, 1)
        return ok, message:match "C stack overflow" or message
    end,
}

describe("inside a program", function()
    for name, snippet in pairs(snippets) do
        it("works as in stock Lua: " .. name, function()
            local stock = table.pack(snippet())
            local ours = run(function() return table.pack(snippet()) end)
            assert.same(stock, ours)
        end)
    end

    it("coroutine functions are ours, and afterwards Lua's again", function()
        local before = { coroutine.resume, coroutine.wrap, coroutine.running, require }
        local inside = run(function() return { coroutine.resume, coroutine.wrap, coroutine.running, require } end)
        for i = 1, #before do assert.not_equal(before[i], inside[i]) end
        assert.same(before, { coroutine.resume, coroutine.wrap, coroutine.running, require })
        pcall(asyncoro.run, function() error "x" end)
        assert.same(before, { coroutine.resume, coroutine.wrap, coroutine.running, require })
        asyncoro.run({ patch = false }, function() assert.same(before[1], coroutine.resume) end)
    end)
end)

describe("a generator", function()
    local function counter(n)
        return coroutine.wrap(function()
            for i = 1, n do
                asyncoro.sleep(0)
                coroutine.yield(i)
            end
        end)
    end

    it("may wait, and suspends the whole coro", function()
        run(function()
            local log = {}
            local other = asyncoro.spawn(function()
                for _ = 1, 3 do
                    log[#log + 1] = "o"
                    asyncoro.yield()
                end
            end)
            for i in counter(3) do log[#log + 1] = i end
            other:finish()
            assert.equal("o", log[1])
            assert.equal(6, #log)
        end)
    end)

    it("may be nested", function()
        run(function()
            local outer = coroutine.wrap(function()
                for i in counter(2) do
                    for j in counter(2) do coroutine.yield(i * 10 + j) end
                end
            end)
            local list = {}
            for v in outer do list[#list + 1] = v end
            assert.same({ 11, 12, 21, 22 }, list)
        end)
    end)

    it("may be resumed by another coro than the one that made it", function()
        run(function()
            local gen = counter(4)
            assert.equal(1, gen())
            local coro = asyncoro.spawn(function() return gen(), gen() end)
            assert.same({ true, 2, 3 }, { coro:finish() })
            assert.equal(4, gen())
        end)
    end)

    it("gets messages, time-outs and replies", function()
        run(function()
            local me = asyncoro.current()
            asyncoro.spawn(function() me:send("m") end)
            local gen = coroutine.wrap(function()
                coroutine.yield(asyncoro.receive())
                coroutine.yield(select(3, asyncoro.receive(0.001)))
                local echo = asyncoro.spawn(function()
                    local message, reply = asyncoro.receive()
                    reply(message)
                end)
                coroutine.yield(echo:call "e")
            end)
            assert.same({ "m", "timeout", "e" }, { gen(), gen(), gen() })
        end)
    end)

    it("that waits is held", function()
        run(function()
            local gen = coroutine.create(function() asyncoro.sleep(0.002) return "end" end)
            local coro = asyncoro.spawn(function() return coroutine.resume(gen) end)
            asyncoro.yield()
            assert.equal("normal", coroutine.status(gen))
            assert.same({ false, "cannot resume a coroutine that waits in the engine" }, { coroutine.resume(gen) })
            assert.error_matches(function() coroutine.close(gen) end, "cannot close a waiting coroutine")
            assert.same({ true, true, "end" }, { coro:finish() })
        end)
    end)

    it("unwinds when its coro is terminated, its handlers may wait", function()
        run(function()
            local log = {}
            local function guard(name)
                return setmetatable({}, { __close = function()
                    asyncoro.sleep(0.001)
                    log[#log + 1] = name
                end })
            end
            local coro = asyncoro.spawn(function()
                local _ <close> = guard "outer"
                for _ in coroutine.wrap(function()
                    local _ <close> = guard "middle"
                    for _ in coroutine.wrap(function()
                        local _ <close> = guard "inner"
                        asyncoro.sleep(100)
                    end) do end
                end) do end
            end)
            asyncoro.yield()
            coro:terminate()
            assert.same({ false, "terminated" }, { coro:finish() })
            assert.same({ "inner", "middle", "outer" }, log)
        end)
    end)

    it("catches a time-out like any error", function()
        run(function()
            local _, message, code = asyncoro.with_timeout(0.002, function()
                return coroutine.wrap(function() asyncoro.sleep(100) end)()
            end)
            assert.equal("timeout", code)
            assert.is_string(message)
        end)
    end)

    it("cannot wait where somebody cannot be suspended, and says who", function()
        run(function()
            local ok, message = pcall(table.sort, { 3, 2, 1 }, function(a, b)
                for _ in counter(1) do end
                return a < b
            end)
            assert.is_false(ok)
            assert.matches("sleep: cannot wait inside a function called by table.sort", message)
            message = select(2, pcall(string.gsub, "x", "x", function() asyncoro.yield() end))
            assert.matches("function called by string.gsub", message)
        end)
    end)
end)

describe("a coro", function()
    it("cannot yield to nobody", function()
        run(function()
            assert.error_matches(coroutine.yield, "use asyncoro.yield")
        end)
    end)

    it("keeps its thread when Lua has seen it", function()
        run(function()
            local thread
            asyncoro.spawn(function() thread = coroutine.running() end):finish()
            assert.equal("dead", coroutine.status(thread))
            for _ = 1, 10 do
                local coro = asyncoro.spawn(function() return coroutine.running() end)
                assert.not_equal(thread, select(2, coro:finish()))
            end
        end)
    end)

    it("cannot be resumed by hand", function()
        run(function()
            local thread
            local coro = asyncoro.spawn(function() thread = coroutine.running() asyncoro.sleep(0.001) return 1 end)
            asyncoro.yield()
            assert.is_false(coroutine.resume(thread))
            assert.same({ true, 1 }, { coro:finish() })
        end)
    end)
end)
