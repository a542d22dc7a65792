-- SPDX-License-Identifier: MIT
local asyncoro = require "asyncoro"
local run = require("spec.helper").run

describe("monitor", function()
    it("tells how a coro ended", function()
        run(function()
            local good = asyncoro.spawn(function() return 1, nil end)
            local bad = asyncoro.spawn(function() error("broken", 0) end)
            local gone = asyncoro.spawn(asyncoro.sleep, 100)
            for _, coro in ipairs { good, bad, gone } do asyncoro.monitor(coro) end
            gone:terminate()
            local exits = {}
            for _ = 1, 3 do
                local exit = asyncoro.receive(5)
                assert.is_true(asyncoro.is_exit(exit))
                exits[exit.coro] = exit
            end
            assert.equal("finished", exits[good].reason)
            assert.same({ 1, nil, n = 2 }, exits[good].values)
            assert.equal("failed", exits[bad].reason)
            assert.equal("broken", exits[bad].error)
            assert.matches("stack traceback", exits[bad].traceback)
            assert.equal("terminated", exits[gone].reason)
            assert.matches("exit of coro .*: terminated", tostring(exits[gone]))
            assert.is_false(asyncoro.is_exit {})
        end)
    end)

    it("comes at once for a coro that has ended, once for one asked twice", function()
        run(function()
            local coro = asyncoro.spawn(function() return 5 end)
            coro:finish()
            asyncoro.monitor(coro)
            assert.equal(5, asyncoro.receive(0).values[1])
            local other = asyncoro.spawn(function() end)
            asyncoro.monitor(other)
            asyncoro.monitor(other)
            other:finish()
            assert.is_true(asyncoro.is_exit(asyncoro.receive(0)))
            assert.is_nil((asyncoro.receive(0)))
        end)
    end)

    it("may be set for another coro, comes past a full mailbox, and makes a failure observed", function()
        run(function()
            local watcher = asyncoro.spawn({ mailbox = 1 }, function()
                asyncoro.suspend()
                return asyncoro.receive(), asyncoro.receive().error
            end)
            asyncoro.yield()
            watcher:send "first"
            local bad = asyncoro.spawn(function() error("seen", 0) end)
            assert.is_true(watcher:monitor(bad))
            asyncoro.sleep(0)
            asyncoro.sleep(0)
            watcher:resume()
            assert.same({ true, "first", "seen" }, { watcher:finish() })
            assert.equal("notfound", select(3, watcher:monitor(bad)))
        end)
        assert.error_matches(function() asyncoro.monitor(3) end, "only a coro")
    end)
end)
