/* SPDX-License-Identifier: MIT */
/* channel_frame.c -- channels and other processes: the frames that come from there
 * (docs/protocol_channels.md), and asking another process to subscribe what lives there. */
#include "core/engine/channel.h"
#include "core/engine/channel_state.h"
#include "core/engine/process_state.h"

#include <string.h>

enum { JOIN_FIXED = 2 + CH_TARGET + 16, JOIN_MAX = JOIN_FIXED + 2 + ACO_ROUTE_MAX + ACO_NAME_MAX };

/* A frame, as it came. */
struct arrival {
    struct aco_channels *all;
    channel_peer *peer;
    const uint8_t *target, *id, *body; /* the body behind the head, of `size` bytes */
    size_t size;
    aco_msg *value; /* owned, may be NULL */
};

static int
answer(const struct arrival *a, size_t count, int err)
{
    return aco_chan_answer(a->all, a->peer, a->target, a->id, count, err, false);
}

static bool
asks(const struct arrival *a)
{
    static const uint8_t none[CH_ID] = {0};

    return memcmp(a->id, none, CH_ID) != 0;
}

/* A ticket by which the sender of a frame is answered; NULL: it wants no answer, or, when `*err` is
 * set, gets none. */
static aco_ticket *
ticket_for(const struct arrival *a, int *err)
{
    if (!asks(a)) return NULL;
    if (a->peer->asked_count >= ACO_CHANNEL_ASKED) {
        *err = ACO_EBUSY;
        return NULL;
    }
    aco_ticket *ticket = aco_chan_ticket_new(a->all);
    if (ticket == NULL) {
        *err = ACO_ENOMEM;
        return NULL;
    }
    ticket->asker = a->peer;
    memcpy(ticket->asker_id, a->id, CH_ID);
    memcpy(ticket->asker_target, a->target, CH_TARGET);
    aco_list_append(&a->peer->asked, &ticket->of_asker);
    a->peer->asked_count++;
    ticket->refs++;    /* aco_chan_ticket_settle gives one back, ticket_sent the other */
    ticket->pending++; /* until all is on its way */
    return ticket;
}

/* All is on its way: say so when it takes longer. */
static void
ticket_sent(aco_ticket *ticket)
{
    if (ticket == NULL) return;
    if (ticket->pending > 1 && ticket->asker != NULL && ticket->count > 0)
        (void)aco_chan_answer(ticket->all, ticket->asker, ticket->asker_target, ticket->asker_id,
                              ticket->count, ACO_OK, true);
    aco_chan_ticket_settle(ticket, 0, ACO_OK);
    aco_chan_ticket_unref(ticket);
}

static int
on_subscribe(const struct arrival *a)
{
    const aco_member like = {.kind = ACO_MEMBER_PEER, .key = a->peer};
    aco_channel *channel = aco_chan_find(a->all, a->target);
    const void *key = a->peer;
    member *m;

    if (a->size != 4) return ACO_EPROTOCOL;
    if (channel == NULL) return answer(a, 0, ACO_ENOTFOUND);
    int err = aco_chan_join(channel, &like, a->peer, &m);
    if (err != ACO_OK) return answer(a, 0, err);
    m = aco_map_get(&channel->index, &key, sizeof key);
    size_t count = get_u32(a->body), before = m->count;
    channel->count = channel->count - before + count;
    m->count = count;
    err = answer(a, 0, ACO_OK);
    if (count > before) aco_chan_changed(channel);
    return err;
}

static int
on_unsubscribe(const struct arrival *a)
{
    aco_channel *channel = aco_chan_find(a->all, a->target);
    const void *key = a->peer;

    if (a->size != 0) return ACO_EPROTOCOL;
    member *m = channel != NULL ? aco_map_get(&channel->index, &key, sizeof key) : NULL;
    if (m != NULL) aco_chan_member_remove(m);
    return ACO_OK;
}

/* What a message takes, where it has to wait. */
static size_t
weight(const struct arrival *a)
{
    return aco_msg_size(a->value) + 128;
}

