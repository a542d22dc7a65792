/* SPDX-License-Identifier: MIT */
#include "core/engine/pool.h"
#include "core/base/error.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

/* So many threads at most for the jobs of a lane; one that has had nothing to do for so many
 * seconds ends. */
enum { LANE_THREADS = 8, POOL_IDLE = 10 };

/* Jobs of one kind. */
typedef struct lane {
    aco_job *head, *tail;
    size_t queued, running;
} lane;

enum { LANES = ACO_JOB_KINDS };

struct aco_pool {
    pthread_mutex_t lock;
    pthread_cond_t work, rest; /* there is a job, or the end; a thread has ended */
    lane lanes[LANES];
    size_t threads, idle;
    atomic_size_t left; /* jobs submitted, not run: less one before the engine hears of it */
    unsigned refs;      /* the process's and one of each thread */
    bool stop;
};

/* Called with the lock, which goes too when this was the last reference. */
static void
pool_unref_unlock(aco_pool *pool)
{
    bool last = --pool->refs == 0;

    pthread_mutex_unlock(&pool->lock);
    if (!last) return;
    pthread_mutex_destroy(&pool->lock);
    pthread_cond_destroy(&pool->work);
    pthread_cond_destroy(&pool->rest);
    free(pool);
}

aco_pool *
aco_pool_new(void)
{
    aco_pool *pool = calloc(1, sizeof *pool);
    pthread_condattr_t attr;

    if (pool == NULL) return NULL;
    pool->refs = 1;
    atomic_init(&pool->left, 0);
    pthread_mutex_init(&pool->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&pool->work, &attr);
    pthread_cond_init(&pool->rest, &attr);
    pthread_condattr_destroy(&attr);
    return pool;
}

/* Threads ---------------------------------------------------------------------------------------
 */

/* How many of its jobs may be run at once now. */
static size_t
lane_ready(const lane *l)
{
    size_t free = LANE_THREADS - l->running;

    return l->queued < free ? l->queued : free;
}

static lane *
lane_next(aco_pool *pool)
{
    for (lane *l = pool->lanes; l < pool->lanes + LANES; l++)
        if (lane_ready(l) > 0) return l;
    return NULL;
}

/* The next job, with the lock; NULL when the thread is to end. */
static aco_job *
job_take(aco_pool *pool)
{
    struct timespec until;
    lane *l;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += POOL_IDLE;
    while ((l = lane_next(pool)) == NULL && !pool->stop) {
        pool->idle++;
        int err = pthread_cond_timedwait(&pool->work, &pool->lock, &until);
        pool->idle--;
        if (err != 0 && lane_next(pool) == NULL) return NULL;
    }
    if (pool->stop) return NULL;
    aco_job *job = l->head;
    l->head = job->next;
    l->queued--;
    l->running++;
    return job;
}

/* The post takes the pool's reference along. Who gets it may fork: this job keeps him from it no
 * more. */
static void
job_run(aco_pool *pool, aco_job *job)
{
    aco_post *post = job->post;
    aco_inbox *inbox = job->inbox;

    job->run(job);
    job->post = NULL;
    job->inbox = NULL;
    atomic_fetch_sub(&pool->left, 1);
    aco_inbox_post(inbox, post);
    aco_inbox_unref(inbox);
}

static void *
pool_thread(void *arg)
{
    aco_pool *pool = arg;
    aco_job *job;

    pthread_mutex_lock(&pool->lock);
    while ((job = job_take(pool)) != NULL) {
        lane *l = &pool->lanes[job->slow];
        pthread_mutex_unlock(&pool->lock);
        job_run(pool, job);
        pthread_mutex_lock(&pool->lock);
        l->running--;
    }
    pool->threads--;
    pthread_cond_broadcast(&pool->rest);
    pool_unref_unlock(pool);
    return NULL;
}

/* With the lock. Signals are for the threads that asked for them. */
static int
pool_thread_start(aco_pool *pool)
{
    sigset_t all, old;
    pthread_attr_t attr;
    pthread_t thread;

    sigfillset(&all);
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int err = pthread_create(&thread, &attr, pool_thread, pool);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
    if (err != 0) return ACO_ESYSTEM;
    pool->threads++;
    pool->refs++;
    return ACO_OK;
}

