/* SPDX-License-Identifier: MIT */
/* publish.c -- send and deliver of channels: a message is given to every subscriber, to those of
 * this engine as it is, to others encoded; first to those that have room, then to the rest as they
 * get some.
 *
 * A publication is what there is to know of one such message on its way. Its parts come one after
 * the other: wait for n subscribers, give it to all, wait for those that have no room, wait for
 * those of other processes to say how many they have reached. */
#include "bindings/call.h"
#include "bindings/channel.h"
#include "bindings/codec.h"
#include "bindings/reach.h"
#include "bindings/remote.h"

#include "core/base/clock.h"

#include <stdlib.h>
#include <string.h>

#define PUBLICATION_NAME "asyncoro.publication"

/* In the registry: one that is not in use. */
static const char spare_key = 0;

/* A message, as it was or as a transform has made it. */
struct wave {
    aco_msg *msg; /* owned; NULL until another engine needs it */
    int err;      /* it cannot be encoded */
};

/* Somebody who is to get a wave: a subscriber of a roster; or, without one, the home of the channel
 * itself. */
typedef struct target {
    aco_roster *roster;
    aco_member *member;
    unsigned wave, hops;
} target;

typedef struct publication {
    aco_channel *channel; /* of the handle at PUB_SELF */
    bool deliver;
    bool place;          /* the mailbox has a place for this message */
    bool expired;        /* the deadline is over */
    uint32_t n;          /* how many subscribers are waited for */
    aco_time deadline;   /* 0: do not wait */
    aco_ticket *ticket;  /* owned; of a deliver, when others are asked */
    size_t count;        /* coros reached */
    int failure;         /* the last one */
    aco_waitq *parked;   /* the wait is for room in this mailbox */
    aco_mailbox *awaits; /* the wait is for room in this mailbox of another engine */
    aco_roster **rosters;
    struct wave *waves;
    target *late;
    size_t roster_count, rosters_most, wave_count, waves_most, late_count, late_most, late_at;
} publication;

enum { PUB_SELF = 1, PUB_MESSAGE, PUB_THIS, PUB_TIMEOUT = PUB_THIS, PUB_N };

static int publish_k(lua_State *L, int status, lua_KContext step);

/* Making and unmaking -------------------------------------------------------------------------- */

static void
publication_clear(publication *p)
{
    for (size_t i = 0; i < p->wave_count; i++)
        aco_msg_unref(p->waves[i].msg);
    while (p->roster_count > 0) /* those of subscribed channels first */
        aco_roster_drop(p->rosters[--p->roster_count]);
    aco_ticket_drop(p->ticket);
    p->ticket = NULL;
    p->wave_count = p->late_count = p->late_at = 0;
}

static int
publication_gc(lua_State *L)
{
    publication *p = lua_touserdata(L, 1);

    publication_clear(p);
    free(p->rosters);
    free(p->waves);
    free(p->late);
    memset(p, 0, sizeof *p);
    return 0;
}

/* Push one: the spare one, or a new one. */
static publication *
publication_push(lua_State *L)
{
    publication *p;

    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &spare_key) == LUA_TUSERDATA) {
        lua_pushnil(L);
        lua_rawsetp(L, LUA_REGISTRYINDEX, &spare_key);
        return lua_touserdata(L, -1);
    }
    lua_pop(L, 1);
    p = lua_newuserdatauv(L, sizeof *p, 1);
    memset(p, 0, sizeof *p);
    luaL_setmetatable(L, PUBLICATION_NAME);
    return p;
}

/* It is over: keep it for the next one. */
static void
publication_end(lua_State *L, publication *p)
{
    if (p->wave_count > 1) {
        lua_pushnil(L);
        lua_setiuservalue(L, PUB_THIS, 1);
    }
    publication_clear(p);
    if (p->late_most > 1024 || p->rosters_most > 64) return;
    lua_pushvalue(L, PUB_THIS);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &spare_key);
}

