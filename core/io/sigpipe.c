/* SPDX-License-Identifier: MIT */
#include "core/io/sigpipe.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <time.h>

/* The signal goes to the thread that writes: blocked there, it stays pending, and is taken away
 * unless it was pending before. */
ssize_t
aco_sigpipe_writev(int fd, const struct iovec *pieces, int count)
{
    const struct timespec now = {.tv_sec = 0};
    sigset_t pipe, old, pending;

    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe, &old);
    bool blocked = sigismember(&old, SIGPIPE) == 1;
    bool before = blocked && sigpending(&pending) == 0 && sigismember(&pending, SIGPIPE) == 1;
    ssize_t n = writev(fd, pieces, count);
    int errnum = errno;
    if (n < 0 && errnum == EPIPE && !before)
        while (sigtimedwait(&pipe, NULL, &now) < 0 && errno == EINTR) {
        }
    if (!blocked) pthread_sigmask(SIG_SETMASK, &old, NULL);
    errno = errnum;
    return n;
}
