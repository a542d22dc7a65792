/* SPDX-License-Identifier: MIT */
/* remote.c -- handles of coros of other engines, as the form in which handles travel makes them.
 *
 * They have the methods of local handles, and are interned in a weak table, so that equal ones are
 * one value. Messages go straight into the coro's mailbox, or to its process (dispatch.c); whatever
 * else is to be done to it is a request to its engine (request.c). A handle of a coro of this
 * engine that has been collected is such a handle too, and one of a coro of which nothing is known.
 *
 * Of a coro of another process is known what has been heard: it lives until its end is told, for
 * which it must be watched. When its process is lost whoever waits hears of that, and the handle
 * goes on. */
#include "bindings/remote.h"
#include "bindings/channel.h"
#include "bindings/codec.h"
#include "bindings/coro.h"
#include "bindings/location.h"
#include "bindings/rci.h"
#include "bindings/reach.h"
#include "bindings/report.h"

#include <stdlib.h>
#include <string.h>

#define MSG_NAME "asyncoro.msg"

/* Boxed messages ------------------------------------------------------------------------------- */

static int
msg_gc(lua_State *L)
{
    aco_msg **box = lua_touserdata(L, 1);

    aco_msg_unref(*box);
    *box = NULL;
    return 0;
}

static int
msg_box_new(lua_State *L)
{
    aco_msg **box = lua_newuserdatauv(L, sizeof *box, 0);

    *box = NULL;
    luaL_setmetatable(L, MSG_NAME);
    return 1;
}

void
acl_msg_box(lua_State *L, aco_msg *msg)
{
    int status = LUA_ERRMEM;

    if (lua_checkstack(L, 2)) {
        lua_pushcfunction(L, msg_box_new);
        status = lua_pcall(L, 0, 1, 0);
    }
    if (status != LUA_OK) {
        aco_msg_unref(msg);
        luaL_error(L, "not enough memory");
        return;
    }
    *(aco_msg **)lua_touserdata(L, -1) = msg;
}

aco_msg *
acl_msg_unbox(lua_State *L, int idx)
{
    return *(aco_msg **)lua_touserdata(L, idx);
}

int
acl_msg_open(lua_State *L)
{
    const aco_msg *msg = acl_msg_unbox(L, -1);
    int err = acl_decode_msg(L, msg);

    lua_remove(L, -2);
    return err;
}

/* Handles -------------------------------------------------------------------------------------- */

acl_remote *
acl_remote_any(lua_State *L, int idx)
{
    if (lua_rawlen(L, idx) != sizeof(acl_remote)) return NULL;
    acl_remote *r = lua_touserdata(L, idx);
    return r != NULL && r->self == r ? r : NULL;
}

acl_remote *
acl_remote_test(lua_State *L, int idx)
{
    acl_remote *r = acl_remote_any(L, idx);

    return r != NULL && r->kind == ACO_KIND_CORO ? r : NULL;
}

acl_remote *
acl_remote_check(lua_State *L, int idx)
{
    acl_remote *r = acl_remote_test(L, idx);

    if (r == NULL) {
        luaL_typeerror(L, idx, "coro");
        __builtin_unreachable(); /* it raises */
    }
    return r;
}

static int
remote_gc(lua_State *L)
{
    acl_remote *r = acl_remote_test(L, 1);

    if (r == NULL) return 0;
    aco_export_unref(r->x);
    r->x = NULL;
    return 0;
}

const char *
acl_remote_name(const acl_remote *r)
{
    return r->x != NULL ? r->x->name : "?";
}

bool
acl_remote_is_far(const acl_remote *r)
{
    return r->x != NULL && r->x->far;
}

const char *
acl_remote_text(lua_State *L, const acl_remote *r)
{
    bool placed = acl_remote_is_far(r) && r->x->route[0] != '\0';

    return lua_pushfstring(L, "%s %s%s%s", r->kind == ACO_KIND_RCI ? "rci" : "coro",
                           acl_remote_name(r), placed ? " at " : "", placed ? r->x->route : "");
}

bool
acl_remote_lives(const acl_remote *r)
{
    return r->x != NULL && atomic_load(&r->x->reason) == ACO_ALIVE;
}

int
acl_remote_lost(lua_State *L, const acl_remote *r, const char *what)
{
    return acl_fail(L, ACO_EPEERDOWN, "%s: the process of %s has gone, or cannot be reached", what,
                    acl_remote_text(L, r));
}

