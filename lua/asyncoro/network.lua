-- SPDX-License-Identifier: MIT
--- The network of this process: its place, its peers, who may be one. The processes of a network reach each other's
-- coros, channels and RCIs; all engines of a process share its network. See the page on the network.
-- @module asyncoro.network
local core <const> = require "asyncoro.core"
local log <const> = require "asyncoro.log"
local options <const> = require "asyncoro.options"

local network <const> = {}

local OPTIONS <const> = {
    name = "string", secret = "string", host = "string", port = "integer", advertise = "any", discovery = "any",
    certfile = "string", keyfile = "string", cafile = "string", dest_path = "string", max_file_size = "integer",
    linger = "time", heartbeat = "time", peer_timeout = "time", queue_limit = "integer", code = "boolean",
}

local DISCOVERY <const> = {
    broadcast = "boolean", multicast = "boolean", peers = "table", dns = "string", file = "string",
    find = "function", port = "integer",
}

-- Places that are found by asking or reading are looked for again so often, in seconds.
local EVERY <const> = 5

-- Whoever waits for a name hears after so many seconds what was tried.
local PATIENCE <const> = 2

-- Checks ----------------------------------------------------------------------------------------

-- The location that was given, or its text. Raises on behalf of the caller's caller.
local function check_location(what, given, level)
    if core.is_location(given) then return given end
    if type(given) ~= "string" then
        error(("%s: a location expected, got %s"):format(what, type(given)), (level or 2) + 1)
    end
    local location <const>, message <const> = core.location(given)
    if location == nil then error(what .. ": " .. message, (level or 2) + 1) end
    return location
end

local OFF <const> = { broadcast = false, multicast = false }

local function check_discovery(given)
    if given == false then return OFF end
    if given == nil then return {} end
    local known <const> = options.check("network: discovery", given, DISCOVERY, 3)
    if known.port then options.check_port("network: discovery", known.port) end
    for _, place in ipairs(known.peers or {}) do check_location("network: discovery: peers", place, 3) end
    return known
end

-- The port of discovery, nil for the usual one: the option, or what the environment asks for; nil and a message when that
-- is none.
local function port_of(discovery)
    local text <const> = os.getenv "ASYNCORO_DISCOVERY_PORT"
    if discovery == OFF or discovery.port or not text or text == "" then return discovery.port end
    local port <const> = math.tointeger(tonumber(text))
    if port and port > 0 and port <= 65535 then return port end
    return nil, ("network: ASYNCORO_DISCOVERY_PORT: a port of 1 to 65535 expected, got '%s'"):format(text)
end

-- Secrets ---------------------------------------------------------------------------------------

local function read_secret(path)
    local file <const>, message <const> = io.open(path, "rb")
    if not file then return nil, ("network: the file of the secret: %s"):format(message), "notfound" end
    local text <const> = (file:read(4096) or ""):gsub("[\r\n]+$", "")
    file:close()
    if text == "" then return nil, ("network: the file of the secret, %s, is empty"):format(path), "invalid" end
    return text
end

-- The secret: the option, the file that the environment names, or the environment's own; none with certificates.
local function find_secret(given)
    if given.secret == "" then error("network: option 'secret': it is empty", 3) end
    if given.secret or given.certfile then return given.secret end
    local path <const>, word <const> = os.getenv "ASYNCORO_SECRET_FILE", os.getenv "ASYNCORO_SECRET"
    if path and path ~= "" then return read_secret(path) end
    return word ~= "" and word or nil
end

-- Places that are asked for --------------------------------------------------------------------

