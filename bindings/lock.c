/* SPDX-License-Identifier: MIT */
/* lock.c -- locks that coros hold.
 *
 * A lock knows its holder by serial number and slot, so it keeps no coro from being collected. It
 * is handed over: whoever releases it makes the coro that waits longest its holder, in the same
 * step. So nobody can come between, and a waiter that was woken has it, whatever else happens to
 * that coro.
 *
 * A lock whose holder has ended is free, "abandoned" for the next one. That is noticed by whoever
 * wants it next; when coros wait for it already, the lock is in engine->contended and its holder
 * has ACL_HOLDS, so that it goes to them at the holder's end. */
#include "bindings/lock.h"
#include "bindings/engine.h"

#include "core/base/clock.h"

#define LOCK_NAME "asyncoro.lock"
#define GUARD_NAME "asyncoro.guard"

typedef struct lock {
    aco_waitq waiters;
    aco_link link;  /* in engine->contended */
    uint64_t owner; /* serial number of the holder, 0: free */
    uint32_t slot;  /* of the holder */
    uint32_t depth; /* how many releases it takes */
    bool reentrant, closed;
    bool abandoned; /* the last holder ended without a release */
} lock;

/* What `hold` gives. Its user value is the lock. */
typedef struct guard {
    uint64_t owner; /* 0: there is nothing to release */
} guard;

static lock *
lock_check(lua_State *L, int idx)
{
    return luaL_checkudata(L, idx, LOCK_NAME);
}

static acl_coro *
lock_holder(const acl_engine *e, const lock *k)
{
    if (k->owner == 0 || k->slot >= e->slot_count) return NULL;
    acl_coro *c = acl_slot_coro(e, k->slot);
    return c != NULL && c->task.id == k->owner ? c : NULL;
}

static void
lock_take(lock *k, const acl_coro *c)
{
    k->owner = c->task.id;
    k->slot = c->task.slot;
    k->depth = 1;
    k->abandoned = false;
}

/* Free, or without a holder since that one has ended. */
static bool
lock_is_free(const acl_engine *e, lock *k)
{
    if (lock_holder(e, k) != NULL) return false;
    if (k->owner != 0) k->abandoned = true;
    k->owner = 0;
    return true;
}

/* The holder is done with it. */
static void
lock_pass(lua_State *L, acl_engine *e, lock *k, bool abandoned)
{
    k->owner = 0;
    k->abandoned = abandoned;
    if (!aco_list_empty(&k->waiters)) {
        acl_coro *heir = (acl_coro *)ACO_CONTAINER_OF(k->waiters.next, aco_clause, link)->task;
        int n = abandoned ? 2 : 1;
        for (int i = 0; i < n; i++)
            lua_pushboolean(L, 1);
        lua_xmove(L, heir->waiter, n);
        aco_waitq_wake_one(&e->loop, &k->waiters, ACO_OK);
        heir->nvals = (uint8_t)n;
        heir->flags |= ACL_HOLDS;
        lock_take(k, heir);
    }
    if (aco_list_empty(&k->waiters)) aco_link_remove(&k->link);
}

void
acl_locks_pass(lua_State *L, acl_engine *e, const acl_coro *c)
{
    aco_link *next;

    for (aco_link *link = e->contended.next; link != &e->contended; link = next) {
        lock *k = ACO_CONTAINER_OF(link, lock, link);
        next = link->next;
        if (k->owner == c->task.id) lock_pass(L, e, k, true);
    }
}

aco_waitq *
acl_lock_queue(lua_State *L, acl_engine *e, int idx)
{
    lock *k = luaL_testudata(L, idx, LOCK_NAME);

    if (k == NULL) return NULL;
    acl_coro *holder = lock_holder(e, k);
    if (holder != NULL) holder->flags |= ACL_HOLDS;
    if (!aco_link_in_list(&k->link)) aco_list_append(&e->contended, &k->link);
    return &k->waiters;
}

/* Push the results of an acquire that has succeeded; result 1 is there already. */
static int
acquired(lua_State *L, bool abandoned)
{
    if (!abandoned) return 1;
    lua_pushliteral(L, "abandoned");
    return 2;
}

/* Without a wait: ACO_OK, or ACO_ETIMEOUT when another coro holds it, or ACO_ECLOSED. */
static int
lock_try(lua_State *L, acl_engine *e, lock *k, bool *abandoned)
{
    acl_coro *c = e->current;

    *abandoned = false;
    if (c == NULL)
        return luaL_error(L, "acquire: only a coro can hold a lock: call it inside asyncoro.run");
    if (k->owner == c->task.id) {
        if (!k->reentrant)
            return luaL_error(L, "acquire: this coro holds the lock already (an rlock allows it)");
        k->depth++;
        return ACO_OK;
    }
    if (k->closed) return ACO_ECLOSED;
    if (!lock_is_free(e, k)) return ACO_ETIMEOUT;
    *abandoned = k->abandoned;
    lock_take(k, c);
    return ACO_OK;
}

