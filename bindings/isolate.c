/* SPDX-License-Identifier: MIT */
/* isolate.c -- engines on threads of their own.
 *
 * The creator makes the Lua state and its engine, ships the function into it, and gives it to a new
 * thread, which runs the program to its end and closes the state. The two share nothing but a small
 * record; afterwards they talk as any two engines do. An isolate has the process of its creator,
 * whose program waits for it; a state that is closed joins the threads it has started. */
#include "bindings/isolate.h"
#include "bindings/codec.h"
#include "bindings/coro.h"
#include "bindings/coroutine.h"
#include "bindings/leash.h"
#include "bindings/reach.h"
#include "bindings/remote.h"
#include "bindings/report.h"
#include "bindings/run.h"
#include "bindings/state.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/base/clock.h"

/* How many seconds longer than the grace a state that is closed waits for a thread that does not
 * end; how many isolates the text of a deadlock names. */
enum { JOIN_MARGIN = 2, ISOLATES_LISTED = 20 };

typedef struct acl_isolate {
    struct acl_isolate *next; /* of the creator's */
    atomic_uint refs;         /* the creator and the thread */
    atomic_bool daemon;
    pthread_t thread;
    lua_State *L;       /* of the thread, once it runs */
    aco_inbox *creator; /* owned reference */
    aco_inbox *inbox;   /* owned reference: its own */
    aco_post *stop;     /* made before, so that the end needs no memory; NULL: it has been told */
    aco_time told;      /* when */
    char *name;
    struct acl_leash_options leash;
} acl_isolate;

static void
isolate_unref(acl_isolate *iso)
{
    if (atomic_fetch_sub(&iso->refs, 1) != 1) return;
    aco_inbox_unref(iso->creator);
    aco_inbox_unref(iso->inbox);
    if (iso->stop != NULL) aco_post_free(iso->stop);
    free(iso->name);
    free(iso);
}

/* In the isolate ------------------------------------------------------------------------------- */

/* What the isolate has to say is said by its creator. */
static void
isolate_report(void *arg, const char *text)
{
    acl_isolate *iso = arg;
    aco_post *post = calloc(1, sizeof *post);

    if (post == NULL) return;
    post->kind = ACO_POST_REPORT;
    post->msg = aco_msg_new(text, strlen(text));
    if (post->msg != NULL)
        aco_inbox_post(iso->creator, post);
    else
        aco_post_free(post);
}

static int
isolate_body_k(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    return lua_gettop(L);
}

/* The main coro: decode what was shipped, {function, arguments..., n =}, and call it. */
static int
isolate_body(lua_State *L)
{
    lua_settop(L, 1);            /* the boxed message */
    lua_getglobal(L, "require"); /* again: what makes it fail is this coro's error */
    lua_pushliteral(L, "asyncoro");
    lua_call(L, 1, 0);
    const aco_msg *msg = acl_msg_unbox(L, 1);
    if (acl_decode_msg(L, msg) != ACO_OK)
        return luaL_error(L, "isolate: %s", luaL_tolstring(L, -1, NULL));
    lua_getfield(L, 2, "n");
    int n = (int)lua_tointeger(L, -1);
    luaL_checkstack(L, n + 2, "too many arguments");
    lua_settop(L, 2);
    for (int i = 1; i <= n; i++)
        lua_rawgeti(L, 2, i);
    lua_remove(L, 2);
    lua_remove(L, 1);
    lua_callk(L, n - 1, LUA_MULTRET, 0, isolate_body_k);
    return isolate_body_k(L, LUA_OK, 0);
}

static int
isolate_run(lua_State *L)
{
    acl_engine *e = acl_engine_get(L);
    acl_isolate *iso = lua_touserdata(L, 1);

    lua_getglobal(L, "require"); /* before the first message, which may need it; see isolate_body */
    lua_pushliteral(L, "asyncoro");
    if (lua_pcall(L, 1, 0, 0) != LUA_OK) lua_pop(L, 1);
    acl_coroutine_patch(L, e, true);
    acl_leash_start(L, e, &iso->leash);
    int end = acl_program_finish(L, e);
    acl_leash_stop(e);
    if (end == ACL_PROGRAM_DEADLOCK) {
        lua_rawgetp(L, LUA_REGISTRYINDEX, &e->program);
        lua_pushfstring(L, "isolate %s: %s", iso->name, lua_tostring(L, -1));
        acl_report(L, e, lua_tostring(L, -1));
        e->failures++;
    }
    lua_pushboolean(L, e->failures > 0);
    return 1;
}

