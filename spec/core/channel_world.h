/* SPDX-License-Identifier: MIT */
/* channel_world.h -- three processes of the tests of channels, joined by gates that keep frames
 * until the test hands them over; and coros and engines as far as channels know them. */
#ifndef CHANNEL_WORLD_H
#define CHANNEL_WORLD_H
#include "core/base/error.h"
#include "core/engine/channel.h"
#include "core/engine/gate.h"
#include "core/engine/loop.h"
#include "spec/core/check.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

enum { SUBSCRIBE = 32, UNSUBSCRIBE, PUBLISH, CAST, COUNT, CLOSED, PAUSE, RESUME, JOIN, FORGET };
enum { HEAD = 20 };

typedef struct packet {
    struct packet *next;
    uint8_t to[16], from[16];
    int type;
    size_t size;
    aco_msg *value;
    uint8_t body[];
} packet;

/* A process, with its gate and one engine. */
typedef struct side {
    aco_gate gate;
    aco_process *process;
    aco_loop loop;
    aco_seat *seat;
    struct world *world;
    bool full; /* the gate takes no messages */
    size_t sent[64];
} side;

typedef struct world {
    side sides[3];
    pthread_mutex_t lock;
    packet *head, **end;
} world;

/* Coros as far as channels know them. */
typedef struct coro {
    aco_task task;
    aco_loop *loop;
    aco_mailbox *mailbox;
    uint32_t engine;
} coro;

/* The world ------------------------------------------------------------------------------------ */

static inline int
fake_cast(aco_gate *gate, const uint8_t process[16], const char *route, int type, const void *head,
          size_t head_size, aco_msg *value)
{
    side *s = ACO_CONTAINER_OF(gate, side, gate);
    world *w = s->world;

    CHECK(strcmp(route, "there:1") == 0);
    CHECK(type >= 32 && type < 48 && head_size >= HEAD);
    if (s->full && (type == PUBLISH || type == CAST)) return ACO_EBUSY;
    packet *p = calloc(1, sizeof *p + head_size);
    memcpy(p->to, process, sizeof p->to);
    memcpy(p->from, aco_process_id(s->process), sizeof p->from);
    p->type = type;
    p->size = head_size;
    memcpy(p->body, head, head_size);
    if (value != NULL) p->value = aco_msg_ref(value);
    pthread_mutex_lock(&w->lock);
    s->sent[type]++;
    *w->end = p;
    w->end = &p->next;
    pthread_mutex_unlock(&w->lock);
    return ACO_OK;
}

static inline void
fake_free(aco_gate *gate)
{
    (void)gate;
}

static inline void
world_open(world *w)
{
    static const struct aco_gate_ops ops = {.cast = fake_cast, .free = fake_free};

    memset(w, 0, sizeof *w);
    w->end = &w->head;
    pthread_mutex_init(&w->lock, NULL);
    for (int i = 0; i < 3; i++) {
        side *s = &w->sides[i];
        s->gate.ops = &ops;
        s->world = w;
        s->process = aco_process_new();
        aco_process_set_gate(s->process, &s->gate);
        CHECK(aco_process_set_route(s->process, "there:1") == ACO_OK);
        CHECK(aco_loop_init(&s->loop, NULL) == ACO_OK);
        s->seat = aco_seat_take(s->process, s->loop.inbox);
        CHECK(s->seat != NULL);
    }
}

static inline side *
side_of(world *w, const uint8_t id[16])
{
    for (int i = 0; i < 3; i++)
        if (memcmp(aco_process_id(w->sides[i].process), id, 16) == 0) return &w->sides[i];
    return NULL;
}

static inline packet *
take(world *w)
{
    pthread_mutex_lock(&w->lock);
    packet *p = w->head;
    if (p != NULL) w->head = p->next;
    if (w->head == NULL) w->end = &w->head;
    pthread_mutex_unlock(&w->lock);
    return p;
}

