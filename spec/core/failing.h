/* SPDX-License-Identifier: MIT */
/* failing.h -- allocations that fail on demand, Lua's and ours, for the tests that include it once.
 *
 * Lua tries again after a full collection when an allocation fails, so two in a row must fail. The
 * linker's --wrap leads the calls of malloc here (see cmake/tests.cmake).
 */
#ifndef ACO_FAILING_H
#define ACO_FAILING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *ptr, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *ptr, size_t size);

/* Allocations to go until one fails, and how many fail then; other threads may allocate too. */
static atomic_long countdown, failures;
static size_t lua_bytes;

static bool
fails(void)
{
    return atomic_fetch_sub(&countdown, 1) <= 0 && atomic_fetch_sub(&failures, 1) > 0;
}

static void
arm(long after, long count)
{
    atomic_store(&failures, count);
    atomic_store(&countdown, after);
}

/* Whether none of them had to fail. */
static bool
disarm(long count)
{
    return atomic_exchange(&failures, 0) == count;
}

void *
__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *
__wrap_calloc(size_t count, size_t size)
{
    return fails() ? NULL : __real_calloc(count, size);
}

void *
__wrap_realloc(void *ptr, size_t size)
{
    return fails() ? NULL : __real_realloc(ptr, size);
}

static void *
allocate(void *ud, void *ptr, size_t osize, size_t nsize)
{
    size_t *used = ud;
    void *block;

    if (ptr == NULL) osize = 0;
    if (nsize == 0) {
        free(ptr);
        *used -= osize;
        return NULL;
    }
    if (nsize <= osize)
        block = __real_realloc(ptr, nsize); /* Lua relies on it that shrinking works */
    else
        block = fails() ? NULL : __real_realloc(ptr, nsize);
    if (block != NULL) *used += nsize - osize;
    return block;
}

#endif
