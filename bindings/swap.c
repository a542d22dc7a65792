/* SPDX-License-Identifier: MIT */
/* swap.c -- hot swap.
 *
 * A request waits in extras.swap = { fn = , args = } until its coro waits and is swappable. Then
 * the coro accepts it, or its function that decides refuses it. Accepted, the old body unwinds as
 * by a cancel and acl_base calls the new one: handle, mailbox and monitors stay. A request that
 * comes while another waits replaces it. */
#include "bindings/swap.h"
#include "bindings/cancel.h"
#include "bindings/coro.h"

/* Ask the function in extras.swappable about the request; stack index of the extras. True:
 * accepted. */
static bool
swap_inspect(lua_State *L, acl_engine *e, int extras)
{
    acl_coro *current = e->current;
    int top = lua_gettop(L);

    if (lua_getfield(L, extras, "swappable") != LUA_TFUNCTION) {
        lua_settop(L, top);
        return true;
    }
    lua_createtable(L, 0, 3);
    lua_getfield(L, extras, "swap");
    lua_getfield(L, -1, "args");
    lua_setfield(L, top + 2, "args");
    lua_getfield(L, -1, "fn");
    lua_Debug ar;
    lua_pushvalue(L, -1);
    lua_getinfo(L, ">u", &ar);
    lua_pushinteger(L, ar.nparams);
    lua_setfield(L, top + 2, "nparams");
    acl_function_name(L, lua_gettop(L));
    lua_setfield(L, top + 2, "name");
    lua_settop(L, top + 2);
    e->current = NULL; /* it decides, and may not wait */
    int status = lua_pcall(L, 1, 1, 0);
    e->current = current;
    if (status != LUA_OK) acl_warn(L, "hot_swappable: the function that decides failed", -1);
    bool accepted = status == LUA_OK && lua_toboolean(L, -1);
    lua_settop(L, top);
    return accepted;
}

/* Decide on the pending request of the coro whose handle is at `handle`. True: accepted, it is
 * being cancelled. */
static bool
swap_decide(lua_State *L, acl_engine *e, acl_coro *c, int handle)
{
    c->task.pending &= (uint8_t)~ACO_PENDING_SWAP;
    acl_extras(L, handle);
    int extras = lua_gettop(L);
    bool accepted = swap_inspect(L, e, extras) && acl_cancel_for_swap(e, c) == ACO_OK;
    if (!accepted) {
        lua_pushnil(L);
        lua_setfield(L, extras, "swap");
    }
    lua_settop(L, extras - 1);
    return accepted;
}

bool
acl_swap_pending(lua_State *L, acl_engine *e, acl_coro *c)
{
    if (!(c->task.pending & ACO_PENDING_SWAP) || !(c->flags & ACL_SWAPPABLE)) return false;
    luaL_checkstack(L, 10, NULL);
    acl_coro_push(L, e, c);
    bool accepted = swap_decide(L, e, c, lua_gettop(L));
    lua_pop(L, 1);
    return accepted;
}

void
acl_swap_push(lua_State *L, int handle)
{
    acl_extras(L, handle);
    int extras = lua_gettop(L);
    lua_getfield(L, extras, "swap");
    lua_getfield(L, -1, "fn");
    lua_pushvalue(L, -1);
    lua_setfield(L, extras, "fn");
    lua_getfield(L, extras + 1, "args");
    lua_pushnil(L);
    lua_setfield(L, extras, "swap");
    lua_pushnil(L);
    lua_setfield(L, extras, "name"); /* from now on it has the new body's */
    int args = lua_gettop(L);
    lua_getfield(L, args, "n");
    int n = (int)lua_tointeger(L, -1);
    lua_pop(L, 1);
    luaL_checkstack(L, n + 4, "hot_swap: too many arguments");
    for (int i = 1; i <= n; i++)
        lua_rawgeti(L, args, i);
    lua_remove(L, args);
    lua_remove(L, extras + 1);
    lua_remove(L, extras);
}

/*** Say whether this coro may be given another body by `coro:hot_swap`.
Does not wait; a request that is pending takes effect at the next wait.
@function hot_swappable
@tparam boolean|function flag true, false, or a function that is given `{name =, nparams =, args =}`
of each request and returns true to accept it; it must not wait */
static int
acl_hot_swappable(lua_State *L)
{
    acl_engine *e = acl_self(L);
    acl_coro *c = e->current;

    if (lua_type(L, 1) != LUA_TFUNCTION) luaL_checktype(L, 1, LUA_TBOOLEAN);
    if (c == NULL) return luaL_error(L, "hot_swappable: only a coro can be swapped");
    c->flags &= (uint16_t)~ACL_SWAPPABLE;
    if (lua_toboolean(L, 1)) c->flags |= ACL_SWAPPABLE;
    acl_coro_push(L, e, c);
    acl_extras(L, -1);
    if (lua_type(L, 1) == LUA_TFUNCTION)
        lua_pushvalue(L, 1);
    else
        lua_pushnil(L);
    lua_setfield(L, -2, "swappable");
    return 0;
}

/* Put { fn = , args = } of the call (self, fn, args...) into extras.swap; leaves only the handle.
 */
static void
swap_request(lua_State *L)
{
    int n = lua_gettop(L) - 2;

    lua_createtable(L, n, 1);
    lua_insert(L, 3);
    for (int i = n; i >= 1; i--)
        lua_rawseti(L, 3, i);
    lua_pushinteger(L, n);
    lua_setfield(L, 3, "n");
    lua_createtable(L, 0, 2);
    lua_insert(L, 2);
    lua_setfield(L, 2, "args");
    lua_setfield(L, 2, "fn");
    acl_extras(L, 1);
    lua_insert(L, 2);
    lua_setfield(L, 2, "swap");
    lua_settop(L, 1);
}

/*** Replace the body of a coro: at its next wait, when it is swappable, it drops what it does
(clean-up code runs) and starts fn in its place. It keeps its handle, mailbox and monitors; no
message is lost. Does not wait: true means that the request was taken, not that it was accepted. A
new request replaces one that is still pending.
@function coro:hot_swap
@tparam function fn the new body
@param ... its arguments
@treturn boolean true
@treturn[2] nil
@treturn[2] string message
@treturn[2] string "notfound" when the coro has ended */
static int
coro_hot_swap(lua_State *L)
{
    acl_engine *e = acl_self(L);
    acl_coro *c = acl_coro_check(L, 1);

    luaL_checktype(L, 2, LUA_TFUNCTION);
    if (c->flags & ACL_ENDED) return acl_fail(L, ACO_ENOTFOUND, "hot_swap: the coro has ended");
    swap_request(L);
    c->task.pending |= ACO_PENDING_SWAP;
    if (c->task.state == ACO_PARKED && (c->flags & ACL_SWAPPABLE)) swap_decide(L, e, c, 1);
    lua_pushboolean(L, 1);
    return 1;
}

void
acl_open_swap(lua_State *L, acl_engine *e)
{
    static const luaL_Reg funcs[] = {{"hot_swappable", acl_hot_swappable}, {NULL, NULL}};
    static const luaL_Reg methods[] = {{"hot_swap", coro_hot_swap}, {NULL, NULL}};

    acl_setfuncs(L, e, funcs);
    acl_setmethods(L, e, methods);
}
