/* SPDX-License-Identifier: MIT */
#include "bindings/nest.h"
#include "bindings/cancel.h"
#include "bindings/coro.h"
#include "bindings/engine.h"

#include <stdlib.h>

/* As many as fit into the stack that a new thread has: a nest that is no longer needed becomes the
 * thread of a coro. */
enum {
    NEST_PLACES = 36,
    NEST_SPARE = 2, /* for those who look at one */
    NESTS_KEPT = 4, /* empty ones */
};

/* Make room for another nest; its number. */
static uint32_t
nest_number(lua_State *L, acl_engine *e)
{
    if (e->nest_lost != 0) return e->nest_lost - 1;
    if (e->nest_count == e->nest_capacity) {
        uint32_t capacity = e->nest_count ? e->nest_count * 2 : 8;
        struct acl_nest *nests = realloc(e->nests, capacity * sizeof *nests);
        if (nests == NULL) luaL_error(L, "not enough memory");
        e->nests = nests;
        e->nest_capacity = capacity;
    }
    return e->nest_count;
}

static ACO_COLD uint32_t
nest_new(lua_State *L, acl_engine *e)
{
    uint32_t number = nest_number(L, e);

    lua_rawgeti(L, LUA_REGISTRYINDEX, e->nests_ref);
    lua_State *N = lua_newthread(L);
    luaL_checkstack(N, NEST_PLACES + NEST_SPARE, NULL);
    lua_rawseti(L, -2, (lua_Integer)number + 1);
    lua_pop(L, 1);
    if (number == e->nest_count)
        e->nest_count++;
    else
        e->nest_lost = e->nests[number].next;
    e->nests[number] = (struct acl_nest){.L = N};
    return number;
}

lua_State *
acl_nest_thread(lua_State *L, acl_engine *e)
{
    if (e->nest_free_count <= NESTS_KEPT) return NULL;
    uint32_t number = e->nest_free - 1;
    struct acl_nest *nest = &e->nests[number];
    lua_State *N = nest->L;
    lua_rawgeti(L, LUA_REGISTRYINDEX, e->nests_ref);
    lua_rawgeti(L, -1, (lua_Integer)number + 1);
    lua_pushboolean(L, 0);
    lua_rawseti(L, -3, (lua_Integer)number + 1);
    lua_remove(L, -2);
    e->nest_free = nest->next;
    e->nest_free_count--;
    *nest = (struct acl_nest){.next = e->nest_lost};
    e->nest_lost = number + 1;
    return N;
}

/* The nest that is being filled, with room for n more; another takes its place when it is full. */
static struct acl_nest *
nest_open(lua_State *L, acl_engine *e, uint32_t n)
{
    if (ACO_LIKELY(e->nest_count > 0 && e->nests[e->nest].top + n <= NEST_PLACES))
        return &e->nests[e->nest];
    uint32_t number;
    if (e->nest_free != 0) {
        number = e->nest_free - 1;
        e->nest_free = e->nests[number].next;
        e->nest_free_count--;
    } else {
        number = nest_new(L, e);
    }
    e->nest = number;
    return &e->nests[number];
}

void
acl_nest_put(lua_State *L, acl_engine *e, acl_coro *c, int body, int nargs)
{
    struct acl_nest *nest = nest_open(L, e, (uint32_t)nargs + 1);

    lua_pushvalue(L, -1);
    lua_xmove(L, nest->L, 1);
    if (nargs > 0) {
        lua_insert(L, body);
        lua_xmove(L, nest->L, nargs);
        lua_settop(L, body);
    }
    c->task.slot = e->nest;
    c->wait_serial = nest->top + 1;
    c->nvals = (uint8_t)nargs;
    nest->top += (uint32_t)nargs + 1;
    nest->left++;
}

void
acl_nest_push(lua_State *L, const acl_engine *e, const acl_coro *c)
{
    lua_State *N = e->nests[c->task.slot].L;

    lua_pushvalue(N, (int)c->wait_serial);
    lua_xmove(N, L, 1);
}

void
acl_nest_drop(acl_engine *e, acl_coro *c)
{
    struct acl_nest *nest = &e->nests[c->task.slot];

    c->wait_serial = 0;
    c->nvals = 0;
    if (--nest->left > 0) return;
    lua_settop(nest->L, 0);
    nest->top = 0;
    if (nest == &e->nests[e->nest]) return;
    nest->next = e->nest_free;
    e->nest_free = (uint32_t)(nest - e->nests) + 1;
    e->nest_free_count++;
}

/* The arguments, after all else is in its place. */
static void
nest_take_args(acl_engine *e, acl_coro *c, lua_State *co)
{
    lua_State *N = e->nests[c->task.slot].L;

    for (int i = 1; i <= c->nvals; i++) {
        lua_pushvalue(N, (int)c->wait_serial + i);
        lua_xmove(N, co, 1);
    }
    acl_nest_drop(e, c);
}

bool
acl_nest_take(acl_engine *e, acl_coro *c, lua_State *co)
{
    acl_nest_push(co, e, c);
    if (ACO_UNLIKELY(lua_getiuservalue(co, ACL_BASE_HANDLE, 1) != LUA_TFUNCTION)) {
        lua_settop(co, ACL_BASE_ENGINE);
        return false;
    }
    nest_take_args(e, c, co);
    return true;
}

void
acl_nest_leave(lua_State *L, acl_engine *e, acl_coro *c)
{
    lua_State *co;

    luaL_checkstack(L, 4, NULL);
    acl_nest_push(L, e, c);
    if (lua_getiuservalue(L, -1, 1) == LUA_TTABLE) {
        lua_getfield(L, -1, "fn");
        lua_remove(L, -2);
    }
    uint32_t slot = acl_slot_take(L, e, &co);
    if (!lua_checkstack(co, c->nvals + ACL_BASE_BODY + 1)) {
        acl_slot_give(e, slot, co);
        luaL_error(L, "not enough memory");
    }
    lua_pushcfunction(co, acl_base);
    lua_pushcfunction(co, acl_traceback);
    lua_pushlightuserdata(co, e);
    lua_xmove(L, co, 2);
    nest_take_args(e, c, co);
    c->task.slot = slot;
    c->co = co;
    e->slots[slot] = (uintptr_t)c;
}

void
acl_nests_close(acl_engine *e)
{
    free(e->nests);
    e->nests = NULL;
    e->nest_count = e->nest_capacity = e->nest = 0;
    e->nest_free = e->nest_free_count = e->nest_lost = 0;
}

acl_coro *
acl_walk_next(const acl_engine *e, struct acl_walk *walk)
{
    while (walk->slot < e->slot_count) {
        acl_coro *c = acl_slot_coro(e, walk->slot++);
        if (c != NULL) return c;
    }
    const aco_task *task = walk->ready ? walk->at : e->loop.head;
    walk->ready = true;
    while (task != NULL && !acl_nest_has((const acl_coro *)task))
        task = task->next;
    walk->at = task != NULL ? task->next : NULL;
    return (acl_coro *)task;
}
