/* SPDX-License-Identifier: MIT */
/* decode.c -- MessagePack to a Lua value. The bytes may come from anybody: no room is made for a
 * count unless the bytes that are left suffice for it and for all that the tables around it still
 * wait for, so that the tables of a message take memory in proportion to its size. */
#include "bindings/codec.h"
#include "bindings/network.h"
#include "bindings/remote.h"

#include <math.h>
#include <string.h>

#include "core/base/msgpack.h"

typedef struct decoder {
    lua_State *L;
    aco_mp_reader reader;
    int refs; /* stack index of number -> value; 0 when the message refers to nothing */
    int made; /* stack index of the list of classes this message has made; nil for none */
    int depth;
    bool foreign;      /* it came from another process */
    size_t owed;       /* values that the arrays and maps around still wait for */
    lua_Integer count; /* numbered values so far */
} decoder;

static int decode_value(decoder *dec);

static int
fail(decoder *dec, const char *what)
{
    luaL_checkstack(dec->L, 2, NULL);
    lua_pushfstring(dec->L, "malformed message: %s", what);
    return ACO_EPROTOCOL;
}

static int
next(decoder *dec, aco_mp_item *item)
{
    int err = aco_mp_next(&dec->reader, item);

    return err == ACO_OK ? err
                         : fail(dec, "it ends in the middle of a value, or is no MessagePack");
}

/* Numbers of values ------------------------------------------------------------------------------
 */

/* Look for an extension of the type of references; some other bytes may look like one. */
static bool
has_refs(const uint8_t *data, size_t size)
{
    const uint8_t *end = data + size, *at = data;

    while ((at = memchr(at, ACL_EXT_REF, (size_t)(end - at))) != NULL) {
        size_t before = (size_t)(at - data);
        if ((before >= 1 && at[-1] >= 0xd4 && at[-1] <= 0xd8) || (before >= 2 && at[-2] == 0xc7) ||
            (before >= 3 && at[-3] == 0xc8) || (before >= 5 && at[-5] == 0xc9))
            return true;
        at++;
    }
    return false;
}

static int
number_take(decoder *dec, lua_Integer *number)
{
    *number = dec->count;
    if (++dec->count <= ACL_CODEC_TABLES) return ACO_OK;
    lua_pushfstring(dec->L, "the message has more than %d tables", ACL_CODEC_TABLES);
    return ACO_ETOOLARGE;
}

/* The value on top is that of the number. */
static void
number_is(decoder *dec, lua_Integer number)
{
    if (dec->refs == 0) return;
    lua_pushvalue(dec->L, -1);
    lua_rawseti(dec->L, dec->refs, number + 1);
}

static int
decode_ref(decoder *dec, const aco_mp_item *item)
{
    lua_Integer number = 0;

    if (item->size < 1 || item->size > 4) return fail(dec, "a reference of a wrong size");
    for (uint32_t i = 0; i < item->size; i++)
        number = number << 8 | item->u.data[i];
    if (dec->refs == 0 || lua_rawgeti(dec->L, dec->refs, number + 1) == LUA_TNIL)
        return fail(dec, "a reference to a value that does not come before it");
    return ACO_OK;
}

/* Tables -----------------------------------------------------------------------------------------
 */

static int
decode_array(decoder *dec, uint32_t count)
{
    for (uint32_t i = 1; i <= count; i++) {
        dec->owed--;
        int err = decode_value(dec);
        if (err != ACO_OK) return err;
        lua_rawseti(dec->L, -2, i);
    }
    return ACO_OK;
}

static bool
is_key(lua_State *L, int idx)
{
    if (lua_isnil(L, idx)) return false;
    return lua_type(L, idx) != LUA_TNUMBER || !isnan(lua_tonumber(L, idx));
}

