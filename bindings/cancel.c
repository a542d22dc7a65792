/* SPDX-License-Identifier: MIT */
/* cancel.c -- cancelling coros.
 *
 * A cancel is an error raised at a wait: the userdata of the scope for with_timeout and its like,
 * one value for every terminate, another for a hot swap. Only the scope that it belongs to takes it
 * for itself; everybody else may clean up and must let it pass. */
#include "bindings/cancel.h"
#include "bindings/coro.h"
#include "bindings/leash.h"
#include "bindings/swap.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/clock.h"

#define CANCEL_NAME "asyncoro.cancel"

/* A scope as a Lua value, and as the error that it raises. The two that belong to no scope of Lua's
 * have entered == false for ever. */
typedef struct cancel {
    aco_scope scope;
    bool entered;
} cancel;

bool
acl_cancel_test(lua_State *L, int idx)
{
    return lua_type(L, idx) == LUA_TUSERDATA && luaL_testudata(L, idx, CANCEL_NAME) != NULL;
}

static cancel *
cancel_new(lua_State *L, int reason)
{
    cancel *x = lua_newuserdatauv(L, sizeof *x, 0);

    *x = (cancel){.scope.reason = (int16_t)reason};
    luaL_setmetatable(L, CANCEL_NAME);
    return x;
}

/* Push the error value of a scope. */
static void
cancel_push(lua_State *L, acl_engine *e, const acl_coro *c, aco_scope *scope)
{
    if (scope->outer == NULL && (c->flags & ACL_ROOTED)) {
        lua_rawgeti(L, LUA_REGISTRYINDEX,
                    c->flags & ACL_SWAPPING ? e->swap_ref : e->terminated_ref);
        return;
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, e->cancels_ref);
    lua_rawgetp(L, -1, scope);
    lua_remove(L, -2);
}

/* The outermost scope, which stands for the whole coro. */
static aco_scope *
root_scope(acl_engine *e, acl_coro *c)
{
    aco_scope *scope;

    if (c->flags & ACL_ROOTED) {
        for (scope = c->task.scope; scope->outer != NULL;)
            scope = scope->outer;
        return scope;
    }
    scope = malloc(sizeof *scope);
    if (scope == NULL) return NULL;
    aco_scope_enter_outermost(&e->loop, scope, &c->task);
    c->flags |= ACL_ROOTED;
    return scope;
}

int
acl_terminate(acl_engine *e, acl_coro *c)
{
    if (c->flags & ACL_ENDED) return ACO_ENOTFOUND;
    aco_scope *root = root_scope(e, c);
    if (root == NULL) return ACO_ENOMEM;
    if (c->flags & ACL_SWAPPING) { /* what unwinds for a swap goes on unwinding, but for good */
        c->flags &= (uint16_t)~ACL_SWAPPING;
        root->reason = ACO_ETERMINATED;
        return ACO_OK;
    }
    aco_scope_cancel(&e->loop, root, ACO_ETERMINATED);
    return ACO_OK;
}

int
acl_cancel_for_swap(acl_engine *e, acl_coro *c)
{
    aco_scope *root = root_scope(e, c);

    if (root == NULL) return ACO_ENOMEM;
    if (root->state != ACO_SCOPE_OPEN) return ACO_EBUSY;
    c->flags |= ACL_SWAPPING;
    aco_scope_cancel(&e->loop, root, ACO_ECANCELED);
    return ACO_OK;
}

/* extras.throw = { value }: raise it. */
static int
throw_pending(lua_State *L, acl_engine *e, acl_coro *c)
{
    c->task.pending &= (uint8_t)~ACO_PENDING_THROW;
    acl_coro_push(L, e, c);
    acl_extras(L, lua_gettop(L));
    lua_getfield(L, -1, "throw");
    lua_rawgeti(L, -1, 1);
    lua_pushnil(L);
    lua_setfield(L, -4, "throw");
    return lua_error(L);
}

