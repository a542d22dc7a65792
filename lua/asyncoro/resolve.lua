-- SPDX-License-Identifier: MIT
--- Names of hosts: what the system's resolver says of them (`/etc/hosts`, name servers), looked up on another thread.
-- @module asyncoro.resolve
local core <const> = require "asyncoro.core"
local options <const> = require "asyncoro.options"

-- Answers are kept for so many seconds, and so many of them at most: several connections to the same host ask once.
local KEPT <const>, MOST <const> = 5, 256

local OPTIONS <const> = { timeout = "time", family = "string" }
local FAMILIES <const> = { any = true, ipv4 = true, ipv6 = true }

-- key -> { job, asked = time, expires = time or nil when nobody has heard the answer yet }
local known = {}
local count = 0

-- An answer that nobody waited for grows old too.
local function is_fresh(entry, now)
    if entry.expires then return entry.expires > now end
    return entry.asked + KEPT > now or not core.lookup_done(entry.job)
end

local function forget_old()
    local now <const> = core.now()
    local left = {}
    count = 0
    for key, entry in pairs(known) do
        if is_fresh(entry, now) then
            left[key] = entry
            count = count + 1
        end
    end
    if count >= MOST then left, count = {}, 0 end
    known = left
end

local function entry_of(host, family)
    local key <const> = family .. " " .. host
    local entry = known[key]
    if entry and is_fresh(entry, core.now()) then return entry, key end
    local job <const>, message <const>, code <const> = core.lookup(host, family)
    if not job then return nil, message, code end
    if count >= MOST then forget_old() end
    if not known[key] then count = count + 1 end
    entry = { job = job, asked = core.now() }
    known[key] = entry
    return entry, key
end

--- The numeric addresses of a host, in the order in which the system would try them.
-- Waits: the lookup runs on another thread. Who asks for a name that is being looked up waits for the same answer. A
-- numeric address is its own answer.
-- @function resolve
-- @tparam string host
-- @tparam[opt] table opts
-- @tparam[opt] number opts.timeout seconds; nil: as long as the system takes
-- @tparam[opt="any"] string opts.family "ipv4" or "ipv6": only those
-- @treturn {string,...} addresses
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "notfound", "timeout", "unreachable" when no name server answered, "invalid" for what is no name
-- @usage local addresses = assert(asyncoro.resolve("www.example.org", { timeout = 2 }))
local function resolve(host, opts)
    local given <const> = options.check("resolve", opts, OPTIONS)
    if type(host) ~= "string" then error("resolve: a host expected, got " .. type(host), 2) end
    local family <const> = given.family or "any"
    if not FAMILIES[family] then error("resolve: family 'ipv4', 'ipv6' or 'any' expected, got " .. family, 2) end
    if core.is_numeric(host) then
        local kind <const> = host:find(":", 1, true) and "ipv6" or "ipv4"
        if family == "any" or family == kind then return { host } end
        return nil, ("resolve %s: not an address of family %s"):format(host, family), "notfound"
    end
    local entry <const>, key <const>, code <const> = entry_of(host, family)
    if not entry then return nil, key, code end
    local addresses <const>, message <const>, word <const> = core.lookup_wait(entry.job, given.timeout)
    if word == "timeout" then return nil, message, word end
    if addresses then
        entry.expires = entry.expires or core.now() + KEPT
    elseif known[key] == entry then
        known[key] = nil
        count = count - 1
    end
    return addresses, message, word
end

return resolve
