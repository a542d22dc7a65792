/* SPDX-License-Identifier: MIT */
/* channel_peer.c -- channels and other processes: the frames that go there and come from there.
 *
 * Frames are queued under the lock, for each process in their order, and given to the gate by
 * aco_channels_flush, one thread at a time, without it. */
#include "core/engine/channel.h"
#include "core/engine/channel_state.h"
#include "core/engine/gate.h"
#include "core/engine/process_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Every frame begins with the channel; then the id of a question, when it has one. */
enum { CH_ID = 8, CH_HEAD = CH_TARGET + CH_ID };
enum { JOIN_FIXED = 2 + CH_TARGET + 16, JOIN_MAX = JOIN_FIXED + 2 + ACO_ROUTE_MAX + ACO_NAME_MAX };

typedef struct frame {
    aco_link link;
    int type;
    bool asks;         /* `id` is of a question */
    uint8_t id[CH_ID];
    aco_msg *value;    /* owned, may be NULL */
    size_t size;
    uint8_t head[];
} frame;

/* Codes in frames, as docs/protocol.md numbers them. */
static const struct {
    uint8_t code;
    int err;
} codes[] = {{0, ACO_OK},        {1, ACO_ENOTFOUND},    {2, ACO_ECLOSED}, {3, ACO_ETOOLARGE},
             {4, ACO_EDENIED},   {5, ACO_EPROTOCOL},    {7, ACO_EBUSY},   {8, ACO_ETIMEOUT},
             {13, ACO_EINVALID}, {6, ACO_EUNSUPPORTED}, {14, ACO_ENOMEM}, {15, ACO_EPEERDOWN}};

static int
code_read(uint8_t code)
{
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        if (codes[i].code == code) return codes[i].err;
    return ACO_EPROTOCOL;
}

static uint8_t
code_write(int err)
{
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        if (codes[i].err == err) return codes[i].code;
    return 5;
}

/* Peers ---------------------------------------------------------------------------------------- */

static void
frame_free(frame *f)
{
    aco_link_remove(&f->link);
    aco_msg_unref(f->value);
    free(f);
}

static void
frames_free(aco_link *list)
{
    while (!aco_list_empty(list))
        frame_free(ACO_CONTAINER_OF(list->next, frame, link));
}

void
aco_chan_peer_free(channel_peer *peer)
{
    frames_free(&peer->controls);
    frames_free(&peer->frames);
    aco_map_free(&peer->questions);
    free(peer);
}

channel_peer *
aco_chan_peer(struct aco_channels *all, const uint8_t id[16], const char *route)
{
    channel_peer *peer = aco_map_get(&all->peers, id, 16);

    if (peer == NULL) {
        peer = calloc(1, sizeof *peer);
        if (peer == NULL) return NULL;
        memcpy(peer->id, id, sizeof peer->id);
        peer->questions.seed = all->peers.seed;
        aco_list_init(&peer->controls);
        aco_list_init(&peer->frames);
        aco_list_init(&peer->members);
        aco_list_init(&peer->fars);
        aco_list_init(&peer->asked);
        aco_list_init(&peer->held);
        if (aco_map_put(&all->peers, peer->id, sizeof peer->id, peer) != ACO_OK) {
            free(peer);
            return NULL;
        }
    }
    if (route != NULL && route[0] != 0 && strcmp(route, peer->route) != 0)
        snprintf(peer->route, sizeof peer->route, "%s", route);
    return peer;
}

/* Nobody here has to do with it any more. */
static void
peer_release(struct aco_channels *all, channel_peer *peer)
{
    if (!aco_list_empty(&peer->members) || !aco_list_empty(&peer->fars) ||
        !aco_list_empty(&peer->controls) || !aco_list_empty(&peer->frames) ||
        peer->questions.count > 0)
        return;
    aco_link_remove(&peer->ready);
    aco_map_remove(&all->peers, peer->id, sizeof peer->id);
    aco_chan_peer_free(peer);
}

/* Questions ------------------------------------------------------------------------------------ */

void
aco_chan_question_free(question *q)
{
    if (q->peer != NULL) aco_map_remove(&q->peer->questions, q->id, sizeof q->id);
    aco_link_remove(&q->of_ticket);
    aco_chan_ticket_unref(q->ticket);
    aco_chan_unref(q->channel);
    free(q);
}

