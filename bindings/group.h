/* SPDX-License-Identifier: MIT */
/* group.h -- what groups and supervisors, which are written in Lua, need of the engine. */
#ifndef ACL_GROUP_H
#define ACL_GROUP_H

#include "bindings/acl.h"

/** Somebody has said that the failure of the coro whose handle is at `handle` does not go unseen.
 */
bool acl_coro_answered(lua_State *L, int handle);

void acl_open_group(lua_State *L, acl_engine *e);

#endif
