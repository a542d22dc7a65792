/* SPDX-License-Identifier: MIT */
/* names.c -- names of coros, which every engine of the process can look up, and peers; looking up
 * names. */
#include "bindings/channel.h"
#include "bindings/coro.h"
#include "bindings/engine.h"
#include "bindings/location.h"
#include "bindings/rci.h"
#include "bindings/reach.h"

#include <string.h>

#include "core/base/clock.h"
#include "core/engine/gate.h"

/* The record of the coro at 1, local or not; NULL: it has ended, and `nil, message, code` is
 * pushed. */
static aco_export *
named_check(lua_State *L, acl_engine *e, const char *what)
{
    const acl_remote *r = acl_remote_test(L, 1);

    if (r == NULL) {
        acl_coro *c = acl_coro_check(L, 1);
        if (!(c->flags & ACL_ENDED)) return acl_export(L, e, 1);
    } else if (r->x != NULL && atomic_load(&r->x->reason) == ACO_ALIVE) {
        return r->x;
    }
    acl_fail(L, ACO_ENOTFOUND, "%s: the coro has ended", what);
    return NULL;
}

/* Push the name at 2, or the coro's own. */
static const char *
name_check(lua_State *L, const aco_export *x, size_t *size)
{
    if (lua_isnoneornil(L, 2))
        lua_pushstring(L, x->name);
    else
        lua_pushvalue(L, 2);
    luaL_argcheck(L, lua_type(L, -1) == LUA_TSTRING && lua_rawlen(L, -1) > 0, 2,
                  "a name expected, a string that is not empty");
    return lua_tolstring(L, -1, size);
}

/*** Give a coro a name under which every engine of this process, and every peer, finds it (see
`locate`). It loses
the name when it ends. A coro may have several names. Does not wait.
@function coro:register
@tparam[opt] string name the coro's own name when it is left out
@treturn boolean true
@treturn[2] nil
@treturn[2] string message
@treturn[2] string "exists" when another coro has the name, "notfound" when this one has ended */
static int
coro_register(lua_State *L)
{
    size_t size;

    aco_export *x = named_check(L, acl_self(L), "register");
    if (x == NULL) return 3;
    const char *name = name_check(L, x, &size);
    int err = aco_name_register(x, name, size);
    if (err == ACO_ENOMEM) return luaL_error(L, "not enough memory");
    if (err == ACO_EEXISTS)
        return acl_fail(L, err, "register: another coro has the name '%s'", name);
    if (err != ACO_OK) return acl_fail(L, err, "register: the coro has ended");
    acl_coro *c = acl_coro_test(L, 1);
    if (c != NULL) c->flags |= ACL_NAMED;
    lua_pushboolean(L, 1);
    return 1;
}

/*** Take a name away from a coro. Does not wait.
@function coro:unregister
@tparam[opt] string name the coro's own name when it is left out
@treturn boolean true
@treturn[2] nil
@treturn[2] string message
@treturn[2] string "notfound" when the coro does not have this name */
static int
coro_unregister(lua_State *L)
{
    size_t size;

    aco_export *x = named_check(L, acl_self(L), "unregister");
    if (x == NULL) return 3;
    const char *name = name_check(L, x, &size);
    if (aco_name_unregister(x, name, size) != ACO_OK)
        return acl_fail(L, ACO_ENOTFOUND, "unregister: the coro has no name '%s'", name);
    lua_pushboolean(L, 1);
    return 1;
}

/* Looking for names ----------------------------------------------------------------------------
 * Of coros, channels and RCIs; those of the last two have a prefix. They are looked for in this
 * process, at one peer, or in all of them, by the network, which posts an answer to the coro that
 * waits. */

/* Stack of a search. */
enum { SEEK_NAME = 1, SEEK_PLACE, SEEK_TIMEOUT, SEEK_TOP = SEEK_PLACE };

/* What is looked for: context of a continuation. */
typedef struct seek {
    acl_engine *e;
    enum aco_kind kind;
    aco_time deadline;
} seek;

static const struct {
    const char *word, *prefix;
} seek_kinds[] = {[ACO_KIND_CORO] = {"coro", ""},
                  [ACO_KIND_CHANNEL] = {"channel", ACL_CHANNEL_PREFIX},
                  [ACO_KIND_RCI] = {"RCI", ACL_RCI_PREFIX}};

/* The name as the user knows it. */
static const char *
seek_name(lua_State *L, const seek *s)
{
    return lua_tostring(L, SEEK_NAME) + strlen(seek_kinds[s->kind].prefix);
}

static bool
seeks_here(lua_State *L, const acl_engine *e)
{
    const char *place = lua_tostring(L, SEEK_PLACE);

    return place == NULL || strcmp(place, aco_process_route(e->reach->process)) == 0;
}

/* Somewhere else too? */
static bool
seeks_afar(lua_State *L, const acl_engine *e)
{
    return acl_reach_has_gate(e) && (lua_isnil(L, SEEK_PLACE) || !seeks_here(L, e));
}

