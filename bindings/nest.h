/* SPDX-License-Identifier: MIT */
/* nest.h -- coros from their spawn to their first turn.
 *
 * Such a coro has no thread yet (`co` is NULL, as it is again after its end): many never wait, and
 * one thread runs them one after the other. Its handle and its arguments stand on the stack of a
 * nest, a Lua thread that runs nothing; `task.slot` is the number of the nest, `wait_serial` the
 * handle's place on that stack, `nvals` the number of arguments after it. All such coros are in the
 * run queue. A nest is used again when all who were in it have started. */
#ifndef ACL_NEST_H
#define ACL_NEST_H

#include "bindings/acl.h"

/** A coro with more arguments goes into no nest, but gets its thread at once. */
enum { ACL_NEST_ARGS = 32 };

struct acl_nest {
    lua_State *L;
    uint32_t top, left; /* used places; coros in it that have not started */
    uint32_t next;      /* of an empty one: number + 1 of another, 0 for none */
};

/** Not started, and without a thread. [-] */
static inline bool
acl_nest_has(const acl_coro *c)
{
    return c->co == NULL && !(c->flags & ACL_ENDED);
}

/** Put in a new coro: its handle is on top of the stack and stays there, the body is below it at
 * `body` with nargs arguments in between, which go away if there are any. */
void acl_nest_put(lua_State *L, acl_engine *e, acl_coro *c, int body, int nargs);

/** Push the handle of a coro that is in a nest. [-] */
void acl_nest_push(lua_State *L, const acl_engine *e, const acl_coro *c);

/** Push the handle of a coro in a nest, which leaves it, its body and its arguments where acl_base
 * wants them, on top of the stack of `co`, which has room for them: false, and nothing has changed,
 * when the body must be looked for in its extras. [-] */
bool acl_nest_take(acl_engine *e, acl_coro *c, lua_State *co);

/** Give a coro that is in a nest a thread. */
void acl_nest_leave(lua_State *L, acl_engine *e, acl_coro *c);

/** The coro in a nest has ended without a first turn. [-] */
void acl_nest_drop(acl_engine *e, acl_coro *c);

/** Push the thread of a nest that is not needed any more, and return it; NULL, and nothing is
 * pushed, when there is none. */
lua_State *acl_nest_thread(lua_State *L, acl_engine *e);

void acl_nests_close(acl_engine *e);

/** All coros of an engine that have not ended: begin with {0}, NULL after the last. [-] */
struct acl_walk {
    uint32_t slot;
    bool ready; /* through the run queue */
    const aco_task *at;
};

acl_coro *acl_walk_next(const acl_engine *e, struct acl_walk *walk);

#endif
