/* SPDX-License-Identifier: MIT */
/* acl.h -- what the files of bindings share: the engine of a Lua state, coros, and how C functions
 * wait.
 *
 * Every C function reachable from Lua is a closure made by acl_setfuncs, with the upvalues named
 * below, so that nothing is looked up on the way. Functions marked [-] call only Lua API that
 * raises nothing; the others may raise memory errors and must not hold anything that a userdata on
 * the stack does not own.
 *
 * A handle is a full userdata, an acl_coro, which is the task record itself (its `slot` is the
 * index in engine->slots). It sits at the bottom of its thread's stack, and before its first turn
 * in a nest (nest.h), so a live coro is never collected; its user value is the body function until
 * more is known of it, then a table (acl_extras). Its thread sits in the engine's table of threads
 * and is used again by another coro, unless Lua code has seen its value.
 */
#ifndef ACL_H
#define ACL_H

#include <lauxlib.h>
#include <lua.h>
#include <signal.h>

#include "core/base/error.h"
#include "core/engine/loop.h"
#include "core/engine/mailbox.h"
#include "core/engine/scope.h"
#include "core/engine/task.h"
#include "core/engine/watchdog.h"

typedef struct acl_engine acl_engine;

enum acl_upvalue { ACL_UP_ENGINE = 1, ACL_UP_META, ACL_UP_VALUES, ACL_UPVALUES = ACL_UP_VALUES };

enum acl_coro_flag {
    ACL_DAEMON = 1,
    ACL_STARTED = 2,
    ACL_SEEN = 4,     /* Lua code has the thread: not to be used again */
    ACL_FINISHED = 8, /* outcomes; none while alive */
    ACL_FAILED = 16,
    ACL_TERMINATED = 32,
    ACL_ENDED = ACL_FINISHED | ACL_FAILED | ACL_TERMINATED,
    ACL_MONITORED = 64,   /* extras.monitors */
    ACL_UNOBSERVED = 128, /* failed, and nobody has been told */
    ACL_SWAPPABLE = 256,
    ACL_EXPORTED = 512,  /* its handle has left the engine */
    ACL_NAMED = 1024,    /* registered under a name */
    ACL_SLICED = 2048,   /* has a time slice */
    ACL_MAIN = 16384,    /* the first coro of its program: its failure ends it */
    ACL_ROOTED = 8192,   /* has an outermost scope of its own, to be freed */
    ACL_SWAPPING = 4096, /* the old body unwinds; extras.swap is the new one */
    ACL_HOLDS = 32768,   /* has held a lock for which others waited */
};

typedef struct acl_coro {
    aco_task task;
    lua_State *co;         /* its thread; NULL before its first turn and once it has ended */
    lua_State *waiter;     /* the thread that waits: co, or a generator inside it */
    uint32_t wait_serial;  /* counts its waits: names one of them for a reply */
    uint16_t flags;        /* enum acl_coro_flag */
    uint8_t nvals;         /* values that the waker left on the waiter's stack */
    uint8_t receive_index; /* which clause of a select is the mailbox */
} acl_coro;

/* The program that runs (run.c). */
struct acl_program {
    bool failed;   /* its main coro has failed */
    bool stopping; /* every coro has been cancelled */
    int end;       /* enum acl_program_end, or 128 + a signal */
    aco_time stop_deadline;
};

/* A generator runs: who has resumed it. Lives on the C stack of that resume. */
struct acl_frame {
    lua_State *L;
    bool outside; /* L itself was not resumed by us: a wait cannot yield through it */
    struct acl_frame *up;
};