/* Push what has the name; false when nobody here has it. */
static bool
name_push(lua_State *L, const seek *s)
{
    size_t size;
    const char *name = lua_tolstring(L, SEEK_NAME, &size);

    aco_export *x = aco_name_find(s->e->reach->process, name, size);
    if (x == NULL) return false;
    bool right = x->kind == (uint8_t)s->kind;
    aco_identity identity;
    aco_export_identity(x, &identity);
    aco_export_unref(x);
    if (!right) return false;
    if (s->kind == ACO_KIND_RCI)
        acl_rci_push(L, s->e, &identity, "", "");
    else if (s->kind == ACO_KIND_CHANNEL)
        acl_channel_push(L, s->e, &identity, "", "");
    else
        acl_remote_push(L, s->e, &identity, "", "");
    return true;
}

static void
name_wait_begin(acl_engine *e)
{
    e->reach->waits++;
    e->reach->name_waits++;
    aco_name_await(e->reach->seat, true);
}

static void
name_wait_end(acl_engine *e)
{
    e->reach->waits--;
    if (--e->reach->name_waits == 0) aco_name_await(e->reach->seat, false);
}

static int
seek_failed(lua_State *L, const seek *s, int err)
{
    const char *place = lua_tostring(L, SEEK_PLACE), *name = seek_name(L, s);

    if (err == ACO_ENOMEM) return luaL_error(L, "not enough memory");
    if (err == ACO_ETIMEOUT && s->deadline == 0) err = place != NULL ? ACO_ENOTFOUND : err;
    if (err == ACO_EPEERDOWN || err == ACO_EINVALID)
        return acl_fail(L, ACO_EPEERDOWN, "locate '%s': %s cannot be reached", name,
                        place != NULL ? place : "the network");
    return acl_fail(L, err, "locate: no %s has the name '%s'%s%s%s", seek_kinds[s->kind].word, name,
                    place != NULL ? " at " : "", place != NULL ? place : "",
                    s->deadline != 0 && err == ACO_ETIMEOUT ? " in time" : "");
}

static int locate_coro_k(lua_State *L, int status, lua_KContext deadline);
static int locate_channel_k(lua_State *L, int status, lua_KContext deadline);
static int locate_rci_k(lua_State *L, int status, lua_KContext deadline);

/* Have the network look. */
static int
seek_afar(lua_State *L, const seek *s)
{
    aco_return here = acl_return_here(s->e, s->e->current);
    aco_gate *gate = aco_process_gate(s->e->reach->process);
    size_t size;
    const char *name = lua_tolstring(L, SEEK_NAME, &size);

    return gate->ops->locate(gate, lua_tostring(L, SEEK_PLACE), name, size, s->deadline != 0,
                             &here);
}

static void
seek_forget(acl_engine *e)
{
    aco_return here = acl_return_here(e, e->current);
    aco_gate *gate = aco_process_gate(e->reach->process);

    here.token--; /* of the wait that is over */
    if (gate != NULL) gate->ops->forget(gate, NULL, &here);
}

/* Nobody here has the name, and names that come are looked at: wait, or give up. */
static int
seek_wait(lua_State *L, const seek *s)
{
    acl_engine *e = s->e;
    bool afar = seeks_afar(L, e) && acl_can_wait(L, e);
    int err = s->deadline != 0 || afar ? ACO_OK : ACO_ETIMEOUT;

    if (err == ACO_OK && afar) err = seek_afar(L, s);
    if ((err == ACO_EPEERDOWN || err == ACO_EINVALID || err == ACO_ENOTFOUND) && seeks_here(L, e))
        err = s->deadline != 0 ? ACO_OK : ACO_ETIMEOUT; /* no network any more, or no name for it */
    if (err != ACO_OK) {
        name_wait_end(e);
        return seek_failed(L, s, err);
    }
    static const lua_KFunction next[] = {[ACO_KIND_CORO] = locate_coro_k,
                                         [ACO_KIND_CHANNEL] = locate_channel_k,
                                         [ACO_KIND_RCI] = locate_rci_k};
    acl_coro *c = e->current;
    aco_wait_begin(&c->task, ACO_WAIT_NAME);
    aco_wait_on(&c->task, &e->reach->names);
    return acl_park(L, e, c, s->deadline == 0 ? ACO_NEVER : s->deadline, (lua_KContext)s->deadline,
                    next[s->kind]);
}

static int
seek_try(lua_State *L, const seek *s)
{
    name_wait_begin(s->e); /* before the look, so that no name is missed */
    if (seeks_here(L, s->e) && name_push(L, s)) {
        name_wait_end(s->e);
        return 1;
    }
    return seek_wait(L, s);
}

/* The answer of a peer is on top: a handle of the right kind? */
static bool
found_open(lua_State *L, const seek *s)
{
    if (acl_msg_open(L) != ACO_OK) return false;
    if (s->kind == ACO_KIND_RCI) {
        const acl_remote *r = acl_remote_any(L, -1);
        return r != NULL && r->kind == ACO_KIND_RCI;
    }
    if (s->kind == ACO_KIND_CHANNEL) return acl_channel_test(L, -1) != NULL;
    return acl_remote_test(L, -1) != NULL || acl_coro_test(L, -1) != NULL;
}

