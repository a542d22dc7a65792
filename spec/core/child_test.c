/* SPDX-License-Identifier: MIT */
/* child_test.c -- programs that are started, what they inherit, how their ends are seen and that
 * nothing is left of them; all of it once more where the kernel has no pidfds, and what remains of
 * it where SIGCHLD is ignored. */
#include "core/base/clock.h"
#include "core/base/error.h"
#include "core/io/child.h"
#include "spec/core/check.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define MILLI (ACO_SECOND / 1000)
#define TEXT(text) ((char *)(text)) /* as execve takes it */
#define LONG (20 * ACO_SECOND)      /* a failure, never waited for */

static aco_loop loop;

static int
start(aco_child **child, const char *script, struct aco_child_setup setup)
{
    char *const argv[] = {TEXT("/bin/sh"), TEXT("-c"), TEXT(script), NULL};

    setup.argv = argv;
    return aco_child_start(child, &loop, &setup);
}

static aco_child *
started(const char *script, struct aco_child_setup setup)
{
    aco_child *child = NULL;

    CHECK(start(&child, script, setup) == ACO_OK);
    CHECK(child != NULL && child->pid > 0);
    return child;
}

static const struct aco_child_setup inherit = {
    .fds = {ACO_CHILD_INHERIT, ACO_CHILD_INHERIT, ACO_CHILD_INHERIT}};

/* Poll until it has ended, without looking: the descriptor tells. */
static void
await(const aco_child *child)
{
    aco_time until = aco_now() + LONG;

    while (!child->ended) {
        CHECK(aco_now() < until);
        aco_loop_poll(&loop, aco_now() + 100 * MILLI);
    }
}

/* No child of ours is left, zombies included. */
static void
none_left(void)
{
    siginfo_t info = {.si_pid = 0};
    aco_time until = aco_now() + LONG;

    while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0) {
        CHECK(aco_now() < until);
        aco_loop_poll(&loop, aco_now() + MILLI);
    }
    CHECK(errno == ECHILD);
}

static int
descriptors(void)
{
    DIR *folder = opendir("/proc/self/fd");
    int count = 0;

    CHECK(folder != NULL);
    while (readdir(folder) != NULL)
        count++;
    closedir(folder);
    return count;
}

/* What it writes to the descriptor that is given as its standard output. */
static void
output(const char *script, struct aco_child_setup setup, char *text, size_t size)
{
    int ends[2];
    size_t have = 0;
    ssize_t n;

    CHECK(pipe2(ends, O_CLOEXEC) == 0);
    setup.fds[1] = ends[1];
    aco_child *child = started(script, setup);
    close(ends[1]);
    while ((n = read(ends[0], text + have, size - 1 - have)) > 0)
        have += (size_t)n;
    text[have] = '\0';
    close(ends[0]);
    await(child);
    aco_child_free(child);
}

static void
test_ends(void)
{
    aco_child *child = started("exit 7", inherit);

    await(child);
    CHECK(child->code == 7 && !child->signaled && child->fd < 0);
    CHECK(aco_child_look(child) && aco_child_kill(child, SIGTERM) == ACO_ENOTFOUND);
    aco_child_free(child);

    child = started("kill -9 $$", inherit);
    await(child);
    CHECK(child->code == SIGKILL && child->signaled);
    aco_child_free(child);

    child = started("sleep 100", inherit);
    CHECK(!aco_child_look(child) && aco_child_kill(child, SIGTERM) == ACO_OK);
    await(child);
    CHECK(child->code == SIGTERM && child->signaled);
    aco_child_free(child);
    aco_child_free(NULL);
    none_left();
}

static void
test_waiting(void)
{
    aco_child *child = started("exit 0", inherit);
    aco_task task;

    aco_task_init(&task, 1);
    aco_task_ready(&loop, &task);
    CHECK(aco_loop_pop(&loop) == &task);
    task.state = ACO_RUNNING;
    aco_wait_begin(&task, ACO_WAIT_PROCESS);
    aco_wait_on(&task, &child->watch.queue);
    aco_wait_park(&loop, &task);
    CHECK(aco_loop_awaits(&loop));
    await(child);
    CHECK(aco_loop_pop(&loop) == &task && task.wake_err == ACO_OK);
    CHECK(!aco_loop_awaits(&loop));
    aco_child_free(child);
}

