/* SPDX-License-Identifier: MIT */
/* task_test.c -- a wait completes exactly once, whatever could complete it; waiters are served in
 * the order in which they came. */
#include "core/base/error.h"
#include "core/engine/loop.h"
#include "spec/core/check.h"

#include <string.h>

/* Let a new task run, as the owner of the loop does. */
static void
task_run(aco_loop *loop, aco_task *task)
{
    aco_task_ready(loop, task);
    CHECK(task->state == ACO_READY && aco_loop_pop(loop) == task);
    task->state = ACO_RUNNING;
}

static void
task_new(aco_loop *loop, aco_task *task, uint64_t id)
{
    aco_task_init(task, id);
    CHECK(task->id == id && task->state == ACO_NEW);
    task_run(loop, task);
}

static void
park_on(aco_loop *loop, aco_task *task, aco_waitq *queue)
{
    aco_wait_begin(task, ACO_WAIT_QUEUE);
    aco_wait_on(task, queue);
    aco_wait_park(loop, task);
    CHECK(task->state == ACO_PARKED);
}

/* The task comes out of the run queue with what completed its wait. */
static void
woken(aco_loop *loop, aco_task *task, int err, unsigned index)
{
    CHECK(aco_loop_pop(loop) == task && task->state == ACO_READY);
    task->state = ACO_RUNNING;
    CHECK(task->wake_err == err && task->wake_index == index);
    CHECK(task->timer.place == 0 && task->flags == 0);
}

/* First come, first served. */
static void
test_fifo(aco_loop *loop)
{
    aco_task tasks[5];
    aco_waitq queue;

    aco_list_init(&queue);
    CHECK(aco_waitq_wake_one(loop, &queue, ACO_OK) == NULL);
    for (int i = 0; i < 5; i++) {
        task_new(loop, &tasks[i], (uint64_t)i);
        park_on(loop, &tasks[i], &queue);
    }
    CHECK(loop->parked == 5 && loop->ready == 0);
    CHECK(aco_waitq_wake_one(loop, &queue, ACO_OK) == &tasks[0]);
    CHECK(aco_waitq_wake_one(loop, &queue, ACO_EBUSY) == &tasks[1]);
    CHECK(loop->parked == 3 && loop->ready == 2);
    CHECK(aco_task_wake(loop, &tasks[3], ACO_ECLOSED, 0)); /* out of the middle */
    CHECK(aco_waitq_wake_all(loop, &queue, ACO_ERESET) == 2);
    CHECK(aco_list_empty(&queue) && loop->parked == 0);
    woken(loop, &tasks[0], ACO_OK, 0);
    woken(loop, &tasks[1], ACO_EBUSY, 0);
    woken(loop, &tasks[3], ACO_ECLOSED, 0);
    woken(loop, &tasks[2], ACO_ERESET, 0);
    woken(loop, &tasks[4], ACO_ERESET, 0);
    CHECK(aco_loop_pop(loop) == NULL);
}

/* Whoever comes second finds nothing to complete, and the result stays. */
static void
test_once(aco_loop *loop)
{
    aco_task task;
    aco_waitq queue;

    aco_list_init(&queue);
    task_new(loop, &task, 1);
    CHECK(!aco_task_wake(loop, &task, ACO_ERESET, 3)); /* it runs */
    aco_wait_begin(&task, ACO_WAIT_RECEIVE);
    aco_wait_on(&task, &queue);
    CHECK(aco_wait_deadline(loop, &task, 1) == ACO_OK);
    aco_wait_park(loop, &task);
    CHECK(strcmp(aco_wait_text(&task), "receive") == 0);
    CHECK(aco_task_wake(loop, &task, ACO_OK, 0));
    CHECK(!aco_task_wake(loop, &task, ACO_ECANCELED, 9));
    CHECK(aco_waitq_wake_one(loop, &queue, ACO_EBUSY) == NULL);
    aco_loop_poll(loop, 0); /* the deadline has passed, but nobody waits for it */
    CHECK(loop->ready == 1 && loop->timers.count == 0);
    woken(loop, &task, ACO_OK, 0);
    CHECK(!aco_task_wake(loop, &task, ACO_ECANCELED, 9));
    CHECK(task.wake_err == ACO_OK && loop->parked == 0);

    park_on(loop, &task, &queue); /* the next wait is one of its own */
    CHECK(aco_waitq_wake_one(loop, &queue, ACO_ECLOSED) == &task);
    woken(loop, &task, ACO_ECLOSED, 0);
}

