-- SPDX-License-Identifier: MIT
-- The example of a C program with asyncoro inside, built against an installed library.
local program = require "spec.program"

describe("scripts/examples/embed.c", function()
    it("builds with pkg-config, and runs", function()
        local folder = program.folder()
        finally(function() program.remove(folder) end)
        local build = os.getenv "ASYNCORO_BUILD" or "build"
        assert(os.execute(("cmake --install %s --prefix %s >%s/log 2>&1"):format(program.quote(build), folder, folder)))
        local pc = program.capture(("find %s -name asyncoro.pc -printf %%h"):format(folder))
        local command = ("PKG_CONFIG_PATH=%s; export PKG_CONFIG_PATH; cc -std=c11 -Wall -Wextra -Werror -O1 %s "
            .. "$(pkg-config --cflags --libs asyncoro) -pthread -Wl,-rpath,$(pkg-config --variable=libdir asyncoro) "
            .. "-o %s/embed"):format(pc, "scripts/examples/embed.c", folder)
        assert(os.execute(command))
        local code, out, err = program.run({}, { program = folder .. "/embed" })
        assert.same({ 0, "" }, { code, err })
        assert.equal("the sum is 1\nthe sum is 3\nthe sum is 6\nthe sum is 10\nthe sum is 15\n"
            .. "the program has finished\n", out)
    end)
end)
