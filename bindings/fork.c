/* SPDX-License-Identifier: MIT */
/* fork.c -- fork(), of a process whose threads of ours have ended; they are started again
 * afterwards, on both sides. In the child every coro lives on as a coro of another process: handles
 * that left before mean the parent's. */
#include "bindings/fork.h"
#include "bindings/leash.h"
#include "bindings/network.h"
#include "bindings/reach.h"
#include "bindings/signals.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int
acl_prefork(acl_engine *e)
{
    struct acl_reach *reach = e->reach;

    if (reach == NULL || aco_process_engines(reach->process) > 1) return ACO_EBUSY;
    if (aco_process_rest(reach->process) != ACO_OK) return ACO_EBUSY;
    reach->leashed = e->watchdog.running;
    reach->stall = e->watchdog.stall;
    acl_leash_stop(e);
    return ACO_OK;
}

static void
leash_again(lua_State *L, acl_engine *e)
{
    const struct acl_leash_options leash = {.on = e->reach->leashed,
                                            .stall = (double)e->reach->stall / (double)ACO_SECOND};

    e->reach->leashed = false;
    acl_leash_start(L, e, &leash);
}

void
acl_postfork_parent(lua_State *L, acl_engine *e)
{
    leash_again(L, e);
}

void
acl_postfork_child(lua_State *L, acl_engine *e)
{
    int err = acl_signals_after_fork();

    if (err == ACO_OK) err = aco_loop_after_fork(&e->loop);
    if (err == ACO_OK) err = aco_process_renew(e->reach->process);
    if (err != ACO_OK) luaL_error(L, "postfork_child: %s", aco_err_text(err));
    leash_again(L, e);
}

static int
fork_busy(lua_State *L, const acl_engine *e)
{
    if (acl_network_runs(e))
        return acl_fail(L, ACO_EBUSY,
                        "fork: the network runs, on a thread that a child would not have: fork "
                        "before it starts");
    return acl_fail(L, ACO_EBUSY,
                    "fork: isolates run, or jobs on other threads, which a child would not have");
}

/*** End the threads of this engine, so that the process may fork.
@function prefork
@treturn boolean true
@treturn[2] nil
@treturn[2] string message
@treturn[2] string "busy" while isolates or the network run, or jobs on other threads (files, names)
*/
static int
prefork(lua_State *L)
{
    if (acl_prefork(acl_self(L)) != ACO_OK) return fork_busy(L, acl_self(L));
    lua_pushboolean(L, 1);
    return 1;
}

/*** After a fork, in the parent: start what prefork ended.
@function postfork_parent */
static int
postfork_parent(lua_State *L)
{
    acl_postfork_parent(L, acl_self(L));
    return 0;
}

/*** After a fork, in the child: become a process of its own.
@function postfork_child */
static int
postfork_child(lua_State *L)
{
    acl_postfork_child(L, acl_self(L));
    return 0;
}

/*** Fork the process: its coros, timers and messages are there twice from now on, in two processes
that know nothing of each other. Does not wait.
@function fork
@treturn integer the id of the child's process in the parent, 0 in the child
@treturn[2] nil
@treturn[2] string message
@treturn[2] string "busy" while isolates or the network run, or jobs on other threads (files,
names); "nomem", "system" */
static int
fork_here(lua_State *L)
{
    acl_engine *e = acl_self(L);

    if (acl_prefork(e) != ACO_OK) return fork_busy(L, acl_self(L));
    fflush(NULL); /* else both sides would write what is still buffered */
    pid_t pid = fork();
    int err = errno;
    if (pid == 0)
        acl_postfork_child(L, e);
    else
        acl_postfork_parent(L, e);
    if (pid < 0) return acl_fail(L, aco_err_from_errno(err), "fork: %s", strerror(err));
    lua_pushinteger(L, pid);
    return 1;
}

void
acl_open_fork(lua_State *L, acl_engine *e)
{
    static const luaL_Reg funcs[] = {{"prefork", prefork},
                                     {"postfork_parent", postfork_parent},
                                     {"postfork_child", postfork_child},
                                     {"fork", fork_here},
                                     {NULL, NULL}};

    acl_setfuncs(L, e, funcs);
}