/* Room for one more element of a list. */
static void *
more(lua_State *L, void *list, size_t count, size_t *most, size_t size)
{
    if (count < *most) return list;
    size_t wanted = *most > 0 ? 2 * *most : 8;
    void *grown = realloc(list, wanted * size);
    if (grown == NULL) luaL_error(L, "not enough memory");
    *most = wanted;
    return grown;
}

/* Waves ---------------------------------------------------------------------------------------- */

/* A new wave. The first one is the message at PUB_MESSAGE; the value of any other is on top, and
 * goes. */
static unsigned
wave_add(lua_State *L, publication *p)
{
    unsigned index = (unsigned)p->wave_count;

    p->waves = more(L, p->waves, p->wave_count, &p->waves_most, sizeof *p->waves);
    if (index > 0) {
        if (lua_getiuservalue(L, PUB_THIS, 1) != LUA_TTABLE) {
            lua_pop(L, 1);
            lua_newtable(L);
            lua_pushvalue(L, -1);
            lua_setiuservalue(L, PUB_THIS, 1);
        }
        lua_insert(L, -2);
        lua_rawseti(L, -2, index);
        lua_pop(L, 1);
    }
    p->waves[p->wave_count++] = (struct wave){.msg = NULL};
    return index;
}

static void
wave_push(lua_State *L, unsigned index)
{
    if (index == 0) {
        lua_pushvalue(L, PUB_MESSAGE);
        return;
    }
    lua_getiuservalue(L, PUB_THIS, 1);
    lua_rawgeti(L, -1, index);
    lua_remove(L, -2);
}

/* The message of a wave, encoded; NULL: it cannot be. */
static aco_msg *
wave_msg(lua_State *L, publication *p, unsigned index, int *err)
{
    aco_msg *msg;
    int top = lua_gettop(L);

    *err = p->waves[index].err;
    if (p->waves[index].msg != NULL || *err != ACO_OK) return p->waves[index].msg;
    wave_push(L, index);
    *err = acl_encode(L, lua_gettop(L), &msg);
    lua_settop(L, top);
    p->waves[index].err = *err;
    if (*err == ACO_OK) p->waves[index].msg = msg;
    return *err == ACO_OK ? msg : NULL;
}

/* Giving it to one ----------------------------------------------------------------------------- */

static void fan_out(lua_State *L, publication *p, aco_channel *channel, unsigned wave,
                    unsigned hops);

/* To a coro of this engine: the value itself. */
static int
give_here(lua_State *L, publication *p, const target *t)
{
    acl_engine *e = acl_self(L);
    aco_mailbox *mailbox = t->member->mailbox;
    acl_coro *c = (acl_coro *)aco_mailbox_task(mailbox);
    bool place = p->place;

    p->place = false;
    if (c == NULL) return ACO_ENOTFOUND;
    if (!place && aco_mailbox_awaited(mailbox)) return ACO_EBUSY; /* others were first */
    wave_push(L, t->wave);
    int err = acl_message_put(L, e, c, 1);
    if (err != ACO_OK) lua_pop(L, 1);
    if (place) aco_mailbox_redeemed(&e->loop, mailbox);
    return err;
}

/* To a coro of another engine. */
static int
give_away(lua_State *L, publication *p, const target *t, const aco_return *who)
{
    int err;
    aco_msg *msg = wave_msg(L, p, t->wave, &err);

    if (msg == NULL) return err;
    aco_parcel *parcel = aco_parcel_new(msg, NULL);
    if (parcel == NULL) return ACO_ENOMEM;
    err = aco_mailbox_post(t->member->mailbox, parcel, who);
    if (err != ACO_OK) aco_parcel_free(parcel);
    p->awaits = err == ACO_EBUSY ? t->member->mailbox : NULL;
    return err == ACO_ECLOSED ? ACO_ENOTFOUND : err;
}

