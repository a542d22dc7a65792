/* SPDX-License-Identifier: MIT */
/* loop.h -- one reactor: run queue, timers, descriptors and what other threads posted.
 *
 * The loop never calls user code: it makes tasks ready, and its owner (bindings) takes them out
 * with aco_loop_pop and runs them. Everything here belongs to the thread that runs the loop, but
 * for the inbox. */
#ifndef ACO_LOOP_H
#define ACO_LOOP_H

#include "core/engine/inbox.h"
#include "core/engine/task.h"

struct event_base;
struct event;

#define ACO_GRACE (5 * ACO_SECOND)

/** Whose descriptors a loop polls along with its own: the network of the process. */
typedef struct aco_companion {
    int fd; /* readable when there is something for a turn */
    void (*turn)(void *arg);
    void (*flush)(void *arg); /* before a look without blocking: what was queued goes */
    /** Before it blocks: lowers the deadline if need be. False: do not block now. */
    bool (*idle)(void *arg, aco_time *deadline);
    void (*busy)(void *arg); /* it has blocked, and goes on */
    void *arg;
} aco_companion;

struct aco_loop {
    aco_task *head, *tail; /* run queue */
    size_t ready;          /* tasks in the run queue */
    size_t parked;         /* tasks that wait */
    aco_timers timers;
    aco_inbox *inbox; /* owned reference */
    struct event_base *base;
    struct event *wake_event, *timer_event;
    int clock;                /* timerfd of a base of our own; -1 */
    aco_time rings;           /* when it does; ACO_NEVER: it does not */
    aco_companion *companion; /* NULL: none */
    struct event *companion_event;
    aco_link watching;        /* interests in descriptors (aco_watch) */
    aco_link files;           /* open files, which may hold what was written (aco_file) */
    size_t jobs;              /* submitted to the pool, not done */
    void (*drain)(void *arg); /* of a loop that its host's base drives */
    void *drain_arg;
    aco_time grace; /* how long clean-up may wait after a cancel */
    int mirror;     /* epoll set that mirrors the base's interests, -1 until aco_loop_fd */
    int mirror_timer;
    bool own_base;
    bool listens; /* the wake event is pending */
    bool due;     /* the drain is to be called soon, or runs */
};

/** Make a loop on an event_base of its own, or on `base` of the host, which must outlive the loop.
 *  ACO_ENOMEM, ACO_ESYSTEM: nothing was made. */
ACO_MUSTUSE int aco_loop_init(aco_loop *loop, struct event_base *base);
void aco_loop_fini(aco_loop *loop);

/** Run queue: add at the end; take from the front, NULL when it is empty. */
void aco_loop_push(aco_loop *loop, aco_task *task);

static inline aco_task *
aco_loop_pop(aco_loop *loop)
{
    aco_task *task = loop->head;

    if (task == NULL) return NULL;
    loop->head = task->next;
    loop->ready--;
    task->next = NULL;
    return task;
}

/** A message has come for a task that is parked with the flag ACO_TASK_RECEIVE alone, and so is in
 * no queue: aco_task_wake with ACO_OK, the short way. */
static inline void
aco_task_received(aco_loop *loop, aco_task *task)
{
    assert(task->state == ACO_PARKED && task->flags == ACO_TASK_RECEIVE);
    assert(task->clause.link.next == NULL);
    aco_timer_stop(&loop->timers, &task->timer);
    loop->parked--;
    task->flags = 0;
    task->wake_err = 0;
    task->wake_index = 0;
    task->state = ACO_READY;
    aco_loop_push(loop, task);
}

/** Let due timers and ready descriptors wake their tasks; wait for that until `deadline` when no
 * task is ready (ACO_NEVER: without end; a deadline in the past: just look). */
void aco_loop_poll(aco_loop *loop, aco_time deadline);

/** The same without the base: timers and posts only. For the end of a loop on a host's base, which
 * may be running just now. */
void aco_loop_settle(aco_loop *loop, aco_time deadline);

/** Let the host's base drive the loop: whenever a task is ready, something was posted, or a timer
 * is due, `drain` is called from the base, as one event of our own. It runs what is ready and ends
 * with aco_loop_rearm or aco_loop_detach. Nothing else may poll the loop meanwhile. ACO_ENOMEM,
 * ACO_ESYSTEM. */
ACO_MUSTUSE int aco_loop_attach(aco_loop *loop, void (*drain)(void *arg), void *arg);

/** End of a drain: it is called again at the earliest timer, at `deadline` at the latest, at once
 * when a task is ready. */
void aco_loop_rearm(aco_loop *loop, aco_time deadline);

/** From now on the base drives the loop no more, and none of its events keeps the base from ending.
 */
void aco_loop_detach(aco_loop *loop);

/** From now on poll `companion` too, which must stay; NULL: no more. ACO_EUNSUPPORTED: on a host's
 * base. ACO_ENOMEM. */
ACO_MUSTUSE int aco_loop_accompany(aco_loop *loop, aco_companion *companion);

/** True when something outside could still wake a task: a timer, a descriptor. */
bool aco_loop_awaits(const aco_loop *loop);

/** A descriptor that becomes readable when aco_loop_poll has something to do; -1 on failure. Owned
 * by the loop. libevent shows no descriptor of its own, so the interests are mirrored in an epoll
 * set. */
int aco_loop_fd(aco_loop *loop);

/** Arm the timer behind aco_loop_fd for the earliest timer, for `deadline` at the latest; call
 * before going back to the host's loop. */
void aco_loop_fd_arm(aco_loop *loop, aco_time deadline);

/** In a forked child: give the loop kernel objects of its own. ACO_ESYSTEM: the loop is unusable.
 */
ACO_MUSTUSE int aco_loop_after_fork(aco_loop *loop);

#endif