int
acl_raise_pending(lua_State *L, acl_engine *e, acl_coro *c)
{
    luaL_checkstack(L, 8, NULL);
    if (c->task.pending & ACO_PENDING_CANCEL) {
        aco_scope *scope = aco_scope_due(&c->task);
        cancel_push(L, e, c, scope);
        aco_scope_raised(&e->loop, scope);
        return lua_error(L);
    }
    if (c->task.pending & ACO_PENDING_THROW) return throw_pending(L, e, c);
    if (acl_swap_pending(L, e, c)) return acl_raise_pending(L, e, c);
    return 0;
}

static int
raise_first(lua_State *L)
{
    acl_engine *e = acl_engine_get(L);

    return acl_raise_pending(L, e, e->current);
}

int
acl_cancel_first_turn(lua_State *L, lua_State *co, acl_coro *c)
{
    (void)L;
    (void)c;
    lua_settop(co, ACL_BASE_BODY); /* acl_base itself, and what comes before the body */
    lua_pushcfunction(co, raise_first);
    return ACL_BASE_BODY;
}

bool
acl_cancel_unwound(lua_State *L, acl_coro *c)
{
    acl_engine *e = acl_engine_get(L);
    bool swap = (c->flags & ACL_SWAPPING) != 0;

    while (c->task.scope != NULL) {
        aco_scope *scope = c->task.scope;
        bool root = scope->outer == NULL && (c->flags & ACL_ROOTED);
        aco_scope_leave(&e->loop, scope);
        if (root)
            free(scope);
        else /* of a body that nothing unwound */
            ACO_CONTAINER_OF(scope, cancel, scope)->entered = false;
    }
    c->flags &= (uint16_t) ~(ACL_ROOTED | ACL_SWAPPING);
    if (!swap) return false;
    lua_settop(L, ACL_BASE_HANDLE);
    acl_swap_push(L, ACL_BASE_HANDLE);
    return true;
}

static int
cancel_reason(const cancel *x)
{
    return x->scope.reason == ACO_OK ? ACO_ECANCELED : x->scope.reason;
}

/*** What a cancel raises. `err.code` is "timeout", "terminated" or "canceled"; tostring says it in
words.
@type cancel */
static int
cancel_tostring(lua_State *L)
{
    cancel *x = luaL_checkudata(L, 1, CANCEL_NAME);

    lua_pushstring(L, aco_err_text(cancel_reason(x)));
    return 1;
}

/*** Cancel the scope: its error is raised in its coro at the wait it is in, or at the next one.
Does not wait.
@function cancel:cancel
@treturn boolean true */
static int
cancel_cancel(lua_State *L)
{
    acl_engine *e = acl_self(L);
    cancel *x = luaL_checkudata(L, 1, CANCEL_NAME);

    if (x->entered) aco_scope_cancel(&e->loop, &x->scope, ACO_ECANCELED);
    lua_pushboolean(L, 1);
    return 1;
}

static int
cancel_index(lua_State *L)
{
    cancel *x = luaL_checkudata(L, 1, CANCEL_NAME);
    const char *key = luaL_checkstring(L, 2);

    if (strcmp(key, "code") == 0)
        lua_pushstring(L, aco_err_word(cancel_reason(x)));
    else if (luaL_getmetafield(L, 1, key) == LUA_TNIL)
        lua_pushnil(L);
    return 1;
}

/* Let the engine find the userdata of a scope by its address: the value at idx, or 0 to forget it.
 */
static void
cancel_anchor(lua_State *L, acl_engine *e, cancel *x, int idx)
{
    if (idx == 0)
        lua_pushnil(L);
    else
        lua_pushvalue(L, idx);
    lua_rawgeti(L, LUA_REGISTRYINDEX, e->cancels_ref);
    lua_insert(L, -2);
    lua_rawsetp(L, -2, &x->scope);
    lua_pop(L, 1);
}

/* Stack of a scoped call: the scope, the message handler, then the results. */
enum { SCOPED_CANCEL = 1, SCOPED_HANDLER, SCOPED_BODY };

static void
scoped_leave(lua_State *L, acl_engine *e, cancel *x)
{
    x->entered = false;
    aco_scope_leave(&e->loop, &x->scope);
    cancel_anchor(L, e, x, 0);
    acl_leash_deadline(e);
}

/* How the three kinds of scoped calls differ, as context of the continuation. */
enum scoped_kind { SCOPED_TIMEOUT, SCOPED_SHIELD, SCOPED_PLAIN };

