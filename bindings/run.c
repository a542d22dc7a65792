/* SPDX-License-Identifier: MIT */
/* run.c -- a program: turns, until nothing is left that it waits for; then its end.
 *
 * A program is over when its last coro that is no daemon has ended, and no isolate is left that it
 * waits for. Then the functions of atexit run, then the daemons are cancelled and get their grace.
 * A failure of the main coro, a deadlock and a signal cancel all the rest at once; the functions of
 * atexit run after that. */
#include "bindings/run.h"
#include "bindings/cancel.h"
#include "bindings/coro.h"
#include "bindings/coroutine.h"
#include "bindings/engine.h"
#include "bindings/isolate.h"
#include "bindings/leash.h"
#include "bindings/nest.h"
#include "bindings/network.h"
#include "bindings/remote.h"
#include "bindings/report.h"
#include "bindings/state.h"

#include <string.h>

#include "core/base/clock.h"

/* An error that nobody observed for this long is reported; at the end of the program at once. */
#define UNOBSERVED_DELAY ACO_SECOND

/* How much longer than the grace the end waits for coros that do not end. */
#define STOP_MARGIN (ACO_SECOND / 10)

static int
turn_protected(lua_State *L)
{
    acl_engine *e = acl_self(L);

    acl_remote_drain(L, e);
    acl_run_turn(L, e);
    return 0;
}

static void
program_begin_here(lua_State *L, acl_engine *e, int nargs)
{
    memset(&e->program, 0, sizeof e->program);
    acl_coro_spawn(L, e, lua_gettop(L) - nargs, nargs);
    acl_coro *c = lua_touserdata(L, -1);
    c->flags |= ACL_MAIN;
}

static aco_time
stop_deadline(const acl_engine *e)
{
    return aco_now() + e->loop.grace + STOP_MARGIN;
}

void
acl_program_cancel(lua_State *L, acl_engine *e)
{
    struct acl_walk walk = {0};

    if (e->program.stopping) return;
    e->program.stopping = true;
    e->program.stop_deadline = stop_deadline(e);
    for (acl_coro *c; (c = acl_walk_next(e, &walk)) != NULL;)
        acl_terminate(e, c);
    acl_isolates_stop(L, e);
}

/* Let the functions of atexit run, in a coro; false when there are none. */
static bool
program_atexit(lua_State *L, acl_engine *e)
{
    if (e->atexit_ref == 0) return false;
    lua_rawgeti(L, LUA_REGISTRYINDEX, e->atexit_ref);
    luaL_unref(L, LUA_REGISTRYINDEX, e->atexit_ref);
    e->atexit_ref = 0;
    acl_coro_spawn(L, e, lua_gettop(L), 0);
    lua_pop(L, 1);
    e->program.stop_deadline = stop_deadline(e); /* when what is left has been cancelled before */
    return true;
}

static void
program_deadlock(lua_State *L, acl_engine *e)
{
    e->program.end = ACL_PROGRAM_DEADLOCK;
    acl_deadlock_text(L, e);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &e->program);
    acl_program_cancel(L, e);
}

/* SIGINT or SIGTERM came (the host only): the function of on_interrupt takes an interrupt, else all
 * is cancelled. */
void
acl_program_interrupt(lua_State *L, acl_engine *e)
{
    int number = e->interrupted;

    e->interrupted = 0;
    if (e->on_interrupt_ref != 0 && number == SIGINT) {
        acl_coro *current = e->current;
        e->current = NULL; /* it may terminate the running coro, which must not raise in here */
        lua_rawgeti(L, LUA_REGISTRYINDEX, e->on_interrupt_ref);
        if (lua_pcall(L, 0, 0, 0) != LUA_OK) {
            acl_warn(L, "on_interrupt", -1);
            lua_pop(L, 1);
        }
        e->current = current;
        return;
    }
    if (e->program.end == ACL_PROGRAM_OK) e->program.end = 128 + number;
    acl_program_cancel(L, e);
}

