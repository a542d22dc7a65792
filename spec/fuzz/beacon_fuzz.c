/* SPDX-License-Identifier: MIT */
/* beacon_fuzz.c -- any datagram is read or refused, and what is read can be written and read again.
 *
 * As nobody guesses a key, the input is tried as it is and then with the end that makes it
 * authentic, so that all behind that check is reached too. */
#include "core/net/beacon.h"
#include "spec/core/check.h"

#include <math.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAC = 16 };
static const uint8_t KEY[ACO_BEACON_KEY] = {1, 2, 3};

static void
check_again(const struct aco_beacon *beacon)
{
    uint8_t data[ACO_BEACON_MAX];
    struct aco_beacon again;
    size_t size = aco_beacon_write(beacon, KEY, data);

    CHECK(size > 0 && size <= sizeof data);
    CHECK(aco_beacon_read(&again, KEY, data, size, beacon->time) == ACO_BEACON_GOOD);
    CHECK(again.kind == beacon->kind);
    CHECK(memcmp(again.process, beacon->process, sizeof again.process) == 0);
    CHECK(strcmp(again.location, beacon->location) == 0);
    CHECK(strcmp(again.name, beacon->name) == 0);
}

static void
try(const uint8_t *data, size_t size)
{
    uint8_t *room = malloc(size + 1), *copy = room + 1; /* a read beyond its end is seen */
    aco_location location;
    struct aco_beacon beacon;

    CHECK(room != NULL);
    memcpy(copy, data, size);
    enum aco_beacon_fault fault = aco_beacon_read(&beacon, KEY, copy, size, 1.8e9);
    CHECK(fault < ACO_BEACON_FAULTS);
    if (fault == ACO_BEACON_GOOD || fault == ACO_BEACON_CLOCK) {
        const size_t length = strlen(beacon.location);
        CHECK((length == 0 && beacon.kind == ACO_BEACON_PROBE) ||
              aco_location_parse(&location, beacon.location, length, NULL) == 0);
        if (beacon.time < 1e12) check_again(&beacon);
    }
    free(room);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t made[ACO_BEACON_MAX + 64], mac[EVP_MAX_MD_SIZE];
    unsigned length;

    try(data, size);
    if (size > sizeof made - MAC) return 0;
    memcpy(made, data, size);
    CHECK(HMAC(EVP_sha256(), KEY, sizeof KEY, made, size, mac, &length) != NULL);
    memcpy(made + size, mac, MAC);
    try(made, size + MAC);
    return 0;
}
