/* SPDX-License-Identifier: MIT */
#include "bindings/watch.h"

#include <string.h>

#include "core/engine/watch.h"

#define WATCH_NAME "asyncoro.watch"

static int
watch_gc(lua_State *L)
{
    aco_watch_stop(luaL_checkudata(L, 1, WATCH_NAME));
    return 0;
}

static int
wait_fd_result(lua_State *L, int err)
{
    int fd = (int)lua_tointeger(L, 1);

    if (err != ACO_OK) return acl_fail(L, err, "wait_fd: descriptor %d: %s", fd, aco_err_text(err));
    lua_pushboolean(L, 1);
    return 1;
}

/* Stack: the descriptor, the mode, the time-out, the watch. */
static int
wait_fd_k(lua_State *L, int status, lua_KContext ctx)
{
    acl_engine *e = acl_self(L);

    (void)status;
    (void)ctx;
    aco_watch_stop(lua_touserdata(L, 4));
    acl_wait_end(L, e, e->current);
    return wait_fd_result(L, e->current->task.wake_err);
}

/*** Wait until a descriptor can be read or written without blocking.
Waits. The descriptor stays the caller's, and must stay open.
@function wait_fd
@tparam integer fd
@tparam string mode "r" or "w"
@tparam[opt] number timeout seconds; nil waits for ever, 0 only looks
@treturn boolean true
@treturn[2] nil
@treturn[2] string message
@treturn[2] string "timeout", or "invalid" for a descriptor that cannot be waited for (a plain file,
a closed one) */
static int
acl_wait_fd(lua_State *L)
{
    static const char *const modes[] = {"r", "w", NULL};
    acl_engine *e = acl_self(L);
    lua_Integer fd = luaL_checkinteger(L, 1);
    bool writing = luaL_checkoption(L, 2, NULL, modes) == 1;
    aco_time deadline = acl_opt_deadline(L, 3);

    luaL_argcheck(L, fd >= 0 && fd <= INT32_MAX, 1, "a descriptor expected");
    lua_settop(L, 3);
    acl_coro *c = acl_wait_check(L, e, "wait_fd");
    int err = aco_watch_test((int)fd, writing);
    if (err != ACO_ETIMEOUT || deadline == 0) return wait_fd_result(L, err);
    aco_watch *watch = lua_newuserdatauv(L, sizeof *watch, 0);
    memset(watch, 0, sizeof *watch);
    luaL_setmetatable(L, WATCH_NAME);
    aco_watch_init(watch, &e->loop, (int)fd, writing);
    err = aco_watch_arm(watch);
    if (err != ACO_OK) return wait_fd_result(L, err);
    aco_wait_begin(&c->task, ACO_WAIT_FD);
    aco_wait_on(&c->task, &watch->queue);
    return acl_park(L, e, c, deadline, 0, wait_fd_k);
}

void
acl_open_watch(lua_State *L, acl_engine *e)
{
    static const luaL_Reg funcs[] = {{"wait_fd", acl_wait_fd}, {NULL, NULL}};

    luaL_newmetatable(L, WATCH_NAME);
    lua_pushcfunction(L, watch_gc);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 1);
    acl_setfuncs(L, e, funcs);
}
