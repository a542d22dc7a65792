-- SPDX-License-Identifier: MIT
--- TLS for streams: as a client, as a server, from the first byte or later (STARTTLS). Chain and name of the
-- certificate of a server are looked at unless told otherwise. The methods of TLS streams are in the C file
-- `bindings/tls.c`.
-- @module asyncoro.tls
local core <const> = require "asyncoro.core"
local options <const> = require "asyncoro.options"

local tls <const> = {}

-- How long a handshake may take.
local HANDSHAKE <const> = 10

-- Contexts of option tables kept although nobody uses them just now.
local KEPT <const> = 16

-- What a context is made of.
local CONTEXT <const> = {
    certificate = "string", key = "string", password = "string", ca = "string", pin = "any", insecure = "boolean",
    alpn = "table", verify = "string", names = "table", min_version = "string", max_version = "string",
    ciphers = "string", suites = "string", handshake_timeout = "time",
}

-- The same and what one connection has.
local CLIENT <const> = { name = "string", context = "userdata" }
for option, kind in pairs(CONTEXT) do CLIENT[option] = kind end

local VERSIONS <const> = { ["1.2"] = 2, ["1.3"] = 3 }
local VERIFY <const> = { none = 0, request = 1, require = 2 }
local NAMED <const> = { certificate = "string", key = "string", password = "string" }

local function wrong(what, option, wanted, value)
    error(("%s: option '%s': %s expected, got %s"):format(what, option, wanted, tostring(value)), 0)
end

-- The option's number in a list of words.
local function word_of(what, given, option, words, wanted)
    local value <const> = given[option]
    if value == nil then return nil end
    return words[value] or wrong(what, option, wanted, value)
end

local BASE64 <const> = "^[%w+/]+=?$"

