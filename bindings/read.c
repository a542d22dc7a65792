/* SPDX-License-Identifier: MIT */
/* read.c -- reading from streams.
 *
 * Each kind of read is a rule that looks at the bytes received so far: what is the piece wanted, or
 * is more needed? Bytes that came in one go with the piece stay in the stream's buffer. */
#include "bindings/read.h"
#include "bindings/stream.h"

#include <string.h>

#define MEBI ((lua_Integer)1 << 20)

enum read_kind {
    READ_SOME,
    READ_EXACT,
    READ_LINE,
    READ_LINE_WHOLE,
    READ_UNTIL,
    READ_ALL,
    READ_MESSAGE
};

static const char *const read_names[] = {"read",       "read_exact", "read_line", "read_line",
                                         "read_until", "read_all",   "recv_msg"};

/* The stack of a read. */
enum { AT_STREAM = 1, AT_SIZE, AT_DELIMITER, AT_DEADLINE, AT_LAST = AT_DEADLINE };

typedef struct wish {
    enum read_kind kind;
    size_t size; /* how many bytes; of the other kinds: the limit */
    const char *delimiter;
    size_t delimiter_size;
} wish;

/* The piece: its bytes, and how many to take with them. */
typedef struct piece {
    size_t start, size, taken;
} piece;

enum verdict { FOUND, MORE, TOO_LARGE };

static enum verdict
line_wanted(aco_stream *s, const wish *w, const uint8_t *data, size_t size, piece *p)
{
    size_t from = s->scanned < size ? s->scanned : size;
    const uint8_t *end = size > from ? memchr(data + from, '\n', size - from) : NULL;

    s->scanned = size;
    if (end == NULL && !(s->ended && size > 0)) {
        bool half = w->kind == READ_LINE && size > 0 && data[size - 1] == '\r';
        return size - half > w->size ? TOO_LARGE : MORE; /* half of a line end is not of the line */
    }
    p->taken = end != NULL ? (size_t)(end - data) + 1 : size;
    p->size = p->taken;
    if (w->kind == READ_LINE && end != NULL) {
        p->size--;
        if (p->size > 0 && data[p->size - 1] == '\r') p->size--;
    }
    return p->size > w->size ? TOO_LARGE : FOUND;
}

static enum verdict
until_wanted(aco_stream *s, const wish *w, const uint8_t *data, size_t size, piece *p)
{
    size_t overlap = w->delimiter_size - 1;
    size_t from = s->scanned > overlap ? s->scanned - overlap : 0;
    const uint8_t *end =
        size > from ? memmem(data + from, size - from, w->delimiter, w->delimiter_size) : NULL;

    s->scanned = size;
    if (end == NULL) return size > w->size ? TOO_LARGE : MORE;
    p->size = p->taken = (size_t)(end - data) + w->delimiter_size;
    return p->size > w->size ? TOO_LARGE : FOUND;
}

/* A message: its length in four bytes, the first the highest, and then it. */
static enum verdict
message_wanted(const wish *w, const uint8_t *data, size_t size, piece *p)
{
    if (size < 4) return MORE;
    p->start = 4;
    p->size = (size_t)data[0] << 24 | (size_t)data[1] << 16 | (size_t)data[2] << 8 | data[3];
    p->taken = p->size + 4;
    if (p->size > w->size) return TOO_LARGE;
    return size >= p->taken ? FOUND : MORE;
}

static enum verdict
wanted(aco_stream *s, const wish *w, const uint8_t *data, size_t size, piece *p)
{
    *p = (piece){.start = 0};
    switch (w->kind) {
    case READ_SOME:
        p->size = p->taken = size < w->size ? size : w->size;
        return size > 0 || w->size == 0 ? FOUND : MORE;
    case READ_EXACT:
        p->size = p->taken = w->size;
        return size >= w->size ? FOUND : MORE;
    case READ_ALL:
        p->size = p->taken = size;
        if (size > w->size) return TOO_LARGE;
        return s->ended ? FOUND : MORE;
    case READ_UNTIL:
        return until_wanted(s, w, data, size, p);
    case READ_MESSAGE:
        return message_wanted(w, data, size, p);
    default:
        return line_wanted(s, w, data, size, p);
    }
}

