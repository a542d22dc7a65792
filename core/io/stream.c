/* SPDX-License-Identifier: MIT */
#include "core/io/stream.h"
#include "core/base/error.h"
#include "core/io/sigpipe.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

int
aco_stream_errno(aco_stream *s)
{
    s->errnum = errno;
    return aco_err_from_errno(errno);
}

int
aco_stream_await(aco_watch *watch, aco_waitq **wait)
{
    int err = aco_watch_arm(watch);

    *wait = &watch->queue;
    return err == ACO_OK ? ACO_EBUSY : err;
}

/* The plain transport ---------------------------------------------------------------------------
 */

/* A pipe that is full again and again is made larger: both sides have fewer and longer turns. Not
 * at once, since the system limits what all pipes of a user may hold. */
enum { FILLED_OFTEN = 16, PIPE_USUAL = 64 * 1024, PIPE_LARGE = 256 * 1024 };

static void
pipe_filled(aco_stream *s)
{
    if (s->socket || s->filled == FILLED_OFTEN || ++s->filled < FILLED_OFTEN) return;
    int size = fcntl(s->fd, F_GETPIPE_SZ);
    if (size > 0 && size < PIPE_LARGE) (void)fcntl(s->fd, F_SETPIPE_SZ, PIPE_LARGE);
}

/* A read that gave less than it might have is not followed by another until the descriptor is ready
 * again: most often there would be nothing. */
static int
plain_read(aco_stream *s, void *data, size_t size, size_t *got, aco_waitq **wait)
{
    ssize_t n;

    if (s->drained) {
        s->drained = false;
        return aco_stream_await(&s->reader, wait);
    }
    if (s->shared && aco_watch_test(s->fd, false) == ACO_ETIMEOUT)
        return aco_stream_await(&s->reader, wait);
    do
        n = s->socket ? recv(s->fd, data, size, MSG_DONTWAIT) : read(s->fd, data, size);
    while (n < 0 && errno == EINTR);
    if (n > 0) {
        *got = (size_t)n;
        s->drained = *got < size && (s->socket || *got < PIPE_BUF);
        if (*got >= PIPE_USUAL) pipe_filled(s);
        return ACO_OK;
    }
    if (n == 0 && s->fifo && aco_watch_test(s->fd, false) == ACO_ETIMEOUT)
        return aco_stream_await(&s->reader, wait);
    if (n == 0) return ACO_EEOF;
    if (errno == EAGAIN) return aco_stream_await(&s->reader, wait);
    if (errno == EIO && !s->socket) return ACO_EEOF; /* a terminal whose other side is gone */
    return aco_stream_errno(s);
}

