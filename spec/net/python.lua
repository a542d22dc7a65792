-- SPDX-License-Identifier: MIT
--- Drives spec/net/client.py, a process of the network in Python: one line there, one line back.
local program <const> = require "spec.program"

local python <const> = {}

local PYTHON <const> = "/usr/bin/python3"

--- Why it cannot be used here, or nil.
function python.missing()
    if program.capture(PYTHON .. " -c 'import msgpack' 2>&1; echo $?") == "0" then return nil end
    return "python3 or python3-msgpack is not installed"
end

local Client <const> = {}
Client.__index = Client

--- Says a line; the answer. Raises when that is not the one expected, given as a pattern.
function Client:say(line, expected)
    self.running:type(line)
    local answer <const> = self.running:line()
    if expected and not (answer and answer:find(expected)) then
        error(("%s: %s"):format(line, answer), 2)
    end
    return answer
end

--- The word of the answer that the pattern captures.
function Client:get(line, pattern)
    return self:say(line, pattern):match(pattern)
end

--- Ends it.
function Client:finish()
    self.running:type "quit"
    return self.running:finish()
end

--- Starts one. Options: those of client.py.
function python.client(...)
    return setmetatable({ running = program.converse({ "-B", "spec/net/client.py", ... }, { program = PYTHON }) }, Client)
end

--- Runs another file of spec/net: its exit code and what it printed.
function python.run(...)
    return program.run({ "-B", ... }, { program = PYTHON })
end

return python
