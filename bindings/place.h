/* SPDX-License-Identifier: MIT */
/* place.h -- where inside a value something is, for the text of a refusal: message.db[3]. */
#ifndef ACL_PLACE_H
#define ACL_PLACE_H

#include "bindings/acl.h"

/** A step from a table, or from a function to one of its upvalues; a chain on the C stack. NULL is
 * the value itself. */
typedef struct acl_place {
    const struct acl_place *up;
    int key;        /* stack index of the key; 0: `index` is the key */
    int descriptor; /* stack index of a function's descriptor: `index` is one of its upvalues */
    lua_Integer index;
} acl_place;

/** Push the path as Lua code would write it; from the last function on, since that has a name, and
 * without what is in the middle of a long one. */
void acl_place_push(lua_State *L, const acl_place *where);

#endif
