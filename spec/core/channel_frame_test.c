/* SPDX-License-Identifier: MIT */
/* channel_frame_test.c -- channels: the frames of docs/protocol_channels.md, whatever is in them,
 * and all at once from several threads. */
#include "spec/core/channel_world.h"

/* The next frame arrives; it is this one, after its head, in hexadecimal digits. */
static void
expect(world *w, int type, const char *digits)
{
    const packet *p = w->head;
    char text[256];
    size_t at = 0;

    CHECK(p != NULL && p->type == type);
    for (size_t i = 0; i < p->size; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "%02x", p->body[i]);
    const uint8_t *value = p->value != NULL ? aco_msg_data(p->value) : NULL;
    for (size_t i = 0; value != NULL && i < aco_msg_size(p->value); i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "%02x", value[i]);
    if (strcmp(text, digits) != 0) fprintf(stderr, "%d: %s\n", type, text);
    CHECK(strcmp(text, digits) == 0);
    step(w);
}

/* The bytes that docs/protocol_channels.md shows. */
static void
test_bytes(world *w)
{
    side *home = &w->sides[0], *away = &w->sides[1];
    aco_ticket *ticket = aco_ticket_new(away->process);
    aco_msg *msg = aco_msg_new("\xa2hi", 3);
    aco_channel *channel, *there;
    coro a, b;

    CHECK(aco_channel_new(home->seat, 9, "news", &channel) == ACO_OK);
    there = seen_from(away, channel);
    coro_open(&a, home, 0);
    coro_open(&b, away, 1);
    subscribe(w, home, channel, &a);
    CHECK(join(there, &b, ticket) == ACO_PENDING);
    expect(w, SUBSCRIBE, "000000010000000000000009000000000000000100000001");
    expect(w, COUNT, "0000000100000000000000090000000000000001000000000000");
    CHECK(aco_channel_put(there, msg, ticket, 0, 0, NULL) == ACO_OK);
    expect(w, PUBLISH, "0000000100000000000000090000000000000002000000000000a26869");
    expect(w, COUNT, "0000000100000000000000090000000000000002000000010001");
    expect(w, CAST, "00000001000000000000000900000000000000010000a26869");
    expect(w, COUNT, "0000000100000000000000090000000000000001000000010000");
    expect(w, COUNT, "0000000100000000000000090000000000000002000000020000");
    CHECK(put(home, channel, 1) == ACO_OK);
    expect(w, CAST, "0000000100000000000000090000000000000000000001");
    expect(w, PAUSE, "000000010000000000000009000000000000000000");
    aco_channel_close(channel);
    expect(w, CLOSED, "0000000100000000000000090000000000000000");
    pump(w);
    aco_ticket_drop(ticket);
    aco_msg_unref(msg);
    coro_close(&a);
    coro_close(&b);
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
    static void (*const tests[])(world *) = {test_bytes, test_join, test_malformed, test_limits,
                                             test_threads};

    worlds_run(tests, sizeof tests / sizeof *tests);
    return 0;
}