static int
question_new(aco_channel *channel, channel_peer *peer, int type, aco_ticket *ticket,
             uint8_t id[CH_ID])
{
    struct aco_channels *all = channel->all;
    question *q = calloc(1, sizeof *q);
    uint64_t number = ++all->last_id;

    if (q == NULL) return ACO_ENOMEM;
    put_u32(q->id, (uint32_t)(number >> 32));
    put_u32(q->id + 4, (uint32_t)number);
    if (aco_map_put(&peer->questions, q->id, sizeof q->id, q) != ACO_OK) {
        free(q);
        return ACO_ENOMEM;
    }
    q->type = type;
    q->peer = peer;
    q->ticket = ticket;
    q->channel = channel;
    channel->refs++;
    ticket->refs++;
    ticket->pending++;
    aco_list_append(&ticket->questions, &q->of_ticket);
    memcpy(id, q->id, CH_ID);
    return ACO_OK;
}

/* A replica's home knows it no more: it has no subscribers. */
static void
replica_end(aco_channel *channel)
{
    channel->refs++;
    aco_chan_empty(channel);
    channel->held = false;
    aco_chan_tell(&channel->waiters);
    aco_chan_unref(channel);
}

/* There is an answer, or there will be none. */
static void
question_answer(question *q, size_t count, int failure)
{
    aco_ticket *ticket = q->ticket;
    aco_channel *channel = q->channel;

    ticket->refs++;
    channel->refs++;
    if (q->type == CH_SUBSCRIBE && failure == ACO_OK &&
        channel->subscription == SUBSCRIBED_ASKED)
        channel->subscription = SUBSCRIBED_YES;
    if (q->type == CH_SUBSCRIBE || q->type == CH_PUBLISH) {
        if (failure == ACO_ENOTFOUND) failure = ACO_ECLOSED;
        if (failure == ACO_ECLOSED && channel->far) aco_chan_close(channel);
    }
    if (q->type == CH_SUBSCRIBE && failure != ACO_OK) replica_end(channel);
    aco_chan_question_free(q);
    aco_chan_ticket_settle(ticket, count, failure); /* with the reference from above */
    aco_chan_unref(channel);
}

static void
questions_fail(channel_peer *peer, int failure)
{
    size_t place = 0;

    while (peer->questions.count > 0) {
        question *q = aco_map_next(&peer->questions, &place);
        if (q != NULL) question_answer(q, 0, failure);
        place = 0;
    }
}

/* Sending -------------------------------------------------------------------------------------- */

static frame *
frame_new(int type, const void *target, const uint8_t *head, size_t size)
{
    frame *f = calloc(1, sizeof *f + CH_HEAD + size);

    if (f == NULL) return NULL;
    f->type = type;
    f->size = CH_HEAD + size;
    memcpy(f->head, target, CH_TARGET);
    if (size > 0) memcpy(f->head + CH_HEAD, head, size);
    return f;
}

static void
frame_queue(struct aco_channels *all, channel_peer *peer, frame *f)
{
    bool control = f->type == CH_COUNT || f->type == CH_PAUSE || f->type == CH_RESUME;

    aco_list_append(control ? &peer->controls : &peer->frames, &f->link);
    if (!aco_link_in_list(&peer->ready)) aco_list_append(&all->ready, &peer->ready);
    atomic_store(&all->filled, true);
}

int
aco_chan_send(aco_channel *channel, channel_peer *peer, int type, const uint8_t *head, size_t size,
              aco_msg *value, aco_ticket *ticket)
{
    bool forgets = type == CH_FORGET; /* the id in it is that of another question */
    frame *f = frame_new(type, channel->key + 16, head, forgets ? 0 : size);

    if (f == NULL) return ACO_ENOMEM;
    if (forgets) memcpy(f->head + CH_TARGET, head, CH_ID);
    if (ticket != NULL) {
        if (question_new(channel, peer, type, ticket, f->id) != ACO_OK) {
            frame_free(f);
            return ACO_ENOMEM;
        }
        f->asks = true;
        memcpy(f->head + CH_TARGET, f->id, CH_ID);
    }
    if (value != NULL) f->value = aco_msg_ref(value);
    frame_queue(channel->all, peer, f);
    return ACO_OK;
}

