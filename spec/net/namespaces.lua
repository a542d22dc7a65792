-- SPDX-License-Identifier: MIT
--- Hosts of their own on this machine: network namespaces on one wire, and ways to make the wire bad.
-- Needs root; `namespaces.missing()` says what is not there.
local program <const> = require "spec.program"

local namespaces <const> = {}

local quote <const> = program.quote

local function try(format, ...)
    local text <const> = program.capture(format:format(...) .. " 2>&1 && echo done")
    return text:match "done$" ~= nil, text
end

local function must(format, ...)
    local ok <const>, text <const> = try(format, ...)
    if not ok then error(("%s: %s"):format(format:format(...), text), 2) end
end

local made = 0 -- names are this process's

local function new_name()
    made = made + 1
    return ("aco%s-%d"):format(program.capture "echo $PPID", made)
end

local reason -- false: there is none

--- Why there can be none, or nil.
function namespaces.missing()
    if reason == nil then
        local name <const> = new_name()
        reason = program.capture "id -u" ~= "0" and "network namespaces need root"
            or not try "command -v ip tc nft" and "iproute2 and nftables are not installed"
            or not try("ip netns add %s && ip netns del %s", name, name) and "network namespaces are not allowed"
            or false
    end
    return reason or nil
end

local Host <const> = {}
Host.__index = Host

--- What runs the host binary there: the arguments of spec.program's functions.
-- @tparam {string,...} args
-- @tparam[opt] table opts as those functions take them
-- @treturn {string,...} arguments
-- @treturn table options
function Host:there(args, opts)
    local words <const> = { "netns", "exec", self.namespace, opts and opts.program or program.path }
    return table.move(args, 1, #args, #words + 1, words), setmetatable({ program = "ip" }, { __index = opts })
end

--- Starts the host binary there; the spec can type to it.
function Host:converse(args, opts)
    return program.converse(self:there(args, opts))
end

--- Runs the host binary there to its end.
function Host:run(args, opts)
    return program.run(self:there(args, opts))
end

local function at(host, format, ...)
    must("ip netns exec %s " .. format, host.namespace, ...)
end

--- Lets no more than so many kilobits a second leave this host; nil: no limit.
function Host:limit_rate(kilobits)
    try("ip netns exec %s tc qdisc del dev wire root", self.namespace)
    if kilobits then at(self, "tc qdisc add dev wire root tbf rate %dkbit burst 16kb latency 400ms", kilobits) end
end

-- Makes a rule of the firewall at that hook, in a table of its own; without a verdict: takes it away.
local function rule(host, hook, match)
    local name <const> = "aco_" .. hook
    local text = ("add table inet %s; delete table inet %s"):format(name, name)
    if match then
        text = text .. ([[; add table inet %s; add chain inet %s bad { type filter hook %s priority 0; };
            add rule inet %s bad %s drop]]):format(name, name, hook, name, match)
    end
    at(host, "nft %s", quote(text))
end

--- Loses so many of 100 packets that come to this host.
function Host:lose(percent)
    rule(self, "input", percent > 0 and "iif wire numgen random mod 100 < " .. percent)
end

--- Drops all that comes to this host and leaves it, without a word to anybody: a black hole; nil ends it.
function Host:blackhole(on)
    rule(self, "prerouting", on and "iif wire")
    rule(self, "postrouting", on and "oif wire")
end

local function route(host)
    at(host, "ip addr replace %s/64 dev wire nodad", host.address6)
    at(host, "ip route replace default dev wire")
end

--- Pulls the plug of this host, or puts it back in.
function Host:plug(is_in)
    at(self, "ip link set wire %s", is_in and "up" or "down")
    if is_in then route(self) end -- it went with the plug
end

local Wire <const> = {}
Wire.__index = Wire

local function add_host(self)
    local n <const> = #self + 1
    local host <const> = setmetatable({
        namespace = self.name .. "-" .. n, address = "10.51.0." .. n, address6 = "fd51::" .. n,
    }, Host)
    must("ip netns add %s", host.namespace)
    self[n] = host
    return host
end

local function set_up(host)
    at(host, "sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0 "
        .. "net.ipv6.conf.wire.accept_dad=0")
    at(host, "ip addr add %s/24 broadcast 10.51.0.255 dev wire", host.address)
    at(host, "ip link set wire up")
    at(host, "ip link set lo up")
    route(host)
end

--- Hosts in one broadcast domain: two, or so many behind a switch.
-- @treturn table the hosts, by number, and `close`
function namespaces.wire(count)
    local self <const> = setmetatable({ name = new_name() }, Wire)
    for _ = 1, count or 2 do add_host(self) end
    if #self == 2 then
        must("ip link add wire netns %s type veth peer name wire netns %s", self[1].namespace, self[2].namespace)
    else
        self.switch = self.name .. "-0"
        must("ip netns add %s", self.switch)
        must("ip -n %s link add switch up type bridge", self.switch)
        for n, host in ipairs(self) do
            must("ip link add wire netns %s type veth peer name port%d netns %s", host.namespace, n, self.switch)
            must("ip -n %s link set port%d master switch up", self.switch, n)
        end
    end
    for _, host in ipairs(self) do set_up(host) end
    return self
end

--- Two hosts with relay.c between them, compiled into `folder`: see there what `wire:relay(line)` understands.
-- @treturn table the hosts, by number, `relay` and `close`
function namespaces.relayed(folder)
    local self <const> = setmetatable({ name = new_name() }, Wire)
    for _ = 1, 2 do add_host(self) end
    must("cc -std=c11 -O1 -Wall -Wextra -Werror spec/net/relay.c -o %s/relay", folder)
    self.running = program.converse({ self[1].namespace, "wire", self[2].namespace, "wire" },
        { program = folder .. "/relay" })
    assert(self.running:line() == "ready", "the relay does not start")
    for _, host in ipairs(self) do set_up(host) end
    return self
end

--- Tells the relay something.
function Wire:relay(line)
    self.running:type(line)
    assert(self.running:line() == "ok", line)
end

--- Takes it all away. The programs there should have ended.
function Wire:close()
    if self.running then self.running:finish() end
    for _, host in ipairs(self) do try("ip netns del %s", host.namespace) end
    if self.switch then try("ip netns del %s", self.switch) end
end

return namespaces
