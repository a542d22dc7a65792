-- SPDX-License-Identifier: MIT
-- A server and a client get new code while they run; the messages between them are all received.
-- Type 'client' or 'server' to swap the code of one for that of hotswap_funcs.lua, again and again; end of input
-- (ctrl-D) ends the program.
--   hotswap.lua [LONGEST [FUNCTIONS]]     pauses of at most 3 seconds, hotswap_funcs.lua beside this file
local asyncoro = require "asyncoro"

-- Prints what it gets, and inspects new code before it lets it in.
local function server_proc()
    local me = asyncoro.current()
    asyncoro.hot_swappable(function(new)
        print(("\n new function: %s, %d\n"):format(new.name, new.nparams))
        if new.name:find("^server_proc") then return true end
        print(("ignoring function: %s"):format(new.name))
        return false
    end)
    for number in asyncoro.messages() do
        print(("%s received: %d"):format(me, number))
    end
end

-- Sends 1, 2, 3 ...; any new code is welcome.
local function client_proc(server, longest)
    asyncoro.hot_swappable(true)
    local number = 0
    while true do
        number = number + 1
        print(("%s: sending %d"):format(asyncoro.current(), number))
        server:send(number)
        asyncoro.sleep(longest / 3 + math.random() * longest * 2 / 3)
    end
end

-- The function `name` from the file, as the file is now.
local function load_function(name, file)
    local env = setmetatable({}, { __index = _G })
    local chunk, message = loadfile(file, "t", env)
    if chunk then chunk() end
    if env[name] == nil then
        print(('failed to load "%s" from "%s"%s'):format(name, file, message and ": " .. message or ""))
    end
    return env[name]
end

asyncoro.run(function(longest, file)
    longest = tonumber(longest) or 3
    file = file or arg[0]:gsub("[^/]*$", "") .. "hotswap_funcs.lua"
    local server = asyncoro.spawn({ daemon = true }, server_proc)
    local client = asyncoro.spawn({ daemon = true }, client_proc, server, longest)

    local pool <close> = asyncoro.thread_pool(1) -- io.read waits in a thread of its own
    for line in function() return pool:call(function() return io.read() end) end do
        if line:find("^client") then
            local fn = load_function("client_proc2", file)
            if fn then client:hot_swap(fn, server, longest) end
        elseif line:find("^server") then
            local fn = load_function("server_proc2", file)
            if fn then server:hot_swap(fn, math.random(2) == 1 and "log" or "sqrt") end
        end
    end
end, ...)
