/* SPDX-License-Identifier: MIT */
/* remote.h -- coros of other engines of this process, seen from here; and ours, seen from there. */
#ifndef ACL_REMOTE_H
#define ACL_REMOTE_H

#include "bindings/acl.h"
#include "core/engine/identity.h"

/** Act on everything other threads have posted. Runs in a function made by acl_setfuncs. */
void acl_remote_drain(lua_State *L, acl_engine *e);

/** True when something outside this engine (another engine, a host program) could wake a coro. [-]
 */
bool acl_remote_awaits(const acl_engine *e);

/** Give the exit message on top, which it pops, to the remote monitor at `monitor`. */
void acl_remote_exit(lua_State *L, acl_engine *e, int monitor);

/** A coro that is registered or known elsewhere has ended; its handle is at `handle`. */
void acl_remote_ended(lua_State *L, acl_engine *e, acl_coro *c, int handle);

/** Somebody in another engine waits for the outcome of the coro whose handle, local or not, is at
 * `handle`, or was told it. */
bool acl_remote_observed(lua_State *L, const acl_coro *c, int handle);

/** Make the coro at `monitor` a monitor of the one at `observed`, which is not of this engine;
 * raises when it is no coro at all. true, or nil, message, code. */
int acl_remote_monitor(lua_State *L, acl_engine *e, int observed, int monitor);

/** The queue of those who wait for the end of the coro at idx, which is not of this engine; NULL
 * when it has ended, or is no such handle. A task in it counts in e->reach->waits. */
aco_waitq *acl_remote_enders(lua_State *L, acl_engine *e, int idx);

/** Report the failure that nobody has observed of the coro at idx, which is not of this engine. */
void acl_remote_report(lua_State *L, acl_engine *e, int idx);

/** Write the payload of the handle at idx, and its extension type (1 coro, 2 channel, 3 RCI, 4
 * location). Its size; 0 when it is no handle. */
size_t acl_handle_encode(lua_State *L, int idx, int *type, uint8_t payload[ACO_HANDLE_MAX]);

/** Push the handle, equal to any other of the same coro; or push a text and return false. */
bool acl_handle_decode(lua_State *L, int type, const void *data, size_t size);

void acl_open_remote(lua_State *L, acl_engine *e);

#endif
