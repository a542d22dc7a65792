/* SPDX-License-Identifier: MIT */
#include "core/base/buf.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"

enum { BUF_FIRST = 64 };

struct aco_msg {
    atomic_uint refs;
    bool foreign;
    size_t size;
    const uint8_t *data;
    aco_msg *whole; /* a slice: whose bytes they are, an owned reference */
    void *adopted;  /* bytes of their own, to be freed */
    uint8_t bytes[];
};

void
aco_buf_free(aco_buf *buf)
{
    free(buf->data);
    *buf = (aco_buf){0};
}

int
aco_buf_reserve(aco_buf *buf, size_t more)
{
    size_t capacity = buf->capacity ? buf->capacity : BUF_FIRST;

    if (more <= buf->capacity - buf->size) return ACO_OK;
    if (more > SIZE_MAX / 2 - buf->size) return ACO_ENOMEM;
    while (capacity < buf->size + more)
        capacity *= 2;
    uint8_t *data = realloc(buf->data, capacity);
    if (data == NULL) return ACO_ENOMEM;
    buf->data = data;
    buf->capacity = capacity;
    return ACO_OK;
}

int
aco_buf_add(aco_buf *buf, const void *data, size_t size)
{
    int err = aco_buf_reserve(buf, size);

    if (err != ACO_OK || size == 0) return err;
    memcpy(buf->data + buf->size, data, size);
    buf->size += size;
    return ACO_OK;
}

aco_msg *
aco_msg_new(const void *data, size_t size)
{
    if (size > SIZE_MAX / 2) return NULL;
    aco_msg *msg = malloc(sizeof *msg + size);
    if (msg == NULL) return NULL;
    atomic_init(&msg->refs, 1);
    msg->foreign = false;
    msg->size = size;
    msg->data = msg->bytes;
    msg->whole = NULL;
    msg->adopted = NULL;
    if (size > 0) memcpy(msg->bytes, data, size);
    return msg;
}

aco_msg *
aco_msg_slice(aco_msg *whole, const void *data, size_t size)
{
    aco_msg *msg = aco_msg_new(NULL, 0);

    if (msg == NULL) return NULL;
    msg->foreign = whole->foreign;
    msg->size = size;
    msg->data = data;
    msg->whole = aco_msg_ref(whole);
    return msg;
}

aco_msg *
aco_msg_adopt(aco_buf *buf)
{
    aco_msg *msg = aco_msg_new(NULL, 0);

    if (msg == NULL) return NULL;
    msg->size = buf->size;
    msg->data = msg->adopted = buf->data;
    *buf = (aco_buf){.data = NULL};
    return msg;
}

void
aco_msg_mark_foreign(aco_msg *msg)
{
    msg->foreign = true;
}

bool
aco_msg_is_foreign(const aco_msg *msg)
{
    return msg->foreign;
}

aco_msg *
aco_msg_ref(aco_msg *msg)
{
    atomic_fetch_add_explicit(&msg->refs, 1, memory_order_relaxed);
    return msg;
}

void
aco_msg_unref(aco_msg *msg)
{
    if (msg == NULL || atomic_fetch_sub_explicit(&msg->refs, 1, memory_order_acq_rel) != 1) return;
    aco_msg_unref(msg->whole);
    free(msg->adopted);
    free(msg);
}

const void *
aco_msg_data(const aco_msg *msg)
{
    return msg->data;
}

size_t
aco_msg_size(const aco_msg *msg)
{
    return msg->size;
}
