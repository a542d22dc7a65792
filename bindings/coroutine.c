/* SPDX-License-Identifier: MIT */
/* coroutine.c -- Lua's coroutine functions as they are inside a program.
 *
 * A generator whose body waits suspends the coro that runs it, not only itself: when the generator
 * has yielded and the coro is no longer running, it is the engine that yielded, and so does whoever
 * resumed the generator, up to the coro's own thread. Each resumes its generator again when it is
 * continued. Otherwise everything is as in lcorolib.c.
 *
 * A generator that waits like this, and the thread of a coro, are held: nobody else may resume or
 * close them. */
#include "bindings/coroutine.h"
#include "bindings/cancel.h"
#include "bindings/coro.h"
#include "bindings/leash.h"

#include <lualib.h>

/* Upvalue after the usual ones, of the function that wrap made: its thread. */
enum { UP_THREAD = ACL_UPVALUES + 1, WRAP_UPVALUES = UP_THREAD };

/* Keys in the registry: our functions, and those that they replace; the `require` that ours
 * replaces. */
static const char patches_key = 0, originals_key = 0;

static int co_resume(lua_State *L);
static int wrap_call(lua_State *L);
static int co_yield (lua_State *L);

/* Push the function in which a thread has yielded onto that thread; false when there is none. [-]
 */
static bool
yielded_in(lua_State *co)
{
    lua_Debug ar;

    if (lua_status(co) != LUA_YIELD || !lua_getstack(co, 0, &ar) || !lua_checkstack(co, 2))
        return false;
    lua_getinfo(co, "f", &ar);
    return true;
}

/* Did the thread yield to the engine? In a function of ours, then, or, at the end of a time slice,
 * in any Lua function. [-] */
static bool
is_held(const acl_engine *e, lua_State *co)
{
    bool held = false;

    if (!yielded_in(co)) return false;
    lua_CFunction function = lua_tocfunction(co, -1);
    if (function == NULL) {
        held = true;
    } else if (function != co_yield &&lua_getupvalue(co, -1, ACL_UP_ENGINE) != NULL) {
        held = lua_touserdata(co, -1) == e;
        lua_pop(co, 1);
    }
    lua_pop(co, 1);
    return held;
}

/* The generator in which a thread waits; NULL when it waits by itself. [-] */
static lua_State *
generator_in(lua_State *co)
{
    lua_State *generator = NULL;
    lua_Debug ar;

    if (!yielded_in(co)) return NULL;
    lua_CFunction function = lua_tocfunction(co, -1);
    if (function == wrap_call && lua_getupvalue(co, -1, UP_THREAD) != NULL) {
        generator = lua_tothread(co, -1);
        lua_pop(co, 1);
    } else if (function == co_resume && lua_getstack(co, 0, &ar) &&
               lua_getlocal(co, &ar, 1) != NULL) {
        generator = lua_tothread(co, -1);
        lua_pop(co, 1);
    }
    lua_pop(co, 1);
    return generator;
}

void
acl_coroutine_close(lua_State *L, lua_State *co)
{
    lua_State *generator = generator_in(co);

    if (generator != NULL) acl_coroutine_close(L, generator);
    acl_closethread(L, co);
}

static lua_State *
check_thread(lua_State *L, int idx)
{
    lua_State *co = lua_tothread(L, idx);

    luaL_argexpected(L, co, idx, "thread");
    return co;
}

static const char *
thread_status(lua_State *L, lua_State *co)
{
    lua_Debug ar;

    if (L == co) return "running";
    switch (lua_status(co)) {
    case LUA_YIELD:
        return "suspended";
    case LUA_OK:
        if (lua_getstack(co, 0, &ar)) return "normal";
        return lua_gettop(co) == 0 ? "dead" : "suspended";
    default:
        return "dead";
    }
}

/* Why a thread cannot be resumed; NULL when it can. */
static const char *
resume_refusal(lua_State *L, lua_State *co)
{
    const char *status = thread_status(L, co);

    if (is_held(acl_self(L), co)) return "cannot resume a coroutine that waits in the engine";
    if (*status == 's') return NULL;
    lua_pushfstring(
        L, *status == 'd' ? "cannot resume %s coroutine" : "cannot resume non-suspended coroutine",
        status);
    return lua_tostring(L, -1);
}

/* Run a generator until it yields or ends. */
static int
generator_run(lua_State *L, acl_engine *e, lua_State *co, int nargs, int *nresults)
{
    lua_State *running = e->running;
    struct acl_frame frame = {.L = L, .outside = L != running, .up = e->frames};

    e->frames = &frame;
    e->running = co;
    int status = lua_resume(co, L, nargs, nresults);
    e->running = running;
    e->frames = frame.up;
    acl_leash_follow(e);
    return status;
}

