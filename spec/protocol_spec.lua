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
    program.write(folder .. "/secret", "hfR3s8Kq0zLw7Tn2VbXy5cMd\n")
    program.write(folder .. "/other secret", "Qm4uZp9sJ1xGe6Ra8WkHt2Yv\n")
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

if not require("asyncoro").network then
    describe("asyncoro and a process in Python", function()
        it("# SKIP the network is not built", function() end)
    end)
    return
end

local function key_option(mode)
    if mode == "a secret" then return "--secret-file", folder .. "/secret" end
    return "--key", folder .. "/.config/asyncoro/key"
end

for _, mode in pairs(modes) do
    describe("asyncoro and a process in Python with " .. mode, function()
        local partner, other, location

        local function start(heartbeat, timeout)
            local env <const> = { HOME = folder, XDG_CONFIG_HOME = folder .. "/.config" }
            if mode == "a secret" then env.ASYNCORO_SECRET_FILE = folder .. "/secret" end
            partner = program.converse({ "spec/net/partner.lua", heartbeat, timeout }, { env = env })
            location = partner:line()
            assert.matches("^%S+:%d+$", location)
            local option <const>, path <const> = key_option(mode)
            other = python.client("--name", "other", option, path, "--heartbeat", heartbeat or "5", "--timeout",
                timeout or "15")
            other:say("connect " .. location, "^connected %x+ partner$")
        end

        local function finish()
            other:finish()
            partner:type "quit"
            return partner:finish()
        end

        it("find names, now and later, and echo values of all kinds", function()
            start()
            other:say("locate mirror", "^located c1$")
            other:say("locate nobody", "^failed notfound")
            for _, value in ipairs {
                "null", "true", "1", "-1", "1.5", "9007199254740993", [["text"]], [[{"$bytes": "ff00"}]], "[1, [2, [3]]]",
                [[{"a": {"b": [1.0, 2]}, "c": {"$handle": "c1"}}]],
            } do
                assert.equal("reply " .. value, other:say("call c1 " .. value))
            end
            other.running:type "locate later 10"
            partner:type "later"
            assert.equal("located c2", other.running:line())
            assert.equal(0, finish())
        end)

        it("keep the order of many and of large ones, both ways", function()
            start()
            other:say("locate keeper", "^located c1$")
            for _, flood in ipairs { "5000 100", "20 300000" } do
                other:say("flood c1 " .. flood, "^sent")
                assert.equal(([[reply {"count": %d, "faults": ""}]]):format(flood:match "%d+"), other:say "call c1 null")
            end
            other:say("coro box", "^coro c2$")
            other:say("locate talker", "^located c3$")
            other:say([[send c3 {"$handle": "c2"}]], "^sent$")
            other:say("drain box 1001", "^drained")
            other:say("end box", "^ended$")
            other:say("locate teller", "^located c4$")
            assert.equal([[reply ["finished"]] .. "]", (other:say("call c4 null"):gsub(", null%]$", "]")))
            assert.equal(0, finish())
        end)

        it("tell ends: of one that finished, failed, was killed, is not known", function()
            for _, case in ipairs {
                { [[deliver c1 "done"]], "^exit finished .*done" }, { [[deliver c1 "fail"]], "^exit failed .*broken" },
                { "kill c1", "^exit terminated " },
            } do
                start()
                other:say("locate short", "^located c1$")
                other:say("watch c1", "^watching$")
                other:say(case[1])
                other:say("event exit", case[2])
                other:say("deliver c1 1", "^failed notfound")
                finish()
            end
        end)

        it("acknowledge, queue and answer while a coro computes", function()
            start("0.2", "0.8")
            other:say("locate busy", "^located c1$")
            other:say("deliver c1 2", "^delivered$")
            for n = 1, 50 do
                other:say("deliver c1 " .. n, "^delivered$")
                assert.is_true(tonumber(other:get("ping", "^pong (%S+)$")) < 500)
            end
            other:say("event down 1.2", "^failed timeout")
            assert.equal("reply 50", other:say "call c1 null")
            finish()
        end)

        it("pause who sends to a full mailbox", function()
            start()
            other:say("locate lazy", "^located c1$")
            other.running:type "flood c1 80000 10"
            partner:type "resume"
            other.running:line()
            assert.equal("reply 80000", other:say "call c1 null")
            assert.equal(0, finish())
        end)

        it("refuse nonsense in words", function()
            start()
            for _, raw in ipairs {
                "000000056300000000000000", "ffffffff0a000000", "0000000c0a00000100000001000000000000000700",
                "000000030d00000000000000", "00000004050000000000000100", "0000000c11010000000000010000000000000000ff",
            } do
                other:say("raw " .. raw, "^written$")
                if raw:find "^0000000c1101" then break end
                other:say("event down", "^down partner: bye protocol: ")
                other:say("connect " .. location, "^connected")
            end
            assert.equal(0, finish())
        end)

        it("leave it to the connecting side which connection stays", function()
            start()
            other:say("offer " .. location .. " bye", "^offered connected: closed$")
            other:say("offer " .. location .. " ping", "^offered connected: 2 START expected$")
            other:say("ping", "^pong")
            other:say("connect " .. location, "^connected") -- it has lost the first one, then
            other:say("event down", "^down partner: ")
            other:say("ping", "^pong")
            assert.equal(0, finish())
        end)

        it("miss who falls silent", function()
            start("0.2", "0.6")
            other:say("coro box", "^coro c1$")
            other:say("locate talker", "^located c2$")
            other:say([[send c2 {"$handle": "c1"}]], "^sent$")
            other:say("drain box 1001", "^drained")
            other:say("freeze 3", "^frozen$")
            other:say("event down", "^down partner: ")
            other:say("connect " .. location, "^connected")
            other:say("locate teller", "^located c%d$")
            other:say("call c3 null", [[^reply %["peerdown"]])
            finish()
        end)

        it("refuse who does not know the secret", function()
            start()
            local option <const> = key_option(mode)
            local stranger <const> =
                python.client(option, folder .. (mode == "a secret" and "/other secret" or "/other key"))
            stranger:say("connect " .. location, "^failed auth")
            stranger:finish()
            assert.equal(0, finish())
        end)
    end)
end
