/* SPDX-License-Identifier: MIT */
/* send.c -- send, deliver, call and resume of local coros. */
#include "bindings/acl.h"
#include "bindings/call.h"
#include "bindings/coro.h"

#include "core/base/clock.h"

/* The three that put a message into a mailbox, as context of their texts. */
enum { SEND_SELF = 1, SEND_MESSAGE, SEND_ARGS };

static int
send_failed(lua_State *L, int err, const char *what)
{
    if (err == ACO_ENOMEM) return luaL_error(L, "not enough memory");
    acl_coro_name(L, SEND_SELF);
    const char *name = lua_tostring(L, -1);
    if (err == ACO_ENOTFOUND) return acl_fail(L, err, "%s: coro %s has ended", what, name);
    if (err == ACO_EBUSY)
        return acl_fail(L, err, "%s: the mailbox of coro %s is full and this code cannot wait",
                        what, name);
    return acl_fail(L, err, "%s: the mailbox of coro %s is full: %s", what, name,
                    aco_err_text(err));
}

/* The mailbox is full: wait for room, in the order in which senders came. */
static int
send_wait(lua_State *L, acl_coro *to, aco_time deadline, const char *what, lua_KFunction k)
{
    acl_engine *e = acl_self(L);

    if (to == e->current || !acl_can_wait(L, e)) return send_failed(L, ACO_EBUSY, what);
    acl_coro *c = acl_wait_check(L, e, what);
    if (deadline == 0) return send_failed(L, ACO_ETIMEOUT, what);
    aco_wait_begin(&c->task, ACO_WAIT_SEND);
    aco_wait_on(&c->task, aco_mailbox_space(to->task.mailbox));
    return acl_park(L, e, c, deadline, (lua_KContext)deadline, k);
}

/* After a wait for room: ACO_OK when a place in the mailbox is kept for this sender. */
static int
send_woken(lua_State *L)
{
    acl_engine *e = acl_self(L);
    const acl_coro *to = lua_touserdata(L, SEND_SELF);

    acl_wait_end(L, e, e->current);
    int err = e->current->task.wake_err;
    if (err == ACO_OK && to->task.mailbox != NULL) aco_mailbox_redeem(to->task.mailbox);
    return err;
}

/* Put the n values on top, which it pops, into the mailbox; `woken`: after a wait for room. */
static int
put(lua_State *L, acl_coro *to, int n, bool woken)
{
    acl_engine *e = acl_self(L);
    bool late = !woken && to->task.mailbox != NULL && aco_mailbox_awaited(to->task.mailbox);
    int err = late ? ACO_EBUSY : acl_message_put(L, e, to, n); /* late: others were first */

    if (err != ACO_OK) lua_pop(L, n);
    if (woken && to->task.mailbox != NULL) aco_mailbox_redeemed(&e->loop, to->task.mailbox);
    return err;
}

static int
send_result(lua_State *L)
{
    lua_pushboolean(L, 1);
    return 1;
}

static int send_k(lua_State *L, int status, lua_KContext ctx);

static int
send_try(lua_State *L, aco_time deadline, bool woken)
{
    acl_coro *to = lua_touserdata(L, SEND_SELF);

    lua_pushvalue(L, SEND_MESSAGE);
    int err = put(L, to, 1, woken);
    if (err == ACO_OK) return send_result(L);
    if (err == ACO_EBUSY) return send_wait(L, to, deadline, "send", send_k);
    return send_failed(L, err, "send");
}

static int
send_k(lua_State *L, int status, lua_KContext ctx)
{
    int err = send_woken(L);

    (void)status;
    return err == ACO_OK ? send_try(L, ctx, true) : send_failed(L, err, "send");
}

/* The `timeout` of send's options. */
static aco_time
send_deadline(lua_State *L)
{
    if (lua_gettop(L) < SEND_ARGS || lua_type(L, SEND_ARGS) != LUA_TTABLE)
        return acl_opt_deadline(L, SEND_ARGS);
    lua_getfield(L, SEND_ARGS, "timeout");
    lua_replace(L, SEND_ARGS);
    return acl_opt_deadline(L, SEND_ARGS);
}

