/* SPDX-License-Identifier: MIT */
#include "core/engine/task.h"
#include "core/base/error.h"
#include "core/engine/loop.h"

static const char *const wait_texts[ACO_WAIT_KINDS] = {
    [ACO_WAIT_TURN] = "its turn",      [ACO_WAIT_SLEEP] = "sleep",
    [ACO_WAIT_SUSPEND] = "suspend",    [ACO_WAIT_RECEIVE] = "receive",
    [ACO_WAIT_SEND] = "send",          [ACO_WAIT_CALL] = "call",
    [ACO_WAIT_FINISH] = "finish",      [ACO_WAIT_QUEUE] = "wait",
    [ACO_WAIT_SELECT] = "select",      [ACO_WAIT_NAME] = "locate",
    [ACO_WAIT_FD] = "file descriptor", [ACO_WAIT_LOCK] = "acquire",
    [ACO_WAIT_READ] = "read",          [ACO_WAIT_WRITE] = "write",
    [ACO_WAIT_CONNECT] = "connect",    [ACO_WAIT_ACCEPT] = "accept",
    [ACO_WAIT_JOB] = "another thread", [ACO_WAIT_PROCESS] = "the end of a program",
    [ACO_WAIT_CHANNEL] = "channel",
};

void
aco_task_init(aco_task *task, uint64_t id)
{
    task->next = NULL; /* one by one: compilers make a string instruction of an assignment, which
                          takes longer than all the rest of a spawn's own work */
    task->clause.link = (aco_link){NULL, NULL};
    task->clause.task = task;
    task->clause.index = 0;
    aco_list_init(&task->enders);
    task->mailbox = NULL;
    task->scope = NULL;
    task->id = id;
    task->timer = (aco_timer){.place = 0, .kind = ACO_TIMER_WAIT};
    task->slot = 0;
    task->state = ACO_NEW;
    task->flags = task->pending = task->what = 0;
    task->wake_err = 0;
    task->wake_index = 0;
}

void
aco_task_ready(aco_loop *loop, aco_task *task)
{
    assert(task->state == ACO_NEW || task->state == ACO_RUNNING);
    task->state = ACO_READY;
    aco_loop_push(loop, task);
}

void
aco_wait_begin(aco_task *task, enum aco_wait_kind what)
{
    assert(task->state == ACO_RUNNING);
    task->what = (uint8_t)what;
    task->flags = 0;
}

void
aco_wait_on(aco_task *task, aco_waitq *queue)
{
    task->clause.index = 0;
    aco_list_append(queue, &task->clause.link);
}

void
aco_wait_on_many(aco_task *task, aco_clause *clauses, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        clauses[i] = (aco_clause){.task = task, .index = i};
    task->flags |= ACO_TASK_MANY;
    task->clause.link.next = (aco_link *)clauses;
    task->clause.index = count;
}

void
aco_wait_on_clause(aco_clause *clause, aco_waitq *queue)
{
    aco_list_append(queue, &clause->link);
}

static void
wait_detach(aco_loop *loop, aco_task *task)
{
    if (task->flags & ACO_TASK_MANY) {
        aco_clause *clauses = (aco_clause *)task->clause.link.next;
        for (uint32_t i = 0; i < task->clause.index; i++)
            aco_link_remove(&clauses[i].link);
        task->clause.link = (aco_link){NULL, NULL};
    } else {
        aco_link_remove(&task->clause.link);
    }
    aco_timer_stop(&loop->timers, &task->timer);
    task->flags = 0;
}

int
aco_wait_deadline(aco_loop *loop, aco_task *task, aco_time deadline)
{
    if (deadline == ACO_NEVER) return ACO_OK;
    int err = aco_timer_start(&loop->timers, &task->timer, deadline);
    if (err != ACO_OK) wait_detach(loop, task);
    return err;
}

void
aco_wait_park(aco_loop *loop, aco_task *task)
{
    assert(task->state == ACO_RUNNING);
    task->state = ACO_PARKED;
    loop->parked++;
}

bool
aco_task_wake(aco_loop *loop, aco_task *task, int err, uint32_t index)
{
    if (task->state != ACO_PARKED) return false;
    wait_detach(loop, task);
    loop->parked--;
    task->wake_err = (int16_t)err;
    task->wake_index = (uint16_t)index;
    task->state = ACO_READY;
    aco_loop_push(loop, task);
    return true;
}

aco_task *
aco_waitq_wake_one(aco_loop *loop, aco_waitq *queue, int err)
{
    if (aco_list_empty(queue)) return NULL;
    aco_clause *clause = ACO_CONTAINER_OF(queue->next, aco_clause, link);
    aco_task_wake(loop, clause->task, err, clause->index);
    return clause->task;
}

size_t
aco_waitq_wake_all(aco_loop *loop, aco_waitq *queue, int err)
{
    size_t count = 0;

    while (aco_waitq_wake_one(loop, queue, err) != NULL)
        count++;
    return count;
}

void
aco_task_done(aco_loop *loop, aco_task *task)
{
    assert(task->state == ACO_RUNNING || task->state == ACO_NEW || task->state == ACO_READY);
    task->state = ACO_DONE;
    aco_waitq_wake_all(loop, &task->enders, ACO_OK);
}

const char *
aco_wait_text(const aco_task *task)
{
    return wait_texts[task->what];
}
