/* SPDX-License-Identifier: MIT */
/* waitq.c -- what events, queues and `select` are made of: a queue of waiting coros, and a wait in
 * several queues at once. For the Lua files of this module only; they check the arguments.
 *
 * Whoever wakes a waiter hands values to it, onto its stack: a waiter that was woken has them, and
 * one that was not can still be cancelled or time out. The other way round a waiter may offer a
 * value, which goes to whoever wakes it, in the same step. */
#include "bindings/waitq.h"
#include "bindings/group.h"
#include "bindings/lock.h"
#include "bindings/reach.h"
#include "bindings/remote.h"

#define WAITQ_NAME "asyncoro.waitq"

/* So many values fit on the stack of any waiter. */
enum { HAND_MOST = 4 };

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

/* Stack of a coro that is parked in one queue. */
enum { PARK_QUEUE = 1, PARK_TIMEOUT, PARK_OFFER };

/* queue:park([timeout [, offer]]): waits; what the waker hands over, or nil at the time-out */
static int
waitq_park(lua_State *L)
{
    acl_engine *e = acl_self(L);
    aco_waitq *queue = check_waitq(L, PARK_QUEUE);
    aco_time deadline = acl_opt_deadline(L, PARK_TIMEOUT);

    lua_settop(L, PARK_OFFER);
    if (deadline == 0) return 0;
    acl_coro *c = acl_wait_check(L, e, "wait");
    aco_wait_begin(&c->task, ACO_WAIT_QUEUE);
    aco_wait_on(&c->task, queue);
    return acl_park(L, e, c, deadline, (lua_KContext)e, park_k);
}

/* Hand the n values on top to the first waiter, which goes out of the queue. */
static acl_coro *
hand_over(lua_State *L, acl_engine *e, aco_waitq *queue, int n)
{
    acl_coro *c = (acl_coro *)ACO_CONTAINER_OF(queue->next, aco_clause, link)->task;

    lua_xmove(L, c->waiter, n);
    aco_waitq_wake_one(&e->loop, queue, ACO_OK);
    c->nvals = (uint8_t)n;
    return c;
}

static int
check_hand(lua_State *L)
{
    int n = lua_gettop(L) - 1;

    if (n > HAND_MOST) luaL_error(L, "wake: %d values are too many", n);
    luaL_checkstack(L, HAND_MOST, NULL);
    return n;
}

/* queue:wake(...): true and what the waiter offered, false when none waits */
static int
waitq_wake(lua_State *L)
{
    acl_engine *e = acl_self(L);
    aco_waitq *queue = check_waitq(L, 1);
    int n = check_hand(L);

    lua_pushboolean(L, !aco_list_empty(queue));
    if (aco_list_empty(queue)) return 1;
    acl_coro *c = (acl_coro *)ACO_CONTAINER_OF(queue->next, aco_clause, link)->task;
    if (c->task.flags & ACO_TASK_MANY) {
        lua_pushnil(L);
    } else {
        lua_pushvalue(c->waiter, PARK_OFFER);
        lua_xmove(c->waiter, L, 1);
    }
    lua_rotate(L, 2, 2); /* below the values */
    hand_over(L, e, queue, n);
    return 2;
}