static bool
is_here(const acl_engine *e, const aco_identity *identity)
{
    const uint8_t *id = aco_process_id(e->reach->process);

    return memcmp(identity->process, id, sizeof identity->process) == 0;
}

aco_export *
acl_export_known(const acl_engine *e, const aco_identity *identity, enum aco_kind kind,
                 const char *route, const char *name)
{
    aco_process *process = e->reach->process;
    aco_export *x = is_here(e, identity)
                        ? aco_export_find(process, identity->engine, identity->serial)
                        : aco_export_far(process, identity, kind, route, name);

    if (x == NULL || x->kind == (uint8_t)kind) return x;
    aco_export_unref(x);
    return NULL;
}

/* Make the handle for an identity that has none here, and keep it in the table on top, which goes.
 */
static void
remote_new(lua_State *L, acl_engine *e, const aco_identity *identity, const char *route,
           const char *name)
{
    acl_remote *r = lua_newuserdatauv(L, sizeof *r, 0);

    memset(r, 0, sizeof *r);
    aco_identity_write(identity, r->key);
    aco_list_init(&r->enders);
    r->self = r;
    luaL_setmetatable(L, ACL_REMOTE_META);
    lua_pushlstring(L, (const char *)r->key, sizeof r->key);
    lua_pushvalue(L, -2);
    lua_rawset(L, -4);
    lua_remove(L, -2);
    r->x = acl_export_known(e, identity, ACO_KIND_CORO, route, name);
}

void
acl_remote_push(lua_State *L, acl_engine *e, const aco_identity *identity, const char *route,
                const char *name)
{
    uint8_t key[ACO_IDENTITY_SIZE];

    luaL_checkstack(L, 8, NULL);
    if (identity->engine == e->reach->number && is_here(e, identity)) {
        acl_export_local(L, e, identity->serial);
        if (!lua_isnil(L, -1)) return;
        lua_pop(L, 1);
    }
    aco_identity_write(identity, key);
    lua_rawgeti(L, LUA_REGISTRYINDEX, e->reach->remotes_ref);
    lua_pushlstring(L, (const char *)key, sizeof key);
    if (lua_rawget(L, -2) != LUA_TNIL) {
        lua_remove(L, -2);
        return;
    }
    lua_pop(L, 1);
    remote_new(L, e, identity, route, name);
}

void
acl_remote_push_export(lua_State *L, acl_engine *e, const aco_export *x)
{
    aco_identity identity;

    aco_export_identity(x, &identity);
    acl_remote_push(L, e, &identity, x->far ? x->route : "", x->name);
}

size_t
acl_export_write(const acl_engine *e, const aco_export *x, uint8_t payload[ACO_HANDLE_MAX])
{
    aco_identity identity;
    uint8_t key[ACO_IDENTITY_SIZE];

    aco_export_identity(x, &identity);
    aco_identity_write(&identity, key);
    return aco_handle_write(key, x->far ? x->route : aco_process_route(e->reach->process), x->name,
                            payload);
}

size_t
acl_handle_encode(lua_State *L, int idx, int *type, uint8_t payload[ACO_HANDLE_MAX])
{
    acl_remote *r = acl_remote_test(L, idx);
    acl_engine *e = acl_engine_get(L);

    *type = ACL_EXT_CORO;
    if (r != NULL && r->x == NULL) return aco_handle_write(r->key, "", "?", payload);
    if (r != NULL) return acl_export_write(e, r->x, payload);
    if (acl_coro_test(L, idx) != NULL) return acl_export_write(e, acl_export(L, e, idx), payload);
    *type = ACL_EXT_RCI;
    size_t size = acl_rci_encode(L, e, idx, payload);
    if (size > 0) return size;
    *type = ACL_EXT_LOCATION;
    size = acl_location_encode(L, idx, payload);
    if (size > 0 || acl_channel_test(L, idx) == NULL) return size;
    *type = ACL_EXT_CHANNEL;
    return acl_channel_encode(L, idx, payload);
}