/* Decide what the state of the coros means for the program; false when it is over. */
static bool
program_goes_on(lua_State *L, acl_engine *e)
{
    if (e->interrupted) acl_program_interrupt(L, e);
    if (e->program.failed) acl_program_cancel(L, e);
    if (e->program.stopping) {
        if (e->live == 0 && acl_isolates_alive(e, true) == 0) return program_atexit(L, e);
        return aco_now() < e->program.stop_deadline;
    }
    if (e->live > e->daemons || acl_isolates_alive(e, false) > 0) return true;
    if (program_atexit(L, e)) return true;
    acl_program_cancel(L, e);
    return e->live > 0 || acl_isolates_alive(e, true) > 0;
}

static bool
program_dead(acl_engine *e)
{
    if (e->program.stopping || e->loop.ready > 0 || e->interruptible) return false;
    if (e->live == e->daemons && acl_isolates_alive(e, false) == 0) return false;
    return !aco_loop_awaits(&e->loop) && !acl_remote_awaits(e);
}

aco_time
acl_program_deadline(const acl_engine *e, aco_time deadline)
{
    if (e->unobserved > 0 && e->unobserved_since + UNOBSERVED_DELAY < deadline)
        deadline = e->unobserved_since + UNOBSERVED_DELAY;
    if (e->program.stopping && e->program.stop_deadline < deadline)
        deadline = e->program.stop_deadline;
    return deadline;
}

bool
acl_program_turn(lua_State *L, acl_engine *e)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, e->turn_ref);
    if (lua_pcall(L, 0, 0, 0) != LUA_OK) {
        acl_turn_failed(e);
        lua_error(L);
    }
    acl_state_pace(L, e);
    if (e->unobserved > 0 && aco_now() >= e->unobserved_since + UNOBSERVED_DELAY)
        acl_report_unobserved(L, e);
    if (!program_goes_on(L, e)) return false;
    if (program_dead(e)) program_deadlock(L, e);
    return true;
}

void
acl_program_wait(acl_engine *e, aco_time deadline)
{
    acl_leash_idle(e, true);
    aco_loop_poll(&e->loop, acl_program_deadline(e, deadline));
    acl_leash_idle(e, false);
}

bool
acl_program_step(lua_State *L, acl_engine *e, aco_time deadline)
{
    if (!acl_program_turn(L, e)) return false;
    acl_program_wait(e, deadline);
    return true;
}

/* In a function made by acl_setfuncs: the end of coros gives back what they had. */
static int
program_abandon(lua_State *L)
{
    acl_engine *e = acl_self(L);

    acl_abandon_ready(L, e);
    while (e->live > 0) { /* handlers may spawn, but what they spawn never runs */
        for (uint32_t slot = 0; slot < e->slot_count; slot++) {
            acl_coro *c = acl_slot_coro(e, slot);
            if (c != NULL) acl_coro_abandon(L, e, c);
        }
        acl_abandon_ready(L, e);
    }
    acl_abandon_ready(L, e);
    return 0;
}

void
acl_program_abandon(lua_State *L, acl_engine *e)
{
    if (e->live == 0) return;
    lua_rawgeti(L, LUA_REGISTRYINDEX, e->abandon_ref);
    lua_call(L, 0, 0);
}

/* Its time is over: drop the coros that would not end, in a shield perhaps, and say so. */
static void
program_drop(lua_State *L, acl_engine *e)
{
    struct acl_walk walk = {0};

    for (acl_coro *c; (c = acl_walk_next(e, &walk)) != NULL;) {
        acl_coro_push(L, e, c);
        acl_coro_name(L, -1);
        lua_pushfstring(L, "coro %s had not ended when its grace was over, and was dropped",
                        lua_tostring(L, -1));
        acl_report(L, e, lua_tostring(L, -1));
        lua_pop(L, 3);
    }
    acl_program_abandon(L, e);
}

static int
program_loop(lua_State *L)
{
    acl_engine *e = acl_self(L);

    while (acl_program_step(L, e, ACO_NEVER))
        continue;
    return 0;
}

