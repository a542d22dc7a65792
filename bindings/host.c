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
#include <unistd.h>

/* The one engine that signals act on. A handler can be given nothing, so this is the process's, not
 * the library's: only the host binary has it. */
static _Atomic(acl_engine *) signal_engine;

static void
on_signal(int number)
{
    int saved = errno;
    acl_engine *e = atomic_load(&signal_engine);

    if (e != NULL) {
        if (e->interrupted || (e->program.stopping && e->program.end > 128)) _exit(128 + number);
        e->interrupted = number;
        aco_inbox_wake(e->loop.inbox);
        acl_leash_interrupt(e);
    }
    errno = saved;
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
    atomic_store(&signal_engine, e);
    int end = acl_program_finish(L, e);
    atomic_store(&signal_engine, NULL);
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
    struct sigaction act = {.sa_handler = on_signal, .sa_flags = SA_RESTART}, old_int, old_term;
    struct sigaction plain = {.sa_handler = SIG_DFL}, old_chld;
    int end = ACL_PROGRAM_FAILED;

    acl_program_start(L, e, nargs);
    acl_extras(L, -1);
    lua_pushliteral(L, "main");
    lua_setfield(L, -2, "name");
    lua_pop(L, 1);
    sigemptyset(&act.sa_mask);
    sigaction(SIGINT, &act, &old_int);
    sigaction(SIGTERM, &act, &old_term);
    sigaction(SIGCHLD, &plain, &old_chld); /* if ignored, programs would end unseen */
    lua_pushcfunction(L, host_run);
    lua_insert(L, -2);
    if (lua_pcall(L, 1, 1, 0) == LUA_OK)
        end = (int)lua_tointeger(L, -1);
    else
        fprintf(stderr, "asyncoro: %s\n", lua_tostring(L, -1));
    sigaction(SIGINT, &old_int, NULL);
    sigaction(SIGTERM, &old_term, NULL);
    sigaction(SIGCHLD, &old_chld, NULL);
    lua_pop(L, 1);
    fflush(stdout);
    return end;
}

void
acl_host_close(lua_State *L)
{
    acl_state_close(L);
}