bool
acl_handle_decode(lua_State *L, int type, const void *data, size_t size)
{
    char route[ACO_ROUTE_MAX + 1], name[ACO_NAME_MAX + 1];
    aco_identity identity;

    if (type == ACL_EXT_LOCATION) return acl_location_decode(L, data, size);
    if (type < ACL_EXT_CORO || type > ACL_EXT_RCI) {
        lua_pushfstring(L, "malformed message: a handle of an unknown kind (%d)", type);
        return false;
    }
    if (!aco_handle_read(data, size, &identity, route, name)) {
        lua_pushliteral(L, "malformed message: a handle that is cut off, or too long");
        return false;
    }
    acl_engine *e = acl_engine_get(L);
    if (e->reach == NULL) {
        lua_pushliteral(L, "the engine of this Lua state has been closed");
        return false;
    }
    if (type == ACL_EXT_RCI)
        acl_rci_push(L, e, &identity, route, name);
    else if (type == ACL_EXT_CHANNEL)
        acl_channel_push(L, e, &identity, route, name);
    else
        acl_remote_push(L, e, &identity, route, name);
    return true;
}

/* Have the end of the coro at idx posted to this engine. The handle stays until then. */
bool
acl_remote_watch(lua_State *L, acl_engine *e, int idx)
{
    acl_remote *r = lua_touserdata(L, idx);

    if (e->reach == NULL || !acl_remote_lives(r)) return false;
    if (r->watched) return true;
    idx = lua_absindex(L, idx);
    lua_rawgeti(L, LUA_REGISTRYINDEX, e->reach->watched_ref);
    lua_pushvalue(L, idx);
    lua_rawsetp(L, -2, r->x);
    int err = aco_export_watch(r->x, e->reach->seat);
    if (err == ACO_OK) {
        r->watched = true;
    } else {
        lua_pushnil(L);
        lua_rawsetp(L, -2, r->x);
    }
    lua_pop(L, 1);
    if (err == ACO_ENOMEM) luaL_error(L, "not enough memory");
    return err == ACO_OK;
}

aco_waitq *
acl_remote_enders(lua_State *L, acl_engine *e, int idx)
{
    acl_remote *r = acl_remote_test(L, idx);

    return r != NULL && acl_remote_watch(L, e, idx) ? &r->enders : NULL;
}

/* The end ----------------------------------------------------------------------------------------
 */

/* Push the results in the exit message at idx. */
static int
outcome_values(lua_State *L, int idx)
{
    if (lua_getfield(L, idx, "values") != LUA_TTABLE) {
        lua_getfield(L, idx, "error");
        return acl_fail(L, ACO_EUNSENDABLE, "finish: %s", luaL_tolstring(L, -1, NULL));
    }
    int values = lua_gettop(L);
    lua_getfield(L, values, "n");
    lua_Integer n = lua_tointeger(L, -1);
    if (n < 0 || n > INT32_MAX / 2 || !lua_checkstack(L, (int)n + 4))
        return luaL_error(L, "finish: too many results");
    lua_pushboolean(L, 1);
    for (lua_Integer i = 1; i <= n; i++)
        lua_rawgeti(L, values, i);
    return (int)n + 1;
}

int
acl_remote_outcome(lua_State *L, acl_remote *r)
{
    int reason = atomic_load(&r->x->reason);

    atomic_store(&r->x->observed, true);
    if (reason == ACO_UNKNOWN)
        return acl_fail(L, ACO_ENOTFOUND, "finish: nothing is known of %s", acl_remote_text(L, r));
    if (reason == ACO_TERMINATED) {
        lua_pushboolean(L, 0);
        lua_pushliteral(L, "terminated");
        return 2;
    }
    aco_msg *exit = aco_export_exit(r->x);
    if (exit == NULL)
        return acl_fail(L, ACO_ENOMEM, "finish: there was no memory to keep the outcome");
    acl_msg_box(L, exit);
    int err = acl_msg_open(L), message = lua_gettop(L);
    if (err == ACO_OK && !lua_istable(L, message)) err = ACO_EPROTOCOL;
    if (err != ACO_OK) return acl_fail(L, err, "finish: %s", luaL_tolstring(L, message, NULL));
    if (reason == ACO_FINISHED) return outcome_values(L, message);
    lua_pushboolean(L, 0);
    lua_getfield(L, message, "error");
    lua_getfield(L, message, "traceback");
    return 3;
}

static int
finish_k(lua_State *L, int status, lua_KContext ctx)
{
    acl_engine *e = acl_self(L);
    acl_remote *r = lua_touserdata(L, 1);

    (void)status;
    (void)ctx;
    e->reach->waits--;
    atomic_fetch_sub(&r->x->waiters, 1);
    acl_wait_end(L, e, e->current);
    if (!acl_remote_lives(r)) return acl_remote_outcome(L, r);
    if (e->current->task.wake_err == ACO_EPEERDOWN) return acl_remote_lost(L, r, "finish");
    return acl_fail(L, ACO_ETIMEOUT, "finish: %s has not ended in time", acl_remote_text(L, r));
}

