/* SPDX-License-Identifier: MIT */
/* drive.c -- asyncoro.h: programs of a runtime, from their start to their end, run in one call,
 * turn by turn, or by the base of the program around.
 *
 * Whatever drives a program, it goes on in runtime_turn, which runs it under a protected call, and
 * ends in runtime_over. */
#include "bindings/cancel.h"
#include "bindings/coro.h"
#include "bindings/coroutine.h"
#include "bindings/engine.h"
#include "bindings/leash.h"
#include "bindings/nest.h"
#include "bindings/report.h"
#include "bindings/run.h"
#include "bindings/runtime.h"

#include <string.h>

#include "core/base/clock.h"

/* After so many turns in a row for which there was no memory the program is given up. */
enum { FAILURES_MAX = 100 };

#define FAILURE_PAUSE (ACO_SECOND / 1000)

/* How much longer than the grace a close waits; how many instructions apart it looks at the clock;
 * how many turns it gives after that. */
#define CLOSE_MARGIN (ACO_SECOND / 4)
enum { CLOSE_LOOK = 1000, CLOSE_ROUNDS = 16 };

/* Start and end ------------------------------------------------------------------------------- */

/* The loaded script and its arguments onto the stack. */
static void
push_script(lua_State *L, const asyncoro *rt)
{
    luaL_checkstack(L, rt->argc + LUA_MINSTACK, "too many arguments");
    lua_rawgeti(L, LUA_REGISTRYINDEX, rt->chunk_ref);
    for (int i = 0; i < rt->argc; i++)
        lua_pushstring(L, rt->argv[i]);
}

/* A program begins. When this raises, runtime_teardown takes back what was done. */
static int
begin(lua_State *L)
{
    asyncoro *rt = lua_touserdata(L, 1);
    acl_engine *e = rt->engine;
    const struct acl_leash_options leash = {.on = (rt->options.flags & ASYNCORO_LEASH) != 0};

    lua_pushboolean(L, 0);
    rt->main_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    push_script(L, rt);
    if (!(rt->options.flags & ASYNCORO_UNPATCHED)) {
        rt->patched = true;
        acl_coroutine_patch(L, e, true);
    }
    acl_leash_start(L, e, &leash);
    e->failures = 0;
    e->interrupted = 0;
    acl_program_start(L, e, rt->argc);
    lua_rawseti(L, LUA_REGISTRYINDEX, rt->main_ref); /* asks for no memory: the place is there */
    return 0;
}

/* One more coro in the program that runs. */
static int
begin_another(lua_State *L)
{
    asyncoro *rt = lua_touserdata(L, 1);

    lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    lua_getfield(L, -1, "asyncoro.core");
    lua_getfield(L, -1, "spawn");
    push_script(L, rt);
    lua_call(L, rt->argc + 1, 0);
    return 0;
}

static int
unpatch(lua_State *L)
{
    asyncoro *rt = lua_touserdata(L, 1);

    acl_coroutine_patch(L, rt->engine, false);
    return 0;
}

static void
runtime_teardown(asyncoro *rt)
{
    acl_leash_stop(rt->engine);
    if (rt->patched) acl_runtime_call(rt, unpatch);
    rt->patched = false;
    luaL_unref(rt->L, LUA_REGISTRYINDEX, rt->main_ref);
    rt->main_ref = LUA_NOREF;
    rt->engine->in_run = false;
    rt->running = false;
}

static int
abandon(lua_State *L)
{
    asyncoro *rt = lua_touserdata(L, 1);

    acl_program_abandon(L, rt->engine);
    return 0;
}

/* What the end of the last program had no memory for. */
static int
catch_up(lua_State *L)
{
    asyncoro *rt = lua_touserdata(L, 1);

    acl_program_abandon(L, rt->engine);
    acl_report_unobserved(L, rt->engine);
    rt->remains = false;
    return 0;
}

