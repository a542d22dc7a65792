/* SPDX-License-Identifier: MIT */
/* outq.h -- frames that wait to be written to a peer.
 *
 * Control frames go before all others. Small frames gather in large chunks, so that a million of
 * them are few pieces to write. What is larger than a frame may be goes in parts, taking turns with
 * everything else; meanwhile frames for the same target wait behind it, in a lane, so that all
 * frames for a target leave in the order in which they were added. Of many lanes so many take turns
 * as a receiver allows, the others begin when one of them has ended. Memory is needed to add, not
 * to write. One thread, or under the caller's lock. */
#ifndef ACO_OUTQ_H
#define ACO_OUTQ_H

#include "core/base/link.h"
#include "core/base/map.h"
#include "core/net/frame.h"

#include <sys/uio.h>

enum {
    ACO_OUTQ_TARGET = 12,
    ACO_OUTQ_HEAD = 320,                 /* of a head, at most */
    ACO_OUTQ_TURNS = ACO_FRAME_PARTS / 2 /* messages that go in parts at the same time */
};

typedef struct aco_outq {
    aco_link ready;   /* of pieces: to be written next, in this order; the first may be in part */
    aco_link control; /* of pieces: control frames */
    aco_link small;   /* of pieces: all that goes as it is */
    aco_link turns;   /* of lanes that have begun; the first is next */
    aco_link waiting; /* of lanes that begin when others have ended */
    aco_map lanes;    /* target -> lane: all that have a target */
    size_t size;      /* bytes held */
    size_t ready_size;
    uint64_t small_in, small_out; /* bytes that went into `small`, and out of it */
    uint32_t last_number;
    uint32_t turn_count;               /* lanes in `turns` */
    size_t turn_size, turn_limit;      /* bytes that those have announced; that they may */
    aco_link chunks, shorts;           /* of pieces: kept for the next frames */
    uint32_t chunk_count, short_count; /* of them */
} aco_outq;

void aco_outq_init(aco_outq *q);
void aco_outq_free(aco_outq *q);

/** Add a frame, of which the body is `head` (ACO_OUTQ_HEAD bytes at most) and the bytes of `msg`
 * (may be NULL), which is copied or held. `target` (may be NULL): whom it is for. Control frames
 * are no longer than a frame may be. ACO_ENOMEM, ACO_EINVALID (such a size): nothing was added. */
ACO_MUSTUSE int aco_outq_add(aco_outq *q, int type, int flags, const uint8_t *target,
                             const void *head, size_t head_size, aco_msg *msg);

/** What is to be written next; how many pieces. They stay until they are consumed. */
int aco_outq_iov(aco_outq *q, struct iovec *pieces, int max);

/** Give back memory that is kept for frames to come. */
void aco_outq_trim(aco_outq *q);

/** So many bytes of it were written. */
void aco_outq_consumed(aco_outq *q, size_t size);

/** Append to `out` what is left of a frame of which the first bytes were consumed, if there is one:
 * whoever breaks off ends with it, so that something else may follow. ACO_ENOMEM: nothing was
 * appended. The queue is as before. */
ACO_MUSTUSE int aco_outq_rest(const aco_outq *q, aco_buf *out);

/** Bytes that are held. */
static inline size_t
aco_outq_size(const aco_outq *q)
{
    return q->size;
}

#endif
