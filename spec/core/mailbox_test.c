/* SPDX-License-Identifier: MIT */
/* mailbox_test.c -- one queue for words and parcels, its limits, those who wait for room, and posts
 * of many threads at once. */
#include "core/base/error.h"
#include "core/engine/loop.h"
#include "core/engine/mailbox.h"
#include "spec/core/check.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

enum { THREADS = 4, MESSAGES = 5000, LIMIT = 16 };

static aco_parcel *
parcel_new(uint32_t value, size_t size)
{
    uint8_t bytes[64] = {0};

    memcpy(bytes, &value, sizeof value);
    aco_msg *msg = aco_msg_new(bytes, size < sizeof value ? sizeof value : size);
    aco_parcel *parcel = aco_parcel_new(msg, NULL);
    aco_msg_unref(msg);
    return parcel;
}

static uint32_t
parcel_value(const aco_entry *entry)
{
    uint32_t value;

    CHECK(entry->tag == ACO_ENTRY_PARCEL);
    memcpy(&value, aco_msg_data(entry->u.parcel->msg), sizeof value);
    return value;
}

static aco_post *
take_one(aco_loop *loop, enum aco_post_kind kind)
{
    aco_post *post = aco_inbox_take(loop->inbox);

    CHECK(post != NULL && post->kind == kind && post->next == NULL);
    return post;
}

/* Words and parcels come out in the order in which they went in. */
static void
test_order(aco_loop *loop)
{
    aco_task task;
    aco_entry entry;

    aco_task_init(&task, 1);
    aco_mailbox *mb = aco_mailbox_new(&task, 0);
    CHECK(aco_mailbox_push(mb, (aco_entry){.tag = 7, .u.word = 1}) == ACO_OK);
    CHECK(!aco_mailbox_shared(mb));
    aco_mailbox_share(mb, loop->inbox);
    aco_mailbox_share(mb, loop->inbox);
    for (uint32_t i = 2; i <= 40; i++) {
        if (i % 2 == 0)
            CHECK(aco_mailbox_post(mb, parcel_new(i, 8), NULL) == ACO_OK);
        else
            CHECK(aco_mailbox_push(mb, (aco_entry){.tag = 7, .u.word = i}) == ACO_OK);
    }
    aco_post *post = take_one(loop, ACO_POST_MAIL); /* one notice, however many have come */
    CHECK(aco_mailbox_noticed(post) == mb && aco_mailbox_task(mb) == &task);
    aco_mailbox_unref(mb);
    CHECK(aco_mailbox_count(mb) == 40);
    for (uint32_t i = 1; i <= 40; i++) {
        CHECK(aco_mailbox_pop(loop, mb, &entry));
        if (i % 2 == 0) {
            CHECK(parcel_value(&entry) == i);
            aco_parcel_free(entry.u.parcel);
        } else {
            CHECK(entry.tag == 7 && entry.u.word == i);
        }
    }
    CHECK(!aco_mailbox_pop(loop, mb, &entry));
    CHECK(aco_mailbox_post(mb, parcel_new(1, 4), NULL) == ACO_OK);
    aco_mailbox_close(loop, mb);
    aco_mailbox_unref(mb); /* the notice in the inbox has one too */
    post = take_one(loop, ACO_POST_MAIL);
    CHECK(aco_mailbox_noticed(post) == mb && aco_mailbox_task(mb) == NULL);
    aco_mailbox_unref(mb);
}

/* A full mailbox refuses; who waits is told when it is half empty, and not when it waits no more.
 */
static void
test_limit(aco_loop *loop)
{
    aco_task task;
    aco_entry entry;
    const aco_return me = {.inbox = loop->inbox, .task = 5, .token = 6};
    const aco_return other = {.inbox = loop->inbox, .task = 5, .token = 7};

    aco_task_init(&task, 1);
    aco_mailbox *mb = aco_mailbox_new(&task, 4);
    aco_mailbox_share(mb, loop->inbox);
    for (uint32_t i = 0; i < 4; i++)
        CHECK(aco_mailbox_post(mb, parcel_new(i, 4), NULL) == ACO_OK);
    aco_post_free(take_one(loop, ACO_POST_MAIL));
    CHECK(aco_mailbox_full(mb));
    aco_parcel *late = parcel_new(4, 4);
    CHECK(aco_mailbox_push(mb, (aco_entry){.tag = 7}) == ACO_EBUSY);
    CHECK(aco_mailbox_post(mb, late, NULL) == ACO_EBUSY);
    CHECK(aco_mailbox_post(mb, late, &me) == ACO_EBUSY);
    CHECK(aco_mailbox_post(mb, late, &other) == ACO_EBUSY);
    CHECK(aco_mailbox_post_forced(mb, late) == ACO_OK);
    aco_mailbox_forget(mb, &other);
    for (int i = 0; i < 3; i++) {
        CHECK(aco_inbox_empty(loop->inbox));
        CHECK(aco_mailbox_pop(loop, mb, &entry));
        aco_parcel_free(entry.u.parcel);
    }
    aco_post *post = take_one(loop, ACO_POST_SPACE);
    CHECK(post->task == 5 && post->token == 6);
    aco_post_free(post);
    CHECK(!aco_mailbox_closed(mb));
    aco_mailbox_close(loop, mb);
    CHECK(aco_mailbox_closed(mb));
    late = parcel_new(9, 4);
    CHECK(aco_mailbox_post(mb, late, &me) == ACO_ECLOSED);
    CHECK(aco_mailbox_post_forced(mb, late) == ACO_ECLOSED);
    aco_parcel_free(late);
    aco_mailbox_unref(mb);
}

