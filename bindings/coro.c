/* SPDX-License-Identifier: MIT */
/* coro.c -- handles of the coros of this engine: identity, names, what is known of them. */
#include "bindings/coro.h"
#include "bindings/cancel.h"
#include "bindings/engine.h"
#include "bindings/nest.h"
#include "bindings/reach.h"

#include <string.h>

acl_coro *
acl_coro_test(lua_State *L, int idx)
{
    if (lua_rawlen(L, idx) != sizeof(acl_coro)) return NULL; /* no light userdata: that gives 0 */
    acl_coro *c = lua_touserdata(L, idx);
    return c != NULL && c->task.clause.task == &c->task ? c : NULL;
}

acl_coro *
acl_coro_check(lua_State *L, int idx)
{
    acl_coro *c = acl_coro_test(L, idx);

    if (ACO_UNLIKELY(c == NULL)) luaL_typeerror(L, idx, "coro");
    return c;
}

/* The outermost function of a thread that has any; each probe walks the levels, so as few as can
 * be. */
static int
last_level(lua_State *co)
{
    lua_Debug ar;
    int in = 0, out = 1; /* a level that there is, and one that there is not */

    while (lua_getstack(co, out, &ar)) {
        in = out;
        out *= 2;
    }
    while (out - in > 1) {
        int middle = in + (out - in) / 2;
        if (lua_getstack(co, middle, &ar))
            in = middle;
        else
            out = middle;
    }
    return in;
}

/* The handle from the bottom of its thread's stack: as argument of acl_base, running or about to
 * run, or not even called for lack of memory. */
static void
handle_find(lua_State *L, acl_coro *c)
{
    lua_Debug ar;

    if (!(c->flags & ACL_STARTED) || !lua_getstack(c->co, 0, &ar)) {
        lua_pushvalue(c->co, 1 + ACL_BASE_HANDLE);
        lua_xmove(c->co, L, 1);
        return;
    }
    lua_getstack(c->co, last_level(c->co), &ar);
    lua_getlocal(c->co, &ar, ACL_BASE_HANDLE);
    lua_xmove(c->co, L, 1);
}

void
acl_coro_push(lua_State *L, acl_engine *e, acl_coro *c)
{
    if (acl_nest_has(c)) {
        acl_nest_push(L, e, c);
        return;
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, e->handles_ref);
    if (lua_rawgeti(L, -1, (lua_Integer)c->task.slot + 1) == LUA_TUSERDATA &&
        lua_touserdata(L, -1) == c) {
        lua_remove(L, -2);
        return;
    }
    lua_pop(L, 1);
    luaL_checkstack(c->co, 4, NULL);
    handle_find(L, c);
    lua_pushvalue(L, -1);
    lua_rawseti(L, -3, (lua_Integer)c->task.slot + 1);
    lua_remove(L, -2);
}

void
acl_extras(lua_State *L, int handle)
{
    handle = lua_absindex(L, handle);
    if (lua_getiuservalue(L, handle, 1) == LUA_TTABLE) return;
    lua_createtable(L, 0, 4);
    lua_insert(L, -2);
    lua_setfield(L, -2, "fn");
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, handle, 1);
}

/* Names of functions come from their source text, which Lua code reads: core.set_namer. */
static const char namer_key = 0;

void
acl_function_name(lua_State *L, int idx)
{
    lua_Debug ar;

    idx = lua_absindex(L, idx);
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &namer_key) == LUA_TFUNCTION) {
        lua_pushvalue(L, idx);
        if (lua_pcall(L, 1, 1, 0) == LUA_OK && lua_type(L, -1) == LUA_TSTRING) return;
    }
    lua_pop(L, 1);
    lua_pushvalue(L, idx);
    lua_getinfo(L, ">S", &ar);
    if (*ar.what == 'C')
        lua_pushliteral(L, "a C function");
    else
        lua_pushfstring(L, "%s:%d", ar.short_src, ar.linedefined);
}

void
acl_coro_name(lua_State *L, int handle)
{
    handle = lua_absindex(L, handle);
    luaL_checkstack(L, 6, NULL);
    if (lua_getiuservalue(L, handle, 1) == LUA_TTABLE) {
        if (lua_getfield(L, -1, "name") == LUA_TSTRING) {
            lua_remove(L, -2);
            return;
        }
        lua_pop(L, 1);
        lua_getfield(L, -1, "fn");
        lua_remove(L, -2);
    }
    acl_function_name(L, lua_gettop(L));
    lua_remove(L, -2);
}

/*** The name given to `spawn`, or the body's declared name, or file:line.
@function coro:name
@treturn string */
static int
coro_name(lua_State *L)
{
    acl_coro_check(L, 1);
    acl_coro_name(L, 1);
    return 1;
}

/*** The serial number of the coro within its engine. It is never used again.
@function coro:id
@treturn integer */
static int
coro_id(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)acl_coro_check(L, 1)->task.id);
    return 1;
}

