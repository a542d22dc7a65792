-- SPDX-License-Identifier: MIT
-- How functions travel: as their source, with their upvalues.
local asyncoro = require "asyncoro"
local core = require "asyncoro.core"
local source = require "asyncoro.source"
local run = require("spec.helper").run
local wire = require "spec.wire"

local travel = wire.travel

local function refused(value)
    local ok, message, code = core.encode(value)
    assert.is_nil(ok)
    assert.equal("unsendable", code)
    return message
end

-- Load text from a file of its own.
local function from_file(text, change)
    local path = os.tmpname()
    local file = assert(io.open(path, "wb"))
    file:write(text)
    file:close()
    local results = table.pack(assert(loadfile(path))())
    if change then change(path) end
    finally(function() os.remove(path) end)
    return table.unpack(results, 1, results.n)
end

describe("functions", function()
    it("travel alone", function()
        assert.equal(42, travel(function(a, b) return a * b end)(6, 7))
        assert.same({ 1, 2, 3 }, travel(function(...) return { ... } end)(1, 2, 3))
    end)

    it("keep plain upvalues by value", function()
        local list, n, text, no = { 1, { 2 } }, 3, "x", nil
        local fn = travel(function() return list[2][1] + n, text, no end)
        list[2][1] = 100
        assert.same({ 5, "x" }, { fn() })
    end)

    it("find each of several on a line", function()
        local a, b, c = function() return 1 end, function() return 2 end, function(x) return x end
        assert.equal(1, travel(a)())
        assert.equal(2, travel(b)())
        assert.equal(3, travel(c)(3))
    end)

    it("recurse", function()
        local function fact(n) return n <= 1 and 1 or n * fact(n - 1) end
        assert.equal(120, travel(fact)(5))
        local even
        local function odd(n) return n ~= 0 and even(n - 1) end
        even = function(n) return n == 0 or odd(n - 1) end
        assert.is_true(travel(even)(10))
    end)

    it("share upvalues within one shipment", function()
        local count = 0
        local both = travel { function() count = count + 1 return count end, function() return count end }
        both[1]()
        both[1]()
        assert.equal(2, both[2]())
        assert.equal(0, count)
    end)

    it("share tables with the message", function()
        local t = {}
        local result = travel { t, function() return t end }
        assert.equal(result[1], result[2]())
    end)

    it("take cycles through upvalues", function()
        local t = {}
        t.get = function() return t end
        local result = travel(t.get)
        assert.equal(result(), result().get())
    end)

    it("are methods too", function()
        local T = {}
        function T:double(n) return self.x + n * 2 end
        function T:none() return self end
        assert.equal(7, travel(T.double)({ x = 1 }, 3))
        assert.equal(4, travel(T.none)(4))
    end)

    it("take constants with them that the compiler has folded", function()
        local N <const> = 5
        local M <const>, K <const> = N * 60 + 1, "k"
        local yes <const> = true
        assert.same({ 301, "k", true, 5 }, { travel(function() return M, K, yes, N end)() })
    end)

    it("may look like anything", function()
        local outer = 1
        local fn = travel(function(a)
            -- end function end
            local s = "end" .. [[ function ]] .. 'end'
            local n = 0x10 + 1e1 + .5
            for i = 1, 3 do
                if i == 2 then goto continue end
                repeat n = n + 1 until n > 0
                while n < 0 do n = n + 1 end
                ::continue::
            end
            local inner <const> = function() return outer end
            local _ <close> = nil
            return s, n, inner(), a and "\u{20AC}"
        end)
        assert.same({ "end function end", 28.5, 1, "€" }, { fn(true) })
    end)

    it("come from files with shebangs, marks and other line ends", function()
        assert.equal(3, travel(from_file "#!/usr/bin/lua\nreturn function() return 3 end")())
        assert.equal(4, travel(from_file "\xEF\xBB\xBFreturn function() return 4 end")())
        assert.equal(5, travel(from_file "local a = 5\r\n\r\nreturn function()\r\n return a\r\nend")())
    end)

    it("come from load, and from kept text", function()
        assert.equal(8, travel(load "local a = 4 return function() return a * 2 end" ())())
        assert.equal(9, travel(load "return 9")())
        local text = "return function() return 10 end"
        source.keep("=kept_spec", text)
        assert.equal(10, travel(load(text, "=kept_spec")())())
    end)

    it("come from load with a name, inside a program", function()
        run(function()
            local function answer(...) return travel(assert(load(...))()) end
            assert.equal(11, answer("return function() return 11 end", "=named")())
            assert.equal(12, answer("return function() return 12 end", "@no/such/file.lua", "t", _G)())
            local pieces <const> = { "return function() ", "return 13 ", "end" }
            assert.equal(13, answer(function() return table.remove(pieces, 1) end, "=pieces")())
            for i = 1, 2000 do load("return " .. i, "=many" .. i) end
            assert.equal(2000, travel(load("return 2000", "=many2000"))())
            assert.is_nil((load("return", "=many", "b")))
            local env <const> = {}
            load("x = 1", "=env", "t", env)()
            assert.equal(1, env.x)
        end)
        assert.matches("source of %S+ is not known", refused(load("return 1", "=outside")))
    end)

    it("are known by name when they are a module's", function()
        assert.equal(string.format, travel(string.format))
        assert.equal(asyncoro.sleep, travel(asyncoro.sleep))
        local sleep, module, out = asyncoro.sleep, asyncoro, io.stdout
        local results = { travel(function() return sleep, module, out, string.rep end)() }
        assert.same({ asyncoro.sleep, asyncoro, io.stdout, string.rep }, results)
    end)

    it("bring their classes", function()
        local Account = asyncoro.class "source_spec.Account"
        function Account.new(n) return setmetatable({ n = n }, Account) end
        function Account:get() return self.n end
        local account = travel(function(n) return Account.new(n) end)(7)
        assert.equal(Account, getmetatable(account))
        assert.equal(7, account:get())
    end)

    it("see the receiver's globals", function()
        local fn = travel(function() return source_spec_global end) -- luacheck: ignore
        _G.source_spec_global = "here"
        assert.equal("here", fn())
        _G.source_spec_global = nil
    end)

    it("travel on from where they arrived", function()
        local n = 5
        assert.equal(5, travel(travel(function() return n end))())
    end)

    it("keep their lines for error messages", function()
        local line = debug.getinfo(1, "l").currentline + 1
        local fn = travel(function() error "here" end)
        assert.matches("source_spec.lua:" .. line .. ": here", select(2, pcall(fn)))
    end)
end)

