/* SPDX-License-Identifier: MIT */
/* socket.h -- connecting, listening, and what only sockets have. */
#ifndef ACL_SOCKET_H
#define ACL_SOCKET_H

#include "bindings/acl.h"

#include "core/io/address.h"

/** The numeric host and the port, or path, at idx and idx + 1: a string that begins with "unix:" is
 * a path. False when it is no numeric address, or too long a path. Raises on wrong types and ports
 * out of range. */
bool acl_address_check(lua_State *L, int idx, aco_address *address);

/** Push host and port; of a Unix socket the path alone. How many values. */
int acl_address_push(lua_State *L, const aco_address *address);

void acl_open_socket(lua_State *L, acl_engine *e);

#endif