static int
on_publish(const struct arrival *a)
{
    aco_channel *channel = aco_chan_find(a->all, a->target);
    int err = ACO_OK;

    if (a->size != 6 || a->body[5] != 0 || a->value == NULL) return ACO_EPROTOCOL;
    if (channel == NULL && asks(a)) return answer(a, 0, ACO_ENOTFOUND);
    if (channel == NULL) {
        aco_chan_refuse(a->all, a->peer, a->target);
        return ACO_OK;
    }
    aco_ticket *ticket = ticket_for(a, &err);
    if (err != ACO_OK) return answer(a, 0, err);
    channel->refs++;
    aco_chan_accept(channel, a->value, ticket, get_u32(a->body), a->body[4], false);
    ticket_sent(ticket);
    if (channel->clogs > 0 && !aco_chan_hold(channel, a->peer, weight(a))) err = ACO_EPROTOCOL;
    aco_chan_unref(channel);
    return err;
}

static int
on_cast(const struct arrival *a)
{
    aco_channel *channel = aco_chan_replica(a->all, a->peer->id, a->target);
    int err = ACO_OK;

    if (a->size != 2 || a->body[1] != 0 || a->value == NULL) return ACO_EPROTOCOL;
    if (channel == NULL || channel->subscription == SUBSCRIBED_NOT) return answer(a, 0, ACO_OK);
    aco_ticket *ticket = ticket_for(a, &err);
    if (err != ACO_OK) return answer(a, 0, err);
    channel->refs++;
    if (a->body[0] > ACO_CHANNEL_HOPS) {
        if (ticket != NULL) ticket->failure = ACO_EINVALID;
    } else {
        aco_chan_fan_out(channel, a->value, ticket, a->body[0]);
    }
    ticket_sent(ticket);
    channel->over = channel->holds ? channel->over + weight(a) : 0;
    if (channel->over > ACO_CHANNEL_OVER) err = ACO_EPROTOCOL;
    aco_chan_unref(channel);
    return err;
}

static int
on_count(const struct arrival *a)
{
    if (a->size != 6 || a->body[5] > 1) return ACO_EPROTOCOL;
    question *q = aco_map_get(&a->peer->questions, a->id, CH_ID);
    if (q == NULL) return ACO_OK; /* nobody waits any more */
    size_t count = get_u32(a->body), before = q->count;
    if (count < before) return ACO_EPROTOCOL;
    q->count = count;
    q->ticket->count += count - before;
    if (a->body[5] == 0) aco_chan_question_answer(q, 0, aco_chan_code(a->body[4]));
    return ACO_OK;
}

static int
on_closed(const struct arrival *a)
{
    aco_channel *channel = aco_chan_replica(a->all, a->peer->id, a->target);

    if (a->size != 0) return ACO_EPROTOCOL;
    if (channel == NULL) return ACO_OK;
    aco_chan_close(channel);
    return ACO_OK;
}

/* PAUSE and RESUME: of our channel, by a replica that has no room; of a replica, by its home. */
static int
on_pause(const struct arrival *a, bool pause)
{
    const void *key = a->peer;

    if (a->size != 1 || a->body[0] > 1) return ACO_EPROTOCOL;
    if (a->body[0] == 1) {
        aco_channel *channel = aco_chan_replica(a->all, a->peer->id, a->target);
        if (channel == NULL) return ACO_OK;
        channel->held = pause;
        if (!pause) aco_chan_tell(&channel->waiters);
        return ACO_OK;
    }
    aco_channel *channel = aco_chan_find(a->all, a->target);
    member *m = channel != NULL ? aco_map_get(&channel->index, &key, sizeof key) : NULL;
    if (m == NULL) return ACO_OK;
    m->paused = pause;
    if (pause || a->peer->blocked)
        aco_chan_clog(m);
    else
        aco_chan_unclog(m);
    return ACO_OK;
}

