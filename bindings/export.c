/* SPDX-License-Identifier: MIT */
/* export.c -- coros of this engine that are known beyond it: made so when their handle is encoded
 * or named for the first time.
 *
 * A boxed reference to the record lies in extras.export, so that it lives as long as the handle; a
 * weak table leads back from the serial to the handle. At the end of the coro its exit message is
 * encoded once: for monitors of other engines, and as the outcome for whoever asks later. */
#include "bindings/codec.h"
#include "bindings/coro.h"
#include "bindings/reach.h"
#include "bindings/remote.h"

#define EXPORT_NAME "asyncoro.export"

static int
export_gc(lua_State *L)
{
    aco_export **box = lua_touserdata(L, 1);

    aco_export_unref(*box);
    *box = NULL;
    return 0;
}

/* The record of a local coro, NULL when it has none. */
static aco_export *
export_get(lua_State *L, int handle)
{
    aco_export *x = NULL;

    acl_extras(L, handle);
    if (lua_getfield(L, -1, "export") == LUA_TUSERDATA) x = *(aco_export **)lua_touserdata(L, -1);
    lua_pop(L, 2);
    return x;
}

aco_export **
acl_export_box(lua_State *L)
{
    aco_export **box = lua_newuserdatauv(L, sizeof *box, 0);

    *box = NULL;
    if (luaL_newmetatable(L, EXPORT_NAME)) {
        lua_pushcfunction(L, export_gc);
        lua_setfield(L, -2, "__gc");
    }
    lua_setmetatable(L, -2);
    return box;
}

/* An empty box in extras.export; it is not lost when something raises. */
static aco_export **
box_new(lua_State *L, int handle)
{
    aco_export **box = acl_export_box(L);

    acl_extras(L, handle);
    lua_insert(L, -2);
    lua_setfield(L, -2, "export");
    lua_pop(L, 1);
    return box;
}

static void
locals_put(lua_State *L, acl_engine *e, acl_coro *c, int handle)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, e->reach->locals_ref);
    lua_pushvalue(L, handle);
    lua_rawseti(L, -2, (lua_Integer)c->task.id);
    lua_pop(L, 1);
}

void
acl_export_local(lua_State *L, acl_engine *e, uint64_t serial)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, e->reach->locals_ref);
    lua_rawgeti(L, -1, (lua_Integer)serial);
    lua_remove(L, -2);
}

/* Exit messages ----------------------------------------------------------------------------------
 */

aco_msg *
acl_exit_plain(const aco_export *x, const char *reason, const char *error)
{
    aco_identity identity;
    uint8_t key[ACO_IDENTITY_SIZE];

    aco_export_identity(x, &identity);
    aco_identity_write(&identity, key);
    return aco_exit_new(key, x->far ? x->route : aco_process_route(x->process), x->name, reason,
                        error);
}

/* Encode the exit message at idx. What in it cannot travel stays behind, and its `error` says so.
 */
static aco_msg *
exit_encode(lua_State *L, int idx)
{
    aco_msg *msg;

    if (acl_encode(L, idx, &msg) == ACO_OK) return msg;
    lua_getfield(L, idx, "error");
    bool failed = !lua_isnil(L, -1);
    lua_pop(L, 1);
    if (failed) {
        lua_getfield(L, idx, "error");
        luaL_tolstring(L, -1, NULL);
        lua_setfield(L, idx, "error");
        lua_pop(L, 1);
    } else {
        lua_pushnil(L);
        lua_setfield(L, idx, "values");
        lua_pushfstring(L, "its results cannot be sent: %s", lua_tostring(L, -1));
        lua_setfield(L, idx, "error");
    }
    lua_pop(L, 1);
    if (acl_encode(L, idx, &msg) == ACO_OK) return msg;
    lua_error(L);
    return NULL;
}

/* (handle): the encoded exit message into the light userdata at 2. */
static int
exit_make(lua_State *L)
{
    acl_engine *e = acl_engine_get(L);
    acl_coro *c = lua_touserdata(L, 1);
    aco_msg **msg = lua_touserdata(L, 2);

    acl_exit_push(L, e, c, 1);
    *msg = exit_encode(L, lua_gettop(L));
    return 0;
}

