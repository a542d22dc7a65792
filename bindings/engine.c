/* SPDX-License-Identifier: MIT */
/* engine.c -- the engine of a Lua state: made with asyncoro.core, ended with the state. */
#include "bindings/engine.h"
#include "bindings/alloc.h"
#include "bindings/leash.h"
#include "bindings/nest.h"
#include "bindings/reach.h"

#include <lualib.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/clock.h"

/* The address is the engine's key in the registry. */
static const char engine_key = 0;

acl_engine *
acl_engine_find(lua_State *L)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &engine_key);
    acl_engine *e = lua_touserdata(L, -1);
    lua_pop(L, 1);
    return e;
}

acl_engine *
acl_engine_get(lua_State *L)
{
    acl_engine *e = acl_engine_find(L);

    if (e == NULL) luaL_error(L, "asyncoro.core is not open in this Lua state");
    return e;
}

void
acl_setfuncs(lua_State *L, acl_engine *e, const luaL_Reg *funcs)
{
    lua_pushlightuserdata(L, e);
    lua_rawgeti(L, LUA_REGISTRYINDEX, e->meta_ref);
    lua_rawgeti(L, LUA_REGISTRYINDEX, e->values_ref);
    luaL_setfuncs(L, funcs, ACL_UPVALUES);
}

void
acl_setmethods(lua_State *L, acl_engine *e, const luaL_Reg *funcs)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, e->meta_ref);
    lua_getfield(L, -1, "__index");
    acl_setfuncs(L, e, funcs);
    lua_pop(L, 2);
}

/* Values that C holds for a while: messages in a mailbox. A token is an index in one table. */
uint32_t
acl_token_put(lua_State *L, acl_engine *e)
{
    if (e->free_token_count == 0) {
        if (e->token_count == e->token_capacity) {
            uint32_t capacity = e->token_capacity ? e->token_capacity * 2 : 64;
            uint32_t *tokens = realloc(e->free_tokens, capacity * sizeof *tokens);
            if (tokens == NULL) luaL_error(L, "not enough memory");
            e->free_tokens = tokens;
            e->token_capacity = capacity;
        }
        lua_rawseti(L, lua_upvalueindex(ACL_UP_VALUES), e->token_count + 1);
        return ++e->token_count;
    }
    uint32_t token = e->free_tokens[--e->free_token_count];
    lua_rawseti(L, lua_upvalueindex(ACL_UP_VALUES), token);
    return token;
}

void
acl_token_take(lua_State *L, acl_engine *e, uint32_t token)
{
    lua_rawgeti(L, lua_upvalueindex(ACL_UP_VALUES), token);
    acl_token_drop(L, e, token);
}

void
acl_token_drop(lua_State *L, acl_engine *e, uint32_t token)
{
    lua_pushboolean(L, 0); /* an array slot that is never nil is never moved to the hash part */
    lua_rawseti(L, lua_upvalueindex(ACL_UP_VALUES), token);
    e->free_tokens[e->free_token_count++] = token;
}

static void
slots_reserve(lua_State *L, acl_engine *e)
{
    if (e->slot_count < e->slot_capacity) return;
    uint32_t capacity = e->slot_capacity ? e->slot_capacity * 2 : 64;
    uintptr_t *slots = realloc(e->slots, capacity * sizeof *slots);
    if (slots == NULL) luaL_error(L, "not enough memory");
    e->slots = slots;
    uint32_t *spare = realloc(e->free_slots, capacity * sizeof *spare);
    if (spare == NULL) luaL_error(L, "not enough memory");
    e->free_slots = spare;
    e->slot_capacity = capacity;
}

/* Make a new thread for `slot`, which holds none. */
static lua_State *
slot_thread(lua_State *L, acl_engine *e, uint32_t slot)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, e->threads_ref);
    lua_State *co = acl_nest_thread(L, e);
    if (co == NULL) co = lua_newthread(L);
    lua_rawseti(L, -2, (lua_Integer)slot + 1);
    lua_pop(L, 1);
    if (lua_gethook(co) != NULL) lua_sethook(co, NULL, 0, 0); /* inherited from the creator */
    return co;
}

