/* SPDX-License-Identifier: MIT */
#include "core/io/child.h"
#include "core/base/error.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

/* Ending ----------------------------------------------------------------------------------------
 */

static void
child_ended(aco_child *child, const siginfo_t *info)
{
    child->ended = true;
    child->signaled = info->si_code == CLD_KILLED || info->si_code == CLD_DUMPED;
    child->code = info->si_pid != 0 ? info->si_status : -1;
    aco_watch_stop(&child->watch);
    if (child->pidfd >= 0) close(child->pidfd);
    child->pidfd = -1;
    aco_waitq_wake_all(child->loop, &child->watch.queue, ACO_OK);
}

bool
aco_child_look(aco_child *child)
{
    siginfo_t info = {.si_pid = 0};

    if (child->ended) return true;
    int result = waitid(P_PID, (id_t)child->pid, &info, WEXITED | WNOHANG);
    if (result == 0 && info.si_pid == 0) return false;
    if (result != 0 && errno != ECHILD) return false;
    child_ended(child, &info);
    return true;
}

static void
child_ready(aco_watch *watch)
{
    aco_child *child = ACO_CONTAINER_OF(watch, aco_child, watch);

    if (aco_child_look(child) && child->abandoned) free(child);
}

/* The loop ends: a killed child ends at once, unless the kernel is in the midst of something for
 * it. */
static void
child_loop_ends(aco_watch *watch)
{
    aco_child *child = ACO_CONTAINER_OF(watch, aco_child, watch);
    const struct timespec moment = {.tv_nsec = 1000000};

    if (!child->abandoned) return;
    for (int tries = 0; tries < 50 && !aco_child_look(child); tries++)
        nanosleep(&moment, NULL);
    if (child->pidfd >= 0) close(child->pidfd);
    free(child);
}

int
aco_child_kill(aco_child *child, int number)
{
    if (aco_child_look(child)) return ACO_ENOTFOUND;
    if (kill(child->group ? -child->pid : child->pid, number) == 0) return ACO_OK;
    return aco_err_from_errno(errno);
}

void
aco_child_free(aco_child *child)
{
    if (child == NULL) return;
    if (aco_child_kill(child, SIGKILL) == ACO_ENOTFOUND || aco_child_look(child)) {
        free(child);
        return;
    }
    child->abandoned = true;
    if (!child->watch.armed) child_loop_ends(&child->watch);
}

/* Starting --------------------------------------------------------------------------------------
 */

/* A descriptor below 3 could be overwritten before it is used. */
static int
lift(int fd, int *lifted)
{
    if (fd < 0 || fd > 2) return fd;
    *lifted = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    return *lifted;
}

static int
add_fd(posix_spawn_file_actions_t *actions, const struct aco_child_setup *setup, int number,
       int *lifted)
{
    int given = setup->fds[number];
    int fd = lift(given, lifted);

    if (given >= 0 && fd < 0) return errno;
    switch (given) {
    case ACO_CHILD_INHERIT:
        return 0;
    case ACO_CHILD_NULL:
        return posix_spawn_file_actions_addopen(actions, number, "/dev/null",
                                                number == 0 ? O_RDONLY : O_WRONLY, 0);
    case ACO_CHILD_MERGE:
        return posix_spawn_file_actions_adddup2(actions, 1, number);
    default:
        return posix_spawn_file_actions_adddup2(actions, fd, number);
    }
}

static int
actions_fill(posix_spawn_file_actions_t *actions, const struct aco_child_setup *setup,
             int lifted[3])
{
    int err = 0;

    if (setup->cwd != NULL) err = posix_spawn_file_actions_addchdir_np(actions, setup->cwd);
    for (int number = 0; number < 3 && err == 0; number++)
        err = add_fd(actions, setup, number, &lifted[number]);
    if (err == 0) err = posix_spawn_file_actions_addclosefrom_np(actions, 3);
    return err;
}

/* The child starts with no signal blocked and none ignored or caught. */
static int
attributes_fill(posix_spawnattr_t *attributes, bool group)
{
    sigset_t none, all;
    short flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;

    sigemptyset(&none);
    sigfillset(&all);
    if (group) flags |= POSIX_SPAWN_SETPGROUP;
    int err = posix_spawnattr_setsigmask(attributes, &none);
    if (err == 0) err = posix_spawnattr_setsigdefault(attributes, &all);
    if (err == 0 && group) err = posix_spawnattr_setpgroup(attributes, 0);
    if (err == 0) err = posix_spawnattr_setflags(attributes, flags);
    return err;
}

static int
child_spawn(pid_t *pid, const struct aco_child_setup *setup)
{
    char *const *env = setup->env != NULL ? setup->env : environ;
    int lifted[3] = {-1, -1, -1};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;

    int err = posix_spawn_file_actions_init(&actions);
    if (err != 0) return err;
    err = posix_spawnattr_init(&attributes);
    if (err == 0) {
        err = actions_fill(&actions, setup, lifted);
        if (err == 0) err = attributes_fill(&attributes, setup->group);
        if (err == 0)
            err = posix_spawnp(pid, setup->argv[0], &actions, &attributes, setup->argv, env);
        posix_spawnattr_destroy(&attributes);
    }
    posix_spawn_file_actions_destroy(&actions);
    for (int i = 0; i < 3; i++)
        if (lifted[i] >= 0) close(lifted[i]);
    return err;
}

/* Without a pidfd who waits has to look. */
static void
child_watch(aco_child *child)
{
    child->pidfd = (int)syscall(SYS_pidfd_open, child->pid, 0); /* closed on exec */
    aco_watch_init(&child->watch, child->loop, child->pidfd, false);
    if (child->pidfd < 0) return;
    child->watch.on_ready = child_ready;
    child->watch.on_end = child_loop_ends;
    if (aco_watch_arm(&child->watch) == ACO_OK) return;
    close(child->pidfd);
    child->pidfd = -1;
}

int
aco_child_start(aco_child **child, aco_loop *loop, const struct aco_child_setup *setup)
{
    aco_child *c = calloc(1, sizeof *c);

    *child = NULL;
    if (c == NULL) return ACO_ENOMEM;
    c->loop = loop;
    c->group = setup->group;
    errno = child_spawn(&c->pid, setup);
    if (errno != 0) {
        free(c);
        return aco_err_from_errno(errno);
    }
    child_watch(c);
    *child = c;
    return ACO_OK;
}
