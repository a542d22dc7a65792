/* SPDX-License-Identifier: MIT */
#include "core/net/transfer.h"
#include "core/base/clock.h"
#include "core/base/error.h"
#include "core/net/offer.h"
#include "core/net/preface.h"
#include "core/net/receive.h"
#include "core/net/secure.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

/* How long the other side may take to put a whole file on its disk. */
#define STORE_PATIENCE (120 * ACO_SECOND)

/* Connecting ------------------------------------------------------------------------------------
 */

static int
connect_failed(aco_transfer *t, aco_carrier *c, int errnum)
{
    char text[128];

    return aco_carrier_fail(c, aco_err_from_errno(errnum), "connect to %s:%u: %s", t->host,
                            (unsigned)t->port, strerror_r(errnum, text, sizeof text));
}

static int
connect_to(aco_transfer *t, aco_carrier *c, const struct addrinfo *to)
{
    const int on = 1;
    int errnum = 0;
    socklen_t size = sizeof errnum;
    int fd = socket(to->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0) return connect_failed(t, c, errno);
    aco_carrier_init(c, fd, t->wake, t->patience);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(fd, to->ai_addr, to->ai_addrlen) == 0) return ACO_OK;
    if (errno != EINPROGRESS) return connect_failed(t, c, errno);
    int err = aco_carrier_wait(c, POLLOUT, aco_deadline(aco_now(), (double)t->patience / 1e9));
    if (err == ACO_ETIMEOUT)
        return aco_carrier_fail(c, err, "connect to %s:%u: no answer", t->host, (unsigned)t->port);
    if (err != ACO_OK) return err;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &errnum, &size) != 0) errnum = errno;
    return errnum == 0 ? ACO_OK : connect_failed(t, c, errnum);
}

static int
lookup_failed(aco_transfer *t, aco_carrier *c, int code)
{
    return aco_carrier_fail(c, code == EAI_AGAIN ? ACO_EUNREACHABLE : ACO_ENOTFOUND, "%s: %s",
                            t->host,
                            code == EAI_AGAIN ? "no name server has answered" : gai_strerror(code));
}

/* One address after the other. */
static int
transfer_connect(aco_transfer *t, aco_carrier *c)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    char port[8];
    int err = ACO_ENOTFOUND;

    snprintf(port, sizeof port, "%u", (unsigned)t->port);
    int code = getaddrinfo(t->host, port, &hints, &found);
    if (code != 0) return lookup_failed(t, c, code);
    for (const struct addrinfo *at = found; at != NULL; at = at->ai_next) {
        err = connect_to(t, c, at);
        if (err == ACO_OK || err == ACO_ECANCELED) break;
        if (c->fd >= 0) close(c->fd);
        c->fd = -1;
    }
    freeaddrinfo(found);
    return err;
}

static int
preface_err(uint8_t status)
{
    switch (status) {
    case ACO_PREFACE_MODE:
        return ACO_EAUTH;
    case ACO_PREFACE_SERVER:
        return ACO_ENOTFOUND;
    case ACO_PREFACE_BUSY:
        return ACO_EBUSY;
    case ACO_PREFACE_IGNORED:
        return ACO_EREFUSED;
    case ACO_PREFACE_KIND:
        return ACO_EUNSUPPORTED;
    default:
        return ACO_EPROTOCOL;
    }
}

static int
transfer_shake(aco_transfer *t, aco_carrier *c)
{
    uint8_t preface[ACO_PREFACE_SIZE], answer[ACO_PREFACE_SIZE], status, mode;
    const uint8_t ours = (uint8_t)aco_secret_mode(t->secret);

    aco_preface_write(preface, ACO_PREFACE_FILE, ours, t->server);
    int err = aco_carrier_raw(c, true, preface, sizeof preface);
    if (err == ACO_OK) err = aco_carrier_raw(c, false, answer, sizeof answer);
    if (err != ACO_OK) return err;
    if (!aco_preface_read_answer(answer, &status, &mode))
        return aco_carrier_fail(c, ACO_EPROTOCOL, "no process of asyncoro answers there");
    if (status != ACO_PREFACE_OK)
        return aco_carrier_fail(c, preface_err(status), "%s",
                                aco_preface_text(status, answer[3], ours, mode));
    return aco_carrier_shake(c, aco_secure_new(t->secret, c->fd, false, preface, t->host, t->port));
}

/* Sending ---------------------------------------------------------------------------------------
 */

/* What others say is shown to people: nothing in it moves a cursor. */
static void
make_plain(uint8_t *text, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (text[i] < 0x20 || text[i] == 0x7f) text[i] = '?';
}

/* A RESULT that is in the carrier. */
static int
take_result(aco_transfer *t, aco_carrier *c)
{
    if (c->type != ACO_FILE_RESULT || c->size == 0)
        return aco_carrier_fail(c, ACO_EPROTOCOL, "what came is no result of a transfer");
    int err = aco_result_err(c->body[0]);
    size_t size = c->size - 1;

    if (err != ACO_OK) {
        make_plain(c->body + 1, size);
        return aco_carrier_fail(c, err, "%.*s", (int)size, (const char *)c->body + 1);
    }
    t->path = strndup((const char *)c->body + 1, size);
    return t->path != NULL ? ACO_OK : aco_carrier_fail(c, ACO_ENOMEM, "not enough memory");
}

