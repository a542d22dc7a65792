/* SPDX-License-Identifier: MIT */
/* stream_test.c -- streams over sockets, pipes and a transport of the test's own: what they give,
 * in which queue there is to wait, and who is woken. */
#include "core/base/clock.h"
#include "core/base/error.h"
#include "core/io/socket.h"
#include "core/io/stream.h"
#include "spec/core/check.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static aco_loop loop;

static void
park(aco_task *task, aco_waitq *queue)
{
    aco_task_init(task, 1);
    aco_task_ready(&loop, task);
    CHECK(aco_loop_pop(&loop) == task);
    task->state = ACO_RUNNING;
    aco_wait_begin(task, ACO_WAIT_READ);
    aco_wait_on(task, queue);
    aco_wait_park(&loop, task);
}

static void
woken(aco_task *task, int err)
{
    CHECK(aco_loop_pop(&loop) == task && task->wake_err == err);
    task->state = ACO_RUNNING;
}

static void
pair_open(aco_stream *one, aco_stream *other)
{
    int fds[2];

    CHECK(aco_socket_pair(fds) == ACO_OK);
    CHECK(aco_stream_open(one, &loop, fds[0]) == ACO_OK);
    CHECK(aco_stream_open(other, &loop, fds[1]) == ACO_OK);
    CHECK(one->socket && aco_stream_is_open(one));
}

static int
put(aco_stream *s, const char *text, size_t *sent, aco_waitq **wait)
{
    const struct iovec piece = {.iov_base = (char *)text, .iov_len = strlen(text)};

    return aco_stream_write(s, &piece, 1, sent, wait);
}

static void
test_read(void)
{
    aco_stream one, other;
    aco_task task;
    aco_waitq *wait = NULL;
    char data[16];
    size_t n = 0;

    pair_open(&one, &other);
    CHECK(aco_stream_ready(&one, &wait) == ACO_EBUSY && wait == &one.reader.queue);
    CHECK(aco_stream_read(&one, data, sizeof data, &n, &wait) == ACO_EBUSY);
    CHECK(wait == &one.reader.queue);
    park(&task, wait);
    CHECK(put(&other, "hello", &n, &wait) == ACO_OK && n == 5);
    aco_loop_poll(&loop, ACO_NEVER);
    woken(&task, ACO_OK);
    CHECK(aco_stream_ready(&one, &wait) == ACO_OK);
    CHECK(aco_stream_read(&one, data, sizeof data, &n, &wait) == ACO_OK && n == 5);
    CHECK(memcmp(data, "hello", 5) == 0);
    aco_stream_close(&other);
    int err = aco_stream_read(&one, data, sizeof data, &n, &wait);
    if (err == ACO_EBUSY) err = aco_stream_read(&one, data, sizeof data, &n, &wait);
    CHECK(err == ACO_EEOF && one.ended);
    CHECK(aco_stream_read(&one, data, sizeof data, &n, &wait) == ACO_EEOF);
    CHECK(aco_stream_ready(&one, &wait) == ACO_OK);
    aco_stream_fini(&one);
    CHECK(aco_stream_read(&one, data, sizeof data, &n, &wait) == ACO_ECLOSED);
    aco_stream_fini(&one);
    aco_stream_fini(&other);
}

static void
test_buffer(void)
{
    aco_stream one, other;
    aco_waitq *wait;
    size_t n;

    pair_open(&one, &other);
    CHECK(aco_stream_size(&one) == 0 && aco_stream_data(&one) != NULL);
    CHECK(put(&other, "abcdef", &n, &wait) == ACO_OK && n == 6);
    CHECK(aco_stream_fill(&one, 100, &wait) == ACO_OK && aco_stream_size(&one) == 6);
    aco_stream_take(&one, 2);
    CHECK(aco_stream_keep(&one, "ghi", 3) == ACO_OK && aco_stream_size(&one) == 7);
    CHECK(memcmp(aco_stream_data(&one), "cdefghi", 7) == 0);
    CHECK(aco_stream_ready(&one, &wait) == ACO_OK);
    for (int i = 0; i < 1000; i++) { /* what has been taken does not pile up */
        CHECK(aco_stream_keep(&one, "0123456789", 10) == ACO_OK);
        aco_stream_take(&one, 10);
    }
    CHECK(aco_stream_size(&one) == 7 && one.in.capacity <= 4096);
    aco_stream_take(&one, 7);
    CHECK(one.in.data == NULL); /* nothing is held for who waits */
    CHECK(aco_stream_fill(&one, 100, &wait) == ACO_EBUSY && one.in.data == NULL);
    aco_stream_close(&one);
    CHECK(aco_stream_fill(&one, 100, &wait) == ACO_ECLOSED);
    aco_stream_fini(&one);
    aco_stream_fini(&other);
}

static void
test_write(void)
{
    static char block[65536], back[sizeof block];
    const struct iovec piece = {.iov_base = block, .iov_len = sizeof block};
    aco_stream one, other;
    aco_task task;
    aco_waitq *wait;
    size_t sent = 0, n, received = 0;
    int err;

    pair_open(&one, &other);
    while ((err = aco_stream_write(&one, &piece, 1, &n, &wait)) == ACO_OK)
        sent += n;
    CHECK(err == ACO_EBUSY && wait == &one.writer.queue && sent > 0);
    park(&task, wait);
    while (received < sent) {
        err = aco_stream_read(&other, back, sizeof back, &n, &wait);
        CHECK(err == ACO_OK || err == ACO_EBUSY);
        if (err == ACO_OK) received += n;
    }
    aco_loop_poll(&loop, ACO_NEVER);
    woken(&task, ACO_OK);
    CHECK(put(&one, "more", &n, &wait) == ACO_OK && n == 4);
    aco_stream_close(&other);
    CHECK(put(&one, "lost", &n, &wait) == ACO_ERESET && one.errnum != 0); /* and no signal */
    aco_stream_fini(&one);
    aco_stream_fini(&other);
}

