-- SPDX-License-Identifier: MIT
-- Lua's own coroutine functions inside a program: as the manual says, and with bodies that wait.
local asyncoro = require "asyncoro"
local run = require("spec.helper").run

-- Lua's own, as a module keeps them that was loaded before.
local stock = { resume = coroutine.resume, wrap = coroutine.wrap, yield = coroutine.yield }

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
    ["to-be-closed variables of a failed body"] = function()
        local order = {}
        local function guard(name)
            return setmetatable({}, { __close = function(_, err) order[#order + 1] = name .. tostring(err) end })
        end
        local function body()
            local _ <close> = guard "a"
            local _ <close> = guard "b"
            error("x", 0)
        end
        local co = coroutine.create(body)
        local r = { coroutine.resume(co) }
        r[#r + 1] = #order -- coroutine.resume leaves them open ...
        r[#r + 1] = debug.traceback(co):match "in function 'error'"
        r[#r + 1], r[#r + 2] = coroutine.close(co)
        r[#r + 1], r[#r + 2] = pcall(coroutine.wrap(body)) -- ... and coroutine.wrap does not
        return table.concat(order, " "), table.unpack(r)
    end,
    ["errors in to-be-closed variables"] = function()
        local function body()
            local _ <close> = setmetatable({}, { __close = function(_, err) error("2 after " .. tostring(err), 0) end })
            local _ <close> = setmetatable({}, { __close = function(_, err) error("1 after " .. tostring(err), 0) end })
            coroutine.yield()
            error("body", 0)
        end
        local wrapped = coroutine.wrap(body)
        wrapped()
        local co = coroutine.create(body)
        coroutine.resume(co)
        local ok, err = coroutine.close(co)
        return ok, err, coroutine.status(co), pcall(wrapped)
    end,
    ["many values"] = function()
        local many = {}
        for i = 1, 5000 do many[i] = i end
        local co = coroutine.wrap(function(...)
            local got = select("#", coroutine.yield(...))
            return got, ...
        end)
        local first = select("#", co(table.unpack(many)))
        return first, select("#", co(table.unpack(many, 1, 4000)))
    end,
    ["dead ones"] = function()
        local co = coroutine.create(function() end)
        coroutine.resume(co)
        local wrapped = coroutine.wrap(function() end)
        wrapped()
        return coroutine.status(co), coroutine.close(co), coroutine.close(co), select(2, coroutine.resume(co)),
            select(2, pcall(wrapped)), coroutine.close(coroutine.create(print))
    end,
    ["a wrapped function that calls itself"] = function()
        local co
        co = coroutine.wrap(function() return pcall(co) end)
        return co()
    end,
    ["levels and names of errors"] = function()
        local co = coroutine.wrap(function() error("level 2", 2) end)
        return select(2, pcall(co)), select(2, pcall(coroutine.wrap(function() local x = nil; return x.y end)))
    end,
    ["arithmetic on the arguments of yield and resume"] = function()
        local sum = 0
        local co = coroutine.wrap(function(a)
            while a do
                sum = sum + a
                a = coroutine.yield(sum)
            end
            return "end", nil
        end)
        return co(1), co(2.5), co(-3), select("#", co()), sum
    end,
    ["yields in every place where Lua can"] = function()
        local y = coroutine.yield
        local object = setmetatable({}, { __index = function(_, k) return y("index " .. k) end,
            __add = function() return y "add" end, __close = function() y "close" end,
            __call = function(_, x) return y("call " .. x) end, __lt = function() return y "lt" end })
        local co = coroutine.wrap(function()
            do local _ <close> = object end
            local sum = object.x + 1
            local less = object < object
            for i in function() return y "for" end do sum = sum + i end
            return select(2, pcall(object, "arg")), select(2, xpcall(object, print, "arg")), sum, less
        end)
        local list = { co() } -- the place where it yields, and the value to go on with
        for _, step in ipairs { { "close" }, { "index x", 1 }, { "lt", true }, { "for", 10 }, { "for", 100 },
            { "for", nil }, { "call arg", "a" } } do
            assert(list[#list] == step[1], list[#list])
            list[#list + 1] = co(step[2])
        end
        return table.concat(list, ","), co "b"
    end,
    ["yield outside"] = function()
        local co = coroutine.wrap(function()
            return pcall(table.sort, { 2, 1 }, function() coroutine.yield() end)
        end)
        return co()
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
            local theirs = table.pack(snippet())
            local ours = run(function() return table.pack(snippet()) end)
            assert.same(theirs, ours)
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

    it("a require of the user's own stays in force, and comes back", function()
        local original = require
        local function mine(name) return original(name) end
        _G.require = mine -- luacheck: ignore 122
        local inside = asyncoro.run(function() return require end)
        local after = require
        _G.require = original -- luacheck: ignore 122
        assert.equal(mine, inside)
        assert.equal(mine, after)
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

    it("knows a held one from one that only yielded", function()
        run(function()
            local gen = coroutine.create(function()
                coroutine.yield(1)
                asyncoro.suspend()
                coroutine.yield(2)
            end)
            coroutine.resume(gen)
            assert.equal("suspended", coroutine.status(gen))
            local coro = asyncoro.spawn(coroutine.resume, gen)
            asyncoro.yield()
            assert.equal("normal", coroutine.status(gen))
            coro:resume()
            assert.same({ true, true, 2 }, { coro:finish() })
            assert.equal("suspended", coroutine.status(gen))
            assert.is_true(coroutine.close(gen))
        end)
    end)

    it("may wait at any depth", function()
        run(function()
            local function deep(n)
                if n == 0 then
                    asyncoro.sleep(0.0001)
                    return "bottom"
                end
                return coroutine.wrap(function()
                    coroutine.yield(deep(n - 1))
                end)()
            end
            assert.equal("bottom", deep(50))
            local coro = asyncoro.spawn(deep, 150)
            local ok, message = coro:finish()
            assert.is_false(ok)
            assert.matches("C stack overflow", message)
        end)
    end)

    it("mixes waits and yields of many coros without mixing up their values", function()
        run(function()
            local function source(base, n)
                return coroutine.wrap(function()
                    for i = 1, n do
                        if i % 2 == 0 then asyncoro.yield() end
                        if i % 5 == 0 then asyncoro.sleep(0.0001) end
                        coroutine.yield(base + i)
                    end
                end)
            end
            local function doubled(from)
                return coroutine.wrap(function()
                    for v in from do
                        asyncoro.yield()
                        coroutine.yield(v * 2)
                    end
                end)
            end
            local coros = {}
            for i = 1, 20 do
                coros[i] = asyncoro.spawn(function()
                    local sum = 0
                    for v in doubled(source(i * 1000, 20)) do sum = sum + v end
                    return sum
                end)
            end
            for i = 1, 20 do assert.same({ true, 2 * (20 * i * 1000 + 210) }, { coros[i]:finish() }) end
        end)
    end)

    it("catches errors that a wait raises, like any other", function()
        run(function()
            local gen = coroutine.wrap(function()
                local ok, err = pcall(asyncoro.suspend)
                coroutine.yield(ok, err)
                asyncoro.suspend()
            end)
            local coro = asyncoro.spawn(function()
                local ok, err = gen()
                return ok, err, select(2, pcall(gen))
            end)
            asyncoro.yield()
            coro:throw { "first" }
            asyncoro.yield()
            coro:throw { "second" }
            assert.same({ true, false, { "first" }, { "second" } }, { coro:finish() })
        end)
    end)

    it("that is dropped while it waits goes with its coro", function()
        run(function()
            local weak = setmetatable({}, { __mode = "k" })
            local coro = asyncoro.spawn(function()
                local co = coroutine.create(function() asyncoro.suspend() end)
                weak[co] = true
                coroutine.resume(co)
            end)
            asyncoro.yield()
            collectgarbage()
            assert.is_truthy(next(weak))
            coro:terminate()
            coro:finish()
            collectgarbage()
            collectgarbage()
            assert.is_nil(next(weak))
        end)
    end)

    it("that Lua's own functions run says what to do", function()
        for _, options in ipairs { {}, { patch = false } } do
            asyncoro.run(options, function()
                local resume, wrap = stock.resume, stock.wrap
                local ok, message = resume(coroutine.create(function() asyncoro.sleep(0.001) end))
                assert.is_false(ok)
                assert.matches("sleep: cannot wait inside a coroutine that was not resumed by the functions that " ..
                    "the table coroutine has inside run", message)
                local me = asyncoro.current()
                ok, message = pcall(wrap(function()
                    assert.is_true(me:send "not a wait")
                    return coroutine.wrap(function() asyncoro.receive() end)()
                end))
                assert.is_false(ok)
                assert.matches("receive: cannot wait inside a coroutine", message)
                assert.equal("not a wait", asyncoro.receive(1))
                -- those that only yield work
                local list = {}
                for v in wrap(function() stock.yield(1) coroutine.yield(2) end) do list[#list + 1] = v end
                assert.same({ 1, 2 }, list)
                asyncoro.sleep(0.0001)
            end)
        end
    end)

    it("that yields with Lua's own function works", function()
        run(function()
            local list = {}
            for v in coroutine.wrap(function()
                asyncoro.yield()
                stock.yield(1)
                asyncoro.yield()
                stock.yield(2)
            end) do list[#list + 1] = v end
            assert.same({ 1, 2 }, list)
        end)
    end)

    it("is reached by a time limit, also while it is being closed", function()
        run(function()
            local function spin() while true do end end
            assert.equal("timeout", select(3, asyncoro.with_timeout(0.005, function()
                local co = coroutine.create(function()
                    local _ <close> = setmetatable({}, { __close = spin })
                    coroutine.yield()
                end)
                coroutine.resume(co)
                local _, err = coroutine.close(co)
                error(err, 0)
            end)))
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
