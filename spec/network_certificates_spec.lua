-- SPDX-License-Identifier: MIT
-- The network with certificates: this process accepts, another one connects.
local asyncoro = require "asyncoro"
local certificates = require "spec.certificates"
local helper = require "spec.helper"
local program = require "spec.program"
local fails, run = helper.fails, helper.run
local path <const> = certificates.path

-- Options of a network whose certificate is NAME's, and which trusts the authority CA.
local function with(name, ca, more)
    local opts = { certfile = path(name .. ".pem"), keyfile = path(name .. ".key"), cafile = path(ca .. ".pem"),
        host = "127.0.0.1", discovery = false, linger = 2 }
    for option, value in pairs(more or {}) do opts[option] = value end
    return opts
end

local CLIENT <const> = [[
local asyncoro = require "asyncoro"
local location, certfile, keyfile, cafile = table.unpack(arg)
if cafile then
    assert(asyncoro.network { certfile = certfile, keyfile = keyfile, cafile = cafile, discovery = false,
        host = "127.0.0.1" })
else
    assert(asyncoro.network { secret = certfile, discovery = false, host = "127.0.0.1" })
end
local ok, message, code = asyncoro.peer(location, { timeout = 10 })
print(ok and "connected" or code)
print(ok and assert(asyncoro.locate("echo", location, 5)):call "hello" or message)
]]

-- What a process with these says that connects to this one by `host`: in one word, and in more.
local function connect(host, ...)
    local location = host .. ":" .. asyncoro.location().port
    local out, err, ok = asyncoro.process.run { program.path, path "client.lua", location, ... }
    assert(ok, err)
    return out:match "^([^\n]*)\n([^\n]*)"
end

local function connect_with(host, name, ca)
    return connect(host, path(name .. ".pem"), path(name .. ".key"), path(ca .. ".pem"))
end

local function refusals() return asyncoro.stats().network.refused end

-- What this side says of the one connection that it has refused since there were `before`.
local function refusal(before)
    for _ = 1, 500 do
        if refusals() > before then break end
        asyncoro.sleep(0.01)
    end
    assert.equal(before + 1, refusals())
    return asyncoro.stats().network.refusal
end

-- Serves calls as "echo" while fn runs.
local function serving(opts, fn)
    run(function()
        assert(asyncoro.network(opts))
        local echo = asyncoro.spawn(function()
            for message, reply in asyncoro.messages() do reply(message) end
        end)
        echo:register "echo"
        fn()
        echo:terminate()
        echo:finish()
    end)
end

-- Neither side takes the other; each says why.
local function refused(opts, host, name, ca, here, there)
    run(function()
        assert(asyncoro.network(opts))
        local before = refusals()
        local code, message = connect_with(host, name, ca)
        assert.equal("auth", code, message)
        assert.truthy(message:find(there, 1, true), message)
        local said = refusal(before)
        assert.truthy(said:find(here, 1, true), said)
        assert.same({}, asyncoro.peers())
    end)
end

setup(function()
    certificates.make()
    program.write(path "client.lua", CLIENT)
end)

teardown(certificates.remove)

describe("a network with certificates", function()
    it("connects processes whose certificates the other's authority has issued", function()
        serving(with("good", "ca"), function()
            assert.same({ "connected", "hello" }, { connect_with("127.0.0.1", "client", "ca") })
            assert.same({ "connected", "hello" }, { connect_with("localhost", "client", "ca") })
        end)
    end)

    it("refuses a host that the certificate is not for", function()
        refused(with("wrong", "ca"), "127.0.0.1", "client", "ca", "certificate", "127.0.0.1")
        refused(with("wrong", "ca"), "localhost", "client", "ca", "certificate", "localhost")
    end)

    it("refuses one that has expired", function()
        refused(with("expired", "ca"), "127.0.0.1", "client", "ca", "expired", "expired")
        refused(with("good", "ca"), "127.0.0.1", "expired", "ca", "expired", "expired")
    end)

    it("refuses one of an authority that it does not know", function()
        refused(with("unknown", "ca"), "127.0.0.1", "client", "ca", "cafile", "cafile")
        refused(with("good", "ca"), "127.0.0.1", "stranger", "ca", "cafile", "cafile")
        refused(with("self", "ca"), "127.0.0.1", "client", "ca", "cafile", "cafile")
    end)

    it("refuses a process that has a secret instead, before any certificate is shown", function()
        run(function()
            assert(asyncoro.network(with("good", "ca")))
            local before = refusals()
            local code, message = connect("127.0.0.1", "a secret of another kind, long enough")
            assert.equal("auth", code, message)
            assert.truthy(message:find("certificates", 1, true), message)
            assert.truthy(refusal(before):find("secret", 1, true))
        end)
    end)

    it("does not start without the files, or with such as do not fit", function()
        run(function()
            fails("invalid", "cafile", asyncoro.network { certfile = path "good.pem", discovery = false })
            fails("notfound", path "none.pem", asyncoro.network(with("none", "ca")))
            fails("notfound", path "none.pem", asyncoro.network(with("good", "none")))
            fails("invalid", path "good.key",
                asyncoro.network(with("good", "ca", { certfile = path "good.key" })))
            fails("invalid", path "client.key",
                asyncoro.network(with("good", "ca", { keyfile = path "client.key" })))
            fails("invalid", path "locked.key", asyncoro.network(with("good", "ca", { keyfile = path "locked.key" })))
        end)
    end)

    it("reads its files again for connections to come, and keeps what it has when they are of no use", function()
        local copy = function(from, to) program.write(path(to), program.read(path(from))) end
        copy("good.pem", "used.pem")
        copy("good.key", "used.key")
        serving(with("used", "ca"), function()
            assert.equal("connected", (connect_with("127.0.0.1", "client", "ca")))
            copy("wrong.pem", "used.pem")
            fails("invalid", path "used.key", asyncoro.reload_certificates())
            assert.equal("connected", (connect_with("127.0.0.1", "client", "ca")))
            copy("wrong.key", "used.key")
            assert.is_true(asyncoro.reload_certificates())
            assert.equal("auth", (connect_with("127.0.0.1", "client", "ca")))
            os.remove(path "used.pem")
            fails("notfound", path "used.pem", asyncoro.reload_certificates())
        end)
    end)
end)
