/* SPDX-License-Identifier: MIT */
#include "core/engine/loop.h"
#include "core/base/clock.h"
#include "core/base/error.h"
#include "core/engine/scope.h"

#include <event2/event.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

/* The wake descriptor only ends a poll: what was posted is taken by the loop's owner. */
static void
loop_on_wake(evutil_socket_t fd, short what, void *arg)
{
    aco_loop *loop = arg;

    (void)fd;
    (void)what;
    aco_inbox_drain(loop->inbox);
}

/* Ends a poll at the earliest deadline; due timers are taken out afterwards. */
static void
loop_on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    (void)arg;
}

static struct event_base *
base_new(void)
{
    struct event_config *config = event_config_new();
    struct event_base *base = NULL;

    if (config == NULL) return NULL;
    if (event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK | EVENT_BASE_FLAG_PRECISE_TIMER) == 0)
        base = event_base_new_with_config(config);
    event_config_free(config);
    return base;
}

static int
loop_events(aco_loop *loop)
{
    loop->wake_event =
        event_new(loop->base, aco_inbox_fd(loop->inbox), EV_READ | EV_PERSIST, loop_on_wake, loop);
    loop->timer_event = event_new(loop->base, -1, 0, loop_on_timer, loop);
    if (loop->wake_event == NULL || loop->timer_event == NULL) return ACO_ENOMEM;
    return event_add(loop->wake_event, NULL) == 0 ? ACO_OK : ACO_ESYSTEM;
}

int
aco_loop_init(aco_loop *loop, struct event_base *base)
{
    memset(loop, 0, sizeof *loop);
    loop->mirror = loop->mirror_timer = -1;
    loop->grace = ACO_GRACE;
    aco_timers_init(&loop->timers);
    loop->own_base = base == NULL;
    loop->base = base != NULL ? base : base_new();
    if (loop->base == NULL) return ACO_ENOMEM;
    loop->inbox = aco_inbox_new();
    int err = loop->inbox != NULL ? loop_events(loop) : ACO_ESYSTEM;
    if (err != ACO_OK) aco_loop_fini(loop);
    return err;
}

void
aco_loop_fini(aco_loop *loop)
{
    if (loop->wake_event != NULL) event_free(loop->wake_event);
    if (loop->timer_event != NULL) event_free(loop->timer_event);
    if (loop->mirror_timer >= 0) close(loop->mirror_timer);
    if (loop->mirror >= 0) close(loop->mirror);
    if (loop->inbox != NULL) {
        aco_inbox_close(loop->inbox);
        aco_inbox_unref(loop->inbox);
    }
    if (loop->own_base && loop->base != NULL) event_base_free(loop->base);
    aco_timers_fini(&loop->timers);
    memset(loop, 0, sizeof *loop);
    loop->mirror = loop->mirror_timer = -1;
}

void
aco_loop_push(aco_loop *loop, aco_task *task)
{
    task->next = NULL;
    if (loop->head == NULL)
        loop->head = task;
    else
        loop->tail->next = task;
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

static void
loop_block(aco_loop *loop, aco_time deadline)
{
    if (aco_timers_next(&loop->timers) < deadline) deadline = aco_timers_next(&loop->timers);
    if (deadline != ACO_NEVER) {
        aco_time left = deadline - aco_now();
        if (left <= 0) {
            event_base_loop(loop->base, EVLOOP_NONBLOCK);
            return;
        }
        left += 999; /* libevent counts microseconds: never wake early */
        struct timeval tv = {.tv_sec = left / ACO_SECOND, .tv_usec = left % ACO_SECOND / 1000};
        event_add(loop->timer_event, &tv);
    }
    if (aco_inbox_sleep(loop->inbox)) {
        event_base_loop(loop->base, EVLOOP_ONCE | EVLOOP_NO_EXIT_ON_EMPTY);
        aco_inbox_awake(loop->inbox);
    }
    event_del(loop->timer_event);
}

void
aco_loop_poll(aco_loop *loop, aco_time deadline)
{
    loop_expire(loop);
    if (loop->ready > 0) {
        if (loop->own_base) event_base_loop(loop->base, EVLOOP_NONBLOCK);
        return;
    }
    loop_block(loop, deadline);
    loop_expire(loop);
}

bool
aco_loop_awaits(const aco_loop *loop)
{
    return loop->timers.count > 0 || loop->watches > 0;
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
    return epoll;
}

void
aco_loop_fd_arm(aco_loop *loop)
{
    if (loop->mirror < 0) return;
    aco_time next = loop->ready > 0 ? 1 : aco_timers_next(&loop->timers);
    struct itimerspec when = {.it_value.tv_sec = 0};
    if (next != ACO_NEVER) {
        when.it_value.tv_sec = next / ACO_SECOND;
        when.it_value.tv_nsec = next % ACO_SECOND;
    }
    timerfd_settime(loop->mirror_timer, TFD_TIMER_ABSTIME, &when, NULL);
    aco_inbox_sleep(loop->inbox); /* from here on a post writes the wake descriptor */
}

int
aco_loop_after_fork(aco_loop *loop)
{
    if (event_reinit(loop->base) != 0) return ACO_ESYSTEM;
    if (loop->mirror >= 0) close(loop->mirror);
    if (loop->mirror_timer >= 0) close(loop->mirror_timer);
    loop->mirror = loop->mirror_timer = -1;
    return ACO_OK;
}
