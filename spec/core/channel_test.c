/* SPDX-License-Identifier: MIT */
/* channel_test.c -- channels: subscribers of several engines, and of several processes, which are
 * joined here by gates that keep frames until the test hands them over. */
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
enum { HEAD = 20, MANY = 1000 };

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

static int
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

static void
fake_free(aco_gate *gate)
{
    (void)gate;
}

static void
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

static side *
side_of(world *w, const uint8_t id[16])
{
    for (int i = 0; i < 3; i++)
        if (memcmp(aco_process_id(w->sides[i].process), id, 16) == 0) return &w->sides[i];
    return NULL;
}

static packet *
take(world *w)
{
    pthread_mutex_lock(&w->lock);
    packet *p = w->head;
    if (p != NULL) w->head = p->next;
    if (w->head == NULL) w->end = &w->head;
    pthread_mutex_unlock(&w->lock);
    return p;
}

static void
packet_free(packet *p)
{
    aco_msg_unref(p->value);
    free(p);
}

/* The next frame arrives; false when there is none. */
static bool
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

static void
pump(world *w)
{
    while (step(w))
        continue;
}

static void
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
static void
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

static void
coro_open(coro *c, side *s, size_t limit)
{
    aco_task_init(&c->task, 1);
    c->loop = &s->loop;
    c->mailbox = aco_mailbox_new(&c->task, limit);
    c->engine = aco_seat_number(s->seat);
    aco_mailbox_share(c->mailbox, s->loop.inbox);
}

static void
coro_close(coro *c)
{
    aco_mailbox_close(c->loop, c->mailbox);
    aco_mailbox_unref(c->mailbox);
}

/* The next message: its text, of one character; 0: there is none. */
static int
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
static bool
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

static int
join(aco_channel *channel, coro *c, aco_ticket *ticket)
{
    return aco_channel_join_coro(channel, c->mailbox, c->engine, ticket);
}

/* Subscribe, with all that it takes. */
static void
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

static aco_channel *
channel_at(side *s, const char *name)
{
    aco_channel *channel;
    static atomic_uint serial = 100;

    CHECK(aco_channel_new(s->seat, ++serial, name, &channel) == ACO_OK);
    return channel;
}

/* The same channel as another process sees it. */
static aco_channel *
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

static void
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

static int
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
static int
put(side *s, aco_channel *channel, char text)
{
    sending how = {.ticket = NULL};
    int err = publish(s, channel, text, 0, &how);

    return err == ACO_OK && how.late > 0 ? ACO_EBUSY : err;
}

/* Deliver: how many it reached, after everything has arrived. */
static size_t
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

/* Tests ---------------------------------------------------------------------------------------- */

static void
test_one_process(world *w)
{
    side *s = &w->sides[0];
    aco_channel *channel = channel_at(s, "local"), *sub = channel_at(s, "sub"), *found;
    aco_identity identity;
    coro a, b;
    int failure;

    coro_open(&a, s, 0);
    coro_open(&b, s, 0);
    subscribe(w, s, channel, &a);
    subscribe(w, s, channel, &a);
    subscribe(w, s, sub, &b);
    CHECK(aco_channel_join_channel(channel, sub, NULL) == ACO_OK);
    CHECK(aco_channel_join_channel(sub, channel, NULL) == ACO_EINVALID);
    CHECK(aco_channel_join_channel(sub, sub, NULL) == ACO_EINVALID);
    CHECK(deliver(w, s, channel, 'x', &failure) == 2);
    CHECK(got(&a) == 'x' && got(&a) == 0 && got(&b) == 'x' && got(&b) == 0);
    CHECK(aco_channel_part(channel, a.mailbox) == ACO_OK);
    CHECK(aco_channel_part(channel, a.mailbox) == ACO_ENOTFOUND);
    coro_close(&b);
    CHECK(deliver(w, s, channel, 'y', &failure) == 0 && got(&a) == 0);
    aco_channel_identity(channel, &identity);
    found = aco_channel_get(s->process, &identity, "", "");
    CHECK(found == channel);
    aco_channel_unref(found);
    CHECK(aco_channel_register(channel, "n", 1) == ACO_OK);
    CHECK(aco_channel_register(sub, "n", 1) == ACO_EEXISTS);
    aco_export *x = aco_name_find(s->process, "n", 1);
    CHECK(x != NULL && x->kind == ACO_KIND_CHANNEL);
    aco_export_unref(x);
    aco_channel_close(channel);
    CHECK(aco_name_find(s->process, "n", 1) == NULL);
    CHECK(put(s, channel, 'z') == ACO_ECLOSED && join(channel, &a, NULL) == ACO_ECLOSED);
    CHECK(aco_channel_register(channel, "n", 1) == ACO_ECLOSED);
    found = aco_channel_get(s->process, &identity, "", "old");
    CHECK(found != NULL && found != channel && aco_channel_closed(found));
    aco_channel_unref(found);
    aco_channel_unref(channel);
    aco_channel_unref(sub);
    coro_close(&a);
}

