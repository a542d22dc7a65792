-- SPDX-License-Identifier: MIT
--- `asyncoro doctor`: looks at this machine, and at a peer when one is named, and says what is wrong and what to do.
-- Each line begins with what it is (ok, note, warning, problem); a line that begins with an arrow is what to do about
-- the one above.
-- @module asyncoro.cli.doctor
local core <const> = require "asyncoro.core"

local doctor <const> = {}

local USAGE <const> = [[
usage: asyncoro doctor [options] [location]
Checks versions, the secret, ports, addresses and discovery of this machine; with a location (host:port) also
whether the process there can be a peer, and if not, why.
  --secret-file FILE      the secret (else ASYNCORO_SECRET_FILE, then ASYNCORO_SECRET)
  --certfile FILE, --keyfile FILE, --cafile FILE   certificates, instead of a secret
  --port N                the TCP port to look at (a node's, 51351)
  --discovery-port N      the UDP port of discovery (else ASYNCORO_DISCOVERY_PORT, then 51350)
  --listen SECONDS        how long to wait for answers to discovery (1.5; 0: do not ask)
  --timeout SECONDS       how long one step with the peer may take (5)
The exit code is 1 when there is a problem.
]]

-- What a report is made of -----------------------------------------------------------------------

local Report <const> = {}
Report.__index = Report

local function new_report(out)
    return setmetatable({ out = out, problems = 0, warnings = 0 }, Report)
end

-- What the following lines are about.
function Report:heading(text)
    self.out:write(text, "\n")
end

-- One line, and what to do about it.
local function say(self, word, text, remedy)
    self.out:write(("  %-8s %s\n"):format(word, text))
    if remedy then self.out:write("           -> ", (remedy:gsub("\n", "\n              ")), "\n") end
    self.out:flush()
end

-- It is as it should be.
function Report:ok(text) say(self, "ok", text) end

-- It need not be otherwise.
function Report:note(text, remedy) say(self, "note", text, remedy) end

-- It may do harm.
function Report:warn(text, remedy)
    self.warnings = self.warnings + 1
    say(self, "warning", text, remedy)
end

-- It cannot work like that.
function Report:problem(text, remedy)
    self.problems = self.problems + 1
    say(self, "problem", text, remedy)
end

-- The one text of a fact, nil when it was not found.
local function one(facts, word)
    return facts[word] and facts[word][1]
end

-- This machine -----------------------------------------------------------------------------------

local function check_versions(report)
    local versions <const> = core.versions()
    report:ok(("asyncoro %s, libevent %s"):format(versions.asyncoro, versions.libevent))
    if versions.lua_number >= 50406 then
        report:ok(versions.lua)
    else
        report:warn(versions.lua .. " has known faults, which 5.4.6 mends",
            "use Lua 5.4.6 or newer where you can")
    end
    local major <const> = tonumber(versions.openssl:match("^%d+"))
    if major and major >= 3 then
        report:ok("OpenSSL " .. versions.openssl)
    else
        report:problem("OpenSSL " .. versions.openssl .. " is too old", "OpenSSL 3.0 or newer is needed")
    end
end

local RIGHTS <const> = {
    private = { "ok", "may be read by this user only" },
    open = { "problem", "may be read by other users of this machine", "chmod 600 " },
    foreign = { "warning", "belongs to another user", "make it this user's own: chown " },
    missing = { "problem", "is not there", "asyncoro secret " },
}

local SAY <const> = { ok = Report.ok, warning = Report.warn, problem = Report.problem }

local function check_rights(report, what, path, rights)
    local line <const> = RIGHTS[rights]
    SAY[line[1]](report, ("%s %s %s"):format(what, path, line[2]), line[3] and line[3] .. path)
end

local MODES <const> = {
    K = "no secret and no certificates: only processes of this user on this machine may be peers",
    S = "a secret is set: peers on any machine that have the same one are let in",
    C = "certificates are set: peers that theirs vouch for are let in",
}

local function check_secret(report, probe)
    local facts <const> = core.doctor("secret", probe)
    local message <const>, mode <const> = one(facts, "error"), one(facts, "mode")
    if one(facts, "secret_file") then
        check_rights(report, "the file of the secret,", probe.secret_file, one(facts, "secret_file"))
    end
    local key <const>, path <const> = one(facts, "key"), one(facts, "key_path")
    if key == "missing" and mode then
        report:note("the key of this user was not there yet and has been made: " .. path)
    elseif key then
        check_rights(report, "the key of this user,", path, key)
    end
    if message then
        report:problem(message)
    elseif mode == "K" then
        report:note(MODES.K, "for peers on other machines: asyncoro secret FILE, the same file on each, "
            .. "and ASYNCORO_SECRET_FILE=FILE")
    else
        report:ok(MODES[mode])
    end
    if one(facts, "warning") then
        report:warn(one(facts, "warning"), "asyncoro secret makes a good one")
    end
    return mode
end

local function check_udp(report, facts)
    local state <const>, port <const> = one(facts, "udp"), one(facts, "udp_port")
    if one(facts, "port_error") then report:problem(one(facts, "port_error")) end
    if state == "free" then
        report:ok(("UDP port %s, of discovery, is free"):format(port))
    elseif state == "shared" then
        report:ok(("UDP port %s, of discovery, is shared: other processes of asyncoro run here"):format(port))
    elseif state == "taken" then
        report:problem(("UDP port %s, of discovery, is taken by a program that does not share it"):format(port),
            ("find it with: ss -ulpn 'sport = :%s'\nor set another port everywhere: ASYNCORO_DISCOVERY_PORT"):format(
            port))
    else
        report:problem(("UDP port %s, of discovery, cannot be used: %s"):format(port, state))
    end
end

local function check_tcp(report, facts)
    local state <const>, port <const> = one(facts, "tcp"), one(facts, "tcp_port")
    if state == "free" then
        report:ok(("TCP port %s is free"):format(port))
    elseif state == "taken" then
        report:note(("TCP port %s is in use: by a node that runs here, or by another program"):format(port),
            ("find it with: ss -tlpn 'sport = :%s'"):format(port))
    else
        report:problem(("TCP port %s cannot be used: %s"):format(port, state))
    end
end

local function is_loopback(host)
    return host:find("^127%.") ~= nil or host == "::1"
end

local function check_addresses(report, facts, mode)
    local list <const> = facts.interface or {}
    if #list == 0 then
        report:problem("no interface is up, not even loopback", "ip link set lo up")
        return
    end
    report:note("addresses: " .. table.concat(list, ", "))
    local host <const> = one(facts, "advertise")
    if mode == "K" then
        report:note("peers are told 127.0.0.1, as without a secret only this machine may connect")
    elseif not host or is_loopback(host) then
        report:warn("peers are told " .. (host or "no address") .. ": no other machine can reach this one",
            "bring a network up, or say network{advertise = \"HOST\"}")
    else
        report:ok(("peers are told %s, unless network{host =} or network{advertise =} says otherwise"):format(host))
    end
end

-- Discovery --------------------------------------------------------------------------------------

local function check_refusals(report, facts)
    local count <const> = tonumber(one(facts, "refused") or 0)
    if count == 0 then return end
    report:warn(("%d %s refused, last of %s"):format(count, count == 1 and "datagram was" or "datagrams were",
        one(facts, "refusal")), "give both sides the same secret, and clocks that agree")
end

local SILENCE <const> = "if a peer runs: has it the same secret and the same discovery port? Is it on the same network "
    .. "segment,\nand is UDP port %s open in the firewalls? Clouds and containers often carry neither broadcast nor "
    .. "multicast:\nname the peers there: network{discovery = {peers = {\"HOST:PORT\"}}}"

local function check_discovery(report, probe, port)
    local facts <const> = core.doctor("discovery", probe)
    if one(facts, "error") then
        report:problem(one(facts, "error"))
        return
    end
    for _, text in ipairs(facts.peer or {}) do
        local location <const>, from <const>, name = text:match("^(%S+) (%S+) (.*)$")
        name = name ~= "" and name ~= location and name .. " at " or ""
        report:ok(("heard %s%s (from %s)"):format(name, location, from))
    end
    if one(facts, "failure") and one(facts, "sent") == "0" then
        report:problem("could not ask at all: " .. one(facts, "failure"))
    elseif one(facts, "failure") then
        report:note("could not ask everywhere: " .. one(facts, "failure"))
    end
    if not facts.peer then
        report:note(("nobody answered within %g s; tried %s"):format(probe.listen, one(facts, "asked")),
            SILENCE:format(port))
    end
    check_refusals(report, facts)
end

-- A peer -----------------------------------------------------------------------------------------

local CAUSES <const> = {
    refused = { "nobody listens at %s", "start the program there, or look for its port: it says it when it starts" },
    timeout = { "nothing answered at %s",
        "is the address right? Is the TCP port open in the firewalls on the way, and forwarded where there is NAT?" },
    unreachable = { "there is no route to %s", "are both machines on networks that reach each other?" },
    denied = { "%s is not of this machine, and without a secret only this machine may be asked",
        "set the same secret on both: ASYNCORO_SECRET_FILE" },
    reset = { "%s closed the connection at once" },
}

-- Does something listen there?
local function check_reached(report, facts)
    if one(facts, "unknown") then
        report:problem("the name of its host is not known here: " .. one(facts, "unknown"),
            "use its address, or put the name into DNS or /etc/hosts")
        return false
    end
    local reached <const> = one(facts, "connected")
    for i, where in ipairs(facts.unreachable or {}) do
        local cause <const> = CAUSES[facts.cause[i]] or { "%s: " .. facts.cause[i] }
        if reached then
            report:note(cause[1]:format(where))
        else
            report:problem(cause[1]:format(where), cause[2])
        end
    end
    if reached then report:ok("something listens at " .. reached) end
    return reached ~= nil
end

local ANSWERS <const> = {
    silent = { "it says nothing: it is no process of asyncoro, or hangs", "is this the right port?" },
    closed = { "it closed the connection: it is no process of asyncoro, or has just refused too many",
        "is this the right port? Else try again in a minute" },
    foreign = { "what it answers is not asyncoro's protocol", "is this the right port?" },
}

-- Does it speak our protocol, in our mode of security?
local function check_answer(report, facts)
    local answer <const> = one(facts, "answer")
    if answer == "ok" then
        report:ok(("it speaks asyncoro's protocol, version %s, with the same kind of security"):format(
            one(facts, "peer_version")))
        return true
    end
    local line <const> = ANSWERS[answer]
    if line then
        report:problem(line[1], line[2])
    else
        report:problem("it refuses: " .. (one(facts, "refusal") or answer))
    end
    return false
end

local SHAKEN <const> = {
    K = "it has the key of the same user",
    S = "it has the same secret",
    C = "its certificate is good, and it takes ours",
}

local function check_secure(report, facts)
    local secure <const> = one(facts, "secure")
    if secure == "ok" then
        report:ok(SHAKEN[one(facts, "mode")])
        return true
    end
    report:problem("the handshake failed: " .. (secure or "?"))
    return false
end

local function check_clock(report, seconds)
    local text <const> = ("its clock is %.3g s %s ours"):format(math.abs(seconds),
        seconds >= 0 and "ahead of" or "behind")
    if math.abs(seconds) > 300 then
        report:problem(text .. ": discovery refuses what differs by more than 300 s", "set both clocks (NTP)")
    elseif math.abs(seconds) > 5 then
        report:warn(text, "set both clocks (NTP)")
    else
        report:ok(text)
    end
end

local function check_hello(report, facts, asked)
    local hello <const> = one(facts, "hello")
    if hello ~= "ok" then
        report:problem("it refuses: " .. (hello or "?"))
        return
    end
    local name <const>, location <const> = one(facts, "name") or "", one(facts, "location") or ""
    report:ok(("it is %s, asyncoro %s, and answered in %.3g ms"):format(name ~= "" and name or location,
        one(facts, "agent") or "?", tonumber(one(facts, "trip")) * 1000))
    if one(facts, "clock") then check_clock(report, tonumber(one(facts, "clock"))) end
    if location ~= "" and location ~= asked then
        report:note(("it tells others that it is at %s: they must reach it there"):format(location),
            "if they cannot (NAT, a container): network{advertise = \"" .. asked .. "\"} there")
    end
end

local function check_peer(report, probe)
    local facts <const> = core.doctor("peer", probe)
    if one(facts, "error") then
        report:problem(one(facts, "error"))
    elseif check_reached(report, facts) and check_answer(report, facts) and check_secure(report, facts) then
        check_hello(report, facts, probe.location)
    end
end

-- The command ------------------------------------------------------------------------------------

local TEXTS <const> = {
    ["--secret-file"] = "secret_file", ["--certfile"] = "certfile", ["--keyfile"] = "keyfile", ["--cafile"] = "cafile",
}
local NUMBERS <const> = {
    ["--port"] = "tcp", ["--discovery-port"] = "udp", ["--listen"] = "listen", ["--timeout"] = "patience",
}

local function number_of(option, text, probe)
    local number <const> = tonumber(text)
    local is_port <const> = NUMBERS[option] == "udp" or NUMBERS[option] == "tcp"
    if not number or number < 0 or is_port and (number % 1 ~= 0 or number < 1 or number > 65535) then
        return nil, ("%s: %s is no %s"):format(option, text, is_port and "port" or "number of seconds")
    end
    probe[NUMBERS[option]] = number
    return true
end

-- nil and a message for what is wrong; "help".
local function parse(arg)
    local probe <const> = { listen = 1.5, patience = 5 }
    local i = 1
    while arg[i] do
        local word <const>, text <const> = arg[i], arg[i + 1]
        if word == "--help" then return "help" end
        if TEXTS[word] or NUMBERS[word] then
            if not text then return nil, word .. " needs a value" end
            if TEXTS[word] then
                probe[TEXTS[word]] = text
            else
                local good <const>, message <const> = number_of(word, text, probe)
                if not good then return nil, message end
            end
            i = i + 2
        elseif word:sub(1, 1) == "-" or probe.location then
            return nil, ("'%s' is not expected; asyncoro doctor --help says more"):format(word)
        else
            probe.location = word
            i = i + 1
        end
    end
    return probe
end

-- The secret, from where the programs take it too.
local function take_secret(probe)
    if probe.certfile then return true end
    if not probe.secret_file then
        probe.secret_file = os.getenv("ASYNCORO_SECRET_FILE")
        if not probe.secret_file or probe.secret_file == "" then
            probe.secret_file = nil
            local secret <const> = os.getenv("ASYNCORO_SECRET")
            probe.secret = secret ~= "" and secret or nil
            return true
        end
    end
    local file <const>, message <const> = io.open(probe.secret_file, "rb")
    local text <const> = file and file:read("a")
    if file then file:close() end
    if not text then return nil, message or probe.secret_file .. ": cannot be read" end
    probe.secret = text:gsub("[\r\n]+$", "")
    if probe.secret == "" then return nil, probe.secret_file .. ": is empty" end
    return true
end

local function examine(report, probe)
    report:heading("this build")
    check_versions(report)
    report:heading("security")
    local good <const>, message <const> = take_secret(probe)
    if not good then
        report:problem("the secret cannot be read: " .. message, "asyncoro secret FILE makes one")
        return
    end
    local mode <const> = check_secret(report, probe)
    report:heading("this machine")
    local facts <const> = core.doctor("machine", probe)
    check_udp(report, facts)
    check_tcp(report, facts)
    check_addresses(report, facts, mode)
    if mode and probe.listen > 0 then
        report:heading("discovery")
        check_discovery(report, probe, one(facts, "udp_port"))
    end
    if mode and probe.location then
        report:heading("the process at " .. probe.location)
        check_peer(report, probe)
    end
end

local function count(n, word)
    return ("%d %s%s"):format(n, word, n == 1 and "" or "s")
end

--- Run it.
-- Waits; so it is called inside a coro.
-- @tparam {string,...} arg the words of the command line
-- @tparam[opt] file out where the report goes, else the standard output
-- @treturn integer the exit code: 0, or 1 when there is a problem
-- @treturn[2] nil
-- @treturn[2] string what is wrong with the command line
function doctor.main(arg, out)
    local probe <const>, message <const> = parse(arg)
    out = out or io.stdout
    if probe == "help" then
        out:write(USAGE)
        return 0
    elseif not probe then
        return nil, message
    end
    local report <const> = new_report(out)
    examine(report, probe)
    if report.problems == 0 and report.warnings == 0 then
        out:write("All is well.\n")
    else
        out:write(count(report.problems, "problem"), ", ", count(report.warnings, "warning"), ".\n")
    end
    return report.problems == 0 and 0 or 1
end

return doctor
