/* SPDX-License-Identifier: MIT */
#include "core/net/receiver.h"
#include "core/base/error.h"
#include "core/net/dest.h"
#include "core/net/part.h"
#include "core/net/preface.h"
#include "core/net/receive.h"
#include "core/net/secure.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define SHAKE_PATIENCE (10 * ACO_SECOND)
#define USUAL_PATIENCE (30 * ACO_SECOND)
enum { THREAD_STACK = 256 << 10 };

struct aco_receiver {
    pthread_mutex_t lock;
    pthread_cond_t ended;
    unsigned shaking, moving;        /* connections before and after the handshake */
    struct aco_receiver_stats stats; /* less `busy` */
    int wake;                        /* readable: all that is under way ends */
    pid_t pid;
    char *path;     /* of the folder; NULL: the usual one; "": none */
    aco_dest *dest; /* not yet, when it is the usual one */
    uint64_t max_file_size;
    unsigned most;
    aco_time patience;
    aco_secret *secret;
};

/* A connection. */
typedef struct visit {
    aco_receiver *r;
    int fd;
    uint16_t port;
    uint8_t preface[8];
    bool moving;
} visit;

/* The end ---------------------------------------------------------------------------------------
 */

static void
receiver_free(aco_receiver *r)
{
    if (r->wake >= 0) close(r->wake);
    aco_dest_unref(r->dest);
    free(r->path);
    aco_secret_unref(r->secret);
    pthread_mutex_destroy(&r->lock);
    pthread_cond_destroy(&r->ended);
    free(r);
}

static void
visit_free(visit *v, const aco_receipt *receipt, const char *refusal)
{
    aco_receiver *r = v->r;

    close(v->fd);
    pthread_mutex_lock(&r->lock);
    if (v->moving)
        r->moving--;
    else
        r->shaking--;
    if (refusal != NULL && v->moving)
        r->stats.failed++;
    else if (refusal != NULL)
        r->stats.refused++;
    r->stats.files += receipt->files;
    r->stats.bytes += receipt->bytes;
    if (refusal != NULL) snprintf(r->stats.refusal, sizeof r->stats.refusal, "%s", refusal);
    pthread_cond_broadcast(&r->ended);
    pthread_mutex_unlock(&r->lock);
    free(v);
}

/* The folder ------------------------------------------------------------------------------------
 */

/* With the lock, but at the start. */
static int
folder_open(aco_receiver *r, char why[ACO_DEST_WHY])
{
    char *path = r->path != NULL ? strdup(r->path) : aco_dest_usual();
    int err = ACO_ENOTFOUND;

    if (path == NULL)
        snprintf(why, ACO_DEST_WHY, "this user has no home");
    else
        err = aco_dest_open(path, &r->dest, why);
    free(path);
    if (err == ACO_OK) aco_part_prune(r->dest);
    return err;
}

/* Somebody has removed it, or what it is in. */
static bool
folder_lost(const aco_receiver *r)
{
    struct stat about;

    return r->dest != NULL && (fstat(aco_dest_parts(r->dest), &about) != 0 || about.st_nlink == 0 ||
                               fstat(aco_dest_root(r->dest), &about) != 0 || about.st_nlink == 0);
}

/* The folder, a reference; NULL: `why`, when there is more to say. What failed is tried again. */
static aco_dest *
folder_of(aco_receiver *r, char why[ACO_DEST_WHY])
{
    aco_dest *dest = NULL;

    why[0] = '\0';
    pthread_mutex_lock(&r->lock);
    if (folder_lost(r)) {
        aco_dest_unref(r->dest);
        r->dest = NULL;
    }
    if (r->dest != NULL ||
        ((r->path == NULL || r->path[0] != '\0') && folder_open(r, why) == ACO_OK))
        dest = aco_dest_ref(r->dest);
    pthread_mutex_unlock(&r->lock);
    return dest;
}

/* A connection ----------------------------------------------------------------------------------
 */

