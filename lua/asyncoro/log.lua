-- SPDX-License-Identifier: MIT
--- Log lines with a level, on stderr: `2026-01-31 12:00:00 asyncoro INFO text`.
-- `asyncoro.log` is a logger named "asyncoro"; `asyncoro.log:named("chat")` makes another.
-- The level is "info", or what `ASYNCORO_LOG` says; writing never waits for other coros.
-- @module asyncoro.log

local core <const> = require "asyncoro.core"

local LEVELS <const> = { debug = 10, info = 20, warning = 30, error = 40, critical = 50 }

local Logger <const> = {}
Logger.__index = Logger
Logger.__name = "asyncoro.log"

local function check_level(level)
    if not LEVELS[level] then
        error(("log: unknown level '%s' (debug, info, warning, error and critical are known)")
            :format(tostring(level)), 3)
    end
    return level
end

local function new(name, parent)
    return setmetatable({ name = name, shows_ms = parent.shows_ms, level = parent.level, output = parent.output },
        Logger)
end

--- Make a logger with another name; it starts with the settings of this one.
-- @tparam string name
-- @treturn log
function Logger:named(name)
    return new(name, self)
end

--- Set the lowest level that is written.
-- @tparam string level "debug", "info", "warning", "error" or "critical"
function Logger:set_level(level)
    self.level = check_level(level)
end

--- Write milliseconds too.
-- @tparam boolean flag
function Logger:show_ms(flag)
    self.shows_ms = flag
end

--- Write to another file.
-- @tparam file output anything with a `write` method
function Logger:set_output(output)
    self.output = output
end

--- Write a line.
-- @tparam string level
-- @tparam string format as of string.format
-- @param ... its arguments
function Logger:log(level, format, ...)
    if LEVELS[check_level(level)] < LEVELS[self.level] then return end
    local text <const> = select("#", ...) > 0 and format:format(...) or tostring(format)
    local time <const> = core.time()
    local seconds <const> = math.floor(time)
    local ms <const> = self.shows_ms and (".%03d"):format(math.floor((time - seconds) * 1000)) or ""
    self.output:write(os.date("%Y-%m-%d %H:%M:%S", seconds), ms, " ", self.name, " ", level:upper(), " ", text, "\n")
end

for level in pairs(LEVELS) do
    Logger[level] = function(self, format, ...) self:log(level, format, ...) end
end

Logger.warn = Logger.warning

local from_environment <const> = (os.getenv("ASYNCORO_LOG") or "info"):lower()

return new("asyncoro", {
    level = LEVELS[from_environment] and from_environment or "info",
    shows_ms = false,
    output = io.stderr,
})