/* A thousand subscribers in another process: one frame. */
static void
test_once(world *w)
{
    side *home = &w->sides[0], *away = &w->sides[1];
    aco_channel *channel = channel_at(home, "news"), *there = seen_from(away, channel);
    static coro many[MANY];
    size_t casts = home->sent[CAST];
    int failure;

    CHECK(aco_channel_is_far(there));
    for (int i = 0; i < MANY; i++) {
        coro_open(&many[i], away, 0);
        subscribe(w, away, there, &many[i]);
    }
    CHECK(deliver(w, home, channel, 'a', &failure) == MANY && failure == ACO_OK);
    CHECK(home->sent[CAST] == casts + 1);
    CHECK(put(home, channel, 'b') == ACO_OK);
    pump(w);
    CHECK(home->sent[CAST] == casts + 2);
    for (int i = 0; i < MANY; i++)
        CHECK(got(&many[i]) == 'a' && got(&many[i]) == 'b' && got(&many[i]) == 0);
    /* Ended ones are forgotten, and with the last of them the subscription. */
    for (int i = 1; i < MANY; i++)
        coro_close(&many[i]);
    CHECK(deliver(w, home, channel, 'c', &failure) == 1);
    size_t count;
    CHECK(aco_channel_await(channel, 1, NULL, &count) == ACO_OK && count == 1);
    CHECK(aco_channel_part(there, many[0].mailbox) == ACO_OK);
    pump(w);
    CHECK(deliver(w, home, channel, 'd', &failure) == 0 && home->sent[CAST] == casts + 3);
    coro_close(&many[0]);
    aco_channel_unref(there);
    aco_channel_unref(channel);
}

/* Any process may publish; all get it, the publisher's too, in its order. */
static void
test_publish_away(world *w)
{
    side *home = &w->sides[0], *one = &w->sides[1], *two = &w->sides[2];
    aco_channel *channel = channel_at(home, "all"), *at_one = seen_from(one, channel),
                *at_two = seen_from(two, channel);
    coro a, b, c;
    int failure;

    coro_open(&a, home, 0);
    coro_open(&b, one, 0);
    coro_open(&c, two, 0);
    subscribe(w, home, channel, &a);
    subscribe(w, one, at_one, &b);
    subscribe(w, two, at_two, &c);
    CHECK(put(one, at_one, '1') == ACO_OK && put(one, at_one, '2') == ACO_OK);
    CHECK(deliver(w, one, at_one, '3', &failure) == 3 && failure == ACO_OK);
    CHECK(got(&a) == '1' && got(&a) == '2' && got(&a) == '3');
    CHECK(got(&b) == '1' && got(&b) == '2' && got(&b) == '3');
    CHECK(got(&c) == '1' && got(&c) == '2' && got(&c) == '3');
    coro_close(&a);
    CHECK(deliver(w, two, at_two, '4', &failure) == 2);
    coro_close(&b);
    coro_close(&c);
    aco_channel_unref(at_one);
    aco_channel_unref(at_two);
    aco_channel_unref(channel);
}

