/* SPDX-License-Identifier: MIT */
/* http_head.c -- writing the heads of HTTP/1.1 messages (RFC 9112), with a short body behind it.
 * The size is counted first, and what is wrong is found then, so that nothing is held when this
 * raises. */
#include "bindings/http_head.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "core/base/random.h"

enum { NUMBER_MOST = 24, HTTP_DATE = sizeof "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n" };

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

/* Lines of our own about the body and the connection. */
static size_t
own_lines(char out[128], lua_State *L, int length, int connection)
{
    size_t size = 0;

    if (lua_isinteger(L, length))
        size = (size_t)snprintf(out, 128, "Content-Length: %lld\r\n",
                                (long long)lua_tointeger(L, length));
    else if (lua_toboolean(L, length))
        size = (size_t)snprintf(out, 128, "Transfer-Encoding: chunked\r\n");
    if (lua_type(L, connection) == LUA_TSTRING)
        size += (size_t)snprintf(out + size, 128 - size, "Connection: %.40s\r\n",
                                 lua_tostring(L, connection));
    return size;
}

/* First line, headers (at 2), own lines (from 3 and 4), an empty line, the body at 5. */
static int
message(lua_State *L, const char *first, size_t first_size, const char *date)
{
    char own[128];
    size_t body_size = 0;
    const char *body = luaL_optlstring(L, 5, "", &body_size);
    size_t own_size = own_lines(own, L, 3, 4), date_size = strlen(date);
    size_t total = first_size + date_size + headers(L, 2, NULL) + own_size + 2 + body_size;
    luaL_Buffer buffer;

    char *at = luaL_buffinitsize(L, &buffer, total);
    at = put(put(at, first, first_size), date, date_size);
    at += headers(L, 2, at);
    put(put(put(at, own, own_size), "\r\n", 2), body, body_size);
    luaL_pushresultsize(&buffer, total);
    return 1;
}

/* response(status, headers or nil, length or true (chunked) or nil, connection or nil, body or nil)
 *   -> the bytes. Raises on what is no header. */
static int
http_response(lua_State *L)
{
    acl_engine *e = acl_self(L);
    lua_Integer status = luaL_checkinteger(L, 1);
    char first[64];

    luaL_argcheck(L, status >= 100 && status <= 999, 1, "a status of 100 to 999 expected");
    lua_settop(L, 5);
    int size = snprintf(first, sizeof first, "HTTP/1.1 %d %s\r\n", (int)status, reason_of(status));
    return message(L, first, (size_t)size, status >= 200 ? date_line(e) : "");
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
    return message(L, lua_tostring(L, 1), size + 2, "");
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
    static const luaL_Reg funcs[] = {{"response", http_response}, {"request", http_request},
                                     {"reason", http_reason},     {"mask", http_mask},
                                     {"random", http_random},     {NULL, NULL}};

    acl_setfuncs(L, e, funcs);
}