/* Close a thread; its handlers run in it. */
static int
generator_close(lua_State *L, acl_engine *e, lua_State *co)
{
    lua_State *running = e->running;

    e->running = co;
    int status = acl_closethread(L, co);
    e->running = running;
    acl_leash_follow(e);
    return status;
}

/* It was the engine that yielded: the coro waits. */
static bool
coro_waits(const acl_engine *e)
{
    return e->current != NULL && e->current->task.state != ACO_RUNNING;
}

/* Resume: stack: the thread, arguments. -------------------------------------------------------- */

static int resume_k(lua_State *L, int status, lua_KContext ctx);

static int
resume_failed(lua_State *L)
{
    lua_pushboolean(L, 0);
    lua_insert(L, -2);
    return 2;
}

/* A failed thread keeps its stack, for those who want to look at it, and its `<close>` variables
 * open; not so when it was cancelled, for then nobody will close it. */
static bool
is_canceled(lua_State *L, lua_State *co)
{
    luaL_checkstack(L, 4, NULL);
    lua_pushvalue(co, -1);
    lua_xmove(co, L, 1);
    bool canceled = acl_cancel_test(L, -1);
    lua_pop(L, 1);
    return canceled;
}

static int
resume_go(lua_State *L, lua_State *co, int nargs)
{
    acl_engine *e = acl_self(L);
    int nresults;
    int status = generator_run(L, e, co, nargs, &nresults);

    if (status == LUA_YIELD && coro_waits(e)) return lua_yieldk(L, 0, 0, resume_k);
    if (status != LUA_OK && status != LUA_YIELD) {
        if (is_canceled(L, co)) generator_close(L, e, co);
        lua_xmove(co, L, 1);
        return resume_failed(L);
    }
    if (!lua_checkstack(L, nresults + 1)) {
        lua_pop(co, nresults);
        lua_pushliteral(L, "too many results to resume");
        return resume_failed(L);
    }
    lua_pushboolean(L, 1);
    lua_xmove(co, L, nresults);
    return nresults + 1;
}

static int
resume_k(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    return resume_go(L, lua_tothread(L, 1), 0);
}

static int
co_resume(lua_State *L)
{
    lua_State *co = check_thread(L, 1);
    int nargs = lua_gettop(L) - 1;
    const char *refusal = resume_refusal(L, co);

    if (refusal == NULL && !lua_checkstack(co, nargs)) refusal = "too many arguments to resume";
    if (refusal != NULL) {
        lua_pushstring(L, refusal);
        return resume_failed(L);
    }
    lua_xmove(L, co, nargs);
    return resume_go(L, co, nargs);
}

/* Wrap ----------------------------------------------------------------------------------------- */

static int wrap_k(lua_State *L, int status, lua_KContext ctx);

static int
wrap_failed(lua_State *L, int status)
{
    if (status != LUA_ERRMEM && lua_type(L, -1) == LUA_TSTRING) {
        luaL_where(L, 1);
        lua_insert(L, -2);
        lua_concat(L, 2);
    }
    return lua_error(L);
}

static int
wrap_go(lua_State *L, lua_State *co, int nargs)
{
    acl_engine *e = acl_self(L);
    int nresults;
    int status = generator_run(L, e, co, nargs, &nresults);

    if (status == LUA_YIELD && coro_waits(e)) return lua_yieldk(L, 0, 0, wrap_k);
    if (status != LUA_OK && status != LUA_YIELD) {
        status = generator_close(L, e, co);
        lua_xmove(co, L, 1);
        return wrap_failed(L, status);
    }
    if (!lua_checkstack(L, nresults)) {
        lua_pop(co, nresults);
        lua_pushliteral(L, "too many results to resume");
        return wrap_failed(L, LUA_ERRRUN);
    }
    lua_xmove(co, L, nresults);
    return nresults;
}

static int
wrap_k(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    return wrap_go(L, lua_tothread(L, lua_upvalueindex(UP_THREAD)), 0);
}

static int
wrap_call(lua_State *L)
{
    lua_State *co = lua_tothread(L, lua_upvalueindex(UP_THREAD));
    int nargs = lua_gettop(L);
    const char *refusal = resume_refusal(L, co);

    if (refusal == NULL && !lua_checkstack(co, nargs)) refusal = "too many arguments to resume";
    if (refusal != NULL) {
        lua_pushstring(L, refusal);
        return wrap_failed(L, LUA_ERRRUN);
    }
    lua_xmove(L, co, nargs);
    if (lua_status(co) == LUA_OK) nargs++; /* the body is the first argument of wrap_base */
    return wrap_go(L, co, nargs);
}

/* At the bottom of a wrapped body: an error unwinds it under this protected call, in its own
 * thread, so that its `<close>` handlers may wait. */
static int
wrap_base_k(lua_State *L, int status, lua_KContext ctx)
{
    (void)ctx;
    if (status != LUA_OK && status != LUA_YIELD) return lua_error(L);
    return lua_gettop(L);
}

