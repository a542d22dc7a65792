/* SPDX-License-Identifier: MIT */
/* cancel.h -- cancelling coros: scopes as Lua sees them, terminate, throw, hot swap. */
#ifndef ACL_CANCEL_H
#define ACL_CANCEL_H

#include "bindings/acl.h"

/** True when the value at idx is the error that a cancel raises. [-] */
bool acl_cancel_test(lua_State *L, int idx);

/** Terminate a coro that is not the running one; harmless on one that has ended. ACO_ENOMEM. */
int acl_terminate(acl_engine *e, acl_coro *c);

/** Unwind a coro for a hot swap that it accepted. ACO_EBUSY: it is being terminated. ACO_ENOMEM. */
int acl_cancel_for_swap(acl_engine *e, acl_coro *c);

/** A coro with something pending starts: make it raise instead of running its body; the arguments
 * of its resume. [-] */
int acl_cancel_first_turn(lua_State *L, lua_State *co, acl_coro *c);

/** The body of a coro has ended, by return or by error; L is its acl_base. True: a hot swap has put
 * the next body and its arguments on the stack. */
bool acl_cancel_unwound(lua_State *L, acl_coro *c);

/** Message handler that keeps the traceback of errors with the running coro. */
int acl_traceback(lua_State *L);

/** lua_closethread or what this Lua has for it. */
int acl_closethread(lua_State *L, lua_State *co);

#endif