/* A slot holds the coro that uses it, or its idle thread with the lowest bit set. */
uint32_t
acl_slot_take(lua_State *L, acl_engine *e, lua_State **co)
{
    if (e->free_slot_count > 0) {
        uint32_t slot = e->free_slots[e->free_slot_count - 1];
        *co = (lua_State *)(e->slots[slot] & ~(uintptr_t)1);
        if (*co == NULL) *co = slot_thread(L, e, slot);
        e->slots[slot] = (uintptr_t)*co | 1;
        e->free_slot_count--;
        return slot;
    }
    slots_reserve(L, e);
    *co = slot_thread(L, e, e->slot_count);
    e->slots[e->slot_count] = (uintptr_t)*co | 1;
    return e->slot_count++;
}

void
acl_slot_give(acl_engine *e, uint32_t slot, lua_State *co)
{
    e->slots[slot] = (uintptr_t)co | 1;
    e->free_slots[e->free_slot_count++] = slot;
}

acl_coro *
acl_slot_coro(const acl_engine *e, uint32_t slot)
{
    return e->slots[slot] & 1 ? NULL : (acl_coro *)e->slots[slot];
}

/* A coro that nobody ended: what it holds beside Lua's memory, which is still there. */
static void
coro_drop(acl_engine *e, acl_coro *c)
{
    aco_scope *scope = c->task.scope;

    if (c->task.mailbox != NULL) {
        aco_mailbox_close(&e->loop, c->task.mailbox);
        aco_mailbox_unref(c->task.mailbox);
        c->task.mailbox = NULL;
    }
    while (scope != NULL && scope->outer != NULL)
        scope = scope->outer;
    if (c->flags & ACL_ROOTED) {
        aco_timer_stop(&e->loop.timers, &scope->timer); /* the heap refers to it */
        free(scope);
    }
    c->task.scope = NULL;
}

void
acl_engine_close(acl_engine *e)
{
    struct acl_walk walk = {0};

    acl_message_forget(e);
    acl_leash_stop(e); /* os.exit may close the state in the middle of a program */
    acl_reach_close(e);
    for (acl_coro *c; (c = acl_walk_next(e, &walk)) != NULL;)
        coro_drop(e, c);
    acl_nests_close(e);
    if (e->loop.inbox != NULL) aco_loop_fini(&e->loop);
    free(e->slots);
    free(e->free_slots);
    free(e->free_tokens);
    free(e->scratch);
    e->slots = NULL;
    e->free_slots = e->free_tokens = NULL;
    e->scratch = NULL;
    e->slot_count = e->slot_capacity = e->free_slot_count = 0;
    e->token_count = e->token_capacity = e->free_token_count = 0;
}

static int
engine_gc(lua_State *L)
{
    acl_engine_close(lua_touserdata(L, 1));
    return 0;
}

/* Of a new engine, or of one that has been closed. */
static void
engine_loop(lua_State *L, acl_engine *e, struct event_base *base)
{
    int err = aco_loop_init(&e->loop, base);

    if (err != ACO_OK) luaL_error(L, "cannot make the event loop: %s", aco_err_text(err));
}

static lua_State *
main_thread(lua_State *L)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
    lua_State *main = lua_tothread(L, -1);
    lua_pop(L, 1);
    return main;
}

/* A new table in the registry, weak as `mode` says. */
static int
ref_table(lua_State *L, const char *mode)
{
    lua_newtable(L);
    if (mode != NULL) {
        lua_createtable(L, 0, 1);
        lua_pushstring(L, mode);
        lua_setfield(L, -2, "__mode");
        lua_setmetatable(L, -2);
    }
    return luaL_ref(L, LUA_REGISTRYINDEX);
}

acl_engine *
acl_engine_open(lua_State *L, struct event_base *base)
{
    acl_engine *e = acl_engine_find(L);
    if (e != NULL) {
        if (e->loop.inbox != NULL) return e;
        engine_loop(L, e, base);
        acl_reach_open(L, e);
        return e;
    }
    e = lua_newuserdatauv(L, sizeof *e, 0);
    memset(e, 0, sizeof *e);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, engine_gc);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    engine_loop(L, e, base);
    e->L = main_thread(L);
    e->own = lua_getallocf(L, NULL) == acl_alloc_function;
    if (e->own) { /* threads made from now on begin with a copy */
        *(acl_engine **)lua_getextraspace(e->L) = e;
        *(acl_engine **)lua_getextraspace(L) = e;
    }
    e->threads_ref = ref_table(L, NULL);
    e->nests_ref = ref_table(L, NULL);
    e->values_ref = ref_table(L, NULL);
    e->handles_ref = ref_table(L, "v");
    e->unobserved_ref = ref_table(L, NULL);
    e->cancels_ref = ref_table(L, NULL);
    e->meta_ref = ref_table(L, NULL);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &engine_key);
    return e;
}
