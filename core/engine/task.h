/* SPDX-License-Identifier: MIT */
/* task.h -- tasks and the one way in which they wait.
 *
 * A task is a record inside memory of its owner (core never allocates one). It is NEW, READY (in
 * the loop's run queue), RUNNING, PARKED (waiting) or DONE. A wait has one or more clauses, each in
 * the wait queue of something that may happen, and perhaps a deadline; the first to fire completes
 * the wait, takes every other clause out of its queue and makes the task READY. So a wait completes
 * exactly once, and a completed wait can be reached by no stale wake-up: nothing refers to it any
 * more.
 *
 * Waking only queues; nobody runs inside somebody else's call. All of it belongs to the loop's
 * thread. */
#ifndef ACO_TASK_H
#define ACO_TASK_H

#include "core/base/link.h"
#include "core/engine/timer.h"

typedef struct aco_loop aco_loop;
typedef struct aco_task aco_task;
typedef struct aco_scope aco_scope;
typedef struct aco_mailbox aco_mailbox;

enum aco_state { ACO_NEW, ACO_READY, ACO_RUNNING, ACO_PARKED, ACO_DONE };

/** What a task is waiting for, for people (see aco_wait_text). */
enum aco_wait_kind {
    ACO_WAIT_TURN,
    ACO_WAIT_SLEEP,
    ACO_WAIT_SUSPEND,
    ACO_WAIT_RECEIVE,
    ACO_WAIT_SEND,
    ACO_WAIT_CALL,
    ACO_WAIT_FINISH,
    ACO_WAIT_QUEUE,
    ACO_WAIT_LOCK,
    ACO_WAIT_SELECT,
    ACO_WAIT_NAME,
    ACO_WAIT_FD,
    ACO_WAIT_READ,
    ACO_WAIT_WRITE,
    ACO_WAIT_CONNECT,
    ACO_WAIT_ACCEPT,
    ACO_WAIT_JOB,
    ACO_WAIT_PROCESS,
    ACO_WAIT_CHANNEL,
    ACO_WAIT_KINDS
};

/** A queue of waiting clauses, first come first served. Initialise with aco_list_init. */
typedef aco_link aco_waitq;

typedef struct aco_clause {
    aco_link link; /* in an aco_waitq */
    aco_task *task;
    uint32_t index; /* which of the wait's clauses this is */
} aco_clause;

enum aco_task_flag {
    ACO_TASK_MANY = 1,    /* the wait's clauses are an array of its own, at clause.link.next */
    ACO_TASK_RECEIVE = 2, /* a message completes the wait */
    ACO_TASK_RESUME = 4,  /* the wait is a suspend: resume completes it */
};

/** Why a running task must not simply go on: set by scopes, throw and swaps; tested before every
 * wait. */
enum aco_task_pending { ACO_PENDING_CANCEL = 1, ACO_PENDING_THROW = 2, ACO_PENDING_SWAP = 4 };

struct aco_task {
    aco_task *next;       /* run queue */
    aco_clause clause;    /* of a wait with a single clause; else the head of the array */
    aco_waitq enders;     /* clauses that wait for the end of this task */
    aco_mailbox *mailbox; /* owned reference; NULL until first needed */
    aco_scope *scope;     /* innermost cancel scope */
    uint64_t id;          /* serial number within the engine, never reused */
    aco_timer timer;      /* deadline of the wait */
    uint32_t slot;        /* a number of the owner's */
    uint8_t state;        /* enum aco_state */
    uint8_t flags;        /* enum aco_task_flag */
    uint8_t pending;      /* enum aco_task_pending */
    uint8_t what;         /* enum aco_wait_kind */
    int16_t wake_err;     /* how the last wait ended: ACO_OK or an error */
    uint16_t wake_index;  /* index of the clause that fired */
};

void aco_task_init(aco_task *task, uint64_t id);

/** Put a task that is not parked at the end of the run queue. */
void aco_task_ready(aco_loop *loop, aco_task *task);

/** Begin a wait of the running task; add clauses, then aco_wait_park. */
void aco_wait_begin(aco_task *task, enum aco_wait_kind what);

/** The single clause of this wait: wait in `queue`. */
void aco_wait_on(aco_task *task, aco_waitq *queue);

/** Use `clauses` (memory of the caller, valid until the wait is over) for a wait with `count`
 * clauses; the caller then links those it needs by aco_wait_on_clause. */
void aco_wait_on_many(aco_task *task, aco_clause *clauses, uint32_t count);
void aco_wait_on_clause(aco_clause *clause, aco_waitq *queue);

/** End the wait with ACO_ETIMEOUT at `deadline` (ACO_NEVER: no deadline). ACO_ENOMEM: the wait is
 * taken back. */
ACO_MUSTUSE int aco_wait_deadline(aco_loop *loop, aco_task *task, aco_time deadline);

/** From now on the wait may complete. */
void aco_wait_park(aco_loop *loop, aco_task *task);

/** Complete the wait of a parked task: false, and no effect, when it is not parked. */
bool aco_task_wake(aco_loop *loop, aco_task *task, int err, uint32_t index);

/** Complete the wait of the first waiter in the queue and return its task, NULL when nobody waits.
 */
aco_task *aco_waitq_wake_one(aco_loop *loop, aco_waitq *queue, int err);

/** Wake everybody in the queue; how many. */
size_t aco_waitq_wake_all(aco_loop *loop, aco_waitq *queue, int err);

/** The task has ended: wakes those who wait for it. */
void aco_task_done(aco_loop *loop, aco_task *task);

/** The same for one for whose end nobody waits. */
static inline void
aco_task_leave(aco_task *task)
{
    assert(aco_list_empty(&task->enders));
    task->state = ACO_DONE;
}

/** "receive", "sleep" ...: for reports. */
const char *aco_wait_text(const aco_task *task);

#endif
