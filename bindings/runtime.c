/* SPDX-License-Identifier: MIT */
/* runtime.c -- asyncoro.h: runtimes, from asyncoro_new to asyncoro_close, and the scripts they
 * load. */
#include "bindings/runtime.h"
#include "bindings/embedded.h"
#include "bindings/engine.h"
#include "bindings/module.h"
#include "bindings/reach.h"
#include "bindings/report.h"
#include "bindings/state.h"

#include <lualib.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/version.h"

/* What the engine's own work may take beyond the limit of scripts, so that it can end them in
 * order. */
enum { LIMIT_RESERVE = 64 << 10, LIMIT_RESERVE_SHARE = 16 };

int
acl_runtime_code(int err)
{
    static const int codes[ACO_ERR_COUNT] = {
        [ACO_ETIMEOUT] = ASYNCORO_ETIMEOUT,   [ACO_ECLOSED] = ASYNCORO_ECLOSED,
        [ACO_EBUSY] = ASYNCORO_EBUSY,         [ACO_ENOTFOUND] = ASYNCORO_ENOTFOUND,
        [ACO_EEXISTS] = ASYNCORO_EEXISTS,     [ACO_EPROTOCOL] = ASYNCORO_EPROTOCOL,
        [ACO_ETOOLARGE] = ASYNCORO_ETOOLARGE, [ACO_EINVALID] = ASYNCORO_EINVALID,
        [ACO_ENOMEM] = ASYNCORO_ENOMEM,       [ACO_ESYSTEM] = ASYNCORO_ESYSTEM,
    };

    if (err == ACO_OK) return ASYNCORO_OK;
    return err > 0 && err < ACO_ERR_COUNT && codes[err] != 0 ? codes[err] : ASYNCORO_ESYSTEM;
}

const char *
asyncoro_code_text(int code)
{
    static const char *const texts[] = {
        "success",
        "timed out",
        "closed",
        "the mailbox is full",
        "not found",
        "exists already",
        "not one MessagePack value",
        "too large",
        "invalid argument",
        "not enough memory",
        "system call failed",
        "the script does not compile",
        "Lua error",
        "called on the wrong thread, from inside a script, or in a wrong order",
    };
    const int count = sizeof texts / sizeof *texts;

    return code <= 0 && code > -count ? texts[-code] : "unknown code";
}

const char *
asyncoro_version(void)
{
    return aco_version();
}

/* Calls and errors ---------------------------------------------------------------------------- */

bool
acl_runtime_enter(asyncoro *rt)
{
    if (!pthread_equal(rt->owner, pthread_self()) || rt->inside) return false;
    rt->inside = true;
    return true;
}

void
acl_runtime_leave(asyncoro *rt)
{
    rt->inside = false;
}

void
acl_runtime_error(asyncoro *rt, const char *text)
{
    char *copy = strdup(text);

    free(rt->error);
    rt->error = copy;
}

void
acl_runtime_report(void *arg, const char *text)
{
    asyncoro *rt = arg;

    acl_runtime_error(rt, text);
    if (rt->options.on_error != NULL) rt->options.on_error(rt->options.arg, text);
}

const char *
asyncoro_last_error(const asyncoro *rt)
{
    return rt->error != NULL ? rt->error : "";
}

/* (runtime, error value): keep the text. */
static int
keep_error(lua_State *L)
{
    acl_error_text(L, 2);
    acl_runtime_error(lua_touserdata(L, 1), lua_tostring(L, -1));
    return 0;
}