struct acl_engine {
    aco_loop loop;
    acl_coro *current;           /* the coro that runs, NULL between turns */
    lua_State *volatile running; /* the thread that runs: the innermost of its generators */
    lua_State *L;                /* the state's main thread */
    uint64_t next_id;
    uintptr_t *slots;                   /* see acl_slot_take */
    uint32_t *free_slots, *free_tokens; /* stacks */
    uint32_t slot_count, slot_capacity, free_slot_count;
    uint32_t token_count, token_capacity, free_token_count;
    struct acl_nest *nests; /* of coros that have not started (nest.h) */
    uint32_t nest_count, nest_capacity;
    uint32_t nest;      /* the one that is being filled */
    uint32_t nest_free; /* number + 1 of an empty one, 0 for none */
    uint32_t nest_free_count;
    uint32_t nest_lost; /* number + 1 of one whose thread has gone, 0 for none */
    int nests_ref;      /* number + 1 -> thread */
    int gc_pause;       /* the collector's, as long as it is ours to choose; else 0 (state.c) */
    int chain;          /* how many coros may still start in this resume (sched.c) */
    struct aco_msg
        *opened; /* a message that is being decoded, or whose decoding has raised; owned */
    int budget;  /* how many messages the running coro may still take without a turn */
    int threads_ref, meta_ref, values_ref; /* in the registry */
    int handles_ref;                       /* slot -> handle, weak, filled on demand */
    int unobserved_ref;                    /* handles of coros whose failure nobody has seen */
    int cancels_ref;              /* address of a scope -> its userdata, while it is entered */
    int terminated_ref, swap_ref; /* the error values of a terminate and of a hot swap */
    size_t live, daemons;         /* coros that have not ended; those of them that are daemons */
    size_t unobserved;
    aco_time unobserved_since;
    struct acl_frame *frames;          /* of the generators that run inside each other */
    bool patched;                      /* the functions of coroutine.c are in force */
    int begin_ref, turn_ref, loop_ref; /* protected functions of run.c */
    int abandon_ref;
    acl_coro *undone; /* its thread has ended, but there was no memory to see to its end */
    int atexit_ref, on_interrupt_ref;
    bool own;           /* the Lua state is of our making: acl_own */
    bool in_run;        /* a run is under way */
    bool interruptible; /* the host waits for what no deadlock report knows of: a terminal, its own
                           loop */
    volatile sig_atomic_t interrupted; /* the number of a signal to act on, set by a handler */
    size_t failures;                   /* errors that nobody observed, reported */
    aco_watchdog watchdog;             /* leash.c, with all that follows here */
    int leash_ref;
    uint64_t leash_turn; /* of the watchdog, when `leash_from` was set */
    aco_time leash_from; /* nothing is raised in the middle of that turn before */
    bool leash_hard;     /* every instruction of the running coro raises */
    bool slice_over;
    aco_time slice_end; /* of the running coro, when it has a time slice */
    lua_Hook user_hook; /* of the thread that our hook is on */
    int user_hook_mask, user_hook_count;
    struct acl_program program;
    void (*on_error)(void *arg, const char *text); /* of the embedder; NULL: stderr */
    void *on_error_arg;
    aco_link contended;   /* locks for which coros wait (lock.c) */
    uint8_t *scratch;     /* for bytes on their way (stream.c) */
    int64_t http_date_at; /* of the Date header (http_head.c): when it was made */
    char http_date[48];
    uint32_t io_streak;      /* operations on streams without a wait */
    struct acl_reach *reach; /* its seat among the engines of its process (reach.h) */
};

/* engine.c */
acl_engine *
acl_engine_get(lua_State *L); /* of this Lua state; raises when asyncoro.core was not opened */
static inline acl_engine *
acl_self(lua_State *L) /* [-] in a function made by acl_setfuncs */
{
    return lua_touserdata(L, lua_upvalueindex(ACL_UP_ENGINE));
}
/* The same in a state of our own (e->own), where the space that Lua leaves before each thread is
 * the engine's: quicker than an upvalue. Functions that are called most come twice for that. */
static inline acl_engine *
acl_own(lua_State *L) /* [-] */
{
    return *(acl_engine **)lua_getextraspace(L);
}
void acl_setfuncs(lua_State *L, acl_engine *e, const luaL_Reg *funcs);   /* into the table on top */
void acl_setmethods(lua_State *L, acl_engine *e, const luaL_Reg *funcs); /* of coro handles */
uint32_t acl_token_put(lua_State *L, acl_engine *e);              /* pops a value, anchors it */
void acl_token_take(lua_State *L, acl_engine *e, uint32_t token); /* pushes it, lets it go */
void acl_token_drop(lua_State *L, acl_engine *e, uint32_t token);

/* coro.c */
acl_coro *acl_coro_test(lua_State *L, int idx); /* [-] NULL when it is not a local handle */
acl_coro *acl_coro_check(lua_State *L, int idx);
void acl_coro_push(lua_State *L, acl_engine *e, acl_coro *c); /* the handle of a live coro */
void acl_extras(lua_State *L, int handle); /* pushes the table behind the handle, made on demand */
void acl_coro_name(lua_State *L, int handle); /* pushes its name */
void acl_function_name(lua_State *L,
                       int idx); /* pushes the declared name of a function, or file:line */
