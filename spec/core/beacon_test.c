/* SPDX-License-Identifier: MIT */
/* beacon_test.c -- datagrams of discovery: written and read, and every one refused that is not as
 * it should be. */
#include "core/net/beacon.h"
#include "spec/core/check.h"

#include <math.h>
#include <string.h>

static const uint8_t KEY[ACO_BEACON_KEY] = {1, 2, 3}, OTHER[ACO_BEACON_KEY] = {1, 2, 4};
static const double NOW = 1.8e9;

static struct aco_beacon
sample(void)
{
    struct aco_beacon beacon = {.kind = ACO_BEACON_PING, .time = NOW};

    memset(beacon.process, 0xaa, sizeof beacon.process);
    memset(beacon.nonce, 0xbb, sizeof beacon.nonce);
    strcpy(beacon.location, "192.0.2.7:51351/3");
    strcpy(beacon.name, "w\xc3\xb6rker");
    return beacon;
}

static enum aco_beacon_fault
fault_of(const uint8_t *data, size_t size, double now)
{
    struct aco_beacon beacon;

    return aco_beacon_read(&beacon, KEY, data, size, now);
}

static void
test_round(void)
{
    for (int kind = ACO_BEACON_PING; kind <= ACO_BEACON_PROBE; kind++) {
        struct aco_beacon from = sample(), to;
        uint8_t data[ACO_BEACON_MAX];
        from.kind = (enum aco_beacon_kind)kind;
        size_t size = aco_beacon_write(&from, KEY, data);
        CHECK(size > 0 && size <= ACO_BEACON_MAX);
        CHECK(aco_beacon_read(&to, KEY, data, size, NOW) == ACO_BEACON_GOOD);
        CHECK(to.kind == from.kind && fabs(to.time - from.time) < 1e-5);
        CHECK(memcmp(to.process, from.process, 16) == 0 && memcmp(to.nonce, from.nonce, 16) == 0);
        CHECK(strcmp(to.location, from.location) == 0 && strcmp(to.name, from.name) == 0);
    }
}

/* The bytes themselves, as the protocol has them. */
static void
test_bytes(void)
{
    const struct aco_beacon from = sample();
    uint8_t data[ACO_BEACON_MAX];
    size_t size = aco_beacon_write(&from, KEY, data);

    CHECK(memcmp(data, "ACOD\1\1\0\0", 8) == 0);
    CHECK(data[8] == 0xaa && data[23] == 0xaa && data[24] == 0xbb && data[39] == 0xbb);
    CHECK(memcmp(data + 40, "\x00\x06\x65\x17\x28\x98\x80\x00", 8) == 0); /* 1.8e15 */
    CHECK(memcmp(data + 48,
                 "\x00\x11"
                 "192.0.2.7:51351/3",
                 19) == 0);
    CHECK(memcmp(data + 67, "\x07w\xc3\xb6rker", 8) == 0);
    CHECK(size == 75 + 16);
}

