/* SPDX-License-Identifier: MIT */
/* dispatch.c -- send, deliver and call of coros of other engines: a message is encoded here and put
 * into the coro's mailbox straight away, or on its way to the coro's process, or when there is room
 * again. */
#include "bindings/call.h"
#include "bindings/codec.h"
#include "bindings/reach.h"

#include "core/base/clock.h"
#include "core/engine/gate.h"

enum { PUT_SELF = 1, PUT_MESSAGE, PUT_ARGS, PUT_PARCEL = PUT_ARGS };

static const char *const put_words[] = {"send", "deliver", "call"};

static int
put_failed(lua_State *L, const acl_remote *r, int err, const char *what)
{
    if (err == ACO_ENOMEM) return luaL_error(L, "not enough memory");
    if (r->x == NULL) return acl_fail(L, ACO_ENOTFOUND, "%s: nothing is known of this coro", what);
    if (err == ACO_EPEERDOWN) return acl_remote_lost(L, r, what);
    const char *who = acl_remote_text(L, r);
    if (err == ACO_ENOTFOUND) return acl_fail(L, err, "%s: %s has ended", what, who);
    if (err == ACO_EBUSY)
        return acl_fail(L, err, "%s: the mailbox of %s is full and this code cannot wait", what,
                        who);
    if (err == ACO_ETIMEOUT)
        return acl_fail(L, err, "%s: the mailbox of %s is full: %s", what, who, aco_err_text(err));
    return acl_fail(L, err, "%s: %s: %s", what, who, aco_err_text(err));
}

static int
call_answered_k(lua_State *L, int status, lua_KContext ctx)
{
    acl_engine *e = acl_self(L);
    acl_coro *c = e->current;
    const acl_remote *r = lua_touserdata(L, PUT_SELF);
    int err = c->task.wake_err;

    (void)status;
    (void)ctx;
    e->reach->waits--;
    if (err != ACO_OK) acl_return_forget(e, c, r->x);
    acl_wait_end(L, e, c);
    if (err == ACO_OK && c->nvals == 1) {
        err = acl_msg_open(L);
        return err == ACO_OK ? 1 : acl_fail(L, err, "call: the reply: %s", lua_tostring(L, -1));
    }
    if (err == ACO_ETIMEOUT)
        return acl_fail(L, err, "call: %s did not reply in time", acl_remote_text(L, r));
    if (err == ACO_OK || err == ACO_ENOTFOUND)
        return acl_fail(L, ACO_ENOTFOUND, "call: %s ended without a reply", acl_remote_text(L, r));
    return put_failed(L, r, err, "call");
}

/* The process of the coro has said whether it is in the mailbox. */
static int
delivered_k(lua_State *L, int status, lua_KContext ctx)
{
    acl_engine *e = acl_self(L);
    acl_coro *c = e->current;
    const acl_remote *r = lua_touserdata(L, PUT_SELF);
    int err = c->task.wake_err;

    (void)status;
    (void)ctx;
    e->reach->waits--;
    if (err != ACO_OK) acl_return_forget(e, c, r->x);
    acl_wait_end(L, e, c);
    if (err == ACO_ETIMEOUT)
        return acl_fail(L, err, "deliver: %s did not confirm in time", acl_remote_text(L, r));
    if (err != ACO_OK) return put_failed(L, r, err, "deliver");
    lua_pushinteger(L, 1);
    return 1;
}

static int
sent_k(lua_State *L, int status, lua_KContext ctx)
{
    acl_engine *e = acl_self(L);

    (void)status;
    (void)ctx;
    if (e->current->task.pending) acl_raise_pending(L, e, e->current);
    lua_pushboolean(L, 1);
    return 1;
}

/* Who sends without end to other processes gives others a turn now and then, and what it has sent
 * is on its way meanwhile. */
static int
sent(lua_State *L, acl_engine *e, const acl_remote *r)
{
    if (r->x->far && e->budget-- <= 0 && acl_can_wait(L, e)) {
        e->current->task.what = ACO_WAIT_TURN;
        aco_task_ready(&e->loop, &e->current->task);
        return lua_yieldk(L, 0, 0, sent_k);
    }
    lua_pushboolean(L, 1);
    return 1;
}

/* The message is in the mailbox, or on its way there. */
static int
put_done(lua_State *L, acl_remote *r, aco_time deadline, enum aco_put op)
{
    acl_engine *e = acl_self(L);

    if (op == ACO_PUT_CALL) {
        aco_wait_begin(&e->current->task, ACO_WAIT_CALL);
        aco_wait_on(&e->current->task, &r->enders);
        e->reach->waits++;
        return acl_park(L, e, e->current, deadline == 0 ? aco_now() : deadline, 0, call_answered_k);
    }
    if (op == ACO_PUT_SEND) return sent(L, e, r);
    lua_pushinteger(L, 1);
    return 1;
}