static int
seek_k(lua_State *L, enum aco_kind kind, lua_KContext deadline)
{
    const seek s = {.e = acl_self(L), .kind = kind, .deadline = deadline};
    const acl_coro *c = s.e->current;
    int err = c->task.wake_err;
    bool answered = c->nvals == 1;

    name_wait_end(s.e);
    if (!answered && err != ACO_ENOTFOUND && err != ACO_EPEERDOWN) seek_forget(s.e);
    acl_wait_end(L, s.e, s.e->current);
    if (err == ACO_OK && answered && found_open(L, &s)) return 1;
    lua_settop(L, SEEK_TOP);
    if (err == ACO_ENOTFOUND) err = ACO_ETIMEOUT;
    if (err == ACO_OK && answered) err = ACO_ENOTFOUND; /* something else has that name */
    return err == ACO_OK ? seek_try(L, &s) : seek_failed(L, &s, err);
}

static int
locate_coro_k(lua_State *L, int status, lua_KContext deadline)
{
    (void)status;
    return seek_k(L, ACO_KIND_CORO, deadline);
}

static int
locate_channel_k(lua_State *L, int status, lua_KContext deadline)
{
    (void)status;
    return seek_k(L, ACO_KIND_CHANNEL, deadline);
}

static int
locate_rci_k(lua_State *L, int status, lua_KContext deadline)
{
    (void)status;
    return seek_k(L, ACO_KIND_RCI, deadline);
}

static int
locate(lua_State *L, enum aco_kind kind)
{
    acl_engine *e = acl_self(L);

    luaL_checktype(L, SEEK_NAME, LUA_TSTRING);
    const seek s = {.e = e, .kind = kind, .deadline = acl_opt_deadline(L, SEEK_TIMEOUT)};
    if (e->reach == NULL) return luaL_error(L, "the engine of this Lua state has been closed");
    lua_settop(L, SEEK_TOP);
    if (!lua_isnil(L, SEEK_PLACE)) acl_location_check(L, SEEK_PLACE);
    lua_pushstring(L, seek_kinds[kind].prefix);
    lua_pushvalue(L, SEEK_NAME);
    lua_concat(L, 2);
    lua_replace(L, SEEK_NAME);
    if (!seeks_here(L, e) && !acl_reach_has_gate(e))
        return acl_fail(L, ACO_ENOTFOUND, "locate: this process has no network");
    if (s.deadline != 0) acl_wait_check(L, e, "locate");
    return seek_try(L, &s);
}

/*** Find the coro that has a name, or wait until one has it: in this process and, while the network
runs, in every peer. Waits.
@function locate
@tparam string name
@tparam[opt] location|string location the process to look in; everywhere when it is left out
@tparam[opt] number timeout seconds; nil waits for ever, 0 only looks
@treturn coro
@treturn[2] nil
@treturn[2] string message
@treturn[2] string "timeout"; "notfound" when the process at the location has no such name and the
time-out is 0; "peerdown" when it cannot be reached then */
static int
acl_locate(lua_State *L)
{
    return locate(L, ACO_KIND_CORO);
}

/*** Find the channel that has been registered with a name, or wait until there is one. As `locate`.
Waits.
@function locate_channel
@tparam string name
@tparam[opt] location|string location the process to look in; everywhere when it is left out
@tparam[opt] number timeout seconds; nil waits for ever, 0 only looks
@treturn channel
@treturn[2] nil
@treturn[2] string message
@treturn[2] string as of `locate` */
static int
acl_locate_channel(lua_State *L)
{
    return locate(L, ACO_KIND_CHANNEL);
}

/*** Find the RCI that has a name, or wait until one has it. As `locate`. Waits.
@function locate_rci
@tparam string name
@tparam[opt] location|string location the process to look in; everywhere when it is left out
@tparam[opt] number timeout seconds; nil waits for ever, 0 only looks
@treturn rci call it, and it starts a coro there
@treturn[2] nil
@treturn[2] string message
@treturn[2] string as of `locate` */
static int
acl_locate_rci(lua_State *L)
{
    return locate(L, ACO_KIND_RCI);
}

void
acl_open_names(lua_State *L, acl_engine *e)
{
    static const luaL_Reg funcs[] = {{"locate", acl_locate},
                                     {"locate_channel", acl_locate_channel},
                                     {"locate_rci", acl_locate_rci},
                                     {NULL, NULL}};
    static const luaL_Reg methods[] = {
        {"register", coro_register}, {"unregister", coro_unregister}, {NULL, NULL}};

    acl_setfuncs(L, e, funcs);
    acl_setmethods(L, e, methods);
    luaL_getmetatable(L, ACL_REMOTE_META);
    lua_getfield(L, -1, "__index");
    acl_setfuncs(L, e, methods);
    lua_pop(L, 2);
}
