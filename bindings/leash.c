/* SPDX-License-Identifier: MIT */
/* leash.c -- reaching a coro that does not wait: a watchdog (core/engine/watchdog.h) sends the
 * engine's thread a signal, whose handler puts a count hook on the Lua thread that runs; setting a
 * hook is the one thing Lua allows there. The hook, which runs between two instructions, does the
 * rest: it reports, raises what is pending, or yields at the end of a time slice. */
#include "bindings/leash.h"
#include "bindings/cancel.h"
#include "bindings/coro.h"
#include "bindings/remote.h"
#include "bindings/report.h"
#include "bindings/run.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "core/base/clock.h"

#define ALARM_SIGNAL SIGURG /* ignored by default, and nobody else sends it with a value */
#define DEFAULT_STALL 1.0

/* A turn lasts so long before something is raised in its middle: a coro that goes on to its next
 * wait is reached there, with what its last wait gave it safe in its hands. */
#define RAISE_DELAY (20 * ACO_SECOND / 1000)

/* What a process does on a signal is the process's, not an engine's: so is what was there before
 * us, and how many engines rely on ours. */
static struct {
    pthread_mutex_t lock;
    size_t users;
    struct sigaction old;
} alarm_action = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void leash_hook(lua_State *L, lua_Debug *ar);

/* Async-signal-safe, on the engine's thread. */
static void
hook_set(acl_engine *e, lua_State *L)
{
    lua_Hook hook = lua_gethook(L);

    if (hook == leash_hook) return;
    e->user_hook = hook;
    e->user_hook_mask = lua_gethookmask(L);
    e->user_hook_count = lua_gethookcount(L);
    lua_sethook(L, leash_hook, LUA_MASKCOUNT, 1);
}

static void
hook_restore(acl_engine *e, lua_State *L)
{
    lua_sethook(L, e->user_hook, e->user_hook_mask, e->user_hook_count);
    e->user_hook = NULL;
    e->user_hook_mask = e->user_hook_count = 0;
}

static void
on_alarm(int number, siginfo_t *info, void *context)
{
    if (info->si_code == SI_QUEUE && info->si_pid == getpid()) {
        acl_engine *e = info->si_value.sival_ptr;
        if (e->running != NULL && aco_watchdog_alarmed(&e->watchdog)) hook_set(e, e->running);
    } else if (alarm_action.old.sa_flags & SA_SIGINFO) {
        alarm_action.old.sa_sigaction(number, info, context);
    } else if (alarm_action.old.sa_handler != SIG_IGN && alarm_action.old.sa_handler != SIG_DFL) {
        alarm_action.old.sa_handler(number);
    }
}

static void
action_take(void)
{
    struct sigaction act = {.sa_sigaction = on_alarm,
                            .sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK};

    sigemptyset(&act.sa_mask);
    pthread_mutex_lock(&alarm_action.lock);
    if (alarm_action.users++ == 0) sigaction(ALARM_SIGNAL, &act, &alarm_action.old);
    pthread_mutex_unlock(&alarm_action.lock);
}

static void
action_give_back(void)
{
    pthread_mutex_lock(&alarm_action.lock);
    if (--alarm_action.users == 0) sigaction(ALARM_SIGNAL, &alarm_action.old, NULL);
    pthread_mutex_unlock(&alarm_action.lock);
}

/* In the hook ------------------------------------------------------------------------------------
 */

static void
report_stall(lua_State *L, acl_engine *e)
{
    acl_coro_push(L, e, e->current);
    acl_coro_name(L, -1);
    lua_pushfstring(
        L, "coro %s has run for more than %f s without waiting, and nothing else could run",
        lua_tostring(L, -1), (double)e->watchdog.stall / (double)ACO_SECOND);
    luaL_traceback(L, L, lua_tostring(L, -1), 1);
    acl_report(L, e, lua_tostring(L, -1));
    lua_pop(L, 4);
}

static bool
is_hard(const acl_coro *c)
{
    const aco_scope *due = c->task.pending & ACO_PENDING_CANCEL ? aco_scope_due(&c->task) : NULL;

    return due != NULL && due->state == ACO_SCOPE_HARD;
}

/* No delay: its grace is over; or it has a time slice, so that none of its turns is long. */
static bool
is_reached_at_once(const acl_coro *c)
{
    return is_hard(c) || (c->flags & ACL_SLICED);
}

/* When something may be raised in the middle of this turn. */
static aco_time
raise_from(acl_engine *e)
{
    uint64_t turn = atomic_load_explicit(&e->watchdog.turn, memory_order_relaxed);

    if (turn != e->leash_turn) {
        e->leash_turn = turn;
        e->leash_from = aco_now_coarse() + RAISE_DELAY;
    }
    return e->leash_from;
}

/* In a function made by acl_setfuncs: everything but the yield, which only the hook itself may do.
 */
