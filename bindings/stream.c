/* SPDX-License-Identifier: MIT */
/* stream.c -- streams: what they have in common. Reading is in read.c, writing in write.c, closing
 * in file.c. */
#include "bindings/stream.h"
#include "bindings/read.h"
#include "bindings/write.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/clock.h"

#define STREAM_NAME "asyncoro.stream"

/* After so many operations without a wait the others have a turn. */
enum { IO_STREAK = 64 };

uint8_t *
acl_scratch(acl_engine *e)
{
    if (e->scratch == NULL) e->scratch = malloc(ACL_SCRATCH);
    return e->scratch;
}

aco_stream *
acl_stream_new(lua_State *L, acl_engine *e)
{
    aco_stream *s = lua_newuserdatauv(L, sizeof *s, 1);

    memset(s, 0, sizeof *s);
    s->self = s;
    s->loop = &e->loop;
    s->fd = -1;
    s->timeout = s->limit = ACO_NEVER;
    aco_watch_init(&s->reader, &e->loop, -1, false);
    aco_watch_init(&s->writer, &e->loop, -1, true);
    luaL_setmetatable(L, STREAM_NAME);
    return s;
}

aco_stream *
acl_stream_test(lua_State *L, int idx)
{
    if (lua_rawlen(L, idx) != sizeof(aco_stream)) return NULL; /* no light userdata: gives 0 */
    aco_stream *s = lua_touserdata(L, idx);
    return s != NULL && s->self == s ? s : NULL;
}

aco_stream *
acl_stream_check(lua_State *L, int idx)
{
    aco_stream *s = acl_stream_test(L, idx);

    if (s == NULL) luaL_typeerror(L, idx, "stream");
    return s;
}

const char *
acl_stream_where(const aco_stream *s, char text[ACO_ADDRESS_TEXT])
{
    aco_address address;

    if (s->label != NULL) return s->label;
    if (s->fd < 0 || !s->socket) return "stream";
    if (aco_address_of(&address, s->fd, true) != ACO_OK &&
        aco_address_of(&address, s->fd, false) != ACO_OK)
        return "socket";
    if (address.size <= sizeof(sa_family_t)) return "socket"; /* a Unix one without a path */
    aco_address_text(&address, text);
    return text;
}

void
acl_stream_remember(aco_stream *s)
{
    char text[ACO_ADDRESS_TEXT];

    if (s->label != NULL || s->fd < 0 || !s->socket) return;
    if (acl_stream_where(s, text) == text) s->label = strdup(text);
}

/* Our own words, the transport's, or the system's. */
static const char *
stream_why(const aco_stream *s, int err)
{
    switch (err) {
    case ACO_ETIMEOUT:
    case ACO_ECLOSED:
    case ACO_EEOF:
    case ACO_EBUSY:
    case ACO_ETOOLARGE:
    case ACO_ENOMEM:
        return aco_err_text(err);
    default:
        if (s->error != NULL) return s->error;
        return s->errnum != 0 ? strerror(s->errnum) : aco_err_text(err);
    }
}

int
acl_stream_fail(lua_State *L, aco_stream *s, const char *what, int err)
{
    char text[ACO_ADDRESS_TEXT];

    return acl_fail(L, err, "%s %s: %s", what, acl_stream_where(s, text), stream_why(s, err));
}

int
acl_fd_push(lua_State *L, int fd)
{
    if (fd >= 0)
        lua_pushinteger(L, fd);
    else
        lua_pushnil(L);
    return 1;
}

aco_time
acl_timeout_check(lua_State *L, int idx)
{
    double seconds = luaL_optnumber(L, idx, HUGE_VAL);

    luaL_argcheck(L, seconds >= 0, idx, "a time of 0 or more seconds expected");
    return seconds > 0 ? aco_deadline(0, seconds) : 0;
}

int
acl_timeout_push(lua_State *L, aco_time timeout)
{
    if (timeout == ACO_NEVER)
        lua_pushnil(L);
    else
        lua_pushnumber(L, (lua_Number)timeout / 1e9);
    return 1;
}

aco_time
acl_stream_deadline(lua_State *L, const aco_stream *s, int idx)
{
    if (!lua_isnoneornil(L, idx)) return acl_opt_deadline(L, idx);
    if (s->timeout == ACO_NEVER || s->timeout == 0) return s->timeout;
    return aco_now() + s->timeout;
}

bool
acl_stream_early(const aco_stream *s, aco_time deadline)
{
    return s->limit < deadline && aco_now() < deadline;
}

static int
done_k(lua_State *L, int status, lua_KContext results)
{
    (void)L;
    (void)status;
    return (int)results;
}

int
acl_io_done(lua_State *L, acl_engine *e, int results)
{
    acl_coro *c = e->current;

    if (ACO_LIKELY(++e->io_streak < IO_STREAK)) return results;
    e->io_streak = 0;
    c->task.what = ACO_WAIT_TURN;
    aco_task_ready(&e->loop, &c->task);
    return lua_yieldk(L, 0, results, done_k);
}

