/* SPDX-License-Identifier: MIT */
/* write.c -- writing to streams: the strings stay on the stack until all of them have been sent.
 *
 * Behind the arguments a wait keeps where it is: the deadline, the first string not sent, how much
 * of it is, and how much has been sent in all. */
#include "bindings/write.h"
#include "bindings/stream.h"

/* Strings given to the system at once. */
enum { PIECES = 32 };

typedef struct progress {
    int count;     /* of arguments, the stream included */
    int index;     /* the first not sent */
    size_t offset; /* of it, sent */
    size_t sent;   /* in all */
    aco_time deadline;
} progress;

enum { KEPT = 4 };

static void
progress_push(lua_State *L, const progress *at)
{
    luaL_checkstack(L, KEPT, NULL);
    lua_pushinteger(L, at->deadline);
    lua_pushinteger(L, at->index);
    lua_pushinteger(L, (lua_Integer)at->offset);
    lua_pushinteger(L, (lua_Integer)at->sent);
}

static void
progress_pop(lua_State *L, progress *at)
{
    at->deadline = lua_tointeger(L, -4);
    at->index = (int)lua_tointeger(L, -3);
    at->offset = (size_t)lua_tointeger(L, -2);
    at->sent = (size_t)lua_tointeger(L, -1);
    lua_pop(L, KEPT);
    at->count = lua_gettop(L);
}

/* The strings from here on; how many pieces. */
static int
pieces_get(lua_State *L, const progress *at, struct iovec *pieces)
{
    int n = 0;

    for (int i = at->index; i <= at->count && n < PIECES; i++) {
        size_t size;
        const char *data = lua_tolstring(L, i, &size);
        size_t skip = i == at->index ? at->offset : 0;
        if (size > skip)
            pieces[n++] = (struct iovec){.iov_base = (char *)data + skip, .iov_len = size - skip};
    }
    return n;
}

static void
progress_by(lua_State *L, progress *at, size_t sent)
{
    at->sent += sent;
    for (sent += at->offset; at->index <= at->count; at->index++) {
        size_t size = lua_rawlen(L, at->index);
        if (sent < size) break;
        sent -= size;
    }
    at->offset = sent;
}

static int
write_fail(lua_State *L, aco_stream *s, int err, size_t sent)
{
    int results = acl_stream_fail(L, s, "write", err);

    lua_pushinteger(L, (lua_Integer)sent);
    return results + 1;
}

static int
write_done(lua_State *L, acl_engine *e, size_t sent)
{
    lua_pushinteger(L, (lua_Integer)sent);
    return acl_io_done(L, e, 1);
}

static int write_k(lua_State *L, int status, lua_KContext once);

static int
write_wait(lua_State *L, acl_engine *e, aco_stream *s, const progress *at, aco_waitq *wait,
           bool once)
{
    acl_coro *c = e->current;

    progress_push(L, at);
    s->writing = true;
    e->io_streak = 0;
    aco_wait_begin(&c->task, ACO_WAIT_WRITE);
    aco_wait_on(&c->task, wait);
    return acl_park(L, e, c, aco_stream_until(s, at->deadline), once, write_k);
}

/* Go on until all has been sent (once: until anything has), or a wait. */
static int
write_run(lua_State *L, acl_engine *e, aco_stream *s, progress *at, bool once)
{
    struct iovec pieces[PIECES];
    aco_waitq *wait;

    for (;;) {
        bool done = at->index > at->count || (once && at->sent > 0);
        int n = done ? 0 : pieces_get(L, at, pieces);
        size_t sent = 0;
        int err = n > 0 ? aco_stream_write(s, pieces, n, &sent, &wait) : aco_stream_flush(s, &wait);
        if (err == ACO_OK && n == 0) return write_done(L, e, at->sent);
        if (err == ACO_EBUSY && at->deadline != 0) return write_wait(L, e, s, at, wait, once);
        if (err == ACO_EBUSY) err = ACO_ETIMEOUT;
        if (err != ACO_OK) return write_fail(L, s, err, at->sent);
        progress_by(L, at, sent);
    }
}

