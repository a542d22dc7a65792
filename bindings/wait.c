/* SPDX-License-Identifier: MIT */
/* wait.c -- how a C function waits: check, begin, park, and in the continuation look at how it
 * ended.
 *
 * A wait parks by lua_yieldk with no values; the waker leaves its values, if any, on the waiting
 * thread's stack (they cost no allocation there) and the continuation, which runs protected, makes
 * results of them. */
#include "bindings/acl.h"
#include "bindings/codec.h"
#include "bindings/coro.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>

#include "core/base/clock.h"

int
acl_fail(lua_State *L, int err, const char *fmt, ...)
{
    va_list args;

    lua_pushnil(L);
    va_start(args, fmt);
    lua_pushvfstring(L, fmt, args);
    va_end(args);
    lua_pushstring(L, aco_err_word(err));
    return 3;
}

int
acl_blame(lua_State *L, const char *fmt, ...)
{
    va_list args;

    luaL_where(L, 2);
    va_start(args, fmt);
    lua_pushvfstring(L, fmt, args);
    va_end(args);
    lua_concat(L, 2);
    return lua_error(L);
}

bool
acl_can_wait(lua_State *L, const acl_engine *e)
{
    if (e->current == NULL || L != e->running || !lua_isyieldable(L)) return false;
    for (const struct acl_frame *frame = e->frames; frame != NULL; frame = frame->up)
        if (frame->outside || !lua_isyieldable(frame->L)) return false;
    return true;
}

/* Push the name of the C function on top, of a frame: "table.sort" when it is a module's. */
static const char *
function_name(lua_State *L, const lua_Debug *ar)
{
    luaL_checkstack(L, 6, NULL);
    int function = lua_gettop(L);
    if (acl_codec_shipper(L, "named")) {
        lua_pushvalue(L, function);
        lua_call(L, 1, 1);
        if (lua_type(L, -1) == LUA_TSTRING) {
            const char *name = luaL_gsub(L, lua_tostring(L, -1), ":", ".");
            return strncmp(name, "_G.", 3) == 0 ? name + 3 : name;
        }
    }
    return ar->name != NULL ? ar->name : "a C function";
}

static int acl_without_wait(lua_State *L);

/* Can Lua suspend the C function on top, of a frame? Ours, and those of its own that say so. */
static bool
is_suspendable(lua_State *L, const acl_engine *e, const char *name)
{
    static const char *const suspendable[] = {"pcall", "xpcall", "dofile"};

    if (lua_getupvalue(L, -1, ACL_UP_ENGINE) != NULL) {
        bool ours = lua_touserdata(L, -1) == e;
        lua_pop(L, 1);
        if (ours) return lua_tocfunction(L, -1) != acl_without_wait;
    }
    for (size_t i = 0; i < sizeof suspendable / sizeof *suspendable; i++)
        if (strcmp(name, suspendable[i]) == 0) return true;
    return false;
}

/* Look at one level of the thread that cannot be suspended; raises when that is why. */
static void
level_refuse(lua_State *L, const acl_engine *e, lua_State *where, lua_Debug *ar, const char *what)
{
    int top = lua_gettop(L);

    if (!lua_checkstack(where, 1)) return;
    lua_getinfo(where, "Snf", ar);
    lua_xmove(where, L, 1);
    if (ar->name != NULL && strcmp(ar->namewhat, "metamethod") == 0 &&
        strcmp(ar->name, "__gc") == 0)
        luaL_error(L, "%s: cannot wait inside a finalizer: start a coro with asyncoro.spawn", what);
    if (strcmp(ar->what, "C") == 0) {
        const char *name = function_name(L, ar);
        lua_pushvalue(L, top + 1);
        if (!is_suspendable(L, e, name))
            luaL_error(
                L,
                "%s: cannot wait inside a function called by %s, which is a C function that Lua "
                "cannot suspend: wait before or after it",
                what, name);
    }
    lua_settop(L, top);
}

