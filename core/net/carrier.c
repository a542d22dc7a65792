/* SPDX-License-Identifier: MIT */
#include "core/net/carrier.h"
#include "core/base/clock.h"
#include "core/base/digest.h"
#include "core/base/error.h"
#include "core/net/secure.h"

#include <errno.h>
#include <linux/sockios.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    WORKING_MOST = 36000,    /* an hour, at ten a second */
    DRAIN_TIME = 2,          /* seconds */
    SENDFILE_MOST = 4 << 20, /* bytes between two looks at what the other side says */
    PAGE = 4096              /* the kernel copies faster to and from whole pages */
};

void
aco_carrier_init(aco_carrier *c, int fd, int wake, aco_time patience)
{
    *c = (aco_carrier){.fd = fd, .wake = wake, .patience = patience, .worked = aco_now()};
}

void
aco_carrier_fini(aco_carrier *c)
{
    if (c->secure != NULL) {
        aco_secure_free(c->secure);
        aco_secret_rest(); /* the thread may be cut off at the end of the process */
    }
    c->secure = NULL;
    free(c->block);
    c->block = NULL;
}

int
aco_carrier_fail(aco_carrier *c, int err, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(c->why, sizeof c->why, format, args);
    va_end(args);
    return err;
}

static int
fail_errno(aco_carrier *c, int errnum)
{
    char text[128];
    int err = aco_err_from_errno(errnum);

    return aco_carrier_fail(c, err, "%s",
                            err == ACO_ERESET ? "the connection was lost"
                                              : strerror_r(errnum, text, sizeof text));
}

static int
fail_err(aco_carrier *c, int err)
{
    const char *text = c->secure != NULL ? aco_secure_error(c->secure) : NULL;

    if (err == ACO_EEOF || err == ACO_ETRUNCATED || err == ACO_ERESET)
        return aco_carrier_fail(c, err, "the connection was lost");
    return aco_carrier_fail(c, err, "%s",
                            text != NULL && text[0] != '\0' ? text : aco_err_text(err));
}

/* Waiting ---------------------------------------------------------------------------------------
 */

static int
milliseconds(aco_time deadline)
{
    aco_time left = deadline - aco_now();

    if (left <= 0) return 0;
    return left > 1000 * ACO_SECOND ? 1000000 : (int)((left + 999999) / 1000000);
}

static aco_time
patience_end(const aco_carrier *c)
{
    return c->patience > ACO_NEVER - aco_now() ? ACO_NEVER : aco_now() + c->patience;
}

/* Bytes that have been sent and not acknowledged: what leaves the machine slowly moves, too. */
static int
unacknowledged(const aco_carrier *c)
{
    int bytes = 0;

    return ioctl(c->fd, SIOCOUTQ, &bytes) == 0 ? bytes : 0;
}

int
aco_carrier_wait(aco_carrier *c, int events, aco_time deadline)
{
    struct pollfd fds[2] = {{.fd = c->fd, .events = (short)events},
                            {.fd = c->wake, .events = POLLIN}};
    int queued = unacknowledged(c);

    for (;;) {
        int n = poll(fds, 2, milliseconds(deadline));
        if (n < 0 && errno != EINTR) return fail_errno(c, errno);
        if (n > 0 && fds[1].revents != 0) return aco_carrier_fail(c, ACO_ECANCELED, "canceled");
        if (n > 0) return ACO_OK;
        if (n < 0 || aco_now() < deadline) continue;
        int left = unacknowledged(c);
        if (left >= queued)
            return aco_carrier_fail(c, ACO_ETIMEOUT, "nothing has moved for %g s",
                                    (double)c->patience / 1e9);
        queued = left;
        deadline = patience_end(c);
    }
}

int
aco_carrier_raw(aco_carrier *c, bool write, void *data, size_t size)
{
    aco_time deadline = patience_end(c);
    char *at = data;

    while (size > 0) {
        ssize_t n = write ? send(c->fd, at, size, MSG_NOSIGNAL) : recv(c->fd, at, size, 0);
        if (n == 0) return fail_err(c, ACO_EEOF);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno != EAGAIN) return fail_errno(c, errno);
        if (n < 0) {
            int err = aco_carrier_wait(c, write ? POLLOUT : POLLIN, deadline);
            if (err != ACO_OK) return err;
            continue;
        }
        at += n;
        size -= (size_t)n;
    }
    return ACO_OK;
}