int
aco_chan_answer(struct aco_channels *all, channel_peer *peer, const uint8_t target[CH_TARGET],
                const uint8_t id[CH_ID], size_t count, int err, bool more)
{
    static const uint8_t none[CH_ID] = {0};
    uint8_t head[6];

    if (memcmp(id, none, CH_ID) == 0) return ACO_OK;
    put_u32(head, count > UINT32_MAX ? UINT32_MAX : (uint32_t)count);
    head[4] = code_write(err);
    head[5] = more;
    frame *f = frame_new(CH_COUNT, target, head, sizeof head);
    if (f == NULL) return ACO_ENOMEM;
    memcpy(f->head + CH_TARGET, id, CH_ID);
    frame_queue(all, peer, f);
    return ACO_OK;
}

int
aco_chan_say(aco_channel *channel, channel_peer *peer, int type)
{
    uint8_t home = !channel->far;
    bool sided = type == CH_PAUSE || type == CH_RESUME;

    return aco_chan_send(channel, peer, type, &home, sided, NULL, NULL);
}

/* Take what is to be cast next out of its queue. */
static frame *
frame_take(channel_peer *peer)
{
    aco_link *list = &peer->controls;

    if (aco_list_empty(list) && !peer->blocked) list = &peer->frames;
    if (aco_list_empty(list)) return NULL;
    frame *f = ACO_CONTAINER_OF(list->next, frame, link);
    aco_link_remove(&f->link);
    return f;
}

static void
frame_untake(channel_peer *peer, frame *f)
{
    bool control = f->type == CH_COUNT || f->type == CH_PAUSE || f->type == CH_RESUME;
    aco_link *list = control ? &peer->controls : &peer->frames;

    f->link.prev = list;
    f->link.next = list->next;
    list->next->prev = &f->link;
    list->next = &f->link;
}

/* Whether the way to it is full matters to all that is there. */
static void
peer_block(channel_peer *peer, bool blocked)
{
    if (peer->blocked == blocked) return;
    peer->blocked = blocked;
    for (aco_link *l = peer->members.next; l != &peer->members; l = l->next) {
        member *m = ACO_CONTAINER_OF(l, member, of_peer);
        if (blocked || m->paused)
            aco_chan_clog(m);
        else
            aco_chan_unclog(m);
    }
    if (blocked) return;
    for (aco_link *l = peer->fars.next; l != &peer->fars; l = l->next)
        aco_chan_tell(&ACO_CONTAINER_OF(l, aco_channel, of_home)->waiters);
}

/* The gate has not taken a frame for another reason than that the way is full. */
static void
frame_failed(channel_peer *peer, frame *f, int err)
{
    question *q = f->asks ? aco_map_get(&peer->questions, f->id, sizeof f->id) : NULL;

    if (q != NULL) question_answer(q, 0, err);
    frame_free(f);
}

static void peer_lost(struct aco_channels *all, channel_peer *peer);

typedef int cast_fn(aco_gate *gate, const uint8_t peer[16], const char *route, int type,
                    const void *head, size_t head_size, aco_msg *value);

/* Cast the frames of one peer, until there are none, or no room. */
static void
peer_flush(struct aco_channels *all, channel_peer *peer, cast_fn *cast)
{
    aco_gate *gate = aco_process_gate(all->process);
    char route[ACO_ROUTE_MAX + 1];
    uint8_t id[16];
    frame *f;

    memcpy(id, peer->id, sizeof id);
    while (peer != NULL && (f = frame_take(peer)) != NULL) {
        uint64_t rooms = peer->rooms;
        memcpy(route, peer->route, sizeof route);
        aco_channels_exit(all);
        int err = gate == NULL
                      ? ACO_EPEERDOWN
                      : (cast != NULL ? cast : gate->ops->cast)(gate, id, route, f->type, f->head,
                                                                f->size, f->value);
        aco_channels_enter(all);
        peer = aco_map_get(&all->peers, id, sizeof id); /* it may be lost meanwhile */
        if (err == ACO_OK || peer == NULL) {
            frame_free(f);
        } else if (err == ACO_EBUSY) {
            frame_untake(peer, f);
            if (peer->rooms == rooms) {
                peer_block(peer, true);
                return;
            }
        } else {
            frame_failed(peer, f, err);
            if (err == ACO_ETOOLARGE || err == ACO_ENOMEM) continue;
            peer_lost(all, peer);
            return;
        }
    }
}

