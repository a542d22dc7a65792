/* SPDX-License-Identifier: MIT */
/* watch.h -- wait_fd: waiting for a descriptor from Lua. */
#ifndef ACL_WATCH_H
#define ACL_WATCH_H

#include "bindings/acl.h"

void acl_open_watch(lua_State *L, acl_engine *e);

#endif