/* What a peer wants to have subscribed, or not any more: a coro or a channel of this process. */
static int
join_here(aco_channel *channel, bool join, const aco_export *x, aco_channel *sub,
          aco_ticket *ticket)
{
    aco_member like = {.kind = ACO_MEMBER_CHANNEL, .key = sub, .channel = sub};

    if (x != NULL && x->mailbox != NULL && atomic_load(&x->reason) == ACO_ALIVE)
        like = (aco_member){
            .kind = ACO_MEMBER_CORO, .engine = x->engine, .key = x->mailbox, .mailbox = x->mailbox};
    if (like.key == NULL) return join ? ACO_OK : ACO_ENOTFOUND;
    return join ? aco_chan_enrol(channel, &like, ticket) : aco_chan_part(channel, like.key);
}

static bool
join_read(const struct arrival *a, uint8_t process[16], char route[ACO_ROUTE_MAX + 1],
          char name[ACO_NAME_MAX + 1])
{
    const uint8_t *at = a->body + JOIN_FIXED, *end = a->body + a->size;

    if (a->size < JOIN_FIXED + 2 || a->body[0] > 1 || a->body[1] > ACO_KIND_CHANNEL) return false;
    memcpy(process, a->body + 2 + CH_TARGET, 16);
    if (end - at < 1 + *at + 1 || memchr(at + 1, 0, *at) != NULL) return false;
    memcpy(route, at + 1, *at);
    route[*at] = 0;
    at += 1 + *at;
    if (*at > ACO_NAME_MAX || end - at != 1 + *at || memchr(at + 1, 0, *at) != NULL) return false;
    memcpy(name, at + 1, *at);
    name[*at] = 0;
    return true;
}

static int
join_answer(const struct arrival *a, aco_channel *channel, const aco_export *x, aco_channel *sub,
            int err)
{
    aco_ticket *ticket = ticket_for(a, &err);

    if (err == ACO_OK) err = join_here(channel, a->body[0], x, sub, ticket);
    if (ticket != NULL && err != ACO_PENDING) ticket->failure = err;
    if (ticket == NULL && err != ACO_PENDING) (void)answer(a, 0, err);
    ticket_sent(ticket);
    aco_chan_peer_idle(a->all, a->peer);
    return ACO_OK;
}

/* Without the lock: subscribe what lives here, or end that. */
static int
on_join(aco_process *process, struct arrival *a, const uint8_t from[16], const char *from_route)
{
    char route[ACO_ROUTE_MAX + 1], name[ACO_NAME_MAX + 1];
    struct aco_channels *all = a->all;
    aco_identity identity, member_id;
    uint8_t key[ACO_IDENTITY_SIZE];
    aco_export *x = NULL;
    aco_channel *sub = NULL;

    if (!join_read(a, key, route, name)) return ACO_EPROTOCOL;
    memcpy(key + 16, a->target, CH_TARGET);
    aco_identity_read(&identity, key);
    memcpy(key, aco_process_id(process), 16);
    memcpy(key + 16, a->body + 2, CH_TARGET);
    aco_identity_read(&member_id, key);
    aco_channel *channel = aco_channel_get(process, &identity, route, name);
    if (a->body[1] == ACO_KIND_CHANNEL)
        sub = aco_channel_get(process, &member_id, "", "");
    else
        x = aco_export_find(process, member_id.engine, member_id.serial);
    aco_channels_enter(all);
    a->peer = aco_chan_peer(all, from, from_route); /* it may be another one than before */
    int err = channel != NULL && a->peer != NULL ? ACO_OK : ACO_ENOMEM;
    if (a->peer != NULL) err = join_answer(a, channel, x, sub, err);
    aco_channels_exit(all);
    aco_channel_unref(sub);
    aco_channel_unref(channel);
    aco_export_unref(x);
    return err;
}

static int
on_forget(const struct arrival *a)
{
    if (a->size != 0) return ACO_EPROTOCOL;
    for (aco_link *l = a->peer->asked.next; l != &a->peer->asked; l = l->next) {
        aco_ticket *t = ACO_CONTAINER_OF(l, aco_ticket, of_asker);
        if (memcmp(t->asker_id, a->id, CH_ID) != 0) continue;
        aco_chan_ticket_forget(t);
        return ACO_OK;
    }
    return ACO_OK;
}

