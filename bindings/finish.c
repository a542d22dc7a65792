/* SPDX-License-Identifier: MIT */
/* finish.c -- the end of coros: outcomes, who waits for them, monitors, errors that nobody
 * observes.
 *
 * What is kept of an ended coro is in its extras: results in 1..n with their number in n, or
 * `error` (boxed, as it may be nil) and `trace`. A coro that returned nothing has no extras at all.
 */
#include "bindings/cancel.h"
#include "bindings/coro.h"
#include "bindings/engine.h"
#include "bindings/group.h"
#include "bindings/lock.h"
#include "bindings/remote.h"

#include <string.h>

#include "core/base/clock.h"

void
acl_outcome_keep(lua_State *L, int handle, int first)
{
    int n = lua_gettop(L) - first + 1;

    acl_extras(L, handle);
    lua_insert(L, first);
    for (int i = n; i >= 1; i--)
        lua_rawseti(L, first, i);
    lua_pushinteger(L, n);
    lua_setfield(L, first, "n");
    lua_settop(L, first - 1);
}

void
acl_outcome_fail(lua_State *L, int handle)
{
    acl_coro *c = lua_touserdata(L, handle);
    acl_engine *e = acl_engine_get(L);

    if (c->flags & ACL_ENDED) { /* its failure was being kept when memory ran out */
        lua_pop(L, 1);
        return;
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, e->terminated_ref);
    lua_rawgeti(L, LUA_REGISTRYINDEX, e->swap_ref); /* a swap that a terminate overruled */
    bool terminated = lua_rawequal(L, -2, -3) || lua_rawequal(L, -1, -3);
    lua_pop(L, 2);
    c->flags |= terminated ? ACL_TERMINATED : ACL_FAILED;
    if (!terminated) {
        acl_extras(L, handle);
        lua_createtable(L, 1, 0);
        lua_pushvalue(L, -3);
        lua_rawseti(L, -2, 1);
        lua_setfield(L, -2, "error");
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

/* The last level of a traceback, on top, is the engine's own acl_base: nobody wants to see it. */
static void
drop_base_level(lua_State *L)
{
    static const char base[] = "\n\t[C]: in ?";
    size_t size;
    const char *trace = lua_tolstring(L, -1, &size);

    if (size < sizeof base || strcmp(trace + size - (sizeof base - 1), base) != 0) return;
    lua_pushlstring(L, trace, size - (sizeof base - 1));
    lua_replace(L, -2);
}

int
acl_traceback(lua_State *L)
{
    acl_engine *e = acl_engine_get(L);

    if (e->current == NULL || acl_cancel_test(L, 1)) return 1;
    acl_coro_push(L, e, e->current);
    acl_extras(L, -1);
    lua_getfield(L, -1, "trace_of");
    if (lua_rawequal(L, -1, 1) && lua_getfield(L, -2, "trace") == LUA_TSTRING)
        return lua_settop(L, 1), 1; /* raised again by a scope: where it came from is known */
    lua_settop(L, 3);
    luaL_traceback(L, L, NULL, 1);
    drop_base_level(L);
    lua_setfield(L, 3, "trace");
    lua_pushvalue(L, 1);
    lua_setfield(L, 3, "trace_of");
    lua_settop(L, 1);
    return 1;
}

/* Push a field of the extras at `extras`; an error comes out of its box. */
static void
extras_error(lua_State *L, int extras)
{
    if (lua_getfield(L, extras, "error") != LUA_TTABLE) return;
    lua_rawgeti(L, -1, 1);
    lua_remove(L, -2);
}

/* Push the results 1..n in the extras on top, and take away the extras; how many. */
static int
extras_results(lua_State *L)
{
    int extras = lua_gettop(L);

    lua_getfield(L, extras, "n");
    int n = (int)lua_tointeger(L, -1);
    lua_pop(L, 1);
    luaL_checkstack(L, n + 1, "too many results");
    for (int i = 1; i <= n; i++)
        lua_rawgeti(L, extras, i);
    lua_remove(L, extras);
    return n;
}

static void
observed(lua_State *L, acl_engine *e, acl_coro *c, int handle)
{
    if (!(c->flags & ACL_UNOBSERVED)) return;
    c->flags &= (uint16_t)~ACL_UNOBSERVED;
    e->unobserved--;
    lua_rawgeti(L, LUA_REGISTRYINDEX, e->unobserved_ref);
    lua_pushvalue(L, handle);
    lua_pushnil(L);
    lua_rawset(L, -3);
    lua_pop(L, 1);
}

int
acl_outcome_push(lua_State *L, acl_engine *e, acl_coro *c, int handle)
{
    handle = lua_absindex(L, handle);
    lua_pushboolean(L, (c->flags & ACL_FINISHED) != 0);
    if (c->flags & ACL_TERMINATED) {
        lua_pushliteral(L, "terminated");
        return 2;
    }
    if (c->flags & ACL_FAILED) {
        observed(L, e, c, handle);
        acl_extras(L, handle);
        extras_error(L, lua_gettop(L));
        lua_getfield(L, -2, "trace");
        lua_remove(L, -3);
        return 3;
    }
    if (lua_getiuservalue(L, handle, 1) == LUA_TTABLE) return 1 + extras_results(L);
    lua_pop(L, 1);
    return 1;
}

static int
finish_k(lua_State *L, int status, lua_KContext ctx)
{
    acl_engine *e = acl_self(L);
    acl_coro *c = lua_touserdata(L, 1);

    (void)status;
    (void)ctx;
    acl_wait_end(L, e, e->current);
    if (c->flags & ACL_ENDED) return acl_outcome_push(L, e, c, 1);
    acl_coro_name(L, 1);
    return acl_fail(L, ACO_ETIMEOUT, "finish: coro %s has not ended in time", lua_tostring(L, -1));
}

/*** Wait for the end of a coro. Any number of coros may wait for one, before and after it has
ended. Waits.
@function coro:finish
@tparam[opt] number timeout seconds; nil waits for ever, 0 only looks
@treturn boolean true
@return what its body returned
@treturn[2] boolean false
@return[2] the error with which it failed, or "terminated"
@treturn[2] string traceback of a failure
@treturn[3] nil
@treturn[3] string message
@treturn[3] string "timeout"
@raise when a coro waits for itself */
static int
coro_finish(lua_State *L)
{
    acl_engine *e = acl_self(L);
    acl_coro *to = acl_coro_check(L, 1);
    aco_time deadline = acl_opt_deadline(L, 2);

    if (to->flags & ACL_ENDED) return acl_outcome_push(L, e, to, 1);
    if (deadline == 0) {
        acl_coro_name(L, 1);
        return acl_fail(L, ACO_ETIMEOUT, "finish: coro %s has not ended", lua_tostring(L, -1));
    }
    acl_coro *c = acl_wait_check(L, e, "finish");
    if (c == to) return luaL_error(L, "finish: a coro cannot wait for its own end");
    aco_wait_begin(&c->task, ACO_WAIT_FINISH);
    aco_wait_on(&c->task, &to->task.enders);
    return acl_park(L, e, c, deadline, 0, finish_k);
}

/* The metatable of exit messages has its address as key. */
static const char exit_key = 0;

void
acl_exit_push(lua_State *L, acl_engine *e, acl_coro *c, int handle)
{
    lua_createtable(L, 0, 5);
    lua_pushvalue(L, handle);
    lua_setfield(L, -2, "coro");
    lua_pushstring(L, acl_coro_status(c));
    lua_setfield(L, -2, "reason");
    int message = lua_gettop(L);
    if (c->flags & ACL_FINISHED) {
        int n = acl_outcome_push(L, e, c, handle) - 1;
        lua_createtable(L, n, 1);
        lua_replace(L, message + 1);
        for (int i = n; i >= 1; i--)
            lua_rawseti(L, message + 1, i);
        lua_pushinteger(L, n);
        lua_setfield(L, message + 1, "n");
        lua_setfield(L, message, "values");
    } else if (c->flags & ACL_FAILED) {
        acl_outcome_push(L, e, c, handle);
        lua_setfield(L, message, "traceback");
        lua_setfield(L, message, "error");
        lua_pop(L, 1);
    }
    lua_rawgetp(L, LUA_REGISTRYINDEX, &exit_key);
    lua_setmetatable(L, -2);
}

/* Give the exit message on top, which it pops, to the monitor at `monitor`; limits do not hold for
 * it. */
static void
exit_give(lua_State *L, acl_engine *e, int monitor)
{
    acl_coro *to = acl_coro_test(L, monitor);

    if (to == NULL) {
        acl_remote_exit(L, e, monitor);
        return;
    }
    if (!(to->flags & ACL_ENDED)) {
        if (to->task.mailbox != NULL) aco_mailbox_force(to->task.mailbox, true);
        int err = acl_message_put(L, e, to, 1);
        if (to->task.mailbox != NULL) aco_mailbox_force(to->task.mailbox, false);
        if (err == ACO_OK) return;
    }
    lua_pop(L, 1);
}

static void
monitors_tell(lua_State *L, acl_engine *e, acl_coro *c, int handle)
{
    acl_extras(L, handle);
    lua_getfield(L, -1, "monitors");
    int monitors = lua_gettop(L);
    lua_pushnil(L);
    lua_setfield(L, monitors - 1, "monitors");
    for (lua_Integer i = 1; lua_rawgeti(L, monitors, i) != LUA_TNIL; i++) {
        acl_exit_push(L, e, c, handle);
        exit_give(L, e, lua_gettop(L) - 1);
        lua_pop(L, 1);
    }
    lua_settop(L, monitors - 2);
}

void
acl_unobserved_add(lua_State *L, acl_engine *e, int handle)
{
    if (e->unobserved++ == 0) e->unobserved_since = aco_now();
    lua_rawgeti(L, LUA_REGISTRYINDEX, e->unobserved_ref);
    lua_pushvalue(L, handle);
    lua_pushboolean(L, 1);
    lua_rawset(L, -3);
    lua_pop(L, 1);
}

bool
acl_coro_watched(const acl_coro *c)
{
    return (c->flags & (ACL_FAILED | ACL_MONITORED | ACL_NAMED | ACL_EXPORTED)) != 0 ||
           !aco_list_empty(&c->task.enders);
}

void
acl_coro_ended(lua_State *L, acl_engine *e, acl_coro *c)
{
    int handle = lua_gettop(L);
    bool watched = !aco_list_empty(&c->task.enders) || (c->flags & ACL_MONITORED);

    e->live--;
    if (c->flags & ACL_DAEMON) e->daemons--;
    c->task.pending = 0;
    acl_mailbox_drop(L, e, c);
    aco_task_done(&e->loop, &c->task);
    if (c->flags & ACL_HOLDS) acl_locks_pass(L, e, c);
    if (c->flags & (ACL_NAMED | ACL_EXPORTED)) acl_remote_ended(L, e, c, handle);
    if (c->flags & ACL_FAILED && !watched)
        watched = acl_coro_answered(L, handle) || acl_remote_observed(L, c, handle);
    if (c->flags & ACL_FAILED && c->flags & ACL_MAIN) {
        e->program.failed = true;
    } else if (c->flags & ACL_FAILED && !watched) {
        c->flags |= ACL_UNOBSERVED;
        acl_unobserved_add(L, e, handle);
    }
    if (c->flags & ACL_MONITORED) monitors_tell(L, e, c, handle);
}

/* Add the handle at `monitor` to the monitors of the coro whose handle is at `handle`. */
static void
monitor_add(lua_State *L, acl_coro *c, int handle, int monitor)
{
    acl_extras(L, handle);
    if (lua_getfield(L, -1, "monitors") != LUA_TTABLE) {
        lua_pop(L, 1);
        lua_newtable(L);
        lua_pushvalue(L, -1);
        lua_setfield(L, -3, "monitors");
    }
    lua_Integer n = (lua_Integer)lua_rawlen(L, -1);
    for (lua_Integer i = 1; i <= n; i++) {
        lua_rawgeti(L, -1, i);
        if (lua_rawequal(L, -1, monitor)) return;
        lua_pop(L, 1);
    }
    lua_pushvalue(L, monitor);
    lua_rawseti(L, -2, n + 1);
    c->flags |= ACL_MONITORED;
}

int
acl_monitor_local(lua_State *L)
{
    acl_engine *e = acl_self(L);
    acl_coro *c = acl_coro_check(L, 1);

    if (c->flags & ACL_ENDED) {
        acl_exit_push(L, e, c, 1);
        observed(L, e, c, 1);
        exit_give(L, e, 2);
    } else {
        monitor_add(L, c, 1, 2);
    }
    lua_pushboolean(L, 1);
    return 1;
}

/*** Make the running coro a monitor of another: when that one ends, an exit message comes into its
mailbox. Does not wait for a coro of this engine. One that has ended already gives its message at
once.
@function monitor
@tparam coro observed
@treturn boolean true
@usage asyncoro.monitor(worker)
local msg = asyncoro.receive()
if asyncoro.is_exit(msg) then print(msg.coro, msg.reason, msg.error) end */
static int
acl_monitor(lua_State *L)
{
    acl_engine *e = acl_self(L);

    if (e->current == NULL) return luaL_error(L, "monitor: only a coro can be a monitor");
    luaL_checkany(L, 1);
    lua_settop(L, 1);
    acl_coro_push(L, e, e->current);
    return acl_coro_test(L, 1) != NULL ? acl_monitor_local(L) : acl_remote_monitor(L, e, 1, 2);
}

/*** Make this coro a monitor of another: when that one ends, an exit message comes into its
mailbox: a table with `coro`, `reason` ("finished", "failed", "terminated", "peerdown", "notfound"),
`values` (what it returned, with their number in `n`), `error` and `traceback`. Does not wait for a
coro of this engine.
@function coro:monitor
@tparam coro observed
@treturn boolean true
@treturn[2] nil
@treturn[2] string message
@treturn[2] string "notfound" when this coro has ended */
static int
coro_monitor(lua_State *L)
{
    acl_coro *c = acl_coro_check(L, 1);

    luaL_checkany(L, 2);
    lua_settop(L, 2);
    if (acl_coro_test(L, 2) == NULL) return acl_remote_monitor(L, acl_self(L), 2, 1);
    if (c->flags & ACL_ENDED) return acl_fail(L, ACO_ENOTFOUND, "monitor: the monitor has ended");
    lua_insert(L, 1);
    return acl_monitor_local(L);
}

static int
acl_set_exit_class(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &exit_key);
    return 0;
}

void
acl_open_finish(lua_State *L, acl_engine *e)
{
    static const luaL_Reg funcs[] = {
        {"monitor", acl_monitor}, {"set_exit_class", acl_set_exit_class}, {NULL, NULL}};
    static const luaL_Reg methods[] = {
        {"finish", coro_finish}, {"monitor", coro_monitor}, {NULL, NULL}};

    acl_setfuncs(L, e, funcs);
    acl_setmethods(L, e, methods);
}
