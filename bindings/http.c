/* SPDX-License-Identifier: MIT */
/* http.c -- reading HTTP/1.1 messages from a stream, with llhttp (RFC 9112, strict).
 *
 * A reader takes one message after the other: its head, then the pieces of its body. The parser is
 * paused after each head and each message, so that what follows stays in the stream. */
#include "bindings/http.h"
#include "bindings/http_head.h"
#include "bindings/stream.h"

#include <llhttp.h>
#include <string.h>

#include "core/base/clock.h"

#define READER_NAME "asyncoro.http_reader"

/* A name and its value in the text of the head. */
typedef struct span {
    uint32_t name, name_size, value, value_size;
} span;

typedef struct acl_reader {
    llhttp_t parser;
    aco_stream *stream; /* anchored by the user value */
    aco_buf text;       /* the target or the reason, then the headers */
    aco_buf spans;
    uint32_t target_size, count;
    uint32_t limit, count_limit; /* of the head: bytes, headers */
    uint32_t trailer;            /* bytes of it */
    aco_buf body;                /* received, not handed on */
    size_t body_taken;
    uint32_t serial; /* of the message */
    bool in_value;   /* the last piece was of a value */
    bool started, head_done, complete, keep_alive, upgrade, has_body;
    bool skip_body; /* the response to a HEAD */
    bool too_large, no_memory;
} acl_reader;

/* What the parser finds ------------------------------------------------------------------------
 */

/* Called with what the callbacks of llhttp get. */
static acl_reader *
reader_of(llhttp_t *parser)
{
    return ACO_CONTAINER_OF(parser, acl_reader, parser);
}

static int
text_add(acl_reader *r, const char *at, size_t size)
{
    if (size > r->limit - r->text.size) {
        r->too_large = true;
        return HPE_USER;
    }
    if (aco_buf_add(&r->text, at, size) == ACO_OK) return 0;
    r->no_memory = true;
    return HPE_USER;
}

static int
on_begin(llhttp_t *parser)
{
    reader_of(parser)->started = true;
    return 0;
}

static int
on_target(llhttp_t *parser, const char *at, size_t size)
{
    acl_reader *r = reader_of(parser);

    r->target_size += (uint32_t)size;
    return text_add(r, at, size);
}

/* Headers behind a chunked body are passed over, in limits. */
static int
on_trailer(acl_reader *r, size_t size)
{
    r->trailer += (uint32_t)size;
    if (r->trailer <= r->limit) return 0;
    r->too_large = true;
    return HPE_USER;
}

static int
on_field(llhttp_t *parser, const char *at, size_t size)
{
    acl_reader *r = reader_of(parser);

    if (r->head_done) return on_trailer(r, size);
    if (r->in_value || r->count == 0) {
        const span new = {.name = (uint32_t)r->text.size};
        r->in_value = false;
        if (r->count == r->count_limit) {
            r->too_large = true;
            return HPE_USER;
        }
        if (aco_buf_add(&r->spans, &new, sizeof new) != ACO_OK) {
            r->no_memory = true;
            return HPE_USER;
        }
        r->count++;
    }
    ((span *)(void *)r->spans.data)[r->count - 1].name_size += (uint32_t)size;
    return text_add(r, at, size);
}

static int
on_value(llhttp_t *parser, const char *at, size_t size)
{
    acl_reader *r = reader_of(parser);

    if (r->head_done) return on_trailer(r, size);
    span *last = &((span *)(void *)r->spans.data)[r->count - 1];
    if (!r->in_value) last->value = (uint32_t)r->text.size;
    r->in_value = true;
    last->value_size += (uint32_t)size;
    return text_add(r, at, size);
}

/* A header without a value is one all the same. */
static int
on_value_complete(llhttp_t *parser)
{
    acl_reader *r = reader_of(parser);

    if (!r->in_value && !r->head_done && r->count > 0) {
        ((span *)(void *)r->spans.data)[r->count - 1].value = (uint32_t)r->text.size;
        r->in_value = true;
    }
    return 0;
}

/* Who wants another protocol is asked later; until then the message is like any other. */
static int
on_head(llhttp_t *parser)
{
    acl_reader *r = reader_of(parser);

    r->head_done = true;
    r->upgrade = parser->upgrade != 0;
    if (parser->method != HTTP_CONNECT || parser->type == HTTP_RESPONSE) parser->upgrade = 0;
    if (r->skip_body) parser->flags |= F_SKIPBODY;
    r->keep_alive = llhttp_should_keep_alive(parser) != 0;
    r->has_body = (parser->flags & F_CHUNKED) || parser->content_length > 0 ||
                  llhttp_message_needs_eof(parser);
    if (r->skip_body) r->has_body = false;
    return HPE_PAUSED;
}

static int
on_body(llhttp_t *parser, const char *at, size_t size)
{
    acl_reader *r = reader_of(parser);

    if (aco_buf_add(&r->body, at, size) == ACO_OK) return 0;
    r->no_memory = true;
    return HPE_USER;
}

