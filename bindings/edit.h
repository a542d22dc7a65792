/* SPDX-License-Identifier: MIT */
/* edit.h -- the Lua module asyncoro.edit: lines from the terminal without blocking the engine. */
#ifndef ACL_EDIT_H
#define ACL_EDIT_H

#include <lua.h>

/** Loader of `asyncoro.edit`: pushes its table. Only the host binary has it; one per state. */
int acl_edit_open(lua_State *L);

#endif
