/* SPDX-License-Identifier: MIT */
#include "bindings/module.h"
#include "bindings/codec.h"
#include "bindings/coro.h"
#include "bindings/coroutine.h"
#include "bindings/engine.h"
#include "bindings/doctor.h"
#include "bindings/file.h"
#include "bindings/fork.h"
#include "bindings/http.h"
#include "bindings/isolate.h"
#include "bindings/issue.h"
#include "bindings/digest.h"
#include "bindings/leash.h"
#include "bindings/location.h"
#include "bindings/network.h"
#include "bindings/process.h"
#include "bindings/rci.h"
#include "bindings/remote.h"
#include "bindings/resolve.h"
#include "bindings/run.h"
#include "bindings/signals.h"
#include "bindings/socket.h"
#include "bindings/stream.h"
#include "bindings/swap.h"
#include "bindings/tls.h"
#include "bindings/transfer.h"
#include "bindings/udp.h"
#include "bindings/waitq.h"
#include "bindings/watch.h"

#include "core/base/clock.h"
#include "core/base/version.h"

/*** Seconds since 1970, with fractions.
@function time
@treturn number */
static int
acl_time(lua_State *L)
{
    lua_pushnumber(L, aco_wall_time());
    return 1;
}

/*** Seconds on a clock that only goes forward; for measuring.
@function now
@treturn number */
static int
acl_now(lua_State *L)
{
    lua_pushnumber(L, (lua_Number)aco_now() / 1e9);
    return 1;
}

/*** Figures of this engine: `live` (coros that have not ended), `daemons`, `ready` (to run),
`waiting`, `timers`, `slots` (threads made), `isolates` (alive, that this engine started), `memory`
(bytes that Lua holds); while the network runs `network`, a table of its figures (see the page on
the network).
@function stats
@treturn table */
static int
acl_stats(lua_State *L)
{
    acl_engine *e = acl_self(L);
    const struct {
        const char *name;
        size_t value;
    } figures[] = {
        {"live", e->live},
        {"daemons", e->daemons},
        {"ready", e->loop.ready},
        {"waiting", e->loop.parked},
        {"timers", e->loop.timers.count},
        {"slots", e->slot_count},
        {"isolates", acl_isolates_alive(e, true)},
        {"memory", (size_t)lua_gc(L, LUA_GCCOUNT) * 1024 + (size_t)lua_gc(L, LUA_GCCOUNTB)},
    };

    lua_createtable(L, 0, 12);
    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++) {
        lua_pushinteger(L, (lua_Integer)figures[i].value);
        lua_setfield(L, -2, figures[i].name);
    }
    if (acl_network_stats(L, e)) lua_setfield(L, -2, "network");
    return 1;
}

static const luaL_Reg module_funcs[] = {
    {"time", acl_time}, {"now", acl_now}, {"stats", acl_stats}, {NULL, NULL}};

int
acl_open_core(lua_State *L, struct event_base *base)
{
    luaL_checkversion(L);
    acl_engine *e = acl_engine_open(L, base);
    lua_newtable(L);
    acl_setfuncs(L, e, module_funcs);
    lua_pushstring(L, aco_version());
    lua_setfield(L, -2, "version");
    acl_open_coro(L, e);
    acl_open_spawn(L, e);
    acl_open_wait(L, e);
    acl_open_send(L, e);
    acl_open_finish(L, e);
    acl_open_cancel(L, e);
    acl_open_swap(L, e);
    acl_open_run(L, e);
    acl_open_watch(L, e);
    acl_open_stream(L, e);
    acl_open_socket(L, e);
    acl_open_udp(L, e);
    acl_open_tls(L, e);
    acl_open_resolve(L, e);
    acl_open_doctor(L, e);
    acl_open_transfer(L, e);
    acl_open_file(L, e);
    acl_open_process(L, e);
#ifdef HAVE_LLHTTP
    acl_open_http(L, e);
#endif
    acl_open_signal(L, e);
    acl_open_digest(L, e);
    acl_open_issue(L, e);
    acl_open_waitq(L, e);
    acl_open_coroutine(L, e);
    acl_open_leash(L, e);
    acl_open_remote(L, e);
    acl_open_location(L, e);
    acl_open_rci(L, e);
    acl_open_network(L, e);
    acl_open_isolate(L, e);
    acl_open_fork(L, e);
    acl_open_codec(L);
    return 1;
}

int
luaopen_asyncoro_core(lua_State *L)
{
    return acl_open_core(L, NULL);
}
