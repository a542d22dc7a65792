/* SPDX-License-Identifier: MIT */
/* tls.c -- TLS for streams. Options are checked, and put in order, by lua/asyncoro/tls.lua. */
#include "bindings/tls.h"
#include "bindings/stream.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/clock.h"
#include "core/io/tls.h"

#define CONTEXT_NAME "asyncoro.tls_context"

/* Contexts --------------------------------------------------------------------------------------
 */

static aco_tls_context *
check_context(lua_State *L, int idx)
{
    aco_tls_context **box = luaL_checkudata(L, idx, CONTEXT_NAME);

    return *box;
}

/* The field of the table at idx; the string stays the table's. */
static const char *
text_field(lua_State *L, int idx, const char *name)
{
    lua_getfield(L, idx, name);
    const char *text = lua_tostring(L, -1);
    lua_pop(L, 1);
    return text;
}

static const uint8_t *
bytes_field(lua_State *L, int idx, const char *name, size_t *size)
{
    lua_getfield(L, idx, name);
    const char *bytes = lua_tolstring(L, -1, size);
    lua_pop(L, 1);
    return (const uint8_t *)bytes;
}

static lua_Number
number_field(lua_State *L, int idx, const char *name)
{
    lua_getfield(L, idx, name);
    lua_Number number = lua_tonumber(L, -1);
    lua_pop(L, 1);
    return number;
}

static void
config_get(lua_State *L, int idx, struct aco_tls_config *config)
{
    size_t pins_size = 0;

    *config =
        (struct aco_tls_config){.certificate = text_field(L, idx, "certificate"),
                                .key = text_field(L, idx, "key"),
                                .password = text_field(L, idx, "password"),
                                .ca = text_field(L, idx, "ca"),
                                .ciphers = text_field(L, idx, "ciphers"),
                                .suites = text_field(L, idx, "suites"),
                                .oldest = (int)number_field(L, idx, "oldest"),
                                .newest = (int)number_field(L, idx, "newest"),
                                .verify = (enum aco_tls_verify)number_field(L, idx, "verify"),
                                .handshake = aco_deadline(0, number_field(L, idx, "handshake"))};
    config->pins = bytes_field(L, idx, "pins", &pins_size);
    config->pin_count = config->pins != NULL ? pins_size / ACO_TLS_PIN : 0;
    config->alpn = bytes_field(L, idx, "alpn", &config->alpn_size);
    if (config->alpn == NULL) config->alpn_size = 0;
    lua_getfield(L, idx, "insecure");
    config->insecure = lua_toboolean(L, -1);
    lua_pop(L, 1);
}

/* nil, message, code, of a text that is ours to free: it is copied into a fixed room first, because
 * Lua may raise. */
static int
context_fail(lua_State *L, int err, char *error)
{
    char text[1024];

    strncpy(text, error != NULL ? error : aco_err_text(err), sizeof text - 1);
    text[sizeof text - 1] = '\0';
    free(error);
    return acl_fail(L, err, "tls: %s", text);
}

/* context(config) -> context; the strings of config are PEM text or paths */
static int
tls_context(lua_State *L)
{
    struct aco_tls_config config;
    char *error = NULL;

    luaL_checktype(L, 1, LUA_TTABLE);
    aco_tls_context **box = lua_newuserdatauv(L, sizeof *box, 0);
    *box = NULL;
    luaL_setmetatable(L, CONTEXT_NAME);
    config_get(L, 1, &config);
    int err = aco_tls_context_new(box, &config, &error);
    return err == ACO_OK ? 1 : context_fail(L, err, error);
}

static int
context_gc(lua_State *L)
{
    aco_tls_context **box = lua_touserdata(L, 1);

    aco_tls_context_unref(*box);
    *box = NULL;
    return 0;
}

/* add(context, name, certificate, key, password) -> context */
static int
tls_add(lua_State *L)
{
    aco_tls_context *context = check_context(L, 1);
    const char *name = luaL_checkstring(L, 2), *certificate = luaL_checkstring(L, 3);
    char *error = NULL;
    int err = aco_tls_context_add(context, name, certificate, luaL_optstring(L, 4, NULL),
                                  luaL_optstring(L, 5, NULL), &error);

    if (err != ACO_OK) return context_fail(L, err, error);
    lua_settop(L, 1);
    return 1;
}

/*** Read the files of certificates, keys and authorities again, for the connections to come; those
that are open go on as they are. When a file is wrong everything stays as it was.
@function context:reload
@treturn boolean true
@treturn[2] nil
@treturn[2] string message
@treturn[2] string "notfound", "denied", "invalid" */
static int
context_reload(lua_State *L)
{
    char *error = NULL;
    int err = aco_tls_context_reload(check_context(L, 1), &error);

    if (err != ACO_OK) return context_fail(L, err, error);
    lua_pushboolean(L, 1);
    return 1;
}

