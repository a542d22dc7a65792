/* SPDX-License-Identifier: MIT */
#include "core/base/map.h"
#include "core/base/error.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_CAPACITY = 16 };

/* FNV-1a from a seed, its bits spread at the end. */
static uint32_t
hash_of(const aco_map *map, const void *key, size_t size)
{
    const uint8_t *at = key;
    uint64_t hash = UINT64_C(0xcbf29ce484222325) ^ map->seed;

    for (size_t i = 0; i < size; i++)
        hash = (hash ^ at[i]) * UINT64_C(0x100000001b3);
    hash = (hash ^ (hash >> 32)) * UINT64_C(0xd6e8feb86659fd93);
    return (uint32_t)(hash ^ (hash >> 32));
}

static bool
is_key(const aco_map_slot *slot, uint32_t hash, const void *key, size_t size)
{
    return slot->hash == hash && slot->size == size && memcmp(slot->key, key, size) == 0;
}

/* The slot of the key, or the free one where it belongs. */
static aco_map_slot *
slot_find(const aco_map *map, uint32_t hash, const void *key, size_t size)
{
    size_t mask = map->capacity - 1, i = hash & mask;

    while (map->slots[i].key != NULL && !is_key(&map->slots[i], hash, key, size))
        i = (i + 1) & mask;
    return &map->slots[i];
}

void
aco_map_free(aco_map *map)
{
    free(map->slots);
    map->slots = NULL;
    map->count = map->capacity = 0;
}

void *
aco_map_get(const aco_map *map, const void *key, size_t size)
{
    if (map->count == 0) return NULL;
    const aco_map_slot *slot = slot_find(map, hash_of(map, key, size), key, size);
    return slot->key != NULL ? slot->value : NULL;
}

static int
map_resize(aco_map *map, size_t capacity)
{
    aco_map bigger = {.capacity = capacity, .seed = map->seed};

    bigger.slots = calloc(capacity, sizeof *bigger.slots);
    if (bigger.slots == NULL) return ACO_ENOMEM;
    for (size_t i = 0; i < map->capacity; i++) {
        const aco_map_slot *slot = &map->slots[i];
        if (slot->key != NULL) *slot_find(&bigger, slot->hash, slot->key, slot->size) = *slot;
    }
    bigger.count = map->count;
    free(map->slots);
    *map = bigger;
    return ACO_OK;
}

int
aco_map_put(aco_map *map, const void *key, size_t size, void *value)
{
    if (map->count + map->count / 2 >= map->capacity) {
        int err = map_resize(map, map->capacity ? map->capacity * 2 : FIRST_CAPACITY);
        if (err != ACO_OK) return err;
    }
    uint32_t hash = hash_of(map, key, size);
    *slot_find(map, hash, key, size) =
        (aco_map_slot){.key = key, .value = value, .size = (uint32_t)size, .hash = hash};
    map->count++;
    return ACO_OK;
}

/* Close the hole at i: move what was put behind it only because it was taken. */
static void
hole_close(aco_map *map, size_t i)
{
    size_t mask = map->capacity - 1;

    for (size_t j = (i + 1) & mask; map->slots[j].key != NULL; j = (j + 1) & mask) {
        size_t wanted = map->slots[j].hash & mask;
        if (((j - wanted) & mask) < ((j - i) & mask)) continue;
        map->slots[i] = map->slots[j];
        i = j;
    }
    map->slots[i] = (aco_map_slot){.key = NULL};
}

void *
aco_map_remove(aco_map *map, const void *key, size_t size)
{
    if (map->count == 0) return NULL;
    aco_map_slot *slot = slot_find(map, hash_of(map, key, size), key, size);
    if (slot->key == NULL) return NULL;
    void *value = slot->value;
    hole_close(map, (size_t)(slot - map->slots));
    map->count--;
    return value;
}

void *
aco_map_next(const aco_map *map, size_t *place)
{
    while (*place < map->capacity) {
        const aco_map_slot *slot = &map->slots[(*place)++];
        if (slot->key != NULL) return slot->value;
    }
    return NULL;
}
