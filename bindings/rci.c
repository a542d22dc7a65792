/* SPDX-License-Identifier: MIT */
/* rci.c -- functions that may be started as coros from elsewhere.
 *
 * An RCI is a record of its own kind in the process; its value, in every engine, is a userdata as
 * of a coro of another engine (acl_remote), with other methods. In the engine that has made it, the
 * value has the function and its rules as user value, a table of which lua/asyncoro/rci.lua knows
 * what to do with it. Calls are requests with the method "invoke"; while it is registered it is
 * anchored, and served. */
#include "bindings/rci.h"
#include "bindings/coro.h"
#include "bindings/location.h"
#include "bindings/network.h"
#include "bindings/reach.h"
#include "bindings/remote.h"

#include <string.h>

#include "core/base/clock.h"

#define RCI_META "asyncoro.rci"

/* In the registry: the function that serves calls. */
static const char server_key = 0;

static acl_remote *
rci_test(lua_State *L, int idx)
{
    acl_remote *r = acl_remote_any(L, idx);

    return r != NULL && r->kind == ACO_KIND_RCI ? r : NULL;
}

static acl_remote *
rci_check(lua_State *L, int idx)
{
    acl_remote *r = rci_test(L, idx);

    if (r == NULL) {
        luaL_typeerror(L, idx, "rci");
        __builtin_unreachable(); /* it raises */
    }
    return r;
}

static acl_remote *
rci_new(lua_State *L)
{
    acl_remote *r = lua_newuserdatauv(L, sizeof *r, 1);

    memset(r, 0, sizeof *r);
    aco_list_init(&r->enders);
    r->self = r;
    r->kind = ACO_KIND_RCI;
    luaL_setmetatable(L, RCI_META);
    return r;
}

/* Of an RCI of this engine: its record goes with it. */
static int
rci_gc(lua_State *L)
{
    acl_remote *r = rci_test(L, 1);
    aco_export *x = r != NULL ? r->x : NULL;

    if (x == NULL) return 0;
    r->x = NULL;
    if (r->home) {
        if (aco_link_in_list(&x->home)) aco_link_remove(&x->home);
        aco_export_end(x, ACO_FINISHED, NULL);
    }
    aco_export_unref(x);
    return 0;
}

/* Push the field of the table behind the RCI at idx, which is of this engine. */
static int
entry_field(lua_State *L, int idx, const char *field)
{
    lua_getiuservalue(L, idx, 1);
    int type = lua_getfield(L, -1, field);
    lua_remove(L, -2);
    return type;
}

/* Keep the RCI at idx under its identity. */
static void
rci_intern(lua_State *L, acl_engine *e, const acl_remote *r, int idx)
{
    idx = lua_absindex(L, idx);
    lua_rawgeti(L, LUA_REGISTRYINDEX, e->reach->rcis_ref);
    lua_pushlstring(L, (const char *)r->key, sizeof r->key);
    lua_pushvalue(L, idx);
    lua_rawset(L, -3);
    lua_pop(L, 1);
}

/* The record of the RCI at idx, made on demand when it is of this engine. */
static aco_export *
rci_export(lua_State *L, acl_engine *e, int idx)
{
    acl_remote *r = rci_test(L, idx);

    if (r->x != NULL || !r->home) return r->x;
    if (e->reach == NULL) luaL_error(L, "the engine of this Lua state has been closed");
    idx = lua_absindex(L, idx);
    luaL_checkstack(L, 6, NULL);
    entry_field(L, idx, "name");
    int err = aco_export_new(e->reach->seat, ACO_KIND_RCI, ++e->next_id, lua_tostring(L, -1), NULL,
                             &r->x);
    if (err != ACO_OK) luaL_error(L, "not enough memory");
    lua_pop(L, 1);
    r->x->owner = r;
    aco_list_append(&e->reach->exports, &r->x->home);
    memcpy(r->key, r->x->key, sizeof r->key);
    rci_intern(L, e, r, idx);
    return r->x;
}

size_t
acl_rci_encode(lua_State *L, acl_engine *e, int idx, uint8_t payload[ACO_HANDLE_MAX])
{
    const acl_remote *r = rci_test(L, idx);

    if (r == NULL) return 0;
    const aco_export *x = rci_export(L, e, idx);
    return x != NULL ? acl_export_write(e, x, payload) : aco_handle_write(r->key, "", "?", payload);
}