/* Any one bit changed: refused; and cut or lengthened anywhere. */
static void
test_changed(void)
{
    const struct aco_beacon from = sample();
    uint8_t data[ACO_BEACON_MAX + 1] = {0};
    size_t size = aco_beacon_write(&from, KEY, data);

    for (size_t bit = 0; bit < 8 * size; bit++) {
        data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        enum aco_beacon_fault fault = fault_of(data, size, NOW);
        CHECK(fault == (bit < 32   ? ACO_BEACON_FOREIGN
                        : bit < 40 ? ACO_BEACON_OTHER
                                   : ACO_BEACON_FORGED));
        data[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    for (size_t cut = 0; cut < size; cut++)
        CHECK(fault_of(data, cut, NOW) != ACO_BEACON_GOOD);
    CHECK(fault_of(data, size + 1, NOW) == ACO_BEACON_FORGED);
    CHECK(fault_of(data, sizeof data, NOW) == ACO_BEACON_FOREIGN);
    CHECK(fault_of(data, size, NOW) == ACO_BEACON_GOOD);
}

static void
test_other_key(void)
{
    const struct aco_beacon from = sample();
    uint8_t data[ACO_BEACON_MAX];

    size_t size = aco_beacon_write(&from, OTHER, data);
    CHECK(fault_of(data, size, NOW) == ACO_BEACON_FORGED);
}

static void
test_clock(void)
{
    const struct aco_beacon from = sample();
    uint8_t data[ACO_BEACON_MAX];
    struct aco_beacon read;
    size_t size = aco_beacon_write(&from, KEY, data);

    CHECK(fault_of(data, size, NOW + 299) == ACO_BEACON_GOOD);
    CHECK(fault_of(data, size, NOW - 299) == ACO_BEACON_GOOD);
    CHECK(fault_of(data, size, NOW - 301) == ACO_BEACON_CLOCK);
    CHECK(aco_beacon_read(&read, KEY, data, size, NOW + 301) == ACO_BEACON_CLOCK);
    CHECK(fabs(read.time - NOW) < 1e-5 && strcmp(read.location, from.location) == 0);
}

/* Of the right key, but with bytes that must not be: written by hand, the last part by the real
 * function over what was changed. */
static void
test_malformed(void)
{
    struct aco_beacon from = sample();
    uint8_t data[ACO_BEACON_MAX];

    from.kind = (enum aco_beacon_kind)0;
    CHECK(fault_of(data, aco_beacon_write(&from, KEY, data), NOW) == ACO_BEACON_MALFORMED);
    from.kind = (enum aco_beacon_kind)5;
    CHECK(fault_of(data, aco_beacon_write(&from, KEY, data), NOW) == ACO_BEACON_MALFORMED);
    from = sample();
    strcpy(from.location, "nowhere");
    CHECK(fault_of(data, aco_beacon_write(&from, KEY, data), NOW) == ACO_BEACON_MALFORMED);
    from.location[0] = '\0';
    CHECK(fault_of(data, aco_beacon_write(&from, KEY, data), NOW) == ACO_BEACON_MALFORMED);
    from.kind = ACO_BEACON_PROBE; /* which needs none */
    CHECK(fault_of(data, aco_beacon_write(&from, KEY, data), NOW) == ACO_BEACON_GOOD);
}

static void
test_names(void)
{
    struct aco_beacon from = sample(), to;
    uint8_t data[ACO_BEACON_MAX];

    strcpy(from.name, "a\nb\x1b[31m\x7f");
    CHECK(aco_beacon_read(&to, KEY, data, aco_beacon_write(&from, KEY, data), NOW) ==
          ACO_BEACON_GOOD);
    CHECK(strcmp(to.name, "a?b?[31m?") == 0);
    from.name[0] = '\0';
    CHECK(aco_beacon_read(&to, KEY, data, aco_beacon_write(&from, KEY, data), NOW) ==
          ACO_BEACON_GOOD);
    CHECK(to.name[0] == '\0');
    memset(from.name, 'n', sizeof from.name); /* no end: cut */
    memset(from.location, 'h', ACO_LOCATION_HOST);
    strcpy(from.location + ACO_LOCATION_HOST, ":65535/65535");
    size_t size = aco_beacon_write(&from, KEY, data);
    CHECK(size < ACO_BEACON_MAX && aco_beacon_read(&to, KEY, data, size, NOW) == ACO_BEACON_GOOD);
    CHECK(strlen(to.name) == ACO_BEACON_NAME);
}

static void
test_texts(void)
{
    for (int i = 0; i <= ACO_BEACON_FAULTS; i++)
        CHECK(aco_beacon_fault_text((enum aco_beacon_fault)i) != NULL);
}

int
main(void)
{
    test_round();
    test_bytes();
    test_changed();
    test_other_key();
    test_clock();
    test_malformed();
    test_names();
    test_texts();
    return 0;
}