static int
runtime_begin(asyncoro *rt, int argc, const char *const *argv)
{
    if (rt->chunk_ref == 0) {
        acl_runtime_error(rt, "no script has been loaded");
        return ASYNCORO_EMISUSE;
    }
    if (rt->remains && acl_runtime_call(rt, catch_up) != ASYNCORO_OK) return ASYNCORO_ENOMEM;
    rt->argc = argc;
    rt->argv = argv;
    if (rt->running) return acl_runtime_call(rt, begin_another);
    if (rt->engine->in_run) {
        acl_runtime_error(rt, "asyncoro.run is under way in this Lua state");
        return ASYNCORO_EMISUSE;
    }
    rt->main_ref = LUA_NOREF;
    rt->failures = 0;
    int code = acl_runtime_call(rt, begin);
    if (code != ASYNCORO_OK) {
        runtime_teardown(rt);
        return code;
    }
    rt->engine->in_run = true;
    rt->running = true;
    return ASYNCORO_OK;
}

/* Report the failure of the main coro, whose handle is at idx. */
static void
report_main(lua_State *L, asyncoro *rt, int idx)
{
    acl_coro *c = lua_touserdata(L, idx);

    if (c == NULL || !(c->flags & ACL_FAILED)) return;
    acl_outcome_push(L, rt->engine, c, idx);
    acl_error_text(L, idx + 2);
    const char *trace = lua_tostring(L, idx + 3);
    if (trace != NULL && lua_type(L, idx + 2) == LUA_TSTRING)
        lua_pushfstring(L, "%s\n%s", lua_tostring(L, -1), trace);
    acl_runtime_report(rt, lua_tostring(L, -1));
}

/* What the coros left to say. */
static int
conclude(lua_State *L)
{
    asyncoro *rt = lua_touserdata(L, 1);
    acl_engine *e = rt->engine;

    acl_report_unobserved(L, e);
    if (e->program.failed || e->failures > 0) rt->result = ASYNCORO_FAILED;
    if (e->program.end > 128) rt->result = ASYNCORO_STOPPED;
    lua_rawgeti(L, LUA_REGISTRYINDEX, rt->main_ref);
    report_main(L, rt, 2);
    if (e->program.end != ACL_PROGRAM_DEADLOCK) return 0;
    rt->result = ASYNCORO_DEADLOCK;
    lua_rawgetp(L, LUA_REGISTRYINDEX, &e->program);
    acl_runtime_report(rt, lua_tostring(L, -1));
    return 0;
}

static int
turn(lua_State *L)
{
    asyncoro *rt = lua_touserdata(L, 1);

    rt->goes_on = acl_program_turn(L, rt->engine);
    return 0;
}

/* One turn; false when the program is over. */
static bool
runtime_turn(asyncoro *rt)
{
    if (acl_runtime_call(rt, turn) == ASYNCORO_OK) {
        rt->failures = 0;
        return rt->goes_on;
    }
    return ++rt->failures < FAILURES_MAX;
}

/* When the next turn is due at the latest: soon after one for which there was no memory. */
static aco_time
runtime_deadline(const asyncoro *rt)
{
    return acl_program_deadline(rt->engine,
                                rt->failures > 0 ? aco_now() + FAILURE_PAUSE : ACO_NEVER);
}

/* Wait without the base of the program, which may be running just now. */
static void
close_wait(asyncoro *rt)
{
    acl_engine *e = rt->engine;

    if (rt->options.base == NULL)
        acl_program_wait(e, runtime_deadline(rt));
    else
        aco_loop_settle(&e->loop, runtime_deadline(rt));
}

/* Coros that have not ended in time are cut off; the functions of atexit, which waited for them,
 * run. */
static void
end_the_rest(asyncoro *rt)
{
    acl_engine *e = rt->engine;

    if (e->live == 0) return;
    if (acl_runtime_call(rt, abandon) != ASYNCORO_OK) acl_runtime_report(rt, "not enough memory");
    if (e->atexit_ref != 0) {
        while (runtime_turn(rt))
            close_wait(rt);
        acl_runtime_call(rt, abandon);
    }
    if (e->live > 0) rt->remains = true;
}

