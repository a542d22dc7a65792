/* SPDX-License-Identifier: MIT */
#include "core/io/file.h"
#include "core/base/error.h"
#include "core/io/sigpipe.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A read of the pool; what is gathered before it is written. */
enum { FILE_READ = 256 * 1024, FILE_GATHERED = 256 * 1024 };

typedef struct file_job {
    aco_job job;
    struct aco_file *file; /* a reference */
    aco_buf data;          /* what to write; what was read */
    size_t done;           /* of it: written; handed on */
    int errnum;
    bool writing, syncing;
    bool taken; /* under the lock: somebody does it, or has */
} file_job;

typedef struct aco_file {
    aco_link link;    /* in loop->files, while it is a stream's */
    atomic_uint refs; /* the stream's and one of each job */
    int fd;
    pthread_mutex_t lock; /* held while a job is at the descriptor */
    aco_pool *pool;
    file_job *job;  /* a reference; NULL: none is under way, or has been taken note of */
    file_job *sync; /* a reference; NULL: none is under way */
    aco_buf out;    /* gathered */
    aco_buf spare;  /* memory for more of it, between two writes */
    bool writable;
    bool failing; /* the last write failed: nothing more is gathered beyond what is before one has
                     not */
    bool direct;  /* a read of what is in memory may be tried */
} aco_file;

static void
file_unref(aco_file *f)
{
    if (atomic_fetch_sub(&f->refs, 1) != 1) return;
    close(f->fd);
    pthread_mutex_destroy(&f->lock);
    aco_buf_free(&f->out);
    aco_buf_free(&f->spare);
    free(f);
}

/* Jobs ------------------------------------------------------------------------------------------
 */

static void
write_all(int fd, file_job *job)
{
    while (job->done < job->data.size) {
        const struct iovec rest = {.iov_base = job->data.data + job->done,
                                   .iov_len = job->data.size - job->done};
        ssize_t n = aco_sigpipe_writev(fd, &rest, 1);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) {
            job->errnum = n < 0 ? errno : EIO;
            return;
        }
        job->done += (size_t)n;
    }
}

static void
read_once(int fd, file_job *job)
{
    ssize_t n;

    do
        n = read(fd, job->data.data, job->data.capacity);
    while (n < 0 && errno == EINTR);
    if (n >= 0)
        job->data.size = (size_t)n;
    else
        job->errnum = errno;
}

static void
file_run(aco_job *job)
{
    file_job *j = (file_job *)job;

    pthread_mutex_lock(&j->file->lock);
    if (j->syncing)
        j->errnum = fsync(j->file->fd) == 0 ? 0 : errno;
    else if (!j->taken)
        (j->writing ? write_all : read_once)(j->file->fd, j);
    j->taken = true;
    pthread_mutex_unlock(&j->file->lock);
}

static void
file_job_free(aco_job *job)
{
    file_job *j = (file_job *)job;

    aco_buf_free(&j->data);
    file_unref(j->file);
    free(j);
}

static file_job *
file_job_new(aco_file *f)
{
    file_job *j = calloc(1, sizeof *j);

    if (j == NULL) return NULL;
    aco_job_init(&j->job, file_run, file_job_free);
    atomic_fetch_add(&f->refs, 1);
    j->file = f;
    return j;
}

/* Submit a job with the data, which it takes over when that succeeds. */
static int
file_submit(aco_stream *s, aco_file *f, aco_buf *data, bool writing)
{
    file_job *j = file_job_new(f);

    if (j == NULL) return ACO_ENOMEM;
    j->writing = writing;
    j->data = *data;
    int err = aco_job_submit(f->pool, s->loop, &j->job);
    if (err == ACO_OK) {
        f->job = j;
        *data = (aco_buf){.data = NULL};
    } else {
        j->data = (aco_buf){.data = NULL};
        aco_job_unref(&j->job);
    }
    return err;
}

