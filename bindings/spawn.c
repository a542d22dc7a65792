/* SPDX-License-Identifier: MIT */
/* spawn.c -- making coros. */
#include "bindings/acl.h"
#include "bindings/cancel.h"
#include "bindings/coro.h"
#include "bindings/engine.h"
#include "bindings/leash.h"
#include "bindings/nest.h"

#include <string.h>

/* Make the handle; it is on top afterwards. */
static acl_coro *
handle_new(lua_State *L, acl_engine *e, int body)
{
    acl_coro *c = lua_newuserdatauv(L, sizeof *c, 1);

    aco_task_init(&c->task, ++e->next_id);
    c->co = c->waiter = NULL;
    c->wait_serial = 0;
    c->flags = 0;
    c->nvals = c->receive_index = 0;
    lua_pushvalue(L, lua_upvalueindex(ACL_UP_META));
    lua_setmetatable(L, -2);
    lua_pushvalue(L, body);
    lua_setiuservalue(L, -2, 1);
    return c;
}

/* With many arguments: give it a thread now. */
static ACO_COLD void
spawn_in_thread(lua_State *L, acl_engine *e, acl_coro *c, int body, int nargs)
{
    lua_State *co;

    c->task.slot = acl_slot_take(L, e, &co);
    if (!lua_checkstack(co, nargs + ACL_BASE_BODY + 1)) {
        acl_slot_give(e, c->task.slot, co);
        luaL_error(L, "spawn: too many arguments");
    }
    lua_pushcfunction(co, acl_base);
    lua_pushcfunction(co, acl_traceback);
    lua_pushlightuserdata(co, e);
    lua_pushvalue(L, -1);
    lua_xmove(L, co, 1);
    lua_insert(L, body);
    lua_xmove(L, co, nargs + 1);
    c->co = co;
    e->slots[c->task.slot] = (uintptr_t)c;
}

int
acl_coro_spawn(lua_State *L, acl_engine *e, int body, int nargs)
{
    acl_coro *c = handle_new(L, e, body);
    if (ACO_LIKELY(nargs <= ACL_NEST_ARGS))
        acl_nest_put(L, e, c, body, nargs);
    else
        spawn_in_thread(L, e, c, body, nargs);
    e->live++;
    aco_task_ready(&e->loop, &c->task);
    return 1;
}

static void
option_unknown(lua_State *L, const char *key)
{
    luaL_error(L, "spawn: unknown option '%s' (name, daemon, mailbox and time_slice are known)",
               key);
}

static bool
option_flag(lua_State *L, const char *key)
{
    if (!lua_isboolean(L, -1))
        luaL_error(L, "spawn: option '%s' must be true or false, not a %s", key,
                   luaL_typename(L, -1));
    return lua_toboolean(L, -1);
}

typedef struct spawn_options {
    bool daemon;
    size_t mailbox;
    double time_slice;
    int name; /* stack index, 0 for none */
} spawn_options;

static void
option_read(lua_State *L, const char *key, spawn_options *o)
{
    if (strcmp(key, "daemon") == 0) {
        o->daemon = option_flag(L, key);
    } else if (strcmp(key, "mailbox") == 0) {
        lua_Integer limit = lua_tointeger(L, -1);
        if (limit < 1 || limit > UINT32_MAX / 2)
            luaL_error(L, "spawn: option 'mailbox' must be a number of messages, 1 or more");
        o->mailbox = (size_t)limit;
    } else if (strcmp(key, "time_slice") == 0) {
        o->time_slice = lua_tonumber(L, -1);
        if (!(o->time_slice > 0))
            luaL_error(L, "spawn: option 'time_slice' must be a time above 0 seconds");
    } else if (strcmp(key, "name") == 0) {
        if (lua_type(L, -1) != LUA_TSTRING) luaL_error(L, "spawn: option 'name' must be a string");
    } else {
        option_unknown(L, key);
    }
}

static void
options_read(lua_State *L, int idx, spawn_options *o)
{
    lua_pushnil(L);
    while (lua_next(L, idx)) {
        if (lua_type(L, -2) != LUA_TSTRING) option_unknown(L, luaL_tolstring(L, -2, NULL));
        option_read(L, lua_tostring(L, -2), o);
        lua_pop(L, 1);
    }
}

static void
options_apply(lua_State *L, acl_engine *e, const spawn_options *o)
{
    int handle = lua_gettop(L);
    acl_coro *c = lua_touserdata(L, handle);

    if (o->daemon) {
        c->flags |= ACL_DAEMON;
        e->daemons++;
    }
    if (o->mailbox > 0) acl_mailbox(L, c, o->mailbox);
    if (o->time_slice > 0) acl_leash_slice(L, e, c, handle, o->time_slice);
    if (lua_getfield(L, 1, "name") == LUA_TSTRING) {
        acl_extras(L, handle);
        lua_insert(L, -2);
        lua_setfield(L, -2, "name");
    }
    lua_settop(L, handle);
}

/*** Start a coro.
It runs for the first time in a later turn, never inside this call; terminated before, it runs
nothing. Does not wait; may be called from anywhere inside `run`.
@function spawn
@tparam[opt] table options `name` (string; default: the function's declared name, else file:line),
`daemon` (true: the program does not wait for it), `mailbox` (how many messages may wait for it;
default 65,536), `time_slice` (seconds after which it lets others run even if it does not wait; see
the manual on the leash)
@tparam function fn its body
@param ... arguments of the body
@treturn coro its handle
@raise on a wrong argument or an unknown option
@usage local c = asyncoro.spawn(function(n) return n * 2 end, 21)
assert(select(2, c:finish()) == 42) */
static int
acl_spawn(lua_State *L)
{
    acl_engine *e = acl_self(L);
    spawn_options options = {0};

    if (ACO_LIKELY(lua_type(L, 1) == LUA_TFUNCTION))
        return acl_coro_spawn(L, e, 1, lua_gettop(L) - 1);
    if (lua_type(L, 1) != LUA_TTABLE) luaL_checktype(L, 1, LUA_TFUNCTION);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    options_read(L, 1, &options);
    acl_coro_spawn(L, e, 2, lua_gettop(L) - 2);
    options_apply(L, e, &options);
    return 1;
}

static const luaL_Reg spawn_funcs[] = {{"spawn", acl_spawn}, {NULL, NULL}};

void
acl_open_spawn(lua_State *L, acl_engine *e)
{
    acl_setfuncs(L, e, spawn_funcs);
}