static void
test_inherited(void)
{
    struct aco_child_setup setup = inherit;
    char text[4096];
    int open_one = open("/dev/null", O_RDONLY); /* not closed on exec */

    CHECK(open_one > 2);
    output("ls /proc/self/fd", setup, text, sizeof text);
    CHECK(strcmp(text, "0\n1\n2\n3\n") == 0); /* 3: of ls */
    close(open_one);

    sigset_t some, old;
    sigemptyset(&some);
    sigaddset(&some, SIGTERM);
    sigaddset(&some, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &some, &old);
    struct sigaction ignore = {.sa_handler = SIG_IGN}, before;
    sigaction(SIGPIPE, &ignore, &before);
    output("grep SigBlk /proc/self/status", setup, text, sizeof text);
    aco_child *child = started("kill -s PIPE $$; exit 0", setup);
    sigaction(SIGPIPE, &before, NULL);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    CHECK(strcmp(text, "SigBlk:\t0000000000000000\n") == 0);
    await(child);
    CHECK(child->signaled && child->code == SIGPIPE);
    aco_child_free(child);

    setup.fds[2] = ACO_CHILD_MERGE;
    output("echo error >&2; echo output", setup, text, sizeof text);
    CHECK(strcmp(text, "error\noutput\n") == 0);
    setup.fds[0] = setup.fds[2] = ACO_CHILD_NULL;
    output("cat; readlink /proc/self/fd/2", setup, text, sizeof text);
    CHECK(strcmp(text, "/dev/null\n") == 0);
    char *const env[] = {TEXT("A=b"), NULL};
    setup.env = env;
    setup.cwd = "/";
    output("echo $A; pwd", setup, text, sizeof text);
    CHECK(strcmp(text, "b\n/\n") == 0);
}

/* Descriptors below 3 that are not where they belong do not overwrite each other. */
static void
test_low_descriptors(void)
{
    struct aco_child_setup setup = inherit;
    char text[64];
    int ends[2];

    int input = dup(0), error = dup(2);
    CHECK(pipe2(ends, O_CLOEXEC) == 0);
    CHECK(dup2(ends[1], 0) == 0);
    close(ends[1]);
    setup.fds[0] = ACO_CHILD_NULL;
    setup.fds[1] = 0; /* our standard input is the pipe */
    setup.fds[2] = ACO_CHILD_NULL;
    aco_child *child = started("echo swapped", setup);
    CHECK(dup2(input, 0) == 0 && dup2(error, 2) == 2);
    close(input);
    close(error);
    ssize_t n = read(ends[0], text, sizeof text);
    CHECK(n == 8 && memcmp(text, "swapped\n", 8) == 0);
    close(ends[0]);
    await(child);
    aco_child_free(child);
}

static void
test_not_started(void)
{
    struct aco_child_setup setup = inherit;
    char *missing[] = {TEXT("/no/such/program"), NULL}, *folder[] = {TEXT("/etc"), NULL};
    char *plain[] = {TEXT("/etc/passwd"), NULL}, *fine[] = {TEXT("true"), NULL};
    aco_child *child;

    setup.argv = missing;
    CHECK(aco_child_start(&child, &loop, &setup) == ACO_ENOTFOUND && errno == ENOENT);
    CHECK(child == NULL);
    setup.argv = folder;
    CHECK(aco_child_start(&child, &loop, &setup) == ACO_EDENIED && errno == EACCES);
    setup.argv = plain;
    CHECK(aco_child_start(&child, &loop, &setup) == ACO_EDENIED);
    setup.argv = fine;
    setup.cwd = "/no/such";
    CHECK(aco_child_start(&child, &loop, &setup) == ACO_ENOTFOUND);
    none_left();
}

/* Where no descriptor is free nothing is started at all. */
static void
test_no_descriptor(void)
{
    struct rlimit limit, none;
    aco_child *child = NULL;
    char path[] = "/tmp/child_test-XXXXXX", script[64];

    int fd = mkstemp(path);
    CHECK(fd >= 0);
    close(fd);
    snprintf(script, sizeof script, "rm %s", path);
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    none = (struct rlimit){.rlim_cur = 0, .rlim_max = limit.rlim_max};
    CHECK(setrlimit(RLIMIT_NOFILE, &none) == 0);
    int err = start(&child, script, inherit);
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    CHECK(err == ACO_ELIMIT && child == NULL);
    none_left();
    CHECK(access(path, F_OK) == 0);
    unlink(path);
}