static int
on_complete(llhttp_t *parser)
{
    reader_of(parser)->complete = true;
    return HPE_PAUSED;
}

static const llhttp_settings_t settings = {.on_message_begin = on_begin,
                                           .on_url = on_target,
                                           .on_status = on_target,
                                           .on_header_field = on_field,
                                           .on_header_value = on_value,
                                           .on_header_value_complete = on_value_complete,
                                           .on_headers_complete = on_head,
                                           .on_body = on_body,
                                           .on_message_complete = on_complete};

/* Parse some bytes; how many were used. ACO_EPROTOCOL: they are no HTTP; ACO_ETOOLARGE, ACO_ENOMEM.
 */
static int
reader_parse(acl_reader *r, const uint8_t *data, size_t size, size_t *used)
{
    const char *start = (const char *)data;
    llhttp_errno_t err = llhttp_execute(&r->parser, start, size);

    *used = size;
    switch (err) {
    case HPE_OK:
        return ACO_OK;
    case HPE_PAUSED:
        *used = (size_t)(llhttp_get_error_pos(&r->parser) - start);
        llhttp_resume(&r->parser);
        return ACO_OK;
    case HPE_PAUSED_UPGRADE:
        *used = (size_t)(llhttp_get_error_pos(&r->parser) - start);
        llhttp_resume_after_upgrade(&r->parser);
        r->complete = true;
        return ACO_OK;
    default:
        return r->too_large ? ACO_ETOOLARGE : r->no_memory ? ACO_ENOMEM : ACO_EPROTOCOL;
    }
}

/* The end of the stream, which may be the end of a response too. */
static int
reader_finish(acl_reader *r)
{
    if (!r->head_done) return ACO_EEOF;
    llhttp_finish(&r->parser);
    return r->complete ? ACO_OK : ACO_EEOF;
}

/* Receive and parse once. ACO_EBUSY: wait in `*wait`. */
static int
reader_feed(acl_engine *e, acl_reader *r, aco_waitq **wait)
{
    aco_stream *s = r->stream;
    size_t got = aco_stream_size(s), used = 0;
    uint8_t *scratch = acl_scratch(e);
    int err;

    if (got > 0) {
        err = reader_parse(r, aco_stream_data(s), got, &used);
        aco_stream_take(s, used);
        return err;
    }
    if (scratch == NULL) return ACO_ENOMEM;
    err = aco_stream_read(s, scratch, ACL_SCRATCH, &got, wait);
    if (err == ACO_EEOF) return reader_finish(r);
    if (err != ACO_OK) return err;
    err = reader_parse(r, scratch, got, &used);
    if (err == ACO_OK && used < got) err = aco_stream_keep(s, scratch + used, got - used);
    return err;
}

static void
reader_next(acl_reader *r)
{
    r->text.size = r->spans.size = 0;
    r->target_size = r->count = r->trailer = 0;
    r->in_value = r->started = r->head_done = r->complete = r->upgrade = false;
    aco_buf_free(&r->body);
    r->body_taken = 0;
    r->serial++;
}

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

/* nil, message, code, and of a head: has it begun? */
static int
reader_fail(lua_State *L, acl_reader *r, const char *what, int err)
{
    char where[ACO_ADDRESS_TEXT];

    r->stream->reading = false;
    if (err == ACO_EPROTOCOL) {
        const char *reason = llhttp_get_error_reason(&r->parser);
        acl_fail(L, err, "%s %s: this is not HTTP/1.1 as it should be: %s", what,
                 acl_stream_where(r->stream, where), reason != NULL ? reason : "malformed");
    } else {
        acl_stream_fail(L, r->stream, what, err);
    }
    lua_pushboolean(L, r->started);
    return 4;
}

