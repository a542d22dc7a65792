/* SPDX-License-Identifier: MIT */
#include "core/io/child.h"
#include "core/base/error.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* How long the end of a loop waits for a child that it has killed, in milliseconds. */
enum { KILLED_TIME = 50 };

/* Waiting in a thread ---------------------------------------------------------------------------
 */

/* Nothing of an engine's: the thread may outlive it. */
typedef struct waiter {
    pid_t pid;
    int fd; /* to close at the child's end, which is then for others to wait for; -1: wait for it */
} waiter;

static void *
waiter_run(void *arg)
{
    waiter *w = arg;
    siginfo_t info;

    while (waitid(P_PID, (id_t)w->pid, &info, WEXITED | (w->fd >= 0 ? WNOWAIT : 0)) != 0 &&
           errno == EINTR) {
    }
    if (w->fd >= 0) close(w->fd);
    free(w);
    return NULL;
}

/* Start the thread, which takes over the descriptor. ACO_ENOMEM, ACO_ESYSTEM. */
static int
waiter_start(pid_t pid, int fd)
{
    waiter *w = malloc(sizeof *w);
    sigset_t all, old;
    pthread_attr_t attr;
    pthread_t thread;

    if (w == NULL) return ACO_ENOMEM;
    *w = (waiter){.pid = pid, .fd = fd};
    sigfillset(&all);
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int err = pthread_create(&thread, &attr, waiter_run, w);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
    if (err == 0) return ACO_OK;
    free(w);
    return ACO_ESYSTEM;
}

/* Ending ----------------------------------------------------------------------------------------
 */

static void
child_ended(aco_child *child, const siginfo_t *info)
{
    child->ended = true;
    child->signaled = info->si_code == CLD_KILLED || info->si_code == CLD_DUMPED;
    child->code = info->si_pid != 0 ? info->si_status : -1;
    aco_watch_stop(&child->watch);
    close(child->fd);
    child->fd = -1;
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
    struct pollfd end = {.fd = child->fd, .events = POLLIN};

    if (!child->abandoned) return;
    (void)poll(&end, 1, KILLED_TIME);
    if (!aco_child_look(child)) {
        (void)!waiter_start(child->pid, -1);
        close(child->fd);
    }
    free(child);
}

int
aco_child_kill(aco_child *child, int number)
{
    if (aco_child_look(child)) return ACO_ENOTFOUND;
    if (kill(child->group ? -child->pid : child->pid, number) == 0) return ACO_OK;
    return aco_err_from_errno(errno);
}

/* Has it ended, without having been waited for, so that its number is still its own? */
static bool
child_has_ended(const aco_child *child)
{
    siginfo_t info = {.si_pid = 0};

    return waitid(P_PID, (id_t)child->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           info.si_pid != 0;
}

void
aco_child_free(aco_child *child)
{
    if (child == NULL) return;
    if (!child->ended && child->group && child_has_ended(child)) kill(-child->pid, SIGKILL);
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

/* What shows the end ----------------------------------------------------------------------------
 */

static int
pidfd_open_of(pid_t pid)
{
    return (int)syscall(SYS_pidfd_open, pid, 0); /* closed on exec */
}

/* Before the start, when failing does no harm: ends[0] is what a pidfd will take the place of, or
 * the two are a pipe, where there are no pidfds. errno's number, or 0. */
static int
ends_reserve(int ends[2])
{
    ends[1] = -1;
    ends[0] = pidfd_open_of(getpid());
    if (ends[0] >= 0) return 0;
    if (errno == EMFILE || errno == ENFILE || errno == ENOMEM) return errno;
    return pipe2(ends, O_CLOEXEC) == 0 ? 0 : errno;
}

static void
ends_close(const int ends[2])
{
    if (ends[0] >= 0) close(ends[0]);
    if (ends[1] >= 0) close(ends[1]);
}

static int
child_watch(aco_child *child, int fd)
{
    aco_watch_init(&child->watch, child->loop, fd, false);
    child->watch.on_ready = child_ready;
    child->watch.on_end = child_loop_ends;
    child->fd = fd;
    return aco_watch_arm(&child->watch);
}

/* Watch it with what was reserved, which is used up. */
static int
child_started(aco_child *child, int ends[2])
{
    if (ends[1] < 0) {
        close(ends[0]);
        ends[0] = pidfd_open_of(child->pid);
        if (ends[0] < 0) return aco_err_from_errno(errno);
    } else if (waiter_start(child->pid, ends[1]) == ACO_OK) {
        ends[1] = -1;
    } else {
        errno = EAGAIN;
        return ACO_ESYSTEM;
    }
    return child_watch(child, ends[0]);
}

/* It cannot be watched, so it must not go on; or it was gone before one could look, which is so
 * where SIGCHLD is ignored. */
static int
child_not_watched(aco_child *child, int ends[2], int err)
{
    int errnum = errno;
    siginfo_t info;

    aco_watch_stop(&child->watch);
    ends_close(ends);
    child->fd = -1;
    if (err != ACO_ENOTFOUND) kill(child->group ? -child->pid : child->pid, SIGKILL);
    int result;
    do
        result = waitid(P_PID, (id_t)child->pid, &info, WEXITED);
    while (result != 0 && errno == EINTR);
    errno = errnum;
    if (err != ACO_ENOTFOUND || result == 0) return err;
    aco_watch_init(&child->watch, child->loop, -1, false);
    child->ended = true;
    child->code = -1;
    return ACO_OK;
}

int
aco_child_start(aco_child **child, aco_loop *loop, const struct aco_child_setup *setup)
{
    aco_child *c = calloc(1, sizeof *c);
    int ends[2];

    *child = NULL;
    if (c == NULL) return ACO_ENOMEM;
    *c = (aco_child){.loop = loop, .fd = -1, .group = setup->group};
    int errnum = ends_reserve(ends);
    if (errnum == 0) {
        errnum = child_spawn(&c->pid, setup);
        if (errnum != 0) ends_close(ends);
    }
    if (errnum != 0) {
        free(c);
        errno = errnum;
        return aco_err_from_errno(errnum);
    }
    int err = child_started(c, ends);
    if (err != ACO_OK) err = child_not_watched(c, ends, err);
    if (err == ACO_OK)
        *child = c;
    else
        free(c);
    return err;
}
