/* SPDX-License-Identifier: MIT */
/* digest.h -- checksums, by OpenSSL. Any thread. */
#ifndef ACO_DIGEST_H
#define ACO_DIGEST_H

#include "core/base/defs.h"

enum { ACO_DIGEST_MAX = 64 };

/** Compute the digest of `data` and its size. ACO_ENOTFOUND: OpenSSL has no algorithm of this name;
 * ACO_EUNSUPPORTED: it refuses to compute it. */
ACO_MUSTUSE int aco_digest(const char *algorithm, const void *data, size_t size,
                           uint8_t digest[ACO_DIGEST_MAX], size_t *digest_size);

/** SHA-256 of bytes that come in pieces. NULL without memory. One thread at a time. */
typedef struct aco_hash aco_hash;
enum { ACO_HASH_SIZE = 32 };

aco_hash *aco_hash_new(void);
void aco_hash_add(aco_hash *hash, const void *data, size_t size);

/** The sum of what was added until now; more may follow. ACO_ENOMEM. */
ACO_MUSTUSE int aco_hash_get(const aco_hash *hash, uint8_t sum[ACO_HASH_SIZE]);
void aco_hash_free(aco_hash *hash); /* NULL is allowed */

#endif
