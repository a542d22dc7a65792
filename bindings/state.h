/* SPDX-License-Identifier: MIT */
/* state.h -- making Lua states of our own: for the host, for isolates, for embedders who bring
 * none. */
#ifndef ACL_STATE_H
#define ACL_STATE_H

#include "bindings/acl.h"

/** A new state with our allocator, held to `memory_limit` bytes (0: no limit), its warnings off; no
 * libraries are open. NULL without memory. */
lua_State *acl_state_new(size_t memory_limit);

/** Close a state made by acl_state_new. */
void acl_state_close(lua_State *L);

/** Open the standard libraries, the Lua files that this program carries inside (when it does), and
 * asyncoro.core; raises on failure. */
int acl_state_open_libs(lua_State *L);

/** The state of this engine is our own. */
void acl_state_own(acl_engine *e);

/** Between turns: let the collector of such a state run less often while there is little in it. [-]
 */
void acl_state_pace(lua_State *L, acl_engine *e);

#endif
