/* SPDX-License-Identifier: MIT */
#include "bindings/alloc.h"

#include "core/base/defs.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum {
    BLOCK_UNIT = 16,
    BLOCK_MAX = 768, /* a thread's first stack is 720 bytes */
    CLASSES = BLOCK_MAX / BLOCK_UNIT,
    SLAB_FIRST = 16 << 10,
    SLAB_MAX = 1 << 20,
};

/* Sanitizers and valgrind see every block when each is malloc's own. */
#if defined(__SANITIZE_ADDRESS__) || defined(ASYNCORO_PLAIN_MALLOC)
#define BLOCKS_FROM_SLABS 0
#else
#define BLOCKS_FROM_SLABS 1
#endif

typedef struct block {
    struct block *next;
} block;

typedef struct slab {
    struct slab *next;
    size_t pad; /* keeps the blocks behind it aligned */
} slab;

struct acl_alloc {
    block *free[CLASSES];
    char *fresh, *fresh_end; /* the part of the newest slab that was never given out */
    slab *slabs;
    size_t slab_size, used, limit;
};

acl_alloc *
acl_alloc_new(size_t limit)
{
    acl_alloc *a = calloc(1, sizeof *a);

    if (a == NULL) return NULL;
    a->limit = limit > 0 ? limit : SIZE_MAX;
    a->slab_size = SLAB_FIRST;
    return a;
}

void
acl_alloc_free(acl_alloc *a)
{
    while (a->slabs != NULL) {
        slab *s = a->slabs;
        a->slabs = s->next;
        free(s);
    }
    free(a);
}

static bool
is_small(size_t size)
{
    return BLOCKS_FROM_SLABS && size <= BLOCK_MAX;
}

static size_t
class_of(size_t size)
{
    return (size - 1) / BLOCK_UNIT;
}

/* Put what is left of the newest slab on the free lists, and begin another. */
static bool
slab_begin(acl_alloc *a)
{
    slab *s = malloc(a->slab_size);

    if (s == NULL) return false;
    while (a->fresh_end - a->fresh >= BLOCK_UNIT) {
        size_t left = (size_t)(a->fresh_end - a->fresh);
        size_t size = left < BLOCK_MAX ? left / BLOCK_UNIT * BLOCK_UNIT : BLOCK_MAX;
        block *b = (block *)(void *)a->fresh;
        b->next = a->free[class_of(size)];
        a->free[class_of(size)] = b;
        a->fresh += size;
    }
    s->next = a->slabs;
    a->slabs = s;
    a->fresh = (char *)(s + 1);
    a->fresh_end = (char *)s + a->slab_size;
    if (a->slab_size < SLAB_MAX) a->slab_size *= 2;
    return true;
}

static ACO_COLD void *
fresh_get(acl_alloc *a, size_t size)
{
    size = (class_of(size) + 1) * BLOCK_UNIT;
    if ((size_t)(a->fresh_end - a->fresh) < size && !slab_begin(a)) return NULL;
    void *fresh = a->fresh;
    a->fresh += size;
    return fresh;
}

static inline void *
small_get(acl_alloc *a, size_t size)
{
    block **list = &a->free[class_of(size)];
    block *b = *list;

    if (ACO_UNLIKELY(b == NULL)) return fresh_get(a, size);
    *list = b->next;
    __builtin_prefetch(b->next); /* the next one's link is read when it is wanted */
    return b;
}

static inline void
small_put(acl_alloc *a, void *ptr, size_t size)
{
    block *b = ptr;

    b->next = a->free[class_of(size)];
    a->free[class_of(size)] = b;
}

static inline void
give_back(acl_alloc *a, void *ptr, size_t size)
{
    if (ptr == NULL) return;
    a->used -= size;
    if (is_small(size))
        small_put(a, ptr, size);
    else
        free(ptr);
}

/* A block of another size, moved; large blocks grow where they are when malloc can. */
static void *
resize(acl_alloc *a, void *ptr, size_t osize, size_t nsize)
{
    if (!is_small(osize) && !is_small(nsize)) return realloc(ptr, nsize);
    void *moved = is_small(nsize) ? small_get(a, nsize) : malloc(nsize);
    if (moved == NULL) return NULL;
    memcpy(moved, ptr, osize < nsize ? osize : nsize);
    if (is_small(osize))
        small_put(a, ptr, osize);
    else
        free(ptr);
    return moved;
}

/* Most calls are for a new small block, or give one back. */
void *
acl_alloc_function(void *ud, void *ptr, size_t osize, size_t nsize)
{
    acl_alloc *a = ud;

    if (nsize == 0) {
        give_back(a, ptr, osize);
        return NULL;
    }
    if (ptr == NULL) osize = 0; /* then it tells what kind of object is made */
    if (ACO_UNLIKELY(nsize > osize && nsize - osize > a->limit - a->used)) return NULL;
    void *fit;
    if (osize == 0)
        fit = is_small(nsize) ? small_get(a, nsize) : malloc(nsize);
    else if (is_small(osize) && is_small(nsize) && class_of(osize) == class_of(nsize))
        fit = ptr;
    else
        fit = resize(a, ptr, osize, nsize);
    if (fit != NULL) a->used = a->used - osize + nsize;
    return fit;
}