/* The other side has proved who it is: one of the few that may send now? */
static bool
visit_move(visit *v)
{
    aco_receiver *r = v->r;

    pthread_mutex_lock(&r->lock);
    if (r->moving < r->most) {
        r->shaking--;
        r->moving++;
        v->moving = true;
    }
    pthread_mutex_unlock(&r->lock);
    return v->moving;
}

static int
visit_shake(visit *v, aco_carrier *c)
{
    uint8_t answer[ACO_PREFACE_SIZE];
    struct aco_preface p;
    const uint8_t mode = (uint8_t)aco_secret_mode(v->r->secret);
    enum aco_preface_status status = aco_preface_read(v->preface, &p);

    if (status == ACO_PREFACE_OK && p.kind != ACO_PREFACE_FILE) status = ACO_PREFACE_KIND;
    if (status == ACO_PREFACE_OK && p.mode != mode) status = ACO_PREFACE_MODE;
    if (status == ACO_PREFACE_FOREIGN) return aco_carrier_fail(c, ACO_EPROTOCOL, "no preface");
    aco_preface_answer(answer, status, mode);
    int err = aco_carrier_raw(c, true, answer, sizeof answer);
    if (err != ACO_OK) return err;
    if (status != ACO_PREFACE_OK)
        return aco_carrier_fail(c, ACO_EAUTH, "%s",
                                aco_preface_text((uint8_t)status, v->preface[3], mode, p.mode));
    return aco_carrier_shake(c,
                             aco_secure_new(v->r->secret, v->fd, true, v->preface, NULL, v->port));
}

static int
visit_serve(visit *v, aco_carrier *c, aco_receipt *receipt)
{
    int err = visit_shake(v, c);

    if (err != ACO_OK) return err;
    c->patience = v->r->patience;
    if (visit_move(v)) {
        char why[ACO_DEST_WHY];
        receipt->dest = folder_of(v->r, why);
        receipt->why = why[0] != '\0' ? why : NULL;
        err = aco_receive(c, receipt);
        aco_dest_unref(receipt->dest);
        return err;
    }
    err = aco_carrier_fail(c, ACO_EBUSY, "%u files are on their way there; try again later",
                           v->r->most);
    aco_receive_refuse(c, err);
    return err;
}

static void *
visit_run(void *arg)
{
    visit *v = arg;
    aco_receipt receipt = {.max_file_size = v->r->max_file_size};
    aco_carrier *c = malloc(sizeof *c);

    if (c == NULL) {
        visit_free(v, &receipt, aco_err_text(ACO_ENOMEM));
        return NULL;
    }
    aco_carrier_init(c, v->fd, v->r->wake, SHAKE_PATIENCE);
    int err = visit_serve(v, c, &receipt);
    aco_carrier_fini(c);
    visit_free(v, &receipt, err != ACO_OK ? c->why : NULL);
    free(c);
    return NULL;
}

/* Signals are for the threads that asked for them. */
static int
visit_start(visit *v)
{
    sigset_t all, old;
    pthread_attr_t attr;
    pthread_t thread;

    sigfillset(&all);
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, THREAD_STACK);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int err = pthread_create(&thread, &attr, visit_run, v);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
    return err == 0 ? ACO_OK : ACO_ESYSTEM;
}

/* The receiver ----------------------------------------------------------------------------------
 */

static int
receiver_fill(aco_receiver *r, const struct aco_receiver_options *options, char why[ACO_DEST_WHY])
{
    r->max_file_size = options->max_file_size;
    r->most = options->most > 0 ? options->most : ACO_RECEIVER_MOST;
    r->patience = options->patience > 0 ? options->patience : USUAL_PATIENCE;
    r->pid = getpid();
    r->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (r->wake < 0) {
        snprintf(why, ACO_DEST_WHY, "too many open files");
        return ACO_ELIMIT;
    }
    if (options->dest_path == NULL) return ACO_OK;
    r->path = strdup(options->dest_path);
    if (r->path == NULL) return ACO_ENOMEM;
    return r->path[0] != '\0' ? folder_open(r, why) : ACO_OK;
}

