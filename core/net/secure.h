/* SPDX-License-Identifier: MIT */
/* secure.h -- one end of a connection between two processes: they prove to each other that they may
 * talk, and then exchange bytes (docs/protocol.md).
 *
 * It reads and writes the descriptor of its owner, and never waits, whether that blocks or not.
 * Nothing that a stranger sends makes it hold more than OpenSSL's buffers of one record and one
 * message of the handshake. One thread at a time. */
#ifndef ACO_SECURE_H
#define ACO_SECURE_H

#include "core/net/preface.h"
#include "core/net/secret.h"

#include <sys/uio.h>

typedef struct aco_secure aco_secure;

/** An end of the connection at `fd`, after the prefaces; `preface` is the dialling side's. `host`:
 * whom a client wants to find there, by its certificate; with certificates there must be one.
 * `port`: to which it connected, or at which the server listens. NULL without memory. */
aco_secure *aco_secure_new(aco_secret *secret, int fd, bool server,
                           const uint8_t preface[ACO_PREFACE_SIZE], const char *host,
                           uint16_t port);
void aco_secure_free(aco_secure *s); /* NULL is allowed; the descriptor stays */

/** Go on with the proof: ACO_OK: it is done. ACO_EBUSY: call again when the descriptor is ready for
 * aco_secure_wants. ACO_EAUTH, ACO_EPROTOCOL, ACO_EEOF, ACO_ERESET ...: aco_secure_error says why.
 */
ACO_MUSTUSE int aco_secure_shake(aco_secure *s);

/** POLLIN, and POLLOUT while bytes are left to be sent. */
short aco_secure_wants(const aco_secure *s);

/** Receive 1 .. `size` bytes. ACO_EBUSY: none now. ACO_EEOF: the end; ACO_ETRUNCATED: the same, but
 * under TLS the other side did not say so. ACO_ERESET ... */
ACO_MUSTUSE int aco_secure_read(aco_secure *s, void *data, size_t size, size_t *got);

/** Send some of the bytes; those that are taken may still have to be flushed. ACO_EBUSY: none now.
 */
ACO_MUSTUSE int aco_secure_write(aco_secure *s, const struct iovec *pieces, int count, size_t *put);

/** Send what was taken and is left. ACO_EBUSY: call again when the descriptor is writable. */
ACO_MUSTUSE int aco_secure_flush(aco_secure *s);

/** Say that this side sends no more, and send what is left. ACO_EBUSY: call again when the
 * descriptor is writable. What comes can still be read. */
ACO_MUSTUSE int aco_secure_end(aco_secure *s);

/** True when a read may give bytes although the descriptor is not readable. */
bool aco_secure_holds(const aco_secure *s);

/** True when what is exchanged goes over the descriptor as it is. */
bool aco_secure_plain(const aco_secure *s);

/** Why the last call failed, in words; never NULL. */
const char *aco_secure_error(const aco_secure *s);

/** For secret.c: the choice of a protocol (ALPN) by a server's end. */
int aco_secure_choose(struct ssl_st *ssl, const uint8_t **chosen, uint8_t *size,
                      const uint8_t *offered, unsigned int offered_size, void *arg);

#endif
