/* SPDX-License-Identifier: MIT */
/* dispatch.c -- send, deliver and call of coros of other engines: a message is encoded here and put
 * into the coro's mailbox straight away, or when there is room again. */
#include "bindings/call.h"
#include "bindings/codec.h"
#include "bindings/reach.h"

#include "core/base/clock.h"

enum { PUT_SELF = 1, PUT_MESSAGE, PUT_ARGS, PUT_PARCEL = PUT_ARGS };
enum put_op { PUT_SEND, PUT_DELIVER, PUT_CALL };

static const char *const put_words[] = {"send", "deliver", "call"};

static int
put_failed(lua_State *L, const acl_remote *r, int err, const char *what)
{
    const char *name = acl_remote_name(r);

    if (err == ACO_ENOMEM) return luaL_error(L, "not enough memory");
    if (r->x == NULL) return acl_fail(L, ACO_ENOTFOUND, "%s: nothing is known of this coro", what);
    if (err == ACO_ENOTFOUND) return acl_fail(L, err, "%s: coro %s has ended", what, name);
    if (err == ACO_EBUSY)
        return acl_fail(L, err, "%s: the mailbox of coro %s is full and this code cannot wait",
                        what, name);
    return acl_fail(L, err, "%s: the mailbox of coro %s is full: %s", what, name,
                    aco_err_text(err));
}

static int
call_answered_k(lua_State *L, int status, lua_KContext ctx)
{
    acl_engine *e = acl_self(L);
    acl_coro *c = e->current;
    const acl_remote *r = lua_touserdata(L, PUT_SELF);

    (void)status;
    (void)ctx;
    e->reach->waits--;
    acl_wait_end(L, e, c);
    if (c->nvals == 1) {
        int err = acl_msg_open(L);
        return err == ACO_OK ? 1 : acl_fail(L, err, "call: the reply: %s", lua_tostring(L, -1));
    }
    if (c->task.wake_err == ACO_ETIMEOUT)
        return acl_fail(L, ACO_ETIMEOUT, "call: coro %s did not reply in time", acl_remote_name(r));
    if (c->task.wake_err == ACO_ENOMEM) return luaL_error(L, "not enough memory");
    return acl_fail(L, ACO_ENOTFOUND, "call: coro %s ended without a reply", acl_remote_name(r));
}

/* The message is in the mailbox. */
static int
put_done(lua_State *L, acl_remote *r, aco_time deadline, enum put_op op)
{
    acl_engine *e = acl_self(L);

    if (op == PUT_CALL) {
        aco_wait_begin(&e->current->task, ACO_WAIT_CALL);
        aco_wait_on(&e->current->task, &r->enders);
        e->reach->waits++;
        return acl_park(L, e, e->current, deadline == 0 ? aco_now() : deadline, 0, call_answered_k);
    }
    if (op == PUT_DELIVER)
        lua_pushinteger(L, 1);
    else
        lua_pushboolean(L, 1);
    return 1;
}

static int put_send_k(lua_State *L, int status, lua_KContext deadline);
static int put_deliver_k(lua_State *L, int status, lua_KContext deadline);
static int put_call_k(lua_State *L, int status, lua_KContext deadline);

/* The mailbox is full, and knows of this coro's wait that follows: wait for room. */
static int
put_wait(lua_State *L, aco_parcel *parcel, aco_time deadline, enum put_op op)
{
    static const lua_KFunction next[] = {put_send_k, put_deliver_k, put_call_k};
    acl_engine *e = acl_self(L);

    lua_settop(L, PUT_MESSAGE);
    acl_parcel_box(L, parcel);
    acl_coro *c = acl_wait_check(L, e, put_words[op]);
    aco_wait_begin(&c->task, ACO_WAIT_SEND);
    e->reach->waits++;
    return acl_park(L, e, c, deadline, (lua_KContext)deadline, next[op]);
}