/* The end ---------------------------------------------------------------------------------------
 */

/* With the lock. */
static void
pool_wait_idle(aco_pool *pool)
{
    pool->stop = true;
    pthread_cond_broadcast(&pool->work);
    while (pool->idle > 0)
        pthread_cond_wait(&pool->rest, &pool->lock);
}

void
aco_pool_close(aco_pool *pool)
{
    aco_job *queued[LANES];

    pthread_mutex_lock(&pool->lock);
    for (int i = 0; i < LANES; i++) {
        queued[i] = pool->lanes[i].head;
        pool->lanes[i].head = NULL;
        pool->lanes[i].queued = 0;
    }
    pool_wait_idle(pool);
    pool_unref_unlock(pool);
    for (int i = 0; i < LANES; i++)
        for (aco_job *job = queued[i], *next; job != NULL; job = next) {
            next = job->next;
            aco_job_unref(job);
        }
}

int
aco_pool_rest(aco_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    bool busy = atomic_load(&pool->left) > 0;
    if (!busy) {
        pool->stop = true;
        pthread_cond_broadcast(&pool->work);
        while (pool->threads > 0)
            pthread_cond_wait(&pool->rest, &pool->lock);
        pool->stop = false;
    }
    pthread_mutex_unlock(&pool->lock);
    return busy ? ACO_EBUSY : ACO_OK;
}

/* Jobs ------------------------------------------------------------------------------------------
 */

void
aco_job_init(aco_job *job, void (*run)(aco_job *job), void (*free)(aco_job *job))
{
    *job = (aco_job){.run = run, .free = free};
    atomic_init(&job->refs, 1);
    aco_list_init(&job->waiters);
}

void
aco_job_unref(aco_job *job)
{
    if (atomic_fetch_sub(&job->refs, 1) != 1) return;
    aco_inbox_unref(job->inbox);
    free(job->post);
    job->free(job);
}

/* With the lock: a thread more when there are jobs for it. A busy pool may do without. */
static int
pool_grow(aco_pool *pool)
{
    size_t ready = 0;

    for (int i = 0; i < LANES; i++)
        ready += lane_ready(&pool->lanes[i]);
    if (ready <= pool->idle || pool->threads == LANES * LANE_THREADS) return ACO_OK;
    int err = pool_thread_start(pool);
    return pool->threads > 0 ? ACO_OK : err;
}

/* With the lock. */
static void
lane_append(lane *l, aco_job *job)
{
    job->next = NULL;
    if (l->head == NULL)
        l->head = job;
    else
        l->tail->next = job;
    l->tail = job;
}

int
aco_job_post(aco_pool *pool, aco_inbox *inbox, aco_job *job)
{
    aco_post *post = calloc(1, sizeof *post);
    lane *l = &pool->lanes[job->slow];

    if (post == NULL) return ACO_ENOMEM;
    *post = (aco_post){.kind = ACO_POST_JOB, .object = job};
    pthread_mutex_lock(&pool->lock);
    l->queued++;
    int err = pool_grow(pool);
    if (err == ACO_OK) {
        atomic_fetch_add(&job->refs, 1);
        job->post = post;
        job->inbox = aco_inbox_ref(inbox);
        lane_append(l, job);
        atomic_fetch_add(&pool->left, 1);
        pthread_cond_signal(&pool->work);
    } else {
        l->queued--;
    }
    pthread_mutex_unlock(&pool->lock);
    if (err != ACO_OK) free(post);
    return err;
}

int
aco_job_submit(aco_pool *pool, aco_loop *loop, aco_job *job)
{
    int err = aco_job_post(pool, loop->inbox, job);

    if (err == ACO_OK) loop->jobs++;
    return err;
}

void
aco_job_done(aco_loop *loop, aco_job *job)
{
    loop->jobs--;
    job->done = true;
    aco_waitq_wake_all(loop, &job->waiters, ACO_OK);
}