void
acl_rci_push(lua_State *L, acl_engine *e, const aco_identity *identity, const char *route,
             const char *name)
{
    uint8_t key[ACO_IDENTITY_SIZE];

    luaL_checkstack(L, 8, NULL);
    aco_identity_write(identity, key);
    lua_rawgeti(L, LUA_REGISTRYINDEX, e->reach->rcis_ref);
    lua_pushlstring(L, (const char *)key, sizeof key);
    int type = lua_rawget(L, -2);
    lua_remove(L, -2);
    if (type != LUA_TNIL) return;
    lua_pop(L, 1);
    acl_remote *r = rci_new(L);
    memcpy(r->key, key, sizeof key);
    rci_intern(L, e, r, -1);
    r->x = acl_export_known(e, identity, ACO_KIND_RCI, route, name);
}

/*** Make an RCI of this engine. For our own Lua files.
@function rci_new
@tparam table entry `fn`, `name` (the function's own when it is left out), and what
lua/asyncoro/rci.lua wants to know of it
@treturn rci
@local */
static int
rci_make(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    acl_remote *r = rci_new(L);
    r->home = true;
    lua_insert(L, 1);
    if (lua_getfield(L, 2, "name") == LUA_TNIL) {
        lua_getfield(L, 2, "fn");
        acl_function_name(L, lua_gettop(L));
        lua_setfield(L, 2, "name");
    }
    lua_settop(L, 2);
    lua_setiuservalue(L, 1, 1);
    return 1;
}

/* The function that starts a coro: (entry, location of the asker, arguments...) -> coro, or nil,
 * message, code. */
static int
set_rci_server(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_settop(L, 1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &server_key);
    return 0;
}

/* Names ---------------------------------------------------------------------------------------- */

/* Push the name at 2, or the RCI's own, as it is registered. */
static const char *
name_check(lua_State *L, size_t *size)
{
    if (lua_isnoneornil(L, 2)) {
        entry_field(L, 1, "name");
    } else {
        luaL_argcheck(L, lua_type(L, 2) == LUA_TSTRING && lua_rawlen(L, 2) > 0, 2,
                      "a name expected, a string that is not empty");
        lua_pushvalue(L, 2);
    }
    lua_pushliteral(L, ACL_RCI_PREFIX);
    lua_insert(L, -2);
    lua_concat(L, 2);
    return lua_tolstring(L, -1, size);
}

static acl_remote *
home_check(lua_State *L, const char *what)
{
    acl_remote *r = rci_check(L, 1);

    if (!r->home) luaL_error(L, "%s: only the engine that has made an RCI may do that", what);
    return r;
}

/* While the RCI at 1 has names it is anchored, and counts among what others may reach. */
static void
rci_anchor(lua_State *L, acl_engine *e, const acl_remote *r)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, e->reach->served_ref);
    if (r->names > 0)
        lua_pushvalue(L, 1);
    else
        lua_pushnil(L);
    lua_rawseti(L, -2, (lua_Integer)r->x->serial);
    lua_pop(L, 1);
}

static bool
has_name(const acl_engine *e, const aco_export *x, const char *name, size_t size)
{
    aco_export *known = aco_name_find(e->reach->process, name, size);

    aco_export_unref(known);
    return known == x;
}

/*** Let others call it, from every engine of this process and from every peer, under this name.
Does not wait.
@function rci:register
@tparam[opt] string name its own when it is left out
@treturn boolean true
@treturn[2] nil
@treturn[2] string message
@treturn[2] string "exists" when another RCI has the name */
static int
rci_register(lua_State *L)
{
    acl_engine *e = acl_self(L);
    acl_remote *r = home_check(L, "register");
    size_t size;
    const char *name = name_check(L, &size);

    aco_export *x = rci_export(L, e, 1);
    bool known = has_name(e, x, name, size);
    int err = aco_name_register(x, name, size);
    if (err == ACO_OK && !known && r->names++ == 0) {
        e->reach->exported++;
        rci_anchor(L, e, r);
    }
    if (err == ACO_OK) {
        lua_pushboolean(L, 1);
        return 1;
    }
    if (err == ACO_ENOMEM) return luaL_error(L, "not enough memory");
    return acl_fail(L, err, "register: another RCI has the name '%s'",
                    name + sizeof ACL_RCI_PREFIX - 1);
}