static int
scoped_k(lua_State *L, int status, lua_KContext kind)
{
    acl_engine *e = acl_self(L);
    cancel *x = lua_touserdata(L, SCOPED_CANCEL);

    scoped_leave(L, e, x);
    if (status == LUA_OK || status == LUA_YIELD) {
        if (kind == SCOPED_PLAIN) {
            lua_pushboolean(L, 1);
            lua_replace(L, SCOPED_HANDLER);
            return lua_gettop(L) - SCOPED_CANCEL;
        }
        return lua_gettop(L) - SCOPED_HANDLER;
    }
    if (!lua_rawequal(L, -1, SCOPED_CANCEL)) return lua_error(L);
    if (kind == SCOPED_PLAIN) {
        lua_pushboolean(L, 0);
        return 1;
    }
    return acl_fail(L, ACO_ETIMEOUT, "with_timeout: timed out");
}

/* Entering a shield is no wait: a cancel that has not been raised is raised when the shield is
 * left, so that clean-up under a shield runs. One whose grace is over is not hidden. */
static bool
shield_hides(lua_State *L, const acl_engine *e)
{
    const acl_coro *c = e->current;

    return c != NULL && c->task.pending == ACO_PENDING_CANCEL &&
           aco_scope_due(&c->task)->state == ACO_SCOPE_CANCELED && acl_can_wait(L, e);
}

/* The body and its arguments, nargs, are on top; the scope is entered with the body as its content.
 */
static int
scoped(lua_State *L, aco_time deadline, int nargs, enum scoped_kind kind)
{
    acl_engine *e = acl_self(L);
    acl_coro *c = kind == SCOPED_SHIELD && shield_hides(L, e)
                      ? e->current
                      : acl_wait_check(L, e, kind == SCOPED_SHIELD ? "shield" : "with_timeout");

    cancel *x = cancel_new(L, ACO_OK);
    cancel_anchor(L, e, x, -1);
    lua_insert(L, SCOPED_CANCEL);
    lua_pushcfunction(L, acl_traceback);
    lua_insert(L, SCOPED_HANDLER);
    if (kind == SCOPED_PLAIN) {
        lua_pushvalue(L, SCOPED_CANCEL);
        lua_insert(L, SCOPED_BODY + 1);
        nargs++;
    }
    if (kind == SCOPED_SHIELD)
        aco_shield_enter(&e->loop, &x->scope, &c->task);
    else if (aco_scope_enter(&e->loop, &x->scope, &c->task, deadline) != ACO_OK)
        return luaL_error(L, "not enough memory");
    x->entered = true;
    acl_leash_deadline(e);
    return scoped_k(L, lua_pcallk(L, nargs, LUA_MULTRET, SCOPED_HANDLER, kind, scoped_k), kind);
}

/*** Run a function that must be done within a time, also if it never waits.
Waits as fn does. When the time is over, an error is raised in fn, at its wait or in the middle of
its code; its clean-up may wait for 5 more seconds.
@function with_timeout
@tparam number seconds nil waits for ever
@tparam function fn
@param ... its arguments
@return what fn returns
@treturn[2] nil
@treturn[2] string message
@treturn[2] string "timeout"
@raise what fn raises */
static int
acl_with_timeout(lua_State *L)
{
    aco_time deadline = acl_opt_deadline(L, 1);

    luaL_checktype(L, 2, LUA_TFUNCTION);
    lua_remove(L, 1);
    return scoped(L, deadline == 0 ? aco_now() : deadline, lua_gettop(L) - 1, SCOPED_TIMEOUT);
}

/*** Run a function that no cancel from outside disturbs: terminate, time-outs and Ctrl-C wait until
it has ended. Waits as fn does.
@function shield
@tparam function fn
@param ... its arguments
@return what fn returns
@raise what fn raises */
static int
acl_shield(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    return scoped(L, ACO_NEVER, lua_gettop(L) - 1, SCOPED_SHIELD);
}

/*** Run fn(scope, ...) in a scope that anybody may cancel: the ground under groups.
Waits as fn does.
@function scoped
@tparam function fn
@param ... more arguments
@return true and what fn returns
@return[2] false when the scope was cancelled
@raise what fn raises */
static int
acl_scoped(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    return scoped(L, ACO_NEVER, lua_gettop(L) - 1, SCOPED_PLAIN);
}

