/* SPDX-License-Identifier: MIT */
/* secret.h -- by what processes know that they may talk to each other: the key file of their user,
 * a secret that all were given, or certificates. Counted; any thread. */
#ifndef ACO_SECRET_H
#define ACO_SECRET_H

#include "core/base/defs.h"

typedef struct aco_secret aco_secret;

/** How: as in the preface of a connection. */
enum aco_mode { ACO_MODE_KEY = 'K', ACO_MODE_SECRET = 'S', ACO_MODE_CERTIFICATES = 'C' };

enum { ACO_SECRET_KEY = 32 };

/** All strings may be NULL. With a secret: that; else with certificates: these; else the key file,
 * at `key_path` or the user's. Certificates, keys and `cafile` are paths or PEM text. */
struct aco_secret_options {
    const char *secret;
    size_t secret_size;
    const char *certfile, *keyfile, *cafile;
    const char *key_path;
};

/** Blocks: reads files, and stretches a secret (75 ms). ACO_EINVALID, ACO_EAUTH, ACO_EDENIED:
 * `*why` is a text for the caller to free (NULL without memory). */
ACO_MUSTUSE int aco_secret_new(const struct aco_secret_options *options, aco_secret **secret,
                               char **why);
aco_secret *aco_secret_ref(aco_secret *secret);
void aco_secret_unref(aco_secret *secret); /* NULL is allowed */
enum aco_mode aco_secret_mode(const aco_secret *secret);

/** A key of its own for each purpose, which does not tell anything of the others. */
void aco_secret_key(const aco_secret *secret, const char *purpose, uint8_t key[ACO_SECRET_KEY]);

/** Read certificates again, for the connections to come. On an error all stays as it is. Nothing to
 * do in the other modes. Blocks. */
ACO_MUSTUSE int aco_secret_reload(aco_secret *secret, char **why);

/** What is to be said about it to its owner (a short secret), or NULL. */
const char *aco_secret_warning(const aco_secret *secret);

/** The calling thread needs no secrets for a while: what OpenSSL keeps for it goes. */
void aco_secret_rest(void);

/** For secure.c: a TLS connection of the modes that have one; NULL without memory. */
struct ssl_st *aco_secret_connection(aco_secret *secret, bool server);

#endif
