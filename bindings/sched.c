/* SPDX-License-Identifier: MIT */
/* sched.c -- running coros: the only lua_resume of a coro, called from a flat loop.
 *
 * acl_base is at the bottom of every coro: it calls the body under a protected call of the coro's
 * own thread, so that clean-up may wait while an error unwinds, and keeps the outcome. A coro that
 * yields has parked, or has put itself in the run queue; anything else is a stray coroutine.yield
 * and ends it with an error.
 *
 * When a coro has ended and nobody waits for that, and the next one to run has not started yet,
 * then the same acl_base calls the next one's body: coros that never wait cost neither a resume nor
 * a thread each. */
#include "bindings/acl.h"
#include "bindings/cancel.h"
#include "bindings/coro.h"
#include "bindings/engine.h"
#include "bindings/leash.h"
#include "bindings/nest.h"

#include "core/base/clock.h"

/* A turn ends after so many coros, or after so long, so that busy coros never keep timers and
 * descriptors waiting for long. The clock is read every few coros only. */
enum { TURN_COROS = 1024, TURN_CLOCK = 8 };
#define TURN_TIME (ACO_SECOND / 200)

/* A coro to which messages come faster than it takes them gives others a turn after so many. */
enum { TURN_MESSAGES = 1024 };

/* How many coros may start one after the other in one resume, and with how many arguments, which
 * fit into the stack of acl_base without a check. */
enum { CHAIN_COROS = 16, CHAIN_ARGS = LUA_MINSTACK - 8 };

/* The next one's record, with its user value before it, comes into the cache while this one runs.
 */
static void
record_prefetch(const aco_task *task)
{
    if (task == NULL) return;
    __builtin_prefetch((const char *)task - 64);
    __builtin_prefetch(task);
    __builtin_prefetch((const char *)task + 64);
}

static bool
is_fresh(const acl_coro *c)
{
    return c->co == NULL && c->flags == 0 && c->nvals <= CHAIN_ARGS && c->task.pending == 0 &&
           c->task.scope == NULL;
}

/* The running coro has ended, and nobody waits for that. May its thread L go on with another, which
 * is new and plain? Then there is nothing else to do about the end of the first, and the body of
 * the second is on the stack. */
static bool
base_next(lua_State *L, acl_engine *e, acl_coro *c)
{
    acl_coro *next = (acl_coro *)e->loop.head;

    if (e->chain == 0 || next == NULL || !is_fresh(next)) return false;
    if (c->flags != (ACL_STARTED | ACL_FINISHED) || c->task.mailbox != NULL) return false;
    if (!e->patched || lua_gethook(L) != NULL) return false;
    lua_settop(L, ACL_BASE_ENGINE);
    uint32_t slot = c->task.slot;
    if (!acl_nest_take(e, next, L)) return false;
    e->chain--;
    e->live--;
    c->co = NULL;
    aco_task_leave(&c->task);
    aco_loop_pop(&e->loop);
    next->co = L;
    next->task.slot = slot;
    next->task.state = ACO_RUNNING;
    next->flags = ACL_STARTED;
    e->slots[slot] = (uintptr_t)next;
    e->current = next;
    aco_watchdog_next(&e->watchdog);
    record_prefetch(e->loop.head);
    return true;
}

/* The body is over. True: another is on the stack, to be called. False: *nresults of acl_base. */
static bool
base_over(lua_State *L, acl_engine *e, int status, int *nresults)
{
    acl_coro *c = e->current;

    if (ACO_UNLIKELY(c->task.scope != NULL || (c->task.pending & ACO_PENDING_SWAP)))
        if (acl_cancel_unwound(L, c)) return true;
    if (ACO_LIKELY(status == LUA_OK || status == LUA_YIELD)) {
        c->flags |= ACL_FINISHED;
        if (lua_gettop(L) >= ACL_BASE_BODY) acl_outcome_keep(L, ACL_BASE_HANDLE, ACL_BASE_BODY);
    } else {
        acl_outcome_fail(L, ACL_BASE_HANDLE);
    }
    *nresults = 0;
    if (ACO_LIKELY(!acl_coro_watched(c))) return base_next(L, e, c);
    lua_settop(L, ACL_BASE_HANDLE); /* is the result: coro_end needs it */
    *nresults = 1;
    return false;
}