/* A deliver waits at home for subscribers; it is forgotten when nobody waits for it. */
static void
test_await(world *w)
{
    side *home = &w->sides[0], *away = &w->sides[1];
    aco_channel *channel = channel_at(home, "later"), *there = seen_from(away, channel);
    sending one = {.ticket = aco_ticket_new(away->process)};
    sending two = {.ticket = aco_ticket_new(away->process)};
    aco_return who = {.inbox = away->loop.inbox, .task = 1, .token = 7};
    aco_return at_home = {.inbox = home->loop.inbox, .task = 1, .token = 8};
    size_t count;
    int failure;
    coro a, b;

    coro_open(&a, home, 0);
    coro_open(&b, away, 0);
    CHECK(publish(away, there, 'n', 2, &one) == ACO_OK);
    CHECK(publish(away, there, 'm', 2, &two) == ACO_OK);
    pump(w);
    CHECK(aco_ticket_look(one.ticket, &count, &failure, &who) == ACO_PENDING);
    CHECK(aco_channel_await(channel, 2, &at_home, &count) == ACO_PENDING && count == 0);
    subscribe(w, home, channel, &a);
    CHECK(!told(away, 7) && got(&a) == 0 && told(home, 8));
    aco_ticket_drop(two.ticket);
    pump(w);
    CHECK(away->sent[FORGET] == 1);
    CHECK(aco_channel_await(channel, 2, &at_home, &count) == ACO_PENDING && count == 1);
    subscribe(w, away, there, &b);
    CHECK(told(away, 7) && told(home, 8));
    CHECK(aco_ticket_look(one.ticket, &count, &failure, NULL) == ACO_OK && count == 2);
    CHECK(got(&a) == 'n' && got(&a) == 0 && got(&b) == 'n' && got(&b) == 0);
    aco_ticket_drop(one.ticket);
    one.ticket = aco_ticket_new(away->process);
    CHECK(publish(away, there, 'c', 9, &one) == ACO_OK);
    pump(w);
    CHECK(aco_ticket_look(one.ticket, &count, &failure, &who) == ACO_PENDING);
    aco_channel_close(channel);
    pump(w);
    CHECK(told(away, 7) && aco_channel_closed(there));
    CHECK(aco_ticket_look(one.ticket, &count, &failure, NULL) == ACO_OK);
    CHECK(failure == ACO_ECLOSED && put(away, there, 'x') == ACO_ECLOSED);
    aco_ticket_drop(one.ticket);
    coro_close(&a);
    coro_close(&b);
    aco_channel_unref(there);
    aco_channel_unref(channel);
}

/* A full mailbox at a replica holds back the home; nothing is lost. */
static void
test_full_replica(world *w)
{
    side *home = &w->sides[0], *away = &w->sides[1], *third = &w->sides[2];
    aco_channel *channel = channel_at(home, "narrow"), *there = seen_from(away, channel);
    aco_channel *from_third = seen_from(third, channel);
    aco_return who = {.inbox = home->loop.inbox, .task = 1, .token = 5};
    aco_return whom = {.inbox = third->loop.inbox, .task = 1, .token = 6};
    sending waits = {.who = &who}, away_waits = {.who = &whom};
    coro slow, quick;

    coro_open(&slow, away, 4);
    coro_open(&quick, home, 0);
    subscribe(w, home, channel, &quick);
    subscribe(w, away, there, &slow);
    for (char text = 'a'; text < 'e'; text++)
        CHECK(put(home, channel, text) == ACO_OK);
    pump(w);
    CHECK(away->sent[PAUSE] == 0);
    CHECK(put(home, channel, 'e') == ACO_OK); /* beyond the limit: it was on its way */
    CHECK(put(home, channel, 'f') == ACO_OK);
    pump(w);
    CHECK(away->sent[PAUSE] == 1);
    CHECK(publish(home, channel, 'g', 0, &waits) == ACO_OK && waits.late == 1);
    /* Who publishes from elsewhere is held back by the home. */
    CHECK(put(third, from_third, 'h') == ACO_OK);
    pump(w);
    CHECK(home->sent[PAUSE] == 1);
    CHECK(publish(third, from_third, 'i', 0, &away_waits) == ACO_EBUSY);
    for (char text = 'a'; text <= 'c'; text++)
        CHECK(got(&slow) == text);
    CHECK(!told(home, 5));
    CHECK(got(&slow) == 'd' && got(&slow) == 'e'); /* half of it is free */
    pump(w);
    CHECK(away->sent[RESUME] == 1 && home->sent[RESUME] == 1);
    CHECK(told(home, 5) && told(third, 6));
    CHECK(put(third, from_third, 'i') == ACO_OK);
    pump(w);
    CHECK(got(&slow) == 'f' && got(&slow) == 'h' && got(&slow) == 'i' && got(&slow) == 0);
    for (const char *text = "abcdefghi"; *text != 0; text++)
        CHECK(got(&quick) == *text);
    /* The end of the subscriber frees them too. */
    for (char text = 'a'; text < 'f'; text++)
        CHECK(put(home, channel, text) == ACO_OK);
    pump(w);
    waits.late = 0;
    CHECK(publish(home, channel, 'g', 0, &waits) == ACO_OK && waits.late == 1);
    coro_close(&slow);
    pump(w);
    CHECK(told(home, 5));
    coro_close(&quick);
    aco_channel_unref(from_third);
    aco_channel_unref(there);
    aco_channel_unref(channel);
}