static int
wrap_base(lua_State *L)
{
    return wrap_base_k(L, lua_pcallk(L, lua_gettop(L) - 1, LUA_MULTRET, 0, 0, wrap_base_k), 0);
}

/* The functions -------------------------------------------------------------------------------- */

static int
co_wrap(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    for (int up = 1; up <= ACL_UPVALUES; up++)
        lua_pushvalue(L, lua_upvalueindex(up));
    lua_State *co = lua_newthread(L);
    lua_pushcfunction(co, wrap_base);
    lua_pushvalue(L, 1);
    lua_xmove(L, co, 1);
    lua_pushcclosure(L, wrap_call, WRAP_UPVALUES);
    return 1;
}

static int co_yield (lua_State *L)
{
    acl_engine *e = acl_self(L);

    if (e->current != NULL && L == e->current->co)
        return luaL_error(
            L, "coroutine.yield: there is no coroutine to yield from, this is the coro itself: "
               "use asyncoro.yield() or a wait");
    return lua_yield(L, lua_gettop(L));
}

/* The thread of a coro: from now on it is not used again for another, and not to be resumed. */
static int
co_running(lua_State *L)
{
    acl_engine *e = acl_self(L);
    int main = lua_pushthread(L);

    if (e->current != NULL && L == e->current->co) e->current->flags |= ACL_SEEN;
    lua_pushboolean(L, main);
    return 2;
}

static int
co_status(lua_State *L)
{
    lua_State *co = check_thread(L, 1);
    const char *status = thread_status(L, co);

    lua_pushstring(L, *status == 's' && is_held(acl_self(L), co) ? "normal" : status);
    return 1;
}

static int
co_close(lua_State *L)
{
    lua_State *co = check_thread(L, 1);
    const char *status = thread_status(L, co);

    if ((*status == 's' && is_held(acl_self(L), co)) || *status == 'n' || *status == 'r')
        return luaL_error(L, "cannot close a %s coroutine", *status == 's' ? "waiting" : status);
    if (generator_close(L, acl_self(L), co) == LUA_OK) {
        lua_pushboolean(L, 1);
        return 1;
    }
    lua_pushboolean(L, 0);
    lua_xmove(co, L, 1);
    return 2;
}

/* Exchange the fields of the table `target` for those of the table `source`, both on top. */
static void
fields_copy(lua_State *L, int source, int target)
{
    lua_pushnil(L);
    while (lua_next(L, source)) {
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_rawset(L, target);
    }
}

/* Globals that our Lua files of the same names stand in for; the address of each is the key of
 * Lua's own in the registry. */
static const char *const stand_ins[] = {"require", "load"};
enum { STAND_INS = sizeof stand_ins / sizeof *stand_ins };

/* A function of the user's stays, as all does where no Lua file can be loaded. */
static void
global_on(lua_State *L, const char *const *name)
{
    lua_pushnil(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, name);
    if (lua_getglobal(L, *name) != LUA_TFUNCTION || !lua_iscfunction(L, -1)) return;
    lua_pushvalue(L, -1);
    lua_getglobal(L, "require");
    lua_pushfstring(L, "asyncoro.%s", *name);
    if (lua_pcall(L, 1, 1, 0) != LUA_OK) return;
    lua_setglobal(L, *name);
    lua_rawsetp(L, LUA_REGISTRYINDEX, name);
}

static void
global_off(lua_State *L, const char *const *name)
{
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, name) != LUA_TNIL) lua_setglobal(L, *name);
}

void
acl_coroutine_patch(lua_State *L, acl_engine *e, bool on)
{
    int top = lua_gettop(L);

    luaL_checkstack(L, 12, NULL);
    e->patched = on;
    lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    if (lua_getfield(L, -1, LUA_COLIBNAME) == LUA_TTABLE) {
        int library = lua_gettop(L);
        if (on) { /* keep what is there */
            lua_newtable(L);
            fields_copy(L, library, library + 1);
            lua_rawsetp(L, LUA_REGISTRYINDEX, &originals_key);
        }
        lua_rawgetp(L, LUA_REGISTRYINDEX, on ? &patches_key : &originals_key);
        if (lua_istable(L, -1)) fields_copy(L, library + 1, library);
    }
    lua_settop(L, top);
    for (int i = STAND_INS - 1; i >= 0; i--) { /* the others need Lua's own `require` */
        (on ? global_on : global_off)(L, &stand_ins[i]);
        lua_settop(L, top);
    }
}

void
acl_open_coroutine(lua_State *L, acl_engine *e)
{
    static const luaL_Reg funcs[] = {
        {"resume", co_resume}, {"wrap", co_wrap},   {"yield", co_yield }, {"running", co_running},
        {"status", co_status}, {"close", co_close}, {NULL, NULL}};

    lua_newtable(L);
    acl_setfuncs(L, e, funcs);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &patches_key);
}
