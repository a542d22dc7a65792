/* SPDX-License-Identifier: MIT */
#include "core/engine/loop.h"
#include "core/base/clock.h"
#include "core/base/error.h"
#include "core/engine/scope.h"
#include "core/engine/watch.h"

#include <event2/event.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

/* The host's base shall call the drain; not while it runs, when it looks itself at what is left. */
static void
loop_due(aco_loop *loop)
{
    if (loop->due) return;
    loop->due = true;
    event_active(loop->timer_event, EV_TIMEOUT, 1);
}

/* The wake descriptor only ends a poll: what was posted is taken by the loop's owner. */
static void
loop_on_wake(evutil_socket_t fd, short what, void *arg)
{
    aco_loop *loop = arg;

    (void)fd;
    (void)what;
    aco_inbox_drain(loop->inbox);
    if (loop->drain != NULL) loop_due(loop);
}

static void loop_expire(aco_loop *loop);

/* Ends a poll at the earliest deadline; due timers are taken out afterwards. On a host's base it is
 * the drain, after which the loop may be gone. */
static void
loop_on_timer(evutil_socket_t fd, short what, void *arg)
{
    aco_loop *loop = arg;

    (void)fd;
    (void)what;
    if (loop->drain == NULL) return;
    loop->due = true;
    loop_expire(loop);
    loop->drain(loop->drain_arg);
}

static struct event_base *
base_new(void)
{
    struct event_config *config = event_config_new();
    struct event_base *base = NULL;

    if (config == NULL) return NULL;
    if (event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK) == 0)
        base = event_base_new_with_config(config);
    event_config_free(config);
    return base;
}

/* The base's own timers would be coarse, or cost a system call in each poll: a base of our own
 * waits for a timerfd, which is set only when it would ring too late. It is edge-triggered: nobody
 * has to read it. */
static void
loop_on_clock(evutil_socket_t fd, short what, void *arg)
{
    aco_loop *loop = arg;

    (void)fd;
    (void)what;
    loop->rings = ACO_NEVER;
}

static int
loop_clock(aco_loop *loop)
{
    loop->clock = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    loop->rings = ACO_NEVER;
    if (loop->clock < 0) return ACO_ESYSTEM;
    loop->timer_event =
        event_new(loop->base, loop->clock, EV_READ | EV_PERSIST | EV_ET, loop_on_clock, loop);
    if (loop->timer_event == NULL) return ACO_ENOMEM;
    return event_add(loop->timer_event, NULL) == 0 ? ACO_OK : ACO_ESYSTEM;
}

static int
loop_events(aco_loop *loop)
{
    int err = ACO_OK;

    loop->wake_event =
        event_new(loop->base, aco_inbox_fd(loop->inbox), EV_READ | EV_PERSIST, loop_on_wake, loop);
    if (loop->own_base)
        err = loop_clock(loop);
    else
        loop->timer_event = event_new(loop->base, -1, 0, loop_on_timer, loop);
    if (err != ACO_OK) return err;
    return loop->wake_event != NULL && loop->timer_event != NULL ? ACO_OK : ACO_ENOMEM;
}

/* From now on posts end a poll of the base. Not from the first day: a host's base may end while
 * there is nothing to run. */
static int
loop_listen(aco_loop *loop)
{
    if (loop->listens) return ACO_OK;
    if (event_add(loop->wake_event, NULL) != 0) return ACO_ESYSTEM;
    loop->listens = true;
    return ACO_OK;
}

int
aco_loop_init(aco_loop *loop, struct event_base *base)
{
    memset(loop, 0, sizeof *loop);
    loop->clock = loop->mirror = loop->mirror_timer = -1;
    loop->grace = ACO_GRACE;
    aco_timers_init(&loop->timers);
    aco_list_init(&loop->watching);
    aco_list_init(&loop->files);
    loop->own_base = base == NULL;
    loop->base = base != NULL ? base : base_new();
    if (loop->base == NULL) return ACO_ENOMEM;
    loop->inbox = aco_inbox_new();
    int err = loop->inbox != NULL ? loop_events(loop) : ACO_ESYSTEM;
    if (err == ACO_OK && loop->own_base) err = loop_listen(loop);
    if (err != ACO_OK) aco_loop_fini(loop);
    return err;
}

