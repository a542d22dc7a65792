/* SPDX-License-Identifier: MIT */
/* write.h -- the methods of streams that write. */
#ifndef ACL_WRITE_H
#define ACL_WRITE_H

#include "bindings/acl.h"

#include "core/io/stream.h"

/** Into the table on top. */
void acl_write_methods(lua_State *L, acl_engine *e);

/** Go on with a write of the strings from index 2 on, the stream being at 1, of which `sent` bytes
 * have been sent. Waits; results as of stream:write. Use as: return acl_write_rest(...); */
int acl_write_rest(lua_State *L, acl_engine *e, aco_stream *s, aco_time deadline, size_t sent);

#endif
