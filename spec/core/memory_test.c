/* SPDX-License-Identifier: MIT */
/* memory_test.c -- the same scenario again and again, each time with another allocation failing, of
 * Lua's or of ours, until it comes through: nothing may crash, hang, or be left behind.
 *
 * Two allocations fail in a row; in a second round all that follow do, until the scenario has given
 * up.
 */
#include "bindings/embedded.h"
#include "bindings/module.h"
#include "spec/core/check.h"
#include "spec/core/failing.h"

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdint.h>
#include <string.h>

/* Long enough for what is well; and every so-maniest allocation of the scenario fails. */
#if defined(__SANITIZE_THREAD__)
#define WAIT "0.2"
enum { STEP = 41 };
#else
#define WAIT "0.01"
enum { STEP = 1 };
#endif

static const char load_all[] =
    "asyncoro = require 'asyncoro'\n"
    "require 'asyncoro.core'.set_grace(0.001)\n"
    "for _, noun in ipairs {'group', 'lock', 'event', 'queue', 'channel',\n"
    "    'select', 'semaphore', 'categories'} do\n"
    "    local _ = asyncoro[noun]\n"
    "end\n";

static const char scenario[] =
    "asyncoro.run({leash = false}, function()\n"
    "    local echo = asyncoro.spawn({name = 'echo', daemon = true}, function()\n"
    "        for message, reply in asyncoro.messages() do reply({message}) end\n"
    "    end)\n"
    "    assert(echo:call('x', " WAIT ")[1] == 'x')\n"
    "    local coros = {}\n"
    "    for i = 1, 20 do\n"
    "        coros[i] = asyncoro.spawn(function(...)\n"
    "            asyncoro.sleep(0.0001)\n"
    "            return asyncoro.receive(" WAIT "), ...\n"
    "        end, i)\n"
    "        assert(coros[i]:send(('%d'):format(i)))\n"
    "    end\n"
    "    for i = 1, 20 do\n"
    "        local ok, message = coros[i]:finish(" WAIT ")\n"
    "        assert(ok and message == tostring(i))\n"
    "    end\n"
    "    asyncoro.with_timeout(0.001, function() asyncoro.receive() end)\n"
    "    local watched = asyncoro.spawn(function() asyncoro.receive() end)\n"
    "    asyncoro.monitor(watched)\n"
    "    watched:terminate()\n"
    "    assert(asyncoro.is_exit(asyncoro.receive(" WAIT ")))\n"
    "    local queue = asyncoro.queue(2)\n"
    "    asyncoro.group(function(g)\n"
    "        g:spawn(function() for i = 1, 5 do queue:put(i) end end)\n"
    "        g:spawn(function() for i = 1, 5 do queue:get() end end)\n"
    "    end)\n"
    "    asyncoro.shield(function() asyncoro.yield() end)\n"
    "    local top <close> = asyncoro.channel 'top'\n"
    "    local sub <close> = asyncoro.channel('sub', {transform = function(_, m) return {m} end})\n"
    "    top:subscribe(sub)\n"
    "    sub:subscribe()\n"
    "    top:subscribe()\n"
    "    top:register()\n"
    "    assert(top:deliver('m', " WAIT ", 2) == 2)\n"
    "    assert(asyncoro.receive(0)[1] == 'm' and asyncoro.receive(0) == 'm')\n"
    "    local full = asyncoro.spawn({mailbox = 1}, function() asyncoro.sleep(0.0001) end)\n"
    "    top:subscribe(full)\n"
    "    asyncoro.yield()\n"
    "    top:send(1)\n"
    "    top:send(2, " WAIT ")\n"
    "end)\n";

static int
open_all(lua_State *L)
{
    luaL_openlibs(L);
    acl_embedded_preload(L);
    luaL_requiref(L, "asyncoro.core", luaopen_asyncoro_core, 0);
    lua_pop(L, 1);
    if (luaL_dostring(L, load_all) != LUA_OK) return lua_error(L);
    return 0;
}

static int
run_all(lua_State *L)
{
    if (luaL_dostring(L, scenario) != LUA_OK) return lua_error(L);
    return 0;
}

static void
ignore_warning(void *ud, const char *message, int continued)
{
    (void)ud, (void)message, (void)continued;
}

/* One try in a new state; allocations fail from `after` on while `what` runs. Returns whether none
 * of them had to. */
static bool
try(lua_CFunction what, long after, long count)
{
    bool through = false;
    lua_State *L;

    lua_bytes = 0;
    if (what == open_all) arm(after, count);
    L = lua_newstate(allocate, &lua_bytes);
    if (L != NULL) {
        lua_setwarnf(L, ignore_warning, NULL);
        lua_pushcfunction(L, open_all);
        int status = lua_pcall(L, 0, 0, 0);
        CHECK(status == LUA_OK || what == open_all);
        if (what != open_all) {
            lua_settop(L, 0);
            lua_pushcfunction(L, what);
            arm(after, count);
            status = lua_pcall(L, 0, 0, 0);
        }
        through = disarm(count);
        if (through && status != LUA_OK) fprintf(stderr, "%s\n", lua_tostring(L, -1));
        CHECK(!through || status == LUA_OK);
        lua_close(L);
    }
    disarm(count);
    CHECK(lua_bytes == 0);
    return through;
}

static void
fail_each(const char *name, lua_CFunction what, long count, long step)
{
    long n = 0;

    while (!try(what, n, count))
        n += step;
    CHECK(n > 100); /* the wrappers are in force */
    printf("# %s: %ld allocations, %s\n", name, n, count > 2 ? "all failing" : "two failing");
}

int
main(void)
{
    /* What goes wrong is said on stderr by the engine, here thousands of times. */
    CHECK(freopen("/dev/null", "w", stderr) != NULL || true);
    fail_each("scenario", run_all, 2, STEP);
    fail_each("scenario", run_all, 1000000, STEP);
    fail_each("opening", open_all, 2, 17);
    fail_each("opening", open_all, 1000000, 17);
    return 0;
}
