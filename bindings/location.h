/* SPDX-License-Identifier: MIT */
/* location.h -- locations as Lua values: the routes to processes. */
#ifndef ACL_LOCATION_H
#define ACL_LOCATION_H

#include "bindings/acl.h"
#include "core/engine/identity.h"

/** Push the location with this text, equal to any other of the same text; nil for "", and for what
 * is no location. */
void acl_location_push(lua_State *L, const char *text);

/** The text of the location at idx, a location or its text; raises when it is neither. The value at
 * idx is replaced by the text, whose life is that of the stack slot. */
const char *acl_location_check(lua_State *L, int idx);

/** Handles inside values (remote.h): the payload of the location at idx, its size; 0 when it is
 * none. */
size_t acl_location_encode(lua_State *L, int idx, uint8_t payload[ACO_HANDLE_MAX]);

/** Push the location, or push a text and return false. */
bool acl_location_decode(lua_State *L, const void *data, size_t size);

void acl_open_location(lua_State *L, acl_engine *e);

#endif
