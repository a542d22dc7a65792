-- SPDX-License-Identifier: MIT
-- The wire protocol as docs/protocol.md has it: its examples are what spec/net, an implementation of its own in Python,
-- makes of them; two processes of that talk to each other; and it talks to ours.
local program <const> = require "spec.program"
local python <const> = require "spec.net.python"

local missing <const> = python.missing()
if missing then
    describe("the protocol", function()
        it("# SKIP " .. missing, function() end)
    end)
    return
end

describe("the document of the protocol", function()
    it("has the bytes that the implementation in Python makes", function()
        local code <const>, out <const>, err <const> = python.run("spec/net/document.py", "docs/protocol.md")
        assert.same({ 0, "", "" }, { code, out, err })
    end)
end)

local folder

setup(function()
    folder = program.folder()
    program.write(folder .. "/key", ("k"):rep(32))
    program.write(folder .. "/other key", ("o"):rep(32))
    program.write(folder .. "/secret", "open sesame\n")
    program.write(folder .. "/other secret", "open barley\n")
end)

teardown(function() program.remove(folder) end)

local modes <const> = { key = "the key file", ["secret-file"] = "a secret" }
local names <const> = { key = "key", ["secret-file"] = "secret" }

for option, mode in pairs(modes) do
    describe("two processes in Python with " .. mode, function()
        local one, two, location

        before_each(function()
            one = python.client("--name", "one", "--" .. option, folder .. "/" .. names[option])
            two = python.client("--name", "two", "--" .. option, folder .. "/" .. names[option])
            location = one:get("listen", "^listening (.*)$")
            one:say("coro box", "^coro c1$")
            one:say("echo mirror", "^coro c2$")
            two:say("connect " .. location, "^connected %x+ one$")
        end)

        after_each(function()
            two:finish()
            one:finish()
        end)

        it("find names, send, deliver and call", function()
            two:say("locate box", "^located c1$")
            two:say("locate mirror", "^located c2$")
            two:say("locate nobody", "^failed notfound")
            two:say([[send c1 {"a": [1, 2.5, {"$bytes": "ff00"}], "of": {"$handle": "c2"}}]], "^sent$")
            assert.equal([[message {"a": [1, 2.5, {"$bytes": "ff00"}], "of": {"$handle": "c2"}}]], one:say "receive box")
            two:say([[deliver c1 null]], "^delivered$")
            assert.equal([[message null]], one:say "receive box")
            assert.equal([[reply {"x": []}]], two:say [[call c2 {"x": []}]])
        end)

        it("wait for a name", function()
            two.running:type "locate later 10"
            one:say("receive box 0.05", "^failed timeout")
            one:say("coro later", "^coro c3$")
            assert.equal("located c1", two.running:line())
        end)

        it("keep the order of many and of large ones", function()
            two:say("locate box", "^located c1$")
            two:say("flood c1 2000 100", "^sent")
            one:say("drain box 2000", "^drained")
            two:say("flood c1 20 200000", "^sent")
            one:say("drain box 20", "^drained")
        end)

        it("tell an end", function()
            two:say("locate box", "^located c1$")
            two:say("watch c1", "^watching$")
            two:say("ping", "^pong") -- so that it has come
            one:say("end box", "^ended$")
            two:say("event exit", "^exit finished ")
            two:say("deliver c1 1", "^failed notfound")
            two:say("watch c1", "^watching$")
            two:say("event exit", "^exit notfound ")
        end)

        it("refuse nonsense in words", function()
            two:say("raw 000000056300000000000000", "^written$")
            two:say("event down", "^down one: bye protocol: a frame of type 99$")
            one:say("event down", "^down two: ")
            two:say("connect " .. location, "^connected")
            two:say("raw ffffffff0a000000", "^written$")
            two:say("event down", "^down one: bye protocol: a frame of %d+ bytes$")
        end)

        it("refuse who does not know it", function()
            local stranger <const> =
                python.client("--name", "stranger", "--" .. option, folder .. "/other " .. names[option])
            stranger:say("connect " .. location, "^failed auth")
            one:say("event refused", "^refused")
            stranger:finish()
        end)
    end)
end

describe("two processes in Python", function()
    it("of different modes refuse each other", function()
        local one <const> = python.client("--key", folder .. "/key")
        local two <const> = python.client("--secret-file", folder .. "/secret")
        two:say("connect " .. one:get("listen", "^listening (.*)$"), "^failed auth refused: it has another mode")
        one:finish()
        two:finish()
    end)

    it("miss each other when one falls silent", function()
        local one <const> = python.client("--key", folder .. "/key", "--heartbeat", "0.1", "--timeout", "0.4")
        local two <const> = python.client("--key", folder .. "/key", "--heartbeat", "0.1", "--timeout", "0.4")
        two:say("connect " .. one:get("listen", "^listening (.*)$"), "^connected")
        one:say("event peer", "^peer")
        one:say("event down 0.6", "^failed timeout") -- both are alive
        two:say("freeze 5", "^frozen$")
        one:say("event down", "^down python: nothing came for 0.4 s$")
        one:finish()
        two:finish()
    end)
end)
