-- SPDX-License-Identifier: MIT
-- Long runs: what scripts/soak does once everything is built. ASYNCORO_BUILD is a build with the tests.
--   run.lua [--minutes N] [--peers N] [--short]
-- Prints "ok - ..." and "not ok - ..." lines, tables between them, and at last "N passed, N failed".
local chaos <const> = require "spec.net.chaos"
local namespaces <const> = require "spec.net.namespaces"
local program <const> = require "spec.program"

local PEERS <const> = (os.getenv "ASYNCORO_BUILD" or "build") .. "/spec/soak_peers"
local BOXES <const> = 1000
local USAGE <const> = "usage: scripts/soak [--minutes N] [--peers N] [--short]\n"

local FULL <const> = { minutes = 20, peers = 200, tick = 5, idle = 1000, quiet = 20, compute = 30, partition = 60 }
local SHORT <const> = { minutes = 1 / 3, peers = 50, tick = 1, idle = 200, quiet = 6, compute = 3 }

-- What the last third of a run may have more than the first one: a share of it, and so much. Peers that come and go at
-- random make the number of connections vary.
local BOUNDS <const> = {
    { "rss", "RSS", " MiB", share = 0.05, more = 3 },
    { "descriptors", "descriptors", "", share = 0.10, more = 10 },
    { "threads", "threads", "", share = 0, more = 2 },
}

local passed, failed = 0, 0

local function check(ok, format, ...)
    if ok then passed = passed + 1 else failed = failed + 1 end
    print((ok and "ok - " or "not ok - ") .. format:format(...))
    return ok
end

local function say(format, ...) print(format:format(...)) end

-- The processes -----------------------------------------------------------------------------------

-- The numbers of a line "word name=number ...".
local function numbers(line, word)
    if not (line and line:find("^" .. word .. " ")) then error(("%q expected: %s"):format(word, line), 2) end
    local found <const> = {}
    for name, number in line:gmatch "(%a+)=(%S+)" do found[name] = tonumber(number) end
    return found
end

local Target <const> = {}
Target.__index = Target

-- The process under test. `secret`: with one.
local function start_target(folder, secret, seconds)
    local env <const> = { HOME = folder, ASYNCORO_SECRET_FILE = secret and folder .. "/secret" or nil }
    local self <const> = setmetatable({ said = {} }, Target)
    self.running = program.converse({ "spec/soak/target.lua", tostring(BOXES), folder .. "/arrived" },
        { env = env, seconds = seconds })
    local line <const> = self.running:line()
    self.location, self.id = (line or ""):match "^(%S+) (%d+)$"
    if not self.location then error("the process under test does not start: " .. tostring(line)) end
    self:ask "status" -- what it opens at its start is open then
    return self
end