/*** Take a name away from it; with its last name nobody can call it any more. Does not wait.
@function rci:unregister
@tparam[opt] string name its own when it is left out
@treturn boolean true
@treturn[2] nil
@treturn[2] string message
@treturn[2] string "notfound" when it does not have this name */
static int
rci_unregister(lua_State *L)
{
    acl_engine *e = acl_self(L);
    acl_remote *r = home_check(L, "unregister");
    size_t size;
    const char *name = name_check(L, &size);

    if (r->x == NULL || aco_name_unregister(r->x, name, size) != ACO_OK)
        return acl_fail(L, ACO_ENOTFOUND, "unregister: the RCI has no name '%s'",
                        name + sizeof ACL_RCI_PREFIX - 1);
    if (--r->names == 0) {
        e->reach->exported--;
        rci_anchor(L, e, r);
    }
    lua_pushboolean(L, 1);
    return 1;
}

/* Calls -----------------------------------------------------------------------------------------
 */

/* Replace the RCI on top by the function that serves and the table of the RCI. */
static void
push_server(lua_State *L)
{
    lua_getiuservalue(L, -1, 1);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &server_key);
    lua_replace(L, -3);
}

bool
acl_rci_serve(lua_State *L, acl_engine *e, const aco_export *x, const aco_post *asked)
{
    int top = lua_gettop(L);

    if (strcmp(lua_tostring(L, -1), "invoke") != 0) return false;
    lua_rawgeti(L, LUA_REGISTRYINDEX, e->reach->served_ref);
    lua_rawgeti(L, -1, (lua_Integer)x->serial);
    lua_remove(L, -2);
    if (rci_test(L, -1) == NULL) {
        lua_settop(L, top);
        return false;
    }
    push_server(L);
    acl_network_push_asker(L, e, asked);
    return true;
}

/* Stack of a call. */
enum { CALL_RCI = 1, CALL_MONITOR, CALL_ARGS };

/* The coro on top was started: its monitor hears of its end. */
static int
call_begun(lua_State *L)
{
    int coro = lua_gettop(L);

    if (lua_isnil(L, CALL_MONITOR)) return 1;
    lua_getfield(L, CALL_MONITOR, "monitor");
    lua_pushvalue(L, CALL_MONITOR);
    lua_pushvalue(L, coro);
    lua_call(L, 2, 0);
    return 1;
}

static int
call_failed(lua_State *L, const acl_remote *r, int err)
{
    if (err == ACO_ENOMEM) return luaL_error(L, "not enough memory");
    if (err == ACO_EPEERDOWN) return acl_remote_lost(L, r, "rci");
    const char *who = acl_remote_text(L, r);
    if (err == ACO_ETIMEOUT) return acl_fail(L, err, "%s was not started in time", who);
    if (err == ACO_ENOTFOUND || err == ACO_OK)
        return acl_fail(L, ACO_ENOTFOUND, "%s is not registered any more", who);
    return acl_fail(L, err, "%s: %s", who, aco_err_text(err));
}

static int
call_k(lua_State *L, int status, lua_KContext ctx)
{
    acl_engine *e = acl_self(L);
    acl_coro *c = e->current;
    const acl_remote *r = lua_touserdata(L, CALL_RCI);
    int err = c->task.wake_err;

    (void)status;
    (void)ctx;
    e->reach->waits--;
    if (err != ACO_OK) acl_return_forget(e, c, r->x);
    acl_wait_end(L, e, c);
    if (err != ACO_OK || c->nvals != 1) return call_failed(L, r, err);
    int n = acl_ask_results(L, "rci");
    if (n != 1) return n;
    return call_begun(L);
}

/* Of an RCI of this engine. */
static int
call_home(lua_State *L, acl_engine *e)
{
    int n = lua_gettop(L) - CALL_ARGS + 1;

    lua_pushvalue(L, CALL_RCI);
    push_server(L);
    acl_location_push(L, aco_process_route(e->reach->process));
    lua_rotate(L, CALL_ARGS, 3);
    lua_call(L, n + 2, LUA_MULTRET);
    if (lua_gettop(L) > CALL_ARGS) return lua_gettop(L) - CALL_ARGS + 1;
    return call_begun(L);
}

