-- SPDX-License-Identifier: MIT
--- Bodies of messages, as requests and responses have them in common.
-- @module asyncoro.http.body
-- @local
local body <const> = {}

--- All of a body: what `read` gives until it gives nothing.
-- @tparam function read() -> piece; nothing at the end; nil, message, code
-- @tparam integer limit of bytes
-- @tparam string what for the message
-- @treturn string
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string code; "toolarge" over the limit
function body.collect(read, limit, what)
    local pieces <const>, size = {}, 0
    while true do
        local piece <const>, message <const>, code <const> = read()
        if not piece then
            if message then return nil, message, code end
            return table.concat(pieces)
        end
        size = size + #piece
        if size > limit then return nil, ("%s: the body is larger than %d bytes"):format(what, limit), "toolarge" end
        pieces[#pieces + 1] = piece
    end
end

--- A piece in the chunked coding.
function body.chunk(piece)
    return ("%x\r\n"):format(#piece), piece, "\r\n"
end

--- What ends it.
body.LAST_CHUNK = "0\r\n\r\n"

return body