static void
wish_get(lua_State *L, enum read_kind kind, wish *w)
{
    *w = (wish){.kind = kind, .size = (size_t)lua_tointeger(L, AT_SIZE)};
    if (kind == READ_UNTIL) w->delimiter = lua_tolstring(L, AT_DELIMITER, &w->delimiter_size);
}

/* nil, message, code, and what has come so far, which goes out of the buffer. */
static int
read_fail(lua_State *L, aco_stream *s, const wish *w, int err)
{
    size_t size = aco_stream_size(s);
    int results = acl_stream_fail(L, s, read_names[w->kind], err);

    if (err == ACO_ETOOLARGE || err == ACO_EBUSY || size == 0) return results;
    lua_pushlstring(L, (const char *)aco_stream_data(s), size);
    aco_stream_take(s, size);
    return results + 1;
}

/* The verdict on what is in the buffer: FOUND leaves the piece on the stack. */
static enum verdict
read_buffer(lua_State *L, aco_stream *s, const wish *w)
{
    const uint8_t *data = aco_stream_data(s);
    piece p;
    enum verdict verdict = wanted(s, w, data, aco_stream_size(s), &p);

    if (verdict != FOUND) return verdict;
    lua_pushlstring(L, p.size > 0 ? (const char *)data + p.start : "", p.size);
    aco_stream_take(s, p.taken);
    return FOUND;
}

/* How much more to ask for in one go, when the buffer is to be filled in place; 0: not in place. */
static size_t
read_more(const aco_stream *s, const wish *w)
{
    size_t have = aco_stream_size(s), need = 0;

    if (w->kind == READ_EXACT)
        need = w->size - have;
    else if (w->kind == READ_ALL)
        need = have > ACL_SCRATCH ? have : ACL_SCRATCH;
    else if (have > 0)
        need = ACL_SCRATCH;
    if (have == 0 && need <= ACL_SCRATCH) return 0;
    if (need < ACL_SCRATCH) need = ACL_SCRATCH;
    return need < (size_t)MEBI ? need : (size_t)MEBI;
}

/* Receive, past the buffer when that is empty: FOUND in `*verdict` leaves the piece on the stack.
 */
static int
read_past(lua_State *L, acl_engine *e, aco_stream *s, const wish *w, enum verdict *verdict,
          aco_waitq **wait)
{
    uint8_t *data = acl_scratch(e);
    bool limited = w->kind == READ_SOME && w->size < ACL_SCRATCH;
    size_t got = 0;
    piece p = {.taken = 0};

    *verdict = MORE;
    if (data == NULL) return ACO_ENOMEM;
    int err = aco_stream_read(s, data, limited ? w->size : ACL_SCRATCH, &got, wait);
    if (err != ACO_OK) return err;
    *verdict = wanted(s, w, data, got, &p);
    if (*verdict != FOUND) p = (piece){.taken = 0};
    if (p.taken < got) err = aco_stream_keep(s, data + p.taken, got - p.taken);
    if (*verdict == FOUND) lua_pushlstring(L, (const char *)data + p.start, p.size);
    return err;
}

/* One step: ACO_OK, when the verdict counts, or what keeps it from going on. */
static int
read_step(lua_State *L, acl_engine *e, aco_stream *s, const wish *w, enum verdict *verdict,
          aco_waitq **wait)
{
    size_t more = read_more(s, w);
    int err;

    *verdict = MORE;
    if (more == 0) {
        err = read_past(L, e, s, w, verdict, wait);
        if (err != ACO_EEOF) return err;
    } else {
        err = aco_stream_fill(s, more, wait);
    }
    if (err == ACO_OK || err == ACO_EEOF) *verdict = read_buffer(L, s, w);
    return err == ACO_EEOF && *verdict != MORE ? ACO_OK : err;
}

