/* SPDX-License-Identifier: MIT */
/* scope_test.c -- cancel scopes: nesting, deadlines, shields, and the grace of clean-up. */
#include "core/base/clock.h"
#include "core/base/error.h"
#include "core/engine/loop.h"
#include "core/engine/scope.h"
#include "spec/core/check.h"

static void
task_new(aco_loop *loop, aco_task *task)
{
    aco_task_init(task, 1);
    aco_task_ready(loop, task);
    CHECK(aco_loop_pop(loop) == task);
    task->state = ACO_RUNNING;
}

static void
park(aco_loop *loop, aco_task *task)
{
    aco_wait_begin(task, ACO_WAIT_SUSPEND);
    aco_wait_park(loop, task);
}

static void
woken(aco_loop *loop, aco_task *task, int err)
{
    CHECK(aco_loop_pop(loop) == task && task->wake_err == err);
    task->state = ACO_RUNNING;
}

static bool
is_pending(const aco_task *task)
{
    bool is = (task->pending & ACO_PENDING_CANCEL) != 0;

    CHECK(is == (aco_scope_due(task) != NULL));
    return is;
}

/* The outer scope is raised before the inner one, each once; leaving ends it. */
static void
test_nested(aco_loop *loop)
{
    aco_task task;
    aco_scope outer, inner;

    task_new(loop, &task);
    CHECK(aco_scope_enter(loop, &outer, &task, ACO_NEVER) == ACO_OK);
    CHECK(aco_scope_enter(loop, &inner, &task, ACO_NEVER) == ACO_OK);
    CHECK(!is_pending(&task) && aco_scope_deadline(loop, &task) == ACO_NEVER);

    aco_scope_cancel(loop, &inner, ACO_EBUSY);
    CHECK(aco_scope_due(&task) == &inner && inner.reason == ACO_EBUSY);
    aco_scope_cancel(loop, &inner, ACO_ECLOSED); /* a second one has no effect */
    CHECK(inner.reason == ACO_EBUSY);
    aco_scope_cancel(loop, &outer, ACO_ECANCELED);
    CHECK(aco_scope_due(&task) == &outer); /* it covers the inner one */
    aco_scope_raised(loop, &outer);
    CHECK(aco_scope_due(&task) == &inner);
    aco_scope_raised(loop, &inner);
    CHECK(!is_pending(&task) && loop->timers.count == 2); /* their graces */
    aco_scope_leave(loop, &inner);
    CHECK(task.scope == &outer && loop->timers.count == 1);
    aco_scope_leave(loop, &outer);
    CHECK(task.scope == NULL && loop->timers.count == 0);
}

/* A cancel ends a wait; one that is left before a wait has raised nothing. */
static void
test_wait(aco_loop *loop)
{
    aco_task task;
    aco_scope scope;
    aco_waitq queue;

    task_new(loop, &task);
    CHECK(aco_scope_enter(loop, &scope, &task, ACO_NEVER) == ACO_OK);
    park(loop, &task);
    aco_scope_cancel(loop, &scope, ACO_ECANCELED);
    woken(loop, &task, ACO_ECANCELED);
    CHECK(is_pending(&task));
    aco_scope_leave(loop, &scope);
    CHECK(!is_pending(&task));

    aco_list_init(&queue); /* a completed wait keeps its result */
    CHECK(aco_scope_enter(loop, &scope, &task, ACO_NEVER) == ACO_OK);
    aco_wait_begin(&task, ACO_WAIT_QUEUE);
    aco_wait_on(&task, &queue);
    aco_wait_park(loop, &task);
    CHECK(aco_waitq_wake_one(loop, &queue, ACO_OK) == &task);
    aco_scope_cancel(loop, &scope, ACO_ECANCELED);
    woken(loop, &task, ACO_OK);
    CHECK(is_pending(&task) && aco_loop_pop(loop) == NULL);
    aco_scope_leave(loop, &scope);
}

/* The earliest deadline counts; a scope whose deadline has passed is cancelled with "timeout". */
static void
test_deadline(aco_loop *loop)
{
    aco_task task;
    aco_scope outer, inner, wide;
    aco_time far = aco_now() + 1000 * ACO_SECOND;

    task_new(loop, &task);
    CHECK(aco_scope_enter(loop, &wide, &task, far + 2) == ACO_OK);
    CHECK(aco_scope_enter(loop, &outer, &task, far) == ACO_OK);
    CHECK(aco_scope_enter(loop, &inner, &task, far + 1) == ACO_OK);
    CHECK(aco_scope_deadline(loop, &task) == far);
    aco_scopes_expire(loop, &task, far - 1);
    CHECK(!is_pending(&task) && loop->timers.count == 3);
    aco_scopes_expire(loop, &task, far);
    CHECK(aco_scope_due(&task) == &outer && outer.reason == ACO_ETIMEOUT);
    CHECK(inner.state == ACO_SCOPE_OPEN && aco_scope_deadline(loop, &task) == far + 1);
    aco_scopes_expire(loop, &task, far + 1);
    CHECK(inner.state == ACO_SCOPE_CANCELED && aco_scope_due(&task) == &outer);
    aco_scope_leave(loop, &inner);
    aco_scope_leave(loop, &outer);
    CHECK(!is_pending(&task) && loop->timers.count == 1);
    aco_scope_leave(loop, &wide);

    CHECK(aco_scope_enter(loop, &outer, &task, 1) == ACO_OK); /* long past: the loop expires it */
    park(loop, &task);
    aco_loop_poll(loop, 0);
    woken(loop, &task, ACO_ECANCELED);
    CHECK(aco_scope_due(&task) == &outer && outer.reason == ACO_ETIMEOUT);
    aco_scope_leave(loop, &outer);
}