static int
base_k(lua_State *L, int status, lua_KContext ctx)
{
    acl_engine *e = lua_touserdata(L, ACL_BASE_ENGINE);
    int nresults;

    (void)ctx;
    while (base_over(L, e, status, &nresults)) {
        int nargs = lua_gettop(L) - ACL_BASE_BODY;
        status = lua_pcallk(L, nargs, LUA_MULTRET, ACL_BASE_HANDLER, 0, base_k);
    }
    return nresults;
}

int
acl_base(lua_State *L)
{
    int nargs = lua_gettop(L) - ACL_BASE_BODY;

    return base_k(L, lua_pcallk(L, nargs, LUA_MULTRET, ACL_BASE_HANDLER, 0, base_k), 0);
}

/* A coro came back without having parked: somebody yielded past the engine. */
static void
coro_stray(lua_State *L, acl_coro *c, int nresults)
{
    lua_pop(c->co, nresults);
    lua_pushstring(L, "a coro yielded to nobody: coroutine.yield belongs inside coroutine.wrap or "
                      "coroutine.create; use asyncoro.yield() or a wait");
    acl_outcome_fail(L, lua_gettop(L) - 1);
}

/* The coro's thread is done with it: use it again, when nobody else can have it. */
static void
coro_leave(acl_engine *e, acl_coro *c)
{
    lua_State *co = (c->flags & ACL_SEEN) || !e->patched ? NULL : c->co;

    if (ACO_UNLIKELY(co != NULL && lua_gethook(co) != NULL)) lua_sethook(co, NULL, 0, 0);
    acl_slot_give(e, c->task.slot, co);
    c->co = NULL;
}

/* The error with which its thread ended; it stays there for a second try. */
static void
coro_error(lua_State *L, lua_State *co)
{
    if (lua_checkstack(co, 1)) {
        lua_pushvalue(co, -1);
        lua_xmove(co, L, 1);
    } else {
        lua_pushliteral(L, "not enough memory"); /* Lua has this string always */
    }
}

/* The coro has ended with something to tell about it; its handle is on top of L. */
static void
coro_end(lua_State *L, acl_engine *e, acl_coro *c, int status, int nresults)
{
    lua_State *co = c->co;

    if (status == LUA_OK) {
        coro_leave(e, c);
    } else {
        if (status == LUA_YIELD) {
            coro_stray(L, c, nresults);
        } else { /* no memory even for the base function's own work */
            coro_error(L, co);
            acl_outcome_fail(L, lua_gettop(L) - 1);
        }
        acl_closethread(L, co);
        acl_slot_give(e, c->task.slot, NULL);
        c->co = NULL;
    }
    e->undone = NULL;
    acl_coro_ended(L, e, c);
}

/* What is to be done when the thread of a coro has come back for the last time. When it raises for
 * lack of memory, the next turn tries again. */
static void
coro_close(lua_State *L, acl_engine *e, acl_coro *c, int status, int nresults)
{
    e->undone = c;
    if (status == LUA_OK)
        lua_xmove(c->co, L, 1); /* its handle, from acl_base */
    else
        acl_coro_push(L, e, c);
    coro_end(L, e, c, status, nresults);
    lua_pop(L, 1);
}

void
acl_turn_failed(acl_engine *e)
{
    acl_coro *c = e->current;

    if (c == NULL) return;
    e->current = NULL; /* what came before its resume has failed */
    e->running = NULL;
    aco_watchdog_end(&e->watchdog);
    if (c->co == NULL || lua_status(c->co) == LUA_OK) c->flags &= (uint16_t)~ACL_STARTED;
    aco_task_ready(&e->loop, &c->task);
}