static void
test_deadline(aco_loop *loop)
{
    aco_task task;
    aco_waitq queue;

    aco_list_init(&queue);
    task_new(loop, &task, 1);
    aco_wait_begin(&task, ACO_WAIT_SLEEP);
    CHECK(aco_wait_deadline(loop, &task, ACO_NEVER) == ACO_OK);
    CHECK(loop->timers.count == 0);
    aco_wait_on(&task, &queue);
    CHECK(aco_wait_deadline(loop, &task, 1) == ACO_OK);
    aco_wait_park(loop, &task);
    aco_loop_poll(loop, 0);
    CHECK(aco_list_empty(&queue));
    woken(loop, &task, ACO_ETIMEOUT, 0);
}

/* Of several clauses one fires, and no other queue knows the task any more. */
static void
test_many(aco_loop *loop)
{
    aco_task task, other;
    aco_waitq queues[4];
    aco_clause clauses[4];

    task_new(loop, &task, 1);
    task_new(loop, &other, 2);
    for (int i = 0; i < 4; i++)
        aco_list_init(&queues[i]);
    for (unsigned fires = 0; fires < 3; fires++) {
        aco_wait_begin(&task, ACO_WAIT_SELECT);
        aco_wait_on_many(&task, clauses, 4);
        for (int i = 0; i < 3; i++) /* the last one is in no queue */
            aco_wait_on_clause(&clauses[i], &queues[i]);
        CHECK(aco_wait_deadline(loop, &task, ACO_NEVER - 1) == ACO_OK);
        aco_wait_park(loop, &task);
        park_on(loop, &other, &queues[fires]); /* behind the first */
        CHECK(aco_waitq_wake_one(loop, &queues[fires], ACO_OK) == &task);
        memset(clauses, 0xff, sizeof clauses); /* nothing refers to them */
        woken(loop, &task, ACO_OK, fires);
        CHECK(loop->timers.count == 0);
        for (unsigned i = 0; i < 3; i++) {
            aco_task *next = aco_waitq_wake_one(loop, &queues[i], ACO_EBUSY);
            CHECK(next == (i == fires ? &other : NULL));
        }
        woken(loop, &other, ACO_EBUSY, 0);
    }
    aco_wait_begin(&task, ACO_WAIT_SELECT); /* twice in one queue */
    aco_wait_on_many(&task, clauses, 2);
    aco_wait_on_clause(&clauses[0], &queues[0]);
    aco_wait_on_clause(&clauses[1], &queues[0]);
    aco_wait_park(loop, &task);
    CHECK(aco_waitq_wake_all(loop, &queues[0], ACO_OK) == 1);
    woken(loop, &task, ACO_OK, 0);
    park_on(loop, &task, &queues[0]); /* a single clause again */
    CHECK(aco_waitq_wake_all(loop, &queues[0], ACO_OK) == 1);
    woken(loop, &task, ACO_OK, 0);
}

/* The end of a task wakes those who wait for it. */
static void
test_end(aco_loop *loop)
{
    aco_task task, first, second;

    task_new(loop, &task, 1);
    task_new(loop, &first, 2);
    task_new(loop, &second, 3);
    park_on(loop, &first, &task.enders);
    park_on(loop, &second, &task.enders);
    aco_task_done(loop, &task);
    CHECK(task.state == ACO_DONE && !aco_task_wake(loop, &task, ACO_OK, 0));
    woken(loop, &first, ACO_OK, 0);
    woken(loop, &second, ACO_OK, 0);
    CHECK(aco_loop_pop(loop) == NULL);
}

static void
test_texts(void)
{
    aco_task task;

    aco_task_init(&task, 1);
    for (unsigned what = 0; what < ACO_WAIT_KINDS; what++) {
        task.what = (uint8_t)what;
        CHECK(aco_wait_text(&task) != NULL && *aco_wait_text(&task) != '\0');
    }
}

int
main(void)
{
    aco_loop loop;

    CHECK(aco_loop_init(&loop, NULL) == ACO_OK);
    test_fifo(&loop);
    test_once(&loop);
    test_deadline(&loop);
    test_many(&loop);
    test_end(&loop);
    test_texts();
    CHECK(loop.parked == 0 && loop.ready == 0);
    aco_loop_fini(&loop);
    return 0;
}