local function of_dns(text)
    local host <const>, port <const> = text:match "^(.+):(%d+)$"
    if not host then error("network: discovery: dns: 'name:port' expected, got " .. text, 3) end
    return function()
        local places <const> = {}
        local addresses <const>, message <const> = require "asyncoro.resolve"(host, { timeout = EVERY })
        if not addresses then log:warning("discovery: %s", message) end
        for _, address in ipairs(addresses or {}) do
            places[#places + 1] = (address:find(":", 1, true) and "[%s]:%s" or "%s:%s"):format(address, port)
        end
        return places
    end
end

local function of_file(path)
    return function()
        local places <const> = {}
        local file <const>, message <const> = io.open(path)
        if not file then
            log:warning("discovery: %s", message)
            return places
        end
        for line in file:lines() do
            local place <const> = line:gsub("#.*", ""):match "%S+"
            if place then places[#places + 1] = place end
        end
        file:close()
        return places
    end
end

-- Keep in touch with what was found and is new.
local function visit(places, known)
    for _, place in ipairs(places or {}) do
        local location <const>, message <const> = core.location(place)
        if location == nil then
            log:warning("discovery: %s", message)
        elseif not known[location] then
            known[location] = true
            core.network_peer(location, true, 0)
        end
    end
end

local function keep_looking(find)
    local known <const> = {}
    core.spawn({ name = "discovery", daemon = true }, function()
        while core.network_runs() do
            local ok <const>, places <const> = pcall(find)
            if ok then
                visit(places, known)
            else
                log:error("discovery: find failed: %s", places)
            end
            core.sleep(EVERY)
        end
    end)
end

-- Start -----------------------------------------------------------------------------------------

local function settings_of(given, discovery, secret, port)
    local settings <const> = {}
    for name, value in pairs(given) do settings[name] = value end
    settings.secret = secret
    settings.advertise = given.advertise and tostring(given.advertise)
    settings.peers = discovery.peers
    settings.broadcast = discovery.broadcast ~= false
    settings.multicast = discovery.multicast ~= false
    settings.discovery_port = port
    return settings
end

--- Start the network of this process. It starts by itself, with what is usual, when something first needs it. Waits.
-- @function network
-- @tparam[opt] table opts
-- @tparam[opt] string opts.name name of this process, for `locate_peer`; its location when it is left out
-- @tparam[opt] string opts.secret whoever has it may be a peer; also from `ASYNCORO_SECRET_FILE`, `ASYNCORO_SECRET`
-- @tparam[opt] string opts.certfile, with `keyfile` and `cafile`: certificates instead of a secret
-- @tparam[opt] string opts.host the address to listen at; loopback without a secret, else everywhere
-- @tparam[opt=0] integer opts.port 0: a free one
-- @tparam[opt] string opts.advertise the host, or location, that others are told
-- @tparam[opt] table|boolean opts.discovery `broadcast`, `multicast` (true), `peers` (locations), `dns` ("name:port"),
-- `file` (of locations), `find` (a function that returns locations), `port`; false: none at all
-- @tparam[opt] string opts.dest_path where files of peers go; "": none are taken; `asyncoro/files` in `$XDG_STATE_HOME`
-- or `~/.local/state` when it is left out
-- @tparam[opt] integer opts.max_file_size bytes; 0: no limit
-- @tparam[opt=5] number opts.linger seconds for what is queued, at the end of the program
-- @tparam[opt=5] number opts.heartbeat seconds
-- @tparam[opt=15] number opts.peer_timeout seconds of silence after which a peer is lost
-- @tparam[opt] integer opts.queue_limit bytes that may wait for one peer
-- @tparam[opt=false] boolean opts.code functions and classes may come from peers
-- @treturn location of this process
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "exists" when it has been started, "auth", "denied", "invalid", "busy" and what else listening gives
-- @raise on an unknown or malformed option
function network.network(opts)
    local given <const> = options.check("network", opts, OPTIONS)
    if given.port then options.check_port("network", given.port) end
    local discovery <const> = check_discovery(given.discovery)
    local find <const> = { discovery.find, discovery.dns and of_dns(discovery.dns),
        discovery.file and of_file(discovery.file) }
    local secret <const>, message <const>, code <const> = find_secret(given)
    if secret == nil and message then return nil, message, code end
    local port <const>, refusal <const> = port_of(discovery)
    if refusal then return nil, refusal, "invalid" end
    local location <const>, warning <const>, word <const> =
        core.network_start(settings_of(given, discovery, secret, port))
    if location == nil then return nil, warning, word end
    if warning then log:warning("network: %s", warning) end
    for _, function_or_false in pairs(find) do
        if function_or_false then keep_looking(function_or_false) end
    end
    return location
end

--- There is a network, perhaps from now on. For our own Lua files. Waits.
-- @tparam string what the function that needs it
-- @treturn boolean true
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string code
function network.ready(what)
    local runs <const>, may_start <const> = core.network_runs()
    if runs then return true end
    if not may_start then
        return nil, what .. ": this process has no network: asyncoro.network starts it", "notfound"
    end
    local location <const>, message <const>, code <const> = network.network()
    if location or code == "exists" then return true end
    return nil, message, code
end

-- Peers -----------------------------------------------------------------------------------------

local PEER_OPTIONS <const> = { timeout = "time", keep = "boolean" }

--- Connect to the process at a location, which makes it a peer; at once when it is one. Waits.
-- @function peer
-- @tparam location|string location
-- @tparam[opt] table opts
-- @tparam[opt] number opts.timeout seconds
-- @tparam[opt=false] boolean opts.keep connect again whenever the connection is lost
-- @treturn boolean true
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "refused", "auth", "unreachable", "timeout" ...
function network.peer(location, opts)
    local given <const> = options.check("peer", opts, PEER_OPTIONS)
    local place <const> = check_location("peer", location)
    local ok <const>, message <const>, code <const> = network.ready "peer"
    if not ok then return nil, message, code end
    return core.network_peer(place, given.keep or false, given.timeout)
end

-- What was tried, for people.
local function tried(location)
    local peers <const> = core.network_peers()
    if location then
        for _, peer in ipairs(peers) do
            if peer.location == location then return ("%s, which is there"):format(tostring(location)) end
        end
        return ("%s, which does not answer"):format(tostring(location))
    end
    if #peers == 0 then
        local asked <const> = core.network_discovery()
        if asked == "" then return "this process; discovery is off, and it has no peer" end
        return ("this process; no peer has been found by %s"):format(asked)
    end
    local list <const> = {}
    for i, peer in ipairs(peers) do
        if i > 5 then
            list[i] = ("%d more"):format(#peers - 5)
            break
        end
        list[i] = tostring(peer.location)
    end
    return "this process and its peers " .. table.concat(list, ", ")
end

local function say(what, name, location)
    log:info("waiting for %s '%s': tried %s, nothing answered", what, name, tried(location))
end

-- Wait for an answer of find(timeout), and say so when it takes long.
local function patiently(find, timeout, what, name, location)
    if not core.network_runs() or (timeout and timeout <= PATIENCE) then return find(timeout) end
    local found <const>, message <const>, code <const> = find(PATIENCE)
    if found ~= nil or code ~= "timeout" then return found, message, code end
    say(what, name, location)
    return find(timeout and timeout - PATIENCE)
end

--- Look for a name, for our own Lua files: `find(name, location, timeout)` looks. Waits.
-- @tparam string what "locate", say
-- @tparam string kind "coro", say
-- @tparam function find
-- @tparam string name
-- @tparam ?location|string location
-- @tparam ?number timeout
-- @return what find returns
function network.seek(what, kind, find, name, location, timeout)
    if type(name) ~= "string" then error(("%s: a name expected, got %s"):format(what, type(name)), 2) end
    if timeout ~= nil then core.check_timeout(timeout, what) end
    local place <const> = location ~= nil and check_location(what, location) or nil
    if place and place ~= core.location() then
        local ok <const>, message <const>, code <const> = network.ready(what)
        if not ok then return nil, message, code end
    end
    return patiently(function(limit) return find(name, place, limit) end, timeout, kind, tostring(name), place)
end

--- Find the peer that has a name (its option `name`), or wait until there is one. Waits.
-- @function locate_peer
-- @tparam string name
-- @tparam[opt] number timeout seconds; nil waits for ever, 0 only looks
-- @treturn location
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "timeout"
function network.locate_peer(name, timeout)
    if type(name) ~= "string" then error("locate_peer: a name expected, got " .. type(name), 2) end
    if timeout ~= nil then core.check_timeout(timeout, "locate_peer") end
    local ok <const>, message <const>, code <const> = network.ready "locate_peer"
    if not ok then return nil, message, code end
    return patiently(function(limit) return core.network_locate_peer(name, limit) end, timeout, "peer", name)
end

--- The peers that are connected. Does not wait.
-- @function peers
-- @treturn {location,...}
function network.peers()
    local list <const> = {}
    for i, peer in ipairs(core.network_peers()) do list[i] = peer.location end
    return list
end

--- Let a coro hear of peers that come and go: it gets a message for each, with `location`, `name` and `status`,
-- "online" or "offline"; those that are there at once. Several coros may. Waits only when the network starts.
-- @function peer_status
-- @tparam coro coro of this process
-- @tparam[opt=true] boolean flag false: no more
-- @treturn boolean true
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "notfound" when the coro has ended
function network.peer_status(coro, flag)
    if not core.is_coro(coro) then error("peer_status: a coro expected, got " .. type(coro), 2) end
    require "asyncoro.peer_status"
    local ok <const>, message <const>, code <const> = network.ready "peer_status"
    if not ok then return nil, message, code end
    return core.network_watch(coro, flag == false)
end

--- Look for peers now, by datagrams. Waits only when the network starts.
-- @function discover
-- @treturn boolean true
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string code
function network.discover()
    local ok <const>, message <const>, code <const> = network.ready "discover"
    if not ok then return nil, message, code end
    return core.network_discover()
end

--- Take no notice of processes that are discovered, nor answer their datagrams; connections that are asked for go on.
-- Waits only when the network starts.
-- @function ignore_peers
-- @tparam[opt=true] boolean flag
-- @treturn boolean true
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string code
function network.ignore_peers(flag)
    local ok <const>, message <const>, code <const> = network.ready "ignore_peers"
    if not ok then return nil, message, code end
    return core.network_ignore(flag ~= false)
end

--- Leave a peer: both sides see it go. Does not wait.
-- @function close_peer
-- @tparam location|string location
-- @treturn boolean true
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "notfound" when it is no peer
function network.close_peer(location)
    return core.network_leave(check_location("close_peer", location))
end

--- Read the files of the certificates again, for the connections to come; those that are there go on. When one of the
-- files is wrong nothing changes. Waits.
-- @function reload_certificates
-- @treturn boolean true
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "notfound" without a network; else what is wrong with the files
function network.reload_certificates()
    return core.network_reload()
end

return network