static void *
isolate_thread(void *arg)
{
    acl_isolate *iso = arg;
    lua_State *L = iso->L;
    bool failed = true;

    lua_pushcfunction(L, isolate_run);
    lua_pushlightuserdata(L, iso);
    if (lua_pcall(L, 1, 1, 0) == LUA_OK)
        failed = lua_toboolean(L, -1);
    else
        isolate_report(iso,
                       lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "an isolate failed");
    aco_seat *seat = acl_engine_get(L)->reach->seat;
    acl_state_close(L);
    aco_inbox_signal(iso->creator, ACO_POST_ENDED, 0, (uint64_t)(uintptr_t)iso, failed);
    aco_seat_leave(
        seat); /* not before: an engine less, and nothing posted, looks like a deadlock */
    isolate_unref(iso);
    return NULL;
}

void
acl_isolate_tell(const acl_engine *e)
{
    aco_inbox_wake(e->reach->self->creator);
}

bool
acl_isolate_set_daemon(acl_engine *e, bool daemon)
{
    if (e->reach->self == NULL) return false;
    atomic_store(&e->reach->self->daemon, daemon);
    aco_inbox_wake(e->reach->self->creator);
    return true;
}

/* In the creator ------------------------------------------------------------------------------- */

size_t
acl_isolates_alive(const acl_engine *e, bool all)
{
    size_t count = 0;

    if (e->reach == NULL) return 0;
    for (const acl_isolate *iso = e->reach->isolates; iso != NULL; iso = iso->next)
        if (all || !atomic_load(&iso->daemon)) count++;
    return count;
}

size_t
acl_isolates_text(lua_State *L, const acl_engine *e)
{
    size_t count = 0;

    lua_pushliteral(L, "");
    for (const acl_isolate *iso = e->reach->isolates; iso != NULL; iso = iso->next, count++) {
        if (count >= ISOLATES_LISTED) continue;
        lua_pushfstring(L, "%s\n  isolate %s waits for others", lua_tostring(L, -1), iso->name);
        lua_remove(L, -2);
    }
    return count;
}

static void
isolate_stop(acl_isolate *iso)
{
    aco_post *stop = iso->stop;

    if (stop == NULL) return;
    iso->stop = NULL;
    iso->told = aco_now();
    aco_inbox_post(iso->inbox, stop);
}

void
acl_isolates_stop(lua_State *L, acl_engine *e)
{
    (void)L;
    for (acl_isolate *iso = e->reach->isolates; iso != NULL; iso = iso->next)
        isolate_stop(iso);
}

void
acl_isolate_ended(acl_engine *e, uint64_t token, int failed)
{
    for (acl_isolate **at = &e->reach->isolates; *at != NULL; at = &(*at)->next) {
        acl_isolate *iso = *at;
        if ((uint64_t)(uintptr_t)iso != token) continue;
        *at = iso->next;
        pthread_join(iso->thread, NULL);
        isolate_unref(iso);
        if (failed) e->failures++;
        return;
    }
}

/* Wait for the thread for as long as clean-up may take from when it was told to end. */
static bool
isolate_join(const acl_isolate *iso, aco_time grace)
{
    aco_time left = iso->told + grace + JOIN_MARGIN * ACO_SECOND - aco_now();
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    if (left > 0) {
        left += until.tv_nsec;
        until.tv_sec += (time_t)(left / ACO_SECOND);
        until.tv_nsec = (long)(left % ACO_SECOND);
    }
    return pthread_timedjoin_np(iso->thread, NULL, &until) == 0;
}