static int
arrive(const struct arrival *a, int type)
{
    switch (type) {
    case CH_SUBSCRIBE:
        return on_subscribe(a);
    case CH_UNSUBSCRIBE:
        return on_unsubscribe(a);
    case CH_PUBLISH:
        return on_publish(a);
    case CH_CAST:
        return on_cast(a);
    case CH_COUNT:
        return on_count(a);
    case CH_CLOSED:
        return on_closed(a);
    case CH_PAUSE:
    case CH_RESUME:
        return on_pause(a, type == CH_PAUSE);
    case CH_FORGET:
        return on_forget(a);
    default:
        return ACO_EPROTOCOL;
    }
}

/* The value of a frame that has one, behind a head of this size. */
static int
value_split(struct arrival *a, size_t head)
{
    if (a->value != NULL || a->size <= head) return ACO_OK;
    a->value = aco_msg_new(a->body + head, a->size - head);
    a->size = head;
    if (a->value == NULL) return ACO_ENOMEM;
    aco_msg_mark_foreign(a->value);
    return ACO_OK;
}

size_t
aco_channel_head(int type)
{
    return type == CH_PUBLISH ? CH_HEAD + 6 : type == CH_CAST ? CH_HEAD + 2 : 0;
}

int
aco_channel_frame(aco_process *process, const uint8_t from[16], const char *from_route, int type,
                  const uint8_t *body, size_t size, aco_msg *value)
{
    struct arrival a = {.all = process->channels,
                        .target = body,
                        .id = body + CH_TARGET,
                        .body = body + CH_HEAD,
                        .size = size - CH_HEAD};
    int err = ACO_OK;

    if (size < CH_HEAD) return ACO_EPROTOCOL;
    if (value != NULL && type != CH_PUBLISH && type != CH_CAST) return ACO_EPROTOCOL;
    if (value != NULL) a.value = aco_msg_ref(value);
    if (type == CH_PUBLISH) err = value_split(&a, 6);
    if (type == CH_CAST) err = value_split(&a, 2);
    if (err != ACO_OK) return err;
    if (type == CH_JOIN) return on_join(process, &a, from, from_route);
    aco_channels_enter(a.all);
    a.peer = aco_chan_peer(a.all, from, from_route);
    err = ACO_ENOMEM;
    if (a.peer != NULL) {
        aco_chan_peer_idle(a.all, a.peer);
        err = arrive(&a, type);
    }
    aco_channels_exit(a.all);
    aco_msg_unref(a.value);
    return err;
}

/* Asking another process to subscribe what lives there ----------------------------------------- */

int
aco_channel_ask(aco_channel *channel, bool join, enum aco_kind kind, const aco_identity *who,
                const char *route, aco_ticket *ticket)
{
    uint8_t head[JOIN_MAX], key[ACO_IDENTITY_SIZE], handle[ACO_HANDLE_MAX];
    struct aco_channels *all = channel->all;
    char home[ACO_ROUTE_MAX + 1];
    aco_identity identity;

    aco_channel_route(channel, home);
    aco_channel_identity(channel, &identity);
    aco_identity_write(who, key);
    head[0] = join;
    head[1] = (uint8_t)kind;
    memcpy(head + 2, key + 16, CH_TARGET);
    memcpy(head + 2 + CH_TARGET, identity.process, 16);
    size_t texts =
        aco_handle_write(key, home, channel->name, handle) - ACO_IDENTITY_SIZE; /* with sizes */
    memcpy(head + JOIN_FIXED, handle + ACO_IDENTITY_SIZE, texts);
    aco_channels_enter(all);
    channel_peer *peer = aco_chan_peer(all, who->process, route);
    int err = peer == NULL
                  ? ACO_ENOMEM
                  : aco_chan_send(channel, peer, CH_JOIN, head, JOIN_FIXED + texts, NULL, ticket);
    aco_channels_exit(all);
    aco_channels_flush(channel->process);
    return err == ACO_OK ? ACO_PENDING : err;
}
