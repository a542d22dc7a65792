/* SPDX-License-Identifier: MIT */
/* buf.h -- bytes: a buffer that grows at its end, and messages that many may hold. */
#ifndef ACO_BUF_H
#define ACO_BUF_H

#include "core/base/defs.h"

/** A growing run of bytes; all zeros is an empty one. Owned by whoever declares it. */
typedef struct aco_buf {
    uint8_t *data;
    size_t size, capacity;
} aco_buf;

void aco_buf_free(aco_buf *buf);

/** Make room for `more` bytes after the end, ACO_ENOMEM when there is none; the buffer stays as it
 * was then. */
ACO_MUSTUSE int aco_buf_reserve(aco_buf *buf, size_t more);

/** Append. ACO_ENOMEM: nothing was appended. */
ACO_MUSTUSE int aco_buf_add(aco_buf *buf, const void *data, size_t size);

/** Bytes that never change, with a count of those who hold them. Any thread. */
typedef struct aco_msg aco_msg;

/** A message with a copy of `size` bytes and one reference; NULL without memory. */
aco_msg *aco_msg_new(const void *data, size_t size);

/** A message of the `size` bytes at `data`, which lie inside `whole` and are not copied: `whole` is
 * kept. NULL without memory. */
aco_msg *aco_msg_slice(aco_msg *whole, const void *data, size_t size);

/** A message of the bytes in the buffer, which is empty afterwards. NULL without memory: the buffer
 * is as before. */
aco_msg *aco_msg_adopt(aco_buf *buf);

/** Whoever made it may say, before anybody else sees it, that it came from another process. */
void aco_msg_mark_foreign(aco_msg *msg);
bool aco_msg_is_foreign(const aco_msg *msg);
aco_msg *aco_msg_ref(aco_msg *msg);
void aco_msg_unref(aco_msg *msg); /* NULL is allowed */
const void *aco_msg_data(const aco_msg *msg);
size_t aco_msg_size(const aco_msg *msg);

/** Memory for messages that are made, and let go, one after the other, as those to one mailbox are:
 * they share a few blocks, and a block stays until the last of its messages has gone. All zeros is
 * an empty one. One thread makes them; they are like all others. */
typedef struct aco_slab {
    aco_msg *block;    /* owned reference */
    size_t left, next; /* bytes left in it, and of the block that follows */
    unsigned given;    /* messages in it */
} aco_slab;

/** As aco_msg_new. */
aco_msg *aco_slab_add(aco_slab *slab, const void *data, size_t size);

/** Its messages stay. It is empty afterwards. */
void aco_slab_end(aco_slab *slab);

#endif
