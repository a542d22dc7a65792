/* SPDX-License-Identifier: MIT */
/* map_test.c -- the hash map beside a plain array of what should be in it; and random bytes. */
#include "core/base/error.h"
#include "core/base/map.h"
#include "core/base/random.h"
#include "spec/core/check.h"

#include <string.h>

enum { KEYS = 5000, STEPS = 200000 };

static uint32_t keys[KEYS];
static bool present[KEYS];

static uint32_t
next_random(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

static void
check_all(const aco_map *map)
{
    size_t count = 0, place = 0, seen = 0;
    const uint32_t *value;

    for (uint32_t i = 0; i < KEYS; i++) {
        CHECK(aco_map_get(map, &keys[i], sizeof keys[i]) == (present[i] ? &keys[i] : NULL));
        count += present[i];
    }
    CHECK(map->count == count);
    while ((value = aco_map_next(map, &place)) != NULL) {
        CHECK(present[value - keys]);
        seen++;
    }
    CHECK(seen == count);
}

static void
test_against_array(void)
{
    aco_map map = {.seed = 42};
    uint32_t state = 1;

    for (uint32_t i = 0; i < KEYS; i++)
        keys[i] = i * 7919;
    check_all(&map);
    for (int step = 0; step < STEPS; step++) {
        uint32_t i = next_random(&state) % KEYS;
        if (present[i])
            CHECK(aco_map_remove(&map, &keys[i], sizeof keys[i]) == &keys[i]);
        else
            CHECK(aco_map_put(&map, &keys[i], sizeof keys[i], &keys[i]) == ACO_OK);
        present[i] = !present[i];
        if (step % 20000 == 0) check_all(&map);
    }
    check_all(&map);
    for (uint32_t i = 0; i < KEYS; i++)
        CHECK((aco_map_remove(&map, &keys[i], sizeof keys[i]) != NULL) == present[i]);
    CHECK(map.count == 0);
    aco_map_free(&map);
}

static void
test_keys_of_any_size(void)
{
    aco_map map = {.seed = 1};
    const char *words[] = {"", "a", "ab", "abc", "b", "a longer key than all of the others"};
    const size_t count = sizeof words / sizeof *words;

    for (size_t i = 0; i < count; i++)
        CHECK(aco_map_put(&map, words[i], strlen(words[i]), (void *)(uintptr_t)(i + 1)) == ACO_OK);
    for (size_t i = 0; i < count; i++)
        CHECK(aco_map_get(&map, words[i], strlen(words[i])) == (void *)(uintptr_t)(i + 1));
    CHECK(aco_map_get(&map, "abcd", 4) == NULL);
    CHECK(aco_map_remove(&map, "abcd", 4) == NULL);
    aco_map_free(&map);
    CHECK(aco_map_get(&map, "a", 1) == NULL);
}

static void
test_random(void)
{
    uint8_t one[64] = {0}, two[64] = {0}, none[64] = {0};

    CHECK(aco_random(one, sizeof one) == ACO_OK);
    CHECK(aco_random(two, sizeof two) == ACO_OK);
    CHECK(memcmp(one, two, sizeof one) != 0 && memcmp(one, none, sizeof one) != 0);
    CHECK(aco_random(one, 0) == ACO_OK);
}

int
main(void)
{
    test_against_array();
    test_keys_of_any_size();
    test_random();
    return 0;
}
