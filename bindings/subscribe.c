/* SPDX-License-Identifier: MIT */
/* subscribe.c -- who is subscribed to channels: coros and channels of this engine, of others, and
 * of other processes, whose answers are waited for. */
#include "bindings/channel.h"
#include "bindings/engine.h"
#include "bindings/reach.h"
#include "bindings/remote.h"

#define TICKET_NAME "asyncoro.ticket"

/* Waiting for answers -------------------------------------------------------------------------- */

static int
ticket_gc(lua_State *L)
{
    aco_ticket **box = lua_touserdata(L, 1);
    aco_ticket *ticket = *box;

    *box = NULL;
    aco_ticket_drop(ticket);
    return 0;
}

static aco_ticket *
ticket_box(lua_State *L, acl_engine *e)
{
    aco_ticket **box = lua_newuserdatauv(L, sizeof *box, 0);

    *box = NULL;
    luaL_setmetatable(L, TICKET_NAME);
    *box = aco_ticket_new(e->reach->process);
    if (*box == NULL) luaL_error(L, "not enough memory");
    return *box;
}

/* Subscriptions -------------------------------------------------------------------------------- */

enum { SUB_SELF = 1, SUB_MEMBER, SUB_TIMEOUT, SUB_TICKET = SUB_TIMEOUT };
enum { SUB_JOIN = 1, SUB_PART = 0 };

static const char *const sub_words[] = {"unsubscribe", "subscribe"};

/* The subscriber at SUB_MEMBER: the running coro when it is left out. */
static void
member_check(lua_State *L, acl_engine *e, const char *what)
{
    if (lua_isnoneornil(L, SUB_MEMBER)) {
        if (e->current == NULL) luaL_error(L, "%s: only a coro can subscribe itself", what);
        lua_settop(L, SUB_TIMEOUT);
        acl_coro_push(L, e, e->current);
        lua_replace(L, SUB_MEMBER);
    }
    if (acl_coro_test(L, SUB_MEMBER) == NULL && acl_remote_test(L, SUB_MEMBER) == NULL &&
        acl_channel_test(L, SUB_MEMBER) == NULL)
        luaL_error(L, "%s: a coro or a channel expected, got a %s", what,
                   luaL_typename(L, SUB_MEMBER));
}

static int
join_local(lua_State *L, acl_engine *e, aco_channel *channel, acl_coro *c, aco_ticket *ticket)
{
    if (c->flags & ACL_ENDED) return ACO_OK;
    aco_mailbox *mailbox = acl_mailbox(L, c, 0);
    aco_mailbox_share(mailbox, e->loop.inbox);
    if (!acl_channel_is_home(e, channel)) e->reach->away = true;
    return aco_channel_join_coro(channel, mailbox, e->reach->number, ticket);
}

/* Subscribe (or the contrary) what is at SUB_MEMBER. */
static int
sub_do(lua_State *L, acl_engine *e, aco_channel *channel, bool join, aco_ticket *ticket)
{
    acl_coro *c = acl_coro_test(L, SUB_MEMBER);
    acl_channel *sub = acl_channel_test(L, SUB_MEMBER);
    aco_identity identity;
    char route[ACO_ROUTE_MAX + 1];

    if (c != NULL && join) return join_local(L, e, channel, c, ticket);
    if (c != NULL)
        return c->task.mailbox != NULL ? aco_channel_part(channel, c->task.mailbox) : ACO_ENOTFOUND;
    if (sub != NULL && aco_channel_is_far(sub->channel)) {
        aco_channel_identity(sub->channel, &identity);
        aco_channel_route(sub->channel, route);
        return aco_channel_ask(channel, join, ACO_KIND_CHANNEL, &identity, route, ticket);
    }
    if (sub != NULL && !join) return aco_channel_part(channel, sub->channel);
    if (sub != NULL && acl_channel_is_home(e, sub->channel) && !acl_channel_is_home(e, channel))
        acl_channel_anchor(L, e, SUB_MEMBER);
    if (sub != NULL) return aco_channel_join_channel(channel, sub->channel, ticket);
    aco_export *x = acl_remote_test(L, SUB_MEMBER)->x;
    if (x != NULL && x->far) {
        aco_export_identity(x, &identity);
        return aco_channel_ask(channel, join, ACO_KIND_CORO, &identity, x->route, ticket);
    }
    if (x == NULL || x->mailbox == NULL) return join ? ACO_OK : ACO_ENOTFOUND;
    if (!join) return aco_channel_part(channel, x->mailbox);
    return aco_channel_join_coro(channel, x->mailbox, x->engine, ticket);
}

/* Is there an answer of another process to wait for? */
static bool
sub_asks(lua_State *L, const aco_channel *channel, bool join)
{
    const acl_channel *sub = acl_channel_test(L, SUB_MEMBER);
    const acl_remote *r = acl_remote_test(L, SUB_MEMBER);

    if (sub != NULL && aco_channel_is_far(sub->channel)) return true;
    if (r != NULL && r->x != NULL && r->x->far) return true;
    return join && aco_channel_is_far(channel);
}

