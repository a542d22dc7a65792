/* SPDX-License-Identifier: MIT */
/* drain.c -- what other threads have posted for this engine. */
#include "bindings/cancel.h"
#include "bindings/channel.h"
#include "bindings/coro.h"
#include "bindings/engine.h"
#include "bindings/isolate.h"
#include "bindings/reach.h"
#include "bindings/remote.h"
#include "bindings/report.h"
#include "bindings/run.h"

#include "core/engine/pool.h"

#include <stdlib.h>
#include <string.h>

/* Posts ---------------------------------------------------------------------------------------- */

static void
drain_mail(acl_engine *e, aco_post *notice)
{
    aco_mailbox *mailbox = aco_mailbox_noticed(notice);
    aco_task *task = aco_mailbox_task(mailbox);
    acl_coro *c = (acl_coro *)task;

    /* Without a look a message that was taken before its notice came would end the next wait. */
    if (task != NULL && (task->flags & ACO_TASK_RECEIVE) && aco_mailbox_count(mailbox) > 0)
        aco_task_wake(&e->loop, task, ACO_OK, c->receive_index);
    aco_mailbox_unref(mailbox);
}

static int
box_light(lua_State *L)
{
    aco_msg *msg = lua_touserdata(L, 1);

    acl_msg_box(L, aco_msg_ref(msg));
    return 1;
}

/* The answer to a call, a request, a search: the boxed message, if there is one, goes onto the
 * stack of the coro that waits. */
static void
drain_reply(lua_State *L, acl_engine *e, aco_post *post)
{
    acl_coro *c = acl_return_find(e, post->task, post->token);
    int err = post->err;
    bool boxed = false;

    if (c == NULL || (c->task.what != ACO_WAIT_CALL && c->task.what != ACO_WAIT_NAME)) return;
    if (post->msg != NULL) {
        lua_pushcfunction(L, box_light);
        lua_pushlightuserdata(L, post->msg);
        boxed = lua_pcall(L, 1, 1, 0) == LUA_OK;
        if (boxed) {
            lua_xmove(L, c->waiter, 1);
        } else {
            lua_pop(L, 1);
            err = ACO_ENOMEM;
        }
    }
    aco_task_wake(&e->loop, &c->task, err, 0);
    c->nvals = boxed;
}

static int
unobserved(lua_State *L)
{
    acl_unobserved_add(L, lua_touserdata(L, 2), 1);
    return 0;
}

/* A coro that was watched has ended; ACO_EPEERDOWN: its process was lost. */
static void
drain_exit(lua_State *L, acl_engine *e, aco_export *x, int err)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, e->reach->watched_ref);
    lua_rawgetp(L, -1, x);
    acl_remote *r = acl_remote_any(L, -1);
    if (r != NULL) {
        lua_pushnil(L);
        lua_rawsetp(L, -3, x);
        r->watched = false;
        aco_waitq_wake_all(&e->loop, &r->enders, err);
        if (r->isolate && atomic_load(&x->reason) == ACO_FAILED && !aco_export_observed(x)) {
            lua_pushcfunction(L, unobserved);
            lua_pushvalue(L, -2);
            lua_pushlightuserdata(L, e);
            if (lua_pcall(L, 2, 0, 0) != LUA_OK) lua_pop(L, 1);
        }
    }
    lua_pop(L, 2);
}

static void
drain_signal(lua_State *L, acl_engine *e, int number)
{
    if (e->reach->self == NULL)
        e->interrupted = number;
    else
        acl_program_cancel(L, e);
}

static int
report(lua_State *L)
{
    const aco_msg *text = lua_touserdata(L, 1);

    lua_pushlstring(L, aco_msg_data(text), aco_msg_size(text));
    acl_report(L, acl_engine_get(L), lua_tostring(L, -1));
    return 0;
}

static void
drain_report(lua_State *L, aco_post *post)
{
    lua_pushcfunction(L, report);
    lua_pushlightuserdata(L, post->msg);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK) lua_pop(L, 1);
}

static void
drain_post(lua_State *L, acl_engine *e, aco_post *post)
{
    acl_coro *c;

    switch (post->kind) {
    case ACO_POST_SPACE:
        c = acl_return_find(e, post->task, post->token);
        if (c != NULL) aco_task_wake(&e->loop, &c->task, ACO_OK, 0);
        break;
    case ACO_POST_REPLY:
        drain_reply(L, e, post);
        break;
    case ACO_POST_NAME:
        aco_waitq_wake_all(&e->loop, &e->reach->names, ACO_OK);
        break;
    case ACO_POST_ENDED:
        acl_isolate_ended(e, post->token, post->err);
        break;
    case ACO_POST_SIGNAL:
        drain_signal(L, e, post->err);
        break;
    case ACO_POST_EXIT:
        drain_exit(L, e, post->object, post->err);
        break;
    case ACO_POST_KILL:
        c = ((aco_export *)post->object)->owner;
        if (c != NULL) acl_terminate(e, c);
        break;
    case ACO_POST_REQUEST:
        acl_request_serve(L, e, post);
        break;
    case ACO_POST_JOB:
        aco_job_done(&e->loop, post->object);
        break;
    case ACO_POST_REPORT:
        drain_report(L, post);
        break;
    case ACO_POST_CHANNEL:
        acl_channel_serve(L, e, post);
        break;
    default:
        break;
    }
}

/* Add what has come to what is left. */
static void
todo_take(acl_engine *e)
{
    aco_post **end = &e->reach->todo;

    while (*end != NULL)
        end = &(*end)->next;
    *end = aco_inbox_take(e->loop.inbox);
}

void
acl_remote_drain(lua_State *L, acl_engine *e)
{
    struct acl_reach *reach = e->reach;
    acl_coro *current = e->current; /* that the leash has stopped: nobody runs meanwhile */

    aco_seat_busy(reach->seat);
    luaL_checkstack(L, 8, NULL);
    todo_take(e);
    if (reach->todo == NULL) return;
    e->current = NULL;
    while (reach->todo != NULL) {
        aco_post *post = reach->todo;
        reach->todo = post->next;
        if (post->kind == ACO_POST_MAIL) {
            drain_mail(e, post);
            continue;
        }
        drain_post(L, e, post);
        aco_post_free(post);
    }
    e->current = current;
}

bool
acl_remote_awaits(const acl_engine *e)
{
    const struct acl_reach *reach = e->reach;

    if (reach->exported == 0 && !reach->away && reach->waits == 0 &&
        acl_isolates_alive(e, true) == 0)
        return false;
    if (!aco_seat_idle(reach->seat)) return true;
    if (reach->self == NULL)
        return false; /* all engines wait for each other: the first one says so */
    acl_isolate_tell(e);
    return true;
}
