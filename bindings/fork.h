/* SPDX-License-Identifier: MIT */
/* fork.h -- an engine in a process that forks: both sides go on. */
#ifndef ACL_FORK_H
#define ACL_FORK_H

#include "bindings/acl.h"

/** Before fork(): end the threads of this engine. ACO_EBUSY: other engines of the process run, and
 * a child would have none of their threads; nothing was ended then. [-] */
ACO_MUSTUSE int acl_prefork(acl_engine *e);

/** After it, in the parent, and when there was no fork after all. */
void acl_postfork_parent(lua_State *L, acl_engine *e);

/** In the child: kernel objects and an identity of its own. Raises when the system has none. */
void acl_postfork_child(lua_State *L, acl_engine *e);

void acl_open_fork(lua_State *L, acl_engine *e);

#endif
