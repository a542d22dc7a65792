/* SPDX-License-Identifier: MIT */
#include "core/engine/inbox.h"
#include "core/base/error.h"
#include "core/engine/channel.h"
#include "core/engine/mailbox.h"
#include "core/engine/pool.h"
#include "core/engine/process.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct aco_inbox {
    atomic_uint refs;
    atomic_bool sleeping; /* the engine is about to block, or blocks, in its poll */
    atomic_bool filled;   /* there may be something to take */
    atomic_bool kicked;   /* its next poll shall not block, although nothing was posted */
    int fd;               /* eventfd, non-blocking */
    pthread_mutex_t lock; /* guards what follows */
    aco_post *head, *tail;
    bool closed;
};

aco_inbox *
aco_inbox_new(void)
{
    aco_inbox *inbox = calloc(1, sizeof *inbox);

    if (inbox == NULL) return NULL;
    inbox->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (inbox->fd < 0) {
        free(inbox);
        return NULL;
    }
    atomic_init(&inbox->refs, 1);
    atomic_init(&inbox->sleeping, false);
    atomic_init(&inbox->filled, false);
    atomic_init(&inbox->kicked, false);
    pthread_mutex_init(&inbox->lock, NULL);
    return inbox;
}

aco_inbox *
aco_inbox_ref(aco_inbox *inbox)
{
    atomic_fetch_add_explicit(&inbox->refs, 1, memory_order_relaxed);
    return inbox;
}

void
aco_inbox_unref(aco_inbox *inbox)
{
    if (inbox == NULL || atomic_fetch_sub(&inbox->refs, 1) != 1) return;
    aco_inbox_close(inbox);
    close(inbox->fd);
    pthread_mutex_destroy(&inbox->lock);
    free(inbox);
}

void
aco_post_free(aco_post *post)
{
    if (post->kind == ACO_POST_MAIL) {
        aco_mailbox_unref(post->object); /* the post is a part of it */
        return;
    }
    if (post->kind >= ACO_POST_EXIT && post->kind <= ACO_POST_REQUEST)
        aco_export_unref(post->object);
    else if (post->kind == ACO_POST_JOB)
        aco_job_unref(post->object);
    else if (post->kind == ACO_POST_CHANNEL)
        aco_channel_job_free(post->object);
    aco_inbox_unref(post->from);
    aco_msg_unref(post->msg);
    free(post);
}

static void
inbox_ring(aco_inbox *inbox)
{
    uint64_t one = 1;

    if (!atomic_exchange(&inbox->sleeping, false)) return;
    while (write(inbox->fd, &one, sizeof one) < 0 &&
           errno == EINTR) /* EAGAIN: it is awake already */
        continue;
}

void
aco_inbox_wake(aco_inbox *inbox)
{
    atomic_store(&inbox->kicked, true);
    inbox_ring(inbox);
}

int
aco_inbox_post(aco_inbox *inbox, aco_post *post)
{
    post->next = NULL;
    pthread_mutex_lock(&inbox->lock);
    bool closed = inbox->closed;
    if (!closed) {
        if (inbox->head == NULL)
            inbox->head = post;
        else
            inbox->tail->next = post;
        inbox->tail = post;
        atomic_store(&inbox->filled, true);
    }
    pthread_mutex_unlock(&inbox->lock);
    if (closed) {
        aco_post_free(post);
        return ACO_ECLOSED;
    }
    inbox_ring(inbox);
    return ACO_OK;
}

int
aco_inbox_signal(aco_inbox *inbox, enum aco_post_kind kind, uint64_t task, uint64_t token, int err)
{
    aco_post *post = calloc(1, sizeof *post);

    if (post == NULL) return ACO_ENOMEM;
    *post = (aco_post){.kind = (uint32_t)kind, .task = task, .token = token, .err = err};
    return aco_inbox_post(inbox, post);
}

aco_post *
aco_inbox_take(aco_inbox *inbox)
{
    if (!atomic_load(&inbox->filled)) return NULL;
    pthread_mutex_lock(&inbox->lock);
    aco_post *all = inbox->head;
    inbox->head = inbox->tail = NULL;
    atomic_store(&inbox->filled, false);
    pthread_mutex_unlock(&inbox->lock);
    return all;
}

bool
aco_inbox_empty(aco_inbox *inbox)
{
    return !atomic_load(&inbox->filled);
}

bool
aco_inbox_sleep(aco_inbox *inbox)
{
    atomic_store(&inbox->sleeping, true);
    pthread_mutex_lock(&inbox->lock);
    bool empty = inbox->head == NULL;
    pthread_mutex_unlock(&inbox->lock);
    if (atomic_exchange(&inbox->kicked, false)) empty = false;
    if (!empty) atomic_store(&inbox->sleeping, false);
    return empty;
}

void
aco_inbox_awake(aco_inbox *inbox)
{
    atomic_store(&inbox->sleeping, false);
    atomic_exchange(&inbox->kicked, false); /* whoever kicked before this wanted no more */
}

void
aco_inbox_close(aco_inbox *inbox)
{
    pthread_mutex_lock(&inbox->lock);
    inbox->closed = true;
    pthread_mutex_unlock(&inbox->lock);
    for (aco_post *post = aco_inbox_take(inbox); post != NULL;) {
        aco_post *next = post->next;
        aco_post_free(post);
        post = next;
    }
}

int
aco_inbox_fd(const aco_inbox *inbox)
{
    return inbox->fd;
}

void
aco_inbox_drain(aco_inbox *inbox)
{
    uint64_t count;

    while (read(inbox->fd, &count, sizeof count) > 0)
        continue;
}

int
aco_inbox_after_fork(aco_inbox *inbox)
{
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

    if (fd < 0) return ACO_ESYSTEM;
    int moved = dup3(fd, inbox->fd, O_CLOEXEC);
    close(fd);
    return moved < 0 ? ACO_ESYSTEM : ACO_OK;
}