static int
decode_pairs(decoder *dec, uint32_t count)
{
    lua_State *L = dec->L;

    for (uint32_t i = 0; i < count; i++) {
        dec->owed--;
        int err = decode_value(dec);
        if (err != ACO_OK) return err;
        if (!is_key(L, -1)) return fail(dec, "a key that is nil or NaN");
        lua_pushvalue(L, -1);
        if (lua_rawget(L, -3) != LUA_TNIL) return fail(dec, "a key comes twice");
        lua_pop(L, 1);
        dec->owed--;
        err = decode_value(dec);
        if (err != ACO_OK) return err;
        lua_rawset(L, -3);
    }
    return ACO_OK;
}

/* An array or a map begins. */
static int
table_open(decoder *dec, const aco_mp_item *item, lua_Integer *number)
{
    size_t values = item->type == ACO_MP_MAP ? 2 * (size_t)item->size : item->size;

    if (values > (size_t)(dec->reader.end - dec->reader.at) - dec->owed)
        return fail(dec, "it ends in the middle of a table");
    dec->owed += values;
    return number_take(dec, number);
}

/* Fill the table on top. */
static int
decode_entries(decoder *dec, const aco_mp_item *item)
{
    if (item->type == ACO_MP_ARRAY) return decode_array(dec, item->size);
    return decode_pairs(dec, item->size);
}

/* One level deeper; the caller goes up again. See encode.c for what is a level. */
static int
deeper(decoder *dec)
{
    luaL_checkstack(dec->L, LUA_MINSTACK, "a message is nested too deep");
    if (dec->depth++ < ACL_CODEC_DEPTH) return ACO_OK;
    lua_pushfstring(dec->L, "the message is nested more than %d deep", ACL_CODEC_DEPTH);
    return ACO_ETOOLARGE;
}

static int
decode_table(decoder *dec, const aco_mp_item *item)
{
    lua_Integer number;
    int err = table_open(dec, item, &number);

    if (err == ACO_OK) err = deeper(dec);
    if (err != ACO_OK) return err;
    if (item->type == ACO_MP_ARRAY)
        lua_createtable(dec->L, (int)item->size, 0);
    else
        lua_createtable(dec->L, 0, (int)item->size);
    number_is(dec, number);
    err = decode_entries(dec, item);
    dec->depth--;
    return err;
}

/* The next value is an array or a map: its entries go into the table on top. */
static int
decode_into(decoder *dec)
{
    aco_mp_item item;
    lua_Integer number;
    int err = next(dec, &item);

    if (err != ACO_OK) return err;
    if (item.type != ACO_MP_ARRAY && item.type != ACO_MP_MAP) return fail(dec, "fields expected");
    err = table_open(dec, &item, &number);
    if (err != ACO_OK) return err;
    number_is(dec, number);
    return decode_entries(dec, &item);
}

/* Instances --------------------------------------------------------------------------------------
 */

/* A name need not be valid UTF-8. */
static bool
is_string(const aco_mp_item *item)
{
    return item->type == ACO_MP_STR || item->type == ACO_MP_BIN;
}

static int
decode_name(decoder *dec)
{
    aco_mp_item item;
    int err = next(dec, &item);

    if (err != ACO_OK) return err;
    if (!is_string(&item)) return fail(dec, "a name expected");
    lua_pushlstring(dec->L, (const char *)item.u.data, item.size);
    return ACO_OK;
}

/* What is on top as text, without its metamethods, which might raise. */
static const char *
push_text(lua_State *L)
{
    if (lua_type(L, -1) != LUA_TSTRING) lua_pushfstring(L, "a %s", luaL_typename(L, -1));
    return lua_tostring(L, -1);
}

/* Functions and classes are no part of this message. */
static bool
is_plain(const decoder *dec)
{
    return dec->foreign && !acl_network_takes_code(acl_engine_get(dec->L));
}

static int
refuse_code(decoder *dec)
{
    lua_pushliteral(dec->L, "the message brings a function or a class, and this process takes none "
                            "from others (network{code = true} allows it)");
    return ACO_EDENIED;
}