void
acl_isolates_join(acl_engine *e)
{
    acl_isolates_stop(NULL, e);
    while (e->reach->isolates != NULL) {
        acl_isolate *iso = e->reach->isolates;
        e->reach->isolates = iso->next;
        if (!isolate_join(iso, e->loop.grace)) {
            char text[256];
            snprintf(text, sizeof text,
                     "isolate %s does not end: its thread, in a C call, is left behind", iso->name);
            acl_report(e->L, e, text);
            pthread_detach(iso->thread); /* it owns all that it uses */
        }
        isolate_unref(iso);
    }
}

/* isolate(...) ----------------------------------------------------------------------------------
 */

typedef struct isolate_options {
    bool daemon;
    size_t mailbox, memory;
    const char *name; /* on the stack */
} isolate_options;

static void
option_unknown(lua_State *L, const char *key)
{
    luaL_error(L, "isolate: unknown option '%s' (name, daemon, mailbox and memory are known)", key);
}

static void
option_read(lua_State *L, const char *key, isolate_options *o)
{
    if (strcmp(key, "daemon") == 0) {
        if (!lua_isboolean(L, -1))
            luaL_error(L, "isolate: option 'daemon' must be true or false, not a %s",
                       luaL_typename(L, -1));
        o->daemon = lua_toboolean(L, -1);
    } else if (strcmp(key, "mailbox") == 0) {
        lua_Integer limit = lua_tointeger(L, -1);
        if (limit < 1 || limit > UINT32_MAX / 2)
            luaL_error(L, "isolate: option 'mailbox' must be a number of messages, 1 or more");
        o->mailbox = (size_t)limit;
    } else if (strcmp(key, "memory") == 0) {
        lua_Integer limit = lua_tointeger(L, -1);
        if (limit < 1)
            luaL_error(L, "isolate: option 'memory' must be a number of bytes, 1 or more");
        o->memory = (size_t)limit;
    } else if (strcmp(key, "name") == 0) {
        if (lua_type(L, -1) != LUA_TSTRING)
            luaL_error(L, "isolate: option 'name' must be a string");
        o->name = lua_tostring(L, -1); /* stays in the table of options */
    } else {
        option_unknown(L, key);
    }
}

static void
options_read(lua_State *L, int idx, isolate_options *o)
{
    lua_pushnil(L);
    while (lua_next(L, idx)) {
        if (lua_type(L, -2) != LUA_TSTRING) option_unknown(L, luaL_tolstring(L, -2, NULL));
        option_read(L, lua_tostring(L, -2), o);
        lua_pop(L, 1);
    }
}

/* What the new state is made of; lives on the creator's C stack. */
typedef struct isolate_seed {
    acl_engine *creator;
    acl_isolate *iso;
    aco_msg *msg; /* owned until it is boxed */
    const isolate_options *options;
    const char *name, *path, *cpath;
    aco_export *x; /* made: a reference of the creator's */
} isolate_seed;

static void
set_paths(lua_State *L, const isolate_seed *seed)
{
    lua_getglobal(L, "package");
    if (seed->path != NULL) {
        lua_pushstring(L, seed->path);
        lua_setfield(L, -2, "path");
    }
    if (seed->cpath != NULL) {
        lua_pushstring(L, seed->cpath);
        lua_setfield(L, -2, "cpath");
    }
    lua_pop(L, 1);
}

/* In the new state, on the creator's thread: open it and start its program. */
static int
isolate_prepare(lua_State *L)
{
    isolate_seed *seed = lua_touserdata(L, 1);

    acl_reach_of(L, seed->creator->reach->process);
    lua_settop(L, 0);
    acl_state_open_libs(L);
    acl_engine *e = acl_engine_get(L);
    set_paths(L, seed);
    e->reach->asks_first = seed->creator->reach->asks_first;
    e->loop.grace = seed->creator->loop.grace;
    lua_pushcfunction(L, isolate_body);
    aco_msg *msg = seed->msg;
    seed->msg = NULL;
    acl_msg_box(L, msg);
    acl_program_start(L, e, 1);
    acl_coro *c = lua_touserdata(L, -1);
    acl_extras(L, 1);
    lua_pushstring(L, seed->name);
    lua_setfield(L, -2, "name");
    lua_settop(L, 1);
    if (seed->options->mailbox > 0) acl_mailbox(L, c, seed->options->mailbox);
    seed->x = aco_export_ref(acl_export(L, e, 1));
    e->on_error = isolate_report;
    e->on_error_arg = seed->iso;
    seed->iso->inbox = aco_inbox_ref(e->loop.inbox);
    return 0;
}

