/* SPDX-License-Identifier: MIT */
/* tls_context.h -- what TLS connections have in common: certificates, whom to trust, versions, and
 * the sessions that clients may resume. Made once, used by many; loop's thread. */
#ifndef ACO_TLS_CONTEXT_H
#define ACO_TLS_CONTEXT_H

#include "core/base/defs.h"

struct ssl_ctx_st;
struct ssl_st;
struct ssl_session_st;

typedef struct aco_tls_context aco_tls_context;

/** Whether a server wants a certificate of its clients. */
enum aco_tls_verify { ACO_TLS_NONE, ACO_TLS_REQUEST, ACO_TLS_REQUIRE };

enum { ACO_TLS_PIN = 32 }; /* bytes of a pin */

/** Strings may be NULL; certificates, keys and `ca` are PEM text or paths. All is copied. */
struct aco_tls_config {
    const char *certificate, *key, *password;
    const char *ca; /* NULL: whom the system trusts */
    const char *ciphers, *suites;
    const uint8_t *pins; /* SHA-256 of public keys, one after the other */
    size_t pin_count;
    const uint8_t *alpn; /* names, each after its length */
    size_t alpn_size;
    int oldest, newest; /* versions: 2 (1.2), 3 (1.3); 0: as usual */
    enum aco_tls_verify verify;
    bool insecure;      /* neither chain nor name is looked at, only pins */
    aco_time handshake; /* how long one may take; ACO_NEVER */
};

/** On an error `*error` is a text for the caller to free, or NULL. */
ACO_MUSTUSE int aco_tls_context_new(aco_tls_context **context, const struct aco_tls_config *config,
                                    char **error);
aco_tls_context *aco_tls_context_ref(aco_tls_context *context);
void aco_tls_context_unref(aco_tls_context *context); /* NULL is allowed */

/** On a server: another certificate for clients that ask for `name` ("b.example", "*.b.example").
 */
ACO_MUSTUSE int aco_tls_context_add(aco_tls_context *context, const char *name,
                                    const char *certificate, const char *key, const char *password,
                                    char **error);

/** Read all files again, for the connections to come. On an error all stays as it is. */
ACO_MUSTUSE int aco_tls_context_reload(aco_tls_context *context, char **error);

/** Does this side show a certificate? */
bool aco_tls_context_has_certificate(const aco_tls_context *context);
const struct aco_tls_config *aco_tls_context_config(const aco_tls_context *context);

/** A new connection of it; NULL without memory. */
struct ssl_st *aco_tls_context_connection(aco_tls_context *context);

/** The session of an earlier connection to `key` that may be resumed, or NULL; it stays the
 * context's. */
struct ssl_session_st *aco_tls_context_session(aco_tls_context *context, const char *key);

/** Keep a session, which is the context's from now on. False, and still the caller's: no memory. */
bool aco_tls_context_keep(aco_tls_context *context, const char *key,
                          struct ssl_session_st *session);
void aco_tls_context_forget(aco_tls_context *context, const char *key);

#endif
