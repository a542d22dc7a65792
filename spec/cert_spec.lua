-- SPDX-License-Identifier: MIT
local core <const> = require "asyncoro.core"
local program <const> = require "spec.program"
local run <const> = program.run

describe("asyncoro cert", function()
    local folder

    local function sh(script, ...)
        local code <const>, out <const>, err <const> =
            run({ "-c", "cd \"$0\" && " .. script, folder, program.path, ... }, { program = "sh" })
        return code, out, err
    end

    local function openssl(line)
        local code <const>, out <const>, err <const> = sh("openssl " .. line)
        assert.equal(0, code, err)
        return out
    end

    -- The authority, and a certificate by it for localhost and 127.0.0.1.
    local function make()
        assert.equal(0, (sh '"$1" cert ca here'))
        assert.equal(0, (sh '"$1" cert node --ca here --out a localhost 127.0.0.1'))
    end

    before_each(function() folder = program.folder() end)
    after_each(function() program.remove(folder) end)

    it("makes an authority and certificates of it, whose keys only the owner can read", function()
        local code, out, err = sh 'umask 0; "$1" cert ca here'
        assert.same({ 0, "" }, { code, err })
        assert.matches("here/ca.pem is the authority, valid for 3650 days", out, 1, true)
        code, out, err = sh 'umask 0; "$1" cert node --ca here a.example "*.b.example" 10.0.0.1 ::1'
        assert.same({ 0, "" }, { code, err })
        assert.matches('certfile = "a.example.pem", keyfile = "a.example.key", cafile = "ca.pem"', out, 1, true)
        assert.same({ 0, "600 600 644 644\n", "" },
            { sh "echo $(stat -c %a here/ca.key a.example.key here/ca.pem a.example.pem)" })
        assert.matches("a.example.pem: OK", openssl "verify -x509_strict -CAfile here/ca.pem a.example.pem", 1, true)
        local text <const> = openssl "x509 -in a.example.pem -noout -ext subjectAltName,extendedKeyUsage -subject"
        assert.matches("DNS:a.example, DNS:*.b.example, IP Address:10.0.0.1, IP Address:0:0:0:0:0:0:0:1", text, 1, true)
        assert.matches("TLS Web Server Authentication, TLS Web Client Authentication", text, 1, true)
        assert.matches("CN = a.example", text, 1, true)
        assert.not_equal(openssl "x509 -in here/ca.pem -noout -serial", openssl "x509 -in a.example.pem -noout -serial")
    end)

    it("makes what the network takes, and refuses an authority of the same name", function()
        make()
        assert.equal(0, (sh '"$1" cert ca other && "$1" cert node --ca other --out b localhost'))
        program.write(folder .. "/server.lua", [[
            local asyncoro = require "asyncoro"
            print(assert(asyncoro.network { certfile = "a.pem", keyfile = "a.key", cafile = "here/ca.pem",
                host = "127.0.0.1", discovery = false }))
            io.stdout:flush()
            asyncoro.stdin:read_line()
        ]])
        program.write(folder .. "/client.lua", [[
            local asyncoro = require "asyncoro"
            assert(asyncoro.network { certfile = arg[2] .. ".pem", keyfile = arg[2] .. ".key", cafile = "here/ca.pem",
                host = "127.0.0.1", discovery = false })
            print(select(3, asyncoro.peer(arg[1], { timeout = 10 })) or "connected")
        ]])
        local code <const>, out <const>, err <const> = sh [[
            mkfifo keys; "$1" server.lua <keys >out & exec 3>keys
            until [ -s out ]; do sleep 0.02; done
            "$1" client.lua "$(cat out)" a; "$1" client.lua "$(cat out)" b
            exec 3>&-; wait]]
        assert.same({ 0, "connected\nauth\n", "" }, { code, out, err })
    end)

    it("keeps to the days that are asked for, and to those of the authority", function()
        assert.equal(0, (sh '"$1" cert ca --days 10 --name "Our own" here && "$1" cert node --ca here --days 5 a'))
        assert.equal(0, (sh '"$1" cert node --ca here b'))
        assert.matches("CN = Our own", openssl "x509 -in here/ca.pem -noout -subject", 1, true)
        openssl "x509 -in a.pem -noout -checkend 428000"
        assert.equal(1, (sh "openssl x509 -in a.pem -noout -checkend 436000"))
        assert.equal(openssl "x509 -in here/ca.pem -noout -enddate", openssl "x509 -in b.pem -noout -enddate")
    end)

    it("keeps files that are there, and leaves no half of a pair", function()
        make()
        local before <const> = program.read(folder .. "/here/ca.pem")
        local code, out, err = sh '"$1" cert ca here'
        assert.same({ 1, "" }, { code, out })
        assert.matches("here/ca.key is there already, and is kept", err, 1, true)
        assert.equal(before, program.read(folder .. "/here/ca.pem"))
        program.write(folder .. "/c.pem", "mine")
        code, out, err = sh '"$1" cert node --ca here c'
        assert.same({ 1, "" }, { code, out })
        assert.matches("c.pem is there already", err, 1, true)
        assert.equal(1, (sh "test -e c.key"))
    end)

    it("says what is wrong with an authority", function()
        make()
        local function refuses(text, script)
            local code <const>, out <const>, err <const> = sh(script)
            assert.same({ 1, "" }, { code, out })
            assert.matches(text, err, 1, true)
        end
        refuses("makes an authority, and --ca FOLDER says where it is", '"$1" cert node x.example')
        sh "mkdir n; cp a.pem n/ca.pem; cp a.key n/ca.key"
        refuses("is not the certificate of an authority", '"$1" cert node --ca n x')
        refuses("ca.key is not the key of ca.pem", 'cp a.key here/ca.key; "$1" cert node --ca here x')
        refuses("has no key in it", 'cp a.pem here/ca.key; "$1" cert node --ca here x')
        refuses("has no certificate in it", 'echo >here/ca.pem; "$1" cert node --ca here x')
    end)

    it("refuses names that are none, and words that it does not know", function()
        make()
        for words, text in pairs {
            [""] = "'ca' or 'node' expected, got nothing",
            ["serve"] = "'ca' or 'node' expected, got 'serve'",
            ["ca"] = "one folder is expected",
            ["ca a b"] = "one folder is expected",
            ["ca --days 0 x"] = "--days: a number of 1 to 36500 expected, got '0'",
            ["ca --days"] = "--days: a value is expected",
            ["ca --ca here x"] = "'--ca' is not expected",
            ["node --ca here"] = "a host name or an address is expected",
            ["node --ca here 'a b'"] = "'a b' is neither a host name nor an address",
            ["node --ca here a,b"] = "'a,b' is neither a host name nor an address",
            ["node --ca here a..b"] = "'a..b' is neither a host name nor an address",
            ["node --ca here fe80::1%lo"] = "'fe80::1%lo' is neither a host name nor an address",
        } do
            local code <const>, out <const>, err <const> = sh('"$1" cert ' .. words)
            assert.same({ 1, "" }, { code, out }, words)
            assert.matches("asyncoro: cert: ", err, 1, true)
            assert.matches(text, err, 1, true)
        end
        local code <const>, out <const> = sh '"$1" cert --help'
        assert.equal(0, code)
        assert.matches("^usage: asyncoro cert ca", out)
    end)

    it("asks our own Lua files for what they must give", function()
        assert.has_error(function() core.certificate_issue { days = 1 } end)
        assert.has_error(function() core.certificate_issue { subject = "x", days = 0 } end)
        assert.has_error(function() core.certificate_issue { subject = "x", days = 1, ca = "" } end)
        assert.same({ nil, "a name of 1 to 64 bytes is expected", "invalid" },
            { core.certificate_issue { subject = ("x"):rep(65), days = 1 } })
    end)
end)