void
aco_channels_flush(aco_process *process)
{
    aco_channels_give(process, NULL);
}

void
aco_channels_give(aco_process *process, cast_fn *cast)
{
    struct aco_channels *all = process->channels;

    if (!atomic_load(&all->filled)) return;
    aco_channels_enter(all);
    if (!all->flushing) {
        all->flushing = true;
        while (!aco_list_empty(&all->ready)) {
            channel_peer *peer = ACO_CONTAINER_OF(all->ready.next, channel_peer, ready);
            aco_link_remove(&peer->ready);
            peer_flush(all, peer, cast);
        }
        atomic_store(&all->filled, false);
        all->flushing = false;
    }
    aco_channels_exit(all);
}

/* Those that are held back --------------------------------------------------------------------- */

static void
publisher_free(publisher *p)
{
    aco_link_remove(&p->of_channel);
    aco_link_remove(&p->of_peer);
    free(p);
}

/* A process has published on a channel that has no room: let it wait. */
void
aco_chan_hold(aco_channel *channel, channel_peer *peer)
{
    for (aco_link *l = channel->publishers.next; l != &channel->publishers; l = l->next)
        if (ACO_CONTAINER_OF(l, publisher, of_channel)->peer == peer) return;
    publisher *p = calloc(1, sizeof *p);
    if (p == NULL) return;
    if (aco_chan_say(channel, peer, CH_PAUSE) != ACO_OK) {
        free(p);
        return;
    }
    p->peer = peer;
    aco_list_append(&channel->publishers, &p->of_channel);
    aco_list_append(&peer->held, &p->of_peer);
}

void
aco_chan_let_go(aco_channel *channel)
{
    while (!aco_list_empty(&channel->publishers)) {
        publisher *p = ACO_CONTAINER_OF(channel->publishers.next, publisher, of_channel);
        (void)aco_chan_say(channel, p->peer, CH_RESUME);
        publisher_free(p);
    }
}

/* Losing a process ----------------------------------------------------------------------------- */

static void
asked_forget(channel_peer *peer)
{
    while (!aco_list_empty(&peer->asked)) {
        aco_ticket *t = ACO_CONTAINER_OF(peer->asked.next, aco_ticket, of_asker);
        aco_chan_ticket_forget(t);
    }
}

/* Replicas of its channels, one at a time: the list may change. */
static void
fars_end(channel_peer *peer)
{
    aco_link seen;

    aco_list_init(&seen);
    while (!aco_list_empty(&peer->fars)) {
        aco_channel *channel = ACO_CONTAINER_OF(peer->fars.next, aco_channel, of_home);
        aco_link_remove(&channel->of_home);
        aco_list_append(&seen, &channel->of_home);
        replica_end(channel);
    }
    while (!aco_list_empty(&seen)) {
        aco_link *l = seen.next;
        aco_link_remove(l);
        aco_list_append(&peer->fars, l);
    }
}

static void
peer_lost(struct aco_channels *all, channel_peer *peer)
{
    peer->rooms++;
    asked_forget(peer);
    while (!aco_list_empty(&peer->held))
        publisher_free(ACO_CONTAINER_OF(peer->held.next, publisher, of_peer));
    while (!aco_list_empty(&peer->members))
        aco_chan_member_remove(ACO_CONTAINER_OF(peer->members.next, member, of_peer));
    questions_fail(peer, ACO_EPEERDOWN);
    fars_end(peer);
    peer_block(peer, false);
    frames_free(&peer->controls);
    frames_free(&peer->frames);
    aco_link_remove(&peer->ready);
    peer_release(all, peer);
}

void
aco_channels_lost(aco_process *process, const uint8_t id[16])
{
    struct aco_channels *all = process->channels;

    aco_channels_enter(all);
    channel_peer *peer = aco_map_get(&all->peers, id, 16);
    if (peer != NULL) peer_lost(all, peer);
    aco_channels_exit(all);
}

