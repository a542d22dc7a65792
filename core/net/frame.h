/* SPDX-License-Identifier: MIT */
/* frame.h -- frames as they come: heads, bodies, and those that come in parts (docs/protocol.md).
 *
 * The reader takes hostile bytes: what it holds grows with what has come, never with what was
 * announced. One thread, or under the caller's lock. */
#ifndef ACO_FRAME_H
#define ACO_FRAME_H

#include "core/base/buf.h"

enum {
    ACO_FRAME_HEAD = 8,
    ACO_FRAME_PART = 65536,              /* bytes of a message in one part at most */
    ACO_FRAME_MAX = ACO_FRAME_PART + 64, /* bytes of a body at most */
    ACO_FRAME_PARTS = 64,                /* messages that come in parts at the same time, at most */
    ACO_FRAME_TIMES = 4, /* the limit of one: what those announce together, at most */
    ACO_FRAME_FIRST = 1, /* flags of parts */
    ACO_FRAME_LAST = 2
};

/** Write the head of a frame. */
void aco_frame_head(uint8_t out[ACO_FRAME_HEAD], uint32_t size, int type, int flags);

/** Bytes of the body that follows a head. */
uint32_t aco_frame_size(const uint8_t head[ACO_FRAME_HEAD]);

typedef struct aco_frame {
    uint8_t type, flags;
    const uint8_t *body;
    size_t size;
    aco_msg *whole; /* the body, when it came in parts; the reader's. NULL: it did not */
} aco_frame;

typedef struct aco_frames {
    aco_buf in;
    size_t taken;           /* of it, from the start */
    bool filled;            /* it was: more is needed at once */
    unsigned quiet;         /* times in a row that little came */
    size_t limit;           /* bytes of a body that came in parts, at most */
    uint64_t announced;     /* bytes of the messages of which parts are missing */
    struct aco_part *parts; /* messages of which parts are missing */
    unsigned part_count;
    aco_msg *whole; /* of the frame that was given last */
    int failed;     /* the error at which it ended, for good */
    const char *error;
} aco_frames;

void aco_frames_init(aco_frames *f, size_t limit);
void aco_frames_free(aco_frames *f); /* harmless on zeros */

/** Where to put bytes that are received, 16 KiB and more: 64 KiB at first, and more where much
 * comes. ACO_ENOMEM. */
ACO_MUSTUSE int aco_frames_space(aco_frames *f, void **space, size_t *size);

/** Lend the memory for bytes that come to others: with nothing in it, it goes to an empty `spare`,
 * or is freed. And borrow it, when there is none. */
void aco_frames_lend(aco_frames *f, aco_buf *spare);
void aco_frames_borrow(aco_frames *f, aco_buf *spare);

/** So many bytes were put there. */
void aco_frames_filled(aco_frames *f, size_t size);

/** The next frame, valid until the next call of any of these. ACO_EBUSY: more bytes are needed;
 * ACO_EPROTOCOL, ACO_ETOOLARGE, ACO_ENOMEM: aco_frames_error says what is wrong; it stays so. */
ACO_MUSTUSE int aco_frames_next(aco_frames *f, aco_frame *frame);
const char *aco_frames_error(const aco_frames *f);

#endif
