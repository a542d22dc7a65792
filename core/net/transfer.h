/* SPDX-License-Identifier: MIT */
/* transfer.h -- sending files to other processes, and removing them there, as jobs of the pool,
 * each over a connection of its own. receiver.h is the other side. */
#ifndef ACO_TRANSFER_H
#define ACO_TRANSFER_H

#include "core/engine/pool.h"
#include "core/net/dest.h"

struct aco_secret;

/** Nothing moves for so long: a transfer ends, unless its options say otherwise. */
#define ACO_TRANSFER_PATIENCE (10 * ACO_SECOND)

/** Where to, and how. All is copied. */
struct aco_transfer_options {
    const char *host; /* a name or an address */
    uint16_t port;
    uint16_t server;           /* behind the port of a node; 0: the process itself */
    struct aco_secret *secret; /* a reference is taken */
    aco_time patience;         /* so long may nothing move; 0: what is usual */
    const char *dir;           /* the folder there, below its own; NULL */
    int flags;                 /* ACO_OFFER_OVERWRITE ... (offer.h) */
};

typedef struct aco_transfer {
    aco_job job; /* submit it */
    /* When it is done: */
    int err;                /* ACO_OK, or an error */
    char why[ACO_DEST_WHY]; /* of the error */
    char *path;             /* of the file at the other side; owned */
    uint64_t sent;          /* bytes of the file that were sent: less than it has when some were
                               there already */
    /* The rest belongs to transfer.c. */
    bool removes;
    int wake, file;
    uint64_t size;
    uint16_t port, server;
    struct aco_secret *secret;
    aco_time patience;
    int flags;
    char *host, *local, *name;
} aco_transfer;

/** Send the file `path`: it gets its own last name there. NULL without memory or descriptors; what
 * else goes wrong is found by the job. */
aco_transfer *aco_transfer_send(const struct aco_transfer_options *options, const char *path);

/** Remove the file of this path there: one below its folder, or the whole one that a sender got. */
aco_transfer *aco_transfer_remove(const struct aco_transfer_options *options, const char *path);

/** Any thread: end it soon, with ACO_ECANCELED. */
void aco_transfer_cancel(aco_transfer *t);

#endif
