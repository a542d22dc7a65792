-- SPDX-License-Identifier: MIT
-- Classes: their instances travel by name, and they themselves with their methods.
local asyncoro = require "asyncoro"
local core = require "asyncoro.core"
local run = require("spec.helper").run
local wire = require "spec.wire"

local round = wire.travel

local function refused(value)
    local ok, message, code = core.encode(value)
    assert.is_nil(ok)
    return message, code
end

-- The bytes of a value whose class has the name `from`, as if it came from where the class has another name.
local function renamed(value, from, to)
    assert(#from == #to)
    local bytes, count = assert(core.encode(value)):gsub(from, to)
    assert(count > 0)
    return bytes
end

describe("class", function()
    it("makes a table that is its own __index", function()
        local Made = asyncoro.class "class_spec.Made"
        assert.equal(Made, Made.__index)
        assert.equal("class_spec.Made", Made.__name)
        assert.matches("^class_spec.Made: ", tostring(setmetatable({}, Made)))
    end)

    it("uses the table it is given", function()
        local function index() return 7 end
        local given = { __index = index, __name = "mine" }
        assert.equal(given, asyncoro.class("class_spec.Given", given))
        assert.equal(index, given.__index)
        assert.equal("mine", given.__name)
        assert.equal(7, round(setmetatable({}, given)).anything)
    end)

    it("refuses wrong arguments", function()
        assert.error_matches(function() asyncoro.class() end, "must be a string")
        assert.error_matches(function() asyncoro.class(1) end, "must be a string")
        assert.error_matches(function() asyncoro.class "" end, "not empty")
        assert.error_matches(function() asyncoro.class("class_spec.x", 3) end, "must be a table, not a number")
    end)

    it("has each name once, and each table", function()
        local One = asyncoro.class "class_spec.One"
        assert.equal(One, asyncoro.class("class_spec.One", One))
        local _, message = pcall(function() asyncoro.class "class_spec.One" end)
        assert.matches("class_spec%.lua:%d+: class: there is a class 'class_spec.One' already$", message)
        assert.error_matches(function() asyncoro.class("class_spec.One", {}) end, "already")
        assert.error_matches(function() asyncoro.class("class_spec.Two", One) end,
            "this table is the class 'class_spec.One' already")
        assert.is_nil(core.class_of "class_spec.Two")
    end)
end)

describe("instances", function()
    local Point = asyncoro.class "class_spec.Point"
    function Point:sum() return self.x + self.y end

    it("travel with their fields", function()
        local point = round(setmetatable({ x = 1, y = 2 }, Point))
        assert.equal(Point, getmetatable(point))
        assert.equal(3, point:sum())
        local list = round(setmetatable({ 1, 2 }, Point))
        assert.equal(2, list[2])
        assert.equal(Point, getmetatable(list))
        assert.equal(Point, getmetatable(round(setmetatable({}, Point))))
    end)

    it("keep their shape", function()
        local point = setmetatable({}, Point)
        point.me, point.list = point, { point }
        local result = round { point, point, [point] = point }
        assert.equal(result[1], result[2])
        assert.equal(result[1], result[1].me)
        assert.equal(result[1], result[1].list[1])
        assert.equal(result[1], result[result[1]])
        result = round(point)
        assert.equal(result, result.me)
    end)

    it("nest as deep as tables", function()
        local function chain(n)
            local point = setmetatable({}, Point)
            for _ = 2, n do point = setmetatable({ next = point }, Point) end
            return point
        end
        assert.equal(Point, getmetatable(round(chain(200)).next.next))
        local message, code = refused(chain(201))
        assert.same({ "the message is nested more than 200 deep", "toolarge" }, { message, code })
    end)

    it("may have any name", function()
        local Odd = asyncoro.class "class_spec.\xff\0"
        assert.equal(Odd, getmetatable(round(setmetatable({}, Odd))))
    end)

    it("of an unknown class are refused by its name", function()
        local value, message, code = core.decode(renamed(setmetatable({}, Point), "Point", "Paint"))
        assert.is_nil(value)
        assert.equal("protocol", code)
        assert.matches("the class class_spec.Paint is not known here", message)
    end)

    it("inherit", function()
        local Base = asyncoro.class "class_spec.Base"
        function Base.hello() return "hello" end
        local Child = asyncoro.class("class_spec.Child", setmetatable({}, Base))
        local Grand = asyncoro.class("class_spec.Grand", setmetatable({}, { __index = Child }))
        for _, class in ipairs { Child, Grand } do
            local result = round(setmetatable({ x = 1 }, class))
            assert.equal(class, getmetatable(result))
            assert.equal("hello", result.hello())
            assert.equal(1, rawget(result, "x"))
        end
    end)

    it("may not travel when their metatable is no class", function()
        assert.equal("message.p is a table with a metatable that asyncoro.class did not make, which cannot be sent",
            refused { p = setmetatable({}, { __index = Point }) })
        assert.matches("metatable", refused(setmetatable({}, { __mode = "k" })))
        assert.matches("metatable", refused(setmetatable({}, { __metatable = Point })))
    end)
end)

describe("hooks of a class", function()
    local Celsius = asyncoro.class("class_spec.Celsius", {
        __encode = function(self) return self.degrees + 273.15 end,
    })
    function Celsius.__decode(kelvin)
        if kelvin < 0 then return nil, "colder than anything" end
        return setmetatable({ degrees = kelvin - 273.15 }, Celsius)
    end

    it("say what travels", function()
        local warm = setmetatable({ degrees = 21.5 }, Celsius)
        local result = round { warm, warm, { warm } }
        assert.equal(result[1], result[2])
        assert.equal(result[1], result[3][1])
        assert.is_true(math.abs(result[1].degrees - 21.5) < 1e-9)
        assert.equal(Celsius, getmetatable(result[1]))
    end)

    it("may give tables, shared with the rest", function()
        local Pair = asyncoro.class("class_spec.Pair", {
            __encode = function(self) return { self.a, self.a } end,
            __decode = function(list) return list end,
        })
        local shared = {}
        local result = round { setmetatable({ a = shared }, Pair), shared }
        assert.equal(result[1][1], result[1][2])
        assert.equal(result[2], result[1][1])
    end)

    it("are the class's own: a child's fields travel", function()
        local Child = asyncoro.class("class_spec.Kelvin", setmetatable({}, Celsius))
        local result = round(setmetatable({ degrees = 1 }, Child))
        assert.equal(Child, getmetatable(result))
        assert.equal(1, result.degrees)
    end)

    it("refuse a value", function()
        local _, message, code = core.decode(core.encode(setmetatable({ degrees = -300 }, Celsius)))
        assert.equal("__decode of class class_spec.Celsius: colder than anything", message)
        assert.equal("protocol", code)
        asyncoro.class("class_spec.Nothing", { __decode = function() end })
        _, message = core.decode(core.encode(setmetatable({}, core.class_of "class_spec.Nothing")))
        assert.equal("__decode of class class_spec.Nothing: it gave nil", message)
    end)

    it("that fail are named", function()
        local Bad = asyncoro.class("class_spec.Bad", { __decode = function() error "no" end })
        local _, message, code = core.decode(core.encode(setmetatable({}, Bad)))
        assert.matches("^__decode of class class_spec.Bad: .*no$", message)
        assert.equal("protocol", code)
        local Worse = asyncoro.class("class_spec.Worse", { __decode = function() error {} end })
        _, message = core.decode(core.encode(setmetatable({}, Worse)))
        assert.equal("__decode of class class_spec.Worse: a table", message)
    end)

    it("raise through encode, which can be used again", function()
        local Raise = asyncoro.class("class_spec.Raise", { __encode = function() error("stop", 0) end })
        assert.error_matches(function() core.encode { ("x"):rep(10000), setmetatable({}, Raise) } end, "^stop$")
        local NoHook = asyncoro.class("class_spec.NoHook", { __encode = true })
        assert.error_matches(function() core.encode(setmetatable({}, NoHook)) end, "__encode of a class is no function")
        assert.same({ 1 }, round { 1 })
    end)

    it("that change a table while it is written never make malformed bytes", function()
        local all, change = {}, nil
        local Sly = asyncoro.class("class_spec.Sly", { __encode = function() change() end })
        for i = 1, 4 do all[-i] = setmetatable({}, Sly) end
        function change() -- Lua does not say what is met then
            for i = 1, 100 do all["k" .. i] = true end
        end
        local ok, bytes = pcall(core.encode, all)
        if ok then wire.read(bytes) end
        function change()
            for key in pairs(all) do all[key] = nil end
        end
        assert.error_matches(function() core.encode(all) end, "changed while it was encoded")
    end)

    it("cannot be part of a cycle", function()
        local Loop = asyncoro.class("class_spec.Loop", { __encode = function(self) return { self } end })
        local message, code = refused(setmetatable({}, Loop))
        assert.matches("^message%[1%] is part of a cycle", message)
        assert.equal("unsendable", code)
    end)

    it("nest no deeper than tables", function()
        local Onion = asyncoro.class("class_spec.Onion", { __encode = function(self) return self.inner end })
        function Onion.__decode(value) return { value } end
        local function onion(n)
            local value
            for _ = 1, n do value = setmetatable({ inner = value }, Onion) end
            return value
        end
        assert.is_table(round(onion(200)))
        assert.matches("nested more than 200 deep", refused(onion(201)))
    end)
end)

describe("classes as values", function()
    it("are the class of that name where there is one", function()
        local Here = asyncoro.class "class_spec.Here"
        assert.equal(Here, round { Here }[1])
        local function make() return setmetatable({}, Here) end
        assert.equal(Here, getmetatable(round(make)()))
    end)

    it("are made with their methods where there is none", function()
        local Account = asyncoro.class "class_spec.Account1"
        function Account.new(n) return setmetatable({ n = n }, Account) end
        function Account:add(n) return Account.new(self.n + n) end
        local there = core.decode(renamed({ Account, Account.new(5) }, "Account1", "Account2"))
        assert.are_not.equal(Account, there[1])
        assert.equal(there[1], getmetatable(there[2]))
        assert.equal(there[1], core.class_of "class_spec.Account2")
        assert.equal("class_spec.Account2", there[1].__name)
        assert.equal(there[1], there[1].__index)
        local sum = there[2]:add(3)
        assert.equal(8, sum.n)
        assert.equal(there[1], getmetatable(sum))
        assert.equal(there[1], core.decode(renamed(Account, "Account1", "Account2")))
    end)

    it("bring what they inherit, and their constructor", function()
        local Base = asyncoro.class "class_spec.Base1"
        function Base.hello() return "hello" end
        local Child = asyncoro.class("class_spec.Kid1", setmetatable({}, {
            __index = Base, __call = function(class, x) return setmetatable({ x = x }, class) end,
        }))
        local Grand = asyncoro.class("class_spec.Toy1", setmetatable({}, Child))
        local list = assert(core.decode((assert(core.encode { Grand, Child }):gsub("(class_spec%.%a+)1", "%12"))))
        local GrandThere, ChildThere = list[1], list[2]
        assert.equal(ChildThere, getmetatable(GrandThere))
        assert.equal("hello", setmetatable({}, GrandThere).hello())
        local made = ChildThere(4)
        assert.equal(4, made.x)
        assert.equal("hello", made.hello())
        assert.are_not.equal(Base, core.class_of "class_spec.Base2")
    end)

    it("are forgotten with a message that fails", function()
        local Half = asyncoro.class "class_spec.Half1"
        function Half.method() return Half end
        local bytes = renamed({ Half, Half.method }, "Half1", "Half2")
        for cut = 1, #bytes - 1 do assert.is_nil((core.decode(bytes:sub(1, cut)))) end
        assert.is_nil((core.decode(bytes .. "\xc0")))
        assert.is_nil((core.decode("\x92" .. bytes .. "\xc1")))
        assert.is_nil(core.class_of "class_spec.Half2")
        assert.equal(core.decode(bytes)[1], core.class_of "class_spec.Half2")
    end)

    it("that hold what cannot travel are refused", function()
        local Holder = asyncoro.class "class_spec.Holder"
        Holder.file = io.tmpfile()
        assert.equal("message.c.file is a userdata, which cannot be sent", refused { c = Holder })
        local function make() return Holder end
        assert.equal("make: upvalue `Holder`.file is a userdata, which cannot be sent", refused(make))
    end)

    it("reach other engines", function()
        local Point = asyncoro.class "class_spec.Far"
        function Point:length() return math.sqrt(self.x * self.x + self.y * self.y) end
        run(function()
            local far = asyncoro.isolate(function(point) return point:length(), getmetatable(point) == Point, point end,
                setmetatable({ x = 3, y = 4 }, Point))
            local ok, length, same, back = far:finish()
            assert.is_true(ok)
            assert.equal(5.0, length)
            assert.is_true(same)
            assert.equal(Point, getmetatable(back))
        end)
    end)
end)