/* The set goes first: it may be a parent process's too, whose interests a removal would take out.
 */
static void
loop_mirror_close(aco_loop *loop)
{
    if (loop->mirror >= 0) close(loop->mirror);
    if (loop->mirror_timer >= 0) close(loop->mirror_timer);
    loop->mirror = loop->mirror_timer = -1;
    for (aco_link *l = loop->watching.next; l != &loop->watching; l = l->next) {
        aco_watch *watch = ACO_CONTAINER_OF(l, aco_watch, link);
        if (watch->mirrored >= 0) close(watch->mirrored);
        watch->mirrored = -1;
    }
}

void
aco_loop_fini(aco_loop *loop)
{
    while (loop->watching.next != NULL && !aco_list_empty(&loop->watching)) {
        aco_watch *watch = ACO_CONTAINER_OF(loop->watching.next, aco_watch, link);
        aco_watch_stop(watch);
        if (watch->on_end != NULL) watch->on_end(watch);
    }
    while (loop->files.next != NULL && !aco_list_empty(&loop->files)) /* they may stay longer */
        aco_link_remove(loop->files.next);
    loop_mirror_close(loop);
    if (loop->companion_event != NULL) event_free(loop->companion_event);
    if (loop->wake_event != NULL) event_free(loop->wake_event);
    if (loop->timer_event != NULL) event_free(loop->timer_event);
    if (loop->clock >= 0) close(loop->clock);
    if (loop->inbox != NULL) {
        aco_inbox_close(loop->inbox);
        aco_inbox_unref(loop->inbox);
    }
    if (loop->own_base && loop->base != NULL) event_base_free(loop->base);
    aco_timers_fini(&loop->timers);
    memset(loop, 0, sizeof *loop);
    aco_list_init(&loop->watching);
    aco_list_init(&loop->files);
    loop->clock = loop->mirror = loop->mirror_timer = -1;
}

void
aco_loop_push(aco_loop *loop, aco_task *task)
{
    task->next = NULL;
    if (loop->head == NULL) {
        loop->head = task;
        if (ACO_UNLIKELY(loop->drain != NULL)) loop_due(loop);
    } else {
        loop->tail->next = task;
    }
    loop->tail = task;
    loop->ready++;
}

static void
loop_expire(aco_loop *loop)
{
    aco_timer *timer;

    if (loop->timers.count == 0) return;
    aco_time now = aco_now();
    while ((timer = aco_timers_pop(&loop->timers, now)) != NULL) {
        if (timer->kind == ACO_TIMER_SCOPE)
            aco_scope_expire(loop, ACO_CONTAINER_OF(timer, aco_scope, timer));
        else
            aco_task_wake(loop, ACO_CONTAINER_OF(timer, aco_task, timer), ACO_ETIMEOUT, 0);
    }
}

/* Let the poll that follows end at `deadline`, if not before. */
static void
loop_set_clock(aco_loop *loop, aco_time deadline)
{
    const struct itimerspec when = {.it_value.tv_sec = deadline / ACO_SECOND,
                                    .it_value.tv_nsec = deadline % ACO_SECOND};

    if (loop->rings <= deadline) return; /* too early perhaps, which does no harm */
    if (timerfd_settime(loop->clock, TFD_TIMER_ABSTIME, &when, NULL) == 0) loop->rings = deadline;
}

/* On a host's base: let the timer event fire in `left` nanoseconds. */
static void
loop_set_timer(aco_loop *loop, aco_time left)
{
    left = left > 0 ? left + 999 : 0; /* libevent counts microseconds: never wake early */
    struct timeval tv = {.tv_sec = left / ACO_SECOND, .tv_usec = left % ACO_SECOND / 1000};
    event_add(loop->timer_event, &tv);
}

