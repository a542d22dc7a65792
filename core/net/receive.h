/* SPDX-License-Identifier: MIT */
/* receive.h -- the receiving side of a connection for files (receiver.h), once both sides have
 * proved who they are. */
#ifndef ACO_RECEIVE_H
#define ACO_RECEIVE_H

#include "core/net/carrier.h"

/** What may be done, and what has been. */
typedef struct aco_receipt {
    aco_dest *dest;         /* NULL: nothing is taken */
    const char *why;        /* then: why, or NULL */
    uint64_t max_file_size; /* 0: no limit */
    uint64_t files, bytes;
} aco_receipt;

/** Do what the other side asks for, one after the other, until it closes the connection: ACO_OK.
 * Otherwise the reason is in the carrier's `why`, and the other side has been told it, where it
 * can be. */
ACO_MUSTUSE int aco_receive(aco_carrier *c, aco_receipt *r);

/** Tell the other side that nothing comes of it, why, and throw away what it still sends. */
void aco_receive_refuse(aco_carrier *c, int err);

/** Add the bytes of a file from its beginning on to a sum, telling the other side now and then that
 * this takes a while. ACO_ETRUNCATED: it has fewer. */
struct aco_hash;
ACO_MUSTUSE int aco_receive_sum(aco_carrier *c, int file, uint64_t size, struct aco_hash *hash);

#endif