static int
write_k(lua_State *L, int status, lua_KContext once)
{
    acl_engine *e = acl_self(L);
    acl_coro *c = e->current;
    aco_stream *s = lua_touserdata(L, 1);
    progress at;

    (void)status;
    s->writing = false;
    acl_wait_end(L, e, c);
    progress_pop(L, &at);
    int err = c->task.wake_err;
    bool again = err == ACO_ETIMEOUT && acl_stream_early(s, at.deadline);
    if (err != ACO_OK && !again) return write_fail(L, s, err, at.sent);
    return write_run(L, e, s, &at, once != 0);
}

/* The arguments from 2 on are what is to be written. */
static int
write_begin(lua_State *L, acl_engine *e, aco_stream *s, aco_time deadline, bool once)
{
    progress at = {.count = lua_gettop(L), .index = 2, .deadline = deadline};

    for (int i = 2; i <= at.count; i++) { /* makes strings of numbers */
        if (!lua_isstring(L, i)) luaL_typeerror(L, i, "string");
        lua_tolstring(L, i, NULL);
    }
    acl_wait_check(L, e, "write");
    if (s->writing) return write_fail(L, s, ACO_EBUSY, 0);
    if (!aco_stream_is_open(s)) return write_fail(L, s, ACO_ECLOSED, 0);
    return write_run(L, e, s, &at, once);
}

/* One string, and no time-out: most often the system takes it at once. */
static ACO_APART int
write_one(lua_State *L, aco_stream *s)
{
    acl_engine *e = acl_stream_engine(s);
    struct iovec piece;
    aco_waitq *wait;
    size_t sent = 0;

    piece.iov_base = (char *)lua_tolstring(L, 2, &piece.iov_len);
    acl_wait_check(L, e, "write");
    if (s->writing) return write_fail(L, s, ACO_EBUSY, 0);
    int err = piece.iov_len > 0 ? aco_stream_write(s, &piece, 1, &sent, &wait) : ACO_OK;
    if (ACO_LIKELY(err == ACO_OK && sent == piece.iov_len && sent > 0 &&
                   s->transport->flush == NULL))
        return write_done(L, e, sent);
    progress at = {.count = 2, .index = 2, .deadline = ACO_NEVER};
    if (err == ACO_EBUSY) return write_wait(L, e, s, &at, wait, false);
    if (err != ACO_OK) return write_fail(L, s, err, 0);
    progress_by(L, &at, sent);
    return write_run(L, e, s, &at, false);
}

int
acl_write_rest(lua_State *L, acl_engine *e, aco_stream *s, aco_time deadline, size_t sent)
{
    progress at = {.count = lua_gettop(L), .index = 2, .deadline = deadline};

    progress_by(L, &at, sent);
    return write_run(L, e, s, &at, false);
}

/*** Write strings (or numbers), one after the other, all of them.
Waits until the system has taken everything, `settimeout` seconds at most. Also called `sendall`.
@function stream:write
@tparam string ...
@treturn integer how many bytes that was
@treturn[2] nil
@treturn[2] string message
@treturn[2] string "timeout", "closed", "reset", "busy" when another coro writes
@treturn[2] integer how many bytes had been written */
static int
stream_write(lua_State *L)
{
    aco_stream *s = acl_stream_check(L, 1);
    int top = lua_gettop(L);

    if (ACO_LIKELY(top == 2 && s->timeout == ACO_NEVER && lua_type(L, 2) == LUA_TSTRING))
        return write_one(L, s);
    return write_begin(L, acl_stream_engine(s), s, acl_stream_deadline(L, s, top + 1), false);
}

/*** Write some of a string: as much as the system takes at once, 1 byte at least.
Waits until it takes any.
@function stream:send
@tparam string data
@tparam[opt] number timeout seconds; the stream's own when nil
@treturn integer how many bytes were written
@treturn[2] nil
@treturn[2] string message
@treturn[2] string "timeout", "closed", "reset", "busy" */
static int
stream_send(lua_State *L)
{
    acl_engine *e = acl_self(L);
    aco_stream *s = acl_stream_check(L, 1);
    aco_time deadline = acl_stream_deadline(L, s, 3);

    luaL_checkstring(L, 2);
    lua_settop(L, 2);
    return write_begin(L, e, s, deadline, true);
}