/* The way to a process is full: engines wait, what others brought goes when there is room. */
static void
test_full_way(world *w)
{
    side *home = &w->sides[0], *away = &w->sides[1], *third = &w->sides[2];
    aco_channel *channel = channel_at(home, "way"), *there = seen_from(away, channel);
    aco_channel *from_third = seen_from(third, channel);
    aco_return who = {.inbox = home->loop.inbox, .task = 1, .token = 15};
    sending waits = {.who = &who};
    size_t pauses = home->sent[PAUSE];
    coro c;

    coro_open(&c, away, 0);
    subscribe(w, away, there, &c);
    home->full = true;
    CHECK(put(home, channel, '1') == ACO_OK); /* it has been seen only now */
    CHECK(publish(home, channel, 'x', 0, &waits) == ACO_OK && waits.late == 1);
    CHECK(put(third, from_third, '2') == ACO_OK);
    pump(w);
    CHECK(home->sent[PAUSE] == pauses + 1 && put(third, from_third, 'x') == ACO_EBUSY);
    CHECK(got(&c) == 0 && !told(home, 15));
    home->full = false;
    aco_channels_room(home->process, aco_process_id(away->process));
    aco_channels_flush(home->process);
    CHECK(told(home, 15));
    pump(w);
    CHECK(put(third, from_third, '3') == ACO_OK);
    pump(w);
    CHECK(got(&c) == '1' && got(&c) == '2' && got(&c) == '3');
    coro_close(&c);
    aco_channel_unref(from_third);
    aco_channel_unref(there);
    aco_channel_unref(channel);
}

static void
test_lost(world *w)
{
    side *home = &w->sides[0], *away = &w->sides[1], *third = &w->sides[2];
    aco_channel *channel = channel_at(home, "lost"), *there = seen_from(away, channel);
    aco_channel *from_third = seen_from(third, channel);
    sending one = {.ticket = aco_ticket_new(third->process)};
    aco_ticket *ticket;
    size_t count;
    int failure;
    coro a, b;

    coro_open(&a, home, 0);
    coro_open(&b, away, 0);
    subscribe(w, home, channel, &a);
    subscribe(w, away, there, &b);
    /* The answer of a replica does not come. */
    CHECK(publish(third, from_third, 'x', 0, &one) == ACO_OK);
    CHECK(step(w)); /* PUBLISH */
    CHECK(aco_ticket_look(one.ticket, &count, &failure, NULL) == ACO_PENDING);
    CHECK(step(w)); /* CAST */
    lose(w, home, away);
    pump(w);
    CHECK(aco_ticket_look(one.ticket, &count, &failure, NULL) == ACO_OK);
    CHECK(count == 1 && failure == ACO_EPEERDOWN);
    aco_ticket_drop(one.ticket);
    CHECK(aco_channel_await(channel, 2, NULL, &count) == ACO_PENDING && count == 1);
    CHECK(deliver(w, home, channel, 'y', &failure) == 1 && failure == ACO_OK);
    /* The replica has ended; it begins again with a subscription. */
    CHECK(aco_channel_part(there, b.mailbox) == ACO_ENOTFOUND && !aco_channel_closed(there));
    subscribe(w, away, there, &b);
    CHECK(deliver(w, home, channel, 'z', &failure) == 2);
    /* The home does not answer. */
    one.ticket = aco_ticket_new(third->process);
    CHECK(publish(third, from_third, 'w', 9, &one) == ACO_OK);
    pump(w);
    lose(w, home, third);
    CHECK(aco_ticket_look(one.ticket, &count, &failure, NULL) == ACO_OK);
    CHECK(failure == ACO_EPEERDOWN);
    aco_ticket_drop(one.ticket);
    ticket = aco_ticket_new(away->process);
    CHECK(aco_channel_part(there, b.mailbox) == ACO_OK);
    CHECK(join(there, &b, ticket) == ACO_PENDING);
    lose(w, home, away);
    CHECK(aco_ticket_look(ticket, &count, &failure, NULL) == ACO_OK && failure == ACO_EPEERDOWN);
    aco_ticket_drop(ticket);
    CHECK(aco_channel_part(there, b.mailbox) == ACO_ENOTFOUND);
    coro_close(&a);
    coro_close(&b);
    aco_channel_unref(from_third);
    aco_channel_unref(there);
    aco_channel_unref(channel);
}

