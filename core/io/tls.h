/* SPDX-License-Identifier: MIT */
/* tls.h -- TLS as the transport of a stream, over the plain descriptor that it had.
 *
 * The handshake happens at the first read or write, or by aco_tls_handshake. OpenSSL reads the
 * socket through a BIO of ours; what it sends gathers in memory and goes out in few writes, so a
 * record is never half offered and may be sent on by whichever operation comes next. Three ends are
 * told apart: ACO_EEOF (the other side said so), ACO_ETRUNCATED (the connection ended without a
 * word), ACO_ERESET. */
#ifndef ACO_TLS_H
#define ACO_TLS_H

#include "core/io/certificate.h"
#include "core/io/stream.h"
#include "core/io/tls_context.h"

/** What is known of a connection after its handshake. */
struct aco_tls_info {
    const char *version, *cipher; /* OpenSSL's names */
    char alpn[256], sni[256];     /* "" when there is none */
    bool resumed, verified;
    bool peer; /* the other side gave a certificate; what follows is about it */
    char subject[ACO_CERTIFICATE_TEXT], issuer[ACO_CERTIFICATE_TEXT];
    int64_t not_before, not_after; /* seconds since 1970 */
    uint8_t fingerprint[ACO_CERTIFICATE_HASH], pin[ACO_CERTIFICATE_HASH];
};

/** From now on the stream, an open plain socket, speaks TLS: as a server, or as a client that wants
 * a certificate for `name` (a host or a numeric address; NULL on a server, and on a client that
 * looks at no name). ACO_EBUSY: somebody reads or writes; ACO_EPROTOCOL: bytes that were received
 * in plain are still in its buffer; ACO_ECLOSED, ACO_EUNSUPPORTED, ACO_EINVALID (the name),
 * ACO_ENOMEM: nothing has changed. */
ACO_MUSTUSE int aco_tls_start(aco_stream *s, aco_tls_context *context, const char *name,
                              bool server);

/** True when it speaks TLS. */
bool aco_tls_is(const aco_stream *s);

/** Bring the handshake to its end: ACO_OK, ACO_EBUSY: wait in `*wait` and call again. */
ACO_MUSTUSE int aco_tls_handshake(aco_stream *s, aco_waitq **wait);

/** ACO_EBUSY: the handshake is not over. */
ACO_MUSTUSE int aco_tls_info(aco_stream *s, struct aco_tls_info *info);

/** For tls_context.c: OpenSSL has a session that may be resumed; 1 when it was kept. */
int aco_tls_new_session(struct ssl_st *ssl, struct ssl_session_st *session);

#endif