void
acl_abandon_ready(lua_State *L, acl_engine *e)
{
    aco_task *task;

    while ((task = aco_loop_pop(&e->loop)) != NULL)
        if (acl_nest_has((acl_coro *)task)) acl_coro_abandon(L, e, (acl_coro *)task);
}

void
acl_coro_abandon(lua_State *L, acl_engine *e, acl_coro *c)
{
    bool in_nest = acl_nest_has(c);

    acl_coro_push(L, e, c);
    if (c == e->undone) e->undone = NULL;
    if (c->task.state == ACO_PARKED) { /* out of every queue */
        aco_task_wake(&e->loop, &c->task, ACO_ECANCELED, 0);
        acl_abandon_ready(L, e);
    }
    c->task.state = ACO_RUNNING;
    c->flags = (c->flags & (uint16_t)~ACL_SWAPPING) | ACL_TERMINATED;
    if (in_nest) {
        acl_nest_drop(e, c);
        acl_cancel_unwound(L, c);
    } else {
        acl_closethread(L, c->co);
        acl_cancel_unwound(L, c);
        acl_slot_give(e, c->task.slot, NULL);
        c->co = NULL;
    }
    acl_coro_ended(L, e, c);
    lua_pop(L, 1);
}

static void
coro_run(lua_State *L, acl_engine *e, acl_coro *c)
{
    int nargs = 0, nresults = 0;

    c->task.state = ACO_RUNNING;
    e->current = c;
    aco_watchdog_begin(&e->watchdog);
    if (c->co == NULL) acl_nest_leave(L, e, c);
    lua_State *co = c->co;
    if (ACO_UNLIKELY(!(c->flags & ACL_STARTED))) {
        c->flags |= ACL_STARTED;
        nargs = lua_gettop(co) - 1;
        if (ACO_UNLIKELY(c->task.pending & ~ACO_PENDING_SWAP)) /* a swap waits for its first wait */
            nargs = acl_cancel_first_turn(L, co, c);
    }
    e->running = co;
    if (ACO_UNLIKELY(c->task.scope != NULL || c->task.pending || (c->flags & ACL_SLICED)))
        acl_leash_turn(L, e, c);
    e->chain--;
    e->budget = TURN_MESSAGES;
    int status = lua_resume(co, L, nargs, &nresults);
    c = e->current; /* another, perhaps: see base_next */
    aco_watchdog_end(&e->watchdog);
    e->running = NULL;
    e->current = NULL;
    if (ACO_LIKELY(status == LUA_YIELD && c->task.state != ACO_RUNNING)) return;
    if (ACO_LIKELY(status == LUA_OK && nresults == 0)) {
        /* Nothing holds the handle now, but nothing below allocates either. */
        coro_leave(e, c);
        acl_coro_ended(L, e, c);
        return;
    }
    coro_close(L, e, c, status, nresults);
}

/* With thousands of coros the next one is not in the cache: let it come while this one runs. */
static void
coro_prefetch(const acl_coro *next)
{
    if (next == NULL) return;
    if (next->co != NULL)
        for (int line = 0; line < 3; line++)
            __builtin_prefetch((const char *)next->co + 64 * line);
    record_prefetch(next->task.next);
}

void
acl_run_turn(lua_State *L, acl_engine *e)
{
    aco_time start = aco_now_coarse();
    aco_task *task;

    if (ACO_UNLIKELY(e->opened != NULL)) acl_message_forget(e);
    if (ACO_UNLIKELY(e->undone != NULL)) coro_close(L, e, e->undone, lua_status(e->undone->co), 0);
    for (int left = TURN_COROS, look = 0; left > 0 && (task = aco_loop_pop(&e->loop)) != NULL;) {
        coro_prefetch((acl_coro *)e->loop.head);
        e->chain = CHAIN_COROS;
        coro_run(L, e, (acl_coro *)task);
        int ran = CHAIN_COROS - e->chain;
        left -= ran;
        look += ran;
        if (look < TURN_CLOCK) continue;
        if (aco_now_coarse() - start > TURN_TIME) break;
        look = 0;
    }
}
