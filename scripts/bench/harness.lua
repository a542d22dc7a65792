-- SPDX-License-Identifier: MIT
-- Runs the workloads of catalogue.lua, asyncoro and its peers in turn, round by round, so that a busy spell
-- of the machine hits all of them; takes medians and prints figures, ratios and targets.
-- Arguments: this folder, the build folder, then those of scripts/bench/run.

local here <const>, build <const> = arg[1], arg[2]
local catalogue <const> = dofile(here .. "/catalogue.lua")

local US <const> = "asyncoro"
local WORD <const> = "LUA_PATH='" .. here .. "/peers/?.lua;;' lua5.4 " .. here .. "/peers/on_%s.lua"

--- The command line of each peer, without workload and count.
local commands <const> = {
    ceiling = build .. "/bench/ceiling",
    go = "GOMAXPROCS=1 " .. build .. "/bench/go",
    erlang = "erl -noinput +S 1:1 +P 20000000 -pa " .. build .. "/bench -run bench main",
    pure = WORD:format("pure"),
    shell = here .. "/peers/shell",
    cqueues = WORD:format("cqueues"),
    luv = WORD:format("luv"),
    copas = WORD:format("copas"),
    node = "node",
    nginx = "nginx",
    zeromq = "pair",
    nats = "pair",
    redis = "pair",
    skynet = "pair",
    sendfile = "pair",
    netcat = "pair",
    plain = "pair",
}

--- What tells that a peer is there, besides the pure-Lua one, which always is.
local probes <const> = {
    ceiling = "test -x " .. build .. "/bench/ceiling",
    go = "test -x " .. build .. "/bench/go",
    erlang = "test -f " .. build .. "/bench/bench.beam && command -v erl",
    cqueues = "lua5.4 -e 'require \"cqueues\"'",
    luv = "lua5.4 -e 'require \"luv\"'",
    node = "command -v node",
    nginx = "command -v nginx",
    zeromq = build .. "/bench/pair zmq w10 1",
    nats = "command -v nats-server",
    redis = "command -v redis-server",
    skynet = "test -x \"$SKYNET/skynet\"",
    sendfile = "test -x " .. build .. "/bench/sendfile",
    netcat = "nc -h 2>&1 | grep -q OpenBSD",
    copas = "lua5.4 -e 'package.path = \"/usr/share/lua/5.2/?.lua;\" .. package.path; require \"copas\"'",
}

local function fail(message)
    io.stderr:write("scripts/bench/run: ", message, "\n")
    os.exit(1)
end

local function find(name)
    for _, workload in ipairs(catalogue) do
        if workload.name == name then
            return workload
        end
    end
    local names <const> = {}
    for i, workload in ipairs(catalogue) do
        names[i] = workload.name
    end
    fail(("no workload %q; there are: %s"):format(name, table.concat(names, " ")))
end

local function parse_options()
    local options <const> = { rounds = 5, quick = false, workloads = {} }
    local i = 3
    while arg[i] do
        local word <const>, value <const> = arg[i], arg[i + 1]
        if word == "--quick" then
            options.quick = true
        elseif word == "--rounds" then
            options.rounds = math.tointeger(value)
            if not options.rounds or options.rounds < 1 then
                fail("--rounds wants a whole number above 0")
            end
            i = i + 1
        elseif word == "--peers" then
            options.peers = {}
            for name in (value or fail("--peers wants names")):gmatch("[^,]+") do
                options.peers[name] = commands[name] and true or fail("no peer " .. name)
            end
            i = i + 1
        elseif word:sub(1, 1) == "-" then
            fail("unknown option " .. word)
        else
            table.insert(options.workloads, find(word))
        end
        i = i + 1
    end
    if #options.workloads == 0 then
        options.workloads = catalogue
    end
    return options
end