/* Say which C function keeps this thread, or one that runs it, from being suspended. */
static int
wait_refuse(lua_State *L, const acl_engine *e, const char *what)
{
    const struct acl_frame *frame = e->frames;
    bool outside = L != e->running;
    lua_State *where = L;
    lua_Debug ar;

    for (; !outside && lua_isyieldable(where) && frame != NULL; frame = frame->up) {
        where = frame->L;
        outside = frame->outside;
    }
    if (outside && lua_isyieldable(where))
        return luaL_error(
            L,
            "%s: cannot wait inside a coroutine that was not resumed by the functions that "
            "the table coroutine has inside run, but by Lua's own or by a C library",
            what);
    for (int level = 1; lua_getstack(where, level, &ar); level++)
        level_refuse(L, e, where, &ar, what);
    return luaL_error(
        L,
        "%s: cannot wait here: Lua cannot suspend this code (a finalizer, a C call, or a __close "
        "that coroutine.close runs)",
        what);
}

/* acl_wait_check, when it is not clear at once. */
acl_coro *
acl_wait_look(lua_State *L, acl_engine *e, const char *what)
{
    acl_coro *c = e->current;

    if (c == NULL) {
        luaL_error(L, "%s: only a coro can wait: call it inside asyncoro.run(function() ... end)",
                   what);
        return NULL;
    }
    if (c->task.pending) acl_raise_pending(L, e, c);
    if (L != e->running || !lua_isyieldable(L) || (e->frames != NULL && !acl_can_wait(L, e)))
        wait_refuse(L, e, what);
    return c;
}

aco_time
acl_opt_deadline(lua_State *L, int idx)
{
    if (lua_isnoneornil(L, idx)) return ACO_NEVER;
    double seconds = luaL_checknumber(L, idx);
    if (isnan(seconds) || seconds < 0)
        luaL_argerror(L, idx,
                      lua_pushfstring(L, "a time of 0 or more seconds expected, got %f", seconds));
    return seconds > 0 ? aco_deadline(aco_now(), seconds) : 0;
}

int
acl_park(lua_State *L, acl_engine *e, acl_coro *c, aco_time deadline, lua_KContext ctx,
         lua_KFunction k)
{
    if (deadline != ACO_NEVER && aco_wait_deadline(&e->loop, &c->task, deadline) != ACO_OK)
        return luaL_error(L, "not enough memory");
    return acl_park_long(L, e, c, ctx, k);
}

void
acl_wait_end(lua_State *L, acl_engine *e, acl_coro *c)
{
    c->waiter = NULL;
    if (ACO_UNLIKELY(c->task.wake_err == ACO_ECANCELED)) acl_raise_pending(L, e, c);
}

static int
turn_k(lua_State *L, int status, lua_KContext engine)
{
    acl_engine *e = (acl_engine *)engine;
    acl_coro *c = e->current;

    (void)status;
    if (ACO_UNLIKELY(c->task.pending)) acl_raise_pending(L, e, c);
    return 0;
}

static int
turn(lua_State *L, acl_engine *e, acl_coro *c)
{
    c->task.what = ACO_WAIT_TURN;
    aco_task_ready(&e->loop, &c->task);
    return lua_yieldk(L, 0, (lua_KContext)e, turn_k);
}

static inline int
yield(lua_State *L, acl_engine *e)
{
    return turn(L, e, acl_wait_check(L, e, "yield"));
}

/*** Give the other coros a turn: wait until every coro that is ready now has run.
Waits. Also ends when the coro is cancelled, by raising.
@function yield */
static int
acl_yield(lua_State *L)
{
    return yield(L, acl_self(L));
}

static int
acl_yield_own(lua_State *L)
{
    return yield(L, acl_own(L));
}

static int
sleep_k(lua_State *L, int status, lua_KContext engine)
{
    acl_engine *e = (acl_engine *)engine;

    (void)status;
    acl_wait_end(L, e, e->current);
    return 0;
}