/* A channel keeps those of its engine that are subscribed to it. */
static void
keep(lua_State *L, const acl_engine *e, bool join)
{
    const acl_channel *h = lua_touserdata(L, SUB_SELF), *sub = acl_channel_test(L, SUB_MEMBER);

    if (sub == NULL || !acl_channel_is_home(e, h->channel) || !acl_channel_is_home(e, sub->channel))
        return;
    if (lua_getiuservalue(L, SUB_SELF, ACL_CHANNEL_KEPT) != LUA_TTABLE) {
        lua_newtable(L);
        lua_pushvalue(L, -1);
        lua_setiuservalue(L, SUB_SELF, ACL_CHANNEL_KEPT);
    }
    lua_pushvalue(L, SUB_MEMBER);
    if (join)
        lua_pushboolean(L, 1);
    else
        lua_pushnil(L);
    lua_rawset(L, -3);
}

static int
sub_result(lua_State *L, acl_engine *e, int err, bool join)
{
    const aco_channel *channel = acl_channel_check(L, SUB_SELF)->channel;
    const char *name = aco_channel_name(channel), *what = sub_words[join];

    if (err == ACO_OK) {
        keep(L, e, join);
        lua_pushboolean(L, 1);
        return 1;
    }
    if (err == ACO_EINVALID)
        return acl_fail(L, err, "%s: channel %s would get its own messages back from %s", what,
                        name, luaL_tolstring(L, SUB_MEMBER, NULL));
    if (err == ACO_ENOTFOUND)
        return acl_fail(L, err, "%s: %s is not subscribed to channel %s", what,
                        luaL_tolstring(L, SUB_MEMBER, NULL), name);
    return acl_channel_failed(L, channel, err, what);
}

static int sub_k(lua_State *L, int status, lua_KContext join);

static int
sub_wait(lua_State *L, acl_engine *e, aco_time deadline, bool join)
{
    aco_return here = acl_return_here(e, e->current);
    aco_ticket *ticket = *(aco_ticket **)lua_touserdata(L, SUB_TICKET);
    size_t count;
    int failure;

    int err = deadline == 0 ? ACO_ETIMEOUT : aco_ticket_look(ticket, &count, &failure, &here);
    if (err == ACO_OK) return sub_result(L, e, failure, join);
    if (err != ACO_PENDING) return sub_result(L, e, err, join);
    aco_wait_begin(&e->current->task, ACO_WAIT_CHANNEL);
    e->reach->waits++;
    return acl_park(L, e, e->current, deadline, join, sub_k);
}

static int
sub_k(lua_State *L, int status, lua_KContext join)
{
    acl_engine *e = acl_self(L);
    size_t count;
    int failure;

    (void)status;
    e->reach->waits--;
    acl_wait_end(L, e, e->current);
    aco_ticket *ticket = *(aco_ticket **)lua_touserdata(L, SUB_TICKET);
    if (aco_ticket_look(ticket, &count, &failure, NULL) == ACO_OK)
        return sub_result(L, e, failure, join);
    if (join) (void)sub_do(L, e, acl_channel_check(L, SUB_SELF)->channel, false, ticket);
    return sub_result(L, e, ACO_ETIMEOUT, join);
}

static int
sub(lua_State *L, bool join)
{
    acl_engine *e = acl_self(L);
    aco_channel *channel = acl_channel_check(L, SUB_SELF)->channel;
    aco_ticket *ticket = NULL;

    member_check(L, e, sub_words[join]);
    aco_time deadline = acl_opt_deadline(L, SUB_TIMEOUT);
    if (e->reach == NULL) return luaL_error(L, "the engine of this Lua state has been closed");
    lua_settop(L, SUB_MEMBER);
    if (sub_asks(L, channel, join)) {
        acl_wait_check(L, e, sub_words[join]);
        if (acl_channel_is_home(e, channel)) acl_channel_anchor(L, e, SUB_SELF);
        ticket = ticket_box(L, e);
    }
    int err = sub_do(L, e, channel, join, ticket);
    return err == ACO_PENDING ? sub_wait(L, e, deadline, join) : sub_result(L, e, err, join);
}

/*** Subscribe a coro, or a channel whose subscribers then get the messages too. Twice is the same
as once. Waits only when the channel, or the subscriber, is of another process.
@function channel:subscribe
@tparam[opt] coro|channel subscriber the running coro when it is left out
@tparam[opt] number timeout seconds; nil waits for ever
@treturn boolean true
@treturn[2] nil
@treturn[2] string message
@treturn[2] string "closed", "invalid" when messages would go in a circle; of another process:
"timeout", "peerdown" */
int
acl_channel_subscribe(lua_State *L)
{
    return sub(L, SUB_JOIN);
}

/*** End a subscription. Waits only when the subscriber is of another process.
@function channel:unsubscribe
@tparam[opt] coro|channel subscriber the running coro when it is left out
@tparam[opt] number timeout seconds; nil waits for ever
@treturn boolean true
@treturn[2] nil
@treturn[2] string message
@treturn[2] string "notfound" when it was not subscribed, "closed"; of another process: "timeout",
"peerdown" */
int
acl_channel_unsubscribe(lua_State *L)
{
    return sub(L, SUB_PART);
}

void
acl_open_subscribe(lua_State *L)
{
    luaL_newmetatable(L, TICKET_NAME);
    lua_pushcfunction(L, ticket_gc);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 1);
}