/* What the other side says when it should only listen: why it does so no more. */
static int
take_refusal(aco_transfer *t, aco_carrier *c)
{
    int err = aco_carrier_get(c);

    if (err == ACO_OK) err = take_result(t, c);
    if (err == ACO_OK)
        err = aco_carrier_fail(c, ACO_EPROTOCOL, "it says too early that it is done");
    return err;
}

static int
send_bytes(aco_transfer *t, aco_carrier *c, uint64_t from, aco_hash *hash)
{
    size_t put;

    while (from < t->size) {
        int err = aco_carrier_send(c, t->file, from, t->size - from, hash, &put);
        if (err == ACO_EBUSY) return take_refusal(t, c);
        if (err != ACO_OK) return err;
        from += put;
        t->sent += put;
    }
    return ACO_OK;
}

/* The other side has the first `size` bytes, with the sum in `theirs`: what is there for us? The
 * hash is left behind them; from where on to send in `*from`. */
static int
compare(aco_transfer *t, aco_carrier *c, uint64_t size, const uint8_t *theirs, aco_hash **hash,
        uint64_t *from)
{
    uint8_t sums[2][ACO_HASH_SIZE];

    *from = 0;
    *hash = aco_hash_new();
    if (*hash == NULL) return aco_carrier_fail(c, ACO_ENOMEM, "not enough memory");
    if (size == 0) return ACO_OK;
    memcpy(sums[0], theirs, ACO_HASH_SIZE);
    int err = aco_receive_sum(c, t->file, size, *hash);
    if (err == ACO_OK) err = aco_hash_get(*hash, sums[1]);
    if (err != ACO_OK) return err;
    if (memcmp(sums[0], sums[1], ACO_HASH_SIZE) == 0) {
        *from = size;
        return ACO_OK;
    }
    aco_hash_free(*hash);
    *hash = aco_hash_new();
    return *hash != NULL ? ACO_OK : aco_carrier_fail(c, ACO_ENOMEM, "not enough memory");
}

/* The file must be what it was when it was offered. */
static int
check_unchanged(aco_transfer *t, aco_carrier *c, const struct stat *before)
{
    struct stat now;

    if (fstat(t->file, &now) != 0) return aco_dest_failed(c->why, "file", t->local, errno);
    if (now.st_size == before->st_size && now.st_mtim.tv_sec == before->st_mtim.tv_sec &&
        now.st_mtim.tv_nsec == before->st_mtim.tv_nsec)
        return ACO_OK;
    return aco_carrier_fail(c, ACO_EBUSY, "it was changed while it was sent");
}

static int
send_rest(aco_transfer *t, aco_carrier *c, const struct stat *about, aco_hash **hash)
{
    uint8_t start[ACO_START_SIZE], sum[ACO_HASH_SIZE];
    bool sums = (t->flags & ACO_OFFER_CHECKSUM) != 0;
    bool whole = (c->flags & ACO_HAVE_WHOLE) != 0;
    uint64_t size = aco_offset_read(c->body), from;

    if (size > t->size || (whole && size != t->size))
        return aco_carrier_fail(c, ACO_EPROTOCOL, "it has more than there is");
    int err = compare(t, c, size, c->body + 8, hash, &from);
    if (err != ACO_OK) return err;
    aco_start_write(from, start);
    err = aco_carrier_put(c, ACO_FILE_START, 0, start, sizeof start);
    if (err == ACO_OK && !(whole && from == size)) {
        err = send_bytes(t, c, from, sums ? *hash : NULL);
        if (err == ACO_OK) err = check_unchanged(t, c, about);
        if (err == ACO_OK) err = aco_hash_get(*hash, sum);
        if (err == ACO_OK) err = aco_carrier_put(c, ACO_FILE_END, 0, sum, sums ? sizeof sum : 0);
    }
    if (err != ACO_OK) return err;
    if (c->patience < STORE_PATIENCE) c->patience = STORE_PATIENCE;
    err = aco_carrier_get(c);
    return err == ACO_OK ? take_result(t, c) : err;
}

static int
transfer_put(aco_transfer *t, aco_carrier *c, const struct stat *about)
{
    uint8_t body[ACO_CARRIER_BODY];
    const aco_offer offer = {.size = t->size,
                             .modified = about->st_mtim,
                             .mode = about->st_mode & 0777,
                             .path = t->name,
                             .path_size = strlen(t->name)};
    aco_hash *hash = NULL;
    int err = aco_carrier_put(c, ACO_FILE_PUT, t->flags, body, aco_offer_write(&offer, body));

    if (err == ACO_OK) err = aco_carrier_get(c);
    if (err != ACO_OK) return err;
    if (c->type == ACO_FILE_RESULT) return take_result(t, c);
    if (c->type != ACO_FILE_HAVE || c->size != ACO_HAVE_SIZE)
        return aco_carrier_fail(c, ACO_EPROTOCOL, "what came is not what answers an offer");
    err = send_rest(t, c, about, &hash);
    aco_hash_free(hash);
    return err;
}

