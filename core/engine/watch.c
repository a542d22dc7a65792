/* SPDX-License-Identifier: MIT */
#include "core/engine/watch.h"
#include "core/base/error.h"

#include <event2/event.h>
#include <sys/epoll.h>
#include <unistd.h>

static void
watch_ready(evutil_socket_t fd, short what, void *arg)
{
    aco_watch *watch = arg;

    (void)fd;
    (void)what;
    aco_waitq_wake_all(watch->loop, &watch->queue, ACO_OK);
}

/* Show the interest in the mirror that the host polls; a duplicate lets reader and writer have one
 * each. */
static int
watch_mirror(aco_watch *watch)
{
    struct epoll_event ev = {.events = watch->writing ? EPOLLOUT : EPOLLIN};

    watch->mirrored = -1;
    if (watch->loop->mirror < 0) return ACO_OK;
    watch->mirrored = dup(watch->fd);
    if (watch->mirrored < 0) return ACO_ESYSTEM;
    return epoll_ctl(watch->loop->mirror, EPOLL_CTL_ADD, watch->mirrored, &ev) == 0 ? ACO_OK
                                                                                    : ACO_ESYSTEM;
}

int
aco_watch_start(aco_watch *watch, aco_loop *loop, int fd, bool writing)
{
    *watch = (aco_watch){.loop = loop, .fd = fd, .writing = writing, .mirrored = -1};
    aco_list_init(&watch->queue);
    watch->event = event_new(loop->base, fd, writing ? EV_WRITE : EV_READ, watch_ready, watch);
    if (watch->event == NULL) return ACO_ENOMEM;
    loop->watches++;
    int err = event_add(watch->event, NULL) == 0 ? watch_mirror(watch) : ACO_EINVALID;
    if (err != ACO_OK) aco_watch_stop(watch);
    return err;
}

void
aco_watch_stop(aco_watch *watch)
{
    if (watch->event == NULL) return;
    event_free(watch->event);
    watch->event = NULL;
    if (watch->mirrored >= 0) close(watch->mirrored);
    watch->mirrored = -1;
    watch->loop->watches--;
}
