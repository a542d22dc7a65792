-- SPDX-License-Identifier: MIT
--- Two hosts that talk on a wire that is made bad meanwhile: nothing hangs, no message comes out of order or twice, every
-- delivery that was confirmed has come, and both go on when the wire is good again. chaos_source.lua is who sends.
local program <const> = require "spec.program"

local chaos <const> = {}

local PORT <const> = "7100"

--- A folder for the secret of both, to be removed by the caller.
function chaos.folder()
    local folder <const> = program.folder()
    program.write(folder .. "/secret", "a secret of these tests, longer than most\n")
    return folder
end

local function options(folder, seconds)
    return { env = { HOME = folder, ASYNCORO_SECRET_FILE = folder .. "/secret" }, seconds = seconds }
end

--- Starts the one who receives, on the first host.
function chaos.start_sink(wire, folder, seconds)
    local sink <const> = wire[1]:converse({ "spec/net/chaos_sink.lua", PORT }, options(folder, seconds))
    local location <const> = sink:line()
    assert(location and location:match ":%d+$", location or sink:finish())
    return sink
end

--- Sends a signal to the processes of a host; there is one.
function chaos.signal(host, name)
    program.capture(("kill -%s $(ip netns pids %s) 2>&1"):format(name, host.namespace))
end

local Source <const> = {}
Source.__index = Source

local function ask(self, line, pattern)
    self.running:type(line)
    local answer <const> = self.running:line()
    return answer and answer:match(pattern) or error(("%s: %s"):format(line, answer or "it has ended"), 2)
end

--- Waits for so many more confirmed deliveries, which must not take longer than so many seconds.
-- @treturn number the seconds that it took
function Source:more(count, limit)
    local seconds <const> = tonumber(ask(self, "more " .. count, "^more (%S+)$"))
    if seconds >= limit then error(("%d more took %.1f s"):format(count, seconds), 2) end
    return seconds
end

--- Lets it go on for so many seconds.
function Source:wait(seconds) ask(self, "wait " .. seconds, "^waited$") end

function Source:check() ask(self, "check", "^sound$") end

--- How often it has seen the other side go.
function Source:losses() return tonumber(ask(self, "losses", "^losses (%d+)$")) end

--- Calls fn(source, sink) with both programs running, and looks whether all is well at the end; closes the wire.
-- @param wire of spec.net.namespaces
-- @tparam string folder of chaos.folder
-- @tparam function fn may return another sink
-- @tparam[opt] integer seconds how long the programs may take
function chaos.talk(wire, folder, fn, seconds)
    local sink <const> = chaos.start_sink(wire, folder, seconds)
    local source <const> = setmetatable({ running = wire[2]:converse(
        { "spec/net/chaos_source.lua", wire[1].address .. ":" .. PORT }, options(folder, seconds)) }, Source)
    local ok, message = pcall(function()
        source:more(50, 10)
        local last_sink <const> = fn(source, sink) or sink
        source:more(50, 15)
        source:check()
        for _, running in ipairs { source.running, last_sink } do
            running:type "quit"
            local code <const>, rest <const> = running:finish()
            if code ~= 0 or rest ~= "" then error(("it ended with code %s: %s"):format(code, rest)) end
        end
    end)
    for _, host in ipairs(wire) do chaos.signal(host, "KILL") end
    wire:close()
    if not ok then error(message, 0) end
end

return chaos