static void
file_job_drop(aco_file *f)
{
    aco_job_unref(&f->job->job);
    f->job = NULL;
}

/* A write that failed: what was not written goes before what has been gathered since. Without
 * memory for that it stays where it is. */
static int
file_give_back(aco_stream *s, aco_file *f)
{
    file_job *j = f->job;

    memmove(j->data.data, j->data.data + j->done, j->data.size - j->done);
    j->data.size -= j->done;
    j->done = 0;
    int err = aco_buf_add(&j->data, f->out.data, f->out.size);
    if (err != ACO_OK) return err;
    aco_buf_free(&f->out);
    f->out = j->data;
    j->data = (aco_buf){.data = NULL};
    errno = j->errnum;
    file_job_drop(f);
    return aco_stream_errno(s);
}

/* Take note of a write that is done. ACO_EBUSY: it is not. */
static int
file_written(aco_stream *s, aco_file *f, aco_waitq **wait)
{
    if (f->job == NULL || !f->job->writing) return ACO_OK;
    if (!f->job->job.done) {
        *wait = &f->job->job.waiters;
        return ACO_EBUSY;
    }
    f->failing = f->job->errnum != 0;
    if (f->failing) return file_give_back(s, f);
    aco_buf_free(&f->spare);
    f->spare = f->job->data;
    f->spare.size = 0;
    f->job->data = (aco_buf){.data = NULL};
    file_job_drop(f);
    return ACO_OK;
}

/* Writing ---------------------------------------------------------------------------------------
 */

bool
aco_file_dirty(const aco_stream *s)
{
    const aco_file *f = s->state;

    return aco_file_is(s) && (f->out.size > 0 || (f->job != NULL && f->job->writing));
}

int
aco_file_flush(aco_stream *s, aco_waitq **wait)
{
    aco_file *f = s->state;

    if (s->transport == NULL) return ACO_ECLOSED;
    if (!aco_file_is(s)) return ACO_OK;
    int err = file_written(s, f, wait);
    if (err == ACO_OK && f->job != NULL) { /* a read: what it reads comes first */
        if (f->job->job.done) return ACO_OK;
        *wait = &f->job->job.waiters;
        return ACO_EBUSY;
    }
    if (err != ACO_OK) return err;
    aco_buf_free(&f->spare);
    if (f->out.size == 0) return ACO_OK;
    err = file_submit(s, f, &f->out, true);
    return err == ACO_OK ? file_written(s, f, wait) : err;
}

static void
file_sync_drop(aco_file *f)
{
    if (f->sync != NULL) aco_job_unref(&f->sync->job);
    f->sync = NULL;
}

int
aco_file_sync_begin(aco_stream *s)
{
    if (s->transport == NULL) return ACO_ECLOSED;
    if (!aco_file_is(s)) return ACO_EUNSUPPORTED;
    file_sync_drop(s->state); /* of somebody who was cancelled; it knows nothing of later writes */
    return ACO_OK;
}

int
aco_file_sync(aco_stream *s, aco_waitq **wait)
{
    aco_file *f = s->state;

    if (s->transport == NULL) return ACO_ECLOSED;
    if (f->sync == NULL) {
        int err = aco_file_flush(s, wait);
        if (err != ACO_OK) return err;
        f->sync = file_job_new(f);
        if (f->sync == NULL) return ACO_ENOMEM;
        f->sync->syncing = true;
        err = aco_job_submit(f->pool, s->loop, &f->sync->job);
        if (err != ACO_OK) {
            file_sync_drop(f);
            return err;
        }
    }
    if (!f->sync->job.done) {
        *wait = &f->sync->job.waiters;
        return ACO_EBUSY;
    }
    errno = f->sync->errnum;
    file_sync_drop(f);
    return errno == 0 ? ACO_OK : aco_stream_errno(s);
}