/* Only a look: at what is known. One of another process is watched from the first look on. */
static int
finish_look(lua_State *L, acl_engine *e, acl_remote *r)
{
    if (r->x->far && !acl_remote_watch(L, e, 1)) return acl_remote_outcome(L, r);
    return acl_fail(L, ACO_ETIMEOUT, "finish: %s has not ended", acl_remote_text(L, r));
}

static int
remote_finish(lua_State *L)
{
    acl_engine *e = acl_self(L);
    acl_remote *r = acl_remote_check(L, 1);
    aco_time deadline = acl_opt_deadline(L, 2);

    if (r->x == NULL) return acl_fail(L, ACO_ENOTFOUND, "finish: nothing is known of this coro");
    if (!acl_remote_lives(r)) return acl_remote_outcome(L, r);
    if (deadline == 0) return finish_look(L, e, r);
    acl_coro *c = acl_wait_check(L, e, "finish");
    atomic_fetch_add(&r->x->waiters,
                     1); /* before the look: it is observed, or seen to have ended */
    if (!acl_remote_watch(L, e, 1)) {
        atomic_fetch_sub(&r->x->waiters, 1);
        return acl_remote_outcome(L, r);
    }
    aco_wait_begin(&c->task, ACO_WAIT_FINISH);
    aco_wait_on(&c->task, &r->enders);
    e->reach->waits++;
    return acl_park(L, e, c, deadline, 0, finish_k);
}

/* Takes over the message. */
static int
exit_put(aco_msg *exit, aco_mailbox *to)
{
    aco_parcel *parcel = exit != NULL ? aco_parcel_new(exit, NULL) : NULL;

    aco_msg_unref(exit);
    if (parcel == NULL) return ACO_ENOMEM;
    int err = aco_mailbox_post_forced(to, parcel);
    if (err != ACO_OK) aco_parcel_free(parcel);
    return err;
}

/* Give the exit message of a coro that has ended, or of which nothing is known. */
static int
exit_give(const acl_remote *r, aco_mailbox *to)
{
    if (r->x == NULL) return exit_put(aco_exit_new(r->key, "", "?", "notfound", NULL), to);
    atomic_store(&r->x->observed, true);
    return exit_put(aco_export_exit(r->x), to);
}

/* The same of a coro to which no way leads. */
static int
exit_lost(const acl_remote *r, aco_mailbox *to)
{
    return exit_put(acl_exit_plain(r->x, "peerdown", NULL), to);
}

int
acl_remote_monitor(lua_State *L, acl_engine *e, int observed, int monitor)
{
    acl_remote *r = acl_remote_check(L, observed), *to = acl_remote_test(L, monitor);
    aco_mailbox *mailbox;

    if (to == NULL) {
        acl_coro *c = acl_coro_check(L, monitor);
        if (c->flags & ACL_ENDED)
            return acl_fail(L, ACO_ENOTFOUND, "monitor: the monitor has ended");
        mailbox = acl_export_mailbox(L, e, monitor);
    } else {
        mailbox = to->x != NULL ? to->x->mailbox : NULL;
    }
    if (mailbox == NULL || aco_mailbox_closed(mailbox))
        return acl_fail(L, ACO_ENOTFOUND, "monitor: the monitor has ended");
    int err = ACO_ENOTFOUND;
    if (acl_remote_is_far(r) && acl_remote_lives(r) && !acl_reach_has_gate(e))
        err = exit_lost(r, mailbox);
    else if (r->x != NULL)
        err = aco_export_monitor(r->x, mailbox);
    if (err == ACO_ENOTFOUND) err = exit_give(r, mailbox);
    if (err == ACO_ENOMEM) return luaL_error(L, "not enough memory");
    lua_pushboolean(L, 1);
    return 1;
}

/* remote:monitor(observed): the observed coro may be of any engine. A monitor of another process
 * asks there, so that its own process follows the other coro. */
