/* SPDX-License-Identifier: MIT */
/* transfer.h -- files to and from other processes. */
#ifndef ACL_TRANSFER_H
#define ACL_TRANSFER_H

#include "bindings/acl.h"

void acl_open_transfer(lua_State *L, acl_engine *e);

#endif