/* The ring grows wherever its head is. */
static void
test_ring(aco_loop *loop)
{
    aco_task task;
    aco_entry entry;
    uint64_t in = 0, out = 0;

    aco_task_init(&task, 1);
    aco_mailbox *mb = aco_mailbox_new(&task, 0);
    for (int round = 0; round < 60; round++) {
        for (int i = 0; i < round; i++)
            CHECK(aco_mailbox_push(mb, (aco_entry){.tag = 7, .u.word = in++}) == ACO_OK);
        CHECK(aco_mailbox_count(mb) == in - out);
        for (int i = 0; i < round - 1; i++)
            CHECK(aco_mailbox_pop(loop, mb, &entry) && entry.u.word == out++);
    }
    while (aco_mailbox_pop(loop, mb, &entry))
        CHECK(entry.tag == 7 && entry.u.word == out++);
    CHECK(in == out && aco_mailbox_count(mb) == 0);
    for (int i = 0; i < ACO_MAILBOX_COUNT; i++)
        CHECK(aco_mailbox_push(mb, (aco_entry){.tag = 7}) == ACO_OK);
    CHECK(aco_mailbox_push(mb, (aco_entry){.tag = 7}) == ACO_EBUSY);
    aco_mailbox_force(mb, true);
    CHECK(aco_mailbox_push(mb, (aco_entry){.tag = 7}) == ACO_OK);
    aco_mailbox_force(mb, false);
    CHECK(aco_mailbox_full(mb));
    aco_mailbox_close(loop, mb);
    CHECK(aco_mailbox_pop(loop, mb, &entry)); /* what is queued can still be had */
    aco_mailbox_unref(mb);
}

static void
park_for_space(aco_loop *loop, aco_task *task, aco_mailbox *mb)
{
    aco_task_init(task, 9);
    aco_task_ready(loop, task);
    CHECK(aco_loop_pop(loop) == task);
    task->state = ACO_RUNNING;
    aco_wait_begin(task, ACO_WAIT_SEND);
    aco_wait_on(task, aco_mailbox_space(mb));
    aco_wait_park(loop, task);
}

/* Senders of the same engine wait in a queue: as many are woken as there is room for. */
static void
test_space(aco_loop *loop)
{
    aco_task task, senders[3];
    aco_entry entry;

    aco_task_init(&task, 1);
    aco_mailbox *mb = aco_mailbox_new(&task, 4);
    for (int i = 0; i < 4; i++)
        CHECK(aco_mailbox_push(mb, (aco_entry){.tag = 7}) == ACO_OK);
    for (int i = 0; i < 3; i++)
        park_for_space(loop, &senders[i], mb);
    CHECK(aco_mailbox_pop(loop, mb, &entry) && loop->ready == 0);
    CHECK(aco_mailbox_pop(loop, mb, &entry) && loop->ready == 2); /* half empty */
    for (int i = 0; i < 2; i++)
        CHECK(aco_loop_pop(loop) == &senders[i] && senders[i].wake_err == ACO_OK);
    aco_mailbox_close(loop, mb);
    CHECK(aco_loop_pop(loop) == &senders[2] && senders[2].wake_err == ACO_ENOTFOUND);
    CHECK(loop->parked == 0);
    aco_mailbox_unref(mb);
}

/* Those who wait are told when the task ends. */
static void
test_close_tells(aco_loop *loop)
{
    aco_task task;
    const aco_return me = {.inbox = loop->inbox, .task = 1, .token = 2};

    aco_task_init(&task, 1);
    aco_mailbox *mb = aco_mailbox_new(&task, 1);
    aco_mailbox_share(mb, loop->inbox);
    CHECK(aco_mailbox_post(mb, parcel_new(1, 4), NULL) == ACO_OK);
    aco_post_free(take_one(loop, ACO_POST_MAIL));
    aco_parcel *late = parcel_new(2, 4);
    CHECK(aco_mailbox_post(mb, late, &me) == ACO_EBUSY);
    aco_mailbox_close(loop, mb);
    aco_post_free(take_one(loop, ACO_POST_SPACE));
    aco_parcel_free(late);
    aco_mailbox_unref(mb);
}

/* Many threads post into a small mailbox while its owner takes: each waits for room in turn. */
typedef struct sender {
    pthread_t thread;
    aco_mailbox *mb;
    aco_inbox *inbox;
    uint32_t number;
} sender;