static int
remote_monitor(lua_State *L)
{
    const acl_remote *r = acl_remote_check(L, 1);

    lua_settop(L, 2);
    if (acl_remote_is_far(r)) {
        if (acl_coro_test(L, 2) == NULL) acl_remote_check(L, 2);
        return acl_request(L, "monitor");
    }
    if (acl_remote_test(L, 2) != NULL) return acl_remote_monitor(L, acl_self(L), 2, 1);
    acl_coro_check(L, 2);
    if (!acl_remote_lives(r)) return acl_fail(L, ACO_ENOTFOUND, "monitor: the monitor has ended");
    lua_insert(L, 1);
    return acl_monitor_local(L);
}

void
acl_remote_report(lua_State *L, acl_engine *e, int idx)
{
    acl_remote *r = acl_remote_test(L, idx);
    int top = lua_gettop(L);

    if (r == NULL || r->x == NULL) return;
    int count = acl_remote_outcome(L, r); /* false, error, traceback */
    int error = lua_gettop(L) - count + 2;
    const char *trace = lua_tostring(L, error + 1);
    acl_error_text(L, error);
    const char *text = lua_tostring(L, -1);
    lua_pushfstring(L, "%s failed: %s%s%s", acl_remote_text(L, r), text, trace != NULL ? "\n" : "",
                    trace != NULL ? trace : "");
    acl_report(L, e, lua_tostring(L, -1));
    lua_settop(L, top);
}

/* What else there is to do to it -----------------------------------------------------------------
 */

/* terminate and close: the engine of the coro acts on it, nobody waits for that. */
static int
remote_kill(lua_State *L, acl_remote *r)
{
    if (!acl_remote_lives(r)) return ACO_ENOTFOUND;
    aco_post *post = calloc(1, sizeof *post);
    if (post == NULL) return luaL_error(L, "not enough memory");
    post->kind = ACO_POST_KILL;
    post->object = aco_export_ref(r->x);
    return aco_export_post(r->x, post);
}

static int
remote_terminate(lua_State *L)
{
    acl_remote *r = acl_remote_check(L, 1);
    int err = remote_kill(L, r);

    if (err == ACO_EPEERDOWN) return acl_remote_lost(L, r, "terminate");
    if (err != ACO_OK) return acl_fail(L, err, "terminate: %s", aco_err_text(err));
    lua_pushboolean(L, 1);
    return 1;
}

static int
remote_close(lua_State *L)
{
    remote_kill(L, acl_remote_check(L, 1));
    lua_pushboolean(L, 1);
    return 1;
}

static int
remote_throw(lua_State *L)
{
    acl_remote_check(L, 1);
    luaL_checkany(L, 2);
    lua_settop(L, 2);
    return acl_request(L, "throw");
}

static int
remote_resume(lua_State *L)
{
    acl_remote_check(L, 1);
    lua_settop(L, 2);
    return acl_request(L, "resume");
}

static int
remote_hot_swap(lua_State *L)
{
    acl_remote_check(L, 1);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    return acl_request(L, "hot_swap");
}

static int
remote_set_daemon(lua_State *L)
{
    acl_remote_check(L, 1);
    lua_pushboolean(L, lua_isnoneornil(L, 2) || lua_toboolean(L, 2));
    lua_replace(L, 2);
    lua_settop(L, 2);
    return acl_request(L, "set_daemon");
}

static int
remote_traceback(lua_State *L)
{
    acl_remote_check(L, 1);
    lua_settop(L, 1);
    return acl_request(L, "traceback");
}

static int
remote_status(lua_State *L)
{
    const acl_remote *r = acl_remote_check(L, 1);

    if (r->x == NULL) return acl_fail(L, ACO_ENOTFOUND, "status: nothing is known of this coro");
    lua_settop(L, 1);
    return acl_request(L, "status");
}

static int
remote_name(lua_State *L)
{
    lua_pushstring(L, acl_remote_name(acl_remote_check(L, 1)));
    return 1;
}

static int
remote_id(lua_State *L)
{
    aco_identity identity;

    aco_identity_read(&identity, acl_remote_check(L, 1)->key);
    lua_pushinteger(L, (lua_Integer)identity.serial);
    return 1;
}

/* Of one of another process it is a question to that process, where this code can wait. */
static int
remote_is_alive(lua_State *L)
{
    const acl_remote *r = acl_remote_check(L, 1);

    lua_settop(L, 1);
    if (acl_remote_is_far(r) && acl_remote_lives(r) && acl_can_wait(L, acl_self(L)))
        return acl_request(L, "is_alive");
    lua_pushboolean(L, acl_remote_lives(r));
    return 1;
}

