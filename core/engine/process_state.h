/* SPDX-License-Identifier: MIT */
/* process_state.h -- what process.c (the process and its seats) and export.c (records and names)
 * share: what stands behind the lock of a process. */
#ifndef ACO_PROCESS_STATE_H
#define ACO_PROCESS_STATE_H

#include "core/base/map.h"
#include "core/engine/process.h"

#include <pthread.h>

struct aco_process {
    atomic_uint refs;
    uint8_t id[16];
    _Atomic(aco_gate *) gate;          /* NULL until there is a network */
    _Atomic(struct aco_route *) route; /* the newest; each owns the one before it */
    struct aco_channels *channels;
    pthread_mutex_t lock; /* guards what follows, and what hangs on it */
    uint32_t last_number;
    size_t engines, idle;  /* seats taken; those of them whose engine is idle */
    struct aco_pool *pool; /* NULL until first needed */
    aco_link seats;
    aco_map exports; /* engine and serial -> record, with a reference */
    aco_map fars;    /* identity -> record of another process, without a reference */
    aco_map names;   /* -> struct name */
    aco_link ended;  /* records of ended coros in the order of their `expires` */
    size_t ended_count, ended_bytes;
};

struct aco_seat {
    aco_link link;
    aco_process *process; /* owned reference */
    aco_inbox *inbox;     /* owned reference */
    uint32_t number;
    bool idle, awaits_names;
    aco_link watchers; /* those of this engine */
};

/** The last engine has ended: nobody can ask for outcomes any more but who has a handle. */
void aco_exports_forget(aco_process *process);

/** Under the lock: the engine of this seat watches nothing any more. */
void aco_seat_unwatch(aco_seat *seat);

#endif