static void *
send_all(void *arg)
{
    const sender *s = arg;
    const aco_return me = {.inbox = s->inbox, .task = s->number, .token = 1};

    for (uint32_t i = 0; i < MESSAGES; i++) {
        aco_parcel *parcel = parcel_new(s->number << 24 | i, 8);
        for (;;) {
            int err = aco_mailbox_post(s->mb, parcel, &me);
            if (err == ACO_OK) break;
            CHECK(err == ACO_EBUSY);
            aco_post *post;
            while ((post = aco_inbox_take(s->inbox)) == NULL)
                sched_yield();
            CHECK(post->kind == ACO_POST_SPACE && post->task == s->number && post->next == NULL);
            aco_post_free(post);
        }
    }
    return NULL;
}

static void
test_threads(aco_loop *loop)
{
    aco_task task;
    aco_entry entry;
    sender senders[THREADS];
    uint32_t next[THREADS] = {0};

    aco_task_init(&task, 1);
    aco_mailbox *mb = aco_mailbox_new(&task, LIMIT);
    aco_mailbox_share(mb, loop->inbox);
    for (uint32_t t = 0; t < THREADS; t++) {
        senders[t] = (sender){.mb = aco_mailbox_ref(mb), .inbox = aco_inbox_new(), .number = t};
        CHECK(pthread_create(&senders[t].thread, NULL, send_all, &senders[t]) == 0);
    }
    for (int total = 0; total < THREADS * MESSAGES;) {
        for (aco_post *post = aco_inbox_take(loop->inbox), *after; post != NULL; post = after) {
            after = post->next;
            CHECK(post->kind == ACO_POST_MAIL && aco_mailbox_noticed(post) == mb);
            aco_mailbox_unref(mb);
        }
        CHECK(aco_mailbox_count(mb) <= LIMIT);
        while (aco_mailbox_pop(loop, mb, &entry)) {
            uint32_t value = parcel_value(&entry), t = value >> 24;
            CHECK((value & 0xffffff) == next[t]++);
            aco_parcel_free(entry.u.parcel);
            total++;
        }
        sched_yield();
    }
    for (uint32_t t = 0; t < THREADS; t++) {
        CHECK(pthread_join(senders[t].thread, NULL) == 0);
        aco_mailbox_unref(senders[t].mb);
        aco_inbox_unref(senders[t].inbox);
    }
    aco_mailbox_close(loop, mb);
    aco_mailbox_unref(mb);
}

/* The short ways say yes only where the long ones would do the same. */
static void
test_short_ways(aco_loop *loop)
{
    const aco_entry word = {.tag = 7, .u.word = 1};
    aco_task task;
    aco_entry entry;

    aco_task_init(&task, 1);
    aco_mailbox *mb = aco_mailbox_new(&task, 9);
    CHECK(aco_mailbox_idle(mb) && !aco_mailbox_roomy(mb)); /* it has no memory yet */
    CHECK(aco_mailbox_push(mb, word) == ACO_OK && !aco_mailbox_idle(mb));
    for (; aco_mailbox_roomy(mb);)
        aco_mailbox_append(mb, word);
    CHECK(aco_mailbox_count(mb) == 8 && !aco_mailbox_full(mb)); /* the ring would have to grow */
    CHECK(aco_mailbox_push(mb, word) == ACO_OK && aco_mailbox_full(mb));
    CHECK(!aco_mailbox_roomy(mb)); /* the limit */
    CHECK(aco_mailbox_pop(loop, mb, &entry) && aco_mailbox_roomy(mb));
    aco_mailbox_share(mb, loop->inbox);
    CHECK(!aco_mailbox_roomy(mb)); /* others may post at the same time */
    while (aco_mailbox_pop(loop, mb, &entry))
        continue;
    CHECK(!aco_mailbox_idle(mb));
    aco_mailbox_close(loop, mb);
    aco_mailbox_unref(mb);
}

/* A message completes the wait for it, and its deadline is none any more. */
static void
test_received(aco_loop *loop)
{
    aco_task task;

    aco_task_init(&task, 1);
    task.state = ACO_RUNNING;
    aco_wait_begin(&task, ACO_WAIT_RECEIVE);
    task.flags = ACO_TASK_RECEIVE;
    CHECK(aco_wait_deadline(loop, &task, 1) == ACO_OK);
    aco_wait_park(loop, &task);
    CHECK(loop->parked == 1 && loop->timers.count == 1);
    aco_task_received(loop, &task);
    CHECK(task.state == ACO_READY && task.wake_err == ACO_OK && task.flags == 0);
    CHECK(loop->parked == 0 && loop->timers.count == 0 && loop->ready == 1);
    CHECK(aco_loop_pop(loop) == &task && aco_loop_pop(loop) == NULL);
}

int
main(void)
{
    aco_loop loop;

    CHECK(aco_loop_init(&loop, NULL) == ACO_OK);
    test_order(&loop);
    test_limit(&loop);
    test_ring(&loop);
    test_space(&loop);
    test_short_ways(&loop);
    test_received(&loop);
    test_close_tells(&loop);
    test_threads(&loop);
    aco_loop_fini(&loop);
    return 0;
}
