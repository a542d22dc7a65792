/* SPDX-License-Identifier: MIT */
#include "core/base/buf.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"

enum { BUF_FIRST = 64 };

/* Bytes of the first block of a slab, and of the largest; how many messages fit into a largest one
 * at least; the references with which a block begins: more than there can be messages in it. */
enum { BLOCK_FIRST = 1024, BLOCK_LAST = 32 * 1024, BLOCK_SHARE = 8, BLOCK_REFS = 1 << 16 };

struct aco_msg {
    atomic_uint refs;
    bool foreign;
    bool inside; /* `whole` is the block of a slab that it lies in */
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

static void
msg_init(aco_msg *msg, unsigned refs, size_t size)
{
    atomic_init(&msg->refs, refs);
    msg->foreign = msg->inside = false;
    msg->size = size;
    msg->data = msg->bytes;
    msg->whole = NULL;
    msg->adopted = NULL;
}

aco_msg *
aco_msg_new(const void *data, size_t size)
{
    if (size > SIZE_MAX / 2) return NULL;
    aco_msg *msg = malloc(sizeof *msg + size);
    if (msg == NULL) return NULL;
    msg_init(msg, 1, size);
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

static void
refs_drop(aco_msg *msg, unsigned count)
{
    if (atomic_fetch_sub_explicit(&msg->refs, count, memory_order_acq_rel) != count) return;
    aco_msg *whole = msg->whole;
    if (!msg->inside) {
        free(msg->adopted);
        free(msg);
    }
    if (whole != NULL) refs_drop(whole, 1);
}

void
aco_msg_unref(aco_msg *msg)
{
    if (msg != NULL) refs_drop(msg, 1);
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

/* Slabs ---------------------------------------------------------------------------------------- */

void
aco_slab_end(aco_slab *slab)
{
    if (slab->block != NULL) refs_drop(slab->block, BLOCK_REFS - slab->given);
    *slab = (aco_slab){.block = NULL};
}

/* The first message has memory of its own: often there is no second one. */
static aco_msg *
slab_grow(aco_slab *slab, const void *data, size_t size)
{
    size_t next = slab->next;

    while (next > 0 && next < sizeof(aco_msg) + size + _Alignof(aco_msg))
        next *= 2;
    aco_msg *block = next > 0 ? malloc(sizeof *block + next) : NULL;
    if (block != NULL) {
        msg_init(block, BLOCK_REFS, next);
        aco_slab_end(slab);
        slab->block = block;
        slab->left = next;
    }
    slab->next = next == 0 ? BLOCK_FIRST : next < BLOCK_LAST ? 2 * next : next;
    return block != NULL ? aco_slab_add(slab, data, size) : aco_msg_new(data, size);
}

aco_msg *
aco_slab_add(aco_slab *slab, const void *data, size_t size)
{
    const size_t unit = _Alignof(aco_msg);

    if (size > BLOCK_LAST / BLOCK_SHARE) return aco_msg_new(data, size);
    size_t whole = (sizeof(aco_msg) + size + unit - 1) / unit * unit;
    if (whole > slab->left) return slab_grow(slab, data, size);
    aco_msg *msg = (aco_msg *)(void *)(slab->block->bytes + slab->block->size - slab->left);
    msg_init(msg, 1, size);
    msg->inside = true;
    msg->whole = slab->block;
    memcpy(msg->bytes, data, size);
    slab->left -= whole;
    slab->given++;
    return msg;
}
