/* SPDX-License-Identifier: MIT */
/* coroutine.h -- Lua's own coroutine functions inside coros: generators whose body may wait. */
#ifndef ACL_COROUTINE_H
#define ACL_COROUTINE_H

#include "bindings/acl.h"

/** Put our functions into the `coroutine` table, and our `require` into _G, or the originals back.
 */
void acl_coroutine_patch(lua_State *L, acl_engine *e, bool on);

/** Close the thread of a coro that will not run again, and before it the generators that it waits
 * in. */
void acl_coroutine_close(lua_State *L, lua_State *co);

void acl_open_coroutine(lua_State *L, acl_engine *e);

#endif
