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

#endif
