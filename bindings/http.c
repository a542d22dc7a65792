/* SPDX-License-Identifier: MIT */
/* http.c -- reading HTTP/1.1 messages from a stream (RFC 9112, strict).
 *
 * A reader takes one message after the other: its head, then the pieces of its body. What follows
 * stays in the stream. */
#include "bindings/http.h"
#include "bindings/http_head.h"
#include "bindings/stream.h"

#include <string.h>

#include "core/base/clock.h"
#include "core/io/http.h"

#define READER_NAME "asyncoro.http_reader"

enum {
    FIELDS_MOST = 1000, /* that the limit of headers may be */
    MORE = 4096         /* of a head that has begun is asked for in such pieces */
};

typedef struct acl_reader {
    aco_http http;
    aco_stream *stream; /* anchored by the user value */
    aco_buf text;       /* the head, as it came */
    aco_buf fields;     /* aco_http_field of each header, in the text */
    uint64_t left;      /* of the body, when its length is given */
    uint32_t flags;     /* enum aco_http_flag */
    uint32_t count;
    uint32_t limit, count_limit; /* of the head: bytes, headers */
    uint32_t serial;             /* of the message */
    int failed;                  /* the error that made the rest of the stream unreadable */
    bool started, head_done, complete, has_body;
} acl_reader;

/* Waiting ---------------------------------------------------------------------------------------
 */

/* The stack of an operation: the reader, the deadline (or of a head: for its first byte), for a
 * head how long it may take in nanoseconds, and of a body: the size. */
enum { AT_READER = 1, AT_DEADLINE, AT_SIZE };

static acl_reader *
check_reader(lua_State *L)
{
    return luaL_checkudata(L, AT_READER, READER_NAME);
}

/* nil, message, code, and of a head: has it begun, and which status says so to a client? */
static int
reader_fail(lua_State *L, acl_reader *r, const char *what, int err)
{
    char where[ACO_ADDRESS_TEXT];

    r->stream->reading = false;
    if (err == ACO_EPROTOCOL || err == ACO_EUNSUPPORTED ||
        (err == ACO_ETOOLARGE && r->http.error != NULL)) {
        r->failed = err;
        acl_fail(L, err, "%s %s: %s", what, acl_stream_where(r->stream, where), r->http.error);
    } else {
        acl_stream_fail(L, r->stream, what, err);
    }
    lua_pushboolean(L, r->started);
    if (r->failed == ACO_OK) return 4;
    lua_pushinteger(L, r->http.answer);
    return 5;
}

static int
reader_wait(lua_State *L, acl_engine *e, acl_reader *r, aco_waitq *wait, lua_KFunction k)
{
    aco_time deadline = (aco_time)lua_tointeger(L, AT_DEADLINE);

    r->stream->reading = true;
    e->io_streak = 0;
    aco_wait_begin(&e->current->task, ACO_WAIT_READ);
    aco_wait_on(&e->current->task, wait);
    return acl_park(L, e, e->current, deadline, 0, k);
}

/* Heads -----------------------------------------------------------------------------------------
 */

/* Keep what the head says; it lies in memory that is not ours. */
static int
head_keep(acl_reader *r, const aco_http_head *head)
{
    const uint32_t body = ACO_HTTP_CHUNKED | ACO_HTTP_UNTIL_END;

    r->text.size = r->fields.size = 0;
    if (aco_buf_add(&r->text, head->data, head->size) != ACO_OK ||
        aco_buf_add(&r->fields, head->fields, head->count * sizeof *head->fields) != ACO_OK)
        return ACO_ENOMEM;
    r->count = head->count;
    r->flags = head->flags;
    r->left = head->flags & ACO_HTTP_LENGTH ? head->length : 0;
    r->has_body = (head->flags & body) != 0 || r->left > 0;
    r->complete = !r->has_body;
    r->head_done = true;
    return ACO_OK;
}

/* Look at what has come. ACO_OK: a head, whose results are on the stack. */
static int
head_look(lua_State *L, acl_reader *r, const uint8_t *data, size_t size, size_t *taken)
{
    aco_http_field fields[FIELDS_MOST];
    aco_http_head head = {.fields = fields, .capacity = r->count_limit};

    *taken = 0;
    int err = aco_http_read_head(&r->http, data, size, r->limit, &r->stream->scanned, &head, taken);
    if (err == ACO_OK) err = head_keep(r, &head);
    if (err != ACO_OK) return err;
    lua_settop(L, 0);
    luaL_checkstack(L, 8, NULL);
    if (head.method != NULL)
        lua_pushstring(L, head.method);
    else
        lua_pushinteger(L, head.status);
    lua_pushlstring(L, (const char *)head.data + head.target.at, head.target.size);
    lua_pushinteger(L, head.flags & ACO_HTTP_MINOR_1 ? 11 : 10);
    lua_pushboolean(L, (head.flags & ACO_HTTP_KEEP_ALIVE) != 0);
    lua_pushinteger(L, r->serial);
    lua_pushboolean(L, r->has_body);
    return ACO_OK;
}