static inline void
packet_free(packet *p)
{
    aco_msg_unref(p->value);
    free(p);
}

/* The next frame arrives; false when there is none. */
static inline bool
step(world *w)
{
    packet *p = take(w);

    if (p == NULL) return false;
    side *s = side_of(w, p->to);
    if (p->value != NULL && p->type == CAST) { /* the other way in which a value may come */
        size_t size = p->size + aco_msg_size(p->value);
        uint8_t *body = malloc(size);
        memcpy(body, p->body, p->size);
        memcpy(body + p->size, aco_msg_data(p->value), aco_msg_size(p->value));
        CHECK(aco_channel_frame(s->process, p->from, "there:1", p->type, body, size, NULL) ==
              ACO_OK);
        free(body);
    } else {
        CHECK(aco_channel_frame(s->process, p->from, "there:1", p->type, p->body, p->size,
                                p->value) == ACO_OK);
    }
    aco_channels_flush(s->process);
    packet_free(p);
    return true;
}

static inline void
pump(world *w)
{
    while (step(w))
        continue;
}

static inline void
world_close(world *w)
{
    for (int i = 0; i < 3; i++) {
        side *s = &w->sides[i];
        aco_channels_leave(s->process, aco_seat_number(s->seat));
        aco_seat_leave(s->seat);
        aco_loop_fini(&s->loop);
        aco_process_unref(s->process);
    }
    for (packet *p; (p = take(w)) != NULL;)
        packet_free(p);
    pthread_mutex_destroy(&w->lock);
}

/* Both lose each other; what is on its way is lost too. */
static inline void
lose(world *w, side *a, side *b)
{
    packet *p, *kept = NULL, **end = &kept;

    while ((p = take(w)) != NULL) {
        bool gone = (side_of(w, p->to) == a && side_of(w, p->from) == b) ||
                    (side_of(w, p->to) == b && side_of(w, p->from) == a);
        p->next = NULL;
        if (gone) {
            packet_free(p);
            continue;
        }
        *end = p;
        end = &p->next;
    }
    w->head = kept;
    w->end = kept != NULL ? end : &w->head;
    aco_channels_lost(a->process, aco_process_id(b->process));
    aco_channels_lost(b->process, aco_process_id(a->process));
    aco_channels_flush(a->process);
    aco_channels_flush(b->process);
}

/* Coros ---------------------------------------------------------------------------------------- */

static inline void
coro_open(coro *c, side *s, size_t limit)
{
    aco_task_init(&c->task, 1);
    c->loop = &s->loop;
    c->mailbox = aco_mailbox_new(&c->task, limit);
    c->engine = aco_seat_number(s->seat);
    aco_mailbox_share(c->mailbox, s->loop.inbox);
}

static inline void
coro_close(coro *c)
{
    aco_mailbox_close(c->loop, c->mailbox);
    aco_mailbox_unref(c->mailbox);
}

/* The next message: its text, of one character; 0: there is none. */
static inline int
got(coro *c)
{
    aco_entry entry;

    if (!aco_mailbox_pop(c->loop, c->mailbox, &entry)) return 0;
    CHECK(entry.tag == ACO_ENTRY_PARCEL);
    int text = *(const char *)aco_msg_data(entry.u.parcel->msg);
    aco_parcel_free(entry.u.parcel);
    return text;
}

/* Whether the engine was told that a wait may go on. */
static inline bool
told(side *s, uint64_t token)
{
    bool found = false;

    for (aco_post *post = aco_inbox_take(s->loop.inbox), *next; post != NULL; post = next) {
        next = post->next;
        if (post->kind == ACO_POST_SPACE && post->token == token) found = true;
        aco_post_free(post);
    }
    return found;
}

static inline int
join(aco_channel *channel, coro *c, aco_ticket *ticket)
{
    return aco_channel_join_coro(channel, c->mailbox, c->engine, ticket);
}