static int
acquire_failed(lua_State *L, int err)
{
    return acl_fail(L, err, "acquire: %s",
                    err == ACO_ECLOSED ? "the lock is closed" : aco_err_text(err));
}

/* Stack: the lock, then true or the guard, which is the result. */
enum { ACQUIRE_LOCK = 1, ACQUIRE_RESULT };

static int
acquire_done(lua_State *L, const lock *k, bool abandoned)
{
    guard *g = lua_touserdata(L, ACQUIRE_RESULT);

    lua_settop(L, ACQUIRE_RESULT);
    if (g != NULL) g->owner = k->owner;
    return acquired(L, abandoned);
}

static int
acquire_k(lua_State *L, int status, lua_KContext engine)
{
    acl_engine *e = (acl_engine *)engine;
    acl_coro *c = e->current;

    (void)status;
    acl_wait_end(L, e, c);
    if (c->task.wake_err != ACO_OK) return acquire_failed(L, c->task.wake_err);
    if (c->nvals == 0) return acquire_failed(L, ACO_ECLOSED);
    return acquire_done(L, lua_touserdata(L, ACQUIRE_LOCK), c->nvals == 2);
}

static int
acquire(lua_State *L, acl_engine *e, aco_time deadline)
{
    lock *k = lua_touserdata(L, ACQUIRE_LOCK);
    bool abandoned;
    int err = lock_try(L, e, k, &abandoned);

    if (err == ACO_OK) return acquire_done(L, k, abandoned);
    if (err != ACO_ETIMEOUT || deadline == 0) return acquire_failed(L, err);
    acl_coro *c = acl_wait_check(L, e, "acquire");
    aco_wait_begin(&c->task, ACO_WAIT_LOCK);
    aco_wait_on(&c->task, acl_lock_queue(L, e, ACQUIRE_LOCK));
    return acl_park(L, e, c, deadline, (lua_KContext)e, acquire_k);
}

/*** Acquire the lock; while another coro holds it, wait until it is this one's turn. Coros get it
in the order in which they came. A lock whose holder has ended without a release is free, and its
next holder is told. Waits.
@function lock:acquire
@tparam[opt] number timeout seconds; nil waits for ever, 0 only tries
@treturn boolean true
@treturn ?string "abandoned" when the last holder ended without a release: what the lock guards may
be half changed
@treturn[2] nil
@treturn[2] string message
@treturn[2] string "timeout" or "closed"
@raise outside a coro, and when this coro holds it already and it is no rlock */
static int
lock_acquire(lua_State *L)
{
    lock_check(L, ACQUIRE_LOCK);
    aco_time deadline = acl_opt_deadline(L, 2);
    lua_settop(L, ACQUIRE_LOCK);
    lua_pushboolean(L, 1);
    return acquire(L, acl_self(L), deadline);
}

/*** Acquire the lock for a block: `local held <close> = lock:hold()`. However the block ends, the
lock is released. Waits as `acquire` does.
@function lock:hold
@tparam[opt] number timeout seconds; nil waits for ever, 0 only tries
@treturn guard releases the lock when it is closed: at the end of its block, or by `guard:close()`
@treturn ?string "abandoned" when the last holder ended without a release
@treturn[2] nil
@treturn[2] string message
@treturn[2] string "timeout" or "closed"
@raise as acquire */
static int
lock_hold(lua_State *L)
{
    lock_check(L, ACQUIRE_LOCK);
    aco_time deadline = acl_opt_deadline(L, 2);
    lua_settop(L, ACQUIRE_LOCK);
    guard *g = lua_newuserdatauv(L, sizeof *g, 1);
    g->owner = 0;
    luaL_setmetatable(L, GUARD_NAME);
    lua_pushvalue(L, ACQUIRE_LOCK);
    lua_setiuservalue(L, ACQUIRE_RESULT, 1);
    return acquire(L, acl_self(L), deadline);
}

static void
lock_release_once(lua_State *L, acl_engine *e, lock *k)
{
    if (--k->depth == 0) lock_pass(L, e, k, false);
}

/* The lock at 1, which the running coro must hold. */
static lock *
check_held(lua_State *L, const acl_engine *e, const char *what)
{
    lock *k = lock_check(L, 1);

    if (e->current == NULL || k->owner != e->current->task.id)
        luaL_error(L, "%s: this coro does not hold the lock", what);
    return k;
}

/*** Let the lock go. The coro that waits longest holds it then. Does not wait.
@function lock:release
@treturn boolean true
@raise when this coro does not hold it */
static int
lock_release(lua_State *L)
{
    acl_engine *e = acl_self(L);

    lock_release_once(L, e, check_held(L, e, "release"));
    lua_pushboolean(L, 1);
    return 1;
}

