/* SPDX-License-Identifier: MIT */
/* udp.h -- datagram sockets as Lua sees them. */
#ifndef ACL_UDP_H
#define ACL_UDP_H

#include "bindings/acl.h"

void acl_open_udp(lua_State *L, acl_engine *e);

#endif