/* The ticket by which others say how many they have reached. */
static int
ticket_need(acl_engine *e, publication *p)
{
    if (p->deliver && p->ticket == NULL) p->ticket = aco_ticket_new(e->reach->process);
    return p->deliver && p->ticket == NULL ? ACO_ENOMEM : ACO_OK;
}

/* To another process, or to the home of a channel. */
static int
give_others(lua_State *L, publication *p, const target *t, aco_channel *channel,
            const aco_return *who)
{
    int err;
    aco_msg *msg = wave_msg(L, p, t->wave, &err);

    if (msg == NULL) return err;
    err = ticket_need(acl_self(L), p);
    if (err != ACO_OK) return err;
    if (channel == NULL) return aco_roster_cast(t->roster, t->member, msg, p->ticket, t->hops, who);
    uint32_t n = t->roster == NULL ? p->n : 0;
    return aco_channel_put(channel, msg, p->ticket, n, t->hops, who);
}

/* Transform a wave for a channel of this engine: the new one, in *wave; false when it is dropped.
 */
static bool
transform(lua_State *L, publication *p, aco_channel *channel, unsigned *wave)
{
    int top = lua_gettop(L);

    luaL_checkstack(L, 10, NULL);
    wave_push(L, *wave);
    bool transforms = acl_channel_push_transform(L, channel), passed = true;
    if (transforms) passed = acl_channel_transform(L, channel, top + 1);
    if (transforms && passed) *wave = wave_add(L, p);
    lua_settop(L, top);
    return passed;
}

/* To a subscribed channel. */
static int
give_channel(lua_State *L, publication *p, const target *t, const aco_return *who)
{
    aco_channel *channel = t->member->channel;
    unsigned wave = t->wave;

    if (t->hops > ACO_CHANNEL_HOPS) return ACO_EINVALID;
    switch (aco_channel_way(channel, acl_self(L)->reach->number)) {
    case ACO_WAY_CLOSED:
        return ACO_OK;
    case ACO_WAY_PUT:
        return give_others(L, p, t, channel, who);
    case ACO_WAY_TRANSFORM:
        if (!transform(L, p, channel, &wave)) return ACO_OK;
        break;
    case ACO_WAY_HERE:
        break;
    }
    fan_out(L, p, channel, wave, t->hops);
    return ACO_OK;
}

/* ACO_OK; ACO_EBUSY: no room, and `who` will hear of it; another failure. */
static int
give(lua_State *L, publication *p, const target *t, const aco_return *who)
{
    const aco_member *m = t->member;
    int err;

    p->awaits = NULL;
    if (t->roster == NULL) return give_others(L, p, t, p->channel, who);
    if (atomic_load_explicit(&m->gone, memory_order_relaxed)) return ACO_OK;
    switch (m->kind) {
    case ACO_MEMBER_CORO:
        err =
            m->engine == acl_self(L)->reach->number ? give_here(L, p, t) : give_away(L, p, t, who);
        if (err == ACO_OK) p->count++;
        break;
    case ACO_MEMBER_CHANNEL:
        return give_channel(L, p, t, who);
    default:
        err = give_others(L, p, t, NULL, who);
    }
    if (err != ACO_ENOTFOUND) return err;
    aco_roster_ended(t->roster, t->member);
    return ACO_OK;
}

static void
failed(lua_State *L, publication *p, int err)
{
    if (err == ACO_ENOMEM) luaL_error(L, "not enough memory");
    if (err != ACO_OK) p->failure = err;
}

/* It has no room: later. */
static void
late_add(lua_State *L, publication *p, const target *t)
{
    p->late = more(L, p->late, p->late_count, &p->late_most, sizeof *p->late);
    p->late[p->late_count++] = *t;
}

