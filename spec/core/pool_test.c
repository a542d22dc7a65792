/* SPDX-License-Identifier: MIT */
#include "core/engine/pool.h"
#include "core/base/clock.h"
#include "core/base/error.h"
#include "spec/core/check.h"

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

static atomic_int freed;

typedef struct test_job {
    aco_job job;
    pthread_t by;
    int gate; /* a descriptor to read from before it ends, or -1 */
} test_job;

static void
test_run(aco_job *job)
{
    test_job *t = (test_job *)job;
    char byte;

    t->by = pthread_self();
    if (t->gate >= 0) CHECK(read(t->gate, &byte, 1) == 1);
}

static void
test_free(aco_job *job)
{
    atomic_fetch_add(&freed, 1);
    free(job);
}

static test_job *
job_new(int gate)
{
    test_job *t = calloc(1, sizeof *t);

    CHECK(t != NULL);
    aco_job_init(&t->job, test_run, test_free);
    t->gate = gate;
    return t;
}

/* Take what was posted, until so many jobs are done. */
static void
done(aco_loop *loop, int count)
{
    while (count > 0) {
        aco_post *post = aco_inbox_take(loop->inbox);
        if (post == NULL) aco_loop_poll(loop, ACO_NEVER);
        while (post != NULL) {
            aco_post *next = post->next;
            CHECK(post->kind == ACO_POST_JOB);
            aco_job_done(loop, post->object);
            aco_post_free(post);
            count--;
            post = next;
        }
    }
}

static void
test_many(aco_pool *pool)
{
    enum { MANY = 200 };
    test_job *jobs[MANY];
    aco_loop loop;

    CHECK(aco_loop_init(&loop, NULL) == ACO_OK);
    atomic_store(&freed, 0);
    for (int i = 0; i < MANY; i++) {
        jobs[i] = job_new(-1);
        CHECK(aco_job_submit(pool, &loop, &jobs[i]->job) == ACO_OK);
    }
    CHECK(aco_loop_awaits(&loop));
    done(&loop, MANY);
    CHECK(!aco_loop_awaits(&loop) && atomic_load(&freed) == 0);
    for (int i = 0; i < MANY; i++) {
        CHECK(jobs[i]->job.done && !pthread_equal(jobs[i]->by, pthread_self()));
        aco_job_unref(&jobs[i]->job);
    }
    CHECK(atomic_load(&freed) == MANY);
    aco_loop_fini(&loop);
}

/* Who waits is woken; who has let go leaves the job to free itself; a pool with work does not rest.
 */
static void
test_waiter(aco_pool *pool)
{
    aco_loop loop;
    aco_task task;
    int gate[2];

    CHECK(pipe(gate) == 0 && aco_loop_init(&loop, NULL) == ACO_OK);
    atomic_store(&freed, 0);
    test_job *waited = job_new(gate[0]), *dropped = job_new(gate[0]);
    aco_task_init(&task, 1);
    task.state = ACO_RUNNING;
    CHECK(aco_job_submit(pool, &loop, &waited->job) == ACO_OK);
    CHECK(aco_job_submit(pool, &loop, &dropped->job) == ACO_OK);
    aco_job_unref(&dropped->job);
    aco_wait_begin(&task, ACO_WAIT_JOB);
    aco_wait_on(&task, &waited->job.waiters);
    aco_wait_park(&loop, &task);
    CHECK(aco_pool_rest(pool) == ACO_EBUSY);
    CHECK(write(gate[1], "xx", 2) == 2);
    done(&loop, 2);
    CHECK(aco_loop_pop(&loop) == &task && task.wake_err == ACO_OK && atomic_load(&freed) == 1);
    aco_job_unref(&waited->job);
    CHECK(aco_pool_rest(pool) == ACO_OK); /* at once, although a thread may just have posted */
    aco_loop_fini(&loop);
    close(gate[0]);
    close(gate[1]);
}

/* Who has heard of the end of the last job can let the threads end, each time. */
static void
test_rest(aco_pool *pool)
{
    aco_loop loop;

    CHECK(aco_loop_init(&loop, NULL) == ACO_OK);
    for (int i = 0; i < 300; i++) {
        test_job *t = job_new(-1);
        CHECK(aco_job_submit(pool, &loop, &t->job) == ACO_OK);
        aco_job_unref(&t->job);
        done(&loop, 1);
        CHECK(aco_pool_rest(pool) == ACO_OK);
    }
    aco_loop_fini(&loop);
}

/* Slow jobs, however many, keep no other from being run, nor the reverse; each kind in its order.
 */
static void
test_slow(aco_pool *pool, bool slow)
{
    enum { MANY = 40 };
    aco_loop loop;
    int gate[2];
    char bytes[MANY] = {0};

    CHECK(pipe(gate) == 0 && aco_loop_init(&loop, NULL) == ACO_OK);
    atomic_store(&freed, 0);
    for (int i = 0; i < MANY + 1; i++) {
        test_job *t = job_new(i < MANY ? gate[0] : -1);
        t->job.slow = (i < MANY) == slow;
        CHECK(aco_job_submit(pool, &loop, &t->job) == ACO_OK);
        aco_job_unref(&t->job);
    }
    done(&loop, 1);
    CHECK(atomic_load(&freed) == 1);
    CHECK(write(gate[1], bytes, MANY) == MANY);
    done(&loop, MANY);
    CHECK(atomic_load(&freed) == MANY + 1 && aco_pool_rest(pool) == ACO_OK);
    aco_loop_fini(&loop);
    close(gate[0]);
    close(gate[1]);
}

/* An engine that ends does not wait for its jobs, nor does a process. */
static void
test_end(void)
{
    aco_pool *pool = aco_pool_new();
    aco_loop loop;
    int gate[2];

    CHECK(pool != NULL && pipe(gate) == 0 && aco_loop_init(&loop, NULL) == ACO_OK);
    atomic_store(&freed, 0);
    enum { QUEUED = 20 };
    for (int i = 0; i < QUEUED; i++) {
        test_job *t = job_new(gate[0]);
        CHECK(aco_job_submit(pool, &loop, &t->job) == ACO_OK);
        aco_job_unref(&t->job);
    }
    aco_loop_fini(&loop);
    aco_pool_close(pool);
    char bytes[QUEUED] = {0};
    CHECK(write(gate[1], bytes, QUEUED) == QUEUED);
    aco_time limit = aco_now() + 20 * ACO_SECOND;
    while (atomic_load(&freed) < QUEUED) {
        CHECK(aco_now() < limit);
        usleep(100);
    }
    close(gate[0]);
    close(gate[1]);
}

int
main(void)
{
    aco_pool *pool = aco_pool_new();

    CHECK(pool != NULL);
    test_many(pool);
    test_waiter(pool);
    test_rest(pool);
    test_slow(pool, true);
    test_slow(pool, false);
    test_many(pool); /* new threads after the rest */
    aco_pool_close(pool);
    test_end();
    return 0;
}
