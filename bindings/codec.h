/* SPDX-License-Identifier: MIT */
/* codec.h -- Lua values as MessagePack, the form in which they leave an engine (docs/values.md).
 *
 * encode.c and decode.c do it; codec.c keeps the classes whose instances may travel, and the Lua
 * functions (lua/asyncoro/source.lua) that know how functions travel. */
#ifndef ACL_CODEC_H
#define ACL_CODEC_H

#include "bindings/acl.h"
#include "core/base/buf.h"

/** Encode the value at idx. ACO_OK: *msg is a new message, the caller's. Otherwise a text that
 * names the part that cannot travel is pushed: ACO_EUNSENDABLE, ACO_ETOOLARGE. Raises when there is
 * no memory, and what a class's __encode raises. */
int acl_encode(lua_State *L, int idx, aco_msg **msg);

/** The same, but `take` is shown the bytes first: if it takes them, there is no message, and *msg
 * is NULL. */
int acl_encode_for(lua_State *L, int idx, bool (*take)(void *arg, const void *data, size_t size),
                   void *arg, aco_msg **msg);

/** The same, with a string that is pushed. */
int acl_encode_string(lua_State *L, int idx);

/** Decode one value, which is pushed. Otherwise a text is pushed: ACO_EPROTOCOL (malformed, or more
 * follows it), ACO_ETOOLARGE. Raises when there is no memory. Treats the bytes as hostile. */
int acl_decode(lua_State *L, const void *data, size_t size);

/** The same with a message. One that came from another process brings no functions and classes,
 * unless this process's network allows it: ACO_EDENIED. */
int acl_decode_msg(lua_State *L, const aco_msg *msg);

/* For encode.c and decode.c. */

/* Extension types. */
enum acl_ext {
    ACL_EXT_CORO = 1,
    ACL_EXT_CHANNEL,
    ACL_EXT_RCI,
    ACL_EXT_LOCATION,
    ACL_EXT_REF,
    ACL_EXT_INSTANCE,
    ACL_EXT_CODE
};

/* Values nest so deep at most; one message has so many bytes, and numbered values (tables,
 * instances, code), at most. */
enum { ACL_CODEC_DEPTH = 200, ACL_CODEC_SIZE = 64 << 20, ACL_CODEC_TABLES = 4 << 20 };

/* Push the table of classes: metatable -> name, and name -> metatable. */
void acl_codec_classes(lua_State *L);

/* Push a function of the shipper ("named", "describe", "load", "link"); false, and nothing pushed,
 * when there is none. */
bool acl_codec_shipper(lua_State *L, const char *what);

void acl_open_codec(lua_State *L);

#endif
