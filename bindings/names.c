/* SPDX-License-Identifier: MIT */
/* names.c -- names of coros, which every engine of the process can look up. */
#include "bindings/channel.h"
#include "bindings/coro.h"
#include "bindings/engine.h"
#include "bindings/reach.h"

#include "core/base/clock.h"

/* The record of the coro at 1, local or not; NULL: it has ended, and `nil, message, code` is
 * pushed. */
static aco_export *
named_check(lua_State *L, acl_engine *e, const char *what)
{
    const acl_remote *r = acl_remote_test(L, 1);

    if (r == NULL) {
        acl_coro *c = acl_coro_check(L, 1);
        if (!(c->flags & ACL_ENDED)) return acl_export(L, e, 1);
    } else if (r->x != NULL && atomic_load(&r->x->reason) == ACO_ALIVE) {
        return r->x;
    }
    acl_fail(L, ACO_ENOTFOUND, "%s: the coro has ended", what);
    return NULL;
}

/* Push the name at 2, or the coro's own. */
static const char *
name_check(lua_State *L, const aco_export *x, size_t *size)
{
    if (lua_isnoneornil(L, 2))
        lua_pushstring(L, x->name);
    else
        lua_pushvalue(L, 2);
    luaL_argcheck(L, lua_type(L, -1) == LUA_TSTRING && lua_rawlen(L, -1) > 0, 2,
                  "a name expected, a string that is not empty");
    return lua_tolstring(L, -1, size);
}

/*** Give a coro a name under which every engine of this process finds it (see `locate`). It loses
the name when it ends. A coro may have several names. Does not wait.
@function coro:register
@tparam[opt] string name the coro's own name when it is left out
@treturn boolean true
@treturn[2] nil
@treturn[2] string message
@treturn[2] string "exists" when another coro has the name, "notfound" when this one has ended */
static int
coro_register(lua_State *L)
{
    size_t size;

    aco_export *x = named_check(L, acl_self(L), "register");
    if (x == NULL) return 3;
    const char *name = name_check(L, x, &size);
    int err = aco_name_register(x, name, size);
    if (err == ACO_ENOMEM) return luaL_error(L, "not enough memory");
    if (err == ACO_EEXISTS)
        return acl_fail(L, err, "register: another coro has the name '%s'", name);
    if (err != ACO_OK) return acl_fail(L, err, "register: the coro has ended");
    acl_coro *c = acl_coro_test(L, 1);
    if (c != NULL) c->flags |= ACL_NAMED;
    lua_pushboolean(L, 1);
    return 1;
}

/*** Take a name away from a coro. Does not wait.
@function coro:unregister
@tparam[opt] string name the coro's own name when it is left out
@treturn boolean true
@treturn[2] nil
@treturn[2] string message
@treturn[2] string "notfound" when the coro does not have this name */
static int
coro_unregister(lua_State *L)
{
    size_t size;

    aco_export *x = named_check(L, acl_self(L), "unregister");
    if (x == NULL) return 3;
    const char *name = name_check(L, x, &size);
    if (aco_name_unregister(x, name, size) != ACO_OK)
        return acl_fail(L, ACO_ENOTFOUND, "unregister: the coro has no name '%s'", name);
    lua_pushboolean(L, 1);
    return 1;
}

/* Push the handle of the coro that has the name at 1; false when nobody has it. */
static bool
name_push(lua_State *L, acl_engine *e)
{
    size_t size;
    const char *name = lua_tolstring(L, 1, &size);

    aco_export *x = aco_name_find(e->reach->process, name, size);
    if (x == NULL) return false;
    aco_identity identity;
    aco_export_identity(x, &identity);
    bool is_channel = x->kind == ACO_KIND_CHANNEL;
    aco_export_unref(x);
    if (is_channel)
        acl_channel_push(L, e, &identity, "", "");
    else
        acl_remote_push(L, e, &identity, "", "");
    return true;
}

static void
name_wait_begin(acl_engine *e)
{
    e->reach->waits++;
    e->reach->name_waits++;
    aco_name_await(e->reach->seat, true);
}

static void
name_wait_end(acl_engine *e)
{
    e->reach->waits--;
    if (--e->reach->name_waits == 0) aco_name_await(e->reach->seat, false);
}

static int locate_k(lua_State *L, int status, lua_KContext deadline);

static int
locate_try(lua_State *L, acl_engine *e, aco_time deadline)
{
    if (deadline != 0) name_wait_begin(e); /* before the look, so that no name is missed */
    if (name_push(L, e)) {
        if (deadline != 0) name_wait_end(e);
        return 1;
    }
    if (deadline == 0)
        return acl_fail(L, ACO_ETIMEOUT, "locate: no coro has the name '%s'", lua_tostring(L, 1));
    acl_coro *c = e->current;
    aco_wait_begin(&c->task, ACO_WAIT_NAME);
    aco_wait_on(&c->task, &e->reach->names);
    return acl_park(L, e, c, deadline, (lua_KContext)deadline, locate_k);
}

static int
locate_k(lua_State *L, int status, lua_KContext deadline)
{
    acl_engine *e = acl_self(L);

    (void)status;
    name_wait_end(e);
    acl_wait_end(L, e, e->current);
    if (e->current->task.wake_err == ACO_ETIMEOUT)
        return acl_fail(L, ACO_ETIMEOUT, "locate: no coro got the name '%s' in time",
                        lua_tostring(L, 1));
    return locate_try(L, e, deadline);
}

/*** Find the coro that has a name, or wait until one has it. Waits.
@function locate
@tparam string name
@tparam[opt] location location the process to look in; this one when it is left out
@tparam[opt] number timeout seconds; nil waits for ever, 0 only looks
@treturn coro
@treturn[2] nil
@treturn[2] string message
@treturn[2] string "timeout"; "notfound" for another process while this one has no network */
static int
acl_locate(lua_State *L)
{
    acl_engine *e = acl_self(L);

    luaL_checktype(L, 1, LUA_TSTRING);
    aco_time deadline = acl_opt_deadline(L, 3);
    if (e->reach == NULL) return luaL_error(L, "the engine of this Lua state has been closed");
    if (!lua_isnoneornil(L, 2))
        return acl_fail(L, ACO_ENOTFOUND, "locate: this process has no network");
    lua_settop(L, 1);
    if (deadline != 0) acl_wait_check(L, e, "locate");
    return locate_try(L, e, deadline);
}

void
acl_open_names(lua_State *L, acl_engine *e)
{
    static const luaL_Reg funcs[] = {{"locate", acl_locate}, {NULL, NULL}};
    static const luaL_Reg methods[] = {
        {"register", coro_register}, {"unregister", coro_unregister}, {NULL, NULL}};

    acl_setfuncs(L, e, funcs);
    acl_setmethods(L, e, methods);
    luaL_getmetatable(L, ACL_REMOTE_META);
    lua_getfield(L, -1, "__index");
    acl_setfuncs(L, e, methods);
    lua_pop(L, 2);
}
