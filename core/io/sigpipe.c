/* SPDX-License-Identifier: MIT */
#include "core/io/sigpipe.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio_ext.h>
#include <time.h>

typedef struct guard {
    sigset_t pipe, old;
    bool blocked, before; /* SIGPIPE had been blocked, and was pending */
} guard;

/* The signal goes to the thread that writes: blocked there, it stays pending, and is taken away
 * unless it was pending before. */
static void
guard_begin(guard *g)
{
    sigset_t pending;

    sigemptyset(&g->pipe);
    sigaddset(&g->pipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &g->pipe, &g->old);
    g->blocked = sigismember(&g->old, SIGPIPE) == 1;
    g->before = g->blocked && sigpending(&pending) == 0 && sigismember(&pending, SIGPIPE) == 1;
}

static void
guard_end(const guard *g, bool failed)
{
    const struct timespec now = {.tv_sec = 0};
    int errnum = errno;

    if (failed && errnum == EPIPE && !g->before)
        while (sigtimedwait(&g->pipe, NULL, &now) < 0 && errno == EINTR) {
        }
    if (!g->blocked) pthread_sigmask(SIG_SETMASK, &g->old, NULL);
    errno = errnum;
}

ssize_t
aco_sigpipe_writev(int fd, const struct iovec *pieces, int count)
{
    guard g;

    guard_begin(&g);
    ssize_t n = writev(fd, pieces, count);
    guard_end(&g, n < 0);
    return n;
}

int
aco_sigpipe_flush(FILE *file)
{
    guard g;

    if (__fpending(file) == 0) return 0;
    guard_begin(&g);
    int result = fflush(file);
    guard_end(&g, result != 0);
    return result;
}
