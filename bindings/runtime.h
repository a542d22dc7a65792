/* SPDX-License-Identifier: MIT */
/* runtime.h -- a runtime of asyncoro.h, as the files that make it share it: runtime.c (its life),
 * drive.c (its programs), native.c (handles and mailboxes). */
#ifndef ACL_RUNTIME_H
#define ACL_RUNTIME_H

#include <pthread.h>
#include <stdatomic.h>

#include "bindings/acl.h"
#include "bindings/asyncoro.h"
#include "core/base/buf.h"
#include "core/engine/process.h"

/* Holds a Lua state to its limit, whatever its allocator is. */
typedef struct acl_limit {
    lua_Alloc alloc; /* NULL: not in force */
    void *arg;
    size_t used, limit;
    const acl_engine *engine;
} acl_limit;

struct asyncoro {
    acl_engine *engine; /* NULL until it is open */
    lua_State *L;       /* the main thread */
    asyncoro_options options;
    acl_limit limit;
    aco_process *process; /* owned reference */
    aco_seat *seat; /* of the program itself in it: as long as it is taken, messages may come */
    pthread_t owner;
    bool own_state;
    bool inside;  /* a call is under way: scripts, on_error */
    bool warns;   /* Lua's warnings are on */
    bool running; /* a program has been started */
    bool goes_on; /* what its last turn said */
    bool patched;
    bool closing_atexit; /* a close lets functions of atexit run */
    bool remains;        /* something of the last program, for whose end there was no memory */
    int failures;        /* turns in a row that the engine had no memory for */
    int result;          /* enum asyncoro_end of the last program; -1 */
    int chunk_ref;       /* the loaded script, 0: none */
    int main_ref;        /* the handle of the main coro */
    int argc;            /* of the start under way */
    const char *const *argv;
    const char *text; /* of the load under way; NULL: the file `name` */
    const char *name;
    size_t text_size;
    int load_status; /* of luaL_load* */
    char *error;     /* text of the last error; NULL: none, or no memory for it */
    aco_buf warning; /* what has come of a warning in pieces */
};

/** Begin a call on the owner's thread, outside of scripts: false on any other. */
bool acl_runtime_enter(asyncoro *rt);
void acl_runtime_leave(asyncoro *rt);

/** Call f protected, with the runtime as light userdata. ASYNCORO_OK, or a code with the text kept.
 */
int acl_runtime_call(asyncoro *rt, lua_CFunction f);

/** Keep the text of an error. */
void acl_runtime_error(asyncoro *rt, const char *text);

/** Keep it, and give it to the program: the engine's on_error; `arg` is the runtime. */
void acl_runtime_report(void *arg, const char *text);

/** The code of asyncoro.h for an enum aco_err. */
int acl_runtime_code(int err);

/** drive.c: end the coros of the runtime at its close. */
void acl_runtime_end_coros(asyncoro *rt);

#endif
