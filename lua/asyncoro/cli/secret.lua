-- SPDX-License-Identifier: MIT
--- `asyncoro secret`: makes a secret that nobody can guess, for processes that are to be peers.
-- @module asyncoro.cli.secret
local cli <const> = require "asyncoro.cli"

local secret <const> = {}

local USAGE <const> = [[
usage: asyncoro secret [FILE]
Makes a secret of 128 random bits, for network{secret =} and ASYNCORO_SECRET_FILE. Prints it; with FILE it goes
there, readable by its owner only. A file that is there already is kept.
]]

local BYTES <const> = 16
local OWNER_ONLY <const> = 6 * 64 -- rw-------
local KEPT <const> = "those who have that secret would be shut out; name another file, or remove it first"
local DIGITS <const> = "abcdefghijklmnopqrstuvwxyz234567" -- none looks like another

-- In base 32, which survives mails, shells and being read aloud.
local function text_of(bytes)
    local digits <const> = {}
    local bits, held = 0, 0
    for at = 1, #bytes do
        held, bits = held << 8 | bytes:byte(at), bits + 8
        while bits >= 5 do
            bits = bits - 5
            local digit <const> = (held >> bits & 31) + 1
            digits[#digits + 1] = DIGITS:sub(digit, digit)
        end
    end
    local last <const> = (held << 5 - bits & 31) + 1
    digits[#digits + 1] = DIGITS:sub(last, last)
    return table.concat(digits)
end

--- Make a secret.
-- @treturn string 26 letters and digits, that stand for 128 random bits
-- @treturn[2] nil
-- @treturn[2] string why there is no randomness
function secret.make()
    local source <close>, message <const> = io.open("/dev/urandom", "rb")
    local bytes <const> = source and source:setvbuf("no") and source:read(BYTES)
    if not bytes or #bytes ~= BYTES then return nil, "no randomness: " .. (message or "/dev/urandom is short") end
    return text_of(bytes)
end

local NEXT <const> = [[
%s has a secret of 128 bits, and only its owner can read it.
Copy it to each machine whose processes are to be peers (scp -p), and there: export ASYNCORO_SECRET_FILE=%s
]]

--- Run it.
-- Waits; so it is called inside a coro.
-- @tparam {string,...} arg the words of the command line
-- @tparam[opt] file out where the secret, or what was done, goes; else the standard output
-- @treturn integer the exit code, 0
-- @treturn[2] nil
-- @treturn[2] string what is wrong
function secret.main(arg, out)
    out = out or io.stdout
    local path <const> = arg[1]
    if path == "--help" then
        out:write(USAGE)
        return 0
    elseif arg[2] or path and path:sub(1, 1) == "-" then
        return nil, ("'%s' is not expected; asyncoro secret --help says more"):format(arg[2] or path)
    end
    local text <const>, message = secret.make()
    if not text then return nil, message end
    if not path then
        out:write(text, "\n")
        return 0
    end
    local written
    written, message = cli.create(path, text .. "\n", OWNER_ONLY, KEPT)
    if not written then return nil, message end
    out:write(NEXT:format(path, path))
    return 0
end

return secret
