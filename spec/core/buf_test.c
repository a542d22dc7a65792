/* SPDX-License-Identifier: MIT */
/* buf_test.c -- buffers that grow, and messages that many hold. */
#include "core/base/buf.h"
#include "core/base/error.h"
#include "spec/core/check.h"

#include <pthread.h>
#include <string.h>

enum { BYTES = 100000, THREADS = 4, ROUNDS = 20000 };

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

int
main(void)
{
    test_buf();
    test_reserve();
    test_msg();
    return 0;
}