/* The program is over: the last of what belongs to it goes. */
static void
runtime_over(asyncoro *rt)
{
    if (rt->options.base != NULL) aco_loop_detach(&rt->engine->loop);
    end_the_rest(rt);
    rt->result = rt->failures > 0 ? ASYNCORO_FAILED : ASYNCORO_FINISHED;
    if (acl_runtime_call(rt, conclude) != ASYNCORO_OK) {
        rt->result = ASYNCORO_FAILED;
        rt->remains = true;
        acl_runtime_report(rt, "not enough memory");
    }
    runtime_teardown(rt);
}

/* Outside of all: here the runtime may be closed. */
static void
tell_end(asyncoro *rt)
{
    if (rt->options.on_end != NULL) rt->options.on_end(rt->options.arg, rt, rt->result);
}

/* The three ways ------------------------------------------------------------------------------ */

int
asyncoro_run(asyncoro *rt, int argc, const char *const *argv)
{
    if (!acl_runtime_enter(rt)) return ASYNCORO_EMISUSE;
    int code = rt->running ? ASYNCORO_EMISUSE : runtime_begin(rt, argc, argv);
    if (code != ASYNCORO_OK) {
        acl_runtime_leave(rt);
        return code;
    }
    rt->engine->interruptible = false;
    while (runtime_turn(rt))
        acl_program_wait(rt->engine, runtime_deadline(rt));
    runtime_over(rt);
    acl_runtime_leave(rt);
    int result = rt->result;
    tell_end(rt);
    return result;
}

/* The base of the program has something for us. */
static void
drain(void *arg)
{
    asyncoro *rt = arg;
    acl_engine *e = rt->engine;

    rt->inside = true;
    acl_leash_idle(e, false);
    if (runtime_turn(rt)) {
        acl_leash_idle(e, true);
        aco_loop_rearm(&e->loop, runtime_deadline(rt));
        rt->inside = false;
        return;
    }
    runtime_over(rt);
    rt->inside = false;
    tell_end(rt);
}

static int
runtime_attach(asyncoro *rt)
{
    int err = aco_loop_attach(&rt->engine->loop, drain, rt);

    if (err != ACO_OK) acl_runtime_end_coros(rt);
    return acl_runtime_code(err);
}

int
asyncoro_start(asyncoro *rt, int argc, const char *const *argv)
{
    if (!acl_runtime_enter(rt)) return ASYNCORO_EMISUSE;
    bool first = !rt->running;
    int code = runtime_begin(rt, argc, argv);
    if (code == ASYNCORO_OK && first) {
        rt->engine->interruptible = true; /* by whatever the loop around us does */
        acl_leash_idle(rt->engine, true);
        if (rt->options.base != NULL) code = runtime_attach(rt);
    }
    aco_loop_fd_arm(&rt->engine->loop, ACO_NEVER);
    acl_runtime_leave(rt);
    return code;
}

/* Let what has come become ready; run it; when that was nothing, wait and run again. */
static bool
step(asyncoro *rt, double seconds)
{
    acl_engine *e = rt->engine;

    aco_loop_poll(&e->loop, 0);
    acl_leash_idle(e, false);
    bool has_work = e->loop.ready > 0 || !aco_inbox_empty(e->loop.inbox);
    bool goes_on = runtime_turn(rt);
    if (!goes_on || has_work || e->loop.ready > 0 || seconds == 0) return goes_on;
    aco_time deadline = seconds < 0 ? ACO_NEVER : aco_deadline(aco_now(), seconds);
    aco_time due = runtime_deadline(rt);
    acl_program_wait(e, due < deadline ? due : deadline);
    return runtime_turn(rt);
}

int
asyncoro_step(asyncoro *rt, double seconds)
{
    if (rt->options.base != NULL || !acl_runtime_enter(rt)) return ASYNCORO_EMISUSE;
    bool running = rt->running, goes_on = running && step(rt, seconds);
    if (goes_on)
        acl_leash_idle(rt->engine, true);
    else if (running)
        runtime_over(rt);
    aco_loop_fd_arm(&rt->engine->loop, goes_on ? runtime_deadline(rt) : ACO_NEVER);
    acl_runtime_leave(rt);
    if (running && !goes_on) tell_end(rt);
    return goes_on;
}

int
asyncoro_result(const asyncoro *rt)
{
    return rt->result;
}