/* has_certificate(context): does this side show one? */
static int
tls_has_certificate(lua_State *L)
{
    lua_pushboolean(L, aco_tls_context_has_certificate(check_context(L, 1)));
    return 1;
}

static int
context_tostring(lua_State *L)
{
    lua_pushfstring(L, "tls context: %p", (void *)check_context(L, 1));
    return 1;
}

/* Beginning -------------------------------------------------------------------------------------
 */

static const char *
start_why(int err)
{
    switch (err) {
    case ACO_EPROTOCOL:
        return "bytes have come in plain that nobody has read: they must not be taken for TLS";
    case ACO_EUNSUPPORTED:
        return "only a plain socket can begin to speak TLS";
    case ACO_EINVALID:
        return "this is no name that a certificate can have";
    default:
        return aco_err_text(err);
    }
}

/* start(what, stream, context, name or nil, server [, label]) -> stream, in place; no wait */
static int
tls_start(lua_State *L)
{
    const char *what = luaL_checkstring(L, 1);
    aco_stream *s = acl_stream_check(L, 2);
    aco_tls_context *context = check_context(L, 3);
    const char *name = luaL_optstring(L, 4, NULL), *label = luaL_optstring(L, 6, NULL);
    char text[ACO_ADDRESS_TEXT];
    int err = aco_tls_start(s, context, name, lua_toboolean(L, 5));

    if (err != ACO_OK)
        return acl_fail(L, err, "%s %s: %s", what, label ? label : acl_stream_where(s, text),
                        start_why(err));
    if (label != NULL) {
        free(s->label);
        s->label = strdup(label);
    }
    lua_settop(L, 2);
    return 1;
}

/* Handshake -------------------------------------------------------------------------------------
 */

enum { AT_STREAM = 1, AT_WHAT, AT_DEADLINE, AT_CLOSES };

static int handshake_run(lua_State *L, acl_engine *e, aco_stream *s);

static int
handshake_end(lua_State *L, aco_stream *s, int err)
{
    if (err == ACO_OK) {
        lua_settop(L, AT_STREAM);
        return 1;
    }
    int results = acl_stream_fail(L, s, lua_tostring(L, AT_WHAT), err);
    if (lua_toboolean(L, AT_CLOSES)) aco_stream_close(s);
    return results;
}

static int
handshake_k(lua_State *L, int status, lua_KContext ctx)
{
    acl_engine *e = acl_self(L);
    acl_coro *c = e->current;
    aco_stream *s = lua_touserdata(L, AT_STREAM);
    int err = c->task.wake_err;
    bool again = err == ACO_ETIMEOUT && acl_stream_early(s, lua_tointeger(L, AT_DEADLINE));

    (void)status;
    (void)ctx;
    if (c->task.pending != 0 && lua_toboolean(L, AT_CLOSES)) aco_stream_close(s);
    acl_wait_end(L, e, c);
    return err == ACO_OK || again ? handshake_run(L, e, s) : handshake_end(L, s, err);
}

static int
handshake_run(lua_State *L, acl_engine *e, aco_stream *s)
{
    acl_coro *c = e->current;
    aco_time deadline = (aco_time)lua_tointeger(L, AT_DEADLINE);
    aco_waitq *wait;
    int err = aco_tls_handshake(s, &wait);

    if (err == ACO_EBUSY && deadline == 0) err = ACO_ETIMEOUT;
    if (err != ACO_EBUSY) return handshake_end(L, s, err);
    aco_wait_begin(&c->task, ACO_WAIT_READ);
    aco_wait_on(&c->task, wait);
    return acl_park(L, e, c, aco_stream_until(s, deadline), 0, handshake_k);
}

/* (stream, what, time-out, closes it when it fails) */
static int
handshake_begin(lua_State *L, acl_engine *e, aco_stream *s)
{
    bool limited = !lua_isnil(L, AT_DEADLINE);
    aco_time deadline = acl_opt_deadline(L, AT_DEADLINE);

    acl_wait_check(L, e, "handshake");
    if (limited && deadline > 0 && aco_stream_is_open(s)) s->limit = deadline;
    lua_pushinteger(L, deadline);
    lua_replace(L, AT_DEADLINE);
    return handshake_run(L, e, s);
}

/*** Do the handshake of TLS now. Without it the first read or write does it.
Waits.
@function stream:handshake
@tparam[opt] number timeout seconds; nil: 10, or as `handshake_timeout` of the options said; a
handshake that took too long cannot be taken up again (after 0, which only looks, it can)
@treturn stream itself
@treturn[2] nil
@treturn[2] string message
@treturn[2] string "auth" (a certificate), "protocol", "timeout", "truncated", "reset", "closed";
"unsupported" for a stream that does not speak TLS */
static int
stream_handshake(lua_State *L)
{
    acl_engine *e = acl_self(L);
    aco_stream *s = acl_stream_check(L, 1);

    if (!aco_stream_is_open(s)) return acl_stream_fail(L, s, "handshake", ACO_ECLOSED);
    if (!aco_tls_is(s)) return acl_stream_fail(L, s, "handshake", ACO_EUNSUPPORTED);
    lua_settop(L, 2);
    lua_pushliteral(L, "handshake");
    lua_insert(L, AT_WHAT);
    lua_pushboolean(L, 0);
    return handshake_begin(L, e, s);
}