static int
head_result(lua_State *L, acl_reader *r)
{
    lua_settop(L, 0);
    luaL_checkstack(L, 8, NULL);
    if (r->parser.type == HTTP_REQUEST)
        lua_pushstring(L, llhttp_method_name((llhttp_method_t)r->parser.method));
    else
        lua_pushinteger(L, r->parser.status_code);
    lua_pushlstring(L, r->target_size > 0 ? (const char *)r->text.data : "", r->target_size);
    lua_pushinteger(L, r->parser.http_major * 10 + r->parser.http_minor);
    lua_pushboolean(L, r->keep_alive);
    lua_pushinteger(L, r->serial);
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

static int head_k(lua_State *L, int status, lua_KContext ctx);

static int
head_run(lua_State *L, acl_engine *e, acl_reader *r)
{
    aco_waitq *wait;

    while (!r->head_done) {
        bool before = r->started;
        int err = reader_feed(e, r, &wait);
        if (err == ACO_OK) {
            if (before || !r->started || lua_isnil(L, AT_SIZE)) continue;
            lua_pushinteger(L, aco_now() + (aco_time)lua_tointeger(L, AT_SIZE));
            lua_replace(L, AT_DEADLINE);
            continue;
        }
        if (err == ACO_EBUSY) {
            if (lua_tointeger(L, AT_DEADLINE) != 0) return reader_wait(L, e, r, wait, head_k);
            err = ACO_ETIMEOUT;
        }
        return reader_fail(L, r, "http", err);
    }
    if (!r->has_body) { /* it is over, but the parser has not said so yet */
        size_t used;
        int err = reader_parse(r, (const uint8_t *)"", 0, &used);
        if (err != ACO_OK) return reader_fail(L, r, "http", err);
    }
    return acl_io_done(L, e, head_result(L, r));
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
 * alive?, serial; nil, message, code, has it begun? Waits: so long for its first byte, and then so
 * long for all of it. What is left of the message before must have been read. */
static int
reader_head(lua_State *L)
{
    acl_engine *e = acl_self(L);
    acl_reader *r = check_reader(L);
    aco_time deadline = acl_opt_deadline(L, 2);
    bool limited = !lua_isnoneornil(L, 3);
    aco_time limit = limited ? (aco_time)(luaL_checknumber(L, 3) * 1e9) : 0;

    acl_wait_check(L, e, "http");
    if (r->stream->reading) return reader_fail(L, r, "http", ACO_EBUSY);
    lua_settop(L, 1);
    lua_pushinteger(L, deadline);
    if (limited)
        lua_pushinteger(L, limit);
    else
        lua_pushnil(L);
    reader_next(r);
    return head_run(L, e, r);
}

static int body_k(lua_State *L, int status, lua_KContext ctx);

static int
body_result(lua_State *L, acl_engine *e, acl_reader *r)
{
    size_t have = r->body.size - r->body_taken, size = (size_t)lua_tointeger(L, AT_SIZE);

    if (have < size) size = have;
    lua_pushlstring(L, (const char *)r->body.data + r->body_taken, size);
    r->body_taken += size;
    if (r->body_taken == r->body.size) {
        aco_buf_free(&r->body);
        r->body_taken = 0;
    }
    return acl_io_done(L, e, 1);
}

static int
body_run(lua_State *L, acl_engine *e, acl_reader *r)
{
    aco_waitq *wait;

    for (;;) {
        if (r->body.size > r->body_taken) return body_result(L, e, r);
        if (r->complete) return 0;
        int err = reader_feed(e, r, &wait);
        if (err == ACO_OK) continue;
        if (err == ACO_EBUSY) {
            if (lua_tointeger(L, AT_DEADLINE) != 0) return reader_wait(L, e, r, wait, body_k);
            err = ACO_ETIMEOUT;
        }
        return reader_fail(L, r, "http body", err);
    }
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
    if (!r->head_done) return 0;
    if (r->stream->reading) return reader_fail(L, r, "http body", ACO_EBUSY);
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
    const span *spans = (const span *)(const void *)r->spans.data;
    const char *text = (const char *)r->text.data;

    if (luaL_checkinteger(L, 2) != (lua_Integer)r->serial) return 0;
    lua_createtable(L, 0, (int)r->count);
    for (uint32_t i = 0; i < r->count; i++) {
        push_lower(L, text + spans[i].name, spans[i].name_size);
        header_add(L, text + spans[i].value, spans[i].value_size);
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
    lua_pushboolean(L, r->keep_alive);
    lua_pushboolean(L, r->upgrade);
    lua_pushboolean(L, r->has_body);
    return 5;
}

/* reader:skip_body(flag): the next response has no body, whatever its head says */
static int
reader_skip_body(lua_State *L)
{
    check_reader(L)->skip_body = lua_toboolean(L, 2);
    return 0;
}

static int
reader_gc(lua_State *L)
{
    acl_reader *r = lua_touserdata(L, 1);

    aco_buf_free(&r->text);
    aco_buf_free(&r->spans);
    aco_buf_free(&r->body);
    return 0;
}

/* reader(stream, "request" or "response", bytes of a head, headers) */
static int
reader_new(lua_State *L)
{
    static const char *const kinds[] = {"request", "response", NULL};
    acl_engine *e = acl_self(L);
    aco_stream *s = acl_stream_check(L, e, 1);
    int kind = luaL_checkoption(L, 2, NULL, kinds);
    lua_Integer limit = luaL_checkinteger(L, 3), count = luaL_checkinteger(L, 4);

    luaL_argcheck(L, limit > 0 && limit <= INT32_MAX, 3, "a positive number of bytes expected");
    luaL_argcheck(L, count > 0 && count <= INT32_MAX, 4, "a positive number of headers expected");
    acl_reader *r = lua_newuserdatauv(L, sizeof *r, 1);
    *r = (acl_reader){.stream = s, .limit = (uint32_t)limit, .count_limit = (uint32_t)count};
    llhttp_init(&r->parser, kind == 0 ? HTTP_REQUEST : HTTP_RESPONSE, &settings);
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