static int put_send_k(lua_State *L, int status, lua_KContext deadline);
static int put_deliver_k(lua_State *L, int status, lua_KContext deadline);
static int put_call_k(lua_State *L, int status, lua_KContext deadline);

/* The mailbox is full, and knows of this coro's wait that follows: wait for room. */
static int
put_wait(lua_State *L, aco_parcel *parcel, aco_time deadline, enum aco_put op)
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
put(lua_State *L, acl_remote *r, aco_parcel *parcel, aco_time deadline, enum aco_put op)
{
    acl_engine *e = acl_self(L);
    bool can_wait = acl_can_wait(L, e);
    aco_return here = {.inbox = NULL};

    if (can_wait) here = acl_return_here(e, e->current);
    if (parcel->reply.inbox != NULL) parcel->reply.token = here.token;
    const aco_return *waiter = can_wait && deadline != 0 ? &here : NULL;
    int err = r->x == NULL ? ACO_ENOTFOUND : aco_export_put(r->x, parcel, (int)op, waiter);
    if (err == ACO_OK) return put_done(L, r, deadline, op);
    if (err == ACO_PENDING) {
        aco_wait_begin(&e->current->task, ACO_WAIT_CALL);
        e->reach->waits++;
        return acl_park(L, e, e->current, deadline, 0, delivered_k);
    }
    if (err == ACO_EBUSY && waiter != NULL) return put_wait(L, parcel, deadline, op);
    aco_parcel_free(parcel);
    if (err == ACO_EBUSY && can_wait) err = ACO_ETIMEOUT;
    return put_failed(L, r, err, put_words[op]);
}

/* There is room, or the time is over, or the coro is cancelled. */
static int
put_woken(lua_State *L, aco_time deadline, enum aco_put op)
{
    acl_engine *e = acl_self(L);
    acl_coro *c = e->current;
    acl_remote *r = lua_touserdata(L, PUT_SELF);

    e->reach->waits--;
    if (c->task.wake_err != ACO_OK) acl_return_forget(e, c, r->x);
    acl_wait_end(L, e, c);
    if (c->task.wake_err != ACO_OK) return put_failed(L, r, c->task.wake_err, put_words[op]);
    aco_parcel *parcel = acl_parcel_unbox(L, PUT_PARCEL);
    return put(L, r, parcel, deadline, op);
}

static int
put_send_k(lua_State *L, int status, lua_KContext deadline)
{
    (void)status;
    return put_woken(L, deadline, ACO_PUT_SEND);
}

static int
put_deliver_k(lua_State *L, int status, lua_KContext deadline)
{
    (void)status;
    return put_woken(L, deadline, ACO_PUT_DELIVER);
}

static int
put_call_k(lua_State *L, int status, lua_KContext deadline)
{
    (void)status;
    return put_woken(L, deadline, ACO_PUT_CALL);
}

/* A short message that is just sent goes on its way as it has been encoded. */
static bool
send_at_once(void *x, const void *data, size_t size)
{
    return aco_export_send(x, data, size);
}

/* Encode the message and put it into the mailbox. */
static int
put_message(lua_State *L, acl_remote *r, const aco_return *reply, aco_time deadline,
            enum aco_put op)
{
    aco_msg *msg;

    lua_settop(L, PUT_MESSAGE);
    bool far = op == ACO_PUT_SEND && acl_remote_is_far(r);
    int err = acl_encode_for(L, PUT_MESSAGE, far ? send_at_once : NULL, r->x, &msg);
    if (err != ACO_OK) return acl_fail(L, err, "%s: %s", put_words[op], lua_tostring(L, -1));
    if (msg == NULL) return sent(L, acl_self(L), r);
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
    return put_message(L, r, NULL, acl_opt_deadline(L, PUT_ARGS), ACO_PUT_SEND);
}

/* Its process confirms that a message is in the mailbox: that takes a while. */
static int
deliver_far(lua_State *L, acl_remote *r, aco_time deadline)
{
    acl_engine *e = acl_self(L);

    if (!acl_can_wait(L, e))
        return acl_fail(L, ACO_EBUSY,
                        "deliver: %s is in another process, and this code cannot wait",
                        acl_remote_text(L, r));
    acl_coro *c = acl_wait_check(L, e, "deliver");
    if (deadline == 0)
        return acl_fail(L, ACO_ETIMEOUT, "deliver: %s is in another process, which takes some time",
                        acl_remote_text(L, r));
    aco_return here = acl_return_here(e, c);
    return put_message(L, r, &here, deadline, ACO_PUT_DELIVER);
}

int
acl_remote_deliver(lua_State *L)
{
    acl_remote *r = acl_remote_check(L, PUT_SELF);

    luaL_checkany(L, PUT_MESSAGE);
    aco_time deadline = acl_opt_deadline(L, PUT_ARGS);
    if (acl_remote_is_far(r)) return deliver_far(L, r, deadline);
    return put_message(L, r, NULL, deadline, ACO_PUT_DELIVER);
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
    return put_message(L, r, &here, deadline, ACO_PUT_CALL);
}