static acl_isolate *
isolate_new(acl_engine *e, const char *name, bool daemon)
{
    acl_isolate *iso = calloc(1, sizeof *iso);

    if (iso == NULL) return NULL;
    atomic_init(&iso->refs, 1);
    atomic_init(&iso->daemon, daemon);
    iso->leash.on = e->watchdog.running;
    iso->leash.stall = (double)e->watchdog.stall / (double)ACO_SECOND;
    iso->creator = aco_inbox_ref(e->loop.inbox);
    iso->stop = calloc(1, sizeof *iso->stop);
    iso->name = strdup(name);
    if (iso->stop != NULL && iso->name != NULL) {
        iso->stop->kind = ACO_POST_SIGNAL;
        return iso;
    }
    isolate_unref(iso);
    return NULL;
}

/* Start the thread. Signals are the creator's: the new thread takes none but those that its own
 * code causes; the leash lets through its own. */
static int
isolate_start(acl_isolate *iso)
{
    static const int own[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS, SIGPROF};
    sigset_t block, old;

    sigfillset(&block);
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        sigdelset(&block, own[i]);
    pthread_sigmask(SIG_BLOCK, &block, &old);
    atomic_fetch_add(&iso->refs, 1); /* the thread's */
    int err = pthread_create(&iso->thread, NULL, isolate_thread, iso);
    if (err != 0) atomic_fetch_sub(&iso->refs, 1);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return err == 0 ? ACO_OK : aco_err_from_errno(err);
}

/* Make the state and start its thread. ACO_OK: seed->x is its coro. Otherwise a text is pushed. */
static int
isolate_make(lua_State *L, acl_engine *e, isolate_seed *seed)
{
    acl_isolate *iso = seed->iso;

    iso->L = acl_state_new(seed->options->memory);
    if (iso->L == NULL) {
        lua_pushliteral(L, "not enough memory");
        return ACO_ENOMEM;
    }
    lua_pushcfunction(iso->L, isolate_prepare);
    lua_pushlightuserdata(iso->L, seed);
    int status = lua_pcall(iso->L, 1, 0, 0), err = ACO_ENOMEM;
    if (status == LUA_OK) {
        struct acl_reach *reach = acl_engine_get(iso->L)->reach;
        reach->self = iso; /* from here on the seat is the thread's to leave */
        err = isolate_start(iso);
        if (err != ACO_OK) reach->self = NULL;
    }
    if (err == ACO_OK) {
        iso->next = e->reach->isolates;
        e->reach->isolates = iso;
        return ACO_OK;
    }
    const char *said = status == LUA_OK ? aco_err_text(err) : lua_tostring(iso->L, -1);
    char text[256];
    snprintf(text, sizeof text, "%s", said != NULL ? said : "?");
    if (status != LUA_OK && status != LUA_ERRMEM) err = ACO_ESYSTEM;
    acl_state_close(iso->L);
    lua_pushstring(L, text);
    return err;
}

/* Encode {function, arguments...} from stack index `function` on; a refusal says which argument. */
static int
isolate_encode(lua_State *L, int function, aco_msg **msg)
{
    int n = lua_gettop(L) - function + 1;

    lua_createtable(L, n, 1);
    lua_insert(L, function);
    for (int i = n; i >= 1; i--)
        lua_rawseti(L, function, i);
    lua_pushinteger(L, n);
    lua_setfield(L, function, "n");
    int err = acl_encode(L, function, msg);
    if (err == ACO_OK) return err;
    const char *text = lua_tostring(L, -1);
    int place = 0, rest = 0;
    if (sscanf(text, "message[%d]%n", &place, &rest) == 1 && rest > 0) {
        if (place == 1)
            lua_pushfstring(L, "the function%s", text + rest);
        else
            lua_pushfstring(L, "argument %d%s", place - 1, text + rest);
    }
    return err;
}