/* The arguments are above the RCI and the monitor, or nil. */
static int
call(lua_State *L, aco_time deadline)
{
    acl_engine *e = acl_self(L);
    acl_remote *r = rci_check(L, CALL_RCI);
    aco_msg *msg;

    if (e->reach == NULL) return luaL_error(L, "the engine of this Lua state has been closed");
    if (r->home) return call_home(L, e);
    acl_coro *c = acl_wait_check(L, e, "rci");
    if (r->x == NULL) return acl_fail(L, ACO_ENOTFOUND, "rci: nothing is known of it");
    int err = acl_ask_encode(L, "invoke", CALL_ARGS, &msg);
    if (err != ACO_OK) {
        const char *why = lua_tostring(L, -1);
        return acl_fail(L, err, "%s: %s", acl_remote_text(L, r), why);
    }
    lua_settop(L, CALL_MONITOR);
    acl_msg_box(L, msg);
    if (!acl_remote_watch(L, e, CALL_RCI)) return call_failed(L, r, ACO_ENOTFOUND);
    err = acl_ask_post(L, e, r->x, true);
    if (err != ACO_OK) return call_failed(L, r, err);
    aco_wait_begin(&c->task, ACO_WAIT_CALL);
    aco_wait_on(&c->task, &r->enders);
    e->reach->waits++;
    return acl_park(L, e, c, deadline == 0 ? aco_now() : deadline, 0, call_k);
}

/*** Start a coro there: `rci(...)`. Waits, but not for its end.
@function rci:__call
@param ... arguments of the function
@treturn coro
@treturn[2] nil
@treturn[2] string message
@treturn[2] string "notfound" when it is not registered any more, "denied", "invalid" when the
arguments are refused, "peerdown", "unsendable" */
static int
rci_call(lua_State *L)
{
    rci_check(L, 1);
    lua_pushnil(L);
    lua_insert(L, CALL_MONITOR);
    return call(L, ACO_NEVER);
}

static aco_time
start_options(lua_State *L)
{
    aco_time deadline = ACO_NEVER;

    luaL_checktype(L, 2, LUA_TTABLE);
    lua_pushnil(L);
    while (lua_next(L, 2)) {
        const char *key = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "";
        if (strcmp(key, "timeout") == 0)
            deadline = acl_opt_deadline(L, -1);
        else if (strcmp(key, "monitor") != 0)
            luaL_error(L, "start: unknown option '%s' (monitor and timeout are known)",
                       luaL_tolstring(L, -2, NULL));
        lua_pop(L, 1);
    }
    lua_getfield(L, 2, "monitor");
    if (!lua_isnil(L, -1) && acl_coro_test(L, -1) == NULL && acl_remote_test(L, -1) == NULL)
        luaL_error(L, "start: option 'monitor': a coro expected, got %s", luaL_typename(L, -1));
    lua_replace(L, 2);
    return deadline;
}

/*** Start a coro there, with options. Waits, but not for its end.
@function rci:start
@tparam table options `monitor`: a coro that gets the exit message of the new one, however soon that
ends; `timeout`: seconds
@param ... arguments of the function
@treturn coro
@treturn[2] nil
@treturn[2] string message
@treturn[2] string as of `rci(...)`, "timeout" */
static int
rci_start(lua_State *L)
{
    rci_check(L, 1);
    return call(L, start_options(L));
}

static int
rci_name(lua_State *L)
{
    const acl_remote *r = rci_check(L, 1);

    if (r->home)
        entry_field(L, 1, "name");
    else
        lua_pushstring(L, acl_remote_name(r));
    return 1;
}

static int
rci_location(lua_State *L)
{
    const acl_engine *e = acl_self(L);
    const acl_remote *r = rci_check(L, 1);

    if (acl_remote_is_far(r))
        acl_location_push(L, r->x->route);
    else
        acl_location_push(L, e->reach != NULL ? aco_process_route(e->reach->process) : "");
    return 1;
}

static int
rci_tostring(lua_State *L)
{
    const acl_remote *r = rci_check(L, 1);

    if (!r->home) {
        acl_remote_text(L, r);
        return 1;
    }
    entry_field(L, 1, "name");
    lua_pushfstring(L, "rci %s", lua_tostring(L, -1));
    return 1;
}

void
acl_open_rci(lua_State *L, acl_engine *e)
{
    static const luaL_Reg funcs[] = {
        {"rci_new", rci_make}, {"set_rci_server", set_rci_server}, {NULL, NULL}};
    static const luaL_Reg methods[] = {{"register", rci_register}, {"unregister", rci_unregister},
                                       {"start", rci_start},       {"name", rci_name},
                                       {"location", rci_location}, {NULL, NULL}};
    static const luaL_Reg meta[] = {
        {"__gc", rci_gc}, {"__call", rci_call}, {"__tostring", rci_tostring}, {NULL, NULL}};

    luaL_newmetatable(L, RCI_META);
    acl_setfuncs(L, e, meta);
    lua_pushliteral(L, "rci");
    lua_setfield(L, -2, "__name");
    lua_newtable(L);
    acl_setfuncs(L, e, methods);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
    acl_setfuncs(L, e, funcs);
}
