/* SPDX-License-Identifier: MIT */
/* location.h -- the route to a process: "host:port", "[v6]:port", and "/n" behind it for server n
 * of a node. Any thread. */
#ifndef ACO_LOCATION_H
#define ACO_LOCATION_H

#include "core/base/defs.h"

enum {
    ACO_LOCATION_HOST = 253,                    /* bytes of a host at most */
    ACO_LOCATION_TEXT = ACO_LOCATION_HOST + 16, /* room for any text of a location, with its end */
};

typedef struct aco_location {
    char host[ACO_LOCATION_HOST + 1]; /* a name, or numeric; of IPv6 without brackets */
    uint16_t port;                    /* never 0 */
    uint16_t server;                  /* 0: the process itself */
} aco_location;

/** From text. ACO_EINVALID: it is none, and `*why` (when `why` is not NULL) says what is wrong with
 * it in words; *location stays as it was. */
ACO_MUSTUSE int aco_location_parse(aco_location *location, const char *text, size_t size,
                                   const char **why);

/** The one text of a location, and how many bytes it has. */
size_t aco_location_text(const aco_location *location, char text[ACO_LOCATION_TEXT]);

/** True for the same text. Two texts may be routes to one process all the same. */
bool aco_location_equal(const aco_location *a, const aco_location *b);

/** True when the host is an address of IPv6 (it has a colon). */
bool aco_location_is_v6(const aco_location *location);

#endif
