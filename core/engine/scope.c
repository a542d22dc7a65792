/* SPDX-License-Identifier: MIT */
#include "core/engine/scope.h"
#include "core/base/clock.h"
#include "core/base/error.h"
#include "core/engine/loop.h"

/* Recompute whether the task has something to raise; wake it from its wait when it has. */
static void
scope_update(aco_loop *loop, aco_task *task)
{
    if (aco_scope_due(task) == NULL) {
        task->pending &= (uint8_t)~ACO_PENDING_CANCEL;
        return;
    }
    task->pending |= ACO_PENDING_CANCEL;
    aco_task_wake(loop, task, ACO_ECANCELED, 0);
}

static void
scope_init(aco_scope *scope, aco_task *task, bool shield)
{
    *scope = (aco_scope){.task = task, .shield = shield, .timer.kind = ACO_TIMER_SCOPE};
}

int
aco_scope_enter(aco_loop *loop, aco_scope *scope, aco_task *task, aco_time deadline)
{
    scope_init(scope, task, false);
    if (deadline != ACO_NEVER) {
        int err = aco_timer_start(&loop->timers, &scope->timer, deadline);
        if (err != ACO_OK) return err;
    }
    scope->outer = task->scope;
    task->scope = scope;
    return ACO_OK;
}

void
aco_shield_enter(aco_loop *loop, aco_scope *scope, aco_task *task)
{
    scope_init(scope, task, true);
    scope->outer = task->scope;
    task->scope = scope;
    scope_update(loop, task);
}

void
aco_scope_leave(aco_loop *loop, aco_scope *scope)
{
    aco_task *task = scope->task;

    assert(task->scope == scope);
    aco_timer_stop(&loop->timers, &scope->timer);
    task->scope = scope->outer;
    scope_update(loop, task);
}

void
aco_scope_enter_outermost(aco_loop *loop, aco_scope *scope, aco_task *task)
{
    aco_scope **last = &task->scope;

    (void)loop;
    scope_init(scope, task, false);
    while (*last != NULL)
        last = &(*last)->outer;
    *last = scope;
}

void
aco_scope_cancel(aco_loop *loop, aco_scope *scope, int reason)
{
    if (scope->state != ACO_SCOPE_OPEN) return;
    aco_timer_stop(&loop->timers, &scope->timer);
    scope->state = ACO_SCOPE_CANCELED;
    scope->reason = (int16_t)reason;
    scope_update(loop, scope->task);
}

aco_scope *
aco_scope_due(const aco_task *task)
{
    aco_scope *due = NULL;

    for (aco_scope *s = task->scope; s != NULL && !s->shield; s = s->outer)
        if (s->state == ACO_SCOPE_CANCELED || s->state == ACO_SCOPE_HARD) due = s;
    return due;
}

void
aco_scope_raised(aco_loop *loop, aco_scope *scope)
{
    if (scope->state != ACO_SCOPE_CANCELED) return;
    scope->state = ACO_SCOPE_RAISED;
    /* without memory for the timer there is no grace: the next wait raises again */
    if (aco_timer_start(&loop->timers, &scope->timer, aco_now() + loop->grace) != ACO_OK)
        scope->state = ACO_SCOPE_HARD;
    scope_update(loop, scope->task);
}

aco_time
aco_scope_deadline(const aco_loop *loop, const aco_task *task)
{
    aco_time deadline = ACO_NEVER;

    for (aco_scope *s = task->scope; s != NULL && !s->shield; s = s->outer) {
        if (s->timer.place == 0) continue;
        aco_time at = aco_timer_deadline(&loop->timers, &s->timer);
        if (at < deadline) deadline = at;
    }
    return deadline;
}

void
aco_scope_expire(aco_loop *loop, aco_scope *scope)
{
    if (scope->state == ACO_SCOPE_OPEN) {
        aco_scope_cancel(loop, scope, ACO_ETIMEOUT);
    } else if (scope->state == ACO_SCOPE_RAISED) {
        scope->state = ACO_SCOPE_HARD;
        scope_update(loop, scope->task);
    }
}

void
aco_scopes_expire(aco_loop *loop, aco_task *task, aco_time now)
{
    for (aco_scope *s = task->scope; s != NULL; s = s->outer) {
        if (s->timer.place == 0 || aco_timer_deadline(&loop->timers, &s->timer) > now) continue;
        aco_timer_stop(&loop->timers, &s->timer);
        aco_scope_expire(loop, s);
    }
}