void
aco_channels_renew(aco_process *process)
{
    struct aco_channels *all = process->channels;
    channel_peer *peer;
    aco_link all_peers;
    size_t place = 0;

    aco_list_init(&all_peers);
    aco_channels_enter(all);
    while ((peer = aco_map_next(&all->peers, &place)) != NULL)
        aco_list_append(&all_peers, &peer->found);
    while (!aco_list_empty(&all_peers)) {
        peer = ACO_CONTAINER_OF(all_peers.next, channel_peer, found);
        aco_link_remove(&peer->found);
        peer_lost(all, peer);
    }
    aco_channels_exit(all);
}

void
aco_channels_room(aco_process *process, const uint8_t id[16])
{
    struct aco_channels *all = process->channels;

    aco_channels_enter(all);
    channel_peer *peer = aco_map_get(&all->peers, id, 16);
    if (peer != NULL) {
        peer->rooms++;
        peer_block(peer, false);
        bool waits = !aco_list_empty(&peer->frames) || !aco_list_empty(&peer->controls);
        if (waits && !aco_link_in_list(&peer->ready)) {
            aco_list_append(&all->ready, &peer->ready);
            atomic_store(&all->filled, true);
        }
    }
    aco_channels_exit(all);
}

/* Receiving ------------------------------------------------------------------------------------ */

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
    ticket->refs++;   /* aco_chan_ticket_settle gives one back, ticket_sent the other */
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

static int
on_publish(const struct arrival *a)
{
    aco_channel *channel = aco_chan_find(a->all, a->target);
    int err = ACO_OK;

    if (a->size != 6 || a->body[5] != 0 || a->value == NULL) return ACO_EPROTOCOL;
    if (channel == NULL && asks(a)) return answer(a, 0, ACO_ENOTFOUND);
    if (channel == NULL) {
        frame *f = frame_new(CH_CLOSED, a->target, NULL, 0);
        if (f != NULL) frame_queue(a->all, a->peer, f);
        return ACO_OK;
    }
    aco_ticket *ticket = ticket_for(a, &err);
    if (err != ACO_OK) return answer(a, 0, err);
    channel->refs++;
    aco_chan_accept(channel, a->value, ticket, get_u32(a->body), a->body[4], false);
    ticket_sent(ticket);
    if (channel->clogs > 0) aco_chan_hold(channel, a->peer);
    aco_chan_unref(channel);
    return ACO_OK;
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
    aco_chan_unref(channel);
    return ACO_OK;
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
    if (a->body[5] == 0) question_answer(q, 0, code_read(a->body[4]));
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
        like = (aco_member){.kind = ACO_MEMBER_CORO,
                            .engine = x->engine,
                            .key = x->mailbox,
                            .mailbox = x->mailbox};
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

/* Without the lock: subscribe what lives here, or end that. */
static int
on_join(aco_process *process, const struct arrival *a)
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
    int err = channel != NULL ? ACO_OK : ACO_ENOMEM;
    aco_ticket *ticket = ticket_for(a, &err);
    if (err == ACO_OK) err = join_here(channel, a->body[0], x, sub, ticket);
    if (ticket != NULL && err != ACO_PENDING) ticket->failure = err;
    if (ticket == NULL && err != ACO_PENDING) err = answer(a, 0, err);
    ticket_sent(ticket);
    aco_channels_exit(all);
    aco_channel_unref(sub);
    aco_channel_unref(channel);
    aco_export_unref(x);
    return ACO_OK;
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
    aco_channels_enter(a.all);
    a.peer = aco_chan_peer(a.all, from, from_route);
    if (a.peer == NULL)
        err = ACO_ENOMEM;
    else if (type != CH_JOIN)
        err = arrive(&a, type);
    aco_channels_exit(a.all);
    if (err == ACO_OK && type == CH_JOIN) err = on_join(process, &a);
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
    int err = peer == NULL ? ACO_ENOMEM
                           : aco_chan_send(channel, peer, CH_JOIN, head, JOIN_FIXED + texts, NULL,
                                           ticket);
    aco_channels_exit(all);
    aco_channels_flush(channel->process);
    return err == ACO_OK ? ACO_PENDING : err;
}