--- The peers that were asked for and are installed; says which are not.
local function installed_peers(wanted)
    local peers <const>, missing <const> = {}, {}
    for name in pairs(commands) do
        if not wanted or wanted[name] then
            local probe <const> = probes[name]
            if not probe or os.execute("{ " .. probe .. "; } >/dev/null 2>&1") then
                peers[name] = true
            else
                table.insert(missing, name)
            end
        end
    end
    if #missing > 0 then
        table.sort(missing)
        print("not installed, left out: " .. table.concat(missing, " "))
    end
    return peers
end

--- Servers, which the load client starts: by the kind of load and the peers' names.
local servers <const> = {
    echo = {
        ceiling = build .. "/bench/echo",
        go = "GOMAXPROCS=1 " .. build .. "/bench/echo_go",
        luv = "lua5.4 " .. here .. "/peers/echo_luv.lua",
        cqueues = "lua5.4 " .. here .. "/peers/echo_cqueues.lua",
        copas = "lua5.4 " .. here .. "/peers/echo_copas.lua",
        node = "node " .. here .. "/peers/echo.js",
    },
    http = {
        nginx = here .. "/peers/pong_nginx",
        go = "GOMAXPROCS=1 " .. build .. "/bench/pong_go",
        node = "node " .. here .. "/peers/pong.js",
    },
}

--- Two processes that talk, by the peers' names; without workload and count.
local pairs_of <const> = {
    ceiling = build .. "/bench/pair raw",
    zeromq = build .. "/bench/pair zmq",
    nats = build .. "/bench/pair nats",
    redis = build .. "/bench/pair redis",
    erlang = "erl -noinput -sname bench" .. os.time() .. " -pa " .. build .. "/bench -run dist main",
    skynet = here .. "/peers/pair_skynet",
    sendfile = build .. "/bench/sendfile",
    netcat = here .. "/peers/pair_netcat",
}

-- Ours, and ours without the secret ("plain") beside ours with one.
local function our_pair(who, workload, n)
    local name <const>, with_secret <const> = workload.name:gsub("_secret$", "")
    local secret <const> = with_secret > 0 and who == US and "ASYNCORO_SECRET=" .. ("5e"):rep(16) or ""
    return ("%s %s/bin/asyncoro %s/asyncoro/%s.lua %d"):format(secret, build, here, name, n)
end

local function command_of(who, workload, n)
    if workload.pair then
        return pairs_of[who] and ("%s %s %d"):format(pairs_of[who], workload.name, n) or our_pair(who, workload, n)
    end
    if workload.load then
        local server <const> = who == US and ("%s/bin/asyncoro %s/asyncoro/tls.lua"):format(build, here)
            or build .. "/bench/tls serve"
        return ("%s/bench/tls %s %d env %s"):format(build, workload.load, n, server)
    end
    if workload.served then
        local server <const> = servers[workload.served][who]
            or ("%s/bin/asyncoro %s/asyncoro/%s.lua"):format(build, here, workload.name)
        return ("%s/bench/load %s %d env %s"):format(build, workload.served == "http" and "--http" or "", n, server)
    end
    if who == US then
        return ("%s/bin/asyncoro %s/asyncoro/%s.lua %d"):format(build, here, workload.name, n)
    end
    return ("%s %s %d"):format(commands[who], workload.name, n)
end

--- Runs one program; its figures, or nil when it failed.
local function measure(who, workload, n)
    local pipe <const> = assert(io.popen("exec timeout 600 env " .. command_of(who, workload, n)))
    local text <const> = pipe:read("a")
    local figures <const> = {}
    for word in text:gmatch("%S+") do
        table.insert(figures, tonumber(word))
    end
    if not pipe:close() or #figures == 0 then
        return nil
    end
    return figures
end

local function median(values)
    table.sort(values)
    local middle <const> = #values // 2
    return #values % 2 == 1 and values[middle + 1] or (values[middle] + values[middle + 1]) / 2
end

--- The medians, figure by figure, of a list of runs.
local function medians(runs)
    local result <const> = {}
    for k = 1, #runs[1] do
        local values <const> = {}
        for i, figures in ipairs(runs) do
            values[i] = figures[k]
        end
        result[k] = median(values)
    end
    return result