static int read_k(lua_State *L, int status, lua_KContext kind);

static int
read_wait(lua_State *L, acl_engine *e, aco_stream *s, const wish *w, aco_waitq *wait)
{
    acl_coro *c = e->current;
    aco_time deadline = (aco_time)lua_tointeger(L, AT_DEADLINE);

    s->reading = true;
    e->io_streak = 0;
    aco_wait_begin(&c->task, ACO_WAIT_READ);
    aco_wait_on(&c->task, wait);
    return acl_park(L, e, c, aco_stream_until(s, deadline), (lua_KContext)w->kind, read_k);
}

/* Go on until there is a result, or a wait. The buffer has been looked at. */
static int
read_run(lua_State *L, acl_engine *e, aco_stream *s, const wish *w)
{
    bool again = lua_tointeger(L, AT_DEADLINE) == 0;
    enum verdict verdict;
    aco_waitq *wait;

    for (;;) {
        int err = read_step(L, e, s, w, &verdict, &wait);
        if (err == ACO_OK && verdict == MORE) continue;
        if (err == ACO_EBUSY && again) { /* it may not have looked at the descriptor */
            again = false;
            continue;
        }
        if (err == ACO_EBUSY && lua_tointeger(L, AT_DEADLINE) == 0) err = ACO_ETIMEOUT;
        if (err == ACO_EBUSY) return read_wait(L, e, s, w, wait);
        s->reading = false;
        if (err == ACO_OK && verdict == TOO_LARGE) err = ACO_ETOOLARGE;
        if (err != ACO_OK) return read_fail(L, s, w, err);
        return acl_io_done(L, e, 1);
    }
}

static int
read_k(lua_State *L, int status, lua_KContext kind)
{
    aco_stream *s = lua_touserdata(L, AT_STREAM);
    acl_engine *e = acl_stream_engine(s);
    acl_coro *c = e->current;
    wish w;

    (void)status;
    s->reading = false;
    acl_wait_end(L, e, c);
    wish_get(L, (enum read_kind)kind, &w);
    int err = c->task.wake_err;
    bool again = err == ACO_ETIMEOUT && acl_stream_early(s, lua_tointeger(L, AT_DEADLINE));
    if (err != ACO_OK && !again) return read_fail(L, s, &w, err);
    return read_run(L, e, s, &w);
}

/* What comes, and no time-out: the read that most programs make, whose stack is the stream alone. A
 * wait keeps the size as its context. */
static int some_k(lua_State *L, int status, lua_KContext size);

static ACO_APART int
some_fail(lua_State *L, aco_stream *s, int err)
{
    const wish w = {.kind = READ_SOME};

    return read_fail(L, s, &w, err);
}

/* The buffer is empty. */
static int
some_run(lua_State *L, acl_engine *e, aco_stream *s, size_t size)
{
    uint8_t *data = acl_scratch(e);
    aco_waitq *wait;
    size_t got;

    if (ACO_UNLIKELY(data == NULL)) return some_fail(L, s, ACO_ENOMEM);
    int err = aco_stream_read(s, data, size, &got, &wait);
    if (err == ACO_OK) {
        lua_pushlstring(L, (const char *)data, got);
        return acl_io_done(L, e, 1);
    }
    if (err != ACO_EBUSY) return some_fail(L, s, err);
    acl_coro *c = e->current;
    s->reading = true;
    e->io_streak = 0;
    aco_wait_begin(&c->task, ACO_WAIT_READ);
    aco_wait_on(&c->task, wait);
    return acl_park(L, e, c, s->limit, (lua_KContext)size, some_k);
}

static int
some_k(lua_State *L, int status, lua_KContext size)
{
    aco_stream *s = lua_touserdata(L, AT_STREAM);
    acl_engine *e = acl_stream_engine(s);
    acl_coro *c = e->current;

    (void)status;
    s->reading = false;
    acl_wait_end(L, e, c);
    int err = c->task.wake_err;
    if (ACO_UNLIKELY(err != ACO_OK) && !(err == ACO_ETIMEOUT && acl_stream_early(s, ACO_NEVER)))
        return some_fail(L, s, err);
    return some_run(L, e, s, (size_t)size);
}