static const luaL_Reg cancel_funcs[] = {
    {"with_timeout", acl_with_timeout},
    {"shield", acl_shield},
    {"scoped", acl_scoped},
    {NULL, NULL},
};

/*** Terminate a coro: "terminated" is raised in it at its wait, at its next one, or in the middle
of its code when it does not wait. Terminated before its first turn it runs nothing. Its clean-up
may wait for 5 more seconds. Does not wait. Terminating oneself raises at once.
@function coro:terminate
@treturn boolean true
@treturn[2] nil
@treturn[2] string message
@treturn[2] string "notfound" when it has ended */
static int
coro_terminate(lua_State *L)
{
    acl_engine *e = acl_self(L);
    acl_coro *c = acl_coro_check(L, 1);
    int err = acl_terminate(e, c);

    if (err == ACO_ENOTFOUND) return acl_fail(L, err, "terminate: the coro has ended");
    if (err != ACO_OK) return acl_fail(L, err, "terminate: %s", aco_err_text(err));
    if (c == e->current && c->task.pending) return acl_raise_pending(L, e, c);
    lua_pushboolean(L, 1);
    return 1;
}

/*** Terminate the coro unless it has ended, so that `local c <close> = asyncoro.spawn(fn)` ends it
with its block. Does not wait.
@function coro:close
@treturn boolean true */
static int
coro_close(lua_State *L)
{
    acl_coro *c = acl_coro_check(L, 1);

    lua_settop(L, 1);
    if (c->flags & ACL_ENDED) {
        lua_pushboolean(L, 1);
        return 1;
    }
    return coro_terminate(L);
}

/*** Raise an error in a coro, at its wait or at its next one. It may catch the error and go on.
Does not wait. Throwing at oneself raises at once.
@function coro:throw
@param err the error, any value
@treturn boolean true
@treturn[2] nil
@treturn[2] string message
@treturn[2] string "notfound" when it has ended */
static int
coro_throw(lua_State *L)
{
    acl_engine *e = acl_self(L);
    acl_coro *c = acl_coro_check(L, 1);

    luaL_checkany(L, 2);
    lua_settop(L, 2);
    if (c->flags & ACL_ENDED) return acl_fail(L, ACO_ENOTFOUND, "throw: the coro has ended");
    if (c == e->current) return lua_error(L);
    acl_extras(L, 1);
    lua_createtable(L, 1, 0);
    lua_pushvalue(L, 2);
    lua_rawseti(L, -2, 1);
    lua_setfield(L, -2, "throw");
    c->task.pending |= ACO_PENDING_THROW;
    aco_task_wake(&e->loop, &c->task, ACO_ECANCELED, 0);
    lua_pushboolean(L, 1);
    return 1;
}

int
acl_closethread(lua_State *L, lua_State *co)
{
#if LUA_VERSION_RELEASE_NUM >= 50406
    return lua_closethread(co, L);
#else
    (void)L;
    return lua_resetthread(co);
#endif
}

static const luaL_Reg cancel_methods[] = {
    {"terminate", coro_terminate},
    {"close", coro_close},
    {"throw", coro_throw},
    {NULL, NULL},
};

void
acl_open_cancel(lua_State *L, acl_engine *e)
{
    static const luaL_Reg meta[] = {{"__tostring", cancel_tostring},
                                    {"__index", cancel_index},
                                    {"cancel", cancel_cancel},
                                    {NULL, NULL}};

    luaL_newmetatable(L, CANCEL_NAME);
    acl_setfuncs(L, e, meta);
    lua_pop(L, 1);
    cancel_new(L, ACO_ETERMINATED);
    e->terminated_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    cancel_new(L, ACO_ECANCELED);
    e->swap_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    acl_setmethods(L, e, cancel_methods);
    lua_rawgeti(L, LUA_REGISTRYINDEX, e->meta_ref);
    lua_getfield(L, -1, "__index");
    lua_getfield(L, -1, "close");
    lua_setfield(L, -3, "__close");
    lua_pop(L, 2);
    acl_setfuncs(L, e, cancel_funcs);
}
