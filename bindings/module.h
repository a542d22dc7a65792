/* SPDX-License-Identifier: MIT */
/* module.h -- asyncoro.core, the C module under lua/asyncoro. */
#ifndef ACL_MODULE_H
#define ACL_MODULE_H

#include <lua.h>

struct event_base;

/** Open asyncoro.core in a state whose engine shall run on a host's event_base (NULL: on its own);
 * pushes it. */
int acl_open_core(lua_State *L, struct event_base *base);

/** The module's entry point. */
__attribute__((visibility("default"))) int luaopen_asyncoro_core(lua_State *L);

#endif