const char *
acl_coro_status(const acl_coro *c)
{
    if (c->flags & ACL_FINISHED) return "finished";
    if (c->flags & ACL_FAILED) return "failed";
    if (c->flags & ACL_TERMINATED) return "terminated";
    if (c->task.state == ACO_RUNNING) return "running";
    return c->task.state == ACO_PARKED ? "waiting" : "ready";
}

/*** What the coro is doing.
@function coro:status
@treturn string "ready" (to run at its turn), "running", "waiting", "finished", "failed" or
"terminated"
@treturn ?string of a waiting coro: what it waits for ("receive", "sleep" ...) */
static int
coro_status(lua_State *L)
{
    acl_coro *c = acl_coro_check(L, 1);

    lua_pushstring(L, acl_coro_status(c));
    if (c->task.state != ACO_PARKED) return 1;
    lua_pushstring(L, aco_wait_text(&c->task));
    return 2;
}

/*** False once the coro has ended.
@function coro:is_alive
@treturn boolean */
static int
coro_is_alive(lua_State *L)
{
    lua_pushboolean(L, !(acl_coro_check(L, 1)->flags & ACL_ENDED));
    return 1;
}

/*** Where the coro is right now, as a traceback; of a failed coro, where it failed.
@function coro:traceback
@treturn string */
static int
coro_traceback(lua_State *L)
{
    acl_engine *e = acl_self(L);
    acl_coro *c = acl_coro_check(L, 1);

    if (c->flags & ACL_ENDED) {
        acl_extras(L, 1);
        if (lua_getfield(L, -1, "trace") != LUA_TSTRING) lua_pushliteral(L, "");
        return 1;
    }
    if (c->co == NULL) {
        lua_pushliteral(L, "stack traceback:");
        return 1;
    }
    lua_State *co = c == e->current ? e->running : c->waiter != NULL ? c->waiter : c->co;
    luaL_traceback(L, co, NULL, co == L ? 1 : 0);
    return 1;
}

/*** Say whether the program may end while this coro lives.
@function coro:set_daemon
@tparam[opt=true] boolean flag true: it may
@treturn boolean true
@treturn[2] nil
@treturn[2] string message
@treturn[2] string "notfound" when the coro has ended */
static int
coro_set_daemon(lua_State *L)
{
    acl_engine *e = acl_self(L);
    acl_coro *c = acl_coro_check(L, 1);
    bool flag = lua_isnoneornil(L, 2) || lua_toboolean(L, 2);

    if (c->flags & ACL_ENDED) return acl_fail(L, ACO_ENOTFOUND, "set_daemon: the coro has ended");
    if ((c->flags & ACL_MAIN) && acl_isolate_set_daemon(e, flag)) {
        lua_pushboolean(L, 1);
        return 1;
    }
    if (flag != ((c->flags & ACL_DAEMON) != 0)) {
        c->flags ^= ACL_DAEMON;
        e->daemons = flag ? e->daemons + 1 : e->daemons - 1;
    }
    lua_pushboolean(L, 1);
    return 1;
}

static int
coro_tostring(lua_State *L)
{
    acl_coro *c = acl_coro_check(L, 1);

    acl_coro_name(L, 1);
    lua_pushfstring(L, "coro %s#%I", lua_tostring(L, -1), (LUAI_UACINT)c->task.id);
    return 1;
}

/*** The handle of the running coro.
@function current
@treturn ?coro nil outside a coro */
static int
acl_current(lua_State *L)
{
    acl_engine *e = acl_self(L);

    if (e->current == NULL)
        lua_pushnil(L);
    else
        acl_coro_push(L, e, e->current);
    return 1;
}

/*** The coros of this engine that have not ended.
@function coros
@treturn table array of handles */
static int
acl_coros(lua_State *L)
{
    acl_engine *e = acl_self(L);
    struct acl_walk walk = {0};
    lua_Integer n = 0;

    lua_createtable(L, (int)(e->live < 1 << 20 ? e->live : 1 << 20), 0);
    for (acl_coro *c; (c = acl_walk_next(e, &walk)) != NULL;) {
        acl_coro_push(L, e, c);
        lua_rawseti(L, -2, ++n);
    }
    return 1;
}

static int
acl_set_namer(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_settop(L, 1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &namer_key);
    return 0;
}

void
acl_open_coro(lua_State *L, acl_engine *e)
{
    static const luaL_Reg funcs[] = {
        {"current", acl_current}, {"coros", acl_coros}, {"set_namer", acl_set_namer}, {NULL, NULL}};
    static const luaL_Reg methods[] = {{"name", coro_name},
                                       {"id", coro_id},
                                       {"status", coro_status},
                                       {"is_alive", coro_is_alive},
                                       {"traceback", coro_traceback},
                                       {"set_daemon", coro_set_daemon},
                                       {NULL, NULL}};

    acl_setfuncs(L, e, funcs);
    lua_rawgeti(L, LUA_REGISTRYINDEX, e->meta_ref);
    lua_pushliteral(L, "coro");
    lua_setfield(L, -2, "__name");
    lua_newtable(L);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, coro_tostring);
    lua_setfield(L, -2, "__tostring");
    lua_pop(L, 1);
    acl_setmethods(L, e, methods);
}
