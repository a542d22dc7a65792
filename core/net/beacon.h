/* SPDX-License-Identifier: MIT */
/* beacon.h -- the datagrams of discovery: who is where, under a key that all who may know share.
 *
 * On the wire, all integers big-endian:
 *
 *   'A' 'C' 'O' 'D' version(1) kind(1) zero(2) process(16) nonce(16) time(8, microseconds of 1970)
 *   size(2) location  size(1) name  mac(16: HMAC-SHA256 of all before it, its first half)
 *
 * Any thread. */
#ifndef ACO_BEACON_H
#define ACO_BEACON_H

#include "core/net/location.h"

enum {
    ACO_BEACON_MAX = 1024, /* bytes of a datagram at most */
    ACO_BEACON_KEY = 32,
    ACO_BEACON_VERSION = 1,
    ACO_BEACON_NAME = 255,     /* bytes of a name at most */
    ACO_BEACON_LATENESS = 300, /* seconds that two clocks may differ */
};

enum aco_beacon_kind {
    ACO_BEACON_PING = 1, /* I am here; who else? */
    ACO_BEACON_HERE = 2, /* the answer, to the one who asked */
    ACO_BEACON_LEAVE = 3,
    ACO_BEACON_PROBE =
        4, /* who is there? I am none of you (asyncoro doctor): no location, or one */
};

struct aco_beacon {
    enum aco_beacon_kind kind;
    uint8_t process[16];
    uint8_t nonce[16]; /* random; the same in all copies of one ping */
    double time;       /* of its sender's clock, seconds since 1970 */
    char location[ACO_LOCATION_TEXT];
    char name[ACO_BEACON_NAME + 1]; /* no control characters */
};

/** Why a datagram is refused. */
enum aco_beacon_fault {
    ACO_BEACON_GOOD,
    ACO_BEACON_FOREIGN,   /* it is somebody else's */
    ACO_BEACON_OTHER,     /* of another version */
    ACO_BEACON_FORGED,    /* of another secret, or forged */
    ACO_BEACON_MALFORMED, /* of the right secret, but not as it should be */
    ACO_BEACON_CLOCK,     /* the clocks differ too much; all of it has been read */
    ACO_BEACON_FAULTS,
};

/** Write the datagram and return its size, 0 when OpenSSL refuses. A name that is too long is cut
 * and its control characters become '?'. */
size_t aco_beacon_write(const struct aco_beacon *beacon, const uint8_t key[ACO_BEACON_KEY],
                        uint8_t data[ACO_BEACON_MAX]);

/** Read one; `now`: our clock. Nothing but its head is looked at before it has proved its key. */
ACO_MUSTUSE enum aco_beacon_fault aco_beacon_read(struct aco_beacon *beacon,
                                                  const uint8_t key[ACO_BEACON_KEY],
                                                  const uint8_t *data, size_t size, double now);

/** A fault in words, for people ("its secret is not ours"). */
const char *aco_beacon_fault_text(enum aco_beacon_fault fault);

#endif
