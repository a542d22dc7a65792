/* SPDX-License-Identifier: MIT */
/* loop_test.c -- the run queue, timers and posts that end a poll, the descriptor for host loops,
 * and the loop of a forked child. */
#include "core/base/clock.h"
#include "core/base/error.h"
#include "core/engine/loop.h"
#include "core/engine/watch.h"
#include "spec/core/check.h"

#include <event2/event.h>
#include <poll.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#define MILLI (ACO_SECOND / 1000)

enum { LONG = 20000 /* milliseconds: a failure, never waited for */ };

static void
task_new(aco_loop *loop, aco_task *task)
{
    aco_task_init(task, 1);
    aco_task_ready(loop, task);
    CHECK(aco_loop_pop(loop) == task);
    task->state = ACO_RUNNING;
}

static void
sleep_until(aco_loop *loop, aco_task *task, aco_time deadline)
{
    aco_wait_begin(task, ACO_WAIT_SLEEP);
    CHECK(aco_wait_deadline(loop, task, deadline) == ACO_OK);
    aco_wait_park(loop, task);
}

static bool
readable(int fd, int timeout)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    return poll(&p, 1, timeout) == 1;
}

static void
loop_new(aco_loop *loop)
{
    CHECK(aco_loop_init(loop, NULL) == ACO_OK);
    CHECK(!aco_loop_awaits(loop) && aco_loop_pop(loop) == NULL);
}

static void
test_queue(void)
{
    aco_loop loop;
    aco_task tasks[20];

    loop_new(&loop);
    for (int round = 0; round < 3; round++) {
        for (uint64_t i = 0; i < 20; i++) {
            aco_task_init(&tasks[i], i);
            aco_task_ready(&loop, &tasks[i]);
            CHECK(loop.ready == i + 1);
        }
        for (int i = 0; i < 10; i++)
            CHECK(aco_loop_pop(&loop) == &tasks[i]);
        tasks[3].state = ACO_RUNNING; /* it goes on behind all others */
        aco_task_ready(&loop, &tasks[3]);
        aco_loop_poll(&loop, ACO_NEVER); /* does not block: there is something to run */
        for (int i = 10; i < 20; i++)
            CHECK(aco_loop_pop(&loop) == &tasks[i]);
        CHECK(aco_loop_pop(&loop) == &tasks[3] && loop.ready == 0);
        CHECK(aco_loop_pop(&loop) == NULL && loop.ready == 0);
    }
    aco_loop_fini(&loop);
}

/* Timers wake their tasks, the earliest first, and none too early. */
static void
test_timers(void)
{
    aco_loop loop;
    aco_task tasks[4];
    aco_time now = aco_now();
    const aco_time deadlines[4] = {now + 3 * MILLI, now - 1, now + MILLI, now + 1000 * ACO_SECOND};

    loop_new(&loop);
    for (int i = 0; i < 4; i++) {
        task_new(&loop, &tasks[i]);
        sleep_until(&loop, &tasks[i], deadlines[i]);
    }
    CHECK(aco_loop_awaits(&loop) && loop.parked == 4);
    static const int order[] = {1, 2, 0};
    for (int i = 0; i < 3; i++) {
        aco_task *task = aco_loop_pop(&loop);
        for (; task == NULL; task = aco_loop_pop(&loop))
            aco_loop_poll(&loop, ACO_NEVER);
        CHECK(task == &tasks[order[i]] && task->wake_err == ACO_ETIMEOUT);
        CHECK(aco_now() >= deadlines[order[i]]);
    }
    aco_time until = aco_now() + MILLI; /* a deadline of the caller's ends a poll too */
    aco_loop_poll(&loop, until);
    CHECK(aco_now() >= until && aco_loop_pop(&loop) == NULL && loop.parked == 1);
    CHECK(aco_task_wake(&loop, &tasks[3], ACO_OK, 0) && !aco_loop_awaits(&loop));
    aco_loop_fini(&loop);
}

static void *
post_one(void *inbox)
{
    CHECK(aco_inbox_signal(inbox, ACO_POST_NAME, 4, 5, ACO_OK) == ACO_OK);
    return NULL;
}

static void *
wake_only(void *inbox)
{
    aco_inbox_wake(inbox);
    return NULL;
}

/* A post of another thread ends a poll without deadline; so does a bare wake-up. */
static void
test_post(void)
{
    aco_loop loop;
    pthread_t thread;

    loop_new(&loop);
    CHECK(pthread_create(&thread, NULL, post_one, loop.inbox) == 0);
    while (aco_inbox_empty(loop.inbox))
        aco_loop_poll(&loop, ACO_NEVER);
    aco_post *post = aco_inbox_take(loop.inbox);
    CHECK(post != NULL && post->kind == ACO_POST_NAME && post->task == 4 && post->token == 5);
    aco_post_free(post);
    CHECK(pthread_join(thread, NULL) == 0);

    aco_inbox_wake(loop.inbox); /* of a loop that does not sleep yet: it will not */
    aco_loop_poll(&loop, ACO_NEVER);
    CHECK(pthread_create(&thread, NULL, wake_only, loop.inbox) == 0);
    aco_loop_poll(&loop, ACO_NEVER);
    CHECK(pthread_join(thread, NULL) == 0);

    CHECK(aco_inbox_signal(loop.inbox, ACO_POST_NAME, 1, 1, ACO_OK) == ACO_OK);
    aco_loop_settle(&loop, ACO_NEVER); /* something is there: no wait */
    CHECK(!aco_inbox_empty(loop.inbox));
    aco_loop_fini(&loop); /* frees what was not taken */
}

