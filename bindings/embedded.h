/* SPDX-License-Identifier: MIT */
/* embedded.h -- the Lua files that the host binary and the library carry inside. */
#ifndef ACL_EMBEDDED_H
#define ACL_EMBEDDED_H

#include <lua.h>

/** Put a loader for each of them into package.preload. */
void acl_embedded_preload(lua_State *L);

#endif
