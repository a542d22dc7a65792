/* SPDX-License-Identifier: MIT */
/* digest.h -- checksums of strings. */
#ifndef ACL_DIGEST_H
#define ACL_DIGEST_H

#include "bindings/acl.h"

void acl_open_digest(lua_State *L, acl_engine *e);

#endif
