-- SPDX-License-Identifier: MIT
-- C programs with asyncoro inside, built against an installed library as anybody would: the example, and the
-- programs of spec/embed, which test asyncoro.h.
local program = require "spec.program"

local BUILD <const> = os.getenv "ASYNCORO_BUILD" or "build"

local CMAKE <const> = [[
cmake_minimum_required(VERSION 3.16)
project(user LANGUAGES C)
find_package(asyncoro REQUIRED)
add_executable(embed embed.c)
target_link_libraries(embed PRIVATE asyncoro::asyncoro pthread)
]]

-- What spec/embed has, without what needs other allocators than a program's.
local TESTS <const> = { "life_test", "step_test", "base_test", "state_test", "message_test" }

describe("a C program", function()
    local folder

    local function succeed(command)
        local pipe <const> = assert(io.popen("exec 2>&1; " .. command, "r"))
        local out <const> = pipe:read("a")
        assert(pipe:close(), out)
        return out
    end

    -- Compiles `source` with what pkg-config says, into the folder.
    local function compile(source, name, packages)
        local pc <const> = program.capture(("find %s/installed -name asyncoro.pc -printf %%h"):format(folder))
        succeed(("PKG_CONFIG_PATH=%s; export PKG_CONFIG_PATH; cc -std=c11 -D_GNU_SOURCE -Wall -Wextra -Werror -O1 %s "
            .. "$(pkg-config --cflags --libs %s) -pthread -Wl,-rpath,$(pkg-config --variable=libdir asyncoro) "
            .. "-o %s/%s"):format(pc, source, packages, folder, name))
    end

    setup(function()
        folder = program.folder()
        succeed(("cmake --install %s --prefix %s/installed"):format(program.quote(BUILD), folder))
    end)
    teardown(function() program.remove(folder) end)

    local EXPECTED <const> = "the sum is 1\nthe sum is 3\nthe sum is 6\nthe sum is 10\nthe sum is 15\n"
        .. "the program has finished\n"

    it("is scripts/examples/embed.c, built with pkg-config", function()
        compile("scripts/examples/embed.c", "embed", "asyncoro")
        assert.same({ 0, EXPECTED, "" }, { program.run({}, { program = folder .. "/embed" }) })
    end)

    it("is scripts/examples/embed.c, built with CMake", function()
        succeed(("mkdir %s/user && cp scripts/examples/embed.c %s/user"):format(folder, folder))
        program.write(folder .. "/user/CMakeLists.txt", CMAKE)
        succeed(("cmake -S %s/user -B %s/user/out -DCMAKE_PREFIX_PATH=%s/installed && cmake --build %s/user/out")
            :format(folder, folder, folder, folder))
        assert.same({ 0, EXPECTED, "" }, { program.run({}, { program = folder .. "/user/out/embed" }) })
    end)

    for _, name in ipairs(TESTS) do
        it("is spec/embed/" .. name .. ".c", function()
            compile(("-Ispec/embed spec/embed/%s.c"):format(name), name, "asyncoro lua5.4 libevent_core")
            assert.same({ 0, "ok\n", "" }, { program.run({}, { program = ("%s/%s"):format(folder, name) }) })
        end)
    end
end)