/* Takes over the parcel. */
static int
put(lua_State *L, acl_remote *r, aco_parcel *parcel, aco_time deadline, enum put_op op)
{
    acl_engine *e = acl_self(L);
    bool can_wait = acl_can_wait(L, e);
    aco_return here = {.inbox = NULL};

    if (can_wait) here = acl_return_here(e, e->current);
    if (op == PUT_CALL) parcel->reply.token = here.token;
    int err =
        r->x == NULL || r->x->mailbox == NULL
            ? ACO_ENOTFOUND
            : aco_mailbox_post(r->x->mailbox, parcel, can_wait && deadline != 0 ? &here : NULL);
    if (err == ACO_OK) return put_done(L, r, deadline, op);
    if (err == ACO_EBUSY && can_wait && deadline != 0) return put_wait(L, parcel, deadline, op);
    aco_parcel_free(parcel);
    if (err == ACO_ECLOSED) err = ACO_ENOTFOUND;
    if (err == ACO_EBUSY && can_wait) err = ACO_ETIMEOUT;
    return put_failed(L, r, err, put_words[op]);
}

/* There is room, or the time is over, or the coro is cancelled. */
static int
put_woken(lua_State *L, aco_time deadline, enum put_op op)
{
    acl_engine *e = acl_self(L);
    acl_coro *c = e->current;
    acl_remote *r = lua_touserdata(L, PUT_SELF);

    e->reach->waits--;
    if (c->task.wake_err != ACO_OK) {
        aco_return here = acl_return_here(e, c);
        here.token--; /* of the wait that is over */
        aco_mailbox_forget(r->x->mailbox, &here);
    }
    acl_wait_end(L, e, c);
    if (c->task.wake_err != ACO_OK) return put_failed(L, r, c->task.wake_err, put_words[op]);
    aco_parcel *parcel = acl_parcel_unbox(L, PUT_PARCEL);
    return put(L, r, parcel, deadline, op);
}

static int
put_send_k(lua_State *L, int status, lua_KContext deadline)
{
    (void)status;
    return put_woken(L, deadline, PUT_SEND);
}

static int
put_deliver_k(lua_State *L, int status, lua_KContext deadline)
{
    (void)status;
    return put_woken(L, deadline, PUT_DELIVER);
}

static int
put_call_k(lua_State *L, int status, lua_KContext deadline)
{
    (void)status;
    return put_woken(L, deadline, PUT_CALL);
}

/* Encode the message and put it into the mailbox. */
static int
put_message(lua_State *L, acl_remote *r, const aco_return *reply, aco_time deadline, enum put_op op)
{
    aco_msg *msg;

    lua_settop(L, PUT_MESSAGE);
    int err = acl_encode(L, PUT_MESSAGE, &msg);
    if (err != ACO_OK) return acl_fail(L, err, "%s: %s", put_words[op], lua_tostring(L, -1));
    aco_parcel *parcel = aco_parcel_new(msg, reply);
    aco_msg_unref(msg);
    if (parcel == NULL) return luaL_error(L, "not enough memory");
    return put(L, r, parcel, deadline, op);
}

int
acl_remote_send(lua_State *L)
{
    acl_remote *r = acl_remote_check(L, PUT_SELF);

    luaL_checkany(L, PUT_MESSAGE);
    if (lua_type(L, PUT_ARGS) == LUA_TTABLE) {
        lua_getfield(L, PUT_ARGS, "timeout");
        lua_replace(L, PUT_ARGS);
    }
    return put_message(L, r, NULL, acl_opt_deadline(L, PUT_ARGS), PUT_SEND);
}

int
acl_remote_deliver(lua_State *L)
{
    acl_remote *r = acl_remote_check(L, PUT_SELF);

    luaL_checkany(L, PUT_MESSAGE);
    return put_message(L, r, NULL, acl_opt_deadline(L, PUT_ARGS), PUT_DELIVER);
}

int
acl_remote_call(lua_State *L)
{
    acl_engine *e = acl_self(L);
    acl_remote *r = acl_remote_check(L, PUT_SELF);

    luaL_checkany(L, PUT_MESSAGE);
    aco_time deadline = acl_opt_deadline(L, PUT_ARGS);
    acl_coro *c = acl_wait_check(L, e, "call");
    if (!acl_remote_watch(L, e, PUT_SELF)) return put_failed(L, r, ACO_ENOTFOUND, "call");
    aco_return here = acl_return_here(e, c);
    return put_message(L, r, &here, deadline, PUT_CALL);
}