static int
stream_gc(lua_State *L)
{
    aco_stream_fini(lua_touserdata(L, 1));
    return 0;
}

/*** Is the stream open on this side?
@function stream:is_open
@treturn boolean */
static int
stream_is_open(lua_State *L)
{
    lua_pushboolean(L, aco_stream_is_open(acl_stream_check(L, 1)));
    return 1;
}

/*** Set how long each later operation of this stream may take, unless it is told itself.
@function stream:settimeout
@tparam[opt] number seconds nil: no limit; 0: never wait
@treturn stream itself */
static int
stream_settimeout(lua_State *L)
{
    aco_stream *s = acl_stream_check(L, 1);

    s->timeout = acl_timeout_check(L, 2);
    lua_settop(L, 1);
    return 1;
}

/*** The time-out of each operation.
@function stream:gettimeout
@treturn ?number seconds; nil when there is none */
static int
stream_gettimeout(lua_State *L)
{
    return acl_timeout_push(L, acl_stream_check(L, 1)->timeout);
}

/*** The number of the descriptor, which stays the stream's.
@function stream:fileno
@treturn ?integer nil when it is closed or has none */
static int
stream_fileno(lua_State *L)
{
    return acl_fd_push(L, acl_stream_check(L, 1)->fd);
}

/*** Take the descriptor out of the stream, which is closed after that: to be given to a stream of
another engine (`socket.from_fd`), or to a C library. It is non-blocking.
@function stream:detach
@treturn integer the descriptor, the caller's from now on
@treturn string what had been received and not read
@treturn[2] nil
@treturn[2] string message
@treturn[2] string "closed"; "unsupported" for TLS and files; "busy" while a coro waits in it */
static int
stream_detach(lua_State *L)
{
    aco_stream *s = acl_stream_check(L, 1);

    if (!aco_stream_is_open(s)) return acl_stream_fail(L, s, "detach", ACO_ECLOSED);
    if (s->reading || s->writing) return acl_stream_fail(L, s, "detach", ACO_EBUSY);
    if (s->transport != &aco_plain_transport)
        return acl_stream_fail(L, s, "detach", ACO_EUNSUPPORTED);
    lua_pushinteger(L, s->fd);
    lua_pushlstring(L, (const char *)aco_stream_data(s), aco_stream_size(s));
    acl_stream_remember(s);
    aco_stream_detach(s);
    return 2;
}

static int
stream_tostring(lua_State *L)
{
    aco_stream *s = acl_stream_check(L, 1);
    char text[ACO_ADDRESS_TEXT];

    lua_pushfstring(L, "stream %s%s", acl_stream_where(s, text),
                    aco_stream_is_open(s) ? "" : " (closed)");
    return 1;
}

/* For asyncoro.select: poll(stream) -> is a read possible at once? */
static int
select_poll(lua_State *L)
{
    aco_stream *s = acl_stream_check(L, 1);
    aco_waitq *wait = NULL;

    lua_pushboolean(L, aco_stream_ready(s, &wait) != ACO_EBUSY);
    lua_pushboolean(L, 1);
    return 2;
}

static int
select_queue(lua_State *L)
{
    aco_stream *s = acl_stream_check(L, 1);
    aco_waitq *wait = &s->reader.queue;

    (void)!aco_stream_ready(s, &wait);
    lua_pushlightuserdata(L, wait);
    return 1;
}

void
acl_stream_meta(lua_State *L)
{
    luaL_getmetatable(L, STREAM_NAME);
}

void
acl_open_stream(lua_State *L, acl_engine *e)
{
    static const luaL_Reg methods[] = {
        {"is_open", stream_is_open},       {"settimeout", stream_settimeout},
        {"gettimeout", stream_gettimeout}, {"fileno", stream_fileno},
        {"detach", stream_detach},         {NULL, NULL}};
    static const luaL_Reg meta[] = {{"__tostring", stream_tostring}, {NULL, NULL}};
    static const luaL_Reg source[] = {{"poll", select_poll}, {"queue", select_queue}, {NULL, NULL}};

    luaL_newmetatable(L, STREAM_NAME);
    acl_setfuncs(L, e, meta);
    lua_pushcfunction(L, stream_gc);
    lua_setfield(L, -2, "__gc");
    lua_newtable(L);
    acl_setfuncs(L, e, source);
    lua_setfield(L, -2, "__select");
    lua_newtable(L);
    acl_setfuncs(L, e, methods);
    acl_read_methods(L, e);
    acl_write_methods(L, e);
    lua_pushvalue(L, -1);
    lua_setfield(L, -3, "__index");
    lua_setfield(L, -3, "stream"); /* core.stream: the methods */
    lua_pop(L, 1);
}
