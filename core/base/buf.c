/* SPDX-License-Identifier: MIT */
#include "core/base/buf.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"

enum { BUF_FIRST = 64 };

struct aco_msg {
    atomic_size_t refs;
    size_t size;
    uint8_t data[];
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
    msg->size = size;
    if (size > 0) memcpy(msg->data, data, size);
    return msg;
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
    if (msg != NULL && atomic_fetch_sub_explicit(&msg->refs, 1, memory_order_acq_rel) == 1)
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
