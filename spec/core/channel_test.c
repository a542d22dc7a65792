/* SPDX-License-Identifier: MIT */
/* channel_test.c -- channels: subscribers of several engines, and of several processes. */
#include "spec/core/channel_world.h"

enum { MANY = 1000 };

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

int
main(void)
{
    static void (*const tests[])(world *) = {
        test_one_process, test_once, test_publish_away, test_await,     test_full_replica,
        test_full_way,    test_lost, test_unreachable,  test_reordered, test_transform};

    worlds_run(tests, sizeof tests / sizeof *tests);
    return 0;
}
