-- SPDX-License-Identifier: MIT
-- What `cmake --install` puts in place: the module, the host, and a library that programs can be built
-- against with pkg-config and with CMake. The build under test must be one with all of its parts.
local helper <const> = require "spec.helper"
local program <const> = require "spec.program"

local BUILD <const> = os.getenv("ASYNCORO_BUILD") or "build"

local USER <const> = [[
#include <asyncoro.h>
#include <string.h>
int main(void)
{
    const char *script = "local a = require 'asyncoro' a.spawn(function() a.sleep(0) print 'slept' end)";
    asyncoro *runtime = asyncoro_new(NULL);
    if (runtime == NULL) return 1;
    if (asyncoro_load(runtime, script, strlen(script), "user") != ASYNCORO_OK) return 2;
    if (asyncoro_run(runtime, 0, NULL) != ASYNCORO_FINISHED) return 3;
    return asyncoro_close(runtime) == ASYNCORO_OK ? 0 : 4;
}
]]

local CMAKE <const> = [[
cmake_minimum_required(VERSION 3.16)
project(user LANGUAGES C)
find_package(asyncoro REQUIRED)
add_executable(with_shared user.c)
target_link_libraries(with_shared PRIVATE asyncoro::asyncoro)
add_executable(with_static user.c)
target_link_libraries(with_static PRIVATE asyncoro::static)
]]

local function shell(command)
    local pipe <const> = assert(io.popen("exec 2>&1; " .. command, "r"))
    local out <const> = pipe:read("a")
    return pipe:close(), out
end

local function succeed(command)
    local ok <const>, out <const> = shell(command)
    assert(ok, out)
    return out
end

describe("the installation", function()
    local prefix, user

    setup(function()
        prefix, user = program.folder(), program.folder()
        succeed(("cmake --install %s --prefix %s"):format(BUILD, prefix))
        program.write(user .. "/user.c", USER)
        program.write(user .. "/CMakeLists.txt", CMAKE)
    end)
    teardown(function()
        program.remove(prefix)
        program.remove(user)
    end)

    -- The symbols a shared object offers.
    local function symbols(path)
        return succeed(("nm -D --defined-only %s/%s | awk '{print $3}'"):format(prefix, path))
    end

    it("has all of its parts", function()
        for _, path in ipairs {
            "bin/asyncoro", "include/asyncoro.h", "lib/libasyncoro.so", "lib/libasyncoro.a",
            "lib/lua/5.4/asyncoro/core.so", "share/lua/5.4/asyncoro/init.lua", "lib/pkgconfig/asyncoro.pc",
            "lib/cmake/asyncoro/asyncoroConfig.cmake", "lib/cmake/asyncoro/asyncoroConfigVersion.cmake",
        } do
            assert.truthy(os.execute(("test -e %s/%s"):format(prefix, path)), path)
        end
    end)

    it("names no folder of the build", function()
        local here <const> = program.capture("pwd")
        local ok <const>, out <const> = shell(("grep -rIl '%s' %s"):format(here, prefix))
        assert.falsy(ok, out)
    end)

    it("offers of the module what Lua looks for, and nothing else", function()
        assert.equal("luaopen_asyncoro_core\n", symbols("lib/lua/5.4/asyncoro/core.so"))
    end)

    it("offers of the library the functions of asyncoro.h, all of them, and nothing else", function()
        local offered <const> = {}
        for name in symbols("lib/libasyncoro.so"):gmatch("%S+") do
            assert.matches("^asyncoro_", name)
            offered[name] = true
        end
        local declared = 0
        local header <const> = program.read(prefix .. "/include/asyncoro.h"):gsub("/%*.-%*/", "")
        for name in header:gmatch("%f[%w_](asyncoro_[%w_]+)%s*%(") do
            declared = declared + 1
            assert.truthy(offered[name], name .. " is declared and not there")
        end
        assert.is_true(declared > 0)
    end)

    it("exports Lua's symbols from the host, for modules in C", function()
        local offered <const> = symbols("bin/asyncoro")
        for _, name in ipairs { "lua_callk", "lua_gc", "luaL_newstate", "luaL_gsub", "luaopen_utf8" } do
            assert.matches("%f[%w_]" .. name .. "%f[^%w_]", offered)
        end
    end)

    it("serves stock Lua", function()
        local path <const> = program.write(user .. "/try.lua",
            "local a = require 'asyncoro' a.run(function() a.sleep(0) print 'slept' end)")
        assert.same({ 0, "slept\n", "" }, { program.run({ path }, {
            program = "lua5.4",
            folder = user,
            env = {
                LUA_PATH = ("%s/share/lua/5.4/?.lua;%s/share/lua/5.4/?/init.lua"):format(prefix, prefix),
                LUA_CPATH = prefix .. "/lib/lua/5.4/?.so",
            },
        }) })
    end)

    it("serves C programs through pkg-config", function()
        local flags <const> = ("$(PKG_CONFIG_PATH=%s/lib/pkgconfig pkg-config --cflags --libs asyncoro)")
            :format(prefix)
        succeed(("cd %s && cc -Wall -Werror -std=c11 -pedantic user.c -o user %s"):format(user, flags))
        assert.equal("slept\n", succeed(("LD_LIBRARY_PATH=%s/lib %s/user"):format(prefix, user)))
    end)

    helper.needing(helper.has "c++", "no C++ compiler is installed", it)("serves C++ programs", function()
        succeed(("cd %s && c++ -x c++ -fsyntax-only -I%s/include user.c"):format(user, prefix))
    end)

    it("serves CMake projects, with the shared and with the static library", function()
        succeed(("cmake -S %s -B %s/out -DCMAKE_PREFIX_PATH=%s && cmake --build %s/out")
            :format(user, user, prefix, user))
        assert.equal("slept\n", succeed(user .. "/out/with_shared"))
        assert.equal("slept\n", succeed(user .. "/out/with_static"))
    end)
end)
