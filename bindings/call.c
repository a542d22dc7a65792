/* SPDX-License-Identifier: MIT */
/* call.c -- parcels, the messages from other engines: who owns them, and how they are answered. */
#include "bindings/call.h"
#include "bindings/codec.h"

#include <stdlib.h>

#define PARCEL_NAME "asyncoro.parcel"

typedef struct box {
    aco_parcel *parcel; /* owned; NULL once it has been answered */
} box;

static int
box_gc(lua_State *L)
{
    box *b = lua_touserdata(L, 1);

    aco_parcel_free(b->parcel);
    b->parcel = NULL;
    return 0;
}

/* The metatable is made at the first use. */
static int
box_new(lua_State *L)
{
    box *b = lua_newuserdatauv(L, sizeof *b, 0);

    b->parcel = NULL;
    if (luaL_newmetatable(L, PARCEL_NAME)) {
        lua_pushcfunction(L, box_gc);
        lua_setfield(L, -2, "__gc");
    }
    lua_setmetatable(L, -2);
    return 1;
}

void
acl_parcel_box(lua_State *L, aco_parcel *parcel)
{
    int status = LUA_ERRMEM;

    if (lua_checkstack(L, 2)) {
        lua_pushcfunction(L, box_new);
        status = lua_pcall(L, 0, 1, 0);
    }
    if (status != LUA_OK) {
        aco_parcel_free(parcel);
        luaL_error(L, "not enough memory");
        return;
    }
    ((box *)lua_touserdata(L, -1))->parcel = parcel;
}

aco_parcel *
acl_parcel_unbox(lua_State *L, int idx)
{
    box *b = lua_touserdata(L, idx);
    aco_parcel *parcel = b->parcel;

    b->parcel = NULL;
    return parcel;
}

/* The post that ends the caller's wait, with no message in it; NULL without memory. */
static aco_post *
answer_new(const aco_return *to, int err)
{
    aco_post *post = calloc(1, sizeof *post);

    if (post == NULL) return NULL;
    post->kind = ACO_POST_REPLY;
    post->task = to->task;
    post->token = to->token;
    post->err = err;
    return post;
}

void
acl_parcel_refuse(aco_parcel *parcel)
{
    if (parcel->reply.inbox != NULL) {
        aco_post *post = answer_new(&parcel->reply, ACO_ENOTFOUND);
        if (post != NULL) aco_inbox_post(parcel->reply.inbox, post); /* else its watch tells it */
    }
    aco_parcel_free(parcel);
}

void
acl_entry_refuse(const aco_entry *entry)
{
    if (entry->tag == ACO_ENTRY_PARCEL)
        acl_parcel_refuse(entry->u.parcel);
    else
        aco_entry_free(entry);
}

/* The function that answers a call from another engine; its upvalue after the usual ones is the
 * boxed parcel. */
enum { REPLY_PARCEL = ACL_UPVALUES + 1 };

static int
reply(lua_State *L)
{
    box *b = lua_touserdata(L, lua_upvalueindex(REPLY_PARCEL));
    aco_msg *msg;

    lua_settop(L, 1);
    if (b->parcel == NULL)
        return acl_fail(L, ACO_ENOTFOUND, "reply: the caller has its answer already");
    int err = acl_encode(L, 1, &msg);
    if (err != ACO_OK) return acl_fail(L, err, "reply: %s", lua_tostring(L, -1));
    if (b->parcel == NULL) { /* answered by a class's __encode */
        aco_msg_unref(msg);
        return acl_fail(L, ACO_ENOTFOUND, "reply: the caller has its answer already");
    }
    aco_post *post = answer_new(&b->parcel->reply, ACO_OK);
    if (post == NULL) {
        aco_msg_unref(msg);
        return luaL_error(L, "not enough memory");
    }
    post->msg = msg;
    err = aco_inbox_post(b->parcel->reply.inbox, post);
    aco_parcel_free(b->parcel);
    b->parcel = NULL;
    if (err != ACO_OK)
        return acl_fail(L, ACO_ENOTFOUND, "reply: the engine of the caller has ended");
    lua_pushboolean(L, 1);
    return 1;
}

void
acl_reply_push_remote(lua_State *L, acl_engine *e)
{
    lua_pushlightuserdata(L, e);
    lua_insert(L, -2);
    lua_rawgeti(L, LUA_REGISTRYINDEX, e->meta_ref);
    lua_insert(L, -2);
    lua_rawgeti(L, LUA_REGISTRYINDEX, e->values_ref);
    lua_insert(L, -2);
    lua_pushcclosure(L, reply, REPLY_PARCEL);
}
