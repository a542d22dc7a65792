/* SPDX-License-Identifier: MIT */
/* message.c -- Lua values in mailboxes.
 *
 * Within an engine a message is the value itself: small ones stand in the entry, others in the
 * engine's table of values, with the entry holding the token. From elsewhere it comes encoded, and
 * is decoded when received. */
#include "bindings/acl.h"
#include "bindings/call.h"
#include "bindings/codec.h"
#include "bindings/engine.h"
#include "bindings/reach.h"

enum { TAG_NIL = 1, TAG_FALSE, TAG_TRUE, TAG_INTEGER, TAG_FLOAT, TAG_VALUE, TAG_CALL };

aco_mailbox *
acl_mailbox(lua_State *L, acl_coro *c, size_t limit)
{
    if (c->task.mailbox == NULL) c->task.mailbox = aco_mailbox_new(&c->task, limit);
    if (c->task.mailbox == NULL) luaL_error(L, "not enough memory");
    return c->task.mailbox;
}

/* The entry for the value at idx; a value that needs a token gets it. */
static aco_entry
entry_make(lua_State *L, acl_engine *e, int idx)
{
    aco_entry entry = {.tag = TAG_VALUE, .size = 0};

    switch (lua_type(L, idx)) {
    case LUA_TNIL:
        entry.tag = TAG_NIL;
        break;
    case LUA_TBOOLEAN:
        entry.tag = lua_toboolean(L, idx) ? TAG_TRUE : TAG_FALSE;
        break;
    case LUA_TNUMBER:
        entry.tag = lua_isinteger(L, idx) ? TAG_INTEGER : TAG_FLOAT;
        if (entry.tag == TAG_INTEGER)
            entry.u.integer = lua_tointeger(L, idx);
        else
            entry.u.number = lua_tonumber(L, idx);
        break;
    default:
        lua_pushvalue(L, idx);
        entry.u.word = acl_token_put(L, e);
    }
    return entry;
}

static void
entry_drop(lua_State *L, acl_engine *e, const aco_entry *entry)
{
    if (entry->tag == TAG_VALUE) acl_token_drop(L, e, (uint32_t)entry->u.word);
}

int
acl_mailbox_put(lua_State *L, acl_engine *e, acl_coro *c, int idx)
{
    aco_mailbox *mb = acl_mailbox(L, c, 0);

    if (aco_mailbox_full(mb)) return ACO_EBUSY;
    aco_entry entry = entry_make(L, e, idx);
    int err = aco_mailbox_push(mb, entry);
    if (ACO_UNLIKELY(err != ACO_OK)) entry_drop(L, e, &entry);
    return err;
}

bool
acl_message_queue(lua_State *L, acl_engine *e, acl_coro *c, int idx)
{
    aco_mailbox *mb = c->task.mailbox;

    if (mb == NULL || (c->flags & ACL_ENDED) || !aco_mailbox_roomy(mb)) return false;
    aco_mailbox_append(mb, entry_make(L, e, idx));
    return true;
}

void
acl_message_hand(lua_State *L, acl_engine *e, acl_coro *c, int n)
{
    lua_xmove(L, c->waiter, n);
    c->nvals = (uint8_t)n;
    if (ACO_LIKELY(c->task.flags == ACO_TASK_RECEIVE))
        aco_task_received(&e->loop, &c->task);
    else
        aco_task_wake(&e->loop, &c->task, ACO_OK, c->receive_index);
}

int
acl_message_put(lua_State *L, acl_engine *e, acl_coro *c, int n)
{
    if (c->flags & ACL_ENDED) return ACO_ENOTFOUND;
    if (acl_message_awaited(c)) {
        acl_message_hand(L, e, c, n);
        return ACO_OK;
    }
    if (n == 1) {
        int err = acl_mailbox_put(L, e, c, -1);
        if (err == ACO_OK) lua_pop(L, 1);
        return err;
    }
    aco_mailbox *mb = acl_mailbox(L, c, 0);
    if (aco_mailbox_full(mb)) return ACO_EBUSY;
    uint32_t reply = acl_token_put(L, e);
    uint32_t message = acl_token_put(L, e);
    aco_entry entry = {.tag = TAG_CALL, .u.word = message | (uint64_t)reply << 32};
    int err = aco_mailbox_push(mb, entry);
    if (err == ACO_OK) return err;
    acl_token_take(L, e, message);
    acl_token_take(L, e, reply);
    return err;
}

