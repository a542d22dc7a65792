/* SPDX-License-Identifier: MIT */
/* http_head.c -- writing the heads of HTTP/1.1 messages (RFC 9112), with a short body behind it.
 * The size is counted first, and what is wrong is found then, so that nothing is held when this
 * raises. */
#include "bindings/http_head.h"
#include "bindings/stream.h"
#include "bindings/write.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "core/base/random.h"

enum {
    NUMBER_MOST = 24,
    WORD_MOST = 40,
    OWN_MOST = 128,
    LINE_MOST = 96,
    AT_STREAM = 6,
    HTTP_DATE = sizeof "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
};

/* Bytes of a name: RFC 9110, "token". */
static bool
is_token(const char *text, size_t size)
{
    static const char others[] = "!#$%&'*+-.^_`|~";

    for (size_t i = 0; i < size; i++) {
        char c = text[i];
        bool alnum = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!alnum && (c == '\0' || strchr(others, c) == NULL)) return false;
    }
    return size > 0;
}

static void
check_value(lua_State *L, const char *name, const char *value, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if ((unsigned char)value[i] < 32 && value[i] != '\t')
            luaL_error(L, "header '%s': its value has a line end or another control character",
                       name);
}

static char *
put(char *at, const char *text, size_t size)
{
    memcpy(at, text, size);
    return at + size;
}

/* One line for the value on top, which must be a string or a number. With `at` NULL only the size,
 * and the checks. */
static size_t
line(lua_State *L, const char *name, size_t name_size, char *at)
{
    size_t size;

    if (!lua_isstring(L, -1))
        luaL_error(L, "header '%s': a string or a number expected, got %s", name,
                   luaL_typename(L, -1));
    lua_pushvalue(L, -1);
    const char *value = lua_tolstring(L, -1, &size);
    if (at == NULL) {
        check_value(L, name, value, size);
    } else {
        at = put(put(at, name, name_size), ": ", 2);
        put(put(at, value, size), "\r\n", 2);
    }
    lua_pop(L, 1);
    return name_size + size + 4;
}

/* The lines of the value on top: of each of a list. */
static size_t
lines(lua_State *L, const char *name, size_t name_size, char *at)
{
    size_t size = 0;

    if (!lua_istable(L, -1)) return line(L, name, name_size, at);
    lua_Integer n = (lua_Integer)lua_rawlen(L, -1);
    for (lua_Integer i = 1; i <= n; i++) {
        lua_rawgeti(L, -1, i);
        size += line(L, name, name_size, at != NULL ? at + size : NULL);
        lua_pop(L, 1);
    }
    return size;
}

/* All of the table at idx, nil for none. */
static size_t
headers(lua_State *L, int idx, char *at)
{
    size_t size = 0;

    if (lua_isnoneornil(L, idx)) return 0;
    luaL_checktype(L, idx, LUA_TTABLE);
    for (lua_pushnil(L); lua_next(L, idx) != 0; lua_pop(L, 1)) {
        size_t name_size;
        if (lua_type(L, -2) != LUA_TSTRING)
            luaL_error(L, "header: a name expected, got %s", luaL_typename(L, -2));
        const char *name = lua_tolstring(L, -2, &name_size);
        if (at == NULL && !is_token(name, name_size))
            luaL_error(L, "header '%s': not the name of a header", name);
        size += lines(L, name, name_size, at != NULL ? at + size : NULL);
    }
    return size;
}

/* The line of the Date header, made once a second. */
static const char *
date_line(acl_engine *e)
{
    static const char days[] = "SunMonTueWedThuFriSat";
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    struct timespec now;
    struct tm tm;

    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    if (now.tv_sec != e->http_date_at) {
        e->http_date_at = now.tv_sec;
        gmtime_r(&now.tv_sec, &tm); /* not strftime, whose names are of the locale */
        snprintf(e->http_date, sizeof e->http_date,
                 "Date: %.3s, %02u %.3s %04u %02u:%02u:%02u GMT\r\n", &days[3 * (tm.tm_wday % 7)],
                 (unsigned)tm.tm_mday % 100, &months[3 * (tm.tm_mon % 12)],
                 (unsigned)(tm.tm_year + 1900) % 10000, (unsigned)tm.tm_hour % 100,
                 (unsigned)tm.tm_min % 100, (unsigned)tm.tm_sec % 100);
    }
    return e->http_date;
}