/* Call a function of the shipper with the n values on top; one result. What it refuses is said. */
static int
ship(decoder *dec, const char *what, int n)
{
    lua_State *L = dec->L;

    if (!acl_codec_shipper(L, what)) return fail(dec, "code, which cannot be loaded here");
    lua_insert(L, -1 - n);
    int status = lua_pcall(L, n, 2, 0);
    if (status == LUA_ERRMEM) return lua_error(L);
    if (status != LUA_OK) {
        lua_pushfstring(L, "malformed message: %s", push_text(L));
        return ACO_EPROTOCOL;
    }
    if (lua_isnil(L, -2)) { /* its message is on top */
        push_text(L);
        return ACO_EPROTOCOL;
    }
    lua_pop(L, 1);
    return ACO_OK;
}

/* Replace the name on top by its class, a nil when there is none. */
static int
class_find(lua_State *L)
{
    acl_codec_classes(L);
    lua_insert(L, -2);
    int type = lua_rawget(L, -2);
    lua_remove(L, -2);
    return type;
}

/* Read a value and put what the class's __decode, which is on top, makes of it in its place; with
 * nil, message it refuses. */
static int
decode_hooked(decoder *dec, const char *name)
{
    lua_State *L = dec->L;
    int err = decode_value(dec);

    if (err != ACO_OK) return err;
    int status = lua_pcall(L, 1, 2, 0);
    if (status == LUA_ERRMEM) return lua_error(L);
    if (status == LUA_OK && !lua_isnil(L, -2)) {
        lua_pop(L, 1);
        return ACO_OK;
    }
    const char *what = lua_isnil(L, -1) ? "it gave nil" : push_text(L);
    lua_pushfstring(L, "__decode of class %s: %s", name, what);
    return ACO_EPROTOCOL;
}

static int
decode_instance_here(decoder *dec, lua_Integer number)
{
    lua_State *L = dec->L;
    int err = decode_name(dec);

    if (err != ACO_OK) return err;
    int class = lua_gettop(L);
    lua_pushvalue(L, -1); /* the name stays, below */
    if (class_find(L) != LUA_TTABLE) {
        lua_pop(L, 1);
        lua_pushvalue(L, class);
        err = ship(dec, is_plain(dec) ? "class_here" : "known_class", 1);
        if (err == ACO_OK && !lua_istable(L, -1)) err = fail(dec, "a class expected");
        if (err != ACO_OK) return err;
    }
    lua_pushliteral(L, "__decode"); /* its own: like a metamethod, none is inherited */
    lua_rawget(L, class + 1);
    if (lua_isfunction(L, -1)) {
        err = decode_hooked(dec, lua_tostring(L, class));
    } else {
        lua_newtable(L);
        number_is(dec, number);
        err = decode_into(dec);
        if (err == ACO_OK) {
            lua_pushvalue(L, class + 1);
            lua_setmetatable(L, -2);
        }
    }
    if (err != ACO_OK) return err;
    number_is(dec, number);
    lua_replace(L, class);
    lua_settop(L, class);
    return ACO_OK;
}

/* Code -------------------------------------------------------------------------------------------
 */

static int
decode_function(decoder *dec, lua_Integer number)
{
    lua_State *L = dec->L;
    int top = lua_gettop(L);

    int err = decode_value(dec);
    if (err == ACO_OK && !lua_istable(L, -1)) err = fail(dec, "a descriptor expected");
    if (err == ACO_OK) err = ship(dec, "load", 1);
    if (err != ACO_OK) return err;
    number_is(dec, number);
    lua_pushvalue(L, -1);
    err = decode_value(dec);
    if (err == ACO_OK && !lua_istable(L, -1))
        err = fail(dec, "the upvalues of a function expected");
    if (err == ACO_OK) err = ship(dec, "link", 2);
    if (err != ACO_OK) return err;
    lua_settop(L, top + 1);
    return ACO_OK;
}