void
acl_message_forget(acl_engine *e)
{
    aco_msg_unref(e->opened);
    e->opened = NULL;
}

/* It could not be decoded, and why is on top. */
static int
not_opened(lua_State *L, int err)
{
    lua_pushnil(L);
    lua_insert(L, -2);
    lua_pushstring(L, aco_err_word(err));
    return 3;
}

/* A message from elsewhere: decoded here, in the thread of its receiver. One that cannot be decoded
 * is the receiver's nil, message, "protocol"; it is gone. */
static int
parcel_open(lua_State *L, acl_engine *e, aco_parcel *parcel)
{
    acl_parcel_box(L, parcel); /* frees it whatever happens below */
    int box = lua_gettop(L);
    int err = acl_decode_msg(L, parcel->msg);
    if (err != ACO_OK) {
        lua_remove(L, box);
        return not_opened(L, err);
    }
    if (parcel->reply.inbox == NULL) {
        lua_remove(L, box);
        return 1;
    }
    lua_insert(L, box); /* the box with the way back becomes the reply function's upvalue */
    acl_reply_push_remote(L, e);
    return 2;
}

/* The same of one that is not to be answered. While it is decoded, which may raise, it is the
 * engine's; when a class's __decode receives meanwhile, the second one is boxed. */
static int
msg_open(lua_State *L, acl_engine *e, aco_msg *msg)
{
    if (e->opened != NULL) {
        acl_msg_box(L, msg);
        int err = acl_msg_open(L);
        return err == ACO_OK ? 1 : not_opened(L, err);
    }
    e->opened = msg;
    int err = acl_decode_msg(L, msg);
    e->opened = NULL;
    aco_msg_unref(msg);
    return err == ACO_OK ? 1 : not_opened(L, err);
}

static int
entry_push(lua_State *L, acl_engine *e, const aco_entry *entry)
{
    switch (entry->tag) {
    case ACO_ENTRY_MSG:
        return msg_open(L, e, entry->u.msg);
    case ACO_ENTRY_PARCEL:
        return parcel_open(L, e, entry->u.parcel);
    case TAG_NIL:
        lua_pushnil(L);
        return 1;
    case TAG_FALSE:
    case TAG_TRUE:
        lua_pushboolean(L, entry->tag == TAG_TRUE);
        return 1;
    case TAG_INTEGER:
        lua_pushinteger(L, entry->u.integer);
        return 1;
    case TAG_FLOAT:
        lua_pushnumber(L, entry->u.number);
        return 1;
    case TAG_VALUE:
        acl_token_take(L, e, (uint32_t)entry->u.word);
        return 1;
    default:
        acl_token_take(L, e, (uint32_t)entry->u.word);
        acl_token_take(L, e, (uint32_t)(entry->u.word >> 32));
        return 2;
    }
}

int
acl_mailbox_get(lua_State *L, acl_engine *e, acl_coro *c)
{
    aco_entry entry;

    if (c->task.mailbox == NULL || !aco_mailbox_pop(&e->loop, c->task.mailbox, &entry)) return 0;
    return entry_push(L, e, &entry);
}

void
acl_mailbox_drop(lua_State *L, acl_engine *e, acl_coro *c)
{
    aco_mailbox *mb = c->task.mailbox;
    aco_entry entry;

    if (mb == NULL) return;
    c->task.mailbox = NULL;
    aco_mailbox_close(&e->loop, mb);
    while (aco_mailbox_pop(&e->loop, mb, &entry)) {
        if (entry.tag == ACO_ENTRY_PARCEL || entry.tag == ACO_ENTRY_MSG) {
            acl_entry_refuse(&entry);
        } else if (entry.tag == TAG_CALL) {
            acl_token_drop(L, e, (uint32_t)entry.u.word);
            acl_token_drop(L, e, (uint32_t)(entry.u.word >> 32));
        } else {
            entry_drop(L, e, &entry);
        }
    }
    aco_mailbox_unref(mb);
}