/* Is it such a read, of a stream whose buffer is empty? */
static inline bool
some_simple(const aco_stream *s, lua_Integer size)
{
    return size > 0 && size <= ACL_SCRATCH && s->timeout == ACO_NEVER && !s->reading &&
           aco_stream_size(s) == 0;
}

/* Begin a read whose stack is complete but for the deadline, which the time-out at AT_DEADLINE
 * gives. */
static int
read_begin(lua_State *L, acl_engine *e, aco_stream *s, enum read_kind kind)
{
    aco_time deadline = acl_stream_deadline(L, s, AT_DEADLINE);
    wish w;

    lua_settop(L, AT_LAST);
    acl_wait_check(L, e, read_names[kind]);
    wish_get(L, kind, &w);
    if (s->reading) return read_fail(L, s, &w, ACO_EBUSY);
    s->scanned = 0;
    if (aco_stream_size(s) > 0 || w.size == 0) {
        enum verdict verdict = read_buffer(L, s, &w);
        if (verdict == FOUND) return acl_io_done(L, e, 1);
        if (verdict == TOO_LARGE) return read_fail(L, s, &w, ACO_ETOOLARGE);
    }
    lua_pushinteger(L, deadline);
    lua_replace(L, AT_DEADLINE);
    return read_run(L, e, s, &w);
}

static void
check_size(lua_State *L, lua_Integer most)
{
    lua_Integer size = luaL_optinteger(L, AT_SIZE, most);

    luaL_argcheck(L, size >= 0, AT_SIZE, "a number of bytes expected, not a negative one");
    lua_settop(L, AT_DEADLINE);
    lua_pushinteger(L, size);
    lua_replace(L, AT_SIZE);
}

/* (stream, size, time-out) */
static int
read_sized(lua_State *L, enum read_kind kind, lua_Integer most)
{
    aco_stream *s = acl_stream_check(L, AT_STREAM);

    lua_settop(L, 3);
    lua_pushnil(L);
    lua_insert(L, AT_DELIMITER);
    check_size(L, most);
    return read_begin(L, acl_stream_engine(s), s, kind);
}

/*** Read what has come, 1 to n bytes; wait for some when there are none.
Waits. Also called `recv`.
@function stream:read
@tparam[opt=65536] integer n at most so many bytes
@tparam[opt] number timeout seconds; the stream's own when nil
@treturn string
@treturn[2] nil
@treturn[2] string message
@treturn[2] string "eof" at the end, "timeout", "closed", "reset", "busy" when another coro reads
@usage local data, err, code = stream:read(4096, 2.5) */
static int
stream_read(lua_State *L)
{
    int nargs = lua_gettop(L);

    if (nargs == 1 || nargs == 2) {
        aco_stream *s = acl_stream_check(L, AT_STREAM);
        lua_Integer size = nargs == 1 ? ACL_SCRATCH : lua_tointeger(L, AT_SIZE);
        if (some_simple(s, size)) {
            if (nargs == 2) lua_settop(L, AT_STREAM);
            acl_wait_check(L, acl_stream_engine(s), "read");
            return some_run(L, acl_stream_engine(s), s, (size_t)size);
        }
    }
    return read_sized(L, READ_SOME, ACL_SCRATCH);
}

/*** Read exactly n bytes.
Waits. Also called `recvall`.
@function stream:read_exact
@tparam integer n
@tparam[opt] number timeout seconds for all of them; the stream's own when nil
@treturn string
@treturn[2] nil
@treturn[2] string message
@treturn[2] string "eof" when the end came before, "timeout", "closed", "reset", "busy"
@treturn[2] ?string what had come, when there is any; it is not given again */
static int
stream_read_exact(lua_State *L)
{
    luaL_checkinteger(L, AT_SIZE);
    return read_sized(L, READ_EXACT, 0);
}

