/* SPDX-License-Identifier: MIT */
/* waitq.h -- the wait queue of events, queues and the like, as Lua sees it; and waits for several
 * things at once. */
#ifndef ACL_WAITQ_H
#define ACL_WAITQ_H

#include "bindings/acl.h"

/** Also opens locks (lock.h) and what groups need (group.h). */
void acl_open_waitq(lua_State *L, acl_engine *e);

#endif