enum { HEAD_RESULTS = 6 };

/* Receive and look, past the buffer of the stream when that is empty. ACO_EBUSY: not whole; wait in
 * `*wait` unless it is NULL. */
static int
head_step(lua_State *L, acl_engine *e, acl_reader *r, aco_waitq **wait)
{
    aco_stream *s = r->stream;
    uint8_t *scratch = acl_scratch(e);
    size_t got = 0, taken;

    *wait = NULL;
    if (aco_stream_size(s) > 0) {
        int err = aco_stream_fill(s, MORE, wait);
        if (err != ACO_OK) return err;
        err = head_look(L, r, aco_stream_data(s), aco_stream_size(s), &taken);
        if (err == ACO_OK) aco_stream_take(s, taken);
        return err;
    }
    if (scratch == NULL) return ACO_ENOMEM;
    int err = aco_stream_read(s, scratch, ACL_SCRATCH, &got, wait);
    if (err != ACO_OK) return err;
    err = head_look(L, r, scratch, got, &taken);
    if (taken < got && (err == ACO_OK || err == ACO_EBUSY) &&
        aco_stream_keep(s, scratch + taken, got - taken) != ACO_OK)
        err = ACO_ENOMEM;
    return err;
}

static int head_k(lua_State *L, int status, lua_KContext ctx);

/* The first byte has come: from now on it has so long. */
static void
head_begins(lua_State *L, acl_reader *r)
{
    r->started = true;
    if (lua_isnil(L, AT_SIZE)) return;
    lua_pushinteger(L, aco_now() + (aco_time)lua_tointeger(L, AT_SIZE));
    lua_replace(L, AT_DEADLINE);
}

static int
head_run(lua_State *L, acl_engine *e, acl_reader *r)
{
    aco_waitq *wait;

    for (;;) {
        int err = head_step(L, e, r, &wait);
        if (err == ACO_OK) return acl_io_done(L, e, HEAD_RESULTS);
        if (!r->started && aco_stream_size(r->stream) > 0) head_begins(L, r);
        if (err == ACO_EBUSY && wait == NULL) continue;
        if (err == ACO_EBUSY && lua_tointeger(L, AT_DEADLINE) != 0)
            return reader_wait(L, e, r, wait, head_k);
        if (err == ACO_EBUSY) err = ACO_ETIMEOUT;
        return reader_fail(L, r, "http", err);
    }
}

static int
head_k(lua_State *L, int status, lua_KContext ctx)
{
    acl_engine *e = acl_self(L);
    acl_reader *r = lua_touserdata(L, AT_READER);

    (void)status;
    (void)ctx;
    r->stream->reading = false;
    acl_wait_end(L, e, e->current);
    if (e->current->task.wake_err != ACO_OK)
        return reader_fail(L, r, "http", e->current->task.wake_err);
    return head_run(L, e, r);
}

/* reader:head([idle time [, time]]) -> method or status, target or reason, version (11), keep
 * alive?, serial, has it a body?; nil, message, code, has it begun?, status to answer. Waits: so
 * long for its first byte, and then so long for all of it. What is left of the message before must
 * have been read. */
static int
reader_head(lua_State *L)
{
    acl_engine *e = acl_self(L);
    acl_reader *r = check_reader(L);
    aco_stream *s = r->stream;
    aco_time deadline = acl_opt_deadline(L, 2);
    bool limited = !lua_isnoneornil(L, 3);
    aco_time limit = limited ? aco_deadline(0, luaL_checknumber(L, 3)) : 0;
    size_t taken;

    acl_wait_check(L, e, "http");
    if (s->reading) return reader_fail(L, r, "http", ACO_EBUSY);
    r->started = r->head_done = false;
    if (r->failed != ACO_OK) return reader_fail(L, r, "http", r->failed);
    r->serial++;
    s->scanned = 0;
    lua_settop(L, 1);
    lua_pushinteger(L, deadline);
    if (limited && limit != ACO_NEVER)
        lua_pushinteger(L, limit);
    else
        lua_pushnil(L);
    if (aco_stream_size(s) == 0) return head_run(L, e, r);
    head_begins(L, r);
    int err = head_look(L, r, aco_stream_data(s), aco_stream_size(s), &taken);
    if (err == ACO_EBUSY) return head_run(L, e, r);
    if (err != ACO_OK) return reader_fail(L, r, "http", err);
    aco_stream_take(s, taken);
    return acl_io_done(L, e, HEAD_RESULTS);
}