/* A shield hides what is outside, and only that; under it the wait goes on. */
static void
test_shield(aco_loop *loop)
{
    aco_task task;
    aco_scope outer, shield, inner;
    aco_time far = aco_now() + 1000 * ACO_SECOND;

    task_new(loop, &task);
    CHECK(aco_scope_enter(loop, &outer, &task, far) == ACO_OK);
    aco_shield_enter(loop, &shield, &task);
    CHECK(aco_scope_deadline(loop, &task) == ACO_NEVER);
    park(loop, &task);
    aco_scope_cancel(loop, &outer, ACO_ECANCELED);
    CHECK(task.state == ACO_PARKED && !is_pending(&task));
    CHECK(aco_task_wake(loop, &task, ACO_OK, 0));
    woken(loop, &task, ACO_OK);
    CHECK(aco_scope_enter(loop, &inner, &task, ACO_NEVER) == ACO_OK);
    aco_scope_cancel(loop, &inner, ACO_ECANCELED);
    CHECK(aco_scope_due(&task) == &inner);
    aco_scope_leave(loop, &inner);
    CHECK(!is_pending(&task));
    aco_scope_leave(loop, &shield); /* what came meanwhile is raised after it */
    CHECK(aco_scope_due(&task) == &outer);

    aco_shield_enter(loop, &shield, &task); /* before it was raised */
    CHECK(!is_pending(&task));
    aco_scope_leave(loop, &shield);
    CHECK(is_pending(&task));
    aco_scope_leave(loop, &outer);
    CHECK(!is_pending(&task));
}

/* After a raise clean-up may wait; when the grace has ended every wait raises, until the scope is
 * left. */
static void
test_grace(aco_loop *loop)
{
    aco_task task;
    aco_scope scope;

    task_new(loop, &task);
    loop->grace = 1000 * ACO_SECOND;
    CHECK(aco_scope_enter(loop, &scope, &task, ACO_NEVER) == ACO_OK);
    aco_scope_cancel(loop, &scope, ACO_ECANCELED);
    aco_scope_raised(loop, &scope);
    park(loop, &task);
    aco_loop_poll(loop, 0);
    CHECK(task.state == ACO_PARKED && !is_pending(&task));
    CHECK(aco_scope_deadline(loop, &task) > aco_now() + 900 * ACO_SECOND);
    aco_scopes_expire(loop, &task, ACO_NEVER);
    woken(loop, &task, ACO_ECANCELED);
    CHECK(scope.state == ACO_SCOPE_HARD);
    aco_scope_leave(loop, &scope);
    CHECK(loop->timers.count == 0);

    loop->grace = 0;
    CHECK(aco_scope_enter(loop, &scope, &task, ACO_NEVER) == ACO_OK);
    aco_scope_cancel(loop, &scope, ACO_ECANCELED);
    aco_scope_raised(loop, &scope);
    CHECK(!is_pending(&task));
    park(loop, &task);
    aco_loop_poll(loop, 0);
    woken(loop, &task, ACO_ECANCELED);
    for (int i = 0; i < 3; i++) {
        CHECK(scope.state == ACO_SCOPE_HARD && aco_scope_due(&task) == &scope);
        aco_scope_raised(loop, &scope);
    }
    aco_scope_leave(loop, &scope);
    CHECK(!is_pending(&task));
    loop->grace = ACO_GRACE;
}

/* The scope of the whole task is outside those that were there before it. */
static void
test_outermost(aco_loop *loop)
{
    aco_task task;
    aco_scope whole, inner;

    task_new(loop, &task);
    CHECK(aco_scope_enter(loop, &inner, &task, ACO_NEVER) == ACO_OK);
    aco_scope_enter_outermost(loop, &whole, &task);
    CHECK(task.scope == &inner && inner.outer == &whole && whole.outer == NULL);
    aco_scope_cancel(loop, &whole, ACO_ETERMINATED);
    CHECK(aco_scope_due(&task) == &whole);
    aco_scope_leave(loop, &inner);
    CHECK(aco_scope_due(&task) == &whole);
    aco_scope_leave(loop, &whole);
    CHECK(task.scope == NULL && !is_pending(&task));
}

int
main(void)
{
    aco_loop loop;

    CHECK(aco_loop_init(&loop, NULL) == ACO_OK);
    test_nested(&loop);
    test_wait(&loop);
    test_deadline(&loop);
    test_shield(&loop);
    test_grace(&loop);
    test_outermost(&loop);
    CHECK(loop.timers.count == 0 && loop.parked == 0);
    aco_loop_fini(&loop);
    return 0;
}
