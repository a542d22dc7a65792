-- SPDX-License-Identifier: MIT
--- `asyncoro cert`: makes an authority, and certificates for the processes that are to be peers.
-- @module asyncoro.cli.cert
local cli <const> = require "asyncoro.cli"
local core <const> = require "asyncoro.core"
local file <const> = require "asyncoro.file"

local cert <const> = {}

local USAGE <const> = [[
usage: asyncoro cert ca [--days N] [--name TEXT] FOLDER
       asyncoro cert node [--days N] [--ca FOLDER] [--out BASE] NAME...
Makes certificates for network{certfile =, keyfile =, cafile =}.
  ca      a new authority: FOLDER/ca.pem, and FOLDER/ca.key, which only its owner can read
  node    a certificate of that authority for a process that is reached by these host names and addresses:
          BASE.pem and BASE.key, the first name when --out is left out
  --days N        how long it is valid (ca: 3650, node: 825, but no longer than its authority)
  --name TEXT     what the authority is called (asyncoro)
  --ca FOLDER     where the authority is (the current folder)
Files that are there already are kept.
]]

local DAYS <const> = { ca = 3650, node = 825 }
local MOST_DAYS <const> = 36500
local OWNER_ONLY <const>, READABLE <const> = 6 * 64, 6 * 64 + 4 * 8 + 4 -- rw-------, rw-r--r--
local KEPT <const> = "name another place, or remove it first"
local LARGEST <const> = 1024 * 1024 -- bytes of a file of an authority
local OPTIONS <const> = { ca = { days = true, name = true }, node = { days = true, ca = true, out = true } }

-- The words of the command line: options and others; nil and what is wrong.
local function parse(what, arg)
    local given <const>, rest <const> = {}, {}
    local i = 2
    while arg[i] do
        local option <const> = arg[i]:match "^%-%-(%a+)$"
        if option and OPTIONS[what][option] then
            i = i + 1
            if not arg[i] then return nil, ("--%s: a value is expected"):format(option) end
            given[option] = arg[i]
        elseif arg[i]:sub(1, 1) == "-" then
            return nil, ("'%s' is not expected; asyncoro cert --help says more"):format(arg[i])
        else
            rest[#rest + 1] = arg[i]
        end
        i = i + 1
    end
    local days <const> = math.tointeger(tonumber(given.days or DAYS[what]))
    if not days or days < 1 or days > MOST_DAYS then
        return nil, ("--days: a number of 1 to %d expected, got '%s'"):format(MOST_DAYS, given.days)
    end
    given.days = days
    return given, rest
end

-- Both files, or none.
local function write_both(base, certificate, key)
    local ok, message = cli.create(base .. ".key", key, OWNER_ONLY, KEPT)
    if not ok then return nil, message end
    ok, message = cli.create(base .. ".pem", certificate, READABLE, KEPT)
    if ok then return true end
    os.remove(base .. ".key")
    return nil, message
end

local function read(path)
    local text <const>, message <const>, code <const> = file.read(path, LARGEST)
    if text or code ~= "notfound" then return text, message end
    return nil, message .. ": `asyncoro cert ca FOLDER` makes an authority, and --ca FOLDER says where it is"
end

local CA_NEXT <const> = [[
%s/ca.pem is the authority, valid for %d days: give it to each process, as cafile.
%s/ca.key is its key: keep it where nobody else gets at it; it is needed to issue, and for nothing else.
Next: asyncoro cert node --ca %s HOST
]]

local commands <const> = {}

function commands.ca(given, rest, out)
    local folder <const> = rest[1]
    if not folder or rest[2] then return nil, "ca: one folder is expected; asyncoro cert --help says more" end
    local certificate <const>, key = core.certificate_issue {
        subject = given.name or "asyncoro", days = given.days }
    if not certificate then return nil, key end
    local made <const>, why, code <const> = file.mkdir(folder)
    if not made and code ~= "exists" then return nil, why end
    local ok <const>, message <const> = write_both(folder .. "/ca", certificate, key)
    if not ok then return nil, message end
    out:write(CA_NEXT:format(folder, given.days, folder, folder))
    return 0
end

local NODE_NEXT <const> = [[
%s.pem is for %s. On that machine, with both files and the authority's:
  asyncoro.network { certfile = "%s.pem", keyfile = "%s.key", cafile = "ca.pem" }
Others must reach it by one of these names.
]]

function commands.node(given, rest, out)
    if not rest[1] then return nil, "node: a host name or an address is expected; asyncoro cert --help says more" end
    local folder <const> = given.ca or "."
    local ca, ca_key, message
    ca, message = read(folder .. "/ca.pem")
    if ca then ca_key, message = read(folder .. "/ca.key") end
    if not ca_key then return nil, message end
    local certificate <const>, key <const> = core.certificate_issue {
        subject = rest[1]:sub(1, 64), names = rest, days = given.days, ca = ca, ca_key = ca_key }
    if not certificate then return nil, key end
    local base <const> = given.out or rest[1]:gsub("[^%w.-]", "_")
    local ok
    ok, message = write_both(base, certificate, key)
    if not ok then return nil, message end
    out:write(NODE_NEXT:format(base, table.concat(rest, ", "), base, base))
    return 0
end

--- Run it.
-- Waits; so it is called inside a coro.
-- @tparam {string,...} arg the words of the command line
-- @tparam[opt] file out where what was done is said; else the standard output
-- @treturn integer the exit code, 0
-- @treturn[2] nil
-- @treturn[2] string what is wrong
function cert.main(arg, out)
    out = out or io.stdout
    if arg[1] == "--help" then
        out:write(USAGE)
        return 0
    end
    local command <const> = commands[arg[1]]
    if not command then
        return nil, ("%s expected, got %s; asyncoro cert --help says more"):format("'ca' or 'node'",
            arg[1] and "'" .. arg[1] .. "'" or "nothing")
    end
    local given <const>, rest <const> = parse(arg[1], arg)
    if not given then return nil, rest end
    return command(given, rest, out)
end

return cert