static size_t
gather(aco_file *f, const struct iovec *pieces, int count, int *err)
{
    size_t put = 0;

    *err = ACO_OK;
    for (int i = 0; i < count && f->out.size < FILE_GATHERED; i++) {
        size_t room = FILE_GATHERED - f->out.size;
        size_t size = pieces[i].iov_len < room ? pieces[i].iov_len : room;
        *err = aco_buf_add(&f->out, pieces[i].iov_base, size);
        if (*err != ACO_OK) break;
        put += size;
    }
    return put;
}

/* Bytes that were read ahead lie behind the place where the next byte goes. */
static int
file_back(aco_stream *s)
{
    aco_file *f = s->state;
    size_t ahead = aco_stream_size(s);

    if (f->job != NULL && !f->job->writing) {
        ahead += f->job->data.size - f->job->done;
        file_job_drop(f);
    }
    s->ended = false;
    if (ahead == 0) return ACO_OK;
    aco_stream_take(s, aco_stream_size(s));
    s->scanned = 0;
    return lseek(f->fd, -(off_t)ahead, SEEK_CUR) >= 0 ? ACO_OK : aco_stream_errno(s);
}

static int
file_write(aco_stream *s, const struct iovec *pieces, int count, size_t *put, aco_waitq **wait)
{
    aco_file *f = s->state;
    int err = ACO_OK;

    if (!f->writable) { /* said now, not when what was gathered is written */
        errno = EBADF;
        return aco_stream_errno(s);
    }
    if (f->job != NULL && !f->job->writing && !f->job->job.done) {
        *wait = &f->job->job.waiters;
        return ACO_EBUSY;
    }
    if (f->out.size == 0 && (f->job == NULL || !f->job->writing)) err = file_back(s);
    if (err == ACO_OK && (f->out.size >= FILE_GATHERED || (f->job != NULL && f->job->job.done)))
        err = file_written(s, f, wait);
    if (err == ACO_OK && f->out.size >= FILE_GATHERED) {
        err = file_submit(s, f, &f->out, true);
        if (err == ACO_OK) {
            f->out = f->spare;
            f->spare = (aco_buf){.data = NULL};
        }
        if (err == ACO_OK && f->failing) err = file_written(s, f, wait); /* first, does it go on? */
    }
    if (err != ACO_OK) return err;
    *put = gather(f, pieces, count, &err);
    return *put > 0 ? ACO_OK : err;
}

/* Reading ---------------------------------------------------------------------------------------
 */

/* What is in memory is read without waiting for a disk; ACO_EBUSY: it is not, or nobody knows. */
static int
read_direct(aco_stream *s, aco_file *f, void *data, size_t size, size_t *got)
{
    struct iovec piece = {.iov_base = data, .iov_len = size};

    if (!f->direct) return ACO_EBUSY;
    ssize_t n = preadv2(f->fd, &piece, 1, -1, RWF_NOWAIT);
    if (n > 0) {
        *got = (size_t)n;
        return ACO_OK;
    }
    if (n == 0) return ACO_EEOF;
    if (errno == EOPNOTSUPP || errno == ENOSYS || errno == EINVAL || errno == ESPIPE)
        f->direct = false;
    else if (errno != EAGAIN && errno != EINTR)
        return aco_stream_errno(s);
    return ACO_EBUSY;
}

static int
read_collect(aco_stream *s, aco_file *f, void *data, size_t size, size_t *got)
{
    file_job *j = f->job;
    size_t left = j->data.size - j->done;

    if (j->errnum != 0) {
        errno = j->errnum;
        file_job_drop(f);
        return aco_stream_errno(s);
    }
    *got = left < size ? left : size;
    memcpy(data, j->data.data + j->done, *got);
    j->done += *got;
    if (j->done == j->data.size) file_job_drop(f);
    return *got > 0 ? ACO_OK : ACO_EEOF;
}