/* handshake(stream, what, timeout) -> stream; closes it when that fails */
static int
tls_handshake(lua_State *L)
{
    acl_engine *e = acl_self(L);
    aco_stream *s = acl_stream_check(L, 1);

    luaL_checkstring(L, AT_WHAT);
    lua_settop(L, 3);
    lua_pushboolean(L, 1);
    return handshake_begin(L, e, s);
}

/* What is known ---------------------------------------------------------------------------------
 */

static void
set_text(lua_State *L, const char *name, const char *text)
{
    if (text == NULL || *text == '\0') return;
    lua_pushstring(L, text);
    lua_setfield(L, -2, name);
}

static void
set_hash(lua_State *L, const char *name, const uint8_t hash[ACO_CERTIFICATE_HASH])
{
    static const char digits[] = "0123456789abcdef";
    char text[2 * ACO_CERTIFICATE_HASH];

    for (int i = 0; i < ACO_CERTIFICATE_HASH; i++) {
        text[2 * i] = digits[hash[i] >> 4];
        text[2 * i + 1] = digits[hash[i] & 15];
    }
    lua_pushlstring(L, text, sizeof text);
    lua_setfield(L, -2, name);
}

static void
set_peer(lua_State *L, const struct aco_tls_info *info)
{
    lua_createtable(L, 0, 6);
    set_text(L, "subject", info->subject);
    set_text(L, "issuer", info->issuer);
    lua_pushinteger(L, (lua_Integer)info->not_before);
    lua_setfield(L, -2, "not_before");
    lua_pushinteger(L, (lua_Integer)info->not_after);
    lua_setfield(L, -2, "not_after");
    set_hash(L, "fingerprint", info->fingerprint);
    set_hash(L, "pin", info->pin);
    lua_setfield(L, -2, "peer");
}

/*** What is known of a TLS connection after its handshake: a table with `version` ("TLSv1.3"),
`cipher`, `alpn` and `sni` (nil when there is none), `resumed`, `verified` (the other side's
certificate was looked at and is good), and `peer`, nil when the other side gave no certificate,
else a table with `subject`, `issuer`, `not_before`, `not_after` (seconds since 1970), `fingerprint`
(SHA-256 of the certificate) and `pin` (SHA-256 of its public key).
@function stream:tls_info
@treturn table
@treturn[2] nil
@treturn[2] string message
@treturn[2] string "closed"; "unsupported" for a stream that does not speak TLS; "busy" when the
handshake is not over */
static int
stream_tls_info(lua_State *L)
{
    aco_stream *s = acl_stream_check(L, 1);
    struct aco_tls_info info;
    int err = aco_tls_info(s, &info);

    if (err != ACO_OK) return acl_stream_fail(L, s, "tls_info", err);
    lua_createtable(L, 0, 7);
    set_text(L, "version", info.version);
    set_text(L, "cipher", info.cipher);
    set_text(L, "alpn", info.alpn);
    set_text(L, "sni", info.sni);
    lua_pushboolean(L, info.resumed);
    lua_setfield(L, -2, "resumed");
    lua_pushboolean(L, info.verified);
    lua_setfield(L, -2, "verified");
    if (info.peer) set_peer(L, &info);
    return 1;
}

void
acl_open_tls(lua_State *L, acl_engine *e)
{
    static const luaL_Reg inner[] = {{"context", tls_context},
                                     {"add", tls_add},
                                     {"start", tls_start},
                                     {"handshake", tls_handshake},
                                     {"has_certificate", tls_has_certificate},
                                     {NULL, NULL}};
    static const luaL_Reg methods[] = {
        {"handshake", stream_handshake}, {"tls_info", stream_tls_info}, {NULL, NULL}};
    static const luaL_Reg context[] = {{"reload", context_reload}, {NULL, NULL}};
    static const luaL_Reg meta[] = {
        {"__tostring", context_tostring}, {"__gc", context_gc}, {NULL, NULL}};

    luaL_newmetatable(L, CONTEXT_NAME);
    acl_setfuncs(L, e, meta);
    lua_newtable(L);
    acl_setfuncs(L, e, context);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
    lua_newtable(L);
    acl_setfuncs(L, e, inner);
    lua_setfield(L, -2, "tls");
    lua_getfield(L, -1, "stream");
    acl_setfuncs(L, e, methods);
    lua_pop(L, 1);
}
