/* SPDX-License-Identifier: MIT */
/* lock.h -- locks: who holds them, who waits for them, and what becomes of them when their holder
 * ends. */
#ifndef ACL_LOCK_H
#define ACL_LOCK_H

#include "bindings/acl.h"

/** The queue of those who wait for the lock at idx, where the running coro is about to wait too;
 * NULL when it is no lock. A woken waiter holds the lock and has true on its stack, and a second
 * true when the last holder ended without a release; or it has nothing: the lock is closed. [-] */
aco_waitq *acl_lock_queue(lua_State *L, acl_engine *e, int idx);

/** A coro that may hold locks for which others wait (ACL_HOLDS) has ended: they go to those others.
 * [-] */
void acl_locks_pass(lua_State *L, acl_engine *e, const acl_coro *c);

void acl_open_lock(lua_State *L, acl_engine *e);

#endif
