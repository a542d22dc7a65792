/* SPDX-License-Identifier: MIT */
/* request.c -- what a coro wants to be done to a coro, or by an RCI, of another engine.
 *
 * A request is an encoded table, the name of a method and its arguments. The engine of the coro
 * calls the local method and posts the results back. */
#include "bindings/codec.h"
#include "bindings/coro.h"
#include "bindings/rci.h"
#include "bindings/reach.h"

#include <stdlib.h>
#include <string.h>

/* On the side that asks ------------------------------------------------------------------------ */

int
acl_ask_post(lua_State *L, acl_engine *e, aco_export *x, bool waits)
{
    aco_post *post = calloc(1, sizeof *post);

    if (post == NULL) return luaL_error(L, "not enough memory");
    post->kind = ACO_POST_REQUEST;
    post->object = aco_export_ref(x);
    post->msg = aco_msg_ref(acl_msg_unbox(L, -1));
    if (waits) {
        aco_return here = acl_return_here(e, e->current);
        post->task = here.task;
        post->token = here.token;
        post->from = aco_inbox_ref(here.inbox);
    }
    return aco_export_post(x, post);
}

int
acl_ask_encode(lua_State *L, const char *method, int first, aco_msg **msg)
{
    int n = lua_gettop(L) - first + 1; /* arguments */

    luaL_checkstack(L, 4, NULL);
    lua_createtable(L, n + 1, 1);
    lua_pushstring(L, method);
    lua_rawseti(L, -2, 1);
    for (int i = 0; i < n; i++) {
        lua_pushvalue(L, first + i);
        lua_rawseti(L, -2, i + 2);
    }
    lua_pushinteger(L, n + 1);
    lua_setfield(L, -2, "n");
    return acl_encode(L, lua_gettop(L), msg);
}

int
acl_ask_results(lua_State *L, const char *method)
{
    int err = acl_msg_open(L);

    if (err == ACO_OK && !lua_istable(L, -1)) err = ACO_EPROTOCOL;
    if (err != ACO_OK) return acl_fail(L, err, "%s: %s", method, luaL_tolstring(L, -1, NULL));
    int results = lua_gettop(L);
    lua_pushliteral(L, "n");
    lua_rawget(L, results);
    lua_Integer n = lua_tointeger(L, -1);
    if (n < 0 || n > INT32_MAX / 2 || !lua_checkstack(L, (int)n + 2))
        return acl_fail(L, ACO_EPROTOCOL, "%s: malformed results", method);
    for (lua_Integer i = 1; i <= n; i++)
        lua_rawgeti(L, results, i);
    return (int)n;
}

const char *
acl_ask_words(lua_State *L, int err)
{
    const acl_coro *c = acl_self(L)->current;

    if (c->nvals != 1 || acl_msg_open(L) != ACO_OK || lua_type(L, -1) != LUA_TSTRING)
        return aco_err_text(err);
    return lua_tostring(L, -1);
}

static int request_k(lua_State *L, int status, lua_KContext ctx);

static int
request_park(lua_State *L, acl_engine *e, acl_remote *r, const char *method)
{
    aco_wait_begin(&e->current->task, ACO_WAIT_CALL);
    aco_wait_on(&e->current->task, &r->enders);
    e->reach->waits++;
    return acl_park(L, e, e->current, ACO_NEVER, (lua_KContext)method, request_k);
}

/* There is no coro any more that could do it. How it has ended comes from another process only when
 * that is watched. */
static int
request_late(lua_State *L, acl_engine *e, acl_remote *r, const char *method)
{
    static const char *const words[] = {
        [ACO_FINISHED] = "finished", [ACO_FAILED] = "failed", [ACO_TERMINATED] = "terminated"};

    if (strcmp(method, "is_alive") == 0) {
        lua_pushboolean(L, 0);
        return 1;
    }
    if (strcmp(method, "status") != 0)
        return acl_fail(L, ACO_ENOTFOUND, "%s: %s has ended", method, acl_remote_text(L, r));
    if (acl_remote_lives(r) && acl_can_wait(L, e) && acl_remote_watch(L, e, 1))
        return request_park(L, e, r, method);
    if (acl_remote_lives(r) || atomic_load(&r->x->reason) == ACO_UNKNOWN)
        return acl_fail(L, ACO_ENOTFOUND, "%s: nothing is known of %s", method,
                        acl_remote_text(L, r));
    lua_pushstring(L, words[atomic_load(&r->x->reason)]);
    return 1;
}

