/* SPDX-License-Identifier: MIT */
/* outq.h -- frames that wait to be written to a peer.
 *
 * Control frames go before all others. Small frames gather in large chunks, so that a million of
 * them are few pieces to write. What is larger than a frame may be goes in parts, taking turns with
 * everything else; meanwhile frames for the same target wait behind it, in a lane, so that all
 * frames for a target leave in the order in which they were added. One thread, or under the
 * caller's lock. */
#ifndef ACO_OUTQ_H
#define ACO_OUTQ_H

#include "core/base/link.h"
#include "core/net/frame.h"

#include <sys/uio.h>

enum { ACO_OUTQ_TARGET = 12, ACO_OUTQ_HEAD = 320 };

typedef struct aco_outq {
    aco_link ready;   /* of pieces: to be written next, in this order; the first may be in part */
    aco_link control; /* of pieces: control frames */
    aco_link small;   /* of pieces: all that goes as it is */
    aco_link lanes;   /* of struct lane: what goes in parts; the first is next */
    size_t size;      /* bytes held */
    size_t ready_size;
    uint64_t small_in, small_out; /* bytes that went into `small`, and out of it */
    uint32_t last_number;
    struct aco_piece *spare;
} aco_outq;

void aco_outq_init(aco_outq *q);
void aco_outq_free(aco_outq *q);

/** Add a frame, of which the body is `head` (ACO_OUTQ_HEAD bytes at most) and the bytes of `msg`
 * (may be NULL), which is copied or held. `target` (may be NULL): the first bytes of whom it is
 * for. ACO_ENOMEM: nothing was added. */
ACO_MUSTUSE int aco_outq_add(aco_outq *q, int type, int flags, const uint8_t *target,
                             const void *head, size_t head_size, aco_msg *msg);

/** What is to be written next; how many pieces. They stay until they are consumed. */
int aco_outq_iov(aco_outq *q, struct iovec *pieces, int max);

/** So many bytes of it were written. */
void aco_outq_consumed(aco_outq *q, size_t size);

/** Bytes that are held. */
static inline size_t
aco_outq_size(const aco_outq *q)
{
    return q->size;
}

#endif