/* No way to others at all. */
static void
test_unreachable(world *w)
{
    side *home = &w->sides[0], *away = &w->sides[1];
    aco_channel *channel = channel_at(home, "off"), *there = seen_from(away, channel);
    aco_ticket *ticket = aco_ticket_new(away->process);
    size_t count;
    int failure;
    coro c;

    coro_open(&c, away, 0);
    aco_process_set_gate(away->process, NULL);
    CHECK(join(there, &c, ticket) == ACO_PENDING);
    CHECK(aco_ticket_look(ticket, &count, &failure, NULL) == ACO_OK && failure == ACO_EPEERDOWN);
    aco_process_set_gate(away->process, &away->gate);
    aco_ticket_drop(ticket);
    coro_close(&c);
    aco_channel_unref(there);
    aco_channel_unref(channel);
}

/* Answers that come late do not disturb what came after the question. */
static void
test_reordered(world *w)
{
    side *home = &w->sides[0], *away = &w->sides[1];
    aco_channel *channel = channel_at(home, "quick"), *there = seen_from(away, channel);
    aco_ticket *first = aco_ticket_new(away->process), *second = aco_ticket_new(away->process);
    size_t count;
    int failure;
    coro c;

    coro_open(&c, away, 0);
    CHECK(join(there, &c, first) == ACO_PENDING);
    CHECK(aco_channel_part(there, c.mailbox) == ACO_OK);
    CHECK(join(there, &c, second) == ACO_PENDING);
    CHECK(step(w) && step(w)); /* the first subscription, and its end */
    CHECK(put(home, channel, 'x') == ACO_OK);
    pump(w);
    CHECK(aco_ticket_look(first, &count, &failure, NULL) == ACO_OK && failure == ACO_OK);
    CHECK(aco_ticket_look(second, &count, &failure, NULL) == ACO_OK && failure == ACO_OK);
    CHECK(deliver(w, home, channel, 'y', &failure) == 1);
    CHECK(got(&c) == 'y' && got(&c) == 0);
    /* A message that meets the end of a subscription. */
    CHECK(put(home, channel, 'z') == ACO_OK);
    CHECK(aco_channel_part(there, c.mailbox) == ACO_OK);
    pump(w);
    CHECK(got(&c) == 0 && aco_channel_await(channel, 1, NULL, &count) == ACO_PENDING);
    aco_ticket_drop(first);
    aco_ticket_drop(second);
    coro_close(&c);
    aco_channel_unref(there);
    aco_channel_unref(channel);
}

/* What is to become of the message of a job that came. */
static void
serve(side *s, char as)
{
    bool done = false;

    for (aco_post *post = aco_inbox_take(s->loop.inbox), *next; post != NULL; post = next) {
        next = post->next;
        if (post->kind == ACO_POST_CHANNEL && !done) {
            aco_msg *msg = as != 0 ? aco_msg_new(&as, 1) : NULL;
            aco_channel_job_done(post->object, msg);
            aco_msg_unref(msg);
            done = true;
        }
        aco_post_free(post);
    }
    CHECK(done);
}

