/* SPDX-License-Identifier: MIT */
/* offer.h -- what the frames of a file say (carrier.h), as bytes. */
#ifndef ACO_OFFER_H
#define ACO_OFFER_H

#include "core/base/digest.h"
#include "core/net/carrier.h"

enum {
    ACO_OFFER_OVERWRITE = 1, /* replace another file of this name */
    ACO_OFFER_CHECKSUM = 2, /* compare sums: of a file that seems the same, and of all at the end */
    ACO_OFFER_RESUME = 4,   /* go on from what is left of an earlier transfer */
    ACO_OFFER_FLAGS = 7,
    ACO_HAVE_WHOLE = 1, /* of HAVE: it is the file of this name, not a part */
    ACO_RESULT_SAME = 1 /* of RESULT: the file was there, nothing had to be sent */
};

/** PUT: a file, as the sender has it. */
typedef struct aco_offer {
    int flags;
    unsigned mode; /* permissions */
    uint64_t size;
    struct timespec modified;
    const char *path; /* not checked, no zero at its end */
    size_t path_size;
} aco_offer;

/** Write the body of a PUT; its size. The path has ACO_DEST_NAME_MAX bytes at most. */
size_t aco_offer_write(const aco_offer *offer, uint8_t body[ACO_CARRIER_BODY]);

/** Read it; `path` points into it. ACO_EPROTOCOL. */
ACO_MUSTUSE int aco_offer_read(aco_offer *offer, int flags, const uint8_t *body, size_t size);

/** HAVE: so many bytes, and their sum. */
enum { ACO_HAVE_SIZE = 8 + ACO_HASH_SIZE, ACO_START_SIZE = 8 };
void aco_have_write(uint64_t offset, const uint8_t sum[ACO_HASH_SIZE], uint8_t body[ACO_HAVE_SIZE]);
uint64_t aco_offset_read(const uint8_t *body); /* of HAVE and START */
void aco_start_write(uint64_t offset, uint8_t body[ACO_START_SIZE]);

/** The codes of a RESULT, as all of the network has them, and errors. */
uint8_t aco_result_code(int err);
int aco_result_err(uint8_t code);

#endif
