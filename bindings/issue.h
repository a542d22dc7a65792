/* SPDX-License-Identifier: MIT */
/* issue.h -- certificates for processes, made for lua/asyncoro/cli/cert.lua. */
#ifndef ACL_ISSUE_H
#define ACL_ISSUE_H

#include "bindings/acl.h"

void acl_open_issue(lua_State *L, acl_engine *e);

#endif
