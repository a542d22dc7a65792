-- SPDX-License-Identifier: MIT
-- Another reader of the bytes in which values travel, written from docs/values.md alone. It trusts them. Instances and
-- code become { ext = type, class = name, value = ... }.
local core <const> = require "asyncoro.core"

local wire <const> = {}

local reader <const> = {}
reader.__index = reader

function reader:take(format)
    local value
    value, self.at = string.unpack(format, self.bytes, self.at)
    return value
end

-- The number of what begins here is the next one.
function reader:number(value)
    self.values[self.count] = value
    self.count = self.count + 1
    return value
end

function reader:array(size)
    local list <const> = self:number {}
    for i = 1, size do list[i] = self:value() end
    return list
end

function reader:map(size)
    local map <const> = self:number {}
    for _ = 1, size do
        local key <const> = self:value()
        map[key] = self:value()
    end
    return map
end

function reader:ext(size)
    local kind <const>, last <const> = self:take "b", self.at + size
    if kind == 5 then
        local number = 0
        for _ = 1, size do number = number << 8 | self:take "B" end
        return assert(self.values[number], "a reference to nothing")
    end
    assert(kind == 6 or kind == 7, "another type")
    local value <const> = self:number { ext = kind }
    if kind == 6 then value.class = self:value() end
    value.value = self:value()
    assert(self.at == last, "another size")
    return value
end

local function sized(format, read)
    return function(self) return self[read](self, self:take(format)) end
end

local function plain(format)
    return function(self) return self:take(format) end
end

local heads <const> = {
    [0xc0] = function() return nil end, [0xc2] = function() return false end, [0xc3] = function() return true end,
    [0xc4] = plain "s1", [0xc5] = plain ">s2", [0xc6] = plain ">s4",
    [0xc7] = sized("B", "ext"), [0xc8] = sized(">I2", "ext"), [0xc9] = sized(">I4", "ext"),
    [0xcb] = plain ">d", [0xcc] = plain "B", [0xcd] = plain ">I2", [0xce] = plain ">I4", [0xcf] = plain ">I8",
    [0xd0] = plain "b", [0xd1] = plain ">i2", [0xd2] = plain ">i4", [0xd3] = plain ">i8",
    [0xd9] = plain "s1", [0xda] = plain ">s2", [0xdb] = plain ">s4",
    [0xdc] = sized(">I2", "array"), [0xdd] = sized(">I4", "array"),
    [0xde] = sized(">I2", "map"), [0xdf] = sized(">I4", "map"),
}
for i = 0, 4 do heads[0xd4 + i] = function(self) return self:ext(1 << i) end end

function reader:value()
    local head <const> = self:take "B"
    if head < 0x80 then return head end
    if head < 0x90 then return self:map(head & 15) end
    if head < 0xa0 then return self:array(head & 15) end
    if head < 0xc0 then return self:take("c" .. (head & 31)) end
    if head >= 0xe0 then return head - 256 end
    return heads[head](self)
end

--- The value in these bytes, all of them.
function wire.read(bytes)
    local self <const> = setmetatable({ bytes = bytes, at = 1, values = {}, count = 0 }, reader)
    local value <const> = self:value()
    assert(self.at == #bytes + 1, "bytes are left")
    return value
end

--- What comes back of a value that is encoded and decoded.
function wire.travel(value)
    local result <const>, message <const> = core.decode(assert(core.encode(value)))
    assert(message == nil, message)
    return result
end

return wire
