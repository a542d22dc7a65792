-- SPDX-License-Identifier: MIT
-- scripts/setup on machines on which something is missing: with a PATH of its own, where apt-get and id are the spec's.
local program <const> = require "spec.program"

-- What the script itself calls.
local TOOLS <const> = "sh env cat rm mktemp test ls grep dirname"

-- An apt-get that writes down what it is asked for, and fails for the packages of $UNKNOWN.
local APT <const> = [[#!/bin/sh
echo "$*" >>"$ASKED"
for package in $UNKNOWN; do
    case " $* " in *" $package "*) echo "E: Unable to locate package $package" >&2; exit 100 ;; esac
done
]]

local NEEDED <const> = "gcc libc6-dev cmake make pkg-config libevent-dev liblua5.4-dev libssl-dev lua5.4"
local INSTALL <const> = "install -q -y --no-install-recommends "

describe("scripts/setup", function()
    local folder, tools

    local function fake(name, text)
        program.write(tools .. "/" .. name, text)
        os.execute("chmod +x " .. tools .. "/" .. name)
    end

    before_each(function()
        folder = program.folder()
        tools = folder .. "/tools"
        os.execute(("mkdir %s && for tool in %s; do ln -s $(command -v $tool) %s; done"):format(tools, TOOLS, tools))
    end)
    after_each(function() program.remove(folder) end)

    -- Runs the script as root or not; code, stderr and what apt-get was asked for, a line each.
    local function setup(user, unknown, word)
        fake("id", "#!/bin/sh\necho " .. (user == "root" and 0 or 1000) .. "\n")
        local code <const>, out <const>, err <const> = program.run({ "PATH=" .. tools, "sh", "scripts/setup", word }, {
            program = "env",
            env = { ASKED = folder .. "/asked", UNKNOWN = unknown or "", CC = "none" },
        })
        assert.equal("", out)
        return code, err, program.read(folder .. "/asked")
    end

    it("installs what building needs, and says so", function()
        fake("apt-get", APT)
        local code <const>, err <const>, asked <const> = setup "root"
        assert.equal(0, code)
        assert.matches("^scripts/setup: installing " .. NEEDED:gsub("%p", "%%%0"), err)
        local lines <const> = {}
        for line in asked:gmatch "[^\n]+" do lines[#lines + 1] = line end
        assert.same({ "update -q", INSTALL .. NEEDED }, { lines[1], lines[2] })
        assert.matches("libedit-dev", asked, 1, true)
        assert.not_matches("busted", asked)
    end)

    it("installs what tests need when asked", function()
        fake("apt-get", APT)
        local code <const>, _, asked <const> = setup("root", nil, "test")
        assert.equal(0, code)
        assert.matches(INSTALL .. NEEDED .. " lua-busted ", asked, 1, true)
    end)

    it("goes on without what is only wanted", function()
        fake("apt-get", APT)
        local code <const>, err <const> = setup("root", "libedit-dev")
        assert.equal(0, code)
        assert.matches("going on without libedit-dev", err, 1, true)
    end)

    it("shows why what is needed could not be installed", function()
        fake("apt-get", APT)
        local code <const>, err <const> = setup("root", "cmake")
        assert.equal(1, code)
        assert.matches("E: Unable to locate package cmake", err, 1, true)
        assert.matches("scripts/setup: apt-get could not install " .. NEEDED, err, 1, true)
    end)

    for what, user in pairs { ["without root"] = "nobody", ["without apt-get"] = "root" } do
        it(what .. " names the packages, installs nothing", function()
            if user == "nobody" then fake("apt-get", APT) end
            local code <const>, err <const>, asked <const> = setup(user)
            assert.equal(1, code)
            assert.matches("^scripts/setup: please install these packages %(their names are Debian's%): "
                .. NEEDED:gsub("%p", "%%%0"), err)
            assert.equal("", asked)
        end)
    end

    it("does nothing, at once, where all is there", function()
        local names <const> = "gcc cc cmake make pkg-config lua5.4"
        for name in names:gmatch "%S+" do fake(name, "#!/bin/sh\n") end
        fake("apt-get", APT)
        local code <const>, err <const>, asked <const> = setup "nobody"
        assert.same({ 0, "", "" }, { code, err, asked })
    end)

    it("refuses other words", function()
        local code <const>, err <const> = setup("root", nil, "nonsense")
        assert.same({ 1, "usage: scripts/setup [test]\n" }, { code, err })
    end)
end)