static void
fan_out(lua_State *L, publication *p, aco_channel *channel, unsigned wave, unsigned hops)
{
    int err;

    luaL_checkstack(L, 10, NULL);
    p->rosters = more(L, p->rosters, p->roster_count, &p->rosters_most, sizeof *p->rosters);
    aco_roster *roster = aco_channel_roster(channel, &err);
    if (err == ACO_ENOMEM) failed(L, p, err);
    if (roster == NULL) return;
    p->rosters[p->roster_count++] = roster;
    for (size_t i = 0; i < roster->count; i++) {
        target t = {.roster = roster, .member = roster->members[i], .wave = wave, .hops = hops};
        if (t.member->kind == ACO_MEMBER_CHANNEL) t.hops++;
        err = give(L, p, &t, NULL);
        if (err == ACO_EBUSY)
            late_add(L, p, &t);
        else
            failed(L, p, err);
    }
}

/* Results -------------------------------------------------------------------------------------- */

static int
result(lua_State *L, publication *p)
{
    const char *name = aco_channel_name(p->channel);
    size_t count = p->count;
    int failure = p->failure, n = 1;

    if (p->deliver) {
        lua_pushinteger(L, (lua_Integer)count);
        if (failure != ACO_OK || count < p->n) {
            lua_pushfstring(L, "deliver: channel %s: a subscriber was not reached", name);
            lua_pushstring(L, aco_err_word(failure != ACO_OK ? failure : ACO_ETIMEOUT));
            n = 3;
        }
    } else if (failure != ACO_OK) {
        n = acl_fail(L, failure, "send: channel %s: a subscriber was not reached: %s", name,
                     aco_err_word(failure));
    } else {
        lua_pushboolean(L, 1);
    }
    publication_end(L, p);
    return n;
}

static int
result_closed(lua_State *L, publication *p)
{
    int n = acl_fail(L, ACO_ECLOSED, "%s: channel %s is closed", p->deliver ? "deliver" : "send",
                     aco_channel_name(p->channel));

    publication_end(L, p);
    return n;
}

/* The message was dropped by the transform. */
static int
result_dropped(lua_State *L, publication *p)
{
    if (p->deliver)
        lua_pushinteger(L, 0);
    else
        lua_pushboolean(L, 1);
    publication_end(L, p);
    return 1;
}

/* Waiting -------------------------------------------------------------------------------------- */

enum step { STEP_AWAIT, STEP_LATE, STEP_TICKET };

/* Park the running coro, whose wait somebody knows, or that is to wait for room in p->parked. */
static int
park(lua_State *L, publication *p, enum step step)
{
    acl_engine *e = acl_self(L);
    acl_coro *c = acl_wait_check(L, e, p->deliver ? "deliver" : "send");

    lua_settop(L, PUB_THIS);
    aco_wait_begin(&c->task, ACO_WAIT_CHANNEL);
    if (p->parked != NULL)
        aco_wait_on(&c->task, p->parked);
    else
        e->reach->waits++;
    return acl_park(L, e, c, p->deadline, step, publish_k);
}

/* Those of other processes: how many have they reached? */
static int
ticket_step(lua_State *L, publication *p)
{
    acl_engine *e = acl_self(L);
    bool waits = p->ticket != NULL && acl_can_wait(L, e) && p->deadline != 0 && !p->expired;
    aco_return here = {.inbox = NULL};
    size_t count = 0;
    int failure = ACO_OK, err = ACO_OK;

    if (waits) here = acl_return_here(e, e->current);
    if (p->ticket != NULL) err = aco_ticket_look(p->ticket, &count, &failure, waits ? &here : NULL);
    if (err == ACO_PENDING && waits) return park(L, p, STEP_TICKET);
    p->count += count;
    if (failure != ACO_OK) p->failure = failure;
    if (err == ACO_PENDING) p->failure = acl_can_wait(L, e) ? ACO_ETIMEOUT : ACO_EBUSY;
    if (p->failure == ACO_ECLOSED && p->count == 0) return result_closed(L, p);
    return result(L, p);
}

