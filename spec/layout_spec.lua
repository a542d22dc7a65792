-- SPDX-License-Identifier: MIT
-- The rules of the house that a program can check: what files start with, how long they may be, which layer
-- may use which, and that all that can be called is described.

local LONGEST <const> = 900

local function read(path)
    local file <const> = assert(io.open(path, "rb"))
    local text <const> = file:read("a")
    file:close()
    return text
end

-- The files below some folders whose names end in one of these ways, without what builds leave behind.
local function files(folders, endings)
    local list <const> = {}
    local command <const> = "find " .. folders ..
        " '(' -path ./build -o -path ./doc -o -path ./.git ')' -prune -o -type f -print"
    local pipe <const> = assert(io.popen(command))
    for path in pipe:lines() do
        path = path:gsub("^%./", "")
        for ending in (endings or ""):gmatch("%S+") do
            if path:sub(-#ending) == ending then list[#list + 1] = path end
        end
        if not endings then list[#list + 1] = path end
    end
    pipe:close()
    table.sort(list)
    assert(#list > 0, "no files in " .. folders)
    return list
end

-- Calls fn(line, number, path) for each line of each file; collects what it returns, as "path:number: text".
local function complaints(list, fn)
    local found <const> = {}
    for _, path in ipairs(list) do
        local number = 0
        for line in (read(path) .. "\n"):gmatch("(.-)\n") do
            number = number + 1
            local text = fn(line, number, path)
            if text then found[#found + 1] = ("%s:%d: %s"):format(path, number, text) end
        end
    end
    return table.concat(found, "\n")
end

local function is_shell(path)
    return read(path):sub(1, 4) == "#!/b"
end

local function scripts()
    local list <const> = {}
    for _, path in ipairs(files("scripts .ci")) do
        if is_shell(path) then list[#list + 1] = path end
    end
    return list
end

local SOURCES <const> = files(".", ".c .h .lua")

describe("every file", function()
    it("starts with its licence", function()
        local wanted <const> = files(".",
            ".c .h .lua .cmake CMakeLists.txt .rockspec .ld .busted .luacheckrc .supp .map")
        for _, path in ipairs(scripts()) do wanted[#wanted + 1] = path end
        local found <const> = {}
        for _, path in ipairs(wanted) do
            local first <const> = read(path):gsub("^#![^\n]*\n", ""):match("^[^\n]*")
            if not first:find("SPDX-License-Identifier: MIT", 1, true) then found[#found + 1] = path end
        end
        assert.equal("", table.concat(found, "\n"))
    end)

    it("is short enough to be one noun", function()
        assert.equal("", complaints(SOURCES, function(_, number)
            return number == LONGEST + 2 and "longer than " .. LONGEST .. " lines" or nil
        end))
    end)

    it("is finished", function()
        -- In pieces, so that this file does not complain of itself.
        local words <const> = { "TO" .. "DO", "FIX" .. "ME", "X" .. "XX", "HA" .. "CK" }
        local texts <const> = { "not yet " .. "implemented", "not " .. "implemented", "un" .. "implemented",
            "#if" .. " 0", "os.execute(\"" .. "sleep" }
        assert.equal("", complaints(SOURCES, function(line, _, path)
            if path:find("^spec/") and line:find("%f[%w_]pend" .. "ing%s*%(") then return line end
            for _, word in ipairs(words) do
                if line:find("%f[%w_]" .. word .. "%f[^%w_]") then return line end
            end
            for _, text in ipairs(texts) do
                if line:find(text, 1, true) then return line end
            end
        end))
    end)

    it("ends with one line end and has none with blanks at its end", function()
        local found <const> = {}
        for _, path in ipairs(SOURCES) do
            local text <const> = read(path)
            if text:find("[ \t\r]\n") then found[#found + 1] = path .. ": blanks at a line's end" end
            if not text:find("[^\n]\n$") then found[#found + 1] = path .. ": its end" end
        end
        assert.equal("", table.concat(found, "\n"))
    end)

    it("that is a script can be started", function()
        for _, path in ipairs(scripts()) do
            assert.truthy(os.execute("test -x '" .. path .. "'"), path .. " has no run bit")
        end
    end)
end)

describe("the layers", function()
    local function included(line)
        return line:match('^%s*#%s*include%s*[<"]([^>"]+)')
    end

    -- Includes, in these files, of anything that matches one of the patterns.
    local function refuse(list, ...)
        local patterns <const> = { ... }
        return complaints(list, function(line)
            local name <const> = included(line)
            for _, pattern in ipairs(patterns) do
                if name and name:find(pattern) then return "includes " .. name end
            end
        end)
    end

    it("core/ knows no Lua, no bindings and no standard output", function()
        local list <const> = files("core", ".c .h")
        assert.equal("", refuse(list, "^lua", "^lauxlib", "^bindings/", "asyncoro%.h$"))
        assert.equal("", complaints(files("core", ".c"), function(line)
            for _, name in ipairs { "printf", "fprintf", "puts", "fputs", "exit", "abort" } do
                if line:find("%f[%w_]" .. name .. "%s*%(") then return line end
            end
        end))
    end)

    it("headers of core/ need neither libevent's nor OpenSSL's", function()
        assert.equal("", refuse(files("core", ".h"), "^event2?/", "^event%.h", "^openssl/"))
    end)

    it("bindings/ call libevent and OpenSSL through core/ only", function()
        assert.equal("", refuse(files("bindings", ".c .h"), "^event2?/", "^event%.h", "^openssl/"))
    end)

    it("include what is theirs by its path from the top", function()
        assert.equal("", complaints(files("core bindings", ".c .h"), function(line)
            local name <const> = line:match('^%s*#%s*include%s*"([^"]+)"')
            local top <const> = name and name:match("^%a+/")
            local is_made <const> = name == "embedded_lua.h"
            return name and not is_made and top ~= "core/" and top ~= "bindings/" and line or nil
        end))
    end)

    it("lua_resume is called by the scheduler and by the generators only", function()
        assert.equal("", complaints(files("core bindings", ".c"), function(line, _, path)
            local may <const> = path == "bindings/sched.c" or path == "bindings/coroutine.c"
            return not may and line:find("%f[%w_]lua_resume%s*%(") and line or nil
        end))
    end)

    it("lua/ requires itself only, examples only what is public", function()
        local function requires(line)
            return line:match("%f[%w_]require%s*%(?%s*[\"']([%w_.]+)[\"']")
        end
        assert.equal("", complaints(files("lua", ".lua"), function(line)
            local name <const> = not line:find("^%s*%-%-") and requires(line)
            return name and not name:find("^asyncoro%f[%W]") and line or nil
        end))
        if os.execute("test -d scripts/examples") then
            assert.equal("", complaints(files("scripts/examples", ".lua"), function(line)
                return requires(line) == "asyncoro.core" and line or nil
            end))
        end
    end)

    it("keep no state of their own: several engines live in one process", function()
        -- The host binary is one program: it may (see bindings/host.c).
        local host <const> = {}
        for _, name in ipairs { "host", "main", "edit" } do host["bindings/" .. name .. ".c"] = true end
        assert.equal("", complaints(files("core bindings", ".c"), function(line, _, path)
            local rest <const> = line:match("^%s*static%s+(.*)$")
            if host[path] or not rest or rest:find("^const%s") or rest:find("%sconst%s") then return nil end
            local function_at <const>, value_at <const> = rest:find("(", 1, true), rest:find("[=;[]")
            local is_function <const> = function_at and (not value_at or function_at < value_at)
            return value_at and not is_function and not rest:find("pthread_once_t") and line or nil
        end))
    end)
end)

describe("what can be called", function()
    it("from Lua, in C, has an LDoc block", function()
        -- What one of our own Lua files gives the core when it is loaded is nobody else's to call.
        local inner <const> = { "^__", "^set_", "^on_" }
        local bindings <const> = files("bindings", ".c")
        local described <const> = {}
        for _, path in ipairs(bindings) do
            for block in read(path):gmatch("/%*%*%*(.-)%*/") do
                for name in block:gmatch("@function [%w_.:]-([%w_]+)%f[^%w_.:]") do described[name] = true end
            end
        end
        local found <const> = {}
        for _, path in ipairs(bindings) do
            for list in read(path):gmatch("\nstatic const luaL_Reg [%w_]+%[%]%s*=%s*(%b{})") do
                for name in list:gmatch('{%s*"([%w_]+)"%s*,') do
                    local is_inner = false
                    for _, pattern in ipairs(inner) do is_inner = is_inner or name:find(pattern) ~= nil end
                    if not is_inner and not described[name] then
                        found[#found + 1] = ("%s: no LDoc block has @function %s"):format(path, name)
                    end
                end
            end
        end
        assert.equal("", table.concat(found, "\n"))
    end)

    it("in lua/ has an LDoc comment", function()
        for _, path in ipairs(files("lua", ".lua")) do
            local returned <const> = read(path):match("\nreturn ([%w_]+)[^\n]*\n$")
            local before = ""
            assert.equal("", complaints({ path }, function(line)
                local described <const> = before:find("^%-%-")
                before = line
                local of <const>, name <const> = line:match("^function ([%w_]+)[.:]([%w_]+)%s*%(")
                local is_public <const> = of and (of == returned or of:find("^%u")) and name:sub(1, 2) ~= "__"
                return is_public and not described and line or nil
            end))
        end
    end)

    it("as asyncoro.NAME is in docs/ and in a spec", function()
        local docs, specs = {}, {}
        for _, path in ipairs(files("docs README.md", ".md")) do docs[#docs + 1] = read(path) end
        for _, path in ipairs(files("spec scripts", ".lua")) do specs[#specs + 1] = read(path) end
        docs, specs = table.concat(docs, "\n"), table.concat(specs, "\n")

        local names <const> = {}
        local nouns <const> = read("lua/asyncoro/init.lua"):match("nouns <const> = (%b{})")
        for name in nouns:gmatch("([%w_]+)%s*=") do names[name] = true end
        for name in pairs(require "asyncoro") do names[name] = true end
        local found <const> = {}
        for name in pairs(names) do
            if name:sub(1, 1) ~= "_" then
                local word <const> = "%f[%w_]" .. name .. "%f[^%w_]"
                if not docs:find(word) then found[#found + 1] = name .. " is not in docs/" end
                if not specs:find(word) then found[#found + 1] = name .. " is in no spec" end
            end
        end
        table.sort(found)
        assert.equal("", table.concat(found, "\n"))
    end)
end)

describe("the version", function()
    it("is the same everywhere", function()
        local version <const> = read("CMakeLists.txt"):match("project%(asyncoro VERSION ([%d.]+)")
        assert.equal(version .. "-1", read("asyncoro.rockspec"):match('\nversion = "([^"]+)"'))
        assert.equal(version, read("CHANGELOG.md"):match("\n## ([%d.]+)"))
        assert.equal("asyncoro " .. version, require("asyncoro")._VERSION)
    end)
end)

describe("the build", function()
    it("names every source, and no source that is not there", function()
        local lists <const> = read("cmake/sources.cmake") .. read("CMakeLists.txt")
        local named <const> = {}
        for path in lists:gmatch("%f[%w_]([%w_]+/[%w_/]+%.c)%f[^%w_.]") do named[path] = true end
        for path in pairs(named) do
            assert.truthy(os.execute("test -e " .. path), path .. " is named, but not there")
        end
        if lists:find("GLOB ACO_CORE_SOURCES", 1, true) then return end
        for _, path in ipairs(files("core bindings", ".c")) do
            assert.truthy(named[path], path .. " is named by neither CMakeLists.txt nor cmake/sources.cmake")
        end
    end)
end)