int
acl_runtime_call(asyncoro *rt, lua_CFunction f)
{
    lua_State *L = rt->L;

    if (!lua_checkstack(L, LUA_MINSTACK)) {
        acl_runtime_error(rt, "not enough memory");
        return ASYNCORO_ENOMEM;
    }
    lua_pushcfunction(L, f);
    lua_pushlightuserdata(L, rt);
    int status = lua_pcall(L, 1, 0, 0);
    if (status == LUA_OK) return ASYNCORO_OK;
    if (status == LUA_ERRMEM) {
        lua_pop(L, 1);
        acl_runtime_error(rt, "not enough memory");
        return ASYNCORO_ENOMEM;
    }
    lua_pushcfunction(L, keep_error);
    lua_insert(L, -2);
    lua_pushlightuserdata(L, rt);
    lua_insert(L, -2);
    if (lua_pcall(L, 2, 0, 0) != LUA_OK) {
        lua_pop(L, 1);
        acl_runtime_error(rt, "not enough memory");
    }
    return ASYNCORO_ERUNTIME;
}

/* Lua's warnings go where errors go; "@on" and "@off" are control messages. */
static void
warn(void *ud, const char *message, int continued)
{
    asyncoro *rt = ud;

    if (rt->warning.size == 0 && !continued && message[0] == '@') {
        if (strcmp(message, "@on") == 0) rt->warns = true;
        if (strcmp(message, "@off") == 0) rt->warns = false;
        return;
    }
    if (!rt->warns || aco_buf_add(&rt->warning, message, strlen(message)) != ACO_OK || continued)
        return;
    if (aco_buf_add(&rt->warning, "", 1) == ACO_OK)
        acl_runtime_report(rt, (const char *)rt->warning.data);
    rt->warning.size = 0;
}

/* Memory -------------------------------------------------------------------------------------- */

static void *
limited_alloc(void *arg, void *ptr, size_t osize, size_t nsize)
{
    acl_limit *limit = arg;
    size_t held = ptr != NULL ? osize : 0; /* without a block it tells the kind of object */

    if (nsize > held) {
        size_t room = limit->limit;
        if (limit->engine != NULL && limit->engine->running == NULL)
            room += LIMIT_RESERVE + room / LIMIT_RESERVE_SHARE;
        if (limit->used > room || nsize - held > room - limit->used) return NULL;
    }
    void *block = limit->alloc(limit->arg, ptr, osize, nsize);
    if (block != NULL || nsize == 0) limit->used = limit->used - held + nsize;
    return block;
}

static void
limit_begin(asyncoro *rt)
{
    if (rt->options.memory_limit == 0) return;
    rt->limit.limit = rt->options.memory_limit;
    rt->limit.used =
        (size_t)lua_gc(rt->L, LUA_GCCOUNT) * 1024 + (size_t)lua_gc(rt->L, LUA_GCCOUNTB);
    rt->limit.alloc = lua_getallocf(rt->L, &rt->limit.arg);
    lua_setallocf(rt->L, limited_alloc, &rt->limit);
}

static void
limit_end(asyncoro *rt)
{
    if (rt->limit.alloc != NULL) lua_setallocf(rt->L, rt->limit.alloc, rt->limit.arg);
    rt->limit.alloc = NULL;
}

/* Making -------------------------------------------------------------------------------------- */

void
asyncoro_options_init(asyncoro_options *options, size_t size)
{
    if (size < sizeof options->size) return;
    memset(options, 0, size);
    options->size = size;
}

/* A Lua state of the program's: what makes it unusable is raised. */
static void
check_state(lua_State *L, const acl_engine *e)
{
    luaL_checkversion(L);
    if (lua_getglobal(L, "require") != LUA_TFUNCTION)
        luaL_error(L, "the Lua state lacks `require`: open its package library");
    lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    if (e == NULL && lua_getfield(L, -1, "asyncoro.core") != LUA_TNIL)
        luaL_error(L, "the Lua state has loaded another copy of asyncoro");
    if (e == NULL) return;
    if (e->on_error == acl_runtime_report) luaL_error(L, "another runtime uses this Lua state");
    if (e->in_run || e->live > 0) luaL_error(L, "asyncoro is in use in this Lua state");
}

