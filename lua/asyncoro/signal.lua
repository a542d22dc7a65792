-- SPDX-License-Identifier: MIT
--- Signals to this process, as something to wait for. While a handle is open its signals do nothing else: SIGINT no
-- longer ends the program. Afterwards everything is as it was.
-- @module asyncoro.signal
local core <const> = require "asyncoro.core"

local signal <const> = {}

local Signals <const> = { __name = "signals" }
Signals.__index = Signals

local function name_of(byte)
    return byte and core.process.signal_name(byte:byte())
end

--- Wait for the next of the signals. Waits. Signals that came since the handle was opened count; many of a kind may
-- count as fewer.
-- @function signals:wait
-- @tparam[opt] number timeout seconds; nil waits for ever, 0 only looks
-- @treturn string its name
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "timeout", "closed", "busy" when another coro waits
function Signals:wait(timeout)
    local byte <const>, _, code <const> = self.stream:read(1, timeout)
    if byte then return name_of(byte) end
    if code == "timeout" then return nil, "signal: timed out", code end
    if code == "busy" then return nil, "signal: another coro waits for it", code end
    return nil, "signal: closed", "closed"
end

--- Handle the signals no more. Those who wait get "closed". Never waits.
-- @function signals:close
-- @treturn boolean true
function Signals:close()
    self.taker:close()
    self.stream:close()
    return true
end

Signals.__close = Signals.close

function Signals:__tostring()
    return "signals " .. table.concat(self.names, ", ")
end

Signals.__select = {
    poll = function(signals)
        local byte <const> = signals.stream:is_open() and signals.stream:read(1, 0)
        if byte then return true, name_of(byte) end
        return not signals.stream:is_open(), nil, "signal: closed", "closed"
    end,
    queue = function(signals) return getmetatable(signals.stream).__select.queue(signals.stream) end,
}

--- Take signals from now on.
-- @function open
-- @tparam string|{string,...} names "HUP", "INT", "TERM", "USR1", "WINCH", "CHLD" ...
-- @treturn signals a handle; also a source of `asyncoro.select`
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "limit" when 64 handles are open, or no descriptor is free
-- @raise on a name that is none, and on signals that cannot be taken (KILL, STOP, SEGV and other faults, URG)
-- @usage local hup <close> = asyncoro.signal.open "HUP"
function signal.open(names)
    if type(names) == "string" then names = { names } end
    if type(names) ~= "table" then error("signal: the names of signals expected, got " .. type(names), 2) end
    local stream <const>, taker <const>, code <const> = core.signal.take(names)
    if not stream then return nil, taker, code end
    return setmetatable({ taker = taker, stream = stream, names = { table.unpack(names) } }, Signals)
end

--- Wait for one signal. Waits. What came before is not seen: for that, `open` a handle.
-- @function wait
-- @tparam string|{string,...} names
-- @tparam[opt] number timeout seconds
-- @treturn string its name
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "timeout"
function signal.wait(names, timeout)
    local signals <close>, message <const>, code <const> = signal.open(names)
    if not signals then return nil, message, code end
    return signals:wait(timeout)
end

return signal
