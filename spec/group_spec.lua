-- SPDX-License-Identifier: MIT
local asyncoro = require "asyncoro"
local run = require("spec.helper").run

describe("group", function()
    it("returns what its function returns, when all children have ended", function()
        run(function()
            local ended = 0
            local a, b = asyncoro.group(function(group)
                for i = 1, 3 do
                    group:spawn(function()
                        asyncoro.sleep(0.001 * i)
                        ended = ended + 1
                    end)
                end
                return "a", "b"
            end)
            assert.same({ "a", "b", 3 }, { a, b, ended })
        end)
    end)

    it("waits for children of children too", function()
        run(function()
            local log = {}
            asyncoro.group(function(group)
                group:spawn(function()
                    asyncoro.yield()
                    group:spawn(function() log[#log + 1] = "late" end)
                end)
            end)
            assert.same({ "late" }, log)
        end)
    end)

    it("cancels the others at the first error, and raises it", function()
        run(function()
            local cancelled
            local ok, err = pcall(asyncoro.group, function(group)
                group:spawn(function()
                    local _ <close> = setmetatable({}, { __close = function()
                        asyncoro.sleep(0)
                        cancelled = true
                    end })
                    asyncoro.sleep(100)
                end)
                group:spawn(function()
                    asyncoro.sleep(0.001)
                    error("first", 0)
                end)
                asyncoro.sleep(100)
            end)
            assert.is_false(ok)
            assert.equal("first", tostring(err))
            assert.equal("first", err.error)
            assert.same({ "first" }, err.errors)
            assert.is_string(err.traceback)
            assert.is_true(cancelled)
        end)
    end)

    it("collects all errors", function()
        run(function()
            local object = {}
            local _, err = pcall(asyncoro.group, function(group)
                group:spawn(error, object)
                group:spawn(error, "other", 0)
            end)
            assert.equal(object, err.error)
            assert.equal(2, #err.errors)
            assert.matches("and 1 more", tostring(err))
        end)
    end)

    it("raises the error of its function as it is, after the children have ended", function()
        run(function()
            local child
            local object = {}
            local _, err = pcall(asyncoro.group, function(group)
                child = group:spawn(asyncoro.sleep, 100)
                error(object)
            end)
            assert.equal(object, err)
            assert.is_false(child:is_alive())
        end)
    end)

    it("is cancelled with its parent", function()
        run(function()
            local child
            local parent = asyncoro.spawn(function()
                asyncoro.group(function(group) child = group:spawn(asyncoro.sleep, 100) end)
            end)
            asyncoro.yield()
            asyncoro.yield()
            parent:terminate()
            assert.same({ false, "terminated" }, { parent:finish() })
            assert.is_false(child:is_alive())
        end)
    end)

    it("ends in time under with_timeout", function()
        run(function()
            local child
            assert.equal("timeout", select(3, asyncoro.with_timeout(0.05, asyncoro.group, function(group)
                child = group:spawn(asyncoro.sleep, 100)
            end)))
            assert.is_false(child:is_alive())
        end)
    end)

    it("can be cancelled", function()
        run(function()
            local result = table.pack(asyncoro.group(function(group)
                group:spawn(asyncoro.sleep, 100)
                group:spawn(function() group:cancel() end)
            end))
            assert.same({ nil, "group: canceled", "canceled", n = 3 }, result)
        end)
    end)

    it("takes no more children when it has ended, and no nonsense", function()
        run(function()
            local kept
            asyncoro.group(function(group)
                kept = group
                assert.error_matches(function() group:spawn(3) end, "a function expected")
                assert.error_matches(function() group:spawn({ colour = 1 }, print) end, "unknown option 'colour'")
            end)
            assert.error_matches(function() kept:spawn(print) end, "the group has ended")
            assert.error_matches(function() asyncoro.group(3) end, "a function expected")
        end)
    end)

    it("goes on when a child is terminated from outside, and names children well", function()
        run(function()
            asyncoro.group(function(group)
                local function sleeper() asyncoro.sleep(100) end
                local child = group:spawn(sleeper)
                assert.equal("sleeper", child:name())
                assert.equal("named", group:spawn({ name = "named" }, function() end):name())
                child:terminate()
            end)
        end)
    end)
end)
