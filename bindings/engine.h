/* SPDX-License-Identifier: MIT */
/* engine.h -- making and ending the engine of a Lua state; its slots of threads. */
#ifndef ACL_ENGINE_H
#define ACL_ENGINE_H

#include "bindings/acl.h"

/** The engine of this Lua state, made when there is none: on `base`, or on a loop of its own for
 * NULL. */
acl_engine *acl_engine_open(lua_State *L, struct event_base *base);

/** The engine of this Lua state; NULL when there is none. [-] */
acl_engine *acl_engine_find(lua_State *L);

/** Give back everything but Lua's own memory, when no coro is left. The engine of a closed state's
 * functions stays closed until acl_engine_open makes it work again. [-] */
void acl_engine_close(acl_engine *e);

/** A free slot and its thread, whose stack is empty. */
uint32_t acl_slot_take(lua_State *L, acl_engine *e, lua_State **co);

/** Give a slot back: with its thread, to be used again, or with NULL, for a new one to be made. */
void acl_slot_give(acl_engine *e, uint32_t slot, lua_State *co);

/** The coro that uses a slot (0 .. slot_count - 1), NULL when it is free. */
acl_coro *acl_slot_coro(const acl_engine *e, uint32_t slot);

#endif