static inline int
sleep_for(lua_State *L, acl_engine *e)
{
    int whole;
    lua_Integer seconds = lua_tointegerx(L, 1, &whole); /* most often 0, and quicker to see so */
    bool none = whole ? seconds == 0 : lua_isnoneornil(L, 1);
    aco_time deadline = none ? 0 : acl_opt_deadline(L, 1);
    acl_coro *c = acl_wait_check(L, e, "sleep");

    if (deadline == 0) return turn(L, e, c);
    aco_wait_begin(&c->task, ACO_WAIT_SLEEP);
    return acl_park(L, e, c, deadline, (lua_KContext)e, sleep_k);
}

/*** Wait for a time.
Waits. Nothing but the time, or a cancel, ends it.
@function sleep
@tparam[opt=0] number seconds 0 or more, fractions allowed; 0 is the same as `yield()`
@raise on a negative time or NaN, outside a coro, or where Lua cannot suspend */
static int
acl_sleep(lua_State *L)
{
    return sleep_for(L, acl_self(L));
}

static int
acl_sleep_own(lua_State *L)
{
    return sleep_for(L, acl_own(L));
}

/* What a wait with an alarm value, its second argument, gives at its time-out: that, or nil,
 * message, "timeout". */
static int
alarm_result(lua_State *L, const char *what)
{
    if (lua_gettop(L) >= 2) {
        lua_pushvalue(L, 2);
        return 1;
    }
    return acl_fail(L, ACO_ETIMEOUT, "%s: timed out", what);
}

static int
suspend_k(lua_State *L, int status, lua_KContext engine)
{
    acl_engine *e = (acl_engine *)engine;
    acl_coro *c = e->current;

    (void)status;
    acl_wait_end(L, e, c);
    if (c->task.wake_err == ACO_ETIMEOUT) return alarm_result(L, "suspend");
    return c->nvals;
}

/*** Wait until somebody resumes this coro.
Waits. A `resume` that came before is not remembered.
@function suspend
@tparam[opt] number timeout seconds; nil waits for ever, 0 gives up at once
@param[opt] alarm what to return at the time-out
@return the value given to `coro:resume`
@return[2] the alarm value at the time-out
@treturn[3] nil without an alarm value
@treturn[3] string message
@treturn[3] string "timeout" */
static int
acl_suspend(lua_State *L)
{
    acl_engine *e = acl_self(L);
    aco_time deadline = acl_opt_deadline(L, 1);
    acl_coro *c = acl_wait_check(L, e, "suspend");

    if (deadline == 0) return alarm_result(L, "suspend");
    aco_wait_begin(&c->task, ACO_WAIT_SUSPEND);
    c->task.flags |= ACO_TASK_RESUME;
    return acl_park(L, e, c, deadline, (lua_KContext)e, suspend_k);
}

/* It ended without a message in hand. */
static ACO_APART int
receive_without(lua_State *L, acl_engine *e, acl_coro *c)
{
    acl_wait_end(L, e, c);
    if (c->task.wake_err == ACO_ETIMEOUT) return alarm_result(L, "receive");
    return acl_mailbox_get(L, e, c);
}

static int
receive_k(lua_State *L, int status, lua_KContext engine)
{
    acl_engine *e = (acl_engine *)engine;
    acl_coro *c = e->current;

    (void)status;
    if (ACO_UNLIKELY(c->nvals == 0 || c->task.wake_err != ACO_OK)) return receive_without(L, e, c);
    c->waiter = NULL;
    return c->nvals;
}

static inline void
receive_begin(acl_coro *c)
{
    aco_wait_begin(&c->task, ACO_WAIT_RECEIVE);
    c->task.flags = ACO_TASK_RECEIVE;
    c->receive_index = 0;
}

static int receive_later_k(lua_State *L, int status, lua_KContext engine);

/* There may be a message, but this coro has taken many without a turn of the others. */
static ACO_APART int
receive_later(lua_State *L, acl_engine *e, acl_coro *c)
{
    c->task.what = ACO_WAIT_TURN;
    aco_task_ready(&e->loop, &c->task);
    return lua_yieldk(L, 0, (lua_KContext)e, receive_later_k);
}

