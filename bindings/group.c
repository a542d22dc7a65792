/* SPDX-License-Identifier: MIT */
/* group.c -- what groups and supervisors, which are written in Lua, need of the engine. For the Lua
 * files of this module only. */
#include "bindings/group.h"
#include "bindings/cancel.h"
#include "bindings/nest.h"

#include <string.h>

bool
acl_coro_answered(lua_State *L, int handle)
{
    acl_extras(L, handle);
    lua_getfield(L, -1, "answered");
    bool answered = lua_toboolean(L, -1);
    lua_pop(L, 2);
    return answered;
}

/* answer_for(coro): its failure, if it comes to that, is not reported as one that nobody observed
 */
static int
answer_for(lua_State *L)
{
    acl_coro_check(L, 1);
    acl_extras(L, 1);
    lua_pushboolean(L, 1);
    lua_setfield(L, -2, "answered");
    return 0;
}

/* set_traceback(err, traceback): where an error came from that is about to be raised in the running
 * coro */
static int
set_traceback(lua_State *L)
{
    acl_engine *e = acl_self(L);

    lua_settop(L, 2);
    if (e->current == NULL) return 0;
    acl_coro_push(L, e, e->current);
    acl_extras(L, 3);
    lua_pushvalue(L, 1);
    lua_setfield(L, -2, "trace_of");
    lua_pushvalue(L, 2);
    lua_setfield(L, -2, "trace");
    return 0;
}

/* named_after(coro, fn): the coro, whose body calls fn, and has its name */
static int
named_after(lua_State *L)
{
    acl_coro *c = acl_coro_check(L, 1);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    lua_settop(L, 2);
    if (acl_nest_has(c)) acl_nest_leave(L, acl_self(L), c); /* which looks for its body there */
    if (lua_getiuservalue(L, 1, 1) == LUA_TTABLE) {
        lua_pushvalue(L, 2);
        lua_setfield(L, -2, "fn");
    } else {
        lua_pushvalue(L, 2);
        lua_setiuservalue(L, 1, 1);
    }
    lua_settop(L, 1);
    return 1;
}

/* is_cancel(err): whether it is what a cancel raises, not an error of the code */
static int
is_cancel(lua_State *L)
{
    lua_pushboolean(L, acl_cancel_test(L, 1));
    return 1;
}

/* is_coro(value): a handle, of this engine or another */
static int
is_coro(lua_State *L)
{
    bool coro = acl_coro_test(L, 1) != NULL;

    if (!coro && luaL_getmetafield(L, 1, "__name") == LUA_TSTRING)
        coro = lua_type(L, 1) == LUA_TUSERDATA && strcmp(lua_tostring(L, -1), "coro") == 0;
    lua_pushboolean(L, coro);
    return 1;
}

/* check_timeout(timeout, what): raises, as if the caller's caller were wrong, when it is no time */
static int
check_timeout(lua_State *L)
{
    if (lua_type(L, 1) == LUA_TNUMBER && lua_tonumber(L, 1) >= 0) return 0;
    const char *given = luaL_tolstring(L, 1, NULL);
    return acl_blame(L, "%s: a time of 0 or more seconds expected, got %s", lua_tostring(L, 2),
                     given);
}

void
acl_open_group(lua_State *L, acl_engine *e)
{
    static const luaL_Reg funcs[] = {
        {"answer_for", answer_for},       {"named_after", named_after},
        {"is_cancel", is_cancel},         {"is_coro", is_coro},
        {"set_traceback", set_traceback}, {"keep_traceback", acl_traceback},
        {"check_timeout", check_timeout}, {NULL, NULL}};

    acl_setfuncs(L, e, funcs);
}