static int
file_read(aco_stream *s, void *data, size_t size, size_t *got, aco_waitq **wait)
{
    aco_file *f = s->state;
    aco_buf buf = {.data = NULL};
    int err;

    if (f->job == NULL || f->job->writing) {
        err = aco_file_flush(s, wait);
        if (err != ACO_OK) return err;
        err = read_direct(s, f, data, size, got);
        if (err != ACO_EBUSY) return err;
        err = aco_buf_reserve(&buf, size > FILE_READ ? size : FILE_READ);
        if (err == ACO_OK) err = file_submit(s, f, &buf, false);
        aco_buf_free(&buf);
        if (err != ACO_OK) return err;
    }
    if (f->job->job.done) return read_collect(s, f, data, size, got);
    *wait = &f->job->job.waiters;
    return ACO_EBUSY;
}

static bool
file_holds(const aco_stream *s)
{
    (void)s;
    return true;
}

int
aco_file_seek(aco_stream *s, int64_t offset, int whence, int64_t *place)
{
    aco_file *f = s->state;
    int err = file_back(s);

    if (err != ACO_OK) return err;
    off_t at = lseek(f->fd, (off_t)offset, whence);
    if (at < 0) return aco_stream_errno(s);
    *place = at;
    return ACO_OK;
}

/* The rest, in its order: a job's that has not been at it, or has failed, and what was gathered
 * since. Here and now, as stdio does at the end. */
static void
file_write_rest(aco_file *f)
{
    file_job *j = f->job != NULL && f->job->writing ? f->job : NULL;
    file_job gathered = {.data = f->out};

    pthread_mutex_lock(&f->lock); /* a job may be at it */
    if (j != NULL && (!j->taken || j->errnum != 0)) {
        j->errnum = 0;
        write_all(f->fd, j);
        j->taken = true;
    }
    if (j == NULL || j->errnum == 0) write_all(f->fd, &gathered);
    f->out.size = 0;
    pthread_mutex_unlock(&f->lock);
}

void
aco_files_write(aco_loop *loop)
{
    for (aco_link *l = loop->files.next; l != &loop->files; l = l->next) {
        aco_file *f = ACO_CONTAINER_OF(l, aco_file, link);
        if (f->out.size > 0 || (f->job != NULL && f->job->writing)) file_write_rest(f);
    }
}

/* After a flush, and of what is only read, it does not wait for a disk: a job that reads has the
 * file too, and lets go of it when it is done. */
static void
file_close(aco_stream *s)
{
    aco_file *f = s->state;

    if (f->out.size > 0 || (f->job != NULL && f->job->writing)) file_write_rest(f);
    if (f->job != NULL) {
        aco_waitq_wake_all(s->loop, &f->job->job.waiters, ACO_ECLOSED);
        file_job_drop(f);
    }
    if (f->sync != NULL) aco_waitq_wake_all(s->loop, &f->sync->job.waiters, ACO_ECLOSED);
    file_sync_drop(f);
    aco_link_remove(&f->link);
    file_unref(f);
}

static const aco_transport file_transport = {.read = file_read,
                                             .write = file_write,
                                             .shutdown = aco_file_flush,
                                             .close = file_close,
                                             .holds = file_holds};

bool
aco_file_is(const aco_stream *s)
{
    return s->transport == &file_transport;
}

int
aco_file_open(aco_stream *s, aco_loop *loop, aco_pool *pool, int fd)
{
    aco_file *f = calloc(1, sizeof *f);

    if (f == NULL || pool == NULL) {
        free(f);
        close(fd);
        return ACO_ENOMEM;
    }
    *f = (aco_file){.fd = fd, .pool = pool, .direct = true};
    f->writable = (fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDONLY;
    atomic_init(&f->refs, 1);
    pthread_mutex_init(&f->lock, NULL);
    aco_list_append(&loop->files, &f->link);
    aco_stream_init(s, loop, fd, &file_transport, f);
    return ACO_OK;
}
