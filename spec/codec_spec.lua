-- SPDX-License-Identifier: MIT
-- Values as MessagePack: what is written, what comes back, and what is refused. Classes: class_spec.lua; functions:
-- source_spec.lua; handles: remote_spec.lua.
local core = require "asyncoro.core"
local asyncoro = require "asyncoro"
local helper = require "spec.helper"
local wire = require "spec.wire"

local round = wire.travel

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
        assert.matches("message is a thread", refused(coroutine.create(print)))
        assert.matches("^message%[a table%] is a userdata", refused { [{}] = io.tmpfile() })
        assert.matches("^message%[a thread%] is a thread", refused { [coroutine.create(print)] = 1 })
    end)

    it("writes the place as Lua would", function()
        local cases = {
            ["message.a_1"] = "a_1", ['message["end"]'] = "end", ['message["1a"]'] = "1a", ['message[""]'] = "",
            ['message["a\\"\\\\\\010"]'] = 'a"\\\n', ['message["é"]'] = "é", ['message["\\255"]'] = "\xff",
            ["message[-3]"] = -3, ["message[0.5]"] = 0.5, ["message[true]"] = true,
            ['message["' .. ("x"):rep(40) .. '..."]'] = ("x"):rep(1000),
            ['message["' .. ("x"):rep(39) .. '..."]'] = ("x"):rep(39) .. ("é"):rep(10),
        }
        for wanted, key in pairs(cases) do
            assert.equal(wanted .. " is a userdata, which cannot be sent", refused { [key] = io.tmpfile() })
        end
        local deep = io.tmpfile()
        for i = 1, 50 do deep = { [i] = deep, x = 1 } end
        assert.equal("message[50][49][48][47][46][45][44][43] ... [8][7][6][5][4][3][2][1]"
            .. " is a userdata, which cannot be sent", refused(deep))
    end)

    it("asks no metamethod of what it refuses", function()
        local Loud = asyncoro.class("codec_spec.Loud", { __tostring = function() error "asked" end })
        assert.matches("^message%[a table%] is a userdata", refused { [setmetatable({}, Loud)] = io.tmpfile() })
    end)

    it("refuses what is nested too deep, as decode does", function()
        local function nest(n)
            local t = {}
            for _ = 2, n do t = { t } end
            return t
        end
        assert.is_table(round(nest(200)))
        assert.same({ nil, "the message is nested more than 200 deep", "toolarge" }, { core.encode(nest(201)) })
        assert.is_table(core.decode(("\x91"):rep(199) .. "\x80"))
        assert.equal("toolarge", select(3, core.decode(("\x91"):rep(200) .. "\x80")))
    end)

    it("nests functions as deep as decode takes them", function()
        local function chain(n)
            local function f() return 0 end
            for _ = 2, n do
                local inner = f
                f = function() return inner() + 1 end
            end
            return f
        end
        local most
        for n = 1, 200 do
            local text = core.encode(chain(n))
            if text == nil then break end
            most = n
            assert.equal(n - 1, assert(core.decode(text))())
        end
        assert.is_true(most >= 50 and most < 200)
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
        assert.equal("protocol", select(3, core.decode(("\x91"):rep(100))))
    end)

    it("refuses equal keys, however they are written", function()
        for _, case in ipairs { "820100cb3ff000000000000000", "8200a0cb800000000000000000", "82a16100c4016100" } do
            assert.matches("a key comes twice", select(2, core.decode(bytes(case))))
        end
        assert.matches("nil or NaN", select(2, core.decode(bytes "81cb7ff800000000000001")))
    end)

    it("takes memory for no more than the bytes can hold", function()
        -- Each array claims the rest of the message, and so does the next, its first value.
        local parts = {}
        for i = 1, 199 do parts[i] = string.pack(">I1I4", 0xdd, 1000000) end
        local hostile = table.concat(parts) .. ("\xc0"):rep(1000000)
        collectgarbage()
        collectgarbage "stop"
        local before = collectgarbage "count"
        local value, message, code = core.decode(hostile)
        local taken = collectgarbage "count" - before
        collectgarbage "restart"
        assert.is_nil(value)
        assert.matches("ends in the middle of a table", message)
        assert.equal("protocol", code)
        assert.is_true(taken < 20000, taken .. " KB")
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

describe("the format", function()
    local shared, ring = { "shared" }, {}
    ring.me, ring.list = ring, { ring, shared, shared, n = 0.5 }

    it("is what docs/values.md says: another reader finds the same shape", function()
        local value = wire.read(core.encode { ring, shared, "\xff", [5] = { ring, {} } })
        local read = value[1]
        assert.equal(read, read.me)
        assert.equal(read, read.list[1])
        assert.equal(read.list[2], read.list[3])
        assert.equal(read.list[2], value[2])
        assert.same({ "shared" }, value[2])
        assert.equal("\xff", value[3])
        assert.equal(read, value[5][1])
        assert.same({}, value[5][2])
    end)

    it("counts instances as it says", function()
        local Pair = asyncoro.class "codec_spec.Pair"
        local Boxed = asyncoro.class("codec_spec.Boxed", { __encode = function(self) return { self.inner, shared } end })
        local pair = setmetatable({}, Pair)
        pair.me, pair.boxed = pair, setmetatable({ inner = shared }, Boxed)
        local value = wire.read(core.encode { pair, pair.boxed, shared, { shared } })
        assert.equal("codec_spec.Pair", value[1].class)
        assert.equal(value[1], value[1].value.me)
        assert.equal(value[2], value[1].value.boxed)
        assert.equal("codec_spec.Boxed", value[2].class)
        assert.equal(value[3], value[2].value[1])
        assert.equal(value[3], value[2].value[2])
        assert.equal(value[3], value[4][1])
        assert.same({ "shared" }, value[3])
    end)

    it("counts code as it says", function()
        local list = { 1 }
        local function f() return list end
        local Class = asyncoro.class "codec_spec.Class"
        Class.list, Class.again = list, Class
        local value = wire.read(core.encode { f, list, f, math.floor, list, Class, Class, list })
        assert.equal(value[1], value[3])
        assert.equal(value[2], value[5])
        assert.equal("f", value[1].value[1].name)
        assert.equal(value[2], value[1].value[2][1][1])
        assert.equal("math:floor", value[4].value)
        assert.equal(value[6], value[7])
        assert.equal("codec_spec.Class", value[6].value[1])
        assert.equal(value[2], value[6].value[2].list)
        assert.equal(value[6], value[6].value[2].again)
        assert.equal(value[2], value[8])
    end)

    it("has the bytes of the examples", function()
        local t, u = { 5 }, {}
        u[1] = u
        local either = hex(core.encode { a = t, b = t })
        if either:find "^82a162" then either = either:gsub("a162(.*)a161", "a161%1a162") end
        assert.equal("82a1619105a162d60500000001", either)
        assert.equal("91d60500000000", hex(core.encode(u)))
    end)

    local python
    for _, path in ipairs { "/usr/bin/python3", "python3" } do -- the system's first: it has the system's packages
        python = python or os.execute(path .. " -c 'import msgpack' 2>/dev/null") and path
    end
    helper.needing(python, "python3-msgpack is not installed", it)("is read by Python's decoder", function()
        local path = os.tmpname()
        finally(function() os.remove(path) end)
        local file = assert(io.open(path, "wb"))
        file:write(core.encode {
            numbers = { 1, -70000, 2.5 }, text = "é", raw = "\xff", empty = {}, list = { shared, shared },
        })
        file:close()
        local pipe = io.popen(python .. " -c \"import msgpack; d = msgpack.unpackb(open('" .. path .. "', 'rb').read());"
            .. " print(d['numbers'], ascii(d['text']), d['raw'], d['empty'], d['list'])\"")
        local line = pipe:read "l"
        pipe:close()
        assert.matches("^%[1, %-70000, 2.5%] '\\xe9' b'\\xff' {} %[%['shared'%], ExtType%(code=5, data=b'", line)
    end)
end)