/* A message that is not handed over at once, or wrong arguments. */
static ACO_APART int
send_message(lua_State *L)
{
    luaL_checkany(L, SEND_MESSAGE);
    aco_time deadline = send_deadline(L);
    lua_settop(L, SEND_MESSAGE);
    return send_try(L, deadline, false);
}

static ACO_APART int
send_queued(lua_State *L, acl_engine *e, acl_coro *to)
{
    return acl_message_queue(L, e, to, SEND_MESSAGE) ? send_result(L) : send_message(L);
}

static inline int
send(lua_State *L, acl_engine *e)
{
    acl_coro *to = acl_coro_check(L, SEND_SELF);

    if (ACO_UNLIKELY(lua_gettop(L) != SEND_MESSAGE)) return send_message(L);
    if (!acl_message_awaited(to)) return send_queued(L, e, to);
    acl_message_hand(L, e, to, 1);
    return send_result(L);
}

/*** Send a message to a coro. Messages of one sender to one receiver arrive in order. A coro of
this engine gets the value itself, so that both sides see later changes to a table; any other gets a
copy. Waits only while the receiver's mailbox is full. Where this code cannot wait, and to one's own
full mailbox, it gives "busy" instead.
@function coro:send
@param message any value; nil and false too
@tparam[opt] table|number options `timeout`: how many seconds to wait for room at most; nil for ever
@treturn boolean true
@treturn[2] nil
@treturn[2] string message
@treturn[2] string "notfound" when the coro has ended, "timeout", "busy", or "unsendable" (see the
page on values) */
static int
coro_send(lua_State *L)
{
    return send(L, acl_self(L));
}

static int
coro_send_own(lua_State *L)
{
    return send(L, acl_own(L));
}

static int deliver_k(lua_State *L, int status, lua_KContext ctx);

static int
deliver_try(lua_State *L, aco_time deadline, bool woken)
{
    acl_coro *to = lua_touserdata(L, SEND_SELF);

    lua_pushvalue(L, SEND_MESSAGE);
    int err = put(L, to, 1, woken);
    if (err == ACO_EBUSY) return send_wait(L, to, deadline, "deliver", deliver_k);
    if (err != ACO_OK) return send_failed(L, err, "deliver");
    lua_pushinteger(L, 1);
    return 1;
}

static int
deliver_k(lua_State *L, int status, lua_KContext ctx)
{
    int err = send_woken(L);

    (void)status;
    return err == ACO_OK ? deliver_try(L, ctx, true) : send_failed(L, err, "deliver");
}

/*** Send a message and wait until it is in the receiver's mailbox (which does not mean that it was
received). Waits.
@function coro:deliver
@param message any value
@tparam[opt] number timeout seconds; nil waits for ever
@treturn integer 1
@treturn[2] nil
@treturn[2] string message
@treturn[2] string "notfound", "timeout", "busy" or "unsendable" */
static int
coro_deliver(lua_State *L)
{
    acl_coro_check(L, SEND_SELF);
    luaL_checkany(L, SEND_MESSAGE);
    aco_time deadline = acl_opt_deadline(L, SEND_ARGS);
    lua_settop(L, SEND_MESSAGE);
    return deliver_try(L, deadline, false);
}

/* reply(value): upvalues after the common ones: the caller's handle, the number of its wait. */
enum { REPLY_CALLER = ACL_UPVALUES + 1, REPLY_SERIAL };

static int
reply(lua_State *L)
{
    acl_engine *e = acl_self(L);
    acl_coro *c = lua_touserdata(L, lua_upvalueindex(REPLY_CALLER));
    lua_Integer serial = lua_tointeger(L, lua_upvalueindex(REPLY_SERIAL));

    lua_settop(L, 1);
    if (c->task.state != ACO_PARKED || c->wait_serial != (uint32_t)serial)
        return acl_fail(L, ACO_ENOTFOUND, "reply: the caller does not wait for it any more");
    lua_xmove(L, c->waiter, 1);
    aco_task_wake(&e->loop, &c->task, ACO_OK, 0);
    c->nvals = 1;
    lua_pushboolean(L, 1);
    return 1;
}

