/* SPDX-License-Identifier: MIT */
/* read.h -- the methods of streams that read. */
#ifndef ACL_READ_H
#define ACL_READ_H

#include "bindings/acl.h"

/** Into the table on top. */
void acl_read_methods(lua_State *L, acl_engine *e);

#endif