/* Bodies ----------------------------------------------------------------------------------------
 */

/* Hand out what there is of the body in `size` bytes of data, of which it takes the first `*taken`.
 * ACO_OK: a piece is on the stack. ACO_EBUSY: nothing came of it, or it is over. */
static int
body_look(lua_State *L, acl_reader *r, uint8_t *data, size_t size, size_t *taken)
{
    size_t got = size;

    *taken = size;
    if (r->flags & ACO_HTTP_CHUNKED) {
        int err = aco_http_read_chunked(&r->http, data, size, taken, &got);
        if (err != ACO_OK) return err;
        r->complete = r->http.over;
    } else if (r->flags & ACO_HTTP_LENGTH) {
        r->left -= size;
        r->complete = r->left == 0;
    }
    if (got == 0) return ACO_EBUSY;
    lua_pushlstring(L, (const char *)data, got);
    return ACO_OK;
}

/* How many bytes may be looked at for a piece of this size. */
static size_t
body_most(const acl_reader *r, size_t size)
{
    if (size > ACL_SCRATCH) size = ACL_SCRATCH;
    if ((r->flags & ACO_HTTP_LENGTH) && r->left < size) size = (size_t)r->left;
    return size;
}

static int
body_step(lua_State *L, acl_engine *e, acl_reader *r, size_t size, aco_waitq **wait)
{
    aco_stream *s = r->stream;
    uint8_t *scratch = acl_scratch(e);
    size_t most = body_most(r, size), got = aco_stream_size(s), taken;

    *wait = NULL;
    if (got > 0) {
        int err = body_look(L, r, s->in.data + s->taken, got < most ? got : most, &taken);
        aco_stream_take(s, taken);
        return err;
    }
    if (scratch == NULL) return ACO_ENOMEM;
    int err = aco_stream_read(s, scratch, most, &got, wait);
    if (err == ACO_EEOF && (r->flags & ACO_HTTP_UNTIL_END)) {
        r->complete = true;
        return ACO_EBUSY;
    }
    if (err != ACO_OK) return err;
    err = body_look(L, r, scratch, got, &taken);
    if (taken < got && aco_stream_keep(s, scratch + taken, got - taken) != ACO_OK) err = ACO_ENOMEM;
    return err;
}

static int body_k(lua_State *L, int status, lua_KContext ctx);

static int
body_run(lua_State *L, acl_engine *e, acl_reader *r)
{
    size_t size = (size_t)lua_tointeger(L, AT_SIZE);
    aco_waitq *wait;

    while (!r->complete) {
        int err = body_step(L, e, r, size, &wait);
        if (err == ACO_OK) return acl_io_done(L, e, 1);
        if (err == ACO_EBUSY && wait == NULL) continue;
        if (err == ACO_EBUSY && lua_tointeger(L, AT_DEADLINE) != 0)
            return reader_wait(L, e, r, wait, body_k);
        if (err == ACO_EBUSY) err = ACO_ETIMEOUT;
        return reader_fail(L, r, "http body", err);
    }
    return 0;
}

static int
body_k(lua_State *L, int status, lua_KContext ctx)
{
    acl_engine *e = acl_self(L);
    acl_reader *r = lua_touserdata(L, AT_READER);

    (void)status;
    (void)ctx;
    r->stream->reading = false;
    acl_wait_end(L, e, e->current);
    if (e->current->task.wake_err != ACO_OK)
        return reader_fail(L, r, "http body", e->current->task.wake_err);
    return body_run(L, e, r);
}

/* reader:body([size [, time-out]]) -> a piece of the body; nothing at its end; nil, message, code.
 * Waits. */
static int
reader_body(lua_State *L)
{
    acl_engine *e = acl_self(L);
    acl_reader *r = check_reader(L);
    lua_Integer size = luaL_optinteger(L, 2, ACL_SCRATCH);
    aco_time deadline = acl_opt_deadline(L, 3);

    luaL_argcheck(L, size > 0, 2, "a positive number of bytes expected");
    acl_wait_check(L, e, "http body");
    if (!r->head_done || r->complete) return 0;
    if (r->stream->reading) return reader_fail(L, r, "http body", ACO_EBUSY);
    if (r->failed != ACO_OK) return reader_fail(L, r, "http body", r->failed);
    lua_settop(L, 1);
    lua_pushinteger(L, deadline);
    lua_pushinteger(L, size);
    return body_run(L, e, r);
}