static void
reply_push(lua_State *L, acl_engine *e, acl_coro *c)
{
    lua_pushvalue(L, lua_upvalueindex(ACL_UP_ENGINE));
    lua_pushvalue(L, lua_upvalueindex(ACL_UP_META));
    lua_pushvalue(L, lua_upvalueindex(ACL_UP_VALUES));
    acl_coro_push(L, e, c);
    lua_pushinteger(L, c->wait_serial + 1); /* of the wait that follows at once */
    lua_pushcclosure(L, reply, REPLY_SERIAL);
}

static int
call_answered_k(lua_State *L, int status, lua_KContext ctx)
{
    acl_engine *e = acl_self(L);
    acl_coro *c = e->current;

    (void)status;
    (void)ctx;
    acl_wait_end(L, e, c);
    if (c->nvals == 1) return 1;
    acl_coro_name(L, SEND_SELF);
    const char *name = lua_tostring(L, -1);
    if (c->task.wake_err == ACO_ETIMEOUT)
        return acl_fail(L, ACO_ETIMEOUT, "call: coro %s did not reply in time", name);
    return acl_fail(L, ACO_ENOTFOUND, "call: coro %s ended without a reply", name);
}

static int call_k(lua_State *L, int status, lua_KContext ctx);

static int
call_try(lua_State *L, aco_time deadline, bool woken)
{
    acl_engine *e = acl_self(L);
    acl_coro *to = lua_touserdata(L, SEND_SELF);
    acl_coro *c = woken ? e->current : acl_wait_check(L, e, "call");

    if (c == to)
        return luaL_error(L, "call: a coro cannot call itself: it would wait for its own reply");
    lua_pushvalue(L, SEND_MESSAGE);
    reply_push(L, e, c);
    int err = put(L, to, 2, woken);
    if (err == ACO_EBUSY) return send_wait(L, to, deadline, "call", call_k);
    if (err != ACO_OK) return send_failed(L, err, "call");
    if (deadline == 0) deadline = aco_now();
    aco_wait_begin(&c->task, ACO_WAIT_CALL);
    aco_wait_on(&c->task, &to->task.enders);
    return acl_park(L, e, c, deadline, 0, call_answered_k);
}

static int
call_k(lua_State *L, int status, lua_KContext ctx)
{
    int err = send_woken(L);

    (void)status;
    return err == ACO_OK ? call_try(L, ctx, true) : send_failed(L, err, "call");
}

/*** Send a message and wait for the reply: the receiver gets it from `receive` together with a
function, and answers by calling that function. Waits.
@function coro:call
@param message any value
@tparam[opt] number timeout seconds for all of it; nil waits for ever
@return the value given to the reply function
@treturn[2] nil
@treturn[2] string message
@treturn[2] string "timeout", "notfound" when the coro has ended or ends before it replies, or
"unsendable"
@raise when a coro calls itself, or outside a coro */
static int
coro_call(lua_State *L)
{
    acl_coro_check(L, SEND_SELF);
    luaL_checkany(L, SEND_MESSAGE);
    aco_time deadline = acl_opt_deadline(L, SEND_ARGS);
    lua_settop(L, SEND_MESSAGE);
    return call_try(L, deadline, false);
}

/*** End the `suspend` of a coro. A resume that comes when the coro is not in `suspend` has no
effect and is not remembered. Does not wait.
@function coro:resume
@param[opt] value what `suspend` returns
@treturn boolean true, or false when the coro was not suspended */
static int
coro_resume(lua_State *L)
{
    acl_engine *e = acl_self(L);
    acl_coro *c = acl_coro_check(L, 1);

    if (!(c->task.flags & ACO_TASK_RESUME)) {
        lua_pushboolean(L, 0);
        return 1;
    }
    lua_settop(L, 2);
    lua_xmove(L, c->waiter, 1);
    aco_task_wake(&e->loop, &c->task, ACO_OK, 0);
    c->nvals = 1;
    lua_pushboolean(L, 1);
    return 1;
}

void
acl_open_send(lua_State *L, acl_engine *e)
{
    const luaL_Reg methods[] = {{"send", e->own ? coro_send_own : coro_send},
                                {"deliver", coro_deliver},
                                {"call", coro_call},
                                {"resume", coro_resume},
                                {NULL, NULL}};

    acl_setmethods(L, e, methods);
}
