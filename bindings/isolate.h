/* SPDX-License-Identifier: MIT */
/* isolate.h -- further engines of this process, each on its own thread. */
#ifndef ACL_ISOLATE_H
#define ACL_ISOLATE_H

#include "bindings/acl.h"

/** How many isolates that this engine started are alive; those that are daemons too when `all`. [-]
 */
size_t acl_isolates_alive(const acl_engine *e, bool all);

/** Cancel every coro of the isolates that this engine started. [-] */
void acl_isolates_stop(lua_State *L, acl_engine *e);

/** Push the lines of a deadlock's text about the isolates that this engine started; how many. */
size_t acl_isolates_text(lua_State *L, const acl_engine *e);

void acl_open_isolate(lua_State *L, acl_engine *e);

#endif
