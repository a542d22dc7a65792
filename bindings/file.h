/* SPDX-License-Identifier: MIT */
/* file.h -- files: opening them, and what is done by paths; standard input and output. */
#ifndef ACL_FILE_H
#define ACL_FILE_H

#include "bindings/acl.h"

void acl_open_file(lua_State *L, acl_engine *e);

#endif
