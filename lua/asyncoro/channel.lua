-- SPDX-License-Identifier: MIT
--- Named broadcast: a message sent to a channel reaches every subscriber of that moment.
-- A channel lives in the engine that made it. Elsewhere it is seen through its servant, a coro of its home that acts
-- on requests; it is started when the channel first leaves its home or is registered.
-- @module asyncoro.channel
local class <const> = require "asyncoro.class"
local core <const> = require "asyncoro.core"
local event <const> = require "asyncoro.event"
local log <const> = require "asyncoro.log"

local Channel <const> = class("asyncoro.channel")

-- Names of channels are registered as names of their servants, in a space of their own.
local NAME_PREFIX <const> = "channel "

-- A request that went through so many channels goes in a circle.
local HOPS <const> = 16

-- servant -> the channel as this engine sees it, so that equal channels are one value.
local known <const> = setmetatable({}, { __mode = "v" })

local is_coro <const> = core.is_coro

local function is_channel(value)
    return getmetatable(value) == Channel
end

local function check_name(name)
    if type(name) ~= "string" or not name:find("^%w") then
        error("channel: the name must be a string that begins with a letter or digit", 3)
    end
    return name
end

local function check_transform(transform)
    if transform ~= nil and type(transform) ~= "function" then
        error("channel: the transform must be a function, not a " .. type(transform), 3)
    end
    return transform
end

local function check_options(options)
    for key in pairs(options) do
        if key ~= "transform" then
            error(("channel: unknown option '%s' (transform is known)"):format(tostring(key)), 3)
        end
    end
    return check_transform(options.transform)
end

--- Make a channel.
-- @function channel
-- @tparam string name begins with a letter or a digit; several channels may have the same
-- @tparam[opt] table options `transform`: see `channel:set_transform`
-- @treturn channel
-- @raise on a wrong name or an unknown option
local function channel(name, options)
    local transform <const> = options and check_options(options)
    return setmetatable({
        label = check_name(name),
        transform = transform,
        members = {}, -- in the order in which they came
        place = {},   -- member -> its index there
        changed = nil, -- an event while a deliver waits for more members
    }, Channel)
end

local function closed(self, what)
    return nil, ("%s: channel %s is closed"):format(what, self.label), "closed"
end

local function remaining(deadline)
    return deadline and math.max(deadline - core.now(), 0)
end

local function deadline_of(timeout)
    return timeout and core.now() + timeout
end

-- Home ----------------------------------------------------------------------------------------

-- True when `target` is among the channels that messages of `from` reach.
local function reaches(from, target)
    if from == target then return true end
    for _, member in ipairs(from.members or {}) do
        if is_channel(member) and reaches(member, target) then return true end
    end
    return false
end

