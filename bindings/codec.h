/* SPDX-License-Identifier: MIT */
/* codec.h -- Lua values as MessagePack, the form in which they leave an engine. */
#ifndef ACL_CODEC_H
#define ACL_CODEC_H

#include "bindings/acl.h"
#include "core/base/buf.h"

/** Encode the value at idx. ACO_OK: *msg is a new message, the caller's. Otherwise a text that names
 * the part that cannot travel is pushed: ACO_EUNSENDABLE, ACO_ETOOLARGE. Raises when there is no
 * memory, and what a class's __encode raises. */
int acl_encode(lua_State *L, int idx, aco_msg **msg);

/** Decode one value, which is pushed. Otherwise a text is pushed: ACO_EPROTOCOL (malformed, or more
 * follows it), ACO_ETOOLARGE. Raises when there is no memory. Treats the bytes as hostile. */
int acl_decode(lua_State *L, const void *data, size_t size);

void acl_open_codec(lua_State *L);

#endif
