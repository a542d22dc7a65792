-- SPDX-License-Identifier: MIT
-- LuaRocks wants the version in the file's name: scripts/rock copies this file to one of such a name and builds
-- from the tree around it.
rockspec_format = "3.0"
package = "asyncoro"
version = "0.1.0-1"
source = {
    url = "file://.",
}
description = {
    summary = "Coroutine engine for one process, many processes and many machines",
    detailed = [[
        Straight-line Lua for concurrent, network and distributed programs: coros with mailboxes, channels,
        sockets, pipes and timers on an engine in C; the same script talks to a coro in this process, in another
        one or on another machine, and ships functions to run there.]],
    license = "MIT",
    labels = { "concurrency", "coroutine", "network", "distributed", "actor" },
}
supported_platforms = { "linux" }
dependencies = {
    "lua >= 5.4, < 5.5",
}
external_dependencies = {
    EVENT = { header = "event2/event.h" },
    OPENSSL = { header = "openssl/ssl.h" },
}
build = {
    type = "command",
    build_command = "cmake -S . -B build/rock -DCMAKE_BUILD_TYPE=Release -DASYNCORO_LIBRARY=OFF"
        .. " -DLUA_INCDIR=$(LUA_INCDIR) -DLUA_LIBDIR=$(LUA_LIBDIR)"
        .. " -DASYNCORO_LUADIR=$(LUADIR) -DASYNCORO_LIBDIR=$(LIBDIR)"
        .. " -DCMAKE_INSTALL_PREFIX=$(PREFIX) -DCMAKE_INSTALL_BINDIR=$(BINDIR) && cmake --build build/rock -j 2",
    install_command = "cmake --install build/rock",
    copy_directories = { "docs" },
}
test = {
    type = "command",
    command = "scripts/test",
}
