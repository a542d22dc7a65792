-- SPDX-License-Identifier: MIT
local program <const> = require "spec.program"
local run <const> = program.run

local SECRET <const> = "^" .. ("[a-z2-7]"):rep(26) .. "\n$"

describe("asyncoro secret", function()
    local folder

    before_each(function() folder = program.folder() end)
    after_each(function() program.remove(folder) end)

    it("prints 128 random bits, others each time", function()
        local seen <const>, used <const> = {}, {}
        for _ = 1, 8 do
            local code <const>, out <const>, err <const> = run { "secret" }
            assert.same({ 0, "" }, { code, err })
            assert.matches(SECRET, out)
            assert.is_nil(seen[out])
            seen[out] = true
            for digit in out:gmatch "%w" do used[digit] = true end
        end
        local count = 0
        for _ in pairs(used) do count = count + 1 end
        assert.is_true(count > 24, "only " .. count .. " of 32 digits are used")
    end)

    it("writes it into a file that only its owner can read, and says what to do with it", function()
        local path <const> = folder .. "/secret"
        local line <const> = "umask 0; exec \"$0\" secret \"$1\""
        local code <const>, out <const>, err <const> = run({ "-c", line, program.path, path }, { program = "sh" })
        assert.same({ 0, "" }, { code, err })
        assert.matches(SECRET, program.read(path))
        assert.equal("600", program.capture("stat -c %a " .. path))
        assert.matches("export ASYNCORO_SECRET_FILE=" .. path, out, 1, true)
        assert.is_nil(out:find(program.read(path):sub(1, 26), 1, true))
    end)

    it("keeps a file that is there", function()
        local path <const> = program.write(folder .. "/secret", "mine\n")
        local code <const>, out <const>, err <const> = run { "secret", path }
        assert.same({ 1, "" }, { code, out })
        assert.matches("is there already, and is kept: .* name another file, or remove it first\n$", err)
        assert.equal("mine\n", program.read(path))
    end)

    it("does not follow a link to a file that is not there", function()
        assert(os.execute(("ln -s %s/target %s/link"):format(folder, folder)))
        local code <const> = run { "secret", folder .. "/link" }
        assert.equal(1, code)
        assert.equal("", program.read(folder .. "/target"))
    end)

    it("says why a file cannot be written", function()
        local code <const>, out <const>, err <const> = run { "secret", folder .. "/none/secret" }
        assert.same({ 1, "" }, { code, out })
        assert.matches("No such file or directory", err)
    end)

    it("--help tells how to use it; what it does not know is refused", function()
        local code, out = run { "secret", "--help" }
        assert.equal(0, code)
        assert.matches("^usage: asyncoro secret", out)
        local err
        code, out, err = run { "secret", "--bits" }
        assert.same({ 1, "", "asyncoro: secret: '--bits' is not expected; asyncoro secret --help says more\n" },
            { code, out, err })
        code, out, err = run { "secret", "a", "b" }
        assert.same({ 1, "", "asyncoro: secret: 'b' is not expected; asyncoro secret --help says more\n" },
            { code, out, err })
    end)

    it("makes one that the network takes without a warning", function()
        local path <const> = folder .. "/secret"
        run { "secret", path }
        local script <const> = [[
            local asyncoro = require "asyncoro"
            asyncoro.run(function() print(asyncoro.network { host = "127.0.0.1", discovery = false } ~= nil) end)
        ]]
        local code, out, err = run({ "-e", script }, { env = { ASYNCORO_SECRET_FILE = path, HOME = folder } })
        assert.same({ 0, "true\n", "" }, { code, out, err })
        program.write(path, "short\n")
        code, out, err = run({ "-e", script }, { env = { ASYNCORO_SECRET_FILE = path, HOME = folder } })
        assert.same({ 0, "true\n" }, { code, out })
        assert.matches("the secret is short", err)
    end)
end)
