/* SPDX-License-Identifier: MIT */
/* carrier.h -- a connection that carries files: frames and bytes, by calls that block.
 *
 * Nothing waits longer than `patience` without a byte that moves, and everything ends as soon as
 * `wake` is readable. One thread. Failures are an error, with a text in `why`.
 *
 * A frame is a head of 8 bytes, size of the body (u32), type, flags, zero (u16), and the body; all
 * numbers big-endian. docs/protocol.md says what follows what. */
#ifndef ACO_CARRIER_H
#define ACO_CARRIER_H

#include "core/net/dest.h"

struct aco_hash;
struct aco_secure;

enum aco_file_frame {
    ACO_FILE_PUT = 1, /* the sender: an offer */
    ACO_FILE_REMOVE,  /* the sender: a path */
    ACO_FILE_HAVE,    /* the receiver: how much it has, and the sum of that */
    ACO_FILE_START,   /* the sender: where it begins; the bytes follow */
    ACO_FILE_END,     /* the sender: the sum of all, or nothing */
    ACO_FILE_RESULT,  /* the receiver: a code and a text */
    ACO_FILE_WORKING, /* either: it will take a while */
};

enum {
    ACO_CARRIER_BODY = 4096 + 64, /* bytes of a body at most */
    ACO_CARRIER_BLOCK = 256 << 10 /* bytes of a file that are handled at once */
};

typedef struct aco_carrier {
    int fd; /* does not block; the owner's */
    int wake;
    struct aco_secure *secure; /* NULL until the handshake; owned */
    aco_time patience;
    aco_time worked; /* when the other side heard of us last, while it waits for a frame */
    uint8_t head[8];
    size_t head_got;
    uint8_t type, flags;
    size_t size;
    uint8_t body[ACO_CARRIER_BODY];
    uint8_t *block;
    char why[ACO_DEST_WHY];
} aco_carrier;

/** Over a connection; `wake` may be -1. */
void aco_carrier_init(aco_carrier *c, int fd, int wake, aco_time patience);
void aco_carrier_fini(aco_carrier *c);

/** Say why, and give the error. */
ACO_PRINTF(3, 4) int aco_carrier_fail(aco_carrier *c, int err, const char *format, ...);

/** Wait until the descriptor is ready for `events` of poll, or until the deadline; longer while
 * what was sent leaves this machine. ACO_ETIMEOUT, ACO_ECANCELED. */
ACO_MUSTUSE int aco_carrier_wait(aco_carrier *c, int events, aco_time deadline);

/** Read, or write, exactly so many bytes before the handshake. */
ACO_MUSTUSE int aco_carrier_raw(aco_carrier *c, bool write, void *data, size_t size);

/** The handshake of `secure`, which belongs to the carrier from now on, within its patience. */
ACO_MUSTUSE int aco_carrier_shake(aco_carrier *c, struct aco_secure *secure);

/** Send a frame. */
ACO_MUSTUSE int aco_carrier_put(aco_carrier *c, int type, int flags, const void *body, size_t size);

/** Take the next frame that is no WORKING into type, flags, body and size. ACO_EEOF: there is none.
 */
ACO_MUSTUSE int aco_carrier_get(aco_carrier *c);

/** Has something come that aco_carrier_get would give, or the end? Does not wait. */
bool aco_carrier_heard(aco_carrier *c);

/** In the course of long work, often: ACO_ECANCELED when it shall end. Tells the other side that it
 * goes on. */
ACO_MUSTUSE int aco_carrier_work(aco_carrier *c);

/** Send bytes of a file from an offset on, `size` at most; how many that were. They are added to
 * `hash` unless it is NULL. ACO_ETRUNCATED: the file has no more. ACO_EBUSY: the other side has
 * said something, or has gone. */
ACO_MUSTUSE int aco_carrier_send(aco_carrier *c, int file, uint64_t offset, uint64_t size,
                                 struct aco_hash *hash, size_t *put);

/** Receive bytes into `block`, `size` at most and at least one. ACO_EEOF. */
ACO_MUSTUSE int aco_carrier_take(aco_carrier *c, uint64_t size, size_t *got);

/** Read what still comes and throw it away, for a moment: so that what was said last arrives. */
void aco_carrier_drain(aco_carrier *c);

#endif