/* A child's child that writes to the pipe as long as it lives. */
static aco_child *
family(int *reader, bool group)
{
    struct aco_child_setup setup = inherit;
    int ends[2];
    char byte;

    CHECK(pipe2(ends, O_CLOEXEC) == 0);
    setup.fds[1] = ends[1];
    setup.group = group;
    aco_child *child = started("(echo; exec sleep 100) & wait", setup);
    close(ends[1]);
    CHECK(read(ends[0], &byte, 1) == 1);
    *reader = ends[0];
    return child;
}

static void
test_free(void)
{
    int reader;
    char byte;

    aco_child_free(started("sleep 100", inherit));
    none_left();
    aco_child *child = family(&reader, true);
    CHECK(getpgid(child->pid) == child->pid);
    aco_child_free(child);
    CHECK(read(reader, &byte, 1) == 0); /* nobody is left who could write */
    close(reader);
    none_left();

    child = started("exit 0", inherit); /* ended, and nobody has looked */
    siginfo_t info;
    CHECK(waitid(P_PID, (id_t)child->pid, &info, WEXITED | WNOWAIT) == 0);
    aco_child_free(child);
    none_left();
}

/* Many at once, of which some are let go before they end, some at the end of the loop. */
static void
test_many(void)
{
    aco_child *children[100];

    for (int i = 0; i < 100; i++)
        children[i] = started(i % 2 ? "exit 3" : "sleep 100", inherit);
    for (int i = 1; i < 100; i += 2) {
        await(children[i]);
        CHECK(children[i]->code == 3);
    }
    for (int i = 0; i < 50; i++)
        aco_child_free(children[i]);
    for (int i = 50; i < 100; i++)
        aco_child_free(children[i]);
    aco_loop_fini(&loop);
    siginfo_t info;
    aco_time until = aco_now() + LONG;
    while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0)
        CHECK(aco_now() < until);
    CHECK(aco_loop_init(&loop, NULL) == ACO_OK);

    aco_child *child = started("sleep 100", inherit); /* outlives its loop */
    aco_loop_fini(&loop);
    aco_child_free(child);
    while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0)
        CHECK(aco_now() < until);
    CHECK(aco_loop_init(&loop, NULL) == ACO_OK);
}

/* A forked process has its parent's records, not its children: it leaves them alone. */
static void
test_fork(void)
{
    aco_child *child = started(
        "sleep 100",
        (struct aco_child_setup){.fds = {ACO_CHILD_INHERIT, ACO_CHILD_INHERIT, ACO_CHILD_INHERIT},
                                 .group = true});
    int status;

    pid_t pid = fork();
    if (pid == 0) {
        CHECK(aco_loop_after_fork(&loop) == ACO_OK);
        aco_child_free(child);
        _exit(0);
    }
    CHECK(waitpid(pid, &status, 0) == pid && status == 0);
    CHECK(!aco_child_look(child));
    CHECK(aco_child_kill(child, SIGTERM) == ACO_OK);
    await(child);
    CHECK(child->code == SIGTERM); /* not SIGKILL */
    aco_child_free(child);
}

/* Somebody else waits for all children: their codes are not known, but their ends. */
static void
test_ignored(void)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN}, before;

    sigaction(SIGCHLD, &ignore, &before);
    for (int i = 0; i < 20; i++) {
        aco_child *child = started("exit 3", inherit);
        await(child);
        CHECK(child->code == -1 && !child->signaled);
        aco_child_free(child);
    }
    sigaction(SIGCHLD, &before, NULL);
}

static void
test_all(void)
{
    CHECK(aco_loop_init(&loop, NULL) == ACO_OK);
    int before = descriptors();
    test_ends();
    test_waiting();
    test_inherited();
    test_low_descriptors();
    test_not_started();
    test_no_descriptor();
    test_free();
    test_many();
    test_fork();
    test_ignored();
    CHECK(descriptors() == before);
    aco_loop_fini(&loop);
}

/* From now on this process and its children have no pidfd_open. */
static void
refuse_pidfds(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_pidfd_open, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {.len = sizeof code / sizeof *code, .filter = code};

    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0);
    CHECK(syscall(SYS_pidfd_open, getpid(), 0) < 0 && errno == ENOSYS);
}

int
main(void)
{
    test_all();
    refuse_pidfds();
    test_all();
    return 0;
}