static void
test_transform(world *w)
{
    side *home = &w->sides[0], *away = &w->sides[1];
    aco_channel *channel = channel_at(home, "change"), *there = seen_from(away, channel);
    sending one = {.ticket = aco_ticket_new(away->process)};
    size_t count, sent = 0;
    int failure;
    coro c;

    coro_open(&c, away, 0);
    subscribe(w, away, there, &c);
    aco_channel_set_transform(channel, true);
    CHECK(aco_channel_way(channel, aco_channel_engine(channel)) == ACO_WAY_TRANSFORM);
    CHECK(aco_channel_way(channel, 999) == ACO_WAY_PUT);
    (void)told(home, 0);
    CHECK(publish(away, there, 'a', 0, &one) == ACO_OK);
    pump(w);
    CHECK(aco_ticket_look(one.ticket, &count, &failure, NULL) == ACO_PENDING && got(&c) == 0);
    serve(home, 'A');
    pump(w);
    CHECK(aco_ticket_look(one.ticket, &count, &failure, NULL) == ACO_OK && count == 1);
    aco_ticket_drop(one.ticket);
    one.ticket = aco_ticket_new(away->process);
    CHECK(got(&c) == 'A' && publish(away, there, 'b', 0, &one) == ACO_OK);
    pump(w);
    serve(home, 0);
    pump(w);
    CHECK(aco_ticket_look(one.ticket, &count, &failure, NULL) == ACO_OK && count == 0);
    aco_ticket_drop(one.ticket);
    /* An engine that transforms slowly is not given more and more. */
    while (sent < 2 * ACO_CHANNEL_QUEUE && put(away, there, 'x') == ACO_OK) {
        sent++;
        pump(w);
    }
    CHECK(sent == ACO_CHANNEL_QUEUE);
    (void)told(home, 0); /* what was posted is freed, and was not done */
    aco_channels_flush(home->process);
    pump(w);
    CHECK(put(away, there, 'y') == ACO_OK);
    pump(w);
    serve(home, 'Y');
    pump(w);
    CHECK(got(&c) == 'Y' && got(&c) == 0);
    coro_close(&c);
    aco_channel_unref(there);
    aco_channel_unref(channel);
}

/* Others are asked to subscribe what lives with them. */
static void
test_join(world *w)
{
    side *home = &w->sides[0], *away = &w->sides[1], *third = &w->sides[2];
    aco_channel *channel = channel_at(home, "join"), *from_third = seen_from(third, channel);
    aco_channel *sub = channel_at(away, "sub");
    aco_ticket *ticket = aco_ticket_new(home->process);
    aco_export *x;
    aco_identity identity;
    size_t count;
    int failure;
    coro c;

    coro_open(&c, away, 0);
    CHECK(aco_export_new(away->seat, ACO_KIND_CORO, 55, "c", c.mailbox, &x) == ACO_OK);
    aco_export_identity(x, &identity);
    CHECK(aco_channel_ask(channel, true, ACO_KIND_CORO, &identity, "there:1", ticket) ==
          ACO_PENDING);
    pump(w);
    CHECK(aco_ticket_look(ticket, &count, &failure, NULL) == ACO_OK && failure == ACO_OK);
    aco_ticket_drop(ticket);
    CHECK(deliver(w, home, channel, '1', &failure) == 1 && got(&c) == '1');
    ticket = aco_ticket_new(third->process);
    CHECK(aco_channel_ask(from_third, false, ACO_KIND_CORO, &identity, "there:1", ticket) ==
          ACO_PENDING);
    pump(w);
    CHECK(aco_ticket_look(ticket, &count, &failure, NULL) == ACO_OK && failure == ACO_OK);
    CHECK(deliver(w, home, channel, '2', &failure) == 0);
    aco_ticket_drop(ticket);
    ticket = aco_ticket_new(third->process);
    CHECK(aco_channel_ask(from_third, false, ACO_KIND_CORO, &identity, "there:1", ticket) ==
          ACO_PENDING);
    pump(w);
    CHECK(aco_ticket_look(ticket, &count, &failure, NULL) == ACO_OK && failure == ACO_ENOTFOUND);
    aco_ticket_drop(ticket);
    /* A channel of another process; and messages that go in a circle come to an end. */
    ticket = aco_ticket_new(home->process);
    aco_channel_identity(sub, &identity);
    CHECK(aco_channel_ask(channel, true, ACO_KIND_CHANNEL, &identity, "there:1", ticket) ==
          ACO_PENDING);
    pump(w);
    CHECK(aco_ticket_look(ticket, &count, &failure, NULL) == ACO_OK && failure == ACO_OK);
    aco_ticket_drop(ticket);
    subscribe(w, away, sub, &c);
    CHECK(deliver(w, home, channel, '3', &failure) == 1 && got(&c) == '3' && got(&c) == 0);
    ticket = aco_ticket_new(away->process);
    aco_channel_identity(channel, &identity);
    CHECK(aco_channel_ask(sub, true, ACO_KIND_CHANNEL, &identity, "there:1", ticket) ==
          ACO_PENDING);
    pump(w);
    aco_ticket_drop(ticket);
    count = deliver(w, home, channel, '4', &failure);
    CHECK(failure == ACO_EINVALID && count > 1 && count < ACO_CHANNEL_HOPS);
    aco_export_end(x, ACO_FINISHED, NULL);
    aco_export_unref(x);
    coro_close(&c);
    aco_channel_close(channel);
    aco_channel_close(sub);
    pump(w);
    aco_channel_unref(sub);
    aco_channel_unref(from_third);
    aco_channel_unref(channel);
}

