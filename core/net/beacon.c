/* SPDX-License-Identifier: MIT */
#include "core/net/beacon.h"
#include "core/base/error.h"

#include <math.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>

enum { HEAD = 48, MAC = 16 };
static const uint8_t MAGIC[4] = {'A', 'C', 'O', 'D'};

static void
put(uint8_t *at, uint64_t value, int bytes)
{
    for (int i = bytes - 1; i >= 0; i--, value >>= 8)
        at[i] = (uint8_t)value;
}

static uint64_t
get(const uint8_t *at, int bytes)
{
    uint64_t value = 0;

    for (int i = 0; i < bytes; i++)
        value = value << 8 | at[i];
    return value;
}

static bool
is_plain(const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if ((unsigned char)text[i] < ' ' || text[i] == 0x7f) return false;
    return true;
}

static bool
compute_mac(const uint8_t key[ACO_BEACON_KEY], const uint8_t *data, size_t size, uint8_t mac[MAC])
{
    uint8_t whole[EVP_MAX_MD_SIZE];
    unsigned length = 0;

    if (HMAC(EVP_sha256(), key, ACO_BEACON_KEY, data, size, whole, &length) == NULL) return false;
    memcpy(mac, whole, MAC);
    return length >= MAC;
}

/* Of a time that may be anything. */
static uint64_t
microseconds(double seconds)
{
    if (!(seconds > 0)) return 0;
    return seconds < 1e12 ? (uint64_t)(seconds * 1e6) : UINT64_C(1000000000000000000);
}

size_t
aco_beacon_write(const struct aco_beacon *beacon, const uint8_t key[ACO_BEACON_KEY],
                 uint8_t data[ACO_BEACON_MAX])
{
    size_t location = strnlen(beacon->location, sizeof beacon->location - 1);
    size_t name = strnlen(beacon->name, ACO_BEACON_NAME);
    uint8_t *at = data + HEAD;

    memcpy(data, MAGIC, sizeof MAGIC);
    data[4] = ACO_BEACON_VERSION;
    data[5] = (uint8_t)beacon->kind;
    put(data + 6, 0, 2);
    memcpy(data + 8, beacon->process, 16);
    memcpy(data + 24, beacon->nonce, 16);
    put(data + 40, microseconds(beacon->time), 8);
    put(at, location, 2);
    memcpy(at + 2, beacon->location, location);
    at += 2 + location;
    *at++ = (uint8_t)name;
    memcpy(at, beacon->name, name);
    for (size_t i = 0; i < name; i++)
        if (at[i] < ' ' || at[i] == 0x7f) at[i] = '?';
    at += name;
    if (!compute_mac(key, data, (size_t)(at - data), at)) return 0;
    return (size_t)(at - data) + MAC;
}

/* What stands behind the head: exactly a location that is one, and a name. */
static bool
read_body(struct aco_beacon *beacon, const uint8_t *at, size_t size)
{
    aco_location location;

    if (size < 3) return false;
    size_t length = (size_t)get(at, 2);
    if (length >= ACO_LOCATION_TEXT || length > size - 3) return false;
    memcpy(beacon->location, at + 2, length);
    beacon->location[length] = '\0';
    if ((length > 0 || beacon->kind != ACO_BEACON_PROBE) &&
        aco_location_parse(&location, (const char *)at + 2, length, NULL) != ACO_OK)
        return false;
    at += 2 + length;
    size -= 3 + length;
    if (*at != size || !is_plain((const char *)at + 1, size)) return false;
    memcpy(beacon->name, at + 1, size);
    beacon->name[size] = '\0';
    return true;
}

enum aco_beacon_fault
aco_beacon_read(struct aco_beacon *beacon, const uint8_t key[ACO_BEACON_KEY], const uint8_t *data,
                size_t size, double now)
{
    uint8_t mac[MAC];

    memset(beacon, 0, sizeof *beacon);
    if (size < sizeof MAGIC + 1 || memcmp(data, MAGIC, sizeof MAGIC) != 0)
        return ACO_BEACON_FOREIGN;
    if (data[4] != ACO_BEACON_VERSION) return ACO_BEACON_OTHER;
    if (size < HEAD + 3 + MAC || size > ACO_BEACON_MAX) return ACO_BEACON_FOREIGN;
    if (!compute_mac(key, data, size - MAC, mac) || CRYPTO_memcmp(mac, data + size - MAC, MAC) != 0)
        return ACO_BEACON_FORGED;
    if (data[5] < ACO_BEACON_PING || data[5] > ACO_BEACON_PROBE || get(data + 6, 2) != 0)
        return ACO_BEACON_MALFORMED;
    beacon->kind = (enum aco_beacon_kind)data[5];
    memcpy(beacon->process, data + 8, 16);
    memcpy(beacon->nonce, data + 24, 16);
    beacon->time = (double)get(data + 40, 8) / 1e6;
    if (!read_body(beacon, data + HEAD, size - HEAD - MAC)) return ACO_BEACON_MALFORMED;
    return fabs(beacon->time - now) <= ACO_BEACON_LATENESS ? ACO_BEACON_GOOD : ACO_BEACON_CLOCK;
}

const char *
aco_beacon_fault_text(enum aco_beacon_fault fault)
{
    static const char *const texts[ACO_BEACON_FAULTS] = {
        [ACO_BEACON_GOOD] = "good",
        [ACO_BEACON_FOREIGN] = "it is not of asyncoro: another program uses this port",
        [ACO_BEACON_OTHER] = "it speaks another version of discovery",
        [ACO_BEACON_FORGED] = "its secret is not ours, or it was forged",
        [ACO_BEACON_MALFORMED] = "it is malformed",
        [ACO_BEACON_CLOCK] = "its clock differs from ours",
    };

    return fault < ACO_BEACON_FAULTS ? texts[fault] : "unknown";
}