/* queue:wake_all(...): each gets the values; how many */
static int
waitq_wake_all(lua_State *L)
{
    acl_engine *e = acl_self(L);
    aco_waitq *queue = check_waitq(L, 1);
    int n = check_hand(L);
    lua_Integer count = 0;

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

/* Several queues ---------------------------------------------------------------------------------
 */

/* The wait. Behind the clauses are pointers to the queues in which they wait; that of the mailbox
 * is NULL. */
typedef struct many {
    uint32_t count;
    uint32_t remotes; /* clauses for ends of coros of other engines */
    bool mailbox;     /* one of the sources is the mailbox */
    aco_clause clauses[];
} many;

enum { MANY_LIST = 1, MANY_WAIT };

/* The queue in which to wait for the source on top. False: nothing to wait for, it is ready. */
static bool
source_queue(lua_State *L, acl_engine *e, many *m, uint32_t index, aco_waitq **queue)
{
    acl_coro *c = acl_coro_test(L, -1);

    *queue = NULL;
    if (c != NULL && c == e->current) {
        m->mailbox = true;
        c->receive_index = (uint8_t)index;
        return true;
    }
    if (c != NULL) {
        *queue = &c->task.enders;
        return !(c->flags & ACL_ENDED);
    }
    if (acl_remote_test(L, -1) != NULL) {
        *queue = acl_remote_enders(L, e, -1);
        m->remotes++;
        return *queue != NULL;
    }
    *queue =
        lua_islightuserdata(L, -1) ? lua_touserdata(L, -1) : acl_lock_queue(L, e, lua_gettop(L));
    if (*queue == NULL) *queue = check_waitq(L, -1);
    return true;
}

static int
many_k(lua_State *L, int status, lua_KContext engine)
{
    acl_engine *e = (acl_engine *)engine;
    acl_coro *c = e->current;
    const many *m = lua_touserdata(L, MANY_WAIT);
    int results = c->nvals;

    (void)status;
    e->reach->waits -= m->remotes;
    acl_wait_end(L, e, c);
    if (c->task.wake_err == ACO_ETIMEOUT) {
        lua_pushnil(L);
        return 1;
    }
    /* Whatever else has happened there, the end of a stream, say: it is about this source. */
    lua_pushinteger(L, c->task.wake_index + 1);
    lua_insert(L, -1 - results);
    if (c->task.wake_err == ACO_EPEERDOWN) { /* the process of a coro was lost */
        lua_pushliteral(L, "peerdown");
        return 2;
    }
    if (results == 0 && m->mailbox && c->task.wake_index == c->receive_index)
        results = acl_mailbox_get(L, e, c); /* of another engine: it is in the mailbox */
    return results + 1;
}

static void
many_link(acl_coro *c, many *m, aco_waitq *const *queues)
{
    aco_wait_begin(&c->task, ACO_WAIT_SELECT);
    aco_wait_on_many(&c->task, m->clauses, m->count);
    for (uint32_t i = 0; i < m->count; i++)
        if (queues[i] != NULL) aco_wait_on_clause(&m->clauses[i], queues[i]);
    if (m->mailbox) c->task.flags |= ACO_TASK_RECEIVE;
}

/* wait_many(sources, timeout): waits in several queues, and for ends of coros, and (the running
 * coro's own handle) for messages, whichever is first; its index and what was handed over, or nil
 * at the time-out. A source is a wait queue, a lock, a coro, or an aco_waitq as light userdata,
 * which must last as long. */
static int
wait_many(lua_State *L)
{
    acl_engine *e = acl_self(L);
    aco_time deadline = acl_opt_deadline(L, 2);
    size_t count = lua_rawlen(L, MANY_LIST);

    if (count > UINT8_MAX) return luaL_error(L, "select: %d sources are too many", (int)count);
    lua_settop(L, MANY_LIST);
    if (deadline == 0) return 0;
    acl_coro *c = acl_wait_check(L, e, "select");
    many *m =
        lua_newuserdatauv(L, sizeof *m + count * (sizeof *m->clauses + sizeof(aco_waitq *)), 0);
    aco_waitq **queues = (aco_waitq **)(m->clauses + count);
    *m = (many){.count = (uint32_t)count};
    for (uint32_t i = 0; i < count; i++) { /* nothing is linked as long as something may raise */
        lua_rawgeti(L, MANY_LIST, i + 1);
        bool pending = source_queue(L, e, m, i, &queues[i]);
        lua_pop(L, 1);
        if (!pending) {
            lua_pushinteger(L, i + 1);
            return 1;
        }
    }
    many_link(c, m, queues);
    e->reach->waits += m->remotes;
    return acl_park(L, e, c, deadline, (lua_KContext)e, many_k);
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
    acl_open_lock(L, e);
    acl_open_group(L, e);
}
