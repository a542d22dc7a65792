/* SPDX-License-Identifier: MIT */
/* clock.h -- the three clocks. Any thread. */
#ifndef ACO_CLOCK_H
#define ACO_CLOCK_H

#include "core/base/defs.h"

/** Nanoseconds on the monotonic clock. */
aco_time aco_now(void);

/** The same clock, a few milliseconds behind at most and several times cheaper to read. */
aco_time aco_now_coarse(void);

/** Seconds since 1970, with fractions. */
double aco_wall_time(void);

/** The deadline `seconds` from `now`: a huge or infinite time gives ACO_NEVER, a negative one
 * `now`. */
aco_time aco_deadline(aco_time now, double seconds);

#endif