static ACO_APART int
receive_until(lua_State *L, acl_engine *e, aco_time deadline)
{
    acl_coro *c = acl_wait_check(L, e, "receive");
    int results = 0;

    if (c->task.mailbox != NULL && !aco_mailbox_idle(c->task.mailbox)) {
        if (deadline != 0 && e->budget-- <= 0) return receive_later(L, e, c);
        results = acl_mailbox_get(L, e, c);
    }
    if (results > 0) return results;
    if (deadline == 0) return alarm_result(L, "receive");
    receive_begin(c);
    return acl_park(L, e, c, deadline, (lua_KContext)e, receive_k);
}

static inline int
receive(lua_State *L, acl_engine *e)
{
    if (ACO_UNLIKELY(lua_gettop(L) > 0)) return receive_until(L, e, acl_opt_deadline(L, 1));
    acl_coro *c = acl_wait_check(L, e, "receive");
    if (c->task.mailbox != NULL && !aco_mailbox_idle(c->task.mailbox)) {
        if (ACO_UNLIKELY(e->budget-- <= 0)) return receive_later(L, e, c);
        int results = acl_mailbox_get(L, e, c);
        if (results > 0) return results;
    }
    receive_begin(c);
    return acl_park_long(L, e, c, (lua_KContext)e, receive_k);
}

static int
receive_later_k(lua_State *L, int status, lua_KContext engine)
{
    acl_engine *e = (acl_engine *)engine;

    (void)status;
    if (ACO_UNLIKELY(e->current->task.pending)) acl_raise_pending(L, e, e->current);
    return receive(L, e);
}

/*** Take the oldest message out of this coro's mailbox; wait for one when it is empty.
Waits. A message may be nil or false. A message sent with `coro:call` comes with a function that
answers it.
@function receive
@tparam[opt] number timeout seconds; nil waits for ever, 0 only looks
@param[opt] alarm what to return at the time-out
@return the message
@treturn ?function reply `reply(value)` answers the call: true, or nil, message, code when nobody
waits any more
@return[2] the alarm value at the time-out
@treturn[3] nil without an alarm value
@treturn[3] string message
@treturn[3] string "timeout"
@usage local msg = asyncoro.receive(2.5, "nothing") */
static int
acl_receive(lua_State *L)
{
    return receive(L, acl_self(L));
}

static int
acl_receive_own(lua_State *L)
{
    return receive(L, acl_own(L));
}

/*** Iterate over the messages of this coro: `for msg, reply in asyncoro.messages() do`.
The loop waits for each message and ends at a nil message or at the time-out.
@function messages
@tparam[opt] number timeout seconds for each message; nil waits for ever
@treturn function iterator */
static int
messages_next(lua_State *L)
{
    aco_time deadline = acl_opt_deadline(L, 1);

    lua_settop(L, 1);
    lua_pushnil(L); /* the alarm value: ends the loop */
    return receive_until(L, acl_self(L), deadline);
}

static int
acl_messages(lua_State *L)
{
    acl_opt_deadline(L, 1);
    lua_settop(L, 1);
    lua_pushvalue(L, lua_upvalueindex(ACL_UP_ENGINE));
    lua_pushvalue(L, lua_upvalueindex(ACL_UP_META));
    lua_pushvalue(L, lua_upvalueindex(ACL_UP_VALUES));
    lua_pushcclosure(L, messages_next, ACL_UPVALUES);
    lua_insert(L, 1);
    return 2;
}

/*** Call a function that may not wait, as one called from C may not. For our own Lua files.
@function without_wait
@tparam function fn
@param ... its arguments
@return its results
@local */
static int
acl_without_wait(lua_State *L)
{
    lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
    return lua_gettop(L);
}

void
acl_open_wait(lua_State *L, acl_engine *e)
{
    const luaL_Reg funcs[] = {{"yield", e->own ? acl_yield_own : acl_yield},
                              {"sleep", e->own ? acl_sleep_own : acl_sleep},
                              {"suspend", acl_suspend},
                              {"receive", e->own ? acl_receive_own : acl_receive},
                              {"messages", acl_messages},
                              {"without_wait", acl_without_wait},
                              {NULL, NULL}};

    acl_setfuncs(L, e, funcs);
}