/* Its coros have ended. Handles of others that are still about go on to know the process. */
static void
close_engine(lua_State *L, acl_engine *e)
{
    if (e->reach != NULL) {
        luaL_unref(L, LUA_REGISTRYINDEX, e->reach->locals_ref);
        luaL_unref(L, LUA_REGISTRYINDEX, e->reach->remotes_ref);
        luaL_unref(L, LUA_REGISTRYINDEX, e->reach->watched_ref);
        luaL_unref(L, LUA_REGISTRYINDEX, e->reach->rcis_ref);
        luaL_unref(L, LUA_REGISTRYINDEX, e->reach->served_ref);
    }
    acl_engine_close(e);
}

static int
open_state(lua_State *L)
{
    asyncoro *rt = lua_touserdata(L, 1);
    acl_engine *e = acl_engine_find(L);

    if (rt->own_state)
        luaL_openlibs(L);
    else
        check_state(L, e);
    if (e != NULL) close_engine(L, e); /* what is idle begins again, on our base */
    if (rt->options.share != NULL) acl_reach_of(L, rt->options.share->process);
    rt->engine = e = acl_engine_open(L, rt->options.base);
    acl_embedded_preload(L);
    luaL_requiref(L, "asyncoro.core", luaopen_asyncoro_core, 0);
    acl_reach_of(L, NULL);
    e->reach->asks_first = true;
    if (rt->own_state) acl_state_own(e);
    rt->L = e->L;
    rt->process = aco_process_ref(e->reach->process);
    rt->seat = aco_seat_take(rt->process, e->loop.inbox);
    if (rt->seat == NULL) luaL_error(L, "not enough memory");
    rt->limit.engine = e;
    return 0;
}

static lua_State *
new_state(asyncoro *rt)
{
    const asyncoro_options *o = &rt->options;

    if (o->lua != NULL) return o->lua;
    rt->own_state = true;
    return o->alloc != NULL ? lua_newstate(o->alloc, o->alloc_arg) : acl_state_new(0);
}

/* A state of the program's: its engine gets a loop of its own, as if stock Lua had just loaded
 * asyncoro. */
static int
leave_state(lua_State *L)
{
    asyncoro *rt = lua_touserdata(L, 1);

    if (rt->chunk_ref != 0) luaL_unref(L, LUA_REGISTRYINDEX, rt->chunk_ref);
    close_engine(L, rt->engine);
    rt->engine->on_error = NULL;
    acl_reach_of(L, rt->process); /* which handles that are still about know */
    acl_engine_open(L, NULL);
    acl_reach_of(L, NULL);
    return 0;
}

static void
close_state(asyncoro *rt)
{
    if (rt->L == NULL) return;
    if (!rt->own_state) {
        if (rt->engine != NULL) acl_runtime_call(rt, leave_state);
        limit_end(rt);
        return;
    }
    limit_end(rt);
    if (rt->options.alloc != NULL)
        lua_close(rt->L);
    else
        acl_state_close(rt->L);
}

static void
runtime_free(asyncoro *rt)
{
    if (rt->seat != NULL) aco_seat_leave(rt->seat);
    close_state(rt);
    aco_process_unref(rt->process);
    aco_buf_free(&rt->warning);
    free(rt->error);
    free(rt);
}

/* Why there is no runtime. */
static asyncoro *
new_failed(asyncoro *rt, const asyncoro_options *options, const char *text)
{
    if (options->on_error != NULL) options->on_error(options->arg, text);
    if (rt != NULL) runtime_free(rt);
    return NULL;
}