/* Frames of any kind and size do no harm. */
static void
test_malformed(world *w)
{
    side *s = &w->sides[0];
    const uint8_t *from = aco_process_id(w->sides[1].process);
    aco_channel *channel = channel_at(s, "sturdy");
    aco_identity identity;
    uint8_t key[ACO_IDENTITY_SIZE], body[400];
    uint32_t random = 1;
    coro c;

    coro_open(&c, s, 0);
    subscribe(w, s, channel, &c);
    aco_channel_identity(channel, &identity);
    aco_identity_write(&identity, key);
    for (int round = 0; round < 20000; round++) {
        for (size_t i = 0; i < sizeof body; i++) {
            random = random * 1664525 + 1013904223;
            body[i] = random >> 29 == 0 ? (uint8_t)(random >> 16) : 0;
        }
        if (round % 4 != 0) memcpy(body, key + 16, 12);
        size_t size = (random >> 8) % (round % 3 == 0 ? 400 : 36);
        int type = 30 + (int)(random >> 20) % 20;
        int err = aco_channel_frame(s->process, from, "there:1", type, body, size, NULL);
        CHECK(err == ACO_OK || (err == ACO_EPROTOCOL && (size < HEAD || true)));
        if (type < 32 || type > FORGET || size < HEAD) CHECK(err == ACO_EPROTOCOL);
        if (round % 64 == 0) lose(w, s, &w->sides[1]);
        while (got(&c) != 0)
            continue;
    }
    lose(w, s, &w->sides[1]);
    for (packet *p; (p = take(w)) != NULL;)
        packet_free(p);
    coro_close(&c);
    aco_channel_unref(channel);
}