/* What is known of a head -------------------------------------------------------------------------
 */

static void
push_lower(lua_State *L, const char *text, size_t size)
{
    luaL_Buffer buffer;
    char *at = luaL_buffinitsize(L, &buffer, size);

    for (size_t i = 0; i < size; i++)
        at[i] = (char)(text[i] >= 'A' && text[i] <= 'Z' ? text[i] + 'a' - 'A' : text[i]);
    luaL_pushresultsize(&buffer, size);
}

/* Several of a name make one, with commas; set-cookie, which knows no commas, a line each. */
static void
header_add(lua_State *L, const char *value, size_t size)
{
    lua_pushvalue(L, -1);
    if (lua_rawget(L, -3) == LUA_TNIL) {
        lua_pop(L, 1);
        lua_pushlstring(L, value, size);
    } else {
        bool cookie = strcmp(lua_tostring(L, -2), "set-cookie") == 0;
        lua_pushstring(L, cookie ? "\n" : ", ");
        lua_pushlstring(L, value, size);
        lua_concat(L, 3);
    }
    lua_rawset(L, -3);
}

/* reader:headers(serial) -> lower-case name -> value; nil when the message is over */
static int
reader_headers(lua_State *L)
{
    const acl_reader *r = check_reader(L);
    const aco_http_field *fields = (const aco_http_field *)(const void *)r->fields.data;
    const char *text = (const char *)r->text.data;

    if (luaL_checkinteger(L, 2) != (lua_Integer)r->serial) return 0;
    lua_createtable(L, 0, (int)r->count);
    for (uint32_t i = 0; i < r->count; i++) {
        push_lower(L, text + fields[i].name.at, fields[i].name.size);
        header_add(L, text + fields[i].value.at, fields[i].value.size);
    }
    return 1;
}

/* reader:state() -> head read?, message complete?, keep alive?, upgrade wanted?, has a body? */
static int
reader_state(lua_State *L)
{
    const acl_reader *r = check_reader(L);

    lua_pushboolean(L, r->head_done);
    lua_pushboolean(L, r->complete);
    lua_pushboolean(L, (r->flags & ACO_HTTP_KEEP_ALIVE) != 0);
    lua_pushboolean(L, (r->flags & ACO_HTTP_UPGRADE) != 0);
    lua_pushboolean(L, r->has_body);
    return 5;
}

/* reader:skip_body(flag): the next response has no body, whatever its head says */
static int
reader_skip_body(lua_State *L)
{
    check_reader(L)->http.without_body = lua_toboolean(L, 2);
    return 0;
}

static int
reader_gc(lua_State *L)
{
    acl_reader *r = lua_touserdata(L, 1);

    aco_buf_free(&r->text);
    aco_buf_free(&r->fields);
    return 0;
}

/* reader(stream, "request" or "response", bytes of a head, headers) */
static int
reader_new(lua_State *L)
{
    static const char *const kinds[] = {"request", "response", NULL};
    aco_stream *s = acl_stream_check(L, 1);
    int kind = luaL_checkoption(L, 2, NULL, kinds);
    lua_Integer limit = luaL_checkinteger(L, 3), count = luaL_checkinteger(L, 4);

    luaL_argcheck(L, limit > 0 && limit <= 1 << 24, 3, "1 byte to 16 MiB expected");
    luaL_argcheck(L, count > 0 && count <= FIELDS_MOST, 4, "1 to 1000 headers expected");
    acl_reader *r = lua_newuserdatauv(L, sizeof *r, 1);
    *r = (acl_reader){.stream = s, .limit = (uint32_t)limit, .count_limit = (uint32_t)count};
    aco_http_init(&r->http, kind == 1);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    luaL_setmetatable(L, READER_NAME);
    return 1;
}

void
acl_open_http(lua_State *L, acl_engine *e)
{
    static const luaL_Reg funcs[] = {{"reader", reader_new}, {NULL, NULL}};
    static const luaL_Reg methods[] = {{"head", reader_head},           {"body", reader_body},
                                       {"headers", reader_headers},     {"state", reader_state},
                                       {"skip_body", reader_skip_body}, {NULL, NULL}};

    luaL_newmetatable(L, READER_NAME);
    lua_pushcfunction(L, reader_gc);
    lua_setfield(L, -2, "__gc");
    lua_newtable(L);
    acl_setfuncs(L, e, methods);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
    lua_newtable(L);
    acl_setfuncs(L, e, funcs);
    acl_http_head_funcs(L, e);
    lua_setfield(L, -2, "http");
}