/* Is this a coro of this engine, whose senders wait in its mailbox's own queue? */
static bool
is_here(const acl_engine *e, const target *t)
{
    return t->roster != NULL && t->member->kind == ACO_MEMBER_CORO &&
           t->member->engine == e->reach->number;
}

/* Those that had no room, one after the other. */
static int
late_step(lua_State *L, publication *p)
{
    acl_engine *e = acl_self(L);
    bool can_wait = acl_can_wait(L, e), waits = can_wait && p->deadline != 0 && !p->expired;
    aco_return here = {.inbox = NULL};

    if (waits) here = acl_return_here(e, e->current);
    for (; p->late_at < p->late_count; p->late_at++) {
        target t = p->late[p->late_at]; /* the list may move */
        int err = give(L, p, &t, waits && !is_here(e, &t) ? &here : NULL);
        p->parked = NULL;
        if (err == ACO_ECLOSED && t.roster == NULL) return result_closed(L, p);
        bool here_full = err == ACO_EBUSY && is_here(e, &t), self = false;
        if (here_full) self = aco_mailbox_task(t.member->mailbox) == (aco_task *)e->current;
        if (here_full && !self) p->parked = aco_mailbox_space(t.member->mailbox);
        if (self) {
            p->failure = ACO_EBUSY; /* it would wait for itself */
            continue;
        }
        if (err == ACO_EBUSY && waits) return park(L, p, STEP_LATE);
        if (err == ACO_EBUSY) err = can_wait ? ACO_ETIMEOUT : ACO_EBUSY;
        failed(L, p, err);
    }
    return ticket_step(L, p);
}

/* Wait for n subscribers, then give it to all. */
static int
await_step(lua_State *L, publication *p)
{
    acl_engine *e = acl_self(L);
    bool waits = p->deadline != 0 && !p->expired;
    aco_return here = {.inbox = NULL};
    size_t count;

    if (p->deliver && p->n > 0) {
        if (waits && acl_can_wait(L, e)) here = acl_return_here(e, e->current);
        int err = aco_channel_await(p->channel, p->n, here.inbox != NULL ? &here : NULL, &count);
        p->parked = NULL;
        if (err == ACO_PENDING && waits) return park(L, p, STEP_AWAIT);
        if (err == ACO_ECLOSED) return result_closed(L, p);
        if (err == ACO_PENDING) {
            lua_pushinteger(L, 0);
            lua_pushfstring(L, "deliver: channel %s has %d of %d subscribers",
                            aco_channel_name(p->channel), (int)count, (int)p->n);
            lua_pushstring(L, aco_err_word(ACO_ETIMEOUT));
            publication_end(L, p);
            return 3;
        }
        failed(L, p, err);
    }
    fan_out(L, p, p->channel, (unsigned)p->wave_count - 1, 0);
    return late_step(L, p);
}

/* What was waited for has come, or the time is over, or the coro is cancelled. */
static int
publish_k(lua_State *L, int status, lua_KContext step)
{
    acl_engine *e = acl_self(L);
    publication *p = lua_touserdata(L, PUB_THIS);
    int err = e->current->task.wake_err;

    (void)status;
    if (p->parked == NULL) e->reach->waits--;
    if (err != ACO_OK && p->parked == NULL) {
        aco_return here = acl_return_here(e, e->current);
        here.token--; /* of the wait that is over */
        if (p->awaits != NULL) aco_mailbox_forget(p->awaits, &here);
        aco_channel_forget(p->channel, &here);
        for (size_t i = 0; i < p->roster_count; i++)
            aco_channel_forget(p->rosters[i]->channel, &here);
    }
    acl_wait_end(L, e, e->current);
    if (err == ACO_ETIMEOUT) p->expired = true;
    if (err == ACO_OK && p->parked != NULL) {
        aco_mailbox *mailbox = p->late[p->late_at].member->mailbox;
        aco_mailbox_redeem(mailbox);
        p->place = true;
    }
    p->parked = NULL;
    if (step == STEP_AWAIT) return await_step(L, p);
    return step == STEP_LATE ? late_step(L, p) : ticket_step(L, p);
}

