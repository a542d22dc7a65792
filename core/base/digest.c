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

aco_hash *
aco_hash_new(void)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();

    if (ctx != NULL && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1) return (aco_hash *)ctx;
    EVP_MD_CTX_free(ctx);
    return NULL;
}

void
aco_hash_add(aco_hash *hash, const void *data, size_t size)
{
    (void)EVP_DigestUpdate((EVP_MD_CTX *)hash, data, size);
}

int
aco_hash_get(const aco_hash *hash, uint8_t sum[ACO_HASH_SIZE])
{
    EVP_MD_CTX *copy = EVP_MD_CTX_new();
    bool done = copy != NULL && EVP_MD_CTX_copy_ex(copy, (const EVP_MD_CTX *)hash) == 1 &&
                EVP_DigestFinal_ex(copy, sum, NULL) == 1;

    EVP_MD_CTX_free(copy);
    return done ? ACO_OK : ACO_ENOMEM;
}

void
aco_hash_free(aco_hash *hash)
{
    EVP_MD_CTX_free((EVP_MD_CTX *)hash);
}
