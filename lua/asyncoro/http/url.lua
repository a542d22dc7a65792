-- SPDX-License-Identifier: MIT
--- URLs (RFC 3986), as far as HTTP needs them.
-- @module asyncoro.http.url
local url <const> = {}

local PORTS <const> = { http = 80, https = 443, ws = 80, wss = 443 }

--- Take a URL apart.
-- @function parse
-- @tparam string text
-- @treturn table `scheme`, `host`, `port`, `target` (path and query, as it is asked for), `path`, `query` (a string or
-- nil), `user` ("name:password" or nil), `authority` (for the Host header)
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "invalid"
function url.parse(text)
    if type(text) ~= "string" then error("url: a string expected, got " .. type(text), 2) end
    local scheme <const>, rest <const> = text:match "^(%a[%w+.-]*)://(.*)$"
    if not scheme or text:find "[%c%s]" then return nil, ("url '%s': not a URL"):format(text), "invalid" end
    local known <const> = scheme:lower()
    if not PORTS[known] then
        return nil, ("url '%s': the scheme '%s' is not known here"):format(text, scheme), "invalid"
    end
    local authority, target <const> = rest:match "^([^/?#]*)([^#]*)"
    local user <const>, place <const> = authority:match "^(.*)@(.*)$"
    authority = place or authority
    local host, port = authority:match "^%[([%x:.%%]+)%]:?(%d*)$"
    if not host then host, port = authority:match "^([^:%[%]]+):?(%d*)$" end
    local number <const> = port ~= "" and math.tointeger(tonumber(port)) or PORTS[known]
    if not host or not number or number > 65535 then
        return nil, ("url '%s': no host, or no port that there could be"):format(text), "invalid"
    end
    local path <const>, query <const> = target:match "^([^?]*)%??(.*)$"
    return {
        scheme = known, host = host, port = number, user = user, authority = authority,
        target = (path == "" and "/" or path) .. (target:find("?", 1, true) and "?" .. query or ""),
        path = path == "" and "/" or path, query = target:find("?", 1, true) and query or nil,
    }
end

local function text_of(parts)
    return ("%s://%s"):format(parts.scheme, parts.authority)
end

-- Without "." and ".." (RFC 3986, 5.2.4).
local function remove_dots(path)
    local out <const> = {}
    for segment in path:gmatch "[^/]*" do
        if segment == ".." then
            if #out > 1 then out[#out] = nil end
        elseif segment ~= "." then
            out[#out + 1] = segment
        end
    end
    if path:find "/%.%.?$" then out[#out + 1] = "" end
    local text <const> = table.concat(out, "/")
    return text:sub(1, 1) == "/" and text or "/" .. text
end

--- What a reference means where a URL is known: for redirects.
-- @function resolve
-- @tparam table base what `parse` gave
-- @tparam string reference "http://...", "//host/path", "/path", "path", "?query"
-- @treturn string a URL
function url.resolve(base, reference)
    reference = reference:match "^[^#]*"
    if reference:find "^%a[%w+.-]*://" then return reference end
    if reference:sub(1, 2) == "//" then return base.scheme .. ":" .. reference end
    if reference:sub(1, 1) == "/" then return text_of(base) .. reference end
    if reference == "" then return text_of(base) .. base.target end
    if reference:sub(1, 1) == "?" then return text_of(base) .. base.path .. reference end
    local path <const>, rest <const> = reference:match "^([^?]*)(.*)$"
    return text_of(base) .. remove_dots(base.path:match "^(.*/)" .. path) .. rest
end

--- Percent-encode everything but letters, digits and "-._~".
-- @function encode
-- @tparam string text
-- @treturn string
function url.encode(text)
    return (text:gsub("[^%w%-._~]", function(c) return ("%%%02X"):format(c:byte()) end))
end

--- Undo percent-encoding.
-- @function decode
-- @tparam string text
-- @tparam[opt=false] boolean plus a "+" is a space, as in queries
-- @treturn string
function url.decode(text, plus)
    if plus then text = text:gsub("+", " ") end
    return (text:gsub("%%(%x%x)", function(digits) return string.char(tonumber(digits, 16)) end))
end

--- The fields of a query or a form.
-- @function fields
-- @tparam ?string query "a=1&b=x+y"
-- @treturn table name -> value; the last of several; "" without "="
function url.fields(query)
    local fields <const> = {}
    for name, value in (query or ""):gmatch "([^&=]+)=?([^&]*)" do
        fields[url.decode(name, true)] = url.decode(value, true)
    end
    return fields
end

--- A query or a form of fields, sorted by name.
-- @function form
-- @tparam table fields name -> value
-- @treturn string
function url.form(fields)
    local parts <const> = {}
    for name, value in pairs(fields) do parts[#parts + 1] = url.encode(name) .. "=" .. url.encode(tostring(value)) end
    table.sort(parts)
    return table.concat(parts, "&")
end

return url
