/* SPDX-License-Identifier: MIT */
/* process.h -- child processes, for lua/asyncoro/process.lua. */
#ifndef ACL_PROCESS_H
#define ACL_PROCESS_H

#include "bindings/acl.h"

void acl_open_process(lua_State *L, acl_engine *e);

#endif