static enum aco_reason
reason_of(const acl_coro *c)
{
    if (c->flags & ACL_FINISHED) return ACO_FINISHED;
    return c->flags & ACL_FAILED ? ACO_FAILED : ACO_TERMINATED;
}

/* The coro has ended: nothing raises but the lack of a few stack slots. */
static void
export_end(lua_State *L, acl_coro *c, aco_export *x, int handle)
{
    aco_msg *msg = NULL;
    enum aco_reason reason = reason_of(c);

    luaL_checkstack(L, 4, NULL);
    lua_pushcfunction(L, exit_make);
    lua_pushvalue(L, handle);
    lua_pushlightuserdata(L, &msg);
    if (lua_pcall(L, 2, 0, 0) != LUA_OK) {
        const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
        msg = acl_exit_plain(x, acl_coro_status(c), text != NULL ? text : "cannot be sent");
        lua_pop(L, 1);
    }
    aco_export_end(x, reason, msg);
    aco_msg_unref(msg);
}

/* The record -------------------------------------------------------------------------------------
 */

static aco_export *
export_new(lua_State *L, acl_engine *e, acl_coro *c, int handle)
{
    struct acl_reach *reach = e->reach;
    bool alive = !(c->flags & ACL_ENDED);
    aco_mailbox *mailbox = NULL;
    int top = lua_gettop(L);
    aco_export *x;

    aco_export **box = box_new(L, handle);
    locals_put(L, e, c, handle);
    acl_coro_name(L, handle);
    if (alive) {
        mailbox = acl_mailbox(L, c, 0);
        aco_mailbox_share(mailbox, e->loop.inbox);
    }
    int err =
        aco_export_new(reach->seat, ACO_KIND_CORO, c->task.id, lua_tostring(L, -1), mailbox, &x);
    if (err != ACO_OK) luaL_error(L, "not enough memory");
    lua_settop(L, top);
    *box = x;
    c->flags |= ACL_EXPORTED;
    if (alive) {
        x->owner = c;
        aco_list_append(&reach->exports, &x->home);
        reach->exported++;
    } else {
        export_end(L, c, x, handle);
    }
    return x;
}

aco_export *
acl_export(lua_State *L, acl_engine *e, int handle)
{
    acl_coro *c = lua_touserdata(L, handle);

    if (e->reach == NULL) luaL_error(L, "the engine of this Lua state has been closed");
    handle = lua_absindex(L, handle);
    luaL_checkstack(L, 12, NULL);
    aco_export *x = c->flags & ACL_EXPORTED ? export_get(L, handle) : NULL;
    return x != NULL ? x : export_new(L, e, c, handle);
}

aco_mailbox *
acl_export_mailbox(lua_State *L, acl_engine *e, int handle)
{
    acl_export(L, e, handle);
    return ((acl_coro *)lua_touserdata(L, handle))->task.mailbox;
}

void
acl_remote_ended(lua_State *L, acl_engine *e, acl_coro *c, int handle)
{
    luaL_checkstack(L, 12, NULL);
    aco_export *x = export_get(L, handle);
    if (x == NULL || atomic_load(&x->reason) != ACO_ALIVE) return;
    if (aco_link_in_list(&x->home)) {
        aco_link_remove(&x->home);
        e->reach->exported--;
    }
    export_end(L, c, x, handle);
}

bool
acl_remote_observed(lua_State *L, const acl_coro *c, int handle)
{
    aco_export *x;

    if (c == NULL)
        x = acl_remote_test(L, handle)->x;
    else
        x = c->flags & ACL_EXPORTED ? export_get(L, handle) : NULL;
    return x != NULL && aco_export_observed(x);
}

void
acl_remote_exit(lua_State *L, acl_engine *e, int monitor)
{
    acl_remote *r = acl_remote_test(L, monitor);
    int message = lua_gettop(L);

    (void)e;
    if (r != NULL && r->x != NULL && r->x->mailbox != NULL) {
        luaL_checkstack(L, 6, NULL);
        aco_msg *msg = exit_encode(L, message);
        aco_parcel *parcel = aco_parcel_new(msg, NULL);
        aco_msg_unref(msg);
        if (parcel != NULL && aco_mailbox_post_forced(r->x->mailbox, parcel) != ACO_OK)
            aco_parcel_free(parcel);
    }
    lua_settop(L, message - 1);
}