int
aco_receiver_new(const struct aco_receiver_options *options, aco_receiver **out, char **why)
{
    aco_receiver *r = calloc(1, sizeof *r);
    char text[ACO_DEST_WHY] = "not enough memory";
    int err = ACO_ENOMEM;

    *out = NULL;
    *why = NULL;
    if (r != NULL) {
        pthread_mutex_init(&r->lock, NULL);
        pthread_cond_init(&r->ended, NULL);
        r->secret = aco_secret_ref(options->secret);
        err = receiver_fill(r, options, text);
    }
    if (err == ACO_OK) {
        *out = r;
        return ACO_OK;
    }
    if (r != NULL) receiver_free(r);
    *why = strdup(text);
    return err;
}

/* Counted, when there is room. */
static visit *
visit_new(aco_receiver *r, int fd, const uint8_t preface[8], uint16_t port, int *err)
{
    visit *v = malloc(sizeof *v);

    *err = v == NULL ? ACO_ENOMEM : ACO_OK;
    if (v == NULL) return NULL;
    *v = (visit){.r = r, .fd = fd, .port = port};
    memcpy(v->preface, preface, sizeof v->preface);
    pthread_mutex_lock(&r->lock);
    if (r->shaking < ACO_RECEIVER_SHAKING)
        r->shaking++;
    else
        *err = ACO_EBUSY;
    pthread_mutex_unlock(&r->lock);
    if (*err == ACO_OK) return v;
    free(v);
    return NULL;
}

/* What fits into an empty socket is sent at once. */
static int
turn_away(aco_receiver *r, int fd, int err)
{
    uint8_t answer[ACO_PREFACE_SIZE];

    aco_preface_answer(answer, ACO_PREFACE_BUSY, (uint8_t)aco_secret_mode(r->secret));
    (void)send(fd, answer, sizeof answer, MSG_NOSIGNAL | MSG_DONTWAIT);
    close(fd);
    pthread_mutex_lock(&r->lock);
    r->stats.refused++;
    snprintf(r->stats.refusal, sizeof r->stats.refusal, "too many connections for files");
    pthread_mutex_unlock(&r->lock);
    return err;
}

int
aco_receiver_serve(aco_receiver *r, int fd, const uint8_t preface[8], uint16_t port)
{
    int err;
    visit *v = visit_new(r, fd, preface, port, &err);

    if (v == NULL) return turn_away(r, fd, err);
    (void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    err = visit_start(v);
    if (err == ACO_OK) return ACO_OK;
    pthread_mutex_lock(&r->lock);
    r->shaking--;
    pthread_mutex_unlock(&r->lock);
    free(v);
    return turn_away(r, fd, err);
}

bool
aco_receiver_path(aco_receiver *r, char *path, size_t size)
{
    char why[ACO_DEST_WHY];
    aco_dest *dest = folder_of(r, why);

    if (dest == NULL) return false;
    bool fits = strlen(aco_dest_path(dest)) < size;
    if (fits) memcpy(path, aco_dest_path(dest), strlen(aco_dest_path(dest)) + 1);
    aco_dest_unref(dest);
    return fits;
}

void
aco_receiver_stats(aco_receiver *r, struct aco_receiver_stats *stats)
{
    pthread_mutex_lock(&r->lock);
    *stats = r->stats;
    stats->busy = r->shaking + r->moving;
    pthread_mutex_unlock(&r->lock);
}

void
aco_receiver_close(aco_receiver *r)
{
    const uint64_t one = 1;

    if (r == NULL) return;
    if (r->pid == getpid()) {
        (void)!write(r->wake, &one, sizeof one);
        pthread_mutex_lock(&r->lock);
        while (r->shaking + r->moving > 0)
            pthread_cond_wait(&r->ended, &r->lock);
        pthread_mutex_unlock(&r->lock);
    }
    receiver_free(r);
}
