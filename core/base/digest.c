/* SPDX-License-Identifier: MIT */
#include "core/base/digest.h"

#include <openssl/evp.h>

#include "core/base/error.h"

_Static_assert(ACO_DIGEST_MAX == EVP_MAX_MD_SIZE, "room for every digest");

int
aco_digest(const char *algorithm, const void *data, size_t size, uint8_t digest[ACO_DIGEST_MAX],
           size_t *digest_size)
{
    unsigned int length = 0;
    const EVP_MD *md = EVP_get_digestbyname(algorithm);

    if (md == NULL) return ACO_ENOTFOUND;
    if (EVP_Digest(data, size, digest, &length, md, NULL) != 1) return ACO_EUNSUPPORTED;
    *digest_size = length;
    return ACO_OK;
}
