/* SPDX-License-Identifier: MIT */
/* timer.h -- deadlines with intrusive timers: a 4-ary heap, and for thousands of timers a wheel of
 * the next second before it, from which they come into the heap shortly before they are due.
 *
 * A timer is a small record inside its owner; it knows its place, so that starting and stopping
 * cost O(log n) at most and no search. Only the arrays of (deadline, timer) pairs are owned here. A
 * large heap touches other timers' records all over memory; the wheel keeps it small. One thread.
 */
#ifndef ACO_TIMER_H
#define ACO_TIMER_H

#include "core/base/defs.h"

/** What the timer is a part of; the loop dispatches on it instead of calling back. */
enum aco_timer_kind { ACO_TIMER_WAIT, ACO_TIMER_SCOPE };

typedef struct aco_timer {
    uint32_t place : 31; /* in the heap or on the wheel; 0 when not started */
    uint32_t kind : 1;   /* enum aco_timer_kind */
} aco_timer;

typedef struct aco_timer_slot {
    aco_time deadline;
    aco_timer *timer;
} aco_timer_slot;

typedef struct aco_timers {
    aco_timer_slot *slots; /* the heap: slots[0] is the earliest */
    uint32_t count;        /* of all timers that are started */
    uint32_t heaped, capacity;
    struct aco_timer_wheel *wheel; /* NULL until there are many */
} aco_timers;

void aco_timers_init(aco_timers *timers);
void aco_timers_fini(aco_timers *timers);

/** Start a stopped timer. ACO_ENOMEM: not started. */
ACO_MUSTUSE int aco_timer_start(aco_timers *timers, aco_timer *timer, aco_time deadline);

/** Stop a timer; harmless when it is not started. */
void aco_timer_remove(aco_timers *timers, aco_timer *timer);
static inline void
aco_timer_stop(aco_timers *timers, aco_timer *timer)
{
    if (timer->place != 0) aco_timer_remove(timers, timer);
}

/** The deadline of a started timer. */
aco_time aco_timer_deadline(const aco_timers *timers, const aco_timer *timer);

/** The earliest deadline, ACO_NEVER when there is none. */
aco_time aco_timers_next(aco_timers *timers);

/** Take out and return the earliest timer when it is due at `now`, else NULL. */
aco_timer *aco_timers_pop(aco_timers *timers, aco_time now);

#endif
