/* SPDX-License-Identifier: MIT */
/* tls.h -- TLS for streams: contexts, and what only its streams have. */
#ifndef ACL_TLS_H
#define ACL_TLS_H

#include "bindings/acl.h"

void acl_open_tls(lua_State *L, acl_engine *e);

#endif