-- The next line that begins with a word; what the watchdog says meanwhile, on a machine that is busy, is kept.
function Target:hear(word)
    while true do
        local line <const> = self.running:line()
        if not line then error("the process under test has ended: " .. table.concat(self.said, "\n"), 2) end
        if line:find("^" .. word) then return line end
        self.said[#self.said + 1] = line
    end
end

function Target:ask(line)
    self.running:type(line)
    return numbers(self:hear "status ", "status")
end

-- What it printed without being asked, but for what the watchdog says on a machine that is busy.
local function complaints(lines)
    local found <const> = {}
    for line in lines:gmatch "[^\n]+" do
        local is_new <const> = line:find "^%S" and not line:find "^stack traceback"
        if is_new and not line:find "without waiting" then found[#found + 1] = line end
    end
    return table.concat(found, "; ")
end

-- Ends it, and tells what was wrong in it.
function Target:finish()
    self.running:type "faults"
    local faults <const> = self:hear "faults":match "^faults ?(.*)$"
    self.running:type "quit"
    local code <const>, rest <const> = self.running:finish()
    local said <const> = table.concat(self.said, "\n") .. "\n" .. rest
    local wrong <const> = faults .. complaints(said)
    check(code == 0 and wrong == "", "the process under test found no fault, and ended well: code %s %s", code, wrong)
    if said:find "%S" then say("it said: %s", said) end
end

function Target:sample()
    local status <const> = program.read(("/proc/%s/status"):format(self.id))
    local stat <const> = program.read(("/proc/%s/stat"):format(self.id))
    local user, system = stat:match "^%d+ %b() %S+ %S+ %S+ %S+ %S+ %S+ %S+ %S+ %S+ %S+ %S+ (%d+) (%d+)"
    return {
        rss = tonumber(status:match "VmRSS:%s*(%d+)") / 1024,
        threads = tonumber(status:match "Threads:%s*(%d+)"),
        descriptors = tonumber(program.capture(("ls /proc/%s/fd | wc -l"):format(self.id))),
        cpu = (tonumber(user) + tonumber(system)) / tonumber(program.capture "getconf CLK_TCK"),
    }
end

local function start_peers(target, folder, secret, seconds, ...)
    return program.converse({
        target.location, "--folder", folder .. "/files", "--boxes", tostring(BOXES),
        table.unpack(secret and { "--secret", folder .. "/secret", ... } or { ... }),
    }, { program = PEERS, env = { HOME = folder }, seconds = seconds })
end

-- Lets all peers leave; their last figures.
local function leave(peers)
    peers:type "quit"
    local line
    repeat line = peers:line() until not line or not line:find "^tick "
    local last <const> = numbers(line, "end")
    local code <const>, rest <const> = peers:finish()
    check(code == 0 and rest == "", "the simulator of peers ended well%s", rest)
    return last
end

local function check_sound(last, what)
    check(last.lost == 0, "%s: no connection was lost (%d were)", what, last.lost)
    check(last.faults == 0, "%s: all that was confirmed has come, in order, none twice (%d faults)", what, last.faults)
    check(last.stuck == 0, "%s: every wait of a peer ended (%d did not)", what, last.stuck)
end

-- Many peers that are silent ----------------------------------------------------------------------

local function idle(plan, folder, secret)
    local what <const> = secret and "with a secret" or "without a secret"
    local target <const> = start_target(folder, secret, 300)
    local before <const> = target:sample()
    local peers <const> = start_peers(target, folder, secret, 300, "--peers", tostring(plan.idle), "--idle",
        "--tick", "1")
    local tick
    repeat tick = numbers(peers:line(), "tick") until tick.joined == plan.idle
    local start <const> = target:sample()
    for _ = 1, plan.quiet do peers:line() end
    local over <const> = target:sample()
    local each <const> = (over.rss - before.rss) * 1024 / plan.idle
    local cpu <const> = (over.cpu - start.cpu) / plan.quiet * 100
    say("%d idle peers %s: %.1f KiB, %.3f descriptors each; %d threads; %.2f %% of a core", plan.idle, what, each,
        (over.descriptors - before.descriptors) / plan.idle, over.threads, cpu)
    check(each <= 64, "an idle peer %s takes %.1f KiB: 64 at most", what, each)
    check(over.descriptors - before.descriptors <= plan.idle + 5, "an idle peer %s takes one descriptor", what)
    check(cpu <= 5, "heartbeats of %d peers %s take %.2f %% of a core: 5 at most", plan.idle, what, cpu)
    peers:type "pass"
    local line
    repeat line = peers:line() until not line or line:find "^passed"
    local count <const>, seconds <const> = (line or ""):match "^passed (%d+) (%S+)$"
    check(tonumber(count) == plan.idle, "a message of each of %d peers %s was confirmed, within %s s", plan.idle, what,
        seconds)
    check_sound(leave(peers), "idle peers " .. what)
    local gone <const> = target:ask "settle"
    check(gone.peers == 0 and target:sample().descriptors <= before.descriptors + 2, "idle peers %s leave no descriptor",
        what)
    target:finish()
end

-- A coro that computes ----------------------------------------------------------------------------

local function computing(plan, folder)
    local target <const> = start_target(folder, true, 300)
    local peers <const> = start_peers(target, folder, true, 300, "--peers", "20", "--no-calls", "--tick", "1",
        "--life", "8", "--groups", "4")
    local tick
    repeat tick = numbers(peers:line(), "tick") until tick.joined >= 20
    target.running:type("compute " .. plan.compute)
    local stalls, slowest, joined = 0, 0, tick.joined
    for _ = 1, plan.compute - 1 do
        local next_tick <const> = numbers(peers:line(), "tick")
        if next_tick.delivered == tick.delivered then stalls = stalls + 1 end
        slowest, tick = math.max(slowest, next_tick.slowest), next_tick
    end
    say("computing for %d s: %d deliveries confirmed so far, the slowest in %.3f s; %d peers came meanwhile",
        plan.compute, tick.delivered, slowest, tick.joined - joined)
    check(stalls == 0 and slowest < 2, "deliveries are confirmed while a coro computes for %d s", plan.compute)
    if plan.compute > 10 then check(tick.joined > joined, "peers come while a coro computes") end
    target:hear "computed"
    target.said = {} -- by the watchdog, and rightly
    local last <const> = leave(peers)
    check_sound(last, "computing")
    local wanted <const> = last.sent + last.delivered
    local got <const> = target:ask("settle " .. wanted)
    check(got.messages == wanted, "%d messages were sent and confirmed meanwhile, %d have come", wanted, got.messages)
    check(got.joined == got.ended, "computing: every wait for a peer ended: %d of %d", got.ended, got.joined)
    target:finish()
end

-- Partitions --------------------------------------------------------------------------------------

local function partitions(plan)
    local missing <const> = namespaces.missing()
    if missing then
        say("ok - # SKIP partitions of %d s: %s", plan.partition, missing)
        return
    end
    local folder <const> = chaos.folder()
    for _, way in ipairs { "a black hole", "a pulled plug" } do
        local took
        local wire <const> = namespaces.wire()
        local ok <const>, message <const> = pcall(chaos.talk, wire, folder, function(source)
            if way == "a black hole" then wire[1]:blackhole(true) else wire[1]:plug(false) end
            source:wait(plan.partition)
            assert(source:losses() >= 1, "the loss was not seen")
            if way == "a black hole" then wire[1]:blackhole() else wire[1]:plug(true) end
            took = source:more(50, 60)
        end, 3 * plan.partition + 120)
        check(ok, "%s for %d s: every wait ends, order holds, none comes twice; 50 deliveries %.1f s after its end%s",
            way, plan.partition, took or -1, ok and "" or ": " .. message)
    end
    program.remove(folder)
end

-- Peers that come and go --------------------------------------------------------------------------

local function median(samples, first, last, what)
    local values <const> = {}
    for i = first, last do values[#values + 1] = samples[i][what] end
    table.sort(values)
    return values[(#values + 1) // 2]
end

-- The last third against the first one after the beginning, in which peers come only.
local function check_flat(samples, joined)
    local skipped <const> = joined + #samples // 10
    local third <const> = (#samples - skipped) // 3
    for _, bound in ipairs(BOUNDS) do
        local what <const>, name <const>, unit <const> = table.unpack(bound)
        local first <const> = median(samples, skipped + 1, skipped + third, what)
        local last <const> = median(samples, #samples - third + 1, #samples, what)
        local most <const> = first * (1 + bound.share) + bound.more
        check(last <= most, "%s flat: median of the first third %.1f%s, of the last %.1f; %.1f at most", name, first,
            unit, last, most)
    end
end

local ROW <const> = "%6s %6s %8s %6s %7s %8s %8s %8s %8s %7s %7s %6s %8s"

local function print_row(at, target, tick, sample)
    local status <const> = target:ask "status"
    say(ROW, ("%d s"):format(at), status.peers, ("%.1f"):format(sample.rss), sample.descriptors, sample.threads,
        ("%.1f"):format(status.memory / 1024), tick.joined, tick.killed, tick.sent, tick.delivered, tick.called,
        tick.files, ("%.3f"):format(tick.slowest))
end

local function soak(plan, folder)
    local seconds <const> = plan.minutes * 60
    local limit <const> = seconds // 1 + 300
    local target <const> = start_target(folder, true, limit)
    local before <const> = target:sample()
    local peers <const> = start_peers(target, folder, true, limit, "--peers", tostring(plan.peers), "--tick",
        tostring(plan.tick), "--life", tostring(math.min(40, seconds / 3)),
        "--kill", tostring(math.min(5, seconds / 10)))
    local samples <const> = {}
    local rounds <const>, joined, slowest = seconds // plan.tick, 0, 0
    local every <const> = math.max(1, rounds // 30)
    say(ROW, "time", "peers", "RSS MiB", "fds", "threads", "Lua MiB", "joined", "killed", "sent", "deliver", "call",
        "files", "slowest")
    for round = 1, rounds do
        local tick <const> = numbers(peers:line(), "tick")
        samples[round] = target:sample()
        if tick.joined < plan.peers then joined = round end
        slowest = math.max(slowest, tick.slowest)
        if round % every == 0 then print_row(round * plan.tick // 1, target, tick, samples[round]) end
    end
    local last <const> = leave(peers)
    local what <const> = ("%d peers for %g s"):format(plan.peers, seconds)
    local after <const> = target:ask "settle"
    say("%s: %d came, %d left, %d were killed; %d messages sent, %d deliveries, %d calls, %d echoes, %d names, %d files; "
        .. "the slowest confirmation %.3f s; %.0f s of processor time", what, last.joined, last.left, last.killed,
        last.sent, last.delivered, last.called, last.echoed, last.located, last.files, slowest, target:sample().cpu)
    check_sound(last, what)
    local least <const> = math.min(last.delivered, last.called, last.echoed, last.located, last.files, last.killed)
    check(least > 0, "%s: there was traffic of each kind", what)
    check(after.joined == after.ended, "%s: every wait for a peer ended: %d of %d", what, after.ended, after.joined)
    check_flat(samples, joined)
    check(after.peers == 0 and target:sample().descriptors <= before.descriptors + 2, "%s: no descriptor is left", what)
    target:finish()
end

-- All of it ---------------------------------------------------------------------------------------

local function options(words)
    local given <const> = {}
    local n = 1
    while words[n] do
        local name <const> = words[n]:match "^%-%-(%a+)$"
        if name == "short" then
            given.short = true
        elseif name == "minutes" or name == "peers" then
            n = n + 1
            given[name] = tonumber(words[n])
            if not given[name] or given[name] <= 0 then return nil end
        else
            return nil
        end
        n = n + 1
    end
    return given
end

local function make_folder()
    local folder <const> = program.folder()
    program.capture(("mkdir -m 700 %s/arrived %s/files"):format(folder, folder))
    program.write(folder .. "/secret", "a secret of a long run, longer than most\n")
    for n = 0, 19 do program.write(("%s/files/file %d"):format(folder, n), ("file %d "):format(n):rep(n * 500)) end
    return folder
end

local given <const> = options(arg)
if not given then
    io.stderr:write(USAGE)
    os.exit(1)
end
io.stdout:setvbuf "line"
local plan <const> = setmetatable(given, { __index = given.short and SHORT or FULL })
local folder <const> = make_folder()
local function run(name, fn, ...)
    local ok <const>, message <const> = xpcall(fn, debug.traceback, ...)
    if not ok then check(false, "%s: %s", name, message) end
end
run("idle peers", idle, plan, folder, false)
run("idle peers", idle, plan, folder, true)
run("computing", computing, plan, folder)
if plan.partition then run("partitions", partitions, plan) end
run("soak", soak, plan, folder)
program.remove(folder)
say("%d passed, %d failed", passed, failed)
os.exit(failed == 0 and passed > 0)
