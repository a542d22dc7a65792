/* SPDX-License-Identifier: MIT */
/* waitq.c -- what locks, events, queues and `select` are made of: a queue of waiting coros, and a
 * wait in several queues at once. For the Lua files of this module only; they check the arguments.
 *
 * Whoever wakes a waiter hands values to it, onto its stack: a waiter that was woken has them, and
 * one that was not can still be cancelled or time out. */
#include "bindings/waitq.h"
#include "bindings/coro.h"

#include "core/base/clock.h"

#define WAITQ_NAME "asyncoro.waitq"

static aco_waitq *
check_waitq(lua_State *L, int idx)
{
    return luaL_checkudata(L, idx, WAITQ_NAME);
}

/* waitq() */
static int
waitq_new(lua_State *L)
{
    aco_waitq *queue = lua_newuserdatauv(L, sizeof *queue, 0);

    aco_list_init(queue);
    luaL_setmetatable(L, WAITQ_NAME);
    return 1;
}

static int
park_k(lua_State *L, int status, lua_KContext engine)
{
    acl_engine *e = (acl_engine *)engine;
    acl_coro *c = e->current;

    (void)status;
    acl_wait_end(L, e, c);
    if (c->task.wake_err == ACO_OK) return c->nvals;
    lua_pushnil(L);
    return 1;
}

/* queue:park([timeout]): waits; what the waker hands over, or nil at the time-out */
static int
waitq_park(lua_State *L)
{
    acl_engine *e = acl_self(L);
    aco_waitq *queue = check_waitq(L, 1);
    aco_time deadline = acl_opt_deadline(L, 2);
    acl_coro *c = acl_wait_check(L, e, "wait");

    lua_settop(L, 1);
    if (deadline == 0) return 0;
    aco_wait_begin(&c->task, ACO_WAIT_QUEUE);
    aco_wait_on(&c->task, queue);
    return acl_park(L, e, c, deadline, (lua_KContext)e, park_k);
}

/* Hand the n values on top to the first waiter, which goes out of the queue. */
static acl_coro *
hand_over(lua_State *L, acl_engine *e, aco_waitq *queue, int n)
{
    acl_coro *c = (acl_coro *)ACO_CONTAINER_OF(queue->next, aco_clause, link)->task;

    luaL_checkstack(c->waiter, n, NULL);
    lua_xmove(L, c->waiter, n);
    aco_waitq_wake_one(&e->loop, queue, ACO_OK);
    c->nvals = (uint8_t)n;
    return c;
}

/* queue:wake(...): the handle of the coro that got the values, nil when none waits */
static int
waitq_wake(lua_State *L)
{
    acl_engine *e = acl_self(L);
    aco_waitq *queue = check_waitq(L, 1);

    if (aco_list_empty(queue)) return 0;
    acl_coro_push(L, e, hand_over(L, e, queue, lua_gettop(L) - 1));
    return 1;
}

/* queue:wake_all(...): each gets the values; how many */
static int
waitq_wake_all(lua_State *L)
{
    acl_engine *e = acl_self(L);
    aco_waitq *queue = check_waitq(L, 1);
    int n = lua_gettop(L) - 1;
    lua_Integer count = 0;

    luaL_checkstack(L, n + 1, NULL);
    for (; !aco_list_empty(queue); count++) {
        for (int i = 0; i < n; i++)
            lua_pushvalue(L, 2 + i);
        hand_over(L, e, queue, n);
    }
    lua_pushinteger(L, count);
    return 1;
}

/* queue:is_empty() */
static int
waitq_is_empty(lua_State *L)
{
    lua_pushboolean(L, aco_list_empty(check_waitq(L, 1)));
    return 1;
}

/* The running coro's own handle in the list of wait_many stands for its mailbox; another's for its
 * end. */
static void
clause_begin(lua_State *L, acl_coro *self, aco_clause *clause, int source)
{
    acl_coro *c = acl_coro_test(L, source);

    if (c == NULL) {
        aco_wait_on_clause(clause, check_waitq(L, source));
    } else if (c == self) {
        self->task.flags |= ACO_TASK_RECEIVE;
        self->receive_index = (uint8_t)clause->index;
    } else {
        aco_wait_on_clause(clause, &c->task.enders);
    }
}

static int
wait_many_k(lua_State *L, int status, lua_KContext engine)
{
    acl_engine *e = (acl_engine *)engine;
    acl_coro *c = e->current;

    (void)status;
    acl_wait_end(L, e, c);
    if (c->task.wake_err != ACO_OK) {
        lua_pushnil(L);
        return 1;
    }
    lua_pushinteger(L, c->task.wake_index + 1);
    lua_insert(L, -1 - c->nvals);
    return c->nvals + 1;
}

/* wait_many(sources, timeout): waits in queues, for ends of coros and for messages, whichever is
 * first; its index and what was handed over, or nil at the time-out */
static int
wait_many(lua_State *L)
{
    acl_engine *e = acl_self(L);
    aco_time deadline = acl_opt_deadline(L, 2);
    uint32_t count = (uint32_t)lua_rawlen(L, 1);
    acl_coro *c = acl_wait_check(L, e, "select");

    if (count > UINT8_MAX) return luaL_error(L, "select: %d sources are too many", (int)count);
    lua_settop(L, 1);
    if (deadline == 0) return 0;
    for (uint32_t i = 1; i <= count; i++) { /* nothing may raise once the clauses are linked */
        lua_rawgeti(L, 1, i);
        if (acl_coro_test(L, -1) == NULL) check_waitq(L, -1);
        lua_pop(L, 1);
    }
    aco_clause *clauses = lua_newuserdatauv(L, (count + 1) * sizeof *clauses, 0);
    aco_wait_begin(&c->task, ACO_WAIT_SELECT);
    aco_wait_on_many(&c->task, clauses, count);
    for (uint32_t i = 0; i < count; i++) {
        lua_rawgeti(L, 1, i + 1);
        clause_begin(L, c, &clauses[i], lua_gettop(L));
        lua_pop(L, 1);
    }
    return acl_park(L, e, c, deadline, (lua_KContext)e, wait_many_k);
}

void
acl_open_waitq(lua_State *L, acl_engine *e)
{
    static const luaL_Reg funcs[] = {{"waitq", waitq_new}, {"wait_many", wait_many}, {NULL, NULL}};
    static const luaL_Reg methods[] = {{"park", waitq_park},
                                       {"wake", waitq_wake},
                                       {"wake_all", waitq_wake_all},
                                       {"is_empty", waitq_is_empty},
                                       {NULL, NULL}};

    luaL_newmetatable(L, WAITQ_NAME);
    lua_newtable(L);
    acl_setfuncs(L, e, methods);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
    acl_setfuncs(L, e, funcs);
}