static aco_time
loop_deadline(aco_loop *loop, aco_time deadline)
{
    aco_time next = aco_timers_next(&loop->timers);

    return next < deadline ? next : deadline;
}

/* The companion has something to do. What it posts to this loop needs to wake nobody. */
static void
loop_on_companion(evutil_socket_t fd, short what, void *arg)
{
    aco_loop *loop = arg;

    (void)fd;
    (void)what;
    aco_inbox_awake(loop->inbox);
    loop->companion->turn(loop->companion->arg);
}

int
aco_loop_accompany(aco_loop *loop, aco_companion *companion)
{
    if (loop->companion_event != NULL) event_free(loop->companion_event);
    loop->companion_event = NULL;
    loop->companion = NULL;
    if (companion == NULL) return ACO_OK;
    if (!loop->own_base) return ACO_EUNSUPPORTED;
    loop->companion_event =
        event_new(loop->base, companion->fd, EV_READ | EV_PERSIST, loop_on_companion, loop);
    if (loop->companion_event == NULL || event_add(loop->companion_event, NULL) != 0) {
        if (loop->companion_event != NULL) event_free(loop->companion_event);
        loop->companion_event = NULL;
        return ACO_ENOMEM;
    }
    loop->companion = companion;
    return ACO_OK;
}

static void
loop_sleep(aco_loop *loop, aco_time deadline)
{
    deadline = loop_deadline(loop, deadline);
    if (deadline != ACO_NEVER) {
        aco_time left = deadline - aco_now();
        if (left <= 0) {
            event_base_loop(loop->base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
            return;
        }
        if (loop->own_base)
            loop_set_clock(loop, deadline);
        else
            loop_set_timer(loop, left);
    }
    if (aco_inbox_sleep(loop->inbox)) {
        event_base_loop(loop->base, EVLOOP_ONCE | EVLOOP_NO_EXIT_ON_EMPTY);
        aco_inbox_awake(loop->inbox);
    }
    if (!loop->own_base) event_del(loop->timer_event);
}

static void
loop_block(aco_loop *loop, aco_time deadline)
{
    const aco_companion *companion = loop->companion;

    if (companion == NULL) {
        loop_sleep(loop, deadline);
        return;
    }
    if (!companion->idle(companion->arg, &deadline)) deadline = 0;
    loop_sleep(loop, deadline);
    companion->busy(companion->arg);
}

/* EVLOOP_NONBLOCK alone polls again and again for as long as anything is ready, which descriptors
 * are until those who were woken have had their turn. */
void
aco_loop_poll(aco_loop *loop, aco_time deadline)
{
    loop_expire(loop);
    if (ACO_UNLIKELY(!loop->listens && loop_listen(loop) != ACO_OK)) return;
    if (loop->ready > 0) {
        if (loop->companion != NULL) loop->companion->flush(loop->companion->arg);
        event_base_loop(loop->base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
        return;
    }
    loop_block(loop, deadline);
    loop_expire(loop);
}

void
aco_loop_settle(aco_loop *loop, aco_time deadline)
{
    loop_expire(loop);
    if (loop->ready > 0 || !aco_inbox_sleep(loop->inbox)) return;
    deadline = loop_deadline(loop, deadline);
    aco_time left = deadline == ACO_NEVER ? 0 : deadline - aco_now();
    if (left < 0) left = 0;
    struct timespec ts = {.tv_sec = left / ACO_SECOND, .tv_nsec = left % ACO_SECOND};
    struct pollfd door = {.fd = aco_inbox_fd(loop->inbox), .events = POLLIN};
    ppoll(&door, 1, deadline == ACO_NEVER ? NULL : &ts, NULL);
    aco_inbox_awake(loop->inbox);
    aco_inbox_drain(loop->inbox);
    loop_expire(loop);
}

int
aco_loop_attach(aco_loop *loop, void (*drain)(void *arg), void *arg)
{
    int err = loop_listen(loop);

    if (err != ACO_OK) return err;
    loop->drain = drain;
    loop->drain_arg = arg;
    aco_loop_rearm(loop, ACO_NEVER);
    return ACO_OK;
}

void
aco_loop_rearm(aco_loop *loop, aco_time deadline)
{
    loop->due = false;
    if (loop->ready > 0 || !aco_inbox_sleep(loop->inbox)) {
        loop_set_timer(loop, 0); /* after the base has looked at the descriptors of others */
        return;
    }
    deadline = loop_deadline(loop, deadline);
    if (deadline == ACO_NEVER)
        event_del(loop->timer_event);
    else
        loop_set_timer(loop, deadline - aco_now());
}

void
aco_loop_detach(aco_loop *loop)
{
    loop->drain = NULL;
    loop->due = false;
    event_del(loop->timer_event);
    event_del(loop->wake_event);
    loop->listens = false;
    aco_inbox_awake(loop->inbox);
}

bool
aco_loop_awaits(const aco_loop *loop)
{
    if (loop->timers.count > 0 || loop->jobs > 0) return true;
    for (const aco_link *l = loop->watching.next; l != &loop->watching; l = l->next)
        if (!aco_list_empty(&ACO_CONTAINER_OF(l, aco_watch, link)->queue)) return true;
    return false;
}

static int
mirror_add(int epoll, int fd, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.fd = fd};

    return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &ev);
}