/* Who goes on although it was told to hold back is told so; who asks for too much is not served. */
static void
test_limits(world *w)
{
    side *home = &w->sides[0], *away = &w->sides[1];
    const uint8_t *from = aco_process_id(away->process);
    aco_channel *channel = channel_at(home, "limits");
    aco_identity identity;
    uint8_t key[ACO_IDENTITY_SIZE], body[26] = {0};
    enum { LARGE = 16 << 20 };
    char *bytes = calloc(1, LARGE);
    aco_msg *large = aco_msg_new(bytes, LARGE);
    int err = ACO_OK, count = 0;
    coro c;

    free(bytes);
    coro_open(&c, home, 1);
    subscribe(w, home, channel, &c);
    aco_channel_identity(channel, &identity);
    aco_identity_write(&identity, key);
    memcpy(body, key + 16, 12);
    while (err == ACO_OK && count < 100) {
        err = aco_channel_frame(home->process, from, "there:1", PUBLISH, body, sizeof body, large);
        count++;
    }
    CHECK(err == ACO_EPROTOCOL && count > 16 && count < 20);
    while (got(&c) == 0 && aco_mailbox_count(c.mailbox) > 0)
        continue;
    lose(w, home, away);
    body[23] = 9; /* subscribers that will not come */
    for (count = 0; count < 5; count++) {
        body[18] = 1;
        body[19] = (uint8_t)count;
        CHECK(aco_channel_frame(home->process, from, "there:1", PUBLISH, body, sizeof body,
                                large) == ACO_OK);
    }
    aco_channels_flush(home->process);
    packet *p = take(w), *last = NULL;
    for (; p != NULL; p = take(w)) {
        if (last != NULL) packet_free(last);
        last = p;
    }
    CHECK(last != NULL && last->type == COUNT && last->body[19] == 4); /* the fifth: busy */
    CHECK(last->body[24] == 7);
    packet_free(last);
    lose(w, home, away);
    aco_msg_unref(large);
    coro_close(&c);
    aco_channel_unref(channel);
}

/* Threads that publish, subscribe, and bring frames, all at once. */
struct stress {
    world *w;
    aco_channel *channel, *there;
    atomic_bool stop;
    atomic_int published;
};

static void *
stress_publish(void *arg)
{
    struct stress *s = arg;

    for (int i = 0; i < 2000; i++)
        if (put(&s->w->sides[i % 2], i % 2 ? s->there : s->channel, 'p') == ACO_OK)
            atomic_fetch_add(&s->published, 1);
    return NULL;
}

static void *
stress_subscribe(void *arg)
{
    struct stress *s = arg;

    for (int i = 0; i < 500; i++) {
        side *at = &s->w->sides[i % 2];
        aco_channel *channel = i % 2 ? s->there : s->channel;
        aco_ticket *ticket = aco_ticket_new(at->process);
        coro c;
        coro_open(&c, at, 16);
        int err = join(channel, &c, ticket);
        CHECK(err == ACO_OK || err == ACO_PENDING);
        if (i % 3 == 0) (void)aco_channel_part(channel, c.mailbox);
        while (got(&c) != 0)
            continue;
        coro_close(&c);
        aco_ticket_drop(ticket);
    }
    return NULL;
}

static void *
stress_pump(void *arg)
{
    struct stress *s = arg;

    for (int i = 0; !atomic_load(&s->stop); i++) {
        if (!step(s->w)) sched_yield();
        if (i % 512 == 0) {
            aco_channels_lost(s->w->sides[0].process, aco_process_id(s->w->sides[1].process));
            aco_channels_lost(s->w->sides[1].process, aco_process_id(s->w->sides[0].process));
            aco_channels_flush(s->w->sides[0].process);
            aco_channels_flush(s->w->sides[1].process);
        }
    }
    return NULL;
}

static void
test_threads(world *w)
{
    struct stress s = {.w = w};
    pthread_t threads[3], pumps;

    s.channel = channel_at(&w->sides[0], "busy");
    s.there = seen_from(&w->sides[1], s.channel);
    pthread_create(&pumps, NULL, stress_pump, &s);
    pthread_create(&threads[0], NULL, stress_publish, &s);
    pthread_create(&threads[1], NULL, stress_publish, &s);
    pthread_create(&threads[2], NULL, stress_subscribe, &s);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    atomic_store(&s.stop, true);
    pthread_join(pumps, NULL);
    pump(w);
    CHECK(atomic_load(&s.published) > 0);
    aco_channel_unref(s.there);
    aco_channel_close(s.channel);
    aco_channel_unref(s.channel);
}

int
main(void)
{
    static void (*const tests[])(world *) = {
        test_one_process, test_once,      test_publish_away, test_await,     test_full_replica,
        test_full_way,    test_lost,      test_unreachable,  test_reordered, test_transform,
        test_join,        test_malformed, test_limits,       test_threads};

    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) {
        world w;
        world_open(&w);
        tests[i](&w);
        world_close(&w);
    }
    return 0;
}
