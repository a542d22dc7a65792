/* SPDX-License-Identifier: MIT */
/* http.h -- reading and writing HTTP/1.1 messages, for lua/asyncoro/http. */
#ifndef ACL_HTTP_H
#define ACL_HTTP_H

#include "bindings/acl.h"

/** Makes core.http, where the build has llhttp. */
void acl_open_http(lua_State *L, acl_engine *e);

#endif