static int
leash_act(lua_State *L)
{
    acl_engine *e = acl_self(L);
    acl_coro *c = e->current;
    unsigned alarms = aco_watchdog_alarms(&e->watchdog);

    if (alarms & ACO_ALARM_INBOX) acl_remote_drain(L, e);
    if (e->interrupted) acl_program_interrupt(L, e);
    if (alarms & ACO_ALARM_STALL) report_stall(L, e);
    if (alarms & ACO_ALARM_DEADLINE) {
        aco_time now = aco_now();
        aco_scopes_expire(&e->loop, &c->task, now);
        e->slice_over = (c->flags & ACL_SLICED) && now >= e->slice_end;
        acl_leash_deadline(e);
    }
    if (c->task.pending == 0) return 0;
    e->leash_hard = is_hard(c);
    if (!is_reached_at_once(c) && aco_now() < raise_from(e)) {
        acl_leash_deadline(e);
        return 0;
    }
    return acl_raise_pending(L, e, c);
}

static void
leash_hook(lua_State *L, lua_Debug *ar)
{
    acl_engine *e = acl_engine_get(L);
    acl_coro *c = e->current;

    (void)ar;
    if (c == NULL || L != e->running || !is_hard(c)) hook_restore(e, L);
    if (c == NULL || L != e->running) return;
    e->leash_hard = false;
    lua_rawgeti(L, LUA_REGISTRYINDEX, e->leash_ref);
    lua_call(L, 0, 0);
    if (!e->slice_over || !acl_can_wait(L, e)) return;
    e->slice_over = false;
    c->task.what = ACO_WAIT_TURN;
    aco_task_ready(&e->loop, &c->task);
    lua_yield(L, 0);
}

/* For the others ---------------------------------------------------------------------------------
 */

void
acl_leash_option(lua_State *L, int idx, struct acl_leash_options *options)
{
    idx = lua_absindex(L, idx);
    options->on = lua_toboolean(L, idx);
    if (lua_isboolean(L, idx)) return;
    if (!lua_istable(L, idx))
        luaL_error(L, "leash: true, false or a table expected, got a %s", luaL_typename(L, idx));
    lua_pushnil(L);
    while (lua_next(L, idx)) {
        if (lua_type(L, -2) != LUA_TSTRING || strcmp(lua_tostring(L, -2), "stall") != 0)
            luaL_error(L, "leash: unknown option '%s' (stall is known)",
                       luaL_tolstring(L, -2, NULL));
        options->stall = lua_tonumber(L, -1);
        if (!(options->stall > 0))
            luaL_error(L, "leash: option 'stall' must be a time above 0 seconds");
        lua_pop(L, 1);
    }
}

void
acl_leash_start(lua_State *L, acl_engine *e, const struct acl_leash_options *options)
{
    sigset_t alarm;

    if (!options->on || e->watchdog.running) return;
    double stall = options->stall > 0 ? options->stall : DEFAULT_STALL;
    action_take();
    int err =
        aco_watchdog_start(&e->watchdog, aco_deadline(0, stall), ALARM_SIGNAL, e, e->loop.inbox);
    if (err != ACO_OK) {
        action_give_back();
        luaL_error(L, "leash: cannot start its thread: %s (leash = false does without)",
                   aco_err_text(err));
    }
    sigemptyset(&alarm);
    sigaddset(&alarm, ALARM_SIGNAL);
    pthread_sigmask(SIG_UNBLOCK, &alarm, NULL);
}

void
acl_leash_stop(acl_engine *e)
{
    if (!e->watchdog.running) return;
    aco_watchdog_stop(&e->watchdog);
    action_give_back();
}

void
acl_leash_idle(acl_engine *e, bool idle)
{
    aco_watchdog_idle(&e->watchdog, idle);
}

void
acl_leash_interrupt(acl_engine *e)
{
    if (e->running != NULL) hook_set(e, e->running);
}

void
acl_leash_follow(acl_engine *e)
{
    if (ACO_UNLIKELY(e->leash_hard || aco_watchdog_alarmed(&e->watchdog) || e->interrupted))
        hook_set(e, e->running);
}

void
acl_leash_deadline(acl_engine *e)
{
    acl_coro *c = e->current;

    if (c == NULL || !e->watchdog.running) return;
    aco_time deadline = aco_scope_deadline(&e->loop, &c->task);
    aco_time from = raise_from(e);
    if (c->task.pending) deadline = 0;
    if (deadline < from && !is_reached_at_once(c)) deadline = from;
    if (c->flags & ACL_SLICED && e->slice_end < deadline) deadline = e->slice_end;
    aco_watchdog_deadline(&e->watchdog, deadline);
}

void
acl_leash_turn(lua_State *L, acl_engine *e, acl_coro *c)
{
    if (c->flags & ACL_SLICED) {
        acl_coro_push(L, e, c);
        acl_extras(L, -1);
        lua_getfield(L, -1, "slice");
        e->slice_end = aco_deadline(aco_now(), lua_tonumber(L, -1));
        lua_pop(L, 3);
    }
    acl_leash_deadline(e);
}

void
acl_leash_slice(lua_State *L, acl_engine *e, acl_coro *c, int handle, double seconds)
{
    (void)e;
    acl_extras(L, handle);
    lua_pushnumber(L, seconds);
    lua_setfield(L, -2, "slice");
    lua_pop(L, 1);
    c->flags |= ACL_SLICED;
}

void
acl_open_leash(lua_State *L, acl_engine *e)
{
    static const luaL_Reg funcs[] = {{"act", leash_act}, {NULL, NULL}};

    lua_newtable(L);
    acl_setfuncs(L, e, funcs);
    lua_getfield(L, -1, "act");
    e->leash_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_pop(L, 1);
}
