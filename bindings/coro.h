/* SPDX-License-Identifier: MIT */
/* coro.h -- how coros end, and what is kept of them. */
#ifndef ACL_CORO_H
#define ACL_CORO_H

#include "bindings/acl.h"

/** Keep the results from stack index `first` to the top as the outcome of the coro whose handle is
 * at `handle`. */
void acl_outcome_keep(lua_State *L, int handle, int first);

/** Keep the error on top, which it pops, as the outcome of the coro whose handle is at `handle`. */
void acl_outcome_fail(lua_State *L, int handle);

/** Push the outcome of an ended coro as `finish` gives it; how many values. */
int acl_outcome_push(lua_State *L, acl_engine *e, acl_coro *c, int handle);

/** Push the exit message of an ended coro, whose failure counts as observed then. */
void acl_exit_push(lua_State *L, acl_engine *e, acl_coro *c, int handle);

/** monitor(observed, monitor): the first handle is a local one. */
int acl_monitor_local(lua_State *L);

/** Report the failure of the coro whose handle is at `handle` in a while, unless it is observed. */
void acl_unobserved_add(lua_State *L, acl_engine *e, int handle);

/** The end of this coro concerns others, so acl_coro_ended needs its handle. [-] */
bool acl_coro_watched(const acl_coro *c);

/** The coro has ended and its thread is idle: tell all who wait or watch, give back what it had.
 * Its handle is on top of L if it is watched; otherwise nothing is allocated. */
void acl_coro_ended(lua_State *L, acl_engine *e, acl_coro *c);

/** End a coro that is not in the run queue, wherever it is; its clean-up cannot wait. */
void acl_coro_abandon(lua_State *L, acl_engine *e, acl_coro *c);

/** Empty the run queue; those in it that have not started end. */
void acl_abandon_ready(lua_State *L, acl_engine *e);

void acl_open_coro(lua_State *L, acl_engine *e);
void acl_open_spawn(lua_State *L, acl_engine *e);
void acl_open_wait(lua_State *L, acl_engine *e);
void acl_open_cancel(lua_State *L, acl_engine *e);
void acl_open_finish(lua_State *L, acl_engine *e);
void acl_open_send(lua_State *L, acl_engine *e);

#endif