/* The settling loop of a host's base minds timers too. */
static void
test_settle(void)
{
    aco_loop loop;
    aco_task task;
    aco_time deadline = aco_now() + MILLI;

    loop_new(&loop);
    task_new(&loop, &task);
    sleep_until(&loop, &task, deadline);
    while (aco_loop_pop(&loop) == NULL)
        aco_loop_settle(&loop, ACO_NEVER);
    CHECK(aco_now() >= deadline && task.wake_err == ACO_ETIMEOUT);
    aco_loop_fini(&loop);
}

/* A loop that its host's base drives: what the drain found ready; whether it goes on. */
typedef struct driven {
    aco_loop loop;
    int drains, ran;
    bool goes_on;
} driven;

static void
drain(void *arg)
{
    driven *d = arg;

    d->drains++;
    if (aco_loop_pop(&d->loop) != NULL) d->ran++; /* one for each drain */
    if (d->goes_on)
        aco_loop_rearm(&d->loop, ACO_NEVER);
    else
        aco_loop_detach(&d->loop);
}

static void
test_attach(void)
{
    struct event_base *base = event_base_new();
    driven d = {.goes_on = true};
    aco_task tasks[3];

    CHECK(aco_loop_init(&d.loop, base) == ACO_OK);
    CHECK(event_base_dispatch(base) == 1); /* not attached: nothing keeps the base */
    CHECK(aco_loop_attach(&d.loop, drain, &d) == ACO_OK);
    CHECK(event_base_loop(base, EVLOOP_NONBLOCK) == 0 && d.drains == 0);
    for (int i = 0; i < 2; i++) { /* two ready: due at once, and again for the second */
        aco_task_init(&tasks[i], 1);
        aco_task_ready(&d.loop, &tasks[i]);
    }
    while (d.ran < 2)
        CHECK(event_base_loop(base, EVLOOP_ONCE) == 0);
    CHECK(d.drains == 2);
    task_new(&d.loop, &tasks[2]);
    d.drains = 0;
    sleep_until(&d.loop, &tasks[2], aco_now() + MILLI);
    aco_loop_rearm(&d.loop, ACO_NEVER);
    while (d.ran < 3)
        CHECK(event_base_loop(base, EVLOOP_ONCE) == 0);
    d.drains = 0;
    CHECK(aco_inbox_signal(d.loop.inbox, ACO_POST_NAME, 1, 1, ACO_OK) == ACO_OK);
    CHECK(event_base_loop(base, EVLOOP_ONCE) == 0);
    CHECK(d.drains == 1); /* the post is there to be taken, and wakes again until it is */
    d.goes_on = false;
    CHECK(event_base_dispatch(base) == 1); /* detached, so the base has nothing left */
    CHECK(d.drains == 2);
    aco_loop_fini(&d.loop);
    event_base_free(base);
}

/* The descriptor for a host's loop. */
static void
test_fd(void)
{
    aco_loop loop;
    aco_task task;
    pthread_t thread;

    loop_new(&loop);
    int fd = aco_loop_fd(&loop);
    CHECK(fd >= 0 && aco_loop_fd(&loop) == fd);
    aco_loop_fd_arm(&loop, ACO_NEVER);
    CHECK(!readable(fd, 0));

    task_new(&loop, &task); /* a timer */
    sleep_until(&loop, &task, aco_now() + 2 * MILLI);
    aco_loop_fd_arm(&loop, ACO_NEVER);
    CHECK(readable(fd, LONG));
    aco_loop_poll(&loop, 0);
    CHECK(aco_loop_pop(&loop) == &task);
    task.state = ACO_RUNNING;
    aco_loop_fd_arm(&loop, ACO_NEVER);
    CHECK(!readable(fd, 0));

    aco_loop_fd_arm(&loop, aco_now() + MILLI); /* a deadline of the host's */
    CHECK(readable(fd, LONG));
    aco_loop_poll(&loop, 0);
    aco_loop_fd_arm(&loop, ACO_NEVER);
    CHECK(!readable(fd, 0));

    CHECK(pthread_create(&thread, NULL, post_one, loop.inbox) == 0); /* a post */
    CHECK(readable(fd, LONG));
    CHECK(pthread_join(thread, NULL) == 0);
    aco_loop_poll(&loop, 0);
    aco_loop_fd_arm(&loop, ACO_NEVER); /* not taken yet: there is something to do */
    CHECK(readable(fd, LONG));
    aco_post_free(aco_inbox_take(loop.inbox));
    aco_loop_fd_arm(&loop, ACO_NEVER);
    CHECK(!readable(fd, 0));

    aco_task_ready(&loop, &task); /* something to run */
    aco_loop_fd_arm(&loop, ACO_NEVER);
    CHECK(readable(fd, LONG));
    CHECK(aco_loop_pop(&loop) == &task);
    aco_loop_fini(&loop);
    CHECK(loop.mirror == -1);
}