static void
test_shutdown(void)
{
    aco_stream one, other;
    aco_waitq *wait;
    char data[8];
    size_t n;

    pair_open(&one, &other);
    CHECK(aco_stream_shutdown(&one, &wait) == ACO_OK && aco_stream_shutdown(&one, &wait) == ACO_OK);
    CHECK(put(&one, "x", &n, &wait) == ACO_ECLOSED);
    CHECK(aco_stream_read(&other, data, sizeof data, &n, &wait) == ACO_EEOF);
    CHECK(put(&other, "still", &n, &wait) == ACO_OK);
    CHECK(aco_stream_read(&one, data, sizeof data, &n, &wait) == ACO_OK && n == 5);
    aco_stream_fini(&one);
    aco_stream_fini(&other);
    CHECK(aco_stream_shutdown(&one, &wait) == ACO_ECLOSED);
}

static void
test_close(void)
{
    aco_stream one, other;
    aco_task reader, writer;
    aco_waitq *wait;
    char data[8];
    size_t n;

    pair_open(&one, &other);
    int fd = one.fd;
    CHECK(aco_stream_read(&one, data, sizeof data, &n, &wait) == ACO_EBUSY);
    park(&reader, wait);
    park(&writer, &one.writer.queue);
    aco_stream_close(&one);
    woken(&reader, ACO_ECLOSED);
    woken(&writer, ACO_ECLOSED);
    CHECK(one.fd == -1 && fcntl(fd, F_GETFD) == -1);
    aco_stream_close(&one);
    aco_stream_fini(&one);
    fd = other.fd;
    aco_stream_detach(&other);
    CHECK(!aco_stream_is_open(&other) && fcntl(fd, F_GETFD) >= 0);
    close(fd);
    aco_stream_fini(&other);
}

static void
test_pipe(void)
{
    aco_stream reader, writer;
    aco_waitq *wait;
    char data[8];
    size_t n;
    int fds[2];

    CHECK(pipe2(fds, O_CLOEXEC) == 0);
    CHECK(aco_stream_open(&reader, &loop, fds[0]) == ACO_OK && !reader.socket);
    CHECK(aco_stream_open(&writer, &loop, fds[1]) == ACO_OK);
    CHECK(fcntl(fds[0], F_GETFL) & O_NONBLOCK);
    CHECK(put(&writer, "pipe", &n, &wait) == ACO_OK);
    CHECK(aco_stream_read(&reader, data, 2, &n, &wait) == ACO_OK && n == 2);
    CHECK(aco_stream_shutdown(&writer, &wait) == ACO_OK && !aco_stream_is_open(&writer));
    CHECK(aco_stream_read(&reader, data, 8, &n, &wait) == ACO_OK && n == 2);
    aco_stream_fini(&reader);
    aco_stream_fini(&writer);

    CHECK(pipe2(fds, O_CLOEXEC) == 0);
    CHECK(aco_stream_open(&writer, &loop, fds[1]) == ACO_OK);
    close(fds[0]);
    CHECK(put(&writer, "lost", &n, &wait) == ACO_ERESET); /* and no SIGPIPE */
    aco_stream_fini(&writer);
    CHECK(aco_stream_open(&writer, &loop, 987654) != ACO_OK && writer.errnum != 0);
}

/* A transport of one's own ------------------------------------------------------------------ */

typedef struct source {
    aco_waitq queue;
    int pieces;
    bool closed;
} source;

static int
source_read(aco_stream *s, void *data, size_t size, size_t *got, aco_waitq **wait)
{
    source *from = s->state;

    CHECK(size > 0);
    if (from->pieces == 0) {
        *wait = &from->queue;
        return ACO_EBUSY;
    }
    if (from->pieces-- < 0) return ACO_EEOF;
    memset(data, 'd', 1);
    *got = 1;
    return ACO_OK;
}

static void
source_close(aco_stream *s)
{
    source *from = s->state;

    from->closed = true;
    aco_waitq_wake_all(s->loop, &from->queue, ACO_ECLOSED);
}

static bool
source_holds(const aco_stream *s)
{
    return ((const source *)s->state)->pieces > 0;
}

static void
test_transport(void)
{
    static const aco_transport transport = {
        .read = source_read, .close = source_close, .holds = source_holds};
    source from = {.pieces = 2};
    aco_stream s;
    aco_task task;
    aco_waitq *wait = NULL;

    aco_list_init(&from.queue);
    aco_stream_init(&s, &loop, -1, &transport, &from);
    CHECK(aco_stream_ready(&s, &wait) == ACO_OK);
    CHECK(aco_stream_fill(&s, 10, &wait) == ACO_OK && aco_stream_fill(&s, 10, &wait) == ACO_OK);
    CHECK(aco_stream_size(&s) == 2 && memcmp(aco_stream_data(&s), "dd", 2) == 0);
    CHECK(aco_stream_fill(&s, 10, &wait) == ACO_EBUSY && wait == &from.queue);
    park(&task, wait);
    aco_stream_close(&s);
    woken(&task, ACO_ECLOSED);
    CHECK(from.closed && aco_stream_size(&s) == 2); /* what was received is still there */
    aco_stream_fini(&s);
    CHECK(aco_stream_size(&s) == 0);
}

int
main(void)
{
    CHECK(aco_loop_init(&loop, NULL) == ACO_OK);
    test_read();
    test_buffer();
    test_write();
    test_shutdown();
    test_close();
    test_pipe();
    test_transport();
    CHECK(loop.parked == 0 && loop.ready == 0);
    aco_loop_fini(&loop);
    return 0;
}
