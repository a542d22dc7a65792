/* SPDX-License-Identifier: MIT */
/* map.h -- a hash map from short runs of bytes to pointers.
 *
 * Open addressing with linear probing. Keys and values are the caller's: a key must stay where it
 * is and as it is while it is in the map (it is usually a part of its value). One thread, or under
 * the caller's lock. */
#ifndef ACO_MAP_H
#define ACO_MAP_H

#include "core/base/defs.h"

typedef struct aco_map_slot {
    const void *key; /* NULL: free */
    void *value;
    uint32_t size, hash;
} aco_map_slot;

/** All zeros is an empty map; a seed of its own keeps others from choosing keys that collide. */
typedef struct aco_map {
    aco_map_slot *slots;
    size_t count, capacity; /* the second a power of two, or 0 */
    uint64_t seed;
} aco_map;

/** Frees the map, not what is in it. */
void aco_map_free(aco_map *map);

/** The value of a key, NULL when it is not there. */
void *aco_map_get(const aco_map *map, const void *key, size_t size);

/** Add a key that is not there yet. ACO_ENOMEM: it was not added. */
ACO_MUSTUSE int aco_map_put(aco_map *map, const void *key, size_t size, void *value);

/** Take out a key and return its value, NULL when it is not there. */
void *aco_map_remove(aco_map *map, const void *key, size_t size);

/** The value in the first used slot from *place on, with *place set behind it; NULL at the end. The
 * map must not change meanwhile. */
void *aco_map_next(const aco_map *map, size_t *place);

#endif
