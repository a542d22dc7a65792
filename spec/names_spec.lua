-- SPDX-License-Identifier: MIT
local asyncoro = require "asyncoro"
local core = require "asyncoro.core"
local run = require("spec.helper").run

describe("register", function()
    it("makes a coro known in every engine", function()
        run(function()
            assert.is_true(asyncoro.current():register "home")
            local coro = asyncoro.isolate(function()
                assert(asyncoro.current():register "server")
                return asyncoro.locate("home", nil, 0):call "hello"
            end)
            assert.is_true(rawequal(coro, asyncoro.locate "server"))
            local message, reply = asyncoro.receive()
            assert.equal("hello", message)
            reply "answer"
            assert.same({ true, "answer" }, { coro:finish() })
            assert.is_true(rawequal(asyncoro.current(), asyncoro.locate "home"))
        end)
    end)

    it("takes the coro's own name when none is given", function()
        run(function()
            local coro = asyncoro.spawn({ name = "own" }, asyncoro.receive)
            assert.is_true(coro:register())
            assert.is_true(rawequal(coro, asyncoro.locate("own", nil, 0)))
            assert.is_true(coro:unregister())
            assert.is_nil(asyncoro.locate("own", nil, 0))
            coro:terminate()
        end)
    end)

    it("works on handles of other engines, and refuses what is taken or has ended", function()
        run(function()
            local coro = asyncoro.isolate(asyncoro.receive)
            assert.is_true(coro:register "one")
            assert.is_true(coro:register "one")
            assert.is_true(coro:register "two")
            local ok, message, code = asyncoro.current():register "one"
            assert.same({ nil, "register: another coro has the name 'one'", "exists" }, { ok, message, code })
            assert.equal("notfound", select(3, asyncoro.current():unregister "one"))
            assert.equal("notfound", select(3, coro:unregister "three"))
            assert.is_true(coro:unregister "two")
            coro:send(1)
            coro:finish()
            assert.equal("notfound", select(3, coro:register "four"))
            assert.is_nil(asyncoro.locate("one", nil, 0))
            assert.is_true(asyncoro.current():register "one")
            assert.is_true(asyncoro.current():unregister "one")
        end)
    end)

    it("lets a name go at the end of its coro", function()
        run(function()
            local coro = asyncoro.spawn(asyncoro.receive)
            coro:register "short"
            coro:send(1)
            coro:finish()
            assert.is_nil(asyncoro.locate("short", nil, 0))
            assert.equal("notfound", select(3, coro:register "short"))
        end)
    end)

    it("raises on what is no name", function()
        run(function()
            local me = asyncoro.current()
            assert.has_error(function() me:register "" end)
            assert.has_error(function() me:register(1) end)
            assert.has_error(function() me:unregister {} end)
        end)
    end)
end)

describe("locate", function()
    it("waits for a name that comes later, here or elsewhere", function()
        run(function()
            local finder = asyncoro.spawn(function() return asyncoro.locate "later" end)
            local far = asyncoro.isolate(function() return asyncoro.locate "later" == asyncoro.current() end)
            asyncoro.yield()
            assert.same({ "waiting", "locate" }, { finder:status() })
            local coro = asyncoro.spawn(asyncoro.receive)
            coro:register "another"
            coro:register "later"
            assert.same({ true, coro }, { finder:finish() })
            assert.same({ true, false }, { far:finish() })
            coro:send(1)
            local waits = asyncoro.spawn(function() return asyncoro.locate "from afar" end)
            asyncoro.yield()
            local owner = asyncoro.isolate(function()
                asyncoro.current():register "from afar"
                asyncoro.receive()
            end)
            assert.same({ true, owner }, { waits:finish() })
            owner:send(1)
        end)
    end)

    it("gives up, or only looks", function()
        run(function()
            for _, timeout in ipairs { 0, 0.01 } do
                local ok, message, code = asyncoro.locate("nobody", nil, timeout)
                assert.same({ nil, "timeout" }, { ok, code })
                assert.matches("nobody", message)
            end
            assert.is_nil(asyncoro.with_timeout(0.01, asyncoro.locate, "nobody"))
        end)
    end)

    it("finds nothing in other processes while there is no network", function()
        run(function()
            local ok, _, code = core.locate("name", "localhost:1", 1) -- the one that does not start it
            assert.same({ nil, "notfound" }, { ok, code })
        end)
    end)

    it("raises on wrong arguments", function()
        run(function()
            for _, what in ipairs { "locate", "locate_channel", "locate_rci" } do
                local ok <const>, message <const> = pcall(function() asyncoro[what](nil) end)
                assert.is_false(ok)
                assert.matches("names_spec%.lua:%d+: " .. what .. ": a name expected, got nil", message)
                assert.has_error(function() asyncoro[what]("x", nil, -1) end)
            end
        end)
    end)
end)