asyncoro *
asyncoro_new(const asyncoro_options *given)
{
    asyncoro_options options;
    asyncoro *rt;

    asyncoro_options_init(&options, sizeof options);
    if (given != NULL)
        memcpy(&options, given, given->size < sizeof options ? given->size : sizeof options);
    options.size = sizeof options;
    if (options.lua != NULL && options.alloc != NULL)
        return new_failed(NULL, &options,
                          "options: `alloc` is for a state of our own, not for `lua`");
    rt = calloc(1, sizeof *rt);
    if (rt == NULL) return new_failed(NULL, &options, "not enough memory");
    rt->options = options;
    rt->owner = pthread_self();
    rt->result = -1;
    rt->L = new_state(rt);
    if (rt->L == NULL) return new_failed(rt, &options, "not enough memory");
    if (rt->own_state) lua_setwarnf(rt->L, warn, rt);
    limit_begin(rt);
    if (acl_runtime_call(rt, open_state) != ASYNCORO_OK)
        return new_failed(rt, &options, rt->error != NULL ? rt->error : "not enough memory");
    rt->engine->on_error = acl_runtime_report;
    rt->engine->on_error_arg = rt;
    return rt;
}

int
asyncoro_close(asyncoro *rt)
{
    if (rt == NULL) return ASYNCORO_OK;
    if (!acl_runtime_enter(rt)) return ASYNCORO_EMISUSE;
    acl_runtime_end_coros(rt);
    runtime_free(rt);
    return ASYNCORO_OK;
}

int
asyncoro_own(asyncoro *rt)
{
    if (rt->inside || rt->running) return ASYNCORO_EMISUSE;
    rt->owner = pthread_self();
    return ASYNCORO_OK;
}

lua_State *
asyncoro_lua(asyncoro *rt)
{
    return rt->L;
}

/* Loading ------------------------------------------------------------------------------------- */

/* Remember the text, so that functions of the script can travel. */
static void
keep_source(lua_State *L, const char *chunkname, const asyncoro *rt)
{
    lua_getglobal(L, "require");
    lua_pushliteral(L, "asyncoro.source");
    lua_call(L, 1, 1);
    lua_getfield(L, -1, "keep");
    lua_pushstring(L, chunkname);
    lua_pushlstring(L, rt->text, rt->text_size);
    lua_call(L, 2, 0);
    lua_pop(L, 1);
}

static int
load_text(lua_State *L, const asyncoro *rt)
{
    const char *name = rt->name != NULL ? rt->name : "script";

    name = lua_pushfstring(L, "%s%s", *name == '=' || *name == '@' ? "" : "=", name);
    int status = luaL_loadbufferx(L, rt->text, rt->text_size, name, "t");
    if (status == LUA_OK) keep_source(L, name, rt);
    return status;
}

static int
load_script(lua_State *L)
{
    asyncoro *rt = lua_touserdata(L, 1);

    rt->load_status = rt->text != NULL ? load_text(L, rt) : luaL_loadfilex(L, rt->name, "t");
    if (rt->load_status != LUA_OK) return lua_error(L);
    if (rt->chunk_ref == 0)
        rt->chunk_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    else
        lua_rawseti(L, LUA_REGISTRYINDEX, rt->chunk_ref);
    return 0;
}

static int
load(asyncoro *rt, const char *text, size_t size, const char *name)
{
    if (!acl_runtime_enter(rt)) return ASYNCORO_EMISUSE;
    rt->text = text;
    rt->text_size = size;
    rt->name = name;
    int code = acl_runtime_call(rt, load_script);
    if (code == ASYNCORO_ERUNTIME && rt->load_status == LUA_ERRSYNTAX) code = ASYNCORO_ESYNTAX;
    if (code == ASYNCORO_ERUNTIME && rt->load_status == LUA_ERRFILE) code = ASYNCORO_ENOTFOUND;
    acl_runtime_leave(rt);
    return code;
}

int
asyncoro_load(asyncoro *rt, const char *text, size_t size, const char *name)
{
    return text != NULL ? load(rt, text, size, name) : ASYNCORO_EINVALID;
}

int
asyncoro_load_file(asyncoro *rt, const char *path)
{
    return path != NULL ? load(rt, NULL, 0, path) : ASYNCORO_EINVALID;
}
