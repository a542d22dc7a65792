/* SPDX-License-Identifier: MIT */
/* buf_test.c -- buffers that grow, and messages that many hold. */
#include "core/base/buf.h"
#include "core/base/error.h"
#include "spec/core/check.h"

#include <pthread.h>
#include <string.h>

enum { BYTES = 100000, THREADS = 4, ROUNDS = 20000, SLAB_MESSAGES = 3000 };

static void
test_buf(void)
{
    aco_buf buf = {0};

    CHECK(aco_buf_add(&buf, NULL, 0) == ACO_OK && buf.size == 0);
    for (size_t i = 0; i < BYTES; i++) {
        uint8_t byte = (uint8_t)(i * 7);
        CHECK(aco_buf_add(&buf, &byte, 1) == ACO_OK);
        CHECK(buf.size == i + 1 && buf.capacity >= buf.size);
    }
    for (size_t i = 0; i < BYTES; i++)
        CHECK(buf.data[i] == (uint8_t)(i * 7));
    aco_buf_free(&buf);
    CHECK(buf.data == NULL && buf.size == 0 && buf.capacity == 0);
    aco_buf_free(&buf);
}

/* Room is there when it was promised, and no larger one is when it could not be. */
static void
test_reserve(void)
{
    aco_buf buf = {0};

    CHECK(aco_buf_add(&buf, "abc", 3) == ACO_OK);
    CHECK(aco_buf_reserve(&buf, 1000) == ACO_OK && buf.size == 3 && buf.capacity >= 1003);
    uint8_t *data = buf.data;
    memset(buf.data + 3, 'x', 1000);
    CHECK(aco_buf_reserve(&buf, buf.capacity - 3) == ACO_OK && buf.data == data);
    CHECK(aco_buf_reserve(&buf, SIZE_MAX) == ACO_ENOMEM);
    CHECK(aco_buf_reserve(&buf, SIZE_MAX - 3) == ACO_ENOMEM);
    CHECK(aco_buf_add(&buf, "x", SIZE_MAX / 2) == ACO_ENOMEM);
    CHECK(buf.data == data && buf.size == 3 && memcmp(buf.data, "abc", 3) == 0);
    aco_buf_free(&buf);
}

static void *
hold(void *arg)
{
    aco_msg *msg = arg;

    for (int i = 0; i < ROUNDS; i++) {
        CHECK(aco_msg_ref(msg) == msg);
        CHECK(aco_msg_size(msg) == 6);
        aco_msg_unref(msg);
    }
    aco_msg_unref(msg);
    return NULL;
}

static void
test_msg(void)
{
    char text[] = "letter";
    pthread_t threads[THREADS];
    aco_msg *msg = aco_msg_new(text, 6);

    memset(text, 0, sizeof text); /* it has a copy */
    for (int t = 0; t < THREADS; t++)
        CHECK(pthread_create(&threads[t], NULL, hold, aco_msg_ref(msg)) == 0);
    for (int t = 0; t < THREADS; t++)
        CHECK(pthread_join(threads[t], NULL) == 0);
    CHECK(memcmp(aco_msg_data(msg), "letter", 6) == 0);
    aco_msg_unref(msg);

    msg = aco_msg_new(NULL, 0);
    CHECK(msg != NULL && aco_msg_size(msg) == 0 && aco_msg_data(msg) != NULL);
    aco_msg_unref(msg);
    aco_msg_unref(NULL);
    CHECK(aco_msg_new("x", SIZE_MAX) == NULL);
}

static void *
let_go(void *arg)
{
    aco_msg **all = arg;

    for (int i = 0; i < SLAB_MESSAGES; i++) {
        CHECK(aco_msg_size(all[i]) == (size_t)i % 300);
        for (size_t at = 0; at < aco_msg_size(all[i]); at++)
            CHECK(((const uint8_t *)aco_msg_data(all[i]))[at] == (uint8_t)i);
        aco_msg_unref(all[i]);
    }
    return NULL;
}

/* Messages of a slab are like any other: of all sizes, let go by another thread, before and after
 * the slab has ended, and some that stay. */
static void
test_slab(void)
{
    static aco_msg *all[SLAB_MESSAGES];
    static uint8_t bytes[100000];
    pthread_t thread;
    aco_slab slab = {.block = NULL};

    aco_slab_end(&slab);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < SLAB_MESSAGES; i++) {
            memset(bytes, i, 300);
            all[i] = aco_slab_add(&slab, bytes, (size_t)i % 300);
            CHECK(all[i] != NULL && !aco_msg_is_foreign(all[i]));
        }
        if (round == 1) aco_slab_end(&slab);
        CHECK(pthread_create(&thread, NULL, let_go, all) == 0);
        CHECK(pthread_join(thread, NULL) == 0);
    }
    memset(bytes, 'x', sizeof bytes);
    for (size_t size = 1; size <= sizeof bytes; size = 3 * size + 1) {
        aco_msg *msg = aco_slab_add(&slab, bytes, size);
        CHECK(aco_msg_size(msg) == size && memcmp(aco_msg_data(msg), bytes, size) == 0);
        aco_msg *slice = aco_msg_slice(msg, aco_msg_data(msg), 1);
        aco_msg_unref(msg);
        CHECK(*(const char *)aco_msg_data(slice) == 'x');
        aco_msg_unref(slice);
    }
    aco_slab_end(&slab);
}

int
main(void)
{
    test_buf();
    test_reserve();
    test_msg();
    test_slab();
    return 0;
}
