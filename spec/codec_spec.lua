-- SPDX-License-Identifier: MIT
local core = require "asyncoro.core"
local asyncoro = require "asyncoro"

local function round(value)
    local result, message = core.decode(assert(core.encode(value)))
    assert(message == nil, message)
    return result
end

local function hex(bytes)
    return (bytes:gsub(".", function(c) return ("%02x"):format(c:byte()) end))
end

local function bytes(text)
    return (text:gsub("%x%x", function(h) return string.char(tonumber(h, 16)) end))
end

local function refused(value)
    local ok, message, code = core.encode(value)
    assert.is_nil(ok)
    assert.equal("unsendable", code)
    return message
end

describe("encode", function()
    it("writes the shortest MessagePack", function()
        local cases = {
            [0] = "00", [127] = "7f", [128] = "cc80", [255] = "ccff", [256] = "cd0100", [65535] = "cdffff",
            [65536] = "ce00010000", [4294967296] = "cf0000000100000000", [-1] = "ff", [-32] = "e0", [-33] = "d0df",
            [-128] = "d080", [-129] = "d1ff7f", [-32769] = "d2ffff7fff", [math.mininteger] = "d38000000000000000",
        }
        for value, wanted in pairs(cases) do assert.equal(wanted, hex(core.encode(value))) end
        assert.equal("c0", hex(core.encode(nil)))
        assert.equal("c2", hex(core.encode(false)))
        assert.equal("cb3ff8000000000000", hex(core.encode(1.5)))
        assert.equal("cb4000000000000000", hex(core.encode(2.0)))
        assert.equal("a3616263", hex(core.encode "abc"))
        assert.equal("c401ff", hex(core.encode "\xff"))
        assert.equal("80", hex(core.encode {}))
        assert.equal("93010203", hex(core.encode { 1, 2, 3 }))
        assert.equal("81a16101", hex(core.encode { a = 1 }))
    end)

    it("keeps text and bytes apart", function()
        for _, text in ipairs { "é", "€", "😀", "aaaaaaaaé" } do
            assert.equal(0xa0 + #text, core.encode(text):byte())
        end
        for _, raw in ipairs { "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82", "aaaaaaaa\x80" } do
            assert.equal(0xc4, core.encode(raw):byte())
        end
    end)

    it("says what cannot travel, and where", function()
        assert.equal("message.db[3] is a userdata, which cannot be sent", refused { db = { 1, 2, io.tmpfile() } })
        assert.matches('message%["a b"%] is a thread', refused { ["a b"] = coroutine.create(print) })
        assert.matches("message%[1%]%.x is a table with a metatable", refused { { x = setmetatable({}, {}) } })
        assert.matches("nested too deep", refused((function()
            local t = {}
            for _ = 1, 300 do t = { t } end
            return t
        end)()))
    end)

    it("refuses what is too large", function()
        local _, message, code = core.encode(("x"):rep(70 << 20))
        assert.equal("toolarge", code)
        assert.matches("larger than 67108864 bytes", message)
    end)
end)

describe("decode", function()
    it("gives back what was encoded", function()
        local values = {
            1, -1, 0.5, 2.0, true, false, "", "text", "\0\xff", math.maxinteger, math.mininteger, math.huge, -math.huge,
            {}, { 1, 2, 3 }, { a = { b = { c = {} } } }, { [1] = "a", [3] = "c" }, { "a", n = 1 },
            { [0.5] = 1, [true] = 2 },
        }
        for _, value in ipairs(values) do
            local result = round(value)
            assert.same(value, result)
            assert.equal(math.type(value), math.type(result))
        end
        assert.is_nil(core.decode(core.encode(nil)))
        local nan = round(0 / 0)
        assert.is_true(nan ~= nan)
    end)

    it("keeps large tables and strings", function()
        local list, map = {}, {}
        for i = 1, 70000 do
            list[i] = i
            map["k" .. i] = i
        end
        assert.same(list, round(list))
        assert.same(map, round(map))
        for _, size in ipairs { 31, 32, 255, 256, 65535, 65536 } do
            assert.equal(("x"):rep(size), round(("x"):rep(size)))
            assert.equal(("\xff"):rep(size), round(("\xff"):rep(size)))
        end
    end)

    it("keeps shared and cyclic tables together", function()
        local shared = { 5 }
        local result = round { a = shared, b = shared, c = { shared } }
        assert.equal(result.a, result.b)
        assert.equal(result.a, result.c[1])
        assert.same({ 5 }, result.a)
        local ring = {}
        ring.me, ring.list = ring, { ring }
        result = round(ring)
        assert.equal(result, result.me)
        assert.equal(result, result.list[1])
    end)

    it("keeps tables as keys", function()
        local key = {}
        local result = round { [key] = key }
        local k, v = next(result)
        assert.equal(k, v)
    end)

    it("takes what other writers write", function()
        assert.equal(1.5, core.decode(bytes "ca3fc00000"))
        assert.equal(18446744073709551615.0, core.decode(bytes "cfffffffffffffffff"))
        assert.equal("a", core.decode(bytes "d90161"))
        assert.same({ 1 }, core.decode(bytes "dc000101"))
        assert.same({ a = 1 }, core.decode(bytes "de0001a16101"))
    end)

    it("refuses what is malformed", function()
        local cases = {
            "", "c1", "cc", "cd00", "ce000000", "cf", "ca0000", "a361", "d9", "dc0002", "91", "81a161", "dd7fffffff",
            "df7fffffff", "0000", "c7", "c70105", "d40500", "d5060000", "8101", "81c001", "81cb7ff800000000000001",
            "8201010102", "d464ff", "9192939495", "c70107c0", "c7020793c0", "c70307920000", "c70506a1789300",
            "d40701", "c900000001", "c60fffffff",
        }
        for _, case in ipairs(cases) do
            local value, message, code = core.decode(bytes(case))
            assert.is_nil(value, case)
            assert.equal("protocol", code, case)
            assert.is_string(message)
        end
        assert.equal("protocol", select(3, core.decode(("\x91"):rep(1000))))
    end)

    it("survives every change of one byte", function()
        local good = core.encode { a = { 1, 2, { "x", 0.5, "\xff" } }, b = true, [3] = { { {} } } }
        for at = 1, #good do
            for _, byte in ipairs { 0, 5, 0x80, 0x9f, 0xc1, 0xc7, 0xd5, 0xdd, 0xff } do
                core.decode(good:sub(1, at - 1) .. string.char(byte) .. good:sub(at + 1))
            end
            assert.equal("protocol", select(3, core.decode(good:sub(1, at - 1))))
        end
    end)
end)

describe("class", function()
    local Point = asyncoro.class "codec_spec.Point"
    local Celsius = asyncoro.class("codec_spec.Celsius", {
        __encode = function(self) return self.degrees + 273.15 end,
    })
    function Celsius.__decode(kelvin) return setmetatable({ degrees = kelvin - 273.15 }, Celsius) end

    it("makes instances travel", function()
        local point = round(setmetatable({ x = 1, y = { 2 } }, Point))
        assert.equal(Point, getmetatable(point))
        assert.same({ 2 }, point.y)
        local list = round(setmetatable({ 1, 2 }, Point))
        assert.equal(2, list[2])
    end)

    it("keeps their shape", function()
        local point = setmetatable({}, Point)
        point.me, point.list = point, { point }
        local result = round { point, point }
        assert.equal(result[1], result[2])
        assert.equal(result[1], result[1].me)
        assert.equal(result[1], result[1].list[1])
    end)

    it("uses __encode and __decode", function()
        local warm = setmetatable({ degrees = 21.5 }, Celsius)
        local result = round { warm, warm }
        assert.equal(result[1], result[2])
        assert.is_true(math.abs(result[1].degrees - 21.5) < 1e-9)
        assert.equal(Celsius, getmetatable(result[1]))
    end)

    it("refuses a cycle through __encode", function()
        local Loop = asyncoro.class("codec_spec.Loop", { __encode = function(self) return { self } end })
        assert.matches("cycle", refused(setmetatable({}, Loop)))
    end)

    it("names an unknown class", function()
        local value, message, code = core.decode(bytes "c70506a36f6464" .. "\x80")
        assert.is_nil(value)
        assert.equal("protocol", code)
        assert.matches("class odd is not known", message)
    end)

    it("reports a failing __decode", function()
        asyncoro.class("codec_spec.Bad", { __decode = function() error "no" end })
        local good = core.encode(setmetatable({}, core.class_of "codec_spec.Bad"))
        local _, message = core.decode(good)
        assert.matches("__decode of class codec_spec.Bad: .*no", message)
    end)

    it("inherits", function()
        local Base = asyncoro.class "codec_spec.Base"
        function Base.hello() return "hello" end
        local Child = asyncoro.class("codec_spec.Child", setmetatable({}, Base))
        assert.equal("hello", round(setmetatable({}, Child)).hello())
    end)

    it("refuses wrong arguments", function()
        assert.error_matches(function() asyncoro.class() end, "must be a string")
        assert.error_matches(function() asyncoro.class "" end, "not empty")
        assert.error_matches(function() asyncoro.class("codec_spec.x", 3) end, "must be a table")
        assert.error_matches(function() asyncoro.class "codec_spec.Point" end, "already")
    end)
end)

describe("MessagePack", function()
    it("is read by another decoder", function()
        if not os.execute "python3 -c 'import msgpack' 2>/dev/null" then return print "skipped: python3-msgpack" end
        local path = os.tmpname()
        local file = assert(io.open(path, "wb"))
        file:write(core.encode { numbers = { 1, -70000, 2.5 }, text = "é", raw = "\xff", empty = {} })
        file:close()
        local pipe = io.popen("python3 -c \"import msgpack; d = msgpack.unpackb(open('" .. path .. "', 'rb').read());"
            .. " print(d['numbers'], ascii(d['text']), d['raw'], d['empty'])\"")
        local line = pipe:read "l"
        pipe:close()
        os.remove(path)
        assert.equal("[1, -70000, 2.5] '\\xe9' b'\\xff' {}", line)
    end)
end)