end

--- Everybody's medians for one workload; nobody runs again after a failure.
local function compete(workload, who, n, rounds)
    local runs <const>, failed <const> = {}, {}
    for round = workload.once and 1 or 0, workload.once and 1 or rounds do
        for _, name in ipairs(who) do
            local figures <const> = not failed[name] and measure(name, workload, n)
            if not figures then
                failed[name] = true
            elseif round > 0 then
                runs[name] = runs[name] or {}
                table.insert(runs[name], figures)
            end
        end
    end
    local results <const> = {}
    for _, name in ipairs(who) do
        results[name] = not failed[name] and medians(runs[name]) or nil
    end
    return results
end

local function number(value)
    local size <const> = math.abs(value)
    if size >= 1e6 then
        return ("%.2fM"):format(value / 1e6)
    elseif size >= 1e4 then
        return ("%.0fk"):format(value / 1e3)
    elseif size >= 100 then
        return ("%.0f"):format(value)
    end
    return ("%.3g"):format(value)
end

--- The text of a target and whether `ours` meets it; `theirs` is the peer's figure, nil for a constant.
local function verdict(workload, target, ours, theirs)
    local limit <const> = target.value or target.ratio * theirs
    local met <const> = workload.low and ours <= limit or not workload.low and ours >= limit
    local sign <const> = workload.low and "<=" or ">="
    local bound <const> = target.value and number(target.value) or ("%.2fx"):format(target.ratio)
    return ("target %s %s: %s"):format(sign, bound, met and "met" or "missed")
end

local function target_for(workload, peer)
    for _, target in ipairs(workload.targets) do
        if target.peer == peer then
            return target
        end
    end
end

local function row(workload, name, results)
    local figures <const>, ours <const> = results[name], results[US]
    if not figures then
        return ("  %-9s %10s"):format(name, "failed")
    end
    local theirs <const> = name ~= US and figures[1] or nil
    local ratio <const> = theirs and ours and ("%.2fx"):format(ours[1] / theirs) or ""
    local target <const> = target_for(workload, theirs and name)
    local parts <const> = { ("  %-9s %10s %8s"):format(name, number(figures[1]), ratio) }
    if target and ours then
        table.insert(parts, verdict(workload, target, ours[1], theirs))
    end
    for i, note in ipairs(workload.notes or {}) do
        table.insert(parts, figures[i + 1] and number(figures[i + 1]) .. " " .. note)
    end
    return (table.concat(parts, "  "):gsub("%s+$", ""))
end

--- Bytes of memory the system can still give.
local function free_memory()
    local file <close> = assert(io.open("/proc/meminfo"))
    return tonumber(file:read("a"):match("MemAvailable:%s*(%d+)")) * 1024
end

--- Runs and prints one workload; false when asyncoro failed in it.
local function run(workload, options, peers)
    local n <const> = options.quick and workload.quick or workload.n
    print(("%s  %s, n = %d (%s, %s is better)"):format(workload.name, workload.title, n, workload.unit,
        workload.low and "less" or "more"))
    if workload.memory and free_memory() < n * workload.memory then
        print(("  skipped: needs %.1f GiB of free memory"):format(n * workload.memory / 2 ^ 30))
        return true
    end
    local who <const> = { US }
    for _, name in ipairs(workload.peers) do
        if peers[name] then
            table.insert(who, name)
        end
    end
    local results <const> = compete(workload, who, n, options.rounds)
    for _, name in ipairs(who) do
        print(row(workload, name, results))
    end
    io.stdout:flush()
    return results[US] ~= nil
end

local options <const> = parse_options()
local peers <const> = installed_peers(options.peers)
print(("medians of %d rounds after a warm-up; ratio = asyncoro / peer"):format(options.rounds))
local sound = true
for _, workload in ipairs(options.workloads) do
    sound = run(workload, options, peers) and sound
end
os.exit(sound)