int
aco_carrier_shake(aco_carrier *c, struct aco_secure *secure)
{
    aco_time deadline = patience_end(c);
    int err;

    c->secure = secure;
    if (secure == NULL) return aco_carrier_fail(c, ACO_ENOMEM, "%s", aco_err_text(ACO_ENOMEM));
    while ((err = aco_secure_shake(secure)) == ACO_EBUSY) {
        err = aco_carrier_wait(c, aco_secure_wants(secure), deadline);
        if (err != ACO_OK) return err;
    }
    if (err != ACO_OK) return fail_err(c, err);
    c->block = aligned_alloc(PAGE, ACO_CARRIER_BLOCK);
    if (c->block == NULL) return aco_carrier_fail(c, ACO_ENOMEM, "%s", aco_err_text(ACO_ENOMEM));
    return ACO_OK;
}

/* Bytes -----------------------------------------------------------------------------------------
 */

/* What was taken by a write may still be on this side. */
static int
flush_all(aco_carrier *c)
{
    int err;

    while ((err = aco_secure_flush(c->secure)) == ACO_EBUSY) {
        err = aco_carrier_wait(c, POLLOUT, patience_end(c));
        if (err != ACO_OK) return err;
    }
    return err == ACO_OK ? ACO_OK : fail_err(c, err);
}

static int
write_all(aco_carrier *c, const void *data, size_t size)
{
    struct iovec rest = {.iov_base = (void *)(uintptr_t)data, .iov_len = size};
    size_t put;

    while (rest.iov_len > 0) {
        int err = aco_secure_write(c->secure, &rest, 1, &put);
        if (err == ACO_EBUSY) {
            err = aco_carrier_wait(c, POLLOUT, patience_end(c));
            if (err != ACO_OK) return err;
            continue;
        }
        if (err != ACO_OK) return fail_err(c, err);
        rest.iov_base = (char *)rest.iov_base + put;
        rest.iov_len -= put;
    }
    return flush_all(c);
}

/* At least one byte, by `deadline`. */
static int
read_some(aco_carrier *c, void *data, size_t size, aco_time deadline, size_t *got)
{
    int err;

    while ((err = aco_secure_read(c->secure, data, size, got)) == ACO_EBUSY) {
        err = aco_carrier_wait(c, aco_secure_wants(c->secure), deadline);
        if (err == ACO_OK && (aco_secure_wants(c->secure) & POLLOUT) != 0)
            (void)!aco_secure_flush(c->secure);
        if (err != ACO_OK) return err;
    }
    return err == ACO_OK ? ACO_OK : fail_err(c, err);
}

/* Bytes of a body, or of a head after its first: an end here is no good end. */
static int
read_all(aco_carrier *c, void *data, size_t size)
{
    uint8_t *at = data;
    size_t got;

    while (size > 0) {
        int err = read_some(c, at, size, patience_end(c), &got);
        if (err == ACO_EEOF) return fail_err(c, ACO_ETRUNCATED);
        if (err != ACO_OK) return err;
        at += got;
        size -= got;
    }
    return ACO_OK;
}

/* Frames ----------------------------------------------------------------------------------------
 */

int
aco_carrier_put(aco_carrier *c, int type, int flags, const void *body, size_t size)
{
    uint8_t frame[8 + ACO_CARRIER_BODY] = {
        0, 0, (uint8_t)(size >> 8), (uint8_t)size, (uint8_t)type, (uint8_t)flags};

    assert(size <= ACO_CARRIER_BODY);
    if (size > 0) memcpy(frame + 8, body, size);
    c->worked = aco_now();
    return write_all(c, frame, 8 + size);
}

static int
get_head(aco_carrier *c)
{
    size_t got = 0;

    if (c->head_got == 0) {
        int err = read_some(c, c->head, sizeof c->head, patience_end(c), &got);
        if (err != ACO_OK) return err;
        c->head_got = got;
    }
    int err = read_all(c, c->head + c->head_got, sizeof c->head - c->head_got);
    if (err != ACO_OK) return err;
    c->head_got = 0;
    c->size =
        (size_t)c->head[0] << 24 | (size_t)c->head[1] << 16 | (size_t)c->head[2] << 8 | c->head[3];
    c->type = c->head[4];
    c->flags = c->head[5];
    if (c->size > ACO_CARRIER_BODY || c->head[6] != 0 || c->head[7] != 0)
        return aco_carrier_fail(c, ACO_EPROTOCOL, "what came is no frame of a file");
    return ACO_OK;
}

int
aco_carrier_get(aco_carrier *c)
{
    for (int i = 0; i < WORKING_MOST; i++) {
        int err = get_head(c);
        if (err == ACO_OK) err = read_all(c, c->body, c->size);
        if (err != ACO_OK) return err;
        if (c->type != ACO_FILE_WORKING) return ACO_OK;
    }
    return aco_carrier_fail(c, ACO_ETIMEOUT, "the other side takes too long");
}