local function add(self, member)
    if self.place[member] then return true end
    if is_channel(member) and reaches(member, self) then
        return nil, ("subscribe: channel %s would get its own messages back from channel %s")
            :format(self.label, member.label), "invalid"
    end
    self.members[#self.members + 1] = member
    self.place[member] = #self.members
    if self.changed then self.changed:set() end
    return true
end

local function remove(self, member)
    local place <const> = self.place and self.place[member] -- none: it was closed meanwhile
    if place == nil then
        return nil, ("unsubscribe: %s is not subscribed to channel %s"):format(tostring(member), self.label), "notfound"
    end
    table.remove(self.members, place)
    self.place[member] = nil
    for i = place, #self.members do self.place[self.members[i]] = i end
    return true
end

-- What is passed on of a message; false when it is dropped.
local function transformed(self, message)
    if self.transform == nil then return true, message end
    local ok, result = pcall(core.without_wait, self.transform, self.label, message)
    if not ok then log:error("channel %s: its transform failed, the message is dropped: %s", self.label, result) end
    return ok and result ~= nil, result
end

-- Give a message to one member: how many coros it reached; or nil and the code of the failure.
local function give(member, message, timeout, hops)
    if is_coro(member) then
        local count <const>, _, code <const> = member:deliver(message, timeout)
        return count, code
    end
    return member:pass(message, timeout, hops + 1) or 0
end

-- Give a message to every member: first to those that have room, then to the others as they get some. How many coros
-- it reached, and the code of the last failure that is not just an ended subscriber.
local function fan_out(self, message, deadline, hops)
    local count, late, failure = 0, {}, nil
    for _, member in ipairs(table.move(self.members, 1, #self.members, 1, {})) do
        local reached <const>, code <const> = give(member, message, 0, hops)
        count = count + (reached or 0)
        if code == "timeout" then
            late[#late + 1] = member
        elseif code == "notfound" then
            remove(self, member)
        else
            failure = code or failure
        end
    end
    for _, member in ipairs(late) do
        local reached <const>, code <const> = give(member, message, remaining(deadline), hops)
        count = count + (reached or 0)
        if code ~= "notfound" then failure = code or failure end
    end
    return count, failure
end

-- Wait until there are n members, or it is closed; false at the deadline.
local function await_members(self, n, deadline)
    while self.members and #self.members < n do
        self.changed = self.changed or event()
        self.changed:clear()
        if not self.changed:wait(remaining(deadline)) then return false end
    end
    return true
end

local home <const> = {}

function home.subscribe(self, member)
    return add(self, member)
end

function home.unsubscribe(self, member)
    return remove(self, member)
end

function home.send(self, message, timeout, hops)
    local passed <const>, result <const> = transformed(self, message)
    if not passed then return true end
    local _, failure <const> = fan_out(self, result, deadline_of(timeout), hops or 0)
    if failure == nil then return true end
    return nil, ("send: channel %s: a subscriber was not reached: %s"):format(self.label, failure), failure
end

function home.pass(self, message, timeout, hops)
    if hops > HOPS then
        return nil, ("deliver: channel %s: the message goes in a circle of channels"):format(self.label), "invalid"
    end
    local passed <const>, result <const> = transformed(self, message)
    return passed and (fan_out(self, result, deadline_of(timeout), hops)) or 0
end

function home.deliver(self, message, timeout, n)
    local deadline <const> = deadline_of(timeout)
    local passed <const>, result <const> = transformed(self, message)
    if not passed then return 0 end
    if not await_members(self, n, deadline) then
        return 0, ("deliver: channel %s has %d of %d subscribers"):format(self.label, #self.members, n), "timeout"
    end
    if self.members == nil then return closed(self, "deliver") end
    local count <const>, failure <const> = fan_out(self, result, deadline, 0)
    if count >= n and failure == nil then return count end
    return count, ("deliver: channel %s: a subscriber was not reached"):format(self.label), failure or "timeout"
end

-- The servant ---------------------------------------------------------------------------------

-- Anybody who knows the servant may send to it, so nothing is taken for granted.
local function is_request(request)
    return type(request) == "table" and home[request.what] ~= nil and math.type(request.n) == "integer"
        and request.n >= 0 and request.n <= 8
end

local function answer(self, request, reply)
    local result <const> = table.pack(pcall(Channel[request.what], self, table.unpack(request, 1, request.n)))
    if not result[1] then log:error("channel %s: %s: %s", self.label, request.what, result[2]) end
    if reply and result[1] then reply(table.pack(table.unpack(result, 2, result.n))) end
    if reply and not result[1] then reply { n = 3, nil, tostring(result[2]), "invalid" } end
end

-- Whether a request may wait for long: then it must not keep others from being served.
local function is_slow(self, request)
    return request.what == "deliver" and math.type(request[3]) == "integer" and request[3] > #self.members
end

local function serve(self)
    for request, reply in core.messages() do
        if not is_request(request) then
            log:error("channel %s: its servant got a message that is no request", self.label)
        elseif is_slow(self, request) then
            core.spawn({ daemon = true, name = "deliver to channel " .. self.label }, answer, self, request, reply)
        else
            answer(self, request, reply)
        end
    end
end

-- The servant of a channel at home, started at its first use; that of a channel seen from elsewhere.
local function servant(self)
    if self.servant == nil then
        self.servant = core.spawn({ daemon = true, name = "channel " .. self.label }, serve, self)
        known[self.servant] = self
    end
    return self.servant
end

-- Elsewhere -----------------------------------------------------------------------------------

local function seen(label, coro)
    local self = known[coro]
    if self == nil then
        self = setmetatable({ label = label, servant = coro, away = true }, Channel)
        known[coro] = self
    end
    return self
end

-- Ask the servant and wait for the answer.
local function ask(self, timeout, what, ...)
    local result <const>, message <const>, code <const> = self.servant:call(
        { what = what, n = select("#", ...), ... }, timeout)
    if type(result) == "table" then return table.unpack(result, 1, result.n) end
    if code == "notfound" then return closed(self, what) end
    return nil, message, code
end

function Channel:__encode()
    return { label = self.label, servant = self.members and servant(self) or self.servant }
end

function Channel.__decode(fields)
    return seen(fields.label, fields.servant)
end

-- Methods -------------------------------------------------------------------------------------

local function act(self, timeout, what, ...)
    if self.away then return ask(self, timeout, what, ...) end
    if self.members == nil then return closed(self, what) end
    return home[what](self, ...)
end

local function check_member(member, what)
    if member == nil then
        member = core.current()
        if member == nil then error(what .. ": only a coro can subscribe itself", 3) end
    end
    if not is_coro(member) and not is_channel(member) then
        error(("%s: a coro or a channel expected, got a %s"):format(what, type(member)), 3)
    end
    return member
end

--- Subscribe a coro, or a channel whose subscribers then get the messages too. Twice is the same as once. Waits only
-- when the channel lives elsewhere.
-- @function channel:subscribe
-- @tparam[opt] coro|channel subscriber the running coro when it is left out
-- @tparam[opt] number timeout seconds; nil waits for ever
-- @treturn boolean true
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "closed", "timeout", or "invalid" when messages would go in a circle
function Channel:subscribe(subscriber, timeout)
    return act(self, timeout, "subscribe", check_member(subscriber, "subscribe"))
end

--- End a subscription. Waits only when the channel lives elsewhere.
-- @function channel:unsubscribe
-- @tparam[opt] coro|channel subscriber the running coro when it is left out
-- @tparam[opt] number timeout seconds; nil waits for ever
-- @treturn boolean true
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "notfound" when it was not subscribed, "closed", "timeout"
function Channel:unsubscribe(subscriber, timeout)
    return act(self, timeout, "unsubscribe", check_member(subscriber, "unsubscribe"))
end

--- Send a message to the subscribers of this moment. Waits only while a subscriber's mailbox is full; the others have
-- got it by then. Subscribers that have ended are forgotten.
-- @function channel:send
-- @param message any value
-- @tparam[opt] number timeout seconds to wait for full mailboxes at most; nil for ever
-- @treturn boolean true, whether anybody is subscribed or not
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "closed"; and, all others having got it: "timeout" and "busy" (a full mailbox), "unsendable" (to
-- another engine)
function Channel:send(message, timeout, hops)
    if not self.away then return act(self, nil, "send", message, timeout, hops) end
    local ok <const>, text <const>, code <const> =
        self.servant:send({ what = "send", n = 3, message, timeout, hops }, timeout)
    if code == "notfound" then return closed(self, "send") end
    return ok, text, code
end

-- deliver for a channel that is subscribed to another.
function Channel:pass(message, timeout, hops)
    return act(self, timeout, "pass", message, timeout, hops)
end

--- Send a message and count the coros it reached, those behind subscribed channels included. Waits.
-- @function channel:deliver
-- @param message any value
-- @tparam[opt] number timeout seconds; nil waits for ever
-- @tparam[opt=0] integer n wait first until there are so many subscribers
-- @treturn integer how many coros have it in their mailboxes
-- @treturn ?string when n or some subscribers were not reached: message
-- @treturn ?string and "timeout", "busy" or "unsendable"
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "closed"
-- @raise when n is negative or no integer
function Channel:deliver(message, timeout, n)
    n = n or 0
    if math.type(n) ~= "integer" or n < 0 then error("deliver: n must be an integer of 0 or more", 2) end
    return act(self, timeout, "deliver", message, timeout, n)
end

--- Set what becomes of messages: `transform(name, message)` gives what is passed on, nil drops it. It runs once for
-- each message, in the engine where the channel lives, and may not wait. When it fails the message is dropped and the
-- failure logged. Does not wait.
-- @function channel:set_transform
-- @tparam ?function transform nil passes messages on as they are
-- @treturn boolean true
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "unsupported" when the channel lives elsewhere, "closed"
function Channel:set_transform(transform)
    check_transform(transform)
    if self.away then
        return nil, ("set_transform: channel %s lives elsewhere: set it there"):format(self.label), "unsupported"
    end
    if self.members == nil then return closed(self, "set_transform") end
    self.transform = transform
    return true
end

--- Make the channel known under its name, for `locate_channel`. Does not wait.
-- @function channel:register
-- @treturn boolean true
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "exists" when another channel has the name, "closed"
function Channel:register()
    if self.members == nil then return closed(self, "register") end
    local ok <const>, _, code <const> = servant(self):register(NAME_PREFIX .. self.label)
    if ok then return true end
    return nil, ("register: there is another channel %s"):format(self.label), code
end

--- Take the name back. Does not wait.
-- @function channel:unregister
-- @treturn boolean true
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "notfound" when it was not registered
function Channel:unregister()
    local ok <const>, _, code <const> = servant(self):unregister(NAME_PREFIX .. self.label)
    if ok then return true end
    return nil, ("unregister: channel %s is not registered"):format(self.label), code
end

--- The name it was made with.
-- @function channel:name
-- @treturn string
function Channel:name()
    return self.label
end

--- Where the channel lives.
-- @function channel:location
-- @treturn ?location nil while this process has no network
function Channel:location()
    return servant(self):location()
end

--- Close it: it forgets its subscribers and its name; `deliver` calls that wait end with "closed". Does not wait; a
-- second close has no effect. A channel that lives elsewhere is only let go.
-- @function channel:close
function Channel:close()
    if self.members == nil then return end
    if self.servant then
        self:unregister()
        self.servant:terminate()
    end
    self.members, self.place = nil, nil
    if self.changed then self.changed:set() end
end

Channel.__close = Channel.close

function Channel:__tostring()
    return "channel " .. self.label
end

--- Find a registered channel; waits for one that is registered later.
-- @function locate_channel
-- @tparam string name
-- @tparam[opt] location where nil: anywhere
-- @tparam[opt] number timeout seconds; nil waits for ever
-- @treturn channel
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "timeout", "notfound"
local function locate_channel(name, where, timeout)
    local coro <const>, message <const>, code <const> = core.locate(NAME_PREFIX .. check_name(name), where, timeout)
    if coro == nil then return nil, message, code end
    return seen(name, coro)
end

return { channel = channel, locate_channel = locate_channel }
