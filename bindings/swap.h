/* SPDX-License-Identifier: MIT */
/* swap.h -- hot swap: another body for a living coro. */
#ifndef ACL_SWAP_H
#define ACL_SWAP_H

#include "bindings/acl.h"

/** The running coro is about to wait and has a swap pending: decide on it. True: accepted, a cancel
 * is pending. */
bool acl_swap_pending(lua_State *L, acl_engine *e, acl_coro *c);

/** Push the body and arguments of the accepted swap of the coro whose handle is at `handle`. */
void acl_swap_push(lua_State *L, int handle);

void acl_open_swap(lua_State *L, acl_engine *e);

#endif