bool
aco_carrier_heard(aco_carrier *c)
{
    size_t got = 0;

    if (c->head_got > 0) return true;
    int err = aco_secure_read(c->secure, c->head, sizeof c->head, &got);
    if (err == ACO_OK) c->head_got = got;
    return err != ACO_EBUSY;
}

/* ACO_ECANCELED, without waiting. */
static int
look_up(aco_carrier *c)
{
    struct pollfd wake = {.fd = c->wake, .events = POLLIN};

    if (c->wake < 0 || poll(&wake, 1, 0) <= 0) return ACO_OK;
    return aco_carrier_fail(c, ACO_ECANCELED, "canceled");
}

int
aco_carrier_work(aco_carrier *c)
{
    int err = look_up(c);

    if (err != ACO_OK || aco_now_coarse() - c->worked < ACO_SECOND) return err;
    return aco_carrier_put(c, ACO_FILE_WORKING, 0, NULL, 0);
}

/* Files -----------------------------------------------------------------------------------------
 */

/* Wait until more can be sent; what comes meanwhile ends it. */
static int
wait_room(aco_carrier *c)
{
    int err = aco_carrier_wait(c, POLLOUT | POLLIN, patience_end(c));

    if (err != ACO_OK) return err;
    return aco_carrier_heard(c) ? ACO_EBUSY : ACO_OK;
}

static int
send_direct(aco_carrier *c, int file, uint64_t offset, uint64_t size, size_t *put)
{
    off_t at = (off_t)offset;

    for (;;) {
        ssize_t n = sendfile(c->fd, file, &at, size < SENDFILE_MOST ? size : SENDFILE_MOST);
        if (n == 0) return aco_carrier_fail(c, ACO_ETRUNCATED, "it has become shorter");
        if (n > 0) {
            *put = (size_t)n;
            return ACO_OK;
        }
        if (errno == EPIPE || errno == ECONNRESET) return ACO_EBUSY;
        if (errno != EAGAIN && errno != EINTR) return fail_errno(c, errno);
        int err = wait_room(c);
        if (err != ACO_OK) return err;
    }
}

static int
send_block(aco_carrier *c, int file, uint64_t offset, uint64_t size, struct aco_hash *hash,
           size_t *put)
{
    size_t most = size < ACO_CARRIER_BLOCK ? (size_t)size : ACO_CARRIER_BLOCK, done = 0;
    ssize_t n = pread(file, c->block, most, (off_t)offset);

    if (n < 0) return fail_errno(c, errno);
    if (n == 0) return aco_carrier_fail(c, ACO_ETRUNCATED, "it has become shorter");
    if (hash != NULL) aco_hash_add(hash, c->block, (size_t)n);
    *put = (size_t)n;
    while (done < (size_t)n) {
        struct iovec rest = {.iov_base = c->block + done, .iov_len = (size_t)n - done};
        size_t some = 0;
        int err = aco_secure_write(c->secure, &rest, 1, &some);
        if (err == ACO_ERESET) return ACO_EBUSY;
        if (err != ACO_OK && err != ACO_EBUSY) return fail_err(c, err);
        if (err == ACO_EBUSY && (err = wait_room(c)) != ACO_OK) return err;
        done += some;
    }
    return ACO_OK;
}

int
aco_carrier_send(aco_carrier *c, int file, uint64_t offset, uint64_t size, struct aco_hash *hash,
                 size_t *put)
{
    int err = look_up(c);

    if (err != ACO_OK) return err;
    if (aco_carrier_heard(c)) return ACO_EBUSY;
    if (hash == NULL && aco_secure_plain(c->secure)) return send_direct(c, file, offset, size, put);
    return send_block(c, file, offset, size, hash, put);
}

int
aco_carrier_take(aco_carrier *c, uint64_t size, size_t *got)
{
    size_t most = size < ACO_CARRIER_BLOCK ? (size_t)size : ACO_CARRIER_BLOCK, some = 0;
    int err = look_up(c);

    *got = 0;
    if (err == ACO_OK) err = read_some(c, c->block, most, patience_end(c), got);
    if (err != ACO_OK) return err;
    while (*got < most && aco_secure_read(c->secure, c->block + *got, most - *got, &some) == ACO_OK)
        *got += some;
    return ACO_OK;
}

void
aco_carrier_drain(aco_carrier *c)
{
    aco_time deadline = aco_now() + DRAIN_TIME * ACO_SECOND;
    ssize_t n;

    shutdown(c->fd, SHUT_WR);
    do {
        n = recv(c->fd, c->block, ACO_CARRIER_BLOCK, 0);
    } while (n > 0 ||
             (n < 0 && errno == EAGAIN && aco_carrier_wait(c, POLLIN, deadline) == ACO_OK));
}