describe("a function that cannot travel", function()
    it("is refused with the path to what stands in the way", function()
        local db = setmetatable({}, {})
        local function compute() return db end
        assert.equal("compute: upvalue `db` is a table with a metatable that asyncoro.class did not make, "
            .. "which cannot be sent", refused(compute))
        local thread = coroutine.create(print)
        local config = { list = { thread } }
        local function outer() return config end
        assert.matches("^outer: upvalue `config`.list%[1%] is a thread", refused { outer })
    end)

    it("has no source", function()
        assert.matches("binary chunk", refused(load(string.dump(function() return 1 end, true))))
        assert.matches("source of %S+ is not known", refused(load("return 1", "=gone")))
        assert.matches("C function", refused(coroutine.wrap(print)))
    end)

    it("has a file that has changed", function()
        local fn = from_file("return function() return 1 end", function(path)
            local file = assert(io.open(path, "wb"))
            file:write "return function() return 2 end"
            file:close()
        end)
        assert.matches("is not what was loaded: has the file changed", refused(fn))
    end)
end)

describe("source.name", function()
    it("finds declared names", function()
        local function one() end
        local two = function() end
        local T = { three = function() end }
        function T.four() end
        function T:five() return self end
        local six <const> = function() end
        assert.equal("one", source.name(one))
        assert.equal("two", source.name(two))
        assert.equal("three", source.name(T.three))
        assert.equal("T.four", source.name(T.four))
        assert.equal("T:five", source.name(T.five))
        assert.equal("six", source.name(six))
        assert.is_nil(source.name(print))
        assert.is_nil(source.name((function() end)))
    end)
end)