void acl_warn(lua_State *L, const char *what,
              int err); /* report the error at idx, which nobody else can take */
const char *acl_coro_status(const acl_coro *c); /* [-] "ready", "running" ... */
int acl_coro_spawn(lua_State *L, acl_engine *e, int body,
                   int nargs); /* function and nargs args on top, from index body -> handle */

/* sched.c */
void acl_run_turn(lua_State *L, acl_engine *e); /* run ready coros, a bounded number of them */
void
acl_turn_failed(acl_engine *e); /* it has raised, there is no memory: the next one goes on [-] */
/* The function at the bottom of every coro, and its stack: the message handler, the engine, the
 * handle, then the body with its arguments, or its results. */
int acl_base(lua_State *L);
enum acl_base_stack { ACL_BASE_HANDLER = 1, ACL_BASE_ENGINE, ACL_BASE_HANDLE, ACL_BASE_BODY };

/* wait.c */
acl_coro *acl_wait_look(lua_State *L, acl_engine *e, const char *what);
static inline acl_coro * /* may this code wait? raises if not */
acl_wait_check(lua_State *L, acl_engine *e, const char *what)
{
    acl_coro *c = e->current;

    if (ACO_LIKELY(c != NULL && c->task.pending == 0 && L == e->running && e->frames == NULL &&
                   lua_isyieldable(L)))
        return c;
    return acl_wait_look(L, e, what);
}
bool acl_can_wait(lua_State *L, const acl_engine *e); /* [-] */
aco_time acl_opt_deadline(lua_State *L, int idx); /* seconds or nil at idx -> deadline; 0 gives 0 */
int acl_park(lua_State *L, acl_engine *e, acl_coro *c, aco_time deadline, lua_KContext ctx,
             lua_KFunction k);
static inline int /* the same without a deadline */
acl_park_long(lua_State *L, acl_engine *e, acl_coro *c, lua_KContext ctx, lua_KFunction k)
{
    aco_wait_park(&e->loop, &c->task);
    c->waiter = L;
    c->nvals = 0;
    c->wait_serial++;
    return lua_yieldk(L, 0, ctx, k);
}
void acl_wait_end(lua_State *L, acl_engine *e,
                  acl_coro *c); /* in a continuation: raises what is pending */
int acl_fail(lua_State *L, int err, const char *fmt, ...) ACO_PRINTF(3, 4); /* nil, message, code */

/** Raise an error on behalf of the caller's caller: for what Lua files of ours call with arguments
 * of a user's. */
int acl_blame(lua_State *L, const char *fmt, ...) ACO_PRINTF(2, 3);
int acl_raise_pending(lua_State *L, acl_engine *e, acl_coro *c);

/* message.c */
/* Hand the n values on top (a message, perhaps a reply function) to the coro's mailbox, or to the
 * coro when it waits for one. Pops them on ACO_OK only. ACO_EBUSY: full. ACO_ENOTFOUND: ended.
 * ACO_ENOMEM. */
int acl_message_put(lua_State *L, acl_engine *e, acl_coro *c, int n);
/* Does it wait for one, with none before it that has come from elsewhere? */
static inline bool
acl_message_awaited(const acl_coro *c)
{
    return (c->task.flags & ACO_TASK_RECEIVE) &&
           (c->task.mailbox == NULL || aco_mailbox_vacant(c->task.mailbox));
}
/* The same for a coro that does: leaves them on its stack. [-] */
void acl_message_hand(lua_State *L, acl_engine *e, acl_coro *c, int n);
/* The same for one value, at idx, that only has to be put into the mailbox, which has room and is
 * known to this engine only; false, and nothing has happened, when it is not as simple. */
bool acl_message_queue(lua_State *L, acl_engine *e, acl_coro *c, int idx);
int acl_mailbox_put(lua_State *L, acl_engine *e, acl_coro *c, int idx);
int acl_mailbox_get(lua_State *L, acl_engine *e,
                    acl_coro *c);       /* pushes message [, reply]; how many, 0: it is empty */
void acl_message_forget(acl_engine *e); /* [-] let go of a message whose decoding has raised */
void acl_mailbox_drop(lua_State *L, acl_engine *e,
                      acl_coro *c); /* at the end of a coro: empty and close it */
aco_mailbox *acl_mailbox(lua_State *L, acl_coro *c, size_t limit); /* made on demand */

#endif
