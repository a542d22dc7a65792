-- SPDX-License-Identifier: MIT
local asyncoro = require "asyncoro"
local run = require("spec.helper").run

describe("resolve", function()
    it("knows the names of the system, and numeric addresses at once", function()
        run(function()
            local addresses = assert(asyncoro.resolve("localhost"))
            assert.is_true(#addresses > 0)
            for _, address in ipairs(addresses) do assert.is_true(address == "127.0.0.1" or address == "::1") end
            assert.same({ "127.0.0.1" }, asyncoro.resolve("localhost", { family = "ipv4" }))
            assert.same({ "::1" }, asyncoro.resolve("::1", { timeout = 0 }))
            assert.same({ nil, "resolve ::1: not an address of family ipv4", "notfound" },
                { asyncoro.resolve("::1", { family = "ipv4" }) })
        end)
    end)

    it("gives every caller a table of its own", function()
        run(function()
            asyncoro.resolve("localhost")[1] = "changed"
            assert.not_equal("changed", asyncoro.resolve("localhost")[1])
        end)
    end)

    it("answers many who ask for the same", function()
        run(function()
            local answers = 0
            asyncoro.group(function(group)
                for _ = 1, 50 do
                    group:spawn(function()
                        assert(asyncoro.resolve("localhost", { family = "ipv4" }))
                        answers = answers + 1
                    end)
                end
            end)
            assert.equal(50, answers)
        end)
    end)

    it("says what it does not know", function()
        run(function()
            local addresses, message, code = asyncoro.resolve("no-such-host.invalid")
            assert.is_nil(addresses)
            assert.matches("^resolve no%-such%-host%.invalid: ", message)
            assert.is_true(code == "notfound" or code == "unreachable")
            assert.equal("invalid", select(3, asyncoro.resolve("")))
            assert.equal("invalid", select(3, asyncoro.resolve(("x"):rep(300))))
            assert.equal("invalid", select(3, asyncoro.resolve("a\0b")))
        end)
    end)

    it("times out, and can be cancelled", function()
        run(function()
            assert.equal("timeout", select(3, asyncoro.resolve("localhost.", { timeout = 0 })))
            local coro = asyncoro.spawn(function() return asyncoro.resolve("another.invalid") end)
            asyncoro.yield()
            coro:terminate()
            assert.same({ false, "terminated" }, { coro:finish() })
        end)
    end)

    it("refuses wrong arguments", function()
        run(function()
            assert.error_matches(function() asyncoro.resolve(1) end, "a host expected")
            assert.error_matches(function() asyncoro.resolve("x", { family = "x" }) end, "family")
            assert.error_matches(function() asyncoro.resolve("x", { time = 1 }) end, "unknown option 'time'")
        end)
    end)
end)
