/* SPDX-License-Identifier: MIT */
/* certificate.h -- certificates and keys: loading them, and saying what is wrong with one. */
#ifndef ACO_CERTIFICATE_H
#define ACO_CERTIFICATE_H

#include "core/base/defs.h"

struct x509_st;
struct x509_store_ctx_st;
struct ssl_ctx_st;

enum { ACO_CERTIFICATE_TEXT = 256, ACO_CERTIFICATE_HASH = 32 };

/** The names in it ("CN=example.org,O=Example"), cut to fit. */
void aco_certificate_subject(const struct x509_st *cert, char text[ACO_CERTIFICATE_TEXT]);
void aco_certificate_issuer(const struct x509_st *cert, char text[ACO_CERTIFICATE_TEXT]);

/** When its time begins and ends, in seconds since 1970. */
void aco_certificate_span(const struct x509_st *cert, int64_t *from, int64_t *to);

/** SHA-256 of its public key, which is what pins name; of all of it. False: OpenSSL cannot. */
bool aco_certificate_pin(const struct x509_st *cert, uint8_t hash[ACO_CERTIFICATE_HASH]);
bool aco_certificate_hash(const struct x509_st *cert, uint8_t hash[ACO_CERTIFICATE_HASH]);

/** Give a context its certificate, those that follow it (its chain), and its key, each PEM text or
 * the path of a file; without `key` it is in `certificate`. On an error `*error` is a text for the
 * caller to free, or NULL. */
ACO_MUSTUSE int aco_certificate_use(struct ssl_ctx_st *ctx, const char *certificate,
                                    const char *key, const char *password, char **error);

/** Trust those of a file, of a folder, or in PEM text, and nobody else. */
ACO_MUSTUSE int aco_certificate_trust(struct ssl_ctx_st *ctx, const char *ca, char **error);

/** In a verification that fails: which certificate, why, and what to do about it. `name`: what was
 * connected to, or NULL on a server. `ca`: the option for those to trust; `advice`: what to do when
 * a certificate is for another name. For the caller to free; NULL without memory. */
char *aco_certificate_complaint(struct x509_store_ctx_st *check, const char *name, const char *ca,
                                const char *advice);

#endif
