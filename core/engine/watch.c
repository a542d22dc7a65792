/* SPDX-License-Identifier: MIT */
#include "core/engine/watch.h"
#include "core/base/error.h"

#include <event2/event.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

/* Who was woken may have had no turn yet, with many that were woken before. */
enum { MISSED_MOST = 16 };

static void
watch_disarm(aco_watch *watch)
{
    if (!watch->armed) return;
    watch->armed = false;
    event_del(watch->event);
    aco_watch_unmirror(watch);
}

static void
watch_ready(evutil_socket_t fd, short what, void *arg)
{
    aco_watch *watch = arg;

    (void)fd;
    (void)what;
    if (watch->on_ready != NULL)
        watch->on_ready(watch);
    else if (aco_waitq_wake_all(watch->loop, &watch->queue, ACO_OK) > 0)
        watch->missed = 0;
    else if (++watch->missed == MISSED_MOST)
        watch_disarm(watch);
}

/* Show the interest in the mirror that the host polls; a duplicate lets reader and writer have one
 * each. */
int
aco_watch_mirror(aco_watch *watch)
{
    struct epoll_event ev = {.events = watch->writing ? EPOLLOUT : EPOLLIN};

    if (watch->loop->mirror < 0 || !watch->armed) return ACO_OK;
    watch->mirrored = fcntl(watch->fd, F_DUPFD_CLOEXEC, 0);
    if (watch->mirrored < 0) return ACO_ESYSTEM;
    return epoll_ctl(watch->loop->mirror, EPOLL_CTL_ADD, watch->mirrored, &ev) == 0 ? ACO_OK
                                                                                    : ACO_ESYSTEM;
}

/* Closing the duplicate alone would leave the interest in the set for as long as the original is
 * open. */
void
aco_watch_unmirror(aco_watch *watch)
{
    if (watch->mirrored < 0) return;
    epoll_ctl(watch->loop->mirror, EPOLL_CTL_DEL, watch->mirrored, NULL);
    close(watch->mirrored);
    watch->mirrored = -1;
}

int
aco_watch_test(int fd, bool writing)
{
    struct pollfd at = {.fd = fd, .events = writing ? POLLOUT : POLLIN};
    struct stat about;

    if (fstat(fd, &about) != 0 || S_ISREG(about.st_mode) || S_ISDIR(about.st_mode))
        return ACO_EINVALID;
    return poll(&at, 1, 0) > 0 ? ACO_OK : ACO_ETIMEOUT;
}

void
aco_watch_init(aco_watch *watch, aco_loop *loop, int fd, bool writing)
{
    *watch = (aco_watch){.loop = loop, .fd = fd, .writing = writing, .mirrored = -1};
    aco_list_init(&watch->queue);
}

int
aco_watch_arm(aco_watch *watch)
{
    aco_loop *loop = watch->loop;
    short what = (watch->writing ? EV_WRITE : EV_READ) | EV_PERSIST;

    watch->missed = 0;
    if (watch->armed) return ACO_OK;
    if (watch->event == NULL) {
        watch->event = event_new(loop->base, watch->fd, what, watch_ready, watch);
        if (watch->event == NULL) return ACO_ENOMEM;
        aco_list_append(&loop->watching, &watch->link);
    }
    if (event_add(watch->event, NULL) != 0) return ACO_EINVALID;
    watch->armed = true;
    int err = aco_watch_mirror(watch);
    if (err != ACO_OK) watch_disarm(watch);
    return err;
}

void
aco_watch_stop(aco_watch *watch)
{
    if (watch->event == NULL) return;
    watch_disarm(watch);
    event_free(watch->event);
    watch->event = NULL;
    aco_link_remove(&watch->link);
}