/* The class on top was made for this message; should that fail, it is forgotten. */
static void
note_made(decoder *dec)
{
    lua_State *L = dec->L;

    if (lua_isnil(L, dec->made)) {
        lua_newtable(L);
        lua_replace(L, dec->made);
    }
    lua_pushvalue(L, -1);
    lua_rawseti(L, dec->made, (lua_Integer)lua_rawlen(L, dec->made) + 1);
}

/* Classes of which only a part may have come. */
static void
forget_made(decoder *dec)
{
    lua_State *L = dec->L;

    if (lua_isnil(L, dec->made)) return;
    luaL_checkstack(L, 6, NULL);
    acl_codec_classes(L);
    int classes = lua_gettop(L);
    for (lua_Integer i = (lua_Integer)lua_rawlen(L, dec->made); i > 0; i--) {
        lua_rawgeti(L, dec->made, i);
        lua_pushvalue(L, -1);
        if (lua_rawget(L, classes) == LUA_TSTRING) { /* its name */
            lua_pushnil(L);
            lua_rawset(L, classes);
            lua_pushnil(L);
            lua_rawset(L, classes);
        }
        lua_settop(L, classes);
    }
}

/* What the class below is to have for a metatable; by it a class inherits. */
static int
decode_metatable(decoder *dec)
{
    int err = decode_value(dec);

    if (err != ACO_OK) return err;
    if (!lua_istable(dec->L, -1) && !lua_isnil(dec->L, -1))
        return fail(dec, "the metatable of a class expected");
    lua_setmetatable(dec->L, -2);
    return ACO_OK;
}

/* Replace the class's name, on top, by the class, which is made when there is none. */
static int
class_take(decoder *dec, bool *known)
{
    lua_State *L = dec->L;

    lua_pushvalue(L, -1);
    *known = class_find(L) == LUA_TTABLE;
    if (!*known) {
        lua_pop(L, 1);
        lua_pushvalue(L, -1);
        int err = ship(dec, "class", 1);
        if (err == ACO_OK && !lua_istable(L, -1)) err = fail(dec, "a class expected");
        if (err != ACO_OK) return err;
        note_made(dec);
    }
    lua_remove(L, -2);
    return ACO_OK;
}

/* A class that is new here gets its fields and its metatable; those of another are read and let go.
 */
static int
decode_class(decoder *dec, lua_Integer number)
{
    int top = lua_gettop(dec->L);
    bool known;

    int err = decode_name(dec);
    if (err == ACO_OK) err = class_take(dec, &known);
    if (err != ACO_OK) return err;
    number_is(dec, number);
    if (known) lua_newtable(dec->L);
    err = decode_into(dec);
    if (err == ACO_OK) err = decode_metatable(dec);
    if (err == ACO_OK) lua_settop(dec->L, top + 1);
    return err;
}

static int
decode_code_here(decoder *dec, lua_Integer number)
{
    aco_mp_item item;
    lua_Integer ignored;
    if (is_plain(dec)) return refuse_code(dec);
    int err = next(dec, &item);
    if (err != ACO_OK) return err;
    if (is_string(&item)) {
        lua_pushlstring(dec->L, (const char *)item.u.data, item.size);
        err = ship(dec, "find", 1);
        if (err == ACO_OK) number_is(dec, number);
        return err;
    }
    if (item.type != ACO_MP_ARRAY || item.size < 2 || item.size > 3)
        return fail(dec, "a function or a class expected");
    err = number_take(dec, &ignored);
    if (err != ACO_OK) return err;
    return item.size == 2 ? decode_function(dec, number) : decode_class(dec, number);
}

/* Dispatch ---------------------------------------------------------------------------------------
 */

/* The payload of an extension holds values of its own. */
static int
decode_inside(decoder *dec, const aco_mp_item *item, int (*decode)(decoder *, lua_Integer))
{
    aco_mp_reader rest = dec->reader;
    size_t owed = dec->owed;
    lua_Integer number;

    int err = deeper(dec);
    if (err == ACO_OK) err = number_take(dec, &number);
    if (err != ACO_OK) return err;
    dec->owed = 0; /* the payload has bytes of its own */
    dec->reader = (aco_mp_reader){item->u.data, item->u.data + item->size};
    err = decode(dec, number);
    dec->depth--;
    if (err == ACO_OK && dec->reader.at != dec->reader.end)
        err = fail(dec, "bytes are left inside a value");
    dec->reader = rest;
    dec->owed = owed;
    return err;
}

