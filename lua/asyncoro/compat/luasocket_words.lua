-- SPDX-License-Identifier: MIT
--- What both kinds of LuaSocket's objects share: error words, time-outs, names.
-- @module asyncoro.compat.luasocket_words
-- @local
local core <const> = require "asyncoro.core"

local words <const> = {}

local texts <const> = {
    timeout = "timeout", eof = "closed", closed = "closed", reset = "closed", refused = "connection refused",
    exists = "address already in use", denied = "permission denied",
    notfound = "host or service not provided, or not known",
}

--- nil, and what LuaSocket says for this; the system's text when it has no word of its own.
function words.fail(message, code)
    return nil, texts[code] or message:match ": ([^:]+)$" or message
end

--- LuaSocket's `settimeout`: "b", how long nothing may happen; "t" or "r", how long an operation may take.
function words:settimeout(value, mode)
    mode = mode or "b"
    local seconds <const> = value and value >= 0 and value or nil
    if mode == "b" then
        self.block = seconds
    elseif mode == "t" or mode == "r" then
        self.total = seconds
    else
        error("invalid timeout mode", 2)
    end
    return 1
end

--- LuaSocket's `gettimeout`.
function words:gettimeout() return self.block or -1, self.total or -1 end

--- When an operation that begins now must be over.
function words.deadline_of(self)
    return self.total and core.now() + self.total
end

--- How long the next wait may take; nil: for ever.
function words.wait_for(self, deadline)
    local left <const> = deadline and math.max(deadline - core.now(), 0)
    if left and self.block then return math.min(left, self.block) end
    return left or self.block
end

--- Address, port, family, of what our methods give.
function words.name(host, port, code)
    if not host then return words.fail(port, code) end
    if not port then return host end
    return host, port, host:find(":", 1, true) and "inet6" or "inet"
end

--- LuaSocket's `getfd`: -1 when there is none.
function words:getfd() return self.handle and self.handle:fileno() or -1 end

--- LuaSocket's `setfd`: of no use here.
function words.setfd() end

--- LuaSocket's `dirty`: is something to be read already that the system does not know of?
function words:dirty()
    if not self.handle then return false end
    return (getmetatable(self.handle).__select.poll(self.handle))
end

return words
