/* SPDX-License-Identifier: MIT */
/* peer.h -- one simulated peer of a soak: a process in the network's sense, with one coro, which
 * talks to the registered coros of the process under test (spec/soak/target.lua). Each runs in a
 * thread of its own. What it knows of what was confirmed is kept in shared memory, so that its
 * successor can ask for it when it was killed. */
#ifndef SOAK_PEER_H
#define SOAK_PEER_H

#include "core/base/defs.h"
#include "core/net/secret.h"

#include <stdatomic.h>

enum { SOAK_PEERS = 2000, SOAK_SPAN = 10 };

/** The life of one peer after the other, in shared memory. Numbers of messages begin with 1 for
 * each of its boxes. */
struct soak_slot {
    atomic_uint life;
    atomic_uint confirmed[SOAK_SPAN];
};

/** Of all peers together, in shared memory. */
struct soak_tally {
    atomic_ulong joined, left, killed, busy;
    atomic_ulong sent, delivered, called, echoed, located, files;
    atomic_ulong slowest; /* deliver, nanoseconds; since it was looked at last */
    atomic_ulong lost, faults, stuck;
};

struct soak_shared {
    atomic_bool stop;
    atomic_uint round; /* --idle: each peer delivers once when it grows */
    atomic_ulong passed;
    struct soak_tally tally;
    struct soak_slot slots[SOAK_PEERS];
};

struct soak_plan {
    const char *target; /* the location */
    aco_secret *secret;
    const char *folder; /* of files to send */
    unsigned peers, boxes;
    aco_time pace; /* between what a peer does and what it does next */
    aco_time life; /* of a peer, at most */
    bool idle;     /* join and be silent */
    bool calls;    /* ask for answers of coros too */
    struct soak_shared *shared;
};

struct soak_peer {
    const struct soak_plan *plan;
    unsigned number;
};

/** Live one life after the other until the plan's end: of a pthread. */
void *soak_peer_run(void *peer);

#endif