/*** Read a line, without its end ("\n" or "\r\n"). The last one may lack it.
Waits.
@function stream:read_line
@tparam[opt=1048576] integer limit of bytes; a longer line is left where it is
@tparam[opt] number timeout seconds; the stream's own when nil
@treturn string
@treturn[2] nil
@treturn[2] string message
@treturn[2] string "eof" when there are no more, "toolarge", "timeout", "closed", "reset", "busy"
@treturn[2] ?string the part that had come, when there is any; not with "toolarge" */
static int
stream_read_line(lua_State *L)
{
    return read_sized(L, READ_LINE, MEBI);
}

/*** Read all up to the end.
Waits.
@function stream:read_all
@tparam[opt=67108864] integer limit of bytes; when there are more they are left where they are
@tparam[opt] number timeout seconds for all; the stream's own when nil
@treturn string perhaps empty
@treturn[2] nil
@treturn[2] string message
@treturn[2] string "toolarge", "timeout", "closed", "reset", "busy"
@treturn[2] ?string what had come, when there is any; not with "toolarge" */
static int
stream_read_all(lua_State *L)
{
    return read_sized(L, READ_ALL, 64 * MEBI);
}

/*** Read one message, as `send_msg` writes them: its length in four bytes, big-endian, then it.
Waits.
@function stream:recv_msg
@tparam[opt=67108864] integer limit of bytes
@tparam[opt] number timeout seconds; the stream's own when nil
@treturn string perhaps empty
@treturn[2] nil
@treturn[2] string message
@treturn[2] string "eof" at the end, "toolarge", "timeout", "closed", "reset", "busy"
@treturn[2] ?string what had come of it, length included, when there is any; not with "toolarge" */
static int
stream_recv_msg(lua_State *L)
{
    return read_sized(L, READ_MESSAGE, 64 * MEBI);
}

/*** Read up to a delimiter, which is part of the result.
Waits.
@function stream:read_until
@tparam string delimiter not empty
@tparam[opt=1048576] integer limit of bytes, the delimiter included
@tparam[opt] number timeout seconds; the stream's own when nil
@treturn string
@treturn[2] nil
@treturn[2] string message
@treturn[2] string "eof" when the end came before it, "toolarge", "timeout", "closed", "reset",
"busy"
@treturn[2] ?string what had come, when there is any; not with "toolarge" */
static int
stream_read_until(lua_State *L)
{
    acl_engine *e = acl_self(L);
    aco_stream *s = acl_stream_check(L, AT_STREAM);
    size_t size;

    luaL_checklstring(L, 2, &size);
    luaL_argcheck(L, size > 0, 2, "a delimiter expected, not an empty string");
    lua_settop(L, AT_DEADLINE);
    lua_pushvalue(L, 2);
    lua_remove(L, 2);
    lua_insert(L, AT_DELIMITER); /* (stream, limit, delimiter, time-out) */
    check_size(L, MEBI);
    return read_begin(L, e, s, READ_UNTIL);
}

/* Iterators -------------------------------------------------------------------------------------
 */

/* A step of an iterator: (stream) -> the piece, nothing at the end; raises another failure. The
 * values of the iterator are its upvalues after the first ones: how to read when the piece is not
 * in the buffer, the size or limit, the kind. */
static int
next_k(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    if (!lua_isnil(L, 2)) return 1;
    if (strcmp(lua_tostring(L, 4), "eof") == 0) return 0;
    lua_settop(L, 3);
    return lua_error(L);
}

enum { UP_READ = ACL_UPVALUES + 1, UP_SIZE, UP_KIND };