/*** Who holds it.
@function lock:holder
@treturn ?coro nil when it is free */
static int
lock_get_holder(lua_State *L)
{
    acl_engine *e = acl_self(L);
    acl_coro *c = lock_holder(e, lock_check(L, 1));

    if (c == NULL)
        lua_pushnil(L);
    else
        acl_coro_push(L, e, c);
    return 1;
}

/*** Close the lock: waits for it end with "closed", and so do later ones. Its holder may still
release it. Does not wait.
@function lock:close
@treturn boolean true */
static int
lock_close(lua_State *L)
{
    lock *k = lock_check(L, 1);

    k->closed = true;
    aco_waitq_wake_all(&acl_self(L)->loop, &k->waiters, ACO_OK);
    aco_link_remove(&k->link);
    lua_pushboolean(L, 1);
    return 1;
}

static int
lock_gc(lua_State *L)
{
    aco_link_remove(&lock_check(L, 1)->link);
    return 0;
}

static int
lock_tostring(lua_State *L)
{
    acl_engine *e = acl_self(L);
    const lock *k = lock_check(L, 1);
    acl_coro *c = lock_holder(e, k);
    const char *kind = k->reentrant ? "rlock" : "lock";

    if (k->closed) {
        lua_pushfstring(L, "%s (closed)", kind);
    } else if (c == NULL) {
        lua_pushfstring(L, "%s (free)", kind);
    } else {
        acl_coro_push(L, e, c);
        lua_pushfstring(L, "%s (held by %s)", kind, luaL_tolstring(L, -1, NULL));
    }
    return 1;
}

/*** Release the lock, unless that was done. Does not wait.
@function guard:close
@treturn boolean true */
static int
guard_close(lua_State *L)
{
    guard *g = luaL_checkudata(L, 1, GUARD_NAME);
    uint64_t owner = g->owner;

    g->owner = 0;
    lua_getiuservalue(L, 1, 1);
    lock *k = lua_touserdata(L, -1);
    if (owner != 0 && k->owner == owner) lock_release_once(L, acl_self(L), k);
    lua_pushboolean(L, 1);
    return 1;
}

static int
guard_tostring(lua_State *L)
{
    const guard *g = luaL_checkudata(L, 1, GUARD_NAME);

    lua_pushstring(L, g->owner != 0 ? "guard of a lock" : "guard of a lock (released)");
    return 1;
}

/* lock(reentrant) */
static int
lock_new(lua_State *L)
{
    bool reentrant = lua_toboolean(L, 1);
    lock *k = lua_newuserdatauv(L, sizeof *k, 0);

    *k = (lock){.reentrant = reentrant};
    aco_list_init(&k->waiters);
    luaL_setmetatable(L, LOCK_NAME);
    return 1;
}

/* lock_leave(lock): releases it altogether, for the wait of a condition; the depth to restore */
static int
lock_leave(lua_State *L)
{
    acl_engine *e = acl_self(L);
    lock *k = check_held(L, e, "wait");
    uint32_t depth = k->depth;

    lock_pass(L, e, k, false);
    lua_pushinteger(L, depth);
    return 1;
}

/* lock_restore(lock, depth): of the lock that this coro has acquired again */
static int
lock_restore(lua_State *L)
{
    lock *k = check_held(L, acl_self(L), "wait");

    k->depth = (uint32_t)luaL_checkinteger(L, 2);
    return 0;
}

static void
class_new(lua_State *L, acl_engine *e, const char *name, const luaL_Reg *meta,
          const luaL_Reg *methods)
{
    luaL_newmetatable(L, name);
    acl_setfuncs(L, e, meta);
    lua_newtable(L);
    acl_setfuncs(L, e, methods);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
}

void
acl_open_lock(lua_State *L, acl_engine *e)
{
    static const luaL_Reg lock_meta[] = {
        {"__close", lock_close}, {"__gc", lock_gc}, {"__tostring", lock_tostring}, {NULL, NULL}};
    static const luaL_Reg lock_methods[] = {{"acquire", lock_acquire}, {"hold", lock_hold},
                                            {"release", lock_release}, {"holder", lock_get_holder},
                                            {"close", lock_close},     {NULL, NULL}};
    static const luaL_Reg guard_meta[] = {
        {"__close", guard_close}, {"__tostring", guard_tostring}, {NULL, NULL}};
    static const luaL_Reg guard_methods[] = {{"close", guard_close}, {NULL, NULL}};
    static const luaL_Reg funcs[] = {{"lock", lock_new},
                                     {"lock_leave", lock_leave},
                                     {"lock_restore", lock_restore},
                                     {NULL, NULL}};

    if (e->contended.next == NULL) aco_list_init(&e->contended);
    class_new(L, e, LOCK_NAME, lock_meta, lock_methods);
    class_new(L, e, GUARD_NAME, guard_meta, guard_methods);
    acl_setfuncs(L, e, funcs);
}