/*** As far as is known here, without a wait: has the coro ended? For our own Lua files.
@function has_ended
@tparam coro coro
@treturn boolean
@local */
static int
has_ended(lua_State *L)
{
    const acl_coro *c = acl_coro_test(L, 1);
    const acl_remote *r = c == NULL ? acl_remote_check(L, 1) : NULL;

    if (c != NULL)
        lua_pushboolean(L, (c->flags & ACL_ENDED) != 0);
    else
        lua_pushboolean(L, !acl_remote_lives(r));
    return 1;
}

static int
remote_tostring(lua_State *L)
{
    acl_remote_check(L, 1);
    const acl_remote *r = lua_touserdata(L, 1);
    aco_identity identity;

    aco_identity_read(&identity, r->key);
    bool placed = acl_remote_is_far(r) && r->x->route[0] != '\0';
    lua_pushfstring(L, "coro %s#%I@%d%s%s", acl_remote_name(r), (LUAI_UACINT)identity.serial,
                    (int)identity.engine, placed ? " at " : "", placed ? r->x->route : "");
    return 1;
}

static int
remote_eq(lua_State *L)
{
    const acl_remote *a = acl_remote_test(L, 1), *b = acl_remote_test(L, 2);

    lua_pushboolean(L, a != NULL && b != NULL && memcmp(a->key, b->key, sizeof a->key) == 0);
    return 1;
}

/*** Where the coro is: the route to its process. Does not wait.
@function coro:location
@treturn ?location nil when it is in this process and that has no network */
static int
location(lua_State *L)
{
    acl_engine *e = acl_self(L);
    const acl_remote *r = acl_coro_test(L, 1) == NULL ? acl_remote_check(L, 1) : NULL;

    if (r != NULL && acl_remote_is_far(r))
        acl_location_push(L, r->x->route);
    else
        acl_location_push(L, e->reach != NULL ? aco_process_route(e->reach->process) : "");
    return 1;
}

/*** Tell the handle of a coro of another engine.
@function is_remote
@param value any value
@treturn boolean */
static int
is_remote(lua_State *L)
{
    luaL_checkany(L, 1);
    lua_pushboolean(L, acl_remote_test(L, 1) != NULL);
    return 1;
}

/* They serve handles of both kinds, as those of names.c do. */
static const luaL_Reg common_methods[] = {{"location", location}, {NULL, NULL}};

static const luaL_Reg remote_funcs[] = {
    {"is_remote", is_remote}, {"has_ended", has_ended}, {NULL, NULL}};

static const luaL_Reg remote_methods[] = {{"send", acl_remote_send},
                                          {"deliver", acl_remote_deliver},
                                          {"call", acl_remote_call},
                                          {"finish", remote_finish},
                                          {"monitor", remote_monitor},
                                          {"terminate", remote_terminate},
                                          {"close", remote_close},
                                          {"throw", remote_throw},
                                          {"resume", remote_resume},
                                          {"hot_swap", remote_hot_swap},
                                          {"set_daemon", remote_set_daemon},
                                          {"traceback", remote_traceback},
                                          {"status", remote_status},
                                          {"name", remote_name},
                                          {"id", remote_id},
                                          {"is_alive", remote_is_alive},
                                          {NULL, NULL}};

static const luaL_Reg remote_meta[] = {{"__gc", remote_gc},
                                       {"__tostring", remote_tostring},
                                       {"__eq", remote_eq},
                                       {"__close", remote_close},
                                       {NULL, NULL}};

void
acl_open_remote(lua_State *L, acl_engine *e)
{
    acl_reach_open(L, e);
    if (luaL_newmetatable(L, MSG_NAME)) {
        lua_pushcfunction(L, msg_gc);
        lua_setfield(L, -2, "__gc");
    }
    lua_pop(L, 1);
    luaL_newmetatable(L, ACL_REMOTE_META);
    acl_setfuncs(L, e, remote_meta);
    lua_pushliteral(L, "coro");
    lua_setfield(L, -2, "__name");
    lua_newtable(L);
    acl_setfuncs(L, e, remote_methods);
    acl_setfuncs(L, e, common_methods);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
    acl_setmethods(L, e, common_methods);
    acl_setfuncs(L, e, remote_funcs);
    acl_open_names(L, e);
    acl_open_channel(L, e);
}