int
acl_program_finish(lua_State *L, acl_engine *e)
{
    e->in_run = true;
    lua_rawgeti(L, LUA_REGISTRYINDEX, e->loop_ref);
    int status = lua_pcall(L, 0, 0, 0);
    e->in_run = false;
    if (status != LUA_OK) lua_error(L);
    if (e->live > 0) program_drop(L, e);
    acl_network_end(e);
    acl_report_unobserved(L, e);
    if (e->program.end != ACL_PROGRAM_OK) return e->program.end;
    return e->program.failed || e->failures > 0 ? ACL_PROGRAM_FAILED : ACL_PROGRAM_OK;
}

/* In a coro: run the function in place. */
static int
run_in_place_k(lua_State *L, int status, lua_KContext base)
{
    (void)status;
    return lua_gettop(L) - (int)base;
}

static int
run_in_place(lua_State *L, int function)
{
    int nargs = lua_gettop(L) - function;

    lua_callk(L, nargs, LUA_MULTRET, function - 1, run_in_place_k);
    return run_in_place_k(L, LUA_OK, function - 1);
}

/* The `leash` and `patch` options of run, from the table at 1. */
static void
run_options(lua_State *L, struct acl_leash_options *leash, bool *patch)
{
    lua_pushnil(L);
    while (lua_next(L, 1)) {
        const char *key = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "";
        if (strcmp(key, "leash") == 0)
            acl_leash_option(L, -1, leash);
        else if (strcmp(key, "patch") == 0)
            *patch = lua_toboolean(L, -1);
        else
            luaL_error(L, "run: unknown option '%s' (leash and patch are known)",
                       luaL_tolstring(L, -2, NULL));
        lua_pop(L, 1);
    }
}

struct run_call {
    acl_engine *e;
    struct acl_leash_options leash;
    int end;
};

static int
run_protected(lua_State *L)
{
    struct run_call *call = lua_touserdata(L, 1);

    acl_leash_start(L, call->e, &call->leash);
    call->end = acl_program_finish(L, call->e);
    return 0;
}

/* Run the program that has begun; whatever happens, all is put back into its place. */
static int
run_program(lua_State *L, acl_engine *e, const struct acl_leash_options *leash, bool patch)
{
    struct run_call call = {.e = e, .leash = *leash};

    if (patch) acl_coroutine_patch(L, e, true);
    lua_pushcfunction(L, run_protected);
    lua_pushlightuserdata(L, &call);
    int status = lua_pcall(L, 1, 0, 0);
    acl_program_abandon(L, e);
    acl_leash_stop(e);
    if (patch) acl_coroutine_patch(L, e, false);
    if (status != LUA_OK) lua_error(L);
    return call.end;
}

/* What the main coro, whose handle is at `main`, and the program as a whole give to the caller of
 * run. */
static int
run_result(lua_State *L, acl_engine *e, int end, int main)
{
    acl_coro *c = lua_touserdata(L, main);

    if (c->flags & ACL_FAILED) { /* its own error, as it was raised */
        acl_outcome_push(L, e, c, main);
        lua_pop(L, 1);
        return lua_error(L);
    }
    if (end == ACL_PROGRAM_DEADLOCK) {
        lua_rawgetp(L, LUA_REGISTRYINDEX, &e->program);
        return lua_error(L);
    }
    if (e->failures > 0)
        return luaL_error(L, "run: a coro failed and nobody observed it (see the report)");
    if (end != ACL_PROGRAM_OK) return luaL_error(L, "run: ended by signal %d", end - 128);
    if (c->flags & ACL_TERMINATED) return luaL_error(L, "run: its function was terminated");
    return acl_outcome_push(L, e, c, main) - 1;
}