/* Most often the next piece is in the buffer. */
static bool
iterator_buffered(lua_State *L, acl_engine *e, aco_stream *s)
{
    const wish w = {.kind = (enum read_kind)lua_tointeger(L, lua_upvalueindex(UP_KIND)),
                    .size = (size_t)lua_tointeger(L, lua_upvalueindex(UP_SIZE))};

    if (s->reading || aco_stream_size(s) == 0) return false;
    acl_wait_check(L, e, read_names[w.kind]);
    s->scanned = 0;
    return read_buffer(L, s, &w) == FOUND;
}

static int
iterator_next(lua_State *L)
{
    acl_engine *e = acl_self(L);
    aco_stream *s = acl_stream_check(L, 1);

    if (iterator_buffered(L, e, s)) return acl_io_done(L, e, 1);
    lua_settop(L, 1);
    lua_pushvalue(L, lua_upvalueindex(UP_READ));
    lua_pushvalue(L, 1);
    lua_pushvalue(L, lua_upvalueindex(UP_SIZE));
    lua_callk(L, 2, LUA_MULTRET, 0, next_k);
    return next_k(L, LUA_OK, 0);
}

static void
push_closure(lua_State *L, lua_CFunction f, int extra)
{
    for (int i = 1; i <= ACL_UPVALUES; i++)
        lua_pushvalue(L, lua_upvalueindex(i));
    lua_rotate(L, -ACL_UPVALUES - extra, ACL_UPVALUES);
    lua_pushcclosure(L, f, ACL_UPVALUES + extra);
}

/* (stream, size or limit) -> iterator, stream */
static int
iterator(lua_State *L, lua_CFunction read, enum read_kind kind, lua_Integer most)
{
    lua_Integer size = luaL_optinteger(L, 2, most);

    push_closure(L, read, 0);
    lua_pushinteger(L, size);
    lua_pushinteger(L, kind);
    push_closure(L, iterator_next, 3);
    lua_pushvalue(L, 1);
    return 2;
}

static int
read_line_whole(lua_State *L)
{
    return read_sized(L, READ_LINE_WHOLE, MEBI);
}

/*** Iterate over the lines: `for line in stream:lines() do`. The loop waits for each line; it ends
at the end of the stream, and raises any other failure.
@function stream:lines
@tparam[opt="l"] string format "l": without the ends of lines, "L": with them
@tparam[opt=1048576] integer limit of bytes of a line
@treturn function iterator */
static int
stream_lines(lua_State *L)
{
    static const char *const formats[] = {"l", "L", NULL};

    acl_stream_check(L, 1);
    bool whole = luaL_checkoption(L, 2, "l", formats) == 1;
    luaL_argcheck(L, luaL_optinteger(L, 3, 0) >= 0, 3,
                  "a number of bytes expected, not a negative one");
    lua_settop(L, 3);
    lua_remove(L, 2);
    return whole ? iterator(L, read_line_whole, READ_LINE_WHOLE, MEBI)
                 : iterator(L, stream_read_line, READ_LINE, MEBI);
}

/*** Iterate over what comes, in pieces: `for data in stream:chunks() do`. The loop waits for each
piece; it ends at the end of the stream, and raises any other failure.
@function stream:chunks
@tparam[opt=65536] integer n of bytes of a piece at most
@treturn function iterator */
static int
stream_chunks(lua_State *L)
{
    acl_stream_check(L, 1);
    luaL_argcheck(L, luaL_optinteger(L, 2, 1) > 0, 2, "a positive number of bytes expected");
    lua_settop(L, 2);
    return iterator(L, stream_read, READ_SOME, ACL_SCRATCH);
}

void
acl_read_methods(lua_State *L, acl_engine *e)
{
    static const luaL_Reg methods[] = {{"read", stream_read},
                                       {"recv", stream_read},
                                       {"read_exact", stream_read_exact},
                                       {"recvall", stream_read_exact},
                                       {"read_line", stream_read_line},
                                       {"read_until", stream_read_until},
                                       {"read_all", stream_read_all},
                                       {"recv_msg", stream_recv_msg},
                                       {"lines", stream_lines},
                                       {"chunks", stream_chunks},
                                       {NULL, NULL}};

    acl_setfuncs(L, e, methods);
}
