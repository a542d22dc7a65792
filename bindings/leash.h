/* SPDX-License-Identifier: MIT */
/* leash.h -- control over code that does not wait (D8 of the design: cooperative, with a leash). */
#ifndef ACL_LEASH_H
#define ACL_LEASH_H

#include "bindings/acl.h"

struct acl_leash_options {
    bool on;
    double stall; /* seconds without a wait after which a coro is reported; 0: the default */
};

/** Read the value at idx, the `leash` option of run: a boolean or {stall = seconds}; raises on
 * others. */
void acl_leash_option(lua_State *L, int idx, struct acl_leash_options *options);

/** Watch this engine, whose thread is the calling one, until acl_leash_stop. */
void acl_leash_start(lua_State *L, acl_engine *e, const struct acl_leash_options *options);
void acl_leash_stop(acl_engine *e);

/** The engine's thread begins or ends a poll: nothing runs meanwhile. [-] */
void acl_leash_idle(acl_engine *e, bool idle);

/** Another thread of the running coro runs now: what the leash wants reaches that one. [-] */
void acl_leash_follow(acl_engine *e);

/** From a signal handler on the engine's thread: reach the running coro soon. Async-signal-safe. */
void acl_leash_interrupt(acl_engine *e);

/** The scopes of the running coro have changed: watch for the nearest deadline. [-] */
void acl_leash_deadline(acl_engine *e);

/** A coro is about to run that has scopes, a time slice, or something pending. */
void acl_leash_turn(lua_State *L, acl_engine *e, acl_coro *c);

/** Give the coro whose handle is at `handle` a time slice. */
void acl_leash_slice(lua_State *L, acl_engine *e, acl_coro *c, int handle, double seconds);

void acl_open_leash(lua_State *L, acl_engine *e);

#endif
