/* SPDX-License-Identifier: MIT */
/* channel_peer.c -- channels and other processes: the frames that go there, the answers to them,
 * and what becomes of it all when a process is lost.
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

typedef struct frame {
    aco_link link;
    int type;
    bool asks; /* `id` is of a question */
    uint8_t id[CH_ID];
    aco_msg *value; /* owned, may be NULL */
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

int
aco_chan_code(uint8_t code)
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

static bool
is_idle(const channel_peer *peer)
{
    const aco_link *lists[] = {&peer->members, &peer->fars,  &peer->controls,
                               &peer->frames,  &peer->asked, &peer->held};

    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        if (!aco_list_empty(lists[i])) return false;
    return peer->questions.count == 0 && !peer->casting;
}

void
aco_chan_peer_idle(struct aco_channels *all, channel_peer *peer)
{
    if (!aco_link_in_list(&peer->found)) aco_list_append(&all->idle, &peer->found);
}

void
aco_chan_peers_release(struct aco_channels *all)
{
    while (!aco_list_empty(&all->idle)) {
        channel_peer *peer = ACO_CONTAINER_OF(all->idle.next, channel_peer, found);
        aco_link_remove(&peer->found);
        if (!is_idle(peer)) continue;
        aco_link_remove(&peer->ready);
        aco_map_remove(&all->peers, peer->id, sizeof peer->id);
        aco_chan_peer_free(peer);
    }
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

void
aco_chan_question_answer(question *q, size_t count, int failure)
{
    aco_ticket *ticket = q->ticket;
    aco_channel *channel = q->channel;

    ticket->refs++;
    channel->refs++;
    if (q->type == CH_SUBSCRIBE && failure == ACO_OK && channel->subscription == SUBSCRIBED_ASKED)
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
        if (q != NULL) aco_chan_question_answer(q, 0, failure);
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

void
aco_chan_refuse(struct aco_channels *all, channel_peer *peer, const uint8_t target[CH_TARGET])
{
    frame *f = frame_new(CH_CLOSED, target, NULL, 0);

    if (f != NULL) frame_queue(all, peer, f);
}

int
aco_chan_say(aco_channel *channel, channel_peer *peer, int type)
{
    uint8_t side[CH_ID] = {!channel->far}; /* 1: from home */
    bool sided = type == CH_PAUSE || type == CH_RESUME;

    return aco_chan_send(channel, peer, type, side, sided, NULL, NULL);
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

    if (q != NULL) aco_chan_question_answer(q, 0, err);
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
    while ((f = frame_take(peer)) != NULL) {
        uint64_t rooms = peer->rooms;
        memcpy(route, peer->route, sizeof route);
        peer->casting = true; /* so it stays */
        aco_channels_exit(all);
        int err = gate == NULL ? ACO_EPEERDOWN
                               : (cast != NULL ? cast : gate->ops->cast)(
                                     gate, id, route, f->type, f->head, f->size, f->value);
        aco_channels_enter(all);
        peer->casting = false;
        aco_chan_peer_idle(all, peer);
        if (err == ACO_OK) {
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

/* A process has published so many bytes on a channel that has no room: let it wait. */
bool
aco_chan_hold(aco_channel *channel, channel_peer *peer, size_t size)
{
    for (aco_link *l = channel->publishers.next; l != &channel->publishers; l = l->next) {
        publisher *known = ACO_CONTAINER_OF(l, publisher, of_channel);
        if (known->peer != peer) continue;
        known->over += size;
        return known->over <= ACO_CHANNEL_OVER;
    }
    publisher *p = calloc(1, sizeof *p);
    if (p == NULL) return true;
    if (aco_chan_say(channel, peer, CH_PAUSE) != ACO_OK) {
        free(p);
        return true;
    }
    p->peer = peer;
    aco_list_append(&channel->publishers, &p->of_channel);
    aco_list_append(&peer->held, &p->of_peer);
    return true;
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
    aco_chan_peer_idle(all, peer);
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
    while ((peer = aco_map_next(&all->peers, &place)) != NULL) {
        aco_link_remove(&peer->found);
        aco_list_append(&all_peers, &peer->found);
    }
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