/* The two -------------------------------------------------------------------------------------- */

static int
publish(lua_State *L, aco_time deadline, bool deliver, uint32_t n)
{
    acl_engine *e = acl_self(L);
    aco_channel *channel = acl_channel_check(L, PUB_SELF)->channel;
    unsigned first = 0;

    if (e->reach == NULL) return luaL_error(L, "the engine of this Lua state has been closed");
    lua_settop(L, PUB_MESSAGE);
    publication *p = publication_push(L);
    p->channel = channel;
    p->deliver = deliver;
    p->place = p->expired = false;
    p->n = n;
    p->deadline = deadline;
    p->count = 0;
    p->failure = ACO_OK;
    p->parked = NULL;
    p->awaits = NULL;
    wave_add(L, p);
    switch (aco_channel_way(channel, e->reach->number)) {
    case ACO_WAY_CLOSED:
        return result_closed(L, p);
    case ACO_WAY_PUT: {
        target home = {.roster = NULL};
        late_add(L, p, &home);
        return late_step(L, p);
    }
    case ACO_WAY_TRANSFORM:
        if (!transform(L, p, channel, &first)) return result_dropped(L, p);
        break;
    case ACO_WAY_HERE:
        break;
    }
    return await_step(L, p);
}

/*** Send a message to the subscribers of this moment. Those of this engine get the value itself,
all others a copy. Waits only while a subscriber's mailbox, or the way to another process, is full;
the others have got it by then. Subscribers that have ended are forgotten.
@function channel:send
@param message any value
@tparam[opt] number timeout seconds to wait for full mailboxes at most; nil for ever
@treturn boolean true, whether anybody is subscribed or not
@treturn[2] nil
@treturn[2] string message
@treturn[2] string "closed"; and, all others having got it: "timeout" and "busy" (a full mailbox),
"unsendable" (to another engine) */
int
acl_channel_send(lua_State *L)
{
    acl_channel_check(L, PUB_SELF);
    if (lua_gettop(L) < PUB_MESSAGE) lua_settop(L, PUB_MESSAGE);
    aco_time deadline = acl_opt_deadline(L, PUB_TIMEOUT);
    return publish(L, deadline, false, 0);
}

/*** Send a message and count the coros it reached, those behind subscribed channels and in other
processes included. Waits.
@function channel:deliver
@param message any value
@tparam[opt] number timeout seconds; nil waits for ever
@tparam[opt=0] integer n wait first until there are so many subscribers
@treturn integer how many coros have it in their mailboxes
@treturn ?string when n or some subscribers were not reached: message
@treturn ?string and "timeout", "busy", "unsendable" or "peerdown"
@treturn[2] nil
@treturn[2] string message
@treturn[2] string "closed"
@raise when n is negative or no integer */
int
acl_channel_deliver(lua_State *L)
{
    acl_channel_check(L, PUB_SELF);
    if (lua_gettop(L) < PUB_MESSAGE) lua_settop(L, PUB_MESSAGE);
    aco_time deadline = acl_opt_deadline(L, PUB_TIMEOUT);
    lua_Integer n = 0;
    if (!lua_isnoneornil(L, PUB_N)) {
        int whole = 0;
        if (lua_type(L, PUB_N) == LUA_TNUMBER) n = lua_tointegerx(L, PUB_N, &whole);
        if (!whole || !lua_isinteger(L, PUB_N) || n < 0 || n > INT32_MAX)
            return luaL_error(L, "deliver: n must be an integer of 0 or more");
    }
    return publish(L, deadline, true, (uint32_t)n);
}

void
acl_open_publish(lua_State *L)
{
    luaL_newmetatable(L, PUBLICATION_NAME);
    lua_pushcfunction(L, publication_gc);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 1);
}
