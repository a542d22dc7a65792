/* SPDX-License-Identifier: MIT */
/* run.h -- a program: from its first coro until nothing is left that it waits for. */
#ifndef ACL_RUN_H
#define ACL_RUN_H

#include "bindings/acl.h"

/** How a program ended; also the host's exit code. */
enum acl_program_end { ACL_PROGRAM_OK = 0, ACL_PROGRAM_FAILED = 1, ACL_PROGRAM_DEADLOCK = 2 };

/** Begin a program whose main coro runs the function below nargs arguments on top of L; pops them.
 * The main coro's handle is pushed. */
void acl_program_start(lua_State *L, acl_engine *e, int nargs);

/** One turn of the program: what has been posted, and the coros that are ready. False when it is
 * over. Raises only when there is no memory for the engine's own work. */
bool acl_program_turn(lua_State *L, acl_engine *e);

/** Wait for what comes next, until `deadline` at most. [-] */
void acl_program_wait(acl_engine *e, aco_time deadline);

/** When the next turn is due even if nothing happens; `deadline` at the latest. [-] */
aco_time acl_program_deadline(const acl_engine *e, aco_time deadline);

/** A turn, then the wait. False when the program is over. */
bool acl_program_step(lua_State *L, acl_engine *e, aco_time deadline);

/** Run the program to its end. Returns enum acl_program_end or 128 + the signal that ended it. */
int acl_program_finish(lua_State *L, acl_engine *e);

/** A signal has come (the host only): act on it, in a function made by acl_setfuncs. */
void acl_program_interrupt(lua_State *L, acl_engine *e);

/** Cancel every coro; the program is over when they have ended. */
void acl_program_cancel(lua_State *L, acl_engine *e);

/** End the coros that did not end by being cancelled: their threads are closed, and `<close>`
 * handlers run, but cannot wait any more. */
void acl_program_abandon(lua_State *L, acl_engine *e);

void acl_open_run(lua_State *L, acl_engine *e);

#endif
