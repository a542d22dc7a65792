/* SPDX-License-Identifier: MIT */
/* rci.h -- functions that may be started as coros from elsewhere, without shipping code. */
#ifndef ACL_RCI_H
#define ACL_RCI_H

#include "bindings/acl.h"
#include "core/engine/process.h"

/** Names of RCIs stand beside those of coros, with this before them. */
#define ACL_RCI_PREFIX "rci "

/** Handles inside values (remote.h): the payload of the RCI at idx, its size; 0 when it is none. */
size_t acl_rci_encode(lua_State *L, acl_engine *e, int idx, uint8_t payload[ACO_HANDLE_MAX]);

/** Push the RCI, equal to any other of the same identity. */
void acl_rci_push(lua_State *L, acl_engine *e, const aco_identity *identity, const char *route,
                  const char *name);

/** For a request whose method is on top: push the function that does it and its first arguments;
 * false, and nothing pushed, when it is unknown. */
bool acl_rci_serve(lua_State *L, acl_engine *e, const aco_export *x, const aco_post *asked);

void acl_open_rci(lua_State *L, acl_engine *e);

#endif
