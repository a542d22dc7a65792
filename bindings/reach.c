/* SPDX-License-Identifier: MIT */
/* reach.c -- an engine's seat among the engines of its process, from its opening to its end. */
#include "bindings/reach.h"
#include "bindings/engine.h"
#include "bindings/network.h"

#include "core/engine/channel.h"

#include <stdlib.h>

/* In the registry: the process of the engine that is about to be opened in this state. */
static const char process_key = 0;

void
acl_reach_of(lua_State *L, aco_process *process)
{
    lua_pushlightuserdata(L, process);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &process_key);
}

static int
table_ref(lua_State *L, bool weak)
{
    lua_newtable(L);
    if (weak) {
        lua_createtable(L, 0, 1);
        lua_pushliteral(L, "v");
        lua_setfield(L, -2, "__mode");
        lua_setmetatable(L, -2);
    }
    return luaL_ref(L, LUA_REGISTRYINDEX);
}

static aco_process *
process_of(lua_State *L)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &process_key);
    aco_process *process = lua_touserdata(L, -1);
    lua_pop(L, 1);
    return process != NULL ? aco_process_ref(process) : aco_process_new();
}

void
acl_reach_open(lua_State *L, acl_engine *e)
{
    if (e->reach != NULL) return;
    struct acl_reach *reach = calloc(1, sizeof *reach);
    if (reach == NULL) luaL_error(L, "not enough memory");
    aco_list_init(&reach->exports);
    aco_list_init(&reach->names);
    e->reach = reach; /* from here on the end of the engine frees it */
    reach->process = process_of(L);
    if (reach->process != NULL) reach->seat = aco_seat_take(reach->process, e->loop.inbox);
    if (reach->seat == NULL) luaL_error(L, "not enough memory");
    reach->number = aco_seat_number(reach->seat);
    reach->locals_ref = table_ref(L, true);
    reach->remotes_ref = table_ref(L, true);
    reach->watched_ref = table_ref(L, false);
    reach->rcis_ref = table_ref(L, true);
    reach->served_ref = table_ref(L, false);
}

/* Coros that nobody ended: for all others they are terminated. */
static void
exports_end(struct acl_reach *reach)
{
    while (!aco_list_empty(&reach->exports)) {
        aco_export *x = ACO_CONTAINER_OF(reach->exports.next, aco_export, home);
        aco_link_remove(&x->home);
        aco_msg *exit = acl_exit_plain(x, "terminated", NULL);
        aco_export_end(x, ACO_TERMINATED, exit);
        aco_msg_unref(exit);
    }
    reach->exported = 0;
}

/* No engine but this one has a seat; the network has one. */
static bool
is_last(const struct acl_reach *reach)
{
    return aco_process_engines(reach->process) <= 2;
}

void
acl_reach_close(acl_engine *e)
{
    struct acl_reach *reach = e->reach;

    if (reach == NULL) return;
    acl_isolates_join(e);
    exports_end(reach);
    if (reach->seat != NULL) aco_channels_leave(reach->process, reach->number);
    if (reach->process != NULL) {
        if (reach->has_started || is_last(reach)) acl_network_end(e);
        acl_network_leave(e);
    }
    while (reach->todo != NULL) {
        aco_post *post = reach->todo;
        reach->todo = post->next;
        aco_post_free(post);
    }
    e->reach = NULL;
    if (reach->seat != NULL && reach->self == NULL) aco_seat_leave(reach->seat);
    aco_process_unref(reach->process);
    free(reach);
}

aco_return
acl_return_here(acl_engine *e, const acl_coro *c)
{
    return (aco_return){.inbox = e->loop.inbox,
                        .task = c->task.id,
                        .token = (uint64_t)c->task.slot << 32 | (uint32_t)(c->wait_serial + 1)};
}

void
acl_return_forget(acl_engine *e, const acl_coro *c, aco_export *x)
{
    aco_return here = acl_return_here(e, c);

    here.token--; /* of the wait that is over */
    aco_export_forget(x, &here);
}

bool
acl_reach_has_gate(const acl_engine *e)
{
    return aco_process_gate(e->reach->process) != NULL;
}

acl_coro *
acl_return_find(const acl_engine *e, uint64_t task, uint64_t token)
{
    uint32_t slot = (uint32_t)(token >> 32);
    acl_coro *c = slot < e->slot_count ? acl_slot_coro(e, slot) : NULL;

    if (c == NULL || c->task.id != task || c->task.state != ACO_PARKED) return NULL;
    return c->wait_serial == (uint32_t)token ? c : NULL;
}
