/* SPDX-License-Identifier: MIT */
/* alloc.h -- the allocator of the Lua states that we make ourselves.
 *
 * Small blocks come from free lists, one for each multiple of 16 bytes, cut from larger slabs; Lua
 * tells the size of what it frees, so a block needs no header. Coros are many blocks of the same
 * few sizes: this is several times faster than malloc for them and saves 16 bytes each. Larger
 * blocks go to malloc. Slabs are given back when the state is closed. It can hold a state to a
 * limit. One thread. */
#ifndef ACL_ALLOC_H
#define ACL_ALLOC_H

#include <stdbool.h>
#include <stddef.h>

typedef struct acl_alloc acl_alloc;

/** A new allocator that gives out `limit` bytes at most (0: no limit); NULL without memory. */
acl_alloc *acl_alloc_new(size_t limit);

/** After lua_close: give everything back. */
void acl_alloc_free(acl_alloc *a);

/** The lua_Alloc function; its `ud` is the allocator. */
void *acl_alloc_function(void *ud, void *ptr, size_t osize, size_t nsize);

#endif