int
asyncoro_fd(asyncoro *rt)
{
    if (rt->options.base != NULL || !acl_runtime_enter(rt)) return ASYNCORO_EMISUSE;
    int fd = aco_loop_fd(&rt->engine->loop);
    if (fd >= 0)
        aco_loop_fd_arm(&rt->engine->loop, rt->running ? 0 : ACO_NEVER);
    else
        acl_runtime_error(rt, "cannot make a descriptor for the event loop");
    acl_runtime_leave(rt);
    return fd >= 0 ? fd : ASYNCORO_ESYSTEM;
}

int
asyncoro_stop(asyncoro *rt)
{
    acl_engine *e = rt->engine;

    if (!pthread_equal(rt->owner, pthread_self())) {
        int err = aco_inbox_signal(e->loop.inbox, ACO_POST_SIGNAL, 0, 0, SIGTERM);
        return err == ACO_OK ? ASYNCORO_OK : ASYNCORO_ENOMEM;
    }
    if (!rt->running) return ASYNCORO_OK;
    e->interrupted = SIGTERM;
    aco_inbox_wake(e->loop.inbox);
    if (rt->options.flags & ASYNCORO_LEASH) acl_leash_interrupt(e);
    return ASYNCORO_OK;
}

/* The end of coros at a close ----------------------------------------------------------------- */

/* Coros that have not ended when the close has waited for long enough are not asked any more. */
static void
close_hook(lua_State *L, lua_Debug *ar)
{
    acl_engine *e = acl_engine_get(L);

    (void)ar;
    if (aco_now() < e->program.stop_deadline) return;
    lua_sethook(L, close_hook, LUA_MASKCOUNT, 1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, e->terminated_ref);
    lua_error(L);
}

/* Cancel every coro, also those that clean-up has just started; not those of atexit. */
static int
sweep(lua_State *L)
{
    asyncoro *rt = lua_touserdata(L, 1);
    acl_engine *e = rt->engine;
    struct acl_walk walk = {0};

    if (!e->program.stopping) {
        acl_program_cancel(L, e);
        e->program.stop_deadline = aco_now() + e->loop.grace + CLOSE_MARGIN;
    }
    for (acl_coro *c; (c = acl_walk_next(e, &walk)) != NULL;) {
        if (c->co == NULL) acl_nest_leave(L, e, c); /* the hook needs its thread */
        if (!rt->closing_atexit || e->atexit_ref != 0) acl_terminate(e, c);
        lua_sethook(c->co, close_hook, LUA_MASKCOUNT, CLOSE_LOOK);
        if (c->waiter != NULL && c->waiter != c->co)
            lua_sethook(c->waiter, close_hook, LUA_MASKCOUNT, CLOSE_LOOK);
    }
    return 0;
}

/* The time is over, perhaps because one coro took all of it: what the others can do at once they
 * may. */
static void
close_rounds(asyncoro *rt)
{
    aco_loop *loop = &rt->engine->loop;

    for (int i = 0; i < CLOSE_ROUNDS && rt->engine->live > 0; i++) {
        aco_loop_settle(loop, 0);
        if (loop->ready == 0) return;
        runtime_turn(rt);
    }
}

void
acl_runtime_end_coros(asyncoro *rt)
{
    acl_engine *e = rt->engine;

    if (!rt->running && e->live == 0) return;
    if (rt->options.base != NULL) aco_loop_detach(&e->loop);
    acl_leash_stop(e);
    e->in_run = true;
    e->interruptible = true;
    e->loop.grace = aco_deadline(0, rt->options.grace);
    e->program.stopping = false; /* another pace from here on */
    rt->closing_atexit = e->atexit_ref != 0;
    rt->failures = 0;
    if (!rt->running) {
        rt->main_ref = LUA_NOREF;
        memset(&e->program, 0, sizeof e->program);
    }
    do
        acl_runtime_call(rt, sweep);
    while (runtime_turn(rt) && (close_wait(rt), true));
    close_rounds(rt);
    runtime_over(rt);
    e->loop.grace = ACO_GRACE;
    rt->result = ASYNCORO_STOPPED;
}