/*** Run a function as a coro.
In a coro (in the host every script is one) the function is simply called. Elsewhere (stock Lua, an
embedder's state) an engine is started, the function is its first coro, and run returns when the
program is over: when no coro is left that is not a daemon.
@function run
@tparam[opt] table options `leash`: false, or `{stall = seconds}` (see the page on the leash);
`patch`: false leaves the `coroutine` table, `require` and `load` alone
@tparam function fn
@param ... its arguments
@return what fn returned
@raise the error of fn; or, in words, that another coro failed and nobody observed it, or a deadlock
@usage asyncoro.run(function() asyncoro.sleep(0.1) end) */
static int
acl_run(lua_State *L)
{
    acl_engine *e = acl_self(L);
    int function = lua_type(L, 1) == LUA_TTABLE ? 2 : 1;
    struct acl_leash_options leash = {.on = true};
    bool patch = true;

    luaL_checktype(L, function, LUA_TFUNCTION);
    if (function == 2) run_options(L, &leash, &patch);
    if (e->current != NULL) return run_in_place(L, function);
    if (e->loop.inbox == NULL)
        return luaL_error(L, "run: the engine of this Lua state has been closed");
    if (e->in_run)
        return luaL_error(
            L, "run: a program is running already, and this code is in none of its coros");
    e->failures = 0;
    program_begin_here(L, e, lua_gettop(L) - function);
    int main = lua_gettop(L);
    int end = run_program(L, e, &leash, patch);
    return run_result(L, e, end, main);
}

static int
acl_set_atexit(lua_State *L)
{
    acl_engine *e = acl_self(L);

    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_settop(L, 1);
    if (e->atexit_ref != 0) luaL_unref(L, LUA_REGISTRYINDEX, e->atexit_ref);
    e->atexit_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

static int
acl_on_interrupt(lua_State *L)
{
    acl_engine *e = acl_self(L);

    if (e->on_interrupt_ref != 0) luaL_unref(L, LUA_REGISTRYINDEX, e->on_interrupt_ref);
    e->on_interrupt_ref = 0;
    if (lua_isnoneornil(L, 1)) return 0;
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_settop(L, 1);
    e->on_interrupt_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

/* How long clean-up may wait after a cancel: 5 s unless the specs want less. */
static int
acl_set_grace(lua_State *L)
{
    acl_engine *e = acl_self(L);

    e->loop.grace = aco_deadline(0, luaL_checknumber(L, 1));
    return 0;
}

/*** Say what no caller can be told: on stderr, or to the program that asyncoro is embedded in.
@function report
@tparam string text */
static int
report(lua_State *L)
{
    acl_report(L, acl_self(L), luaL_checkstring(L, 1));
    return 0;
}

/* acl_program_start in a closure with the upvalues that spawning needs. */
static int
program_begin(lua_State *L)
{
    program_begin_here(L, acl_self(L), lua_gettop(L) - 1);
    return 1;
}

void
acl_program_start(lua_State *L, acl_engine *e, int nargs)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, e->begin_ref);
    lua_insert(L, -2 - nargs);
    lua_call(L, nargs + 1, 1);
}

static int
engine_closure(lua_State *L, acl_engine *e, lua_CFunction function)
{
    const luaL_Reg reg[] = {{"f", function}, {NULL, NULL}};

    lua_createtable(L, 0, 1);
    acl_setfuncs(L, e, reg);
    lua_getfield(L, -1, "f");
    lua_remove(L, -2);
    return luaL_ref(L, LUA_REGISTRYINDEX);
}

void
acl_open_run(lua_State *L, acl_engine *e)
{
    static const luaL_Reg funcs[] = {{"run", acl_run},
                                     {"set_atexit", acl_set_atexit},
                                     {"set_grace", acl_set_grace},
                                     {"on_interrupt", acl_on_interrupt},
                                     {"report", report},
                                     {NULL, NULL}};

    e->turn_ref = engine_closure(L, e, turn_protected);
    e->begin_ref = engine_closure(L, e, program_begin);
    e->loop_ref = engine_closure(L, e, program_loop);
    e->abandon_ref = engine_closure(L, e, program_abandon);
    acl_setfuncs(L, e, funcs);
}