int
aco_loop_fd(aco_loop *loop)
{
    if (loop->mirror >= 0) return loop->mirror;
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (epoll < 0 || timer < 0 || mirror_add(epoll, timer, EPOLLIN) != 0 ||
        mirror_add(epoll, aco_inbox_fd(loop->inbox), EPOLLIN) != 0) {
        if (epoll >= 0) close(epoll);
        if (timer >= 0) close(timer);
        return -1;
    }
    loop->mirror = epoll;
    loop->mirror_timer = timer;
    for (aco_link *l = loop->watching.next; l != &loop->watching; l = l->next)
        if (aco_watch_mirror(ACO_CONTAINER_OF(l, aco_watch, link)) != ACO_OK) {
            loop_mirror_close(loop);
            return -1;
        }
    return epoll;
}

void
aco_loop_fd_arm(aco_loop *loop, aco_time deadline)
{
    if (loop->mirror < 0) return;
    aco_time next = loop_deadline(loop, deadline > 0 ? deadline : 1); /* 0 would disarm */
    /* from here on a post writes the wake descriptor; what was posted before counts as ready */
    if (loop->ready > 0 || !aco_inbox_sleep(loop->inbox)) next = 1;
    struct itimerspec when = {.it_value.tv_sec = 0};
    if (next != ACO_NEVER) {
        when.it_value.tv_sec = next / ACO_SECOND;
        when.it_value.tv_nsec = next % ACO_SECOND;
    }
    timerfd_settime(loop->mirror_timer, TFD_TIMER_ABSTIME, &when, NULL);
}

/* A clock of its own behind the same descriptor. */
static int
loop_clock_after_fork(aco_loop *loop)
{
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);

    if (fd < 0) return ACO_ESYSTEM;
    int moved = dup3(fd, loop->clock, O_CLOEXEC);
    close(fd);
    loop->rings = ACO_NEVER;
    return moved < 0 ? ACO_ESYSTEM : ACO_OK;
}

int
aco_loop_after_fork(aco_loop *loop)
{
    if (aco_inbox_after_fork(loop->inbox) != ACO_OK) return ACO_ESYSTEM;
    if (loop->clock >= 0 && loop_clock_after_fork(loop) != ACO_OK) return ACO_ESYSTEM;
    if (event_reinit(loop->base) != 0) return ACO_ESYSTEM;
    loop_mirror_close(loop);
    return ACO_OK;
}
