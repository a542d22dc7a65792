/* SPDX-License-Identifier: MIT */
/* pool.h -- threads for what would block: names to look up, files. One pool for all the engines of
 * a process.
 *
 * A job belongs to those who hold it. It is run by a thread of the pool; its end is posted to the
 * engine that submitted it, which wakes those who wait. Who waits no more just lets go. */
#ifndef ACO_POOL_H
#define ACO_POOL_H

#include "core/engine/loop.h"

#include <stdatomic.h>

typedef struct aco_pool aco_pool;

/** What a job may wait for. Each kind has threads of its own: name servers that do not answer keep
 * nobody from files, nor do files on their way keep anybody from names. */
enum aco_job_slow { ACO_JOB_DISK, ACO_JOB_NETWORK, ACO_JOB_TRANSFER, ACO_JOB_KINDS };

/** The head of a job, the first member of what its maker allocates. */
typedef struct aco_job {
    struct aco_job *next;              /* the pool's */
    void (*run)(struct aco_job *job);  /* a thread of the pool; may block */
    void (*free)(struct aco_job *job); /* any thread, when nobody holds it any more */
    aco_post *post;                    /* made before, so that the end needs no memory */
    aco_inbox *inbox;
    atomic_uint refs;
    uint8_t slow;      /* its maker's, before it is submitted: enum aco_job_slow */
    bool done;         /* the engine's thread */
    aco_waitq waiters; /* the engine's thread: those who wait for the end; woken with ACO_OK */
} aco_job;

/** A new pool without threads, with one reference; NULL without memory. */
aco_pool *aco_pool_new(void);

/** Let go: idle threads end, a busy one after its job; queued jobs are not run. */
void aco_pool_close(aco_pool *pool);

/** End all threads, before a fork. ACO_EBUSY: jobs are under way. */
ACO_MUSTUSE int aco_pool_rest(aco_pool *pool);

/** Make a job of zeroed memory, with one reference. */
void aco_job_init(aco_job *job, void (*run)(aco_job *job), void (*free)(aco_job *job));
void aco_job_unref(aco_job *job);

/** The engine's thread: let it be run. ACO_ENOMEM, ACO_ESYSTEM (no thread): it is not. */
ACO_MUSTUSE int aco_job_submit(aco_pool *pool, aco_loop *loop, aco_job *job);

/** The same, for whoever takes posts from an inbox but runs no loop: ACO_POST_JOB is all there is.
 */
ACO_MUSTUSE int aco_job_post(aco_pool *pool, aco_inbox *inbox, aco_job *job);

/** The engine's thread, on ACO_POST_JOB: wakes those who wait. */
void aco_job_done(aco_loop *loop, aco_job *job);

#endif