/* Subscribe, with all that it takes. */
static inline void
subscribe(world *w, side *s, aco_channel *channel, coro *c)
{
    aco_ticket *ticket = aco_ticket_new(s->process);
    size_t count;
    int failure, err = join(channel, c, ticket);

    pump(w);
    CHECK(err == ACO_OK || err == ACO_PENDING);
    CHECK(aco_ticket_look(ticket, &count, &failure, NULL) == ACO_OK && failure == ACO_OK);
    aco_ticket_drop(ticket);
}

static inline aco_channel *
channel_at(side *s, const char *name)
{
    aco_channel *channel;
    static atomic_uint serial = 100;

    CHECK(aco_channel_new(s->seat, ++serial, name, &channel) == ACO_OK);
    return channel;
}

/* The same channel as another process sees it. */
static inline aco_channel *
seen_from(side *s, aco_channel *channel)
{
    aco_identity identity;

    aco_channel_identity(channel, &identity);
    aco_channel *seen =
        aco_channel_get(s->process, &identity, "there:1", aco_channel_name(channel));
    CHECK(seen != NULL);
    return seen;
}

/* Publishing, as an engine does it --------------------------------------------------------------
 */

typedef struct sending {
    aco_ticket *ticket;
    size_t count, late;
    const aco_return *who;
} sending;

static inline void
fan_out(side *s, aco_channel *channel, aco_msg *msg, sending *how, unsigned hops)
{
    int err;
    aco_roster *roster = aco_channel_roster(channel, &err);

    for (size_t i = 0; roster != NULL && i < roster->count; i++) {
        aco_member *m = roster->members[i];
        err = ACO_OK;
        if (m->kind == ACO_MEMBER_CORO) {
            aco_parcel *parcel = aco_parcel_new(msg, NULL);
            err = aco_mailbox_post(m->mailbox, parcel, how->who);
            if (err != ACO_OK) aco_parcel_free(parcel);
            if (err == ACO_OK) how->count++;
            if (err == ACO_ECLOSED) aco_roster_ended(roster, m);
        } else if (m->kind == ACO_MEMBER_CHANNEL) {
            fan_out(s, m->channel, msg, how, hops + 1);
        } else {
            err = aco_roster_cast(roster, m, msg, how->ticket, hops, how->who);
        }
        if (err == ACO_EBUSY) how->late++;
    }
    aco_roster_drop(roster);
}

static inline int
publish(side *s, aco_channel *channel, char text, uint32_t n, sending *how)
{
    aco_msg *msg = aco_msg_new(&text, 1);
    int err = ACO_OK;

    switch (aco_channel_way(channel, aco_seat_number(s->seat))) {
    case ACO_WAY_CLOSED:
        err = ACO_ECLOSED;
        break;
    case ACO_WAY_PUT:
        err = aco_channel_put(channel, msg, how->ticket, n, 0, how->who);
        break;
    default:
        fan_out(s, channel, msg, how, 0);
    }
    aco_msg_unref(msg);
    return err;
}

/* Send and forget. */
static inline int
put(side *s, aco_channel *channel, char text)
{
    sending how = {.ticket = NULL};
    int err = publish(s, channel, text, 0, &how);

    return err == ACO_OK && how.late > 0 ? ACO_EBUSY : err;
}

/* Deliver: how many it reached, after everything has arrived. */
static inline size_t
deliver(world *w, side *s, aco_channel *channel, char text, int *failure)
{
    sending how = {.ticket = aco_ticket_new(s->process)};
    size_t count;

    CHECK(publish(s, channel, text, 0, &how) == ACO_OK);
    pump(w);
    CHECK(aco_ticket_look(how.ticket, &count, failure, NULL) == ACO_OK);
    aco_ticket_drop(how.ticket);
    return count + how.count;
}

/** Run tests, each in a world of its own. */
static inline void
worlds_run(void (*const tests[])(world *), size_t count)
{
    for (size_t i = 0; i < count; i++) {
        world w;
        world_open(&w);
        tests[i](&w);
        world_close(&w);
    }
}

#endif