static const char *
reason_of(lua_Integer status)
{
    static const struct {
        int status;
        const char *reason;
    } reasons[] = {{200, "OK"},
                   {100, "Continue"},
                   {101, "Switching Protocols"},
                   {201, "Created"},
                   {202, "Accepted"},
                   {204, "No Content"},
                   {206, "Partial Content"},
                   {301, "Moved Permanently"},
                   {302, "Found"},
                   {303, "See Other"},
                   {304, "Not Modified"},
                   {307, "Temporary Redirect"},
                   {308, "Permanent Redirect"},
                   {400, "Bad Request"},
                   {401, "Unauthorized"},
                   {403, "Forbidden"},
                   {404, "Not Found"},
                   {405, "Method Not Allowed"},
                   {406, "Not Acceptable"},
                   {408, "Request Timeout"},
                   {409, "Conflict"},
                   {410, "Gone"},
                   {411, "Length Required"},
                   {412, "Precondition Failed"},
                   {413, "Content Too Large"},
                   {414, "URI Too Long"},
                   {415, "Unsupported Media Type"},
                   {416, "Range Not Satisfiable"},
                   {417, "Expectation Failed"},
                   {422, "Unprocessable Content"},
                   {426, "Upgrade Required"},
                   {429, "Too Many Requests"},
                   {431, "Request Header Fields Too Large"},
                   {500, "Internal Server Error"},
                   {501, "Not Implemented"},
                   {502, "Bad Gateway"},
                   {503, "Service Unavailable"},
                   {504, "Gateway Timeout"},
                   {505, "HTTP Version Not Supported"}};

    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
        if (reasons[i].status == status) return reasons[i].reason;
    return "";
}

