/* SPDX-License-Identifier: MIT */
/* scope.h -- cancel scopes: what may be cancelled as one, nested within a task.
 *
 * A scope is cancelled by its deadline or by somebody. A cancelled scope is raised in its task
 * once, at the wait it is in or at the next one; clean-up may then wait for ACO_GRACE, after which
 * every wait raises again until the scope has been left. A wait that had already completed keeps
 * its result. A shield hides the scopes around it. The outermost scope of a task, made when first
 * needed, stands for the whole task.
 *
 * A scope lives in memory of its owner from aco_scope_enter to aco_scope_leave; leaving is in any
 * order of code but always innermost first. All of it belongs to the loop's thread. */
#ifndef ACO_SCOPE_H
#define ACO_SCOPE_H

#include "core/engine/task.h"

enum aco_scope_state { ACO_SCOPE_OPEN, ACO_SCOPE_CANCELED, ACO_SCOPE_RAISED, ACO_SCOPE_HARD };

struct aco_scope {
    aco_scope *outer;
    aco_task *task;
    aco_timer timer; /* the deadline, and after a raise the end of the grace */
    uint8_t state;   /* enum aco_scope_state */
    bool shield;     /* cancels nothing itself; hides what is outside */
    int16_t reason;  /* why it was cancelled: an enum aco_err */
};

/** Enter a scope as the innermost of `task`. ACO_ENOMEM: not entered. */
ACO_MUSTUSE int aco_scope_enter(aco_loop *loop, aco_scope *scope, aco_task *task,
                                aco_time deadline);

/** Enter a shield: nothing outside is raised until it is left. */
void aco_shield_enter(aco_loop *loop, aco_scope *scope, aco_task *task);

/** Leave the innermost scope, which must be this one. */
void aco_scope_leave(aco_loop *loop, aco_scope *scope);

/** Make `scope` the outermost of its task, which has none: it stands for the whole task. */
void aco_scope_enter_outermost(aco_loop *loop, aco_scope *scope, aco_task *task);

/** Cancel: raised in the task as said above. A second cancel has no effect. */
void aco_scope_cancel(aco_loop *loop, aco_scope *scope, int reason);

/** The scope that is to be raised now in this task, NULL for none. */
aco_scope *aco_scope_due(const aco_task *task);

/** Say that `scope` is being raised: its grace begins. */
void aco_scope_raised(aco_loop *loop, aco_scope *scope);

/** The earliest deadline or end of grace of the task's scopes, ACO_NEVER for none. */
aco_time aco_scope_deadline(const aco_loop *loop, const aco_task *task);

/** Expire the scopes of this task whose timers are due at `now`. */
void aco_scopes_expire(aco_loop *loop, aco_task *task, aco_time now);

/** A scope's timer is due. */
void aco_scope_expire(aco_loop *loop, aco_scope *scope);

#endif