static ssize_t
plain_send(aco_stream *s, const struct iovec *pieces, int count)
{
    struct msghdr message = {.msg_iov = (struct iovec *)pieces, .msg_iovlen = (size_t)count};

    if (!s->socket) return aco_sigpipe_writev(s->fd, pieces, count);
    if (count == 1)
        return send(s->fd, pieces->iov_base, pieces->iov_len, MSG_NOSIGNAL | MSG_DONTWAIT);
    return sendmsg(s->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* To a descriptor that may block: what a pipe that is writable has room for at least. */
static ssize_t
shared_send(aco_stream *s, const struct iovec *pieces)
{
    struct iovec piece = *pieces;

    switch (aco_watch_test(s->fd, true)) {
    case ACO_ETIMEOUT:
        errno = EAGAIN;
        return -1;
    case ACO_OK:
        if (piece.iov_len > PIPE_BUF) piece.iov_len = PIPE_BUF;
        break;
    default: /* a plain file */
        break;
    }
    return aco_sigpipe_writev(s->fd, &piece, 1);
}

static int
plain_write(aco_stream *s, const struct iovec *pieces, int count, size_t *put, aco_waitq **wait)
{
    ssize_t n;

    if (s->stdio) (void)aco_sigpipe_flush(stdout);
    do
        n = s->shared && !s->socket ? shared_send(s, pieces) : plain_send(s, pieces, count);
    while (n < 0 && errno == EINTR);
    if (n >= 0) {
        *put = (size_t)n;
        return ACO_OK;
    }
    if (errno != EAGAIN) return aco_stream_errno(s);
    pipe_filled(s);
    return aco_stream_await(&s->writer, wait);
}

/* A pipe's writing end has nothing but its end to say; a socket may still be read. */
static int
plain_shutdown(aco_stream *s, aco_waitq **wait)
{
    (void)wait;
    if (s->socket && shutdown(s->fd, SHUT_WR) != 0 && errno != ENOTCONN) return aco_stream_errno(s);
    if (!s->socket && (fcntl(s->fd, F_GETFL) & O_ACCMODE) == O_WRONLY) aco_stream_close(s);
    return ACO_OK;
}

static void
plain_close(aco_stream *s)
{
    close(s->fd);
}

const aco_transport aco_plain_transport = {
    .read = plain_read, .write = plain_write, .shutdown = plain_shutdown, .close = plain_close};

/* Opening and closing ---------------------------------------------------------------------------
 */

void
aco_stream_init(aco_stream *s, aco_loop *loop, int fd, const aco_transport *transport, void *state)
{
    *s = (aco_stream){.self = s,
                      .transport = transport,
                      .state = state,
                      .loop = loop,
                      .fd = fd,
                      .timeout = ACO_NEVER,
                      .limit = ACO_NEVER};
    aco_watch_init(&s->reader, loop, fd, false);
    aco_watch_init(&s->writer, loop, fd, true);
}

int
aco_stream_open(aco_stream *s, aco_loop *loop, int fd)
{
    int flags = fcntl(fd, F_GETFL);
    struct stat about;

    aco_stream_init(s, loop, fd, &aco_plain_transport, NULL);
    if (flags < 0 || fstat(fd, &about) != 0 ||
        (!(flags & O_NONBLOCK) && fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0)) {
        s->transport = NULL;
        return aco_stream_errno(s);
    }
    s->socket = S_ISSOCK(about.st_mode);
    s->fifo = S_ISFIFO(about.st_mode);
    return ACO_OK;
}

/* Pipes and terminals are opened once more: that gives a descriptor whose mode nobody shares. */
static int
reopen(int fd, int number)
{
    char path[40];
    int flags = (number == 0 ? O_RDONLY : O_WRONLY) | O_NONBLOCK | O_CLOEXEC | O_NOCTTY;

    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return open(path, flags);
}

void
aco_stream_share(aco_stream *s, aco_loop *loop, int fd, int number)
{
    struct stat about = {.st_mode = 0};

    (void)fstat(fd, &about);
    int other = S_ISFIFO(about.st_mode) || S_ISCHR(about.st_mode) ? reopen(fd, number) : -1;
    if (other >= 0) {
        close(fd);
        fd = other;
    }
    aco_stream_init(s, loop, fd, &aco_plain_transport, NULL);
    s->socket = S_ISSOCK(about.st_mode);
    s->shared = other < 0;
    s->stdio = number > 0;
}

/* The watches go before the descriptor does: its number may be used again at once. */
static void
stream_leave(aco_stream *s)
{
    s->transport = NULL;
    aco_watch_stop(&s->reader);
    aco_watch_stop(&s->writer);
}

static void
stream_left(aco_stream *s)
{
    s->fd = -1;
    s->state = NULL;
    aco_waitq_wake_all(s->loop, &s->reader.queue, ACO_ECLOSED);
    aco_waitq_wake_all(s->loop, &s->writer.queue, ACO_ECLOSED);
}

void
aco_stream_close(aco_stream *s)
{
    const aco_transport *transport = s->transport;

    if (transport == NULL) return;
    stream_leave(s);
    transport->close(s);
    stream_left(s);
}

void
aco_stream_detach(aco_stream *s)
{
    stream_leave(s);
    stream_left(s);
    aco_stream_take(s, aco_stream_size(s));
}

void
aco_stream_fini(aco_stream *s)
{
    aco_stream_close(s);
    aco_buf_free(&s->in);
    s->taken = 0;
    free(s->label);
    free(s->error);
    s->label = s->error = NULL;
}

/* Bytes -----------------------------------------------------------------------------------------
 */

/* An empty buffer is given back: most streams wait with nothing in it. */
void
aco_stream_take(aco_stream *s, size_t size)
{
    s->taken += size;
    assert(s->taken <= s->in.size);
    if (s->taken < s->in.size) return;
    aco_buf_free(&s->in);
    s->taken = 0;
}

/* Move what is left to the start when that makes room for as much again. */
static int
stream_reserve(aco_stream *s, size_t more)
{
    if (s->taken > 0 && s->taken >= s->in.size - s->taken) {
        s->in.size -= s->taken;
        memmove(s->in.data, s->in.data + s->taken, s->in.size);
        s->taken = 0;
    }
    return aco_buf_reserve(&s->in, more);
}

int
aco_stream_keep(aco_stream *s, const void *data, size_t size)
{
    int err = stream_reserve(s, size);

    if (err != ACO_OK) return err;
    memcpy(s->in.data + s->in.size, data, size);
    s->in.size += size;
    return ACO_OK;
}

int
aco_stream_read(aco_stream *s, void *data, size_t size, size_t *got, aco_waitq **wait)
{
    if (s->transport == NULL) return ACO_ECLOSED;
    if (s->ended) return ACO_EEOF;
    int err = s->transport->read(s, data, size, got, wait);
    if (err == ACO_EEOF) s->ended = true;
    return err;
}

int
aco_stream_fill(aco_stream *s, size_t size, aco_waitq **wait)
{
    size_t got = 0;
    int err = stream_reserve(s, size);

    if (err != ACO_OK) return err;
    err = aco_stream_read(s, s->in.data + s->in.size, size, &got, wait);
    s->in.size += got;
    if (s->in.size == 0) aco_stream_take(s, 0); /* it waits: without a buffer */
    return err;
}

int
aco_stream_write(aco_stream *s, const struct iovec *pieces, int count, size_t *put,
                 aco_waitq **wait)
{
    if (s->transport == NULL || s->shut) return ACO_ECLOSED;
    return s->transport->write(s, pieces, count, put, wait);
}

int
aco_stream_flush(aco_stream *s, aco_waitq **wait)
{
    if (s->transport == NULL) return ACO_ECLOSED;
    return s->transport->flush != NULL ? s->transport->flush(s, wait) : ACO_OK;
}

int
aco_stream_shutdown(aco_stream *s, aco_waitq **wait)
{
    if (s->transport == NULL) return ACO_ECLOSED;
    if (s->shut) return ACO_OK;
    int err = s->transport->shutdown(s, wait);
    if (err == ACO_OK) s->shut = true;
    return err;
}

int
aco_stream_ready(aco_stream *s, aco_waitq **wait)
{
    if (s->transport == NULL || s->ended || aco_stream_size(s) > 0) return ACO_OK;
    if (s->transport->holds != NULL && s->transport->holds(s)) return ACO_OK;
    if (s->transport->ready != NULL) return s->transport->ready(s, wait);
    if (s->fd < 0) return ACO_OK;
    int err = aco_watch_test(s->fd, false);
    return err == ACO_ETIMEOUT ? aco_stream_await(&s->reader, wait) : ACO_OK;
}
