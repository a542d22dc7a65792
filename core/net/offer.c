/* SPDX-License-Identifier: MIT */
#include "core/net/offer.h"
#include "core/base/error.h"

#include <string.h>

/* size (u64) seconds (i64) nanoseconds (u32) mode (u32) path */
enum { OFFER_HEAD = 24 };

static uint8_t *
put(uint8_t *at, int bytes, uint64_t value)
{
    for (int i = bytes - 1; i >= 0; i--)
        *at++ = (uint8_t)(value >> (8 * i));
    return at;
}

static uint64_t
get(const uint8_t *at, int bytes)
{
    uint64_t value = 0;

    while (bytes-- > 0)
        value = value << 8 | *at++;
    return value;
}

size_t
aco_offer_write(const aco_offer *offer, uint8_t body[ACO_CARRIER_BODY])
{
    uint8_t *at = put(body, 8, offer->size);

    assert(offer->path_size <= ACO_DEST_NAME_MAX);
    at = put(at, 8, (uint64_t)(int64_t)offer->modified.tv_sec);
    at = put(at, 4, (uint64_t)offer->modified.tv_nsec);
    at = put(at, 4, offer->mode);
    memcpy(at, offer->path, offer->path_size);
    return OFFER_HEAD + offer->path_size;
}

int
aco_offer_read(aco_offer *offer, int flags, const uint8_t *body, size_t size)
{
    if (size < OFFER_HEAD || (flags & ~ACO_OFFER_FLAGS) != 0) return ACO_EPROTOCOL;
    *offer = (aco_offer){
        .flags = flags,
        .size = get(body, 8),
        .modified = {.tv_sec = (time_t)(int64_t)get(body + 8, 8),
                     .tv_nsec = (long)get(body + 16, 4)},
        .mode = (unsigned)get(body + 20, 4),
        .path = (const char *)body + OFFER_HEAD,
        .path_size = size - OFFER_HEAD,
    };
    if (offer->size > INT64_MAX || offer->mode > 0777 || offer->modified.tv_nsec > 999999999)
        return ACO_EPROTOCOL;
    return ACO_OK;
}

void
aco_have_write(uint64_t offset, const uint8_t sum[ACO_HASH_SIZE], uint8_t body[ACO_HAVE_SIZE])
{
    memcpy(put(body, 8, offset), sum, ACO_HASH_SIZE);
}

void
aco_start_write(uint64_t offset, uint8_t body[ACO_START_SIZE])
{
    put(body, 8, offset);
}

uint64_t
aco_offset_read(const uint8_t *body)
{
    return get(body, 8);
}

static const struct {
    uint8_t code, err;
} codes[] = {{0, ACO_OK},           {1, ACO_ENOTFOUND}, {2, ACO_ECLOSED},  {3, ACO_ETOOLARGE},
             {4, ACO_EDENIED},      {5, ACO_EPROTOCOL}, {7, ACO_EBUSY},    {8, ACO_ETIMEOUT},
             {6, ACO_EUNSUPPORTED}, {9, ACO_EAUTH},     {12, ACO_EEXISTS}, {13, ACO_EINVALID},
             {14, ACO_ENOMEM},      {15, ACO_ENOSPACE}, {16, ACO_ELIMIT},  {17, ACO_ESYSTEM},
             {18, ACO_ECANCELED}};

enum { CODES = sizeof codes / sizeof *codes, CODE_SYSTEM = 17 };

uint8_t
aco_result_code(int err)
{
    for (size_t i = 0; i < CODES; i++)
        if (codes[i].err == err) return codes[i].code;
    return CODE_SYSTEM;
}

int
aco_result_err(uint8_t code)
{
    for (size_t i = 0; i < CODES; i++)
        if (codes[i].code == code) return codes[i].err;
    return ACO_ESYSTEM;
}
