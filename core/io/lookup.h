/* SPDX-License-Identifier: MIT */
/* lookup.h -- names of hosts, by getaddrinfo in the pool: what the system's files and name servers
 * say. */
#ifndef ACO_LOOKUP_H
#define ACO_LOOKUP_H

#include "core/engine/pool.h"
#include "core/io/address.h"

enum { ACO_LOOKUP_MOST = 32 };

typedef struct aco_lookup {
    aco_job job;
    /* When it is done: */
    int err;          /* ACO_OK, or an error */
    const char *text; /* of the error; of static memory */
    size_t count;
    char (*addresses)[ACO_ADDRESS_TEXT]; /* numeric, in the system's order, or the name; owned */
    int family;
    char host[];
} aco_lookup;

/** In the place of a family: the host is a numeric address, and its name is wanted. */
enum { ACO_LOOKUP_NAME = -1 };

/** A lookup of a host's addresses: of `family`, or AF_UNSPEC for all. NULL without memory. Submit
 * its job. */
aco_lookup *aco_lookup_new(const char *host, int family);

#endif
