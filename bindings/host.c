/* SPDX-License-Identifier: MIT */
/* host.c -- the engine as the host binary uses it: signals end the program, errors go to stderr. */
#include "bindings/host.h"
#include "bindings/coro.h"
#include "bindings/coroutine.h"
#include "bindings/leash.h"
#include "bindings/report.h"
#include "bindings/run.h"
#include "bindings/state.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { STUCK_SECONDS = 5 };

/* What signals act on. A handler can be given nothing, so this is the process's, not the library's:
 * only the host binary has it. */
static struct {
    _Atomic(acl_engine *) engine;
    timer_t timer; /* looks, after a signal, whether the engine goes on */
    bool timed;
    uint64_t turn; /* that the engine was in when last looked at */
    int number;    /* the signal */
} signals;

/* Has the engine not noticed the signal, or has one turn lasted since the last look? One call of C
 * goes on, or what the leash cannot reach. */
static bool
is_stuck(acl_engine *e)
{
    uint64_t turn = atomic_load_explicit(&e->watchdog.turn, memory_order_relaxed);
    bool same = turn == signals.turn;

    signals.turn = turn;
    return e->interrupted || (e->running != NULL && same);
}

static void
end_unreached(int number)
{
    static const char text[] = "asyncoro: ended by a signal: the script could not be reached\n";
    ssize_t ignored = write(STDERR_FILENO, text, sizeof text - 1);

    (void)ignored;
    _exit(128 + number);
}

static void
on_signal(int number, siginfo_t *info, void *context)
{
    static const struct itimerspec later = {.it_value = {.tv_sec = STUCK_SECONDS},
                                            .it_interval = {.tv_sec = STUCK_SECONDS}};
    int saved = errno;
    acl_engine *e = atomic_load(&signals.engine);

    (void)context;
    if (info->si_code == SI_TIMER) {
        if (e != NULL && is_stuck(e)) end_unreached(signals.number);
    } else if (e == NULL || e->interrupted || (e->program.stopping && e->program.end > 128)) {
        _exit(128 + number);
    } else {
        (void)is_stuck(e);
        e->interrupted = signals.number = number;
        aco_inbox_wake(e->loop.inbox);
        acl_leash_interrupt(e);
        if (signals.timed) timer_settime(signals.timer, 0, &later, NULL);
    }
    errno = saved;
}

/* What SIGINT and SIGTERM do while a program runs, and SIGCHLD, which programs that are started
 * need as it is by default. */
struct dispositions {
    struct sigaction interrupt, terminate, child;
};

static void
signals_take(struct dispositions *old)
{
    struct sigaction act = {.sa_sigaction = on_signal, .sa_flags = SA_RESTART | SA_SIGINFO};
    struct sigaction plain = {.sa_handler = SIG_DFL};
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGTERM};

    sigemptyset(&act.sa_mask);
    signals.timed = timer_create(CLOCK_MONOTONIC, &event, &signals.timer) == 0;
    sigaction(SIGINT, &act, &old->interrupt);
    sigaction(SIGTERM, &act, &old->terminate);
    sigaction(SIGCHLD, &plain, &old->child);
}

static void
signals_give_back(const struct dispositions *old)
{
    if (signals.timed) timer_delete(signals.timer);
    sigaction(SIGINT, &old->interrupt, NULL);
    sigaction(SIGTERM, &old->terminate, NULL);
    sigaction(SIGCHLD, &old->child, NULL);
}

lua_State *
acl_host_open(const struct acl_host_opts *opts)
{
    lua_State *L = acl_state_new(0);

    if (L == NULL) {
        fputs("asyncoro: not enough memory\n", stderr);
        return NULL;
    }
    if (opts->ignore_env) {
        lua_pushboolean(L, 1);
        lua_setfield(L, LUA_REGISTRYINDEX, "LUA_NOENV");
    }
    lua_pushcfunction(L, acl_state_open_libs);
    if (lua_pcall(L, 0, 0, 0) == LUA_OK) return L;
    fprintf(stderr, "asyncoro: %s\n", lua_tostring(L, -1));
    acl_state_close(L);
    return NULL;
}

/* Say why the main coro, whose handle is at idx, failed. */
static void
report_main(lua_State *L, acl_engine *e, int idx)
{
    acl_coro *c = lua_touserdata(L, idx);
    int top = lua_gettop(L);

    if (!(c->flags & ACL_FAILED)) return;
    acl_outcome_push(L, e, c, idx);
    acl_error_text(L, top + 2);
    const char *trace = lua_tostring(L, top + 3);
    bool bare = trace == NULL || lua_type(L, top + 2) != LUA_TSTRING;
    fprintf(stderr, "asyncoro: %s%s%s\n", lua_tostring(L, -1), bare ? "" : "\n", bare ? "" : trace);
    lua_settop(L, top);
}

static int
host_run(lua_State *L)
{
    acl_engine *e = acl_engine_get(L);
    const struct acl_leash_options leash = {.on = true};

    acl_coroutine_patch(L, e, true);
    acl_leash_start(L, e, &leash);
    atomic_store(&signals.engine, e);
    int end = acl_program_finish(L, e);
    atomic_store(&signals.engine, NULL);
    acl_leash_stop(e);
    report_main(L, e, 1);
    if (end == ACL_PROGRAM_DEADLOCK) {
        lua_rawgetp(L, LUA_REGISTRYINDEX, &e->program);
        acl_report(L, e, lua_tostring(L, -1));
    }
    lua_pushinteger(L, end);
    return 1;
}

int
acl_host_run(lua_State *L, int nargs)
{
    acl_engine *e = acl_engine_get(L);
    struct dispositions old;
    int end = ACL_PROGRAM_FAILED;

    acl_program_start(L, e, nargs);
    acl_extras(L, -1);
    lua_pushliteral(L, "main");
    lua_setfield(L, -2, "name");
    lua_pop(L, 1);
    signals_take(&old);
    lua_pushcfunction(L, host_run);
    lua_insert(L, -2);
    if (lua_pcall(L, 1, 1, 0) == LUA_OK)
        end = (int)lua_tointeger(L, -1);
    else
        fprintf(stderr, "asyncoro: %s\n", lua_tostring(L, -1));
    signals_give_back(&old);
    lua_pop(L, 1);
    fflush(stdout);
    return end;
}

void
acl_host_close(lua_State *L)
{
    acl_state_close(L);
}
