/* SPDX-License-Identifier: MIT */
/* http_head.h -- writing the heads of HTTP/1.1 messages. */
#ifndef ACL_HTTP_HEAD_H
#define ACL_HTTP_HEAD_H

#include "bindings/acl.h"

/** Into the table on top. */
void acl_http_head_funcs(lua_State *L, acl_engine *e);

#endif
