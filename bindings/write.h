/* SPDX-License-Identifier: MIT */
/* write.h -- the methods of streams that write. */
#ifndef ACL_WRITE_H
#define ACL_WRITE_H

#include "bindings/acl.h"

/** Into the table on top. */
void acl_write_methods(lua_State *L, acl_engine *e);

#endif