static int
request_k(lua_State *L, int status, lua_KContext ctx)
{
    acl_engine *e = acl_self(L);
    acl_coro *c = e->current;
    const char *method = (const char *)ctx;
    acl_remote *r = lua_touserdata(L, 1);
    int err = c->task.wake_err;

    (void)status;
    e->reach->waits--;
    if (err != ACO_OK) acl_return_forget(e, c, r->x);
    acl_wait_end(L, e, c);
    if (err == ACO_OK && c->nvals == 1) return acl_ask_results(L, method);
    if (err == ACO_OK || err == ACO_ENOTFOUND) return request_late(L, e, r, method);
    if (err == ACO_ENOMEM) return luaL_error(L, "not enough memory");
    if (err == ACO_EPEERDOWN) return acl_remote_lost(L, r, method);
    const char *words = acl_ask_words(L, err);
    return acl_fail(L, err, "%s: %s: %s", method, acl_remote_text(L, r), words);
}

int
acl_request(lua_State *L, const char *method)
{
    acl_engine *e = acl_self(L);
    acl_remote *r = acl_remote_test(L, 1);
    bool waits = acl_can_wait(L, e);
    aco_msg *msg;

    if (waits) acl_wait_check(L, e, method);
    int err = acl_ask_encode(L, method, 2, &msg);
    if (err != ACO_OK) return acl_fail(L, err, "%s: %s", method, lua_tostring(L, -1));
    acl_msg_box(L, msg);
    if (!acl_remote_watch(L, e, 1)) return request_late(L, e, r, method);
    err = acl_ask_post(L, e, r->x, waits);
    if (err == ACO_EPEERDOWN) return acl_remote_lost(L, r, method);
    if (err == ACO_ETOOLARGE)
        return acl_fail(L, err, "%s: the message is too large for %s", method,
                        acl_remote_text(L, r));
    if (err == ACO_ENOMEM) return luaL_error(L, "not enough memory");
    if (err != ACO_OK) return request_late(L, e, r, method);
    if (waits) return request_park(L, e, r, method);
    lua_pushboolean(L, 1);
    return 1;
}

/* On the side of the coro ---------------------------------------------------------------------- */

static bool
is_requestable(const char *method)
{
    static const char *const methods[] = {"throw",  "resume",    "hot_swap", "set_daemon",
                                          "status", "traceback", "monitor",  "is_alive"};

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

/* The results from stack index `first` on are the answer. */
static int
request_answer(lua_State *L, aco_post *post, int first)
{
    aco_msg *results = results_encode(L, first);

    aco_msg_unref(post->msg);
    post->msg = results;
    return 0;
}

/* Push the coro's method and the coro; false: there is none. */
static bool
push_method(lua_State *L, acl_engine *e, const aco_export *x, const char *method)
{
    if (!is_requestable(method)) return false;
    acl_export_local(L, e, x->serial);
    if (acl_coro_test(L, -1) == NULL) return false;
    lua_getfield(L, -1, method);
    lua_insert(L, -2);
    return true;
}

/* (engine, post): do it, and leave the encoded results in the post. */
enum { DO_ENGINE = 1, DO_POST, DO_ASKED, DO_METHOD, DO_RESULTS };

static int
request_do(lua_State *L)
{
    acl_engine *e = lua_touserdata(L, DO_ENGINE);
    aco_post *post = lua_touserdata(L, DO_POST);
    const aco_export *x = post->object;

    if (x->owner == NULL) return 0;
    int err = acl_decode_msg(L, post->msg);
    if (err == ACO_OK && !lua_istable(L, DO_ASKED)) err = ACO_EPROTOCOL;
    if (err != ACO_OK) {
        acl_fail(L, err, "%s", luaL_tolstring(L, DO_ASKED, NULL));
        return request_answer(L, post, lua_gettop(L) - 2);
    }
    if (lua_rawgeti(L, DO_ASKED, 1) != LUA_TSTRING) return 0;
    lua_pushliteral(L, "n");
    lua_rawget(L, DO_ASKED);
    lua_Integer n = lua_tointeger(L, -1);
    lua_settop(L, DO_METHOD);
    if (n < 1 || n > INT32_MAX / 2 || !lua_checkstack(L, (int)n + 8)) return 0;
    bool known = x->kind == ACO_KIND_RCI ? acl_rci_serve(L, e, x, post)
                                         : push_method(L, e, x, lua_tostring(L, DO_METHOD));
    if (!known) return 0;
    int given = lua_gettop(L) - DO_METHOD - 1;
    for (lua_Integer i = 2; i <= n; i++)
        lua_rawgeti(L, DO_ASKED, i);
    lua_call(L, given + (int)n - 1, LUA_MULTRET);
    return request_answer(L, post, DO_RESULTS);
}

/* The failure of a request, its error on top, is the asker's: nil, message, "protocol". */
static int
request_failed(lua_State *L)
{
    luaL_tolstring(L, 1, NULL);
    lua_pushnil(L);
    lua_insert(L, -2);
    lua_pushstring(L, aco_err_word(ACO_EPROTOCOL));
    return request_answer(L, lua_touserdata(L, 2), lua_gettop(L) - 2);
}

void
acl_request_serve(lua_State *L, acl_engine *e, aco_post *post)
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