static void
watch_new(aco_watch *watch, aco_loop *loop, int fd)
{
    aco_watch_init(watch, loop, fd, false);
    CHECK(aco_watch_arm(watch) == ACO_OK);
}

/* A descriptor that a task waits for shows in the host's descriptor, started before it or after. */
static void
test_watch(bool fd_first)
{
    aco_loop loop;
    aco_task task;
    aco_watch watch, other;
    int ends[2], fd = -1;

    loop_new(&loop);
    CHECK(pipe(ends) == 0);
    task_new(&loop, &task);
    if (fd_first) fd = aco_loop_fd(&loop);
    watch_new(&watch, &loop, ends[0]);
    watch_new(&other, &loop, ends[0]);
    if (!fd_first) fd = aco_loop_fd(&loop);
    CHECK(fd >= 0 && !aco_loop_awaits(&loop));
    aco_wait_begin(&task, ACO_WAIT_FD);
    aco_wait_on(&task, &watch.queue);
    aco_wait_park(&loop, &task);
    CHECK(aco_loop_awaits(&loop));
    aco_loop_fd_arm(&loop, ACO_NEVER);
    aco_watch_stop(&other);
    CHECK(!readable(fd, 0));
    CHECK(write(ends[1], "x", 1) == 1 && readable(fd, LONG));
    aco_loop_poll(&loop, ACO_NEVER);
    CHECK(aco_loop_pop(&loop) == &task && task.wake_err == ACO_OK && watch.armed);
    for (int i = 0; i < 16; i++)
        aco_loop_poll(&loop, 0); /* still readable, and nobody waits */
    CHECK(!watch.armed && aco_watch_arm(&watch) == ACO_OK && watch.armed);
    aco_watch_stop(&watch);
    aco_watch_stop(&watch);
    aco_loop_fd_arm(&loop, ACO_NEVER);
    CHECK(!readable(fd, 0) && !aco_loop_awaits(&loop)); /* although the pipe is */
    aco_loop_fini(&loop);
    close(ends[0]);
    close(ends[1]);
}

/* What a child does with a loop that came to it: none of its wake-ups and timers reach the parent.
 */
static int
child(aco_loop *loop, aco_task *task)
{
    pthread_t thread;

    CHECK(aco_loop_after_fork(loop) == ACO_OK);
    CHECK(pthread_create(&thread, NULL, post_one, loop->inbox) == 0);
    while (aco_inbox_empty(loop->inbox))
        aco_loop_poll(loop, ACO_NEVER);
    CHECK(pthread_join(thread, NULL) == 0);
    aco_post_free(aco_inbox_take(loop->inbox));
    CHECK(aco_task_wake(loop, task, ACO_OK, 0) && aco_loop_pop(loop) == task);
    task->state = ACO_RUNNING;
    sleep_until(loop, task, aco_now() + MILLI);
    int fd = aco_loop_fd(loop);
    CHECK(fd >= 0);
    while (loop->ready == 0) { /* the wake-up of the post may still be there */
        aco_loop_fd_arm(loop, ACO_NEVER);
        CHECK(readable(fd, LONG));
        aco_loop_poll(loop, 0);
    }
    CHECK(aco_loop_pop(loop) == task && task->wake_err == ACO_ETIMEOUT);
    aco_loop_fini(loop);
    return 0;
}

static void
test_fork(void)
{
    aco_loop loop;
    aco_task task;
    aco_watch watch;
    int status, ends[2];

    loop_new(&loop);
    CHECK(pipe(ends) == 0);
    watch_new(&watch, &loop, ends[0]);
    task_new(&loop, &task);
    sleep_until(&loop, &task, aco_now() + 1000 * ACO_SECOND);
    int fd = aco_loop_fd(&loop);
    aco_loop_fd_arm(&loop, ACO_NEVER);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) _exit(child(&loop, &task));
    CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK(!readable(fd, 0) && aco_inbox_empty(loop.inbox) && task.state == ACO_PARKED);
    CHECK(write(ends[1], "x", 1) == 1 && readable(fd, LONG)); /* its interests are all there */
    aco_watch_stop(&watch);
    CHECK(aco_task_wake(&loop, &task, ACO_OK, 0));
    aco_loop_fini(&loop);
    close(ends[0]);
    close(ends[1]);
}

int
main(void)
{
    test_queue();
    test_timers();
    test_post();
    test_settle();
    test_attach();
    test_fd();
    test_watch(true);
    test_watch(false);
    test_fork();
    return 0;
}
