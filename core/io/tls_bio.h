/* SPDX-License-Identifier: MIT */
/* tls_bio.h -- between OpenSSL and a socket: it receives from the socket, and what is to be sent
 * gathers in memory until aco_tls_wire_send. */
#ifndef ACO_TLS_BIO_H
#define ACO_TLS_BIO_H

#include "core/base/buf.h"

struct ssl_st;
struct bio_method_st;

typedef struct aco_tls_wire {
    struct bio_method_st *method;
    aco_buf out;
    size_t sent; /* of it */
    int fd;
    int errnum; /* why nothing can be received, or no memory was there for what is to be sent */
    int send_errnum; /* why nothing can be sent */
    bool drained;    /* a receive gave less than it might have: nothing more is there for now */
    bool ended;      /* the connection has ended */
    bool impatient;  /* set by its owner: never wait, even when the socket would */
} aco_tls_wire;

/** Put a BIO over `fd` under a connection. False: no memory. The memory must stay where it is. */
ACO_MUSTUSE bool aco_tls_wire_init(aco_tls_wire *wire, int fd, struct ssl_st *ssl);
void aco_tls_wire_fini(aco_tls_wire *wire); /* after the connection was freed; zeros are allowed */

/** Send what has gathered: ACO_EBUSY: the system takes no more for now, some is left; an error:
 * send_errnum. */
ACO_MUSTUSE int aco_tls_wire_send(aco_tls_wire *wire);

static inline bool
aco_tls_wire_holds(const aco_tls_wire *wire)
{
    return wire->out.size > 0;
}

/** Who uses it waits for bytes: give back memory; there may be some the next time. */
void aco_tls_wire_rest(aco_tls_wire *wire);

#endif
