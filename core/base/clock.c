/* SPDX-License-Identifier: MIT */
#include "core/base/clock.h"

#include <time.h>

static aco_time
clock_read(clockid_t clock)
{
    struct timespec ts;

    clock_gettime(clock, &ts);
    return (aco_time)ts.tv_sec * ACO_SECOND + ts.tv_nsec;
}

aco_time
aco_now(void)
{
    return clock_read(CLOCK_MONOTONIC);
}

aco_time
aco_now_coarse(void)
{
#ifdef CLOCK_MONOTONIC_COARSE
    return clock_read(CLOCK_MONOTONIC_COARSE);
#else
    return clock_read(CLOCK_MONOTONIC);
#endif
}

double
aco_wall_time(void)
{
    return (double)clock_read(CLOCK_REALTIME) / 1e9;
}

aco_time
aco_deadline(aco_time now, double seconds)
{
    const double limit = 9e9; /* about 285 years: beyond it a deadline never comes */

    if (!(seconds > 0)) return now;
    if (seconds >= limit) return ACO_NEVER;
    aco_time span = (aco_time)(seconds * 1e9);
    return now > ACO_NEVER - span ? ACO_NEVER : now + span;
}
