/* SPDX-License-Identifier: MIT */
/* drain.c -- what other threads have posted for this engine, and requests: what a coro of another
 * engine wants to be done to one of ours.
 *
 * A request is an encoded table, the name of a method and its arguments. The engine of the coro
 * calls the local method and posts the results back. */
#include "bindings/cancel.h"
#include "bindings/channel.h"
#include "bindings/codec.h"
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

/* Requests, on the side that asks -------------------------------------------------------------- */

static int
request_results(lua_State *L, const char *method)
{
    const aco_msg *msg = acl_msg_unbox(L, -1);
    int err = acl_decode(L, aco_msg_data(msg), aco_msg_size(msg));

    if (err != ACO_OK || !lua_istable(L, -1))
        return acl_fail(L, ACO_EPROTOCOL, "%s: %s", method, luaL_tolstring(L, -1, NULL));
    int results = lua_gettop(L);
    lua_getfield(L, results, "n");
    int n = (int)lua_tointeger(L, -1);
    luaL_checkstack(L, n + 2, "too many results");
    for (int i = 1; i <= n; i++)
        lua_rawgeti(L, results, i);
    return n;
}

static int
request_k(lua_State *L, int status, lua_KContext ctx)
{
    acl_engine *e = acl_self(L);
    acl_coro *c = e->current;
    const char *method = (const char *)ctx;
    const acl_remote *r = lua_touserdata(L, 1);

    (void)status;
    e->reach->waits--;
    acl_wait_end(L, e, c);
    if (c->nvals == 1) return request_results(L, method);
    if (c->task.wake_err == ACO_ENOMEM) return luaL_error(L, "not enough memory");
    return acl_fail(L, ACO_ENOTFOUND, "%s: coro %s has ended", method, acl_remote_name(r));
}

/* Encode {method, arguments...} from the arguments above the handle at 1. */
static int
request_encode(lua_State *L, const char *method, aco_msg **msg)
{
    int n = lua_gettop(L);

    lua_createtable(L, n, 1);
    lua_pushstring(L, method);
    lua_rawseti(L, -2, 1);
    for (int i = 2; i <= n; i++) {
        lua_pushvalue(L, i);
        lua_rawseti(L, -2, i);
    }
    lua_pushinteger(L, n);
    lua_setfield(L, -2, "n");
    return acl_encode(L, lua_gettop(L), msg);
}

int
acl_request(lua_State *L, const char *method)
{
    acl_engine *e = acl_self(L);
    acl_remote *r = acl_remote_test(L, 1);
    bool waits = acl_can_wait(L, e);
    aco_msg *msg;

    if (waits) acl_wait_check(L, e, method);
    int err = request_encode(L, method, &msg);
    if (err != ACO_OK) return acl_fail(L, err, "%s: %s", method, lua_tostring(L, -1));
    acl_msg_box(L, msg);
    if (!acl_remote_watch(L, e, 1))
        return acl_fail(L, ACO_ENOTFOUND, "%s: coro %s has ended", method, acl_remote_name(r));
    aco_post *post = calloc(1, sizeof *post);
    if (post == NULL) return luaL_error(L, "not enough memory");
    post->kind = ACO_POST_REQUEST;
    post->object = aco_export_ref(r->x);
    post->msg = aco_msg_ref(acl_msg_unbox(L, -1));
    if (waits) {
        aco_return here = acl_return_here(e, e->current);
        post->task = here.task;
        post->token = here.token;
        post->from = aco_inbox_ref(here.inbox);
    }
    if (aco_export_post(r->x, post) != ACO_OK)
        return acl_fail(L, ACO_ENOTFOUND, "%s: coro %s has ended", method, acl_remote_name(r));
    if (!waits) {
        lua_pushboolean(L, 1);
        return 1;
    }
    aco_wait_begin(&e->current->task, ACO_WAIT_CALL);
    aco_wait_on(&e->current->task, &r->enders);
    e->reach->waits++;
    return acl_park(L, e, e->current, ACO_NEVER, (lua_KContext)method, request_k);
}

/* Requests, on the side of the coro ------------------------------------------------------------ */

static bool
is_requestable(const char *method)
{
    static const char *const methods[] = {"throw",      "resume", "hot_swap",
                                          "set_daemon", "status", "traceback"};

    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
        if (strcmp(method, methods[i]) == 0) return true;
    return false;
}

/* The results above stack index `first` - 1, encoded as a table with their number in n. */
static aco_msg *
results_encode(lua_State *L, int first)
{
    int n = lua_gettop(L) - first + 1;
    aco_msg *msg;

    lua_createtable(L, n, 1);
    lua_insert(L, first);
    for (int i = n; i >= 1; i--)
        lua_rawseti(L, first, i);
    lua_pushinteger(L, n);
    lua_setfield(L, first, "n");
    return acl_encode(L, first, &msg) == ACO_OK ? msg : NULL;
}

