/* SPDX-License-Identifier: MIT */
#include "core/io/sigpipe.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio_ext.h>
#include <time.h>

typedef struct guard {
    sigset_t both, old, before; /* what had been blocked, and what was pending */
} guard;

/* The signal goes to the thread that writes: blocked there, it stays pending, and is taken away
 * unless it was pending before. */
static void
guard_begin(guard *g)
{
    sigemptyset(&g->both);
    sigaddset(&g->both, SIGPIPE);
    sigaddset(&g->both, SIGXFSZ);
    sigemptyset(&g->before);
    pthread_sigmask(SIG_BLOCK, &g->both, &g->old);
    if (sigismember(&g->old, SIGPIPE) == 1 || sigismember(&g->old, SIGXFSZ) == 1)
        sigpending(&g->before);
}

static void
guard_end(const guard *g, bool failed)
{
    const struct timespec now = {.tv_sec = 0};
    int errnum = errno, number = errnum == EPIPE ? SIGPIPE : errnum == EFBIG ? SIGXFSZ : 0;
    sigset_t raised;

    sigemptyset(&raised);
    if (failed && number != 0 && sigismember(&g->before, number) != 1) {
        sigaddset(&raised, number);
        while (sigtimedwait(&raised, NULL, &now) < 0 && errno == EINTR) {
        }
    }
    pthread_sigmask(SIG_SETMASK, &g->old, NULL);
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
