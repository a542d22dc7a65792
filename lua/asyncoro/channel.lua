-- SPDX-License-Identifier: MIT
--- Named broadcast: a message sent to a channel reaches every subscriber of that moment.
-- A channel lives in the engine that made it, and is an object of the core: bindings/channel.c has its methods.
-- @module asyncoro.channel
local core <const> = require "asyncoro.core"
local log <const> = require "asyncoro.log"

local function check_name(name)
    if type(name) ~= "string" or not name:find("^%w") or name:find("\0", 1, true) then
        error("channel: the name must be a string that begins with a letter or digit", 3)
    end
    return name
end

local function check_options(options)
    for key in pairs(options) do
        if key ~= "transform" then
            error(("channel: unknown option '%s' (transform is known)"):format(tostring(key)), 3)
        end
    end
    local transform <const> = options.transform
    if transform ~= nil and type(transform) ~= "function" then
        error("channel: the transform must be a function, not a " .. type(transform), 3)
    end
    return transform
end

-- What is passed on of a message; false when it is dropped.
local function transformed(transform, name, message)
    local ok <const>, result <const> = pcall(core.without_wait, transform, name, message)
    if not ok then log:error("channel %s: its transform failed, the message is dropped: %s", name, result) end
    return ok and result ~= nil, result
end

local function dropped(name, text)
    log:error("channel %s: a message is dropped: %s", name, text)
end

core.set_channel_functions(transformed, dropped)

--- Make a channel. It is closed when nobody can reach it any more, or at the end of its engine.
-- @function channel
-- @tparam string name begins with a letter or a digit; several channels may have the same
-- @tparam[opt] table options `transform`: see `channel:set_transform`
-- @treturn channel
-- @raise on a wrong name or an unknown option
local function channel(name, options)
    local transform <const> = options and check_options(options)
    local made <const> = core.__channel(check_name(name))
    if transform then made:set_transform(transform) end
    return made
end

return { channel = channel }
