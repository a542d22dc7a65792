/* SPDX-License-Identifier: MIT */
/* timer.h -- a 4-ary heap of deadlines with intrusive timers.
 *
 * A timer is a small record inside its owner; it knows its place in the heap, so that starting and
 * stopping cost O(log n) and no search. The heap owns only its array of (deadline, timer) pairs.
 * One thread. */
#ifndef ACO_TIMER_H
#define ACO_TIMER_H

#include "core/base/defs.h"

/** What the timer is a part of; the loop dispatches on it instead of calling back. */
enum aco_timer_kind { ACO_TIMER_WAIT, ACO_TIMER_SCOPE };

typedef struct aco_timer {
    uint32_t place : 31; /* 1-based index in the heap, 0 when not started */
    uint32_t kind : 1;   /* enum aco_timer_kind */
} aco_timer;

typedef struct aco_timer_slot {
    aco_time deadline;
    aco_timer *timer;
} aco_timer_slot;

typedef struct aco_timers {
    aco_timer_slot *slots; /* slots[0] is the earliest */
    uint32_t count, capacity;
} aco_timers;

void aco_timers_init(aco_timers *heap);
void aco_timers_fini(aco_timers *heap);

/** Start a stopped timer. ACO_ENOMEM: not started. */
ACO_MUSTUSE int aco_timer_start(aco_timers *heap, aco_timer *timer, aco_time deadline);

/** Stop a timer; harmless when it is not started. */
void aco_timer_stop(aco_timers *heap, aco_timer *timer);

/** The deadline of a started timer. */
aco_time aco_timer_deadline(const aco_timers *heap, const aco_timer *timer);

/** The earliest deadline, ACO_NEVER when there is none. */
static inline aco_time
aco_timers_next(const aco_timers *heap)
{
    return heap->count ? heap->slots[0].deadline : ACO_NEVER;
}

/** Take out and return the earliest timer when it is due at `now`, else NULL. */
aco_timer *aco_timers_pop(aco_timers *heap, aco_time now);

#endif