local function from_base64(text)
    local bits, count = 0, 0
    local bytes <const> = {}
    for letter in text:gmatch "[%w+/]" do
        local code <const> = ("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"):find(letter, 1, true)
        bits, count = bits << 6 | code - 1, count + 6
        if count >= 8 then
            count = count - 8
            bytes[#bytes + 1] = string.char(bits >> count & 255)
        end
    end
    return table.concat(bytes)
end

-- The 32 bytes of a pin: 64 hexadecimal digits, or "sha256//" and base64, as curl has it.
local function pin_bytes(what, text)
    if type(text) ~= "string" then wrong(what, "pin", "a string or a list of strings", text) end
    local coded <const> = text:match "^sha256//(.*)$" or text
    local hexadecimal <const> = coded:gsub(":", "")
    if #hexadecimal == 64 and hexadecimal:find "^%x+$" then
        return (hexadecimal:gsub("%x%x", function(pair) return string.char(tonumber(pair, 16)) end))
    end
    if #coded == 44 and coded:find(BASE64) then return from_base64(coded) end
    return wrong(what, "pin", "the SHA-256 of a public key (64 hexadecimal digits, or sha256// and base64)", text)
end

local function pins_of(what, pin)
    if pin == nil then return nil end
    local list <const> = type(pin) == "table" and pin or { pin }
    local bytes <const> = {}
    for i, text in ipairs(list) do bytes[i] = pin_bytes(what, text) end
    if #bytes == 0 then wrong(what, "pin", "a pin at least", "none") end
    return table.concat(bytes)
end

-- As it is sent: each name after its length.
local function alpn_of(what, list)
    if list == nil then return nil end
    local names <const> = {}
    for i, name in ipairs(list) do
        if type(name) ~= "string" or #name == 0 or #name > 255 then
            wrong(what, "alpn", "a list of names of 1 to 255 bytes", name)
        end
        names[i] = string.char(#name) .. name
    end
    if #names == 0 then wrong(what, "alpn", "a list of names", "none") end
    return table.concat(names)
end

local function config_of(what, given)
    if given.key and not given.certificate then error(what .. ": option 'key' without 'certificate'", 0) end
    local verify <const> = word_of(what, given, "verify", VERIFY, "none, request or require")
    if verify and verify > 0 and not given.ca then
        error(what .. ": option 'verify' without 'ca', which says whose certificates clients may have", 0)
    end
    return {
        certificate = given.certificate, key = given.key, password = given.password, ca = given.ca,
        ciphers = given.ciphers, suites = given.suites, insecure = given.insecure, verify = verify,
        oldest = word_of(what, given, "min_version", VERSIONS, "1.2 or 1.3"),
        newest = word_of(what, given, "max_version", VERSIONS, "1.2 or 1.3"),
        handshake = given.handshake_timeout or HANDSHAKE,
        pins = pins_of(what, given.pin), alpn = alpn_of(what, given.alpn),
    }
end

local function new_context(what, given)
    local context <const>, message <const>, code <const> = core.tls.context(config_of(what, given))
    if not context then return nil, message, code end
    for name, identity in pairs(given.names or {}) do
        if type(name) ~= "string" then wrong(what, "names", "a table from name to certificate and key", name) end
        options.check(what .. ": names", identity, NAMED, -1)
        if not identity.certificate then wrong(what, "names", "a certificate for " .. name, nil) end
        local added <const>, why <const>, word <const> = core.tls.add(context, name, identity.certificate,
            identity.key, identity.password)
        if not added then return nil, why, word end
    end
    return context
end

-- Calls fn, which raises what is wrong with options, on behalf of a function further up, counted as `error` does.
local function checked(level, fn, ...)
    local ok <const>, result <const>, message <const>, code <const> = pcall(fn, ...)
    if not ok then error(result, level + 1) end
    return result, message, code
end

--- What many TLS connections have in common, made once: certificates, whom to trust, versions, sessions to resume.
-- The option `tls` of `asyncoro.connect` and `asyncoro.listen`, `tls.client` and `tls.server` take it, or the same
-- options. Reads files; does not wait.
-- @function context
-- @tparam table opts certificates, keys and authorities are PEM text, or the path of a file with it
-- @tparam[opt] string opts.certificate this side's, and behind it those that lead to its authority
-- @tparam[opt] string opts.key its private key, when that is not with it
-- @tparam[opt] string opts.password of the key
-- @tparam[opt] string opts.ca whom to trust instead of those whom the system trusts; a folder too
-- @tparam[opt] string|{string,...} opts.pin SHA-256 of the public key that a server must have, one of them:
-- hexadecimal, or "sha256//" and base64
-- @tparam[opt] boolean opts.insecure a client looks at no certificate, but for pins: anybody may be at the other end
-- @tparam[opt] {string,...} opts.alpn names of protocols, the best first
-- @tparam[opt] string opts.verify of a server: "request" or "require" certificates of clients, which `ca` has issued
-- @tparam[opt] table opts.names of a server: name ("b.example", "*.b.example") to a table with certificate, key and
-- password, for clients that ask for that name
-- @tparam[opt="1.2"] string opts.min_version "1.2" or "1.3"
-- @tparam[opt] string opts.max_version
-- @tparam[opt] string opts.ciphers of TLS 1.2, as OpenSSL writes lists of them
-- @tparam[opt] string opts.suites the same of TLS 1.3
-- @tparam[opt=10] number opts.handshake_timeout seconds
-- @treturn context
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "notfound", "denied", "invalid"
function tls.context(opts)
    local given <const> = options.check("tls.context", opts, CONTEXT)
    local context <const>, message <const>, code <const> = checked(2, new_context, "tls.context", given)
    return context, message, code
end

local function is_context(value)
    local meta <const> = type(value) == "userdata" and getmetatable(value)
    return meta and meta.__name == "asyncoro.tls_context"
end

-- A text that is the same for tables with the same options.
local function text_of(value)
    if type(value) ~= "table" then return type(value) .. #tostring(value) .. ":" .. tostring(value) end
    local parts <const> = {}
    for name, part in pairs(value) do
        if name ~= "name" and name ~= "context" then parts[#parts + 1] = text_of(name) .. "=" .. text_of(part) end
    end
    table.sort(parts)
    return "{" .. table.concat(parts, ",") .. "}"
end

local contexts <const> = setmetatable({}, { __mode = "v" })
local kept <const> = { next = 0 }

-- The context of a client's options: the same for the same options, so that it is made, and files are read, once.
local function client_context(what, given)
    if given.context then
        for option in pairs(given) do
            if CONTEXT[option] then error(("%s: option '%s' beside a context"):format(what, option), 0) end
        end
        if not is_context(given.context) then wrong(what, "context", "a context", given.context) end
        return given.context
    end
    local text <const> = text_of(given)
    local context, message, code = contexts[text]
    if not context then
        context, message, code = new_context(what, given)
        if not context then return nil, message, code end
        contexts[text] = context
    end
    kept.next = kept.next % KEPT + 1
    kept[kept.next] = context
    return context
end

local function client_options(what, opts)
    if opts == nil or opts == true then return {} end
    if is_context(opts) then return { context = opts } end
    return options.check(what, opts, CLIENT, -1)
end

local function failed(what, where, message, code)
    return nil, ("%s %s: %s"):format(what, where, (message:gsub("^tls: ", ""))), code
end

-- What a client needs to begin: context, name, and the texts of its messages; all that can be wrong without a
-- connection is found here.
local function prepared(what, host, port, opts)
    local where <const> = port and ("%s:%d"):format(host, port) or host
    local given <const> = client_options(what, opts)
    local name = given.name
    if not name and host:sub(1, 5) ~= "unix:" then name = host end
    local context <const>, message <const>, code <const> = client_context(what, given)
    if not context then return failed(what, where, message, code) end
    if not name and not given.insecure then
        error(("%s: option 'name' expected: which name has the certificate at %s?"):format(what, host), 0)
    end
    return { what = what, where = where, name = name, context = context }
end

local function begin(stream, plan, timeout)
    local begun <const>, message <const>, code <const> =
        core.tls.start(plan.what, stream, plan.context, plan.name, false, plan.where)
    if not begun then return nil, message, code end
    return core.tls.handshake(stream, plan.what, timeout)
end

local function port_of(stream)
    local _, port <const> = core.stream.peer(stream)
    return math.type(port) and port
end

--- Speak TLS as a client on a connected plain stream, in place: after STARTTLS, through a proxy.
-- Waits for the handshake; when that fails the stream is closed. Nothing received in plain may be left unread.
-- `asyncoro.connect` with the option `tls` does it from the first byte.
-- @function client
-- @tparam stream stream
-- @tparam string host whom its certificate must name
-- @tparam[opt] table|context|boolean opts as for `tls.context`; `name`: another name than the host; `context`
-- @tparam[opt] number timeout seconds; 10 without it
-- @treturn stream the same
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "auth" (the certificate, or this side's), "protocol", "truncated", "timeout", "reset", ...
function tls.client(stream, host, opts, timeout)
    if type(host) ~= "string" then error("tls.client: a host expected, got " .. type(host), 2) end
    local plan <const>, message <const>, code <const> = checked(2, prepared, "tls", host, port_of(stream), opts)
    if not plan then return nil, message, code end
    return begin(stream, plan, timeout)
end

-- For asyncoro.connect: before it connects, and when it has.
-- @local
function tls.prepare(host, port, opts)
    local plan <const>, message <const>, code <const> = checked(3, prepared, "connect", host, port, opts)
    return plan, message, code
end

-- @local
function tls.connected(stream, plan, timeout)
    local result <const>, message <const>, code <const> = begin(stream, plan, timeout)
    if not result then stream:close() end
    return result, message, code
end

local function server_context(what, opts)
    if is_context(opts) then return opts end
    local given <const> = options.check(what, opts, CONTEXT, -1)
    if not given.certificate then error(what .. ": option 'certificate' expected: a server needs one", 0) end
    return new_context(what, given)
end

--- Speak TLS as a server on a connected plain stream, in place.
-- Waits for the handshake; when that fails the stream is closed. Nothing received in plain may be left unread.
-- @function server
-- @tparam stream stream
-- @tparam context|table context with a certificate (a table is read again for each connection)
-- @tparam[opt] number timeout seconds; 10 without it
-- @treturn stream the same
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "auth", "protocol", "truncated", "timeout", "reset", ...
function tls.server(stream, context, timeout)
    local made <const>, message <const>, code <const> = checked(2, server_context, "tls", context)
    if not made then return nil, message, code end
    local begun <const>, why <const>, word <const> = core.tls.start("tls", stream, made, nil, true)
    if not begun then return nil, why, word end
    return core.tls.handshake(stream, "tls", timeout)
end

local Listener <const> = {}

local meta <const> = { __index = Listener, __name = "tls listener" }

--- Accept the next connection, as `listener:accept`. The handshake is not waited for: the stream's first read or write
-- does it, or `stream:handshake`, so a slow client keeps nobody else from being accepted.
-- @function listener:accept
-- @tparam[opt] number timeout seconds
-- @treturn stream
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "timeout", "closed"
function Listener:accept(timeout)
    local stream <const>, message <const>, code <const> = self.plain:accept(timeout)
    if not stream then return nil, message, code end
    return core.tls.start("accept", stream, self.tls, nil, true)
end

--- The context, to `reload` it.
-- @function listener:context
-- @treturn context
function Listener:context()
    return self.tls
end

--- As of a plain listener.
-- @function listener:settimeout
function Listener:settimeout(seconds)
    self.plain:settimeout(seconds)
    return self
end

--- As of a plain listener.
-- @function listener:close
function Listener:close()
    return self.plain:close()
end

--- As of a plain listener.
-- @function listener:address
function Listener:address()
    return self.plain:address()
end

--- As of a plain listener.
-- @function listener:fileno
function Listener:fileno()
    return self.plain:fileno()
end

--- Iterate over the connections that come, as of a plain listener.
-- @function listener:clients
function Listener:clients()
    return core.listener.clients(self)
end

function meta.__close(self)
    self.plain:close()
end

function meta.__tostring(self)
    return "tls " .. tostring(self.plain)
end

local function plain_source(self)
    return getmetatable(self.plain).__select
end

meta.__select = {
    poll = function(self) return plain_source(self).poll(self.plain) end,
    queue = function(self) return plain_source(self).queue(self.plain) end,
}

--- A listener whose connections speak TLS, over a plain one.
-- @function listener
-- @tparam listener plain
-- @tparam table|context opts as for `tls.context`
-- @treturn listener
-- @treturn[2] nil
-- @treturn[2] string message, and the plain one is closed
-- @treturn[2] string "notfound", "denied", "invalid"
function tls.listener(plain, opts)
    local where <const> = tostring(plain):match "^listener (%S+)" or "tls"
    local ok <const>, context <const>, message <const>, code <const> = pcall(server_context, "listen", opts)
    if ok and context then return setmetatable({ plain = plain, tls = context }, meta) end
    plain:close()
    if not ok then error(context, 2) end
    return failed("listen", where, message, code)
end

return tls