/* (engine, post): do it, and leave the encoded results in the post. */
static int
request_do(lua_State *L)
{
    acl_engine *e = lua_touserdata(L, 1);
    aco_post *post = lua_touserdata(L, 2);
    const aco_export *x = post->object;

    if (x->owner == NULL) return 0;
    if (acl_decode(L, aco_msg_data(post->msg), aco_msg_size(post->msg)) != ACO_OK)
        return lua_error(L);
    if (lua_rawgeti(L, 3, 1) != LUA_TSTRING || !is_requestable(lua_tostring(L, 4))) return 0;
    lua_getfield(L, 3, "n");
    int n = (int)lua_tointeger(L, -1);
    lua_settop(L, 4);
    luaL_checkstack(L, n + 8, "too many arguments");
    acl_export_local(L, e, x->serial);
    if (acl_coro_test(L, 5) == NULL) return 0;
    lua_getfield(L, 5, lua_tostring(L, 4));
    lua_insert(L, 5);
    for (int i = 2; i <= n; i++)
        lua_rawgeti(L, 3, i);
    lua_call(L, n, LUA_MULTRET);
    aco_msg *results = results_encode(L, 5);
    aco_msg_unref(post->msg);
    post->msg = results;
    return 0;
}

/* The failure of a request, its error on top, is the asker's: nil, message, "protocol". */
static int
request_failed(lua_State *L)
{
    aco_post *post = lua_touserdata(L, 2);

    luaL_tolstring(L, 1, NULL);
    lua_pushnil(L);
    lua_insert(L, -2);
    lua_pushstring(L, aco_err_word(ACO_EPROTOCOL));
    aco_msg *msg = results_encode(L, lua_gettop(L) - 2);
    aco_msg_unref(post->msg);
    post->msg = msg;
    return 0;
}

static void
request_serve(lua_State *L, acl_engine *e, aco_post *post)
{
    const aco_msg *asked = post->msg;

    lua_pushcfunction(L, request_do);
    lua_pushlightuserdata(L, e);
    lua_pushlightuserdata(L, post);
    if (lua_pcall(L, 2, 0, 0) != LUA_OK) {
        lua_pushcfunction(L, request_failed);
        lua_insert(L, -2);
        lua_pushlightuserdata(L, post);
        if (lua_pcall(L, 2, 0, 0) != LUA_OK) lua_pop(L, 1);
    }
    if (post->from == NULL) return;
    aco_post *answer = calloc(1, sizeof *answer);
    if (answer == NULL) return; /* the asker waits until the end of the coro */
    answer->kind = ACO_POST_REPLY;
    answer->task = post->task;
    answer->token = post->token;
    answer->err = ACO_ENOTFOUND;
    if (post->msg != asked) {
        answer->msg = post->msg;
        answer->err = post->msg != NULL ? ACO_OK : ACO_ENOMEM;
        post->msg = NULL;
    }
    aco_inbox_post(post->from, answer);
}

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

/* The answer to a call or request: the boxed message goes onto the stack of the coro that waits. */
static void
drain_reply(lua_State *L, acl_engine *e, aco_post *post)
{
    acl_coro *c = acl_return_find(e, post->task, post->token);
    int err = post->err;

    if (c == NULL || c->task.what != ACO_WAIT_CALL) return;
    if (err == ACO_OK) {
        lua_pushcfunction(L, box_light);
        lua_pushlightuserdata(L, post->msg);
        if (lua_pcall(L, 1, 1, 0) == LUA_OK) {
            lua_xmove(L, c->waiter, 1);
            aco_task_wake(&e->loop, &c->task, ACO_OK, 0);
            c->nvals = 1;
            return;
        }
        lua_pop(L, 1);
        err = ACO_ENOMEM;
    }
    aco_task_wake(&e->loop, &c->task, err, 0);
}

static int
unobserved(lua_State *L)
{
    acl_unobserved_add(L, lua_touserdata(L, 2), 1);
    return 0;
}

/* A coro that was watched has ended. */
static void
drain_exit(lua_State *L, acl_engine *e, aco_export *x)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, e->reach->watched_ref);
    lua_rawgetp(L, -1, x);
    acl_remote *r = acl_remote_test(L, -1);
    if (r != NULL) {
        lua_pushnil(L);
        lua_rawsetp(L, -3, x);
        aco_waitq_wake_all(&e->loop, &r->enders, ACO_OK);
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
        drain_exit(L, e, post->object);
        break;
    case ACO_POST_KILL:
        c = ((aco_export *)post->object)->owner;
        if (c != NULL) acl_terminate(e, c);
        break;
    case ACO_POST_REQUEST:
        request_serve(L, e, post);
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