/* The digits of a number, at the end of `out`; their size. */
static size_t
digits_of(char out[NUMBER_MOST], uint64_t number)
{
    size_t at = NUMBER_MOST;

    do {
        out[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    memmove(out, out + at, NUMBER_MOST - at);
    return NUMBER_MOST - at;
}

/* Lines of our own about the body and the connection. */
static size_t
own_lines(char out[OWN_MOST], lua_State *L, int length, int connection)
{
    char *at = out, digits[NUMBER_MOST];
    size_t size;

    if (lua_isinteger(L, length)) {
        size = digits_of(digits, (uint64_t)lua_tointeger(L, length));
        at = put(at, "Content-Length: ", 16);
        at = put(put(at, digits, size), "\r\n", 2);
    } else if (lua_toboolean(L, length)) {
        at = put(at, "Transfer-Encoding: chunked\r\n", 28);
    }
    if (lua_type(L, connection) == LUA_TSTRING) {
        const char *word = lua_tolstring(L, connection, &size);
        if (size > WORD_MOST) size = WORD_MOST;
        at = put(at, "Connection: ", 12);
        at = put(put(at, word, size), "\r\n", 2);
    }
    return (size_t)(at - out);
}

/* What a message is made of, besides the headers at index 2: the first line, the date, lines of our
 * own (of what is at 3 and 4), an empty line, the body at 5. */
typedef struct parts {
    const char *first, *date, *body;
    size_t first_size, date_size, own_size, body_size, total;
    char own[OWN_MOST];
} parts;

static void
parts_of(lua_State *L, parts *p)
{
    p->body = luaL_optlstring(L, 5, "", &p->body_size);
    p->own_size = own_lines(p->own, L, 3, 4);
    p->date_size = strlen(p->date);
    p->total = p->first_size + p->date_size + headers(L, 2, NULL) + p->own_size + 2 + p->body_size;
}

static void
parts_put(lua_State *L, const parts *p, char *at)
{
    at = put(put(at, p->first, p->first_size), p->date, p->date_size);
    at += headers(L, 2, at);
    put(put(put(at, p->own, p->own_size), "\r\n", 2), p->body, p->body_size);
}

static int
parts_push(lua_State *L, const parts *p)
{
    luaL_Buffer buffer;

    parts_put(L, p, luaL_buffinitsize(L, &buffer, p->total));
    luaL_pushresultsize(&buffer, p->total);
    return 1;
}

/* The status line at `line`, of LINE_MOST bytes. */
static void
status_line(parts *p, char *line, lua_Integer status)
{
    const char *reason = reason_of(status);
    char *at = put(line, "HTTP/1.1 ", 9);

    at += digits_of(at, (uint64_t)status);
    at = put(at, " ", 1);
    at = put(put(at, reason, strlen(reason)), "\r\n", 2);
    p->first = line;
    p->first_size = (size_t)(at - line);
}

static lua_Integer
check_status(lua_State *L)
{
    lua_Integer status = luaL_checkinteger(L, 1);

    luaL_argcheck(L, status >= 100 && status <= 999, 1, "a status of 100 to 999 expected");
    return status;
}

/* response(status, headers or nil, length or true (chunked) or nil, connection or nil, body or nil)
 *   -> the bytes. Raises on what is no header. */
static int
http_response(lua_State *L)
{
    lua_Integer status = check_status(L);
    char line[LINE_MOST];
    parts p = {.date = status >= 200 ? date_line(acl_self(L)) : ""};

    lua_settop(L, 5);
    status_line(&p, line, status);
    parts_of(L, &p);
    return parts_push(L, &p);
}

/* Write what is on top, of which `sent` bytes have been sent. */
static int
send_rest(lua_State *L, acl_engine *e, aco_stream *s, size_t sent)
{
    lua_replace(L, 2);
    lua_pushvalue(L, AT_STREAM);
    lua_replace(L, 1);
    lua_settop(L, 2);
    return acl_write_rest(L, e, s, acl_stream_deadline(L, s, 3), sent);
}

/* send(status, headers, length, connection, body, stream) -> bytes; nil, message, code, bytes.
 * Writes what `response` gives. Waits until the system has taken it. */
static int
http_send(lua_State *L)
{
    acl_engine *e = acl_self(L);
    lua_Integer status = check_status(L);
    aco_stream *s = acl_stream_check(L, AT_STREAM);
    uint8_t *scratch = acl_scratch(e);
    char line[LINE_MOST];
    size_t sent = 0;
    aco_waitq *wait;
    parts p = {.date = date_line(e)};

    acl_wait_check(L, e, "write");
    lua_settop(L, AT_STREAM);
    status_line(&p, line, status);
    parts_of(L, &p);
    if (s->writing) return acl_stream_fail(L, s, "write", ACO_EBUSY);
    if (p.total > ACL_SCRATCH || scratch == NULL) {
        parts_push(L, &p);
        return send_rest(L, e, s, 0);
    }
    parts_put(L, &p, (char *)scratch);
    const struct iovec piece = {.iov_base = scratch, .iov_len = p.total};
    int err = aco_stream_write(s, &piece, 1, &sent, &wait);
    if (err != ACO_OK || sent < p.total) {
        lua_pushlstring(L, (const char *)scratch, p.total);
        return send_rest(L, e, s, sent);
    }
    lua_pushinteger(L, (lua_Integer)sent);
    return acl_io_done(L, e, 1);
}

/* request(first line without its end, headers, length or true or nil, connection or nil, body or
 * nil)
 *   -> the bytes */
static int
http_request(lua_State *L)
{
    size_t size;
    const char *text = luaL_checklstring(L, 1, &size);

    for (size_t i = 0; i < size; i++)
        luaL_argcheck(L, (unsigned char)text[i] >= 32, 1,
                      "a control character in the request line");
    lua_settop(L, 5);
    lua_pushfstring(L, "%s\r\n", text);
    lua_replace(L, 1);
    parts p = {.first = lua_tostring(L, 1), .first_size = size + 2, .date = ""};
    parts_of(L, &p);
    return parts_push(L, &p);
}

/* reason(status) -> its usual text, perhaps "" */
static int
http_reason(lua_State *L)
{
    lua_pushstring(L, reason_of(luaL_checkinteger(L, 1)));
    return 1;
}

/* mask(data, key of four bytes) -> the data with the key over it (RFC 6455, 5.3) */
static int
http_mask(lua_State *L)
{
    size_t size, key_size;
    const char *data = luaL_checklstring(L, 1, &size);
    const char *key = luaL_checklstring(L, 2, &key_size);
    luaL_Buffer buffer;

    luaL_argcheck(L, key_size == 4, 2, "a key of four bytes expected");
    char *at = luaL_buffinitsize(L, &buffer, size);
    size_t i = 0;
    uint64_t word, wide;
    memcpy(&wide, key, 4);
    memcpy((char *)&wide + 4, key, 4);
    for (; i + sizeof word <= size; i += sizeof word) {
        memcpy(&word, data + i, sizeof word);
        word ^= wide;
        memcpy(at + i, &word, sizeof word);
    }
    for (; i < size; i++)
        at[i] = (char)(data[i] ^ key[i & 3]);
    luaL_pushresultsize(&buffer, size);
    return 1;
}

/* random(n) -> n random bytes */
static int
http_random(lua_State *L)
{
    char bytes[64];
    lua_Integer n = luaL_checkinteger(L, 1);

    luaL_argcheck(L, n > 0 && n <= (lua_Integer)sizeof bytes, 1, "1 to 64 expected");
    if (aco_random(bytes, (size_t)n) != ACO_OK) return luaL_error(L, "no randomness");
    lua_pushlstring(L, bytes, (size_t)n);
    return 1;
}

void
acl_http_head_funcs(lua_State *L, acl_engine *e)
{
    static const luaL_Reg funcs[] = {{"response", http_response},
                                     {"request", http_request},
                                     {"send", http_send},
                                     {"reason", http_reason},
                                     {"mask", http_mask},
                                     {"random", http_random},
                                     {NULL, NULL}};

    acl_setfuncs(L, e, funcs);
}
