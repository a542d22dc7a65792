/* SPDX-License-Identifier: MIT */
/* watchdog.h -- a thread that watches another: how long it has been in one turn.
 *
 * The watched thread says when a turn begins and ends, at the cost of a store each. The watchdog
 * looks every few milliseconds while there is something to see, and not at all while the thread
 * blocks. When a turn takes too long, or its deadline has passed, it sends the thread a signal. */
#ifndef ACO_WATCHDOG_H
#define ACO_WATCHDOG_H

#include <pthread.h>
#include <stdatomic.h>

#include "core/base/defs.h"
#include "core/engine/inbox.h"

/** Why the signal was sent. */
enum aco_watchdog_alarm {
    ACO_ALARM_STALL = 1,    /* the turn has taken longer than the limit; once per turn */
    ACO_ALARM_DEADLINE = 2, /* the deadline of the turn has passed */
    ACO_ALARM_INBOX = 4,    /* other threads have posted, and the turn goes on */
};

typedef struct aco_watchdog {
    _Atomic uint64_t turn; /* odd while a turn lasts */
    _Atomic aco_time deadline;
    _Atomic uint64_t deadline_turn; /* the turn that `deadline` is of */
    _Atomic uint64_t alarm_turn;    /* the turn that `alarms` are about */
    _Atomic unsigned alarms;        /* enum aco_watchdog_alarm */
    _Atomic bool idle, asleep;
    bool running; /* the thread has been started */
    bool stop;    /* under the lock */
    pthread_t thread, watched;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    aco_time stall;
    int signal;
    void *owner; /* comes with the signal */
    aco_inbox *inbox;
} aco_watchdog;

/** Watch the calling thread, until aco_watchdog_stop: turns longer than `stall` are reported by
 * `signal`, sent with pthread_sigqueue and `owner` as its value. ACO_ENOMEM, ACO_ESYSTEM: no thread
 * could be started. */
ACO_MUSTUSE int aco_watchdog_start(aco_watchdog *dog, aco_time stall, int signal, void *owner,
                                   aco_inbox *inbox);

/** Join the thread; harmless when it does not run. */
void aco_watchdog_stop(aco_watchdog *dog);

/* By the watched thread: */

static inline void
aco_watchdog_begin(aco_watchdog *dog)
{
    uint64_t turn = atomic_load_explicit(&dog->turn, memory_order_relaxed);
    atomic_store_explicit(&dog->turn, turn + 1, memory_order_relaxed);
}

static inline void
aco_watchdog_end(aco_watchdog *dog)
{
    aco_watchdog_begin(dog);
}

/* A turn ends and the next begins. */
static inline void
aco_watchdog_next(aco_watchdog *dog)
{
    uint64_t turn = atomic_load_explicit(&dog->turn, memory_order_relaxed);
    atomic_store_explicit(&dog->turn, turn + 2, memory_order_relaxed);
}

/** The deadline of this turn. */
void aco_watchdog_deadline(aco_watchdog *dog, aco_time deadline);

/** It blocks from now on, or does no longer. */
void aco_watchdog_idle(aco_watchdog *dog, bool idle);

/** Take the alarms of this turn; 0 when they are of another. */
unsigned aco_watchdog_alarms(aco_watchdog *dog);

/** Are there any? Async-signal-safe. */
bool aco_watchdog_alarmed(aco_watchdog *dog);

#endif