static int
decode_ext(decoder *dec, const aco_mp_item *item)
{
    switch (item->ext) {
    case ACL_EXT_REF:
        return decode_ref(dec, item);
    case ACL_EXT_INSTANCE:
        return decode_inside(dec, item, decode_instance_here);
    case ACL_EXT_CODE:
        return decode_inside(dec, item, decode_code_here);
    default:
        if (item->ext < 1 || item->ext > 4) return fail(dec, "an unknown extension type");
        return acl_handle_decode(dec->L, item->ext, item->u.data, item->size) ? ACO_OK
                                                                              : ACO_EPROTOCOL;
    }
}

/* Push a value that is neither a table nor an extension. */
static void
scalar_push(lua_State *L, const aco_mp_item *item)
{
    switch (item->type) {
    case ACO_MP_NIL:
        lua_pushnil(L);
        break;
    case ACO_MP_BOOL:
        lua_pushboolean(L, item->u.boolean);
        break;
    case ACO_MP_INT:
        lua_pushinteger(L, item->u.integer);
        break;
    case ACO_MP_FLOAT:
        lua_pushnumber(L, item->u.number);
        break;
    default:
        lua_pushlstring(L, (const char *)item->u.data, item->size);
    }
}

static int
decode_value(decoder *dec)
{
    aco_mp_item item;
    int err = next(dec, &item);

    if (err != ACO_OK) return err;
    switch (item.type) {
    case ACO_MP_ARRAY:
    case ACO_MP_MAP:
        return decode_table(dec, &item);
    case ACO_MP_EXT:
        return decode_ext(dec, &item);
    default:
        scalar_push(dec->L, &item);
        return ACO_OK;
    }
}

/* A value that is neither a table nor an extension, and nothing else: true, and it is pushed. */
static bool
plain_push(lua_State *L, const void *data, size_t size)
{
    aco_mp_reader reader = {data, (const uint8_t *)data + size};
    aco_mp_item item;

    if (size > ACL_CODEC_SIZE || aco_mp_next(&reader, &item) != ACO_OK || item.type > ACO_MP_BIN ||
        reader.at != reader.end)
        return false;
    scalar_push(L, &item);
    return true;
}

static int
decode(lua_State *L, const void *data, size_t size, bool foreign)
{
    int top = lua_gettop(L);
    decoder dec = {.L = L, .reader = {data, (const uint8_t *)data + size}, .foreign = foreign};

    luaL_checkstack(L, LUA_MINSTACK, NULL);
    if (plain_push(L, data, size)) return ACO_OK;
    if (size > ACL_CODEC_SIZE) {
        lua_pushfstring(L, "the message is larger than %d bytes", ACL_CODEC_SIZE);
        return ACO_ETOOLARGE;
    }
    lua_pushnil(L);
    dec.made = top + 1;
    if (has_refs(data, size)) {
        lua_newtable(L);
        dec.refs = top + 2;
    }
    int err = decode_value(&dec);
    if (err == ACO_OK && dec.reader.at != dec.reader.end)
        err = fail(&dec, "more follows its value");
    int value = lua_gettop(L);
    if (err != ACO_OK) forget_made(&dec);
    lua_settop(L, value);
    lua_replace(L, top + 1);
    lua_settop(L, top + 1);
    return err;
}

int
acl_decode(lua_State *L, const void *data, size_t size)
{
    return decode(L, data, size, false);
}

int
acl_decode_msg(lua_State *L, const aco_msg *msg)
{
    return decode(L, aco_msg_data(msg), aco_msg_size(msg), aco_msg_is_foreign(msg));
}