static int
transfer_remove(aco_transfer *t, aco_carrier *c)
{
    int err = aco_carrier_put(c, ACO_FILE_REMOVE, 0, t->name, strlen(t->name));

    if (err == ACO_OK) err = aco_carrier_get(c);
    return err == ACO_OK ? take_result(t, c) : err;
}

/* The job ---------------------------------------------------------------------------------------
 */

static int
open_local(aco_transfer *t, aco_carrier *c, struct stat *about)
{
    t->file = open(t->local, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (t->file < 0 || fstat(t->file, about) != 0) {
        char text[128];
        return aco_carrier_fail(c, aco_err_from_errno(errno), "%s",
                                strerror_r(errno, text, sizeof text));
    }
    if (!S_ISREG(about->st_mode)) return aco_carrier_fail(c, ACO_EINVALID, "not a plain file");
    t->size = (uint64_t)about->st_size;
    return ACO_OK;
}

/* The name there: `dir` and the last name of the local path. */
static int
check_name(aco_transfer *t, aco_carrier *c)
{
    char name[ACO_DEST_NAME_MAX + 1];
    int err;

    if (t->removes && t->name[0] == '/') { /* a whole one, which only the other side can judge */
        if (strlen(t->name) <= ACO_DEST_NAME_MAX) return ACO_OK;
        return aco_carrier_fail(c, ACO_ETOOLARGE, "a path of more than %d bytes",
                                ACO_DEST_NAME_MAX);
    }
    err = aco_dest_name(t->name, strlen(t->name), name, c->why);
    if (err == ACO_OK) memcpy(t->name, name, strlen(name) + 1);
    return err;
}

static int
transfer_do(aco_transfer *t, aco_carrier *c)
{
    struct stat about;
    int err = check_name(t, c);

    if (err == ACO_OK && !t->removes) err = open_local(t, c, &about);
    if (err == ACO_OK) err = transfer_connect(t, c);
    if (err == ACO_OK) err = transfer_shake(t, c);
    if (err != ACO_OK) return err;
    return t->removes ? transfer_remove(t, c) : transfer_put(t, c, &about);
}

static void
transfer_run(aco_job *job)
{
    aco_transfer *t = (aco_transfer *)job;
    aco_carrier *c = malloc(sizeof *c);

    if (c == NULL) {
        t->err = ACO_ENOMEM;
        snprintf(t->why, sizeof t->why, "%s", aco_err_text(t->err));
        return;
    }
    aco_carrier_init(c, -1, t->wake, t->patience);
    t->err = transfer_do(t, c);
    if (t->err == ACO_EEOF || t->err == ACO_ETRUNCATED) t->err = ACO_ERESET;
    memcpy(t->why, c->why, sizeof t->why);
    int fd = c->fd;
    aco_carrier_fini(c);
    if (fd >= 0) close(fd);
    free(c);
}

static void
transfer_free(aco_job *job)
{
    aco_transfer *t = (aco_transfer *)job;

    if (t->file >= 0) close(t->file);
    if (t->wake >= 0) close(t->wake);
    if (t->secret != NULL) aco_secret_unref(t->secret);
    free(t->host);
    free(t->local);
    free(t->name);
    free(t->path);
    free(t);
}

/* `name` is the one there: behind `dir`, when there is one. */
static aco_transfer *
transfer_new(const struct aco_transfer_options *options, const char *name)
{
    aco_transfer *t = calloc(1, sizeof *t);
    bool dir = options->dir != NULL && options->dir[0] != '\0';

    if (t == NULL) return NULL;
    aco_job_init(&t->job, transfer_run, transfer_free);
    t->job.slow = ACO_JOB_TRANSFER;
    t->file = -1;
    t->port = options->port;
    t->server = options->server;
    t->flags = options->flags;
    t->patience = options->patience > 0 ? options->patience : ACO_TRANSFER_PATIENCE;
    t->secret = aco_secret_ref(options->secret);
    t->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    t->host = strdup(options->host);
    if (asprintf(&t->name, "%s%s%s", dir ? options->dir : "", dir ? "/" : "", name) < 0)
        t->name = NULL;
    if (t->wake >= 0 && t->host != NULL && t->name != NULL) return t;
    aco_job_unref(&t->job);
    return NULL;
}

aco_transfer *
aco_transfer_send(const struct aco_transfer_options *options, const char *path)
{
    const char *last = strrchr(path, '/');
    aco_transfer *t = transfer_new(options, last != NULL ? last + 1 : path);

    if (t == NULL) return NULL;
    t->local = strdup(path);
    if (t->local != NULL) return t;
    aco_job_unref(&t->job);
    return NULL;
}

aco_transfer *
aco_transfer_remove(const struct aco_transfer_options *options, const char *path)
{
    aco_transfer *t = transfer_new(options, path);

    if (t != NULL) t->removes = true;
    return t;
}

void
aco_transfer_cancel(aco_transfer *t)
{
    const uint64_t one = 1;

    (void)!write(t->wake, &one, sizeof one);
}