/*** Write one message for `recv_msg`: its length in four bytes, big-endian, then it.
Waits until the system has taken everything.
@function stream:send_msg
@tparam string message of less than 4 GiB, perhaps empty
@tparam[opt] number timeout seconds; the stream's own when nil
@treturn integer how many bytes that was, with the length
@treturn[2] nil
@treturn[2] string message
@treturn[2] string "timeout", "closed", "reset", "busy"
@treturn[2] integer how many bytes had been written */
static int
stream_send_msg(lua_State *L)
{
    acl_engine *e = acl_self(L);
    aco_stream *s = acl_stream_check(L, 1);
    aco_time deadline = acl_stream_deadline(L, s, 3);
    size_t size;

    luaL_checklstring(L, 2, &size);
    luaL_argcheck(L, size <= UINT32_MAX, 2, "a message is shorter than 4 GiB");
    const char head[] = {(char)(size >> 24), (char)(size >> 16), (char)(size >> 8), (char)size};
    lua_settop(L, 2);
    lua_pushlstring(L, head, sizeof head);
    lua_insert(L, 2);
    return write_begin(L, e, s, deadline, false);
}

static int shutdown_result(lua_State *L, acl_engine *e, aco_stream *s, aco_time deadline);

/* (stream, deadline) */
static int
shutdown_k(lua_State *L, int status, lua_KContext ctx)
{
    acl_engine *e = acl_self(L);
    acl_coro *c = e->current;
    aco_stream *s = lua_touserdata(L, 1);

    (void)status;
    (void)ctx;
    s->writing = false;
    acl_wait_end(L, e, c);
    int err = c->task.wake_err;
    aco_time deadline = (aco_time)lua_tointeger(L, 2);
    bool again = err == ACO_ETIMEOUT && acl_stream_early(s, deadline);
    if (err != ACO_OK && !again) return acl_stream_fail(L, s, "shutdown", err);
    return shutdown_result(L, e, s, deadline);
}

static int
shutdown_result(lua_State *L, acl_engine *e, aco_stream *s, aco_time deadline)
{
    acl_coro *c = e->current;
    aco_waitq *wait;
    int err = aco_stream_shutdown(s, &wait);

    if (err == ACO_EBUSY && deadline != 0) {
        s->writing = true;
        aco_wait_begin(&c->task, ACO_WAIT_WRITE);
        aco_wait_on(&c->task, wait);
        return acl_park(L, e, c, aco_stream_until(s, deadline), 0, shutdown_k);
    }
    if (err == ACO_EBUSY) err = ACO_ETIMEOUT;
    if (err != ACO_OK) return acl_stream_fail(L, s, "shutdown", err);
    lua_pushboolean(L, 1);
    return 1;
}

/*** Say to the other side that nothing more will be written; reading goes on.
Waits where TLS has something to say. Of the writing end of a pipe: close it.
@function stream:shutdown
@tparam[opt] number timeout seconds; the stream's own when nil
@treturn boolean true
@treturn[2] nil
@treturn[2] string message
@treturn[2] string "closed", "timeout", "reset", "busy" when another coro writes */
static int
stream_shutdown(lua_State *L)
{
    acl_engine *e = acl_self(L);
    aco_stream *s = acl_stream_check(L, 1);
    aco_time deadline = acl_stream_deadline(L, s, 2);

    acl_wait_check(L, e, "shutdown");
    if (s->writing) return acl_stream_fail(L, s, "shutdown", ACO_EBUSY);
    lua_settop(L, 1);
    lua_pushinteger(L, deadline);
    return shutdown_result(L, e, s, deadline);
}

void
acl_write_methods(lua_State *L, acl_engine *e)
{
    static const luaL_Reg methods[] = {{"write", stream_write},       {"sendall", stream_write},
                                       {"send", stream_send},         {"send_msg", stream_send_msg},
                                       {"shutdown", stream_shutdown}, {NULL, NULL}};

    acl_setfuncs(L, e, methods);
}
