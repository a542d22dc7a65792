-- SPDX-License-Identifier: MIT
local asyncoro = require "asyncoro"
local core = require "asyncoro.core"
local helper = require "spec.helper"

describe("location", function()
    it("is made of a text, and has a host, a port and a server", function()
        local location = assert(asyncoro.location "example.org:4000")
        assert.same({ "example.org", 4000 }, { location.host, location.port })
        assert.is_nil(location.server)
        assert.is_nil(location.nothing)
        assert.equal("example.org:4000", tostring(location))
        assert.equal(7, asyncoro.location("example.org:4000/7").server)
        local v6 = asyncoro.location "[::1]:80"
        assert.same({ "::1", 80, "[::1]:80" }, { v6.host, v6.port, tostring(v6) })
        assert.is_true(rawequal(location, asyncoro.location(location)))
    end)

    it("is one value for each text, and indexes tables", function()
        local one, two = asyncoro.location "a:1", asyncoro.location "a:1"
        assert.is_true(rawequal(one, two))
        assert.equal("x", ({ [one] = "x" })[two])
        assert.is_false(one == asyncoro.location "a:2")
        assert.is_true(rawequal(one, asyncoro.location "a:1/0"))
    end)

    it("refuses what is none, in words", function()
        for _, text in ipairs { "", "a", "a:", ":1", "a:0", "a:65536", "a:b", "::1:80", "a:1/65536", "a b:1",
            ("a"):rep(260) .. ":1", "a:1/x" } do
            helper.fails("invalid", "location '" .. text, asyncoro.location(text))
        end
        assert.is_false(pcall(asyncoro.location, {}))
    end)

    it("travels", function()
        local location = asyncoro.location "a:1"
        local bytes = core.encode { location, [location] = location }
        local back = core.decode(bytes)
        assert.is_true(rawequal(location, back[1]))
        assert.is_true(rawequal(location, back[location]))
        assert.is_true(core.encode(location):find "a:1" ~= nil)
        helper.fails("protocol", "a location", core.decode "\xc7\x02\x04a:")
    end)

    it("of this process is nil while it has no network", function()
        helper.run(function()
            assert.is_nil(asyncoro.location())
            assert.is_nil(asyncoro.current():location())
        end)
    end)
end)