static const char *
package_path(lua_State *L, const char *field)
{
    lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    if (lua_getfield(L, -1, "package") == LUA_TTABLE && lua_getfield(L, -1, field) == LUA_TSTRING)
        return lua_tostring(L, -1);
    return NULL;
}

/* Push the handle of the new isolate, which this engine watches. */
static void
isolate_push(lua_State *L, acl_engine *e, aco_export *x)
{
    acl_remote_push_export(L, e, x);
    acl_remote *r = acl_remote_test(L, -1);
    r->isolate = true;
    if (acl_remote_watch(L, e, -1)) return;
    if (atomic_load(&x->reason) == ACO_FAILED) acl_unobserved_add(L, e, lua_gettop(L));
}

/*** Start an isolate: a further engine of this process, with a Lua state and an OS thread of its
own. The function and its arguments are shipped, as everything that isolates send each other: see
the pages on values and on isolates. The program waits for its end as for that of a coro. Does not
wait.
@function isolate
@tparam[opt] table options `name` (string; default: the function's), `daemon` (true: the program
does not wait for it, and ends it), `mailbox` (how many messages may wait for its coro; default
65,536), `memory` (bytes that its Lua state may hold; default: no limit)
@tparam function fn the body of its first coro
@param ... its arguments
@treturn coro the handle of that coro
@treturn[2] nil
@treturn[2] string message
@treturn[2] string "unsendable", "toolarge", "nomem", or "system" when there is no thread to be had
@raise on a wrong argument or an unknown option
@usage local worker = asyncoro.isolate(function(n) return n * 2 end, 21)
assert(select(2, worker:finish()) == 42) */
static int
acl_isolate_new(lua_State *L)
{
    acl_engine *e = acl_self(L);
    int function = lua_type(L, 1) == LUA_TTABLE ? 2 : 1;
    isolate_options options = {0};
    isolate_seed seed = {.creator = e, .options = &options};

    luaL_checktype(L, function, LUA_TFUNCTION);
    if (e->reach == NULL) return luaL_error(L, "the engine of this Lua state has been closed");
    if (function == 2) options_read(L, 1, &options);
    acl_function_name(L, function);
    lua_insert(L, 1);
    function++;
    seed.name = options.name != NULL ? options.name : lua_tostring(L, 1);
    int err = isolate_encode(L, function, &seed.msg);
    if (err != ACO_OK) return acl_fail(L, err, "isolate: %s", lua_tostring(L, -1));
    acl_msg_box(L, seed.msg);
    seed.path = package_path(L, "path");
    seed.cpath = package_path(L, "cpath");
    luaL_checkstack(L, 20, NULL);
    aco_export **box = acl_export_box(L);
    seed.iso = isolate_new(e, seed.name, options.daemon);
    if (seed.iso == NULL) return luaL_error(L, "not enough memory");
    aco_msg_ref(seed.msg); /* beside the box's */
    err = isolate_make(L, e, &seed);
    *box = seed.x;
    if (err != ACO_OK) {
        aco_msg_unref(seed.msg);
        isolate_unref(seed.iso);
        return acl_fail(L, err, "isolate: %s", lua_tostring(L, -1));
    }
    isolate_push(L, e, seed.x);
    return 1;
}

/*** How many processors this program may use.
@function cpu_count
@treturn integer */
static int
acl_cpu_count(lua_State *L)
{
    long count = sysconf(_SC_NPROCESSORS_ONLN);

    lua_pushinteger(L, count > 0 ? count : 1);
    return 1;
}

void
acl_open_isolate(lua_State *L, acl_engine *e)
{
    static const luaL_Reg funcs[] = {
        {"isolate", acl_isolate_new}, {"cpu_count", acl_cpu_count}, {NULL, NULL}};

    acl_setfuncs(L, e, funcs);
}
