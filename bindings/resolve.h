/* SPDX-License-Identifier: MIT */
/* resolve.h -- looking up names of hosts, for lua/asyncoro/resolve.lua. */
#ifndef ACL_RESOLVE_H
#define ACL_RESOLVE_H

#include "bindings/acl.h"

void acl_open_resolve(lua_State *L, acl_engine *e);

#endif
