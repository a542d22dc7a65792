/* SPDX-License-Identifier: MIT */
/* decode.c -- MessagePack to a Lua value. The bytes may come from anybody: every count is checked
 * against the bytes that are left, and tables grow with what is really there. */
#include "bindings/codec.h"
#include "bindings/remote.h"

#include <math.h>
#include <string.h>

#include "core/base/msgpack.h"

/* Room made at once for a table, whatever its count says. */
enum { TABLE_FIRST = 4096 };

typedef struct decoder {
    lua_State *L;
    aco_mp_reader reader;
    int refs; /* stack index of number -> value; 0 when the message refers to nothing */
    int depth;
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
        int err = decode_value(dec);
        if (err != ACO_OK) return err;
        if (!is_key(L, -1)) return fail(dec, "a key that is nil or no number");
        lua_pushvalue(L, -1);
        if (lua_rawget(L, -3) != LUA_TNIL) return fail(dec, "a key comes twice");
        lua_pop(L, 1);
        err = decode_value(dec);
        if (err != ACO_OK) return err;
        lua_rawset(L, -3);
    }
    return ACO_OK;
}

/* Fill the table on top. */
static int
decode_entries(decoder *dec, const aco_mp_item *item)
{
    if (dec->depth == ACL_CODEC_DEPTH) return fail(dec, "values nested too deep");
    luaL_checkstack(dec->L, 12, "a message is nested too deep");
    dec->depth++;
    int err =
        item->type == ACO_MP_ARRAY ? decode_array(dec, item->size) : decode_pairs(dec, item->size);
    dec->depth--;
    return err;
}

static void
table_new(lua_State *L, const aco_mp_item *item)
{
    int count = item->size < TABLE_FIRST ? (int)item->size : TABLE_FIRST;

    if (item->type == ACO_MP_ARRAY)
        lua_createtable(L, count, 0);
    else
        lua_createtable(L, 0, count);
}

static int
decode_table(decoder *dec, const aco_mp_item *item)
{
    lua_Integer number;
    int err = number_take(dec, &number);

    if (err != ACO_OK) return err;
    table_new(dec->L, item);
    number_is(dec, number);
    return decode_entries(dec, item);
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
    err = number_take(dec, &number);
    if (err != ACO_OK) return err;
    number_is(dec, number);
    return decode_entries(dec, &item);
}

/* Instances --------------------------------------------------------------------------------------
 */

static int
decode_name(decoder *dec)
{
    aco_mp_item item;
    int err = next(dec, &item);

    if (err != ACO_OK) return err;
    if (item.type != ACO_MP_STR) return fail(dec, "a name expected");
    lua_pushlstring(dec->L, (const char *)item.u.data, item.size);
    return ACO_OK;
}

/* Call a function of the shipper with the n values on top; one result. What it refuses is said. */
static int
ship(decoder *dec, const char *what, int n)
{
    lua_State *L = dec->L;

    luaL_checkstack(L, 6, NULL);
    if (!acl_codec_shipper(L, what)) return fail(dec, "code, which cannot be loaded here");
    lua_insert(L, -1 - n);
    if (lua_pcall(L, n, 2, 0) != LUA_OK) {
        lua_pushfstring(L, "malformed message: %s", luaL_tolstring(L, -1, NULL));
        return ACO_EPROTOCOL;
    }
    if (lua_isnil(L, -2)) return ACO_EPROTOCOL; /* its message is on top */
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

/* The value on top becomes what the class's __decode, below it, makes of it. */
static int
decode_hooked(decoder *dec, const char *name)
{
    int err = decode_value(dec);

    if (err != ACO_OK) return err;
    if (lua_pcall(dec->L, 1, 1, 0) == LUA_OK) return ACO_OK;
    lua_pushfstring(dec->L, "__decode of class %s: %s", name, luaL_tolstring(dec->L, -1, NULL));
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
        err = ship(dec, "known_class", 1);
        if (err != ACO_OK) return err;
    }
    lua_getfield(L, class + 1, "__decode");
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

/* A class that is new here is made, and gets its fields; of another they are read and let go. */
static int
decode_class(decoder *dec, lua_Integer number)
{
    lua_State *L = dec->L;
    int err = decode_name(dec), class = lua_gettop(L);

    if (err != ACO_OK) return err;
    lua_pushvalue(L, class);
    bool known = class_find(L) == LUA_TTABLE;
    if (!known) {
        lua_pop(L, 1);
        lua_pushvalue(L, class);
        err = ship(dec, "class", 1);
        if (err != ACO_OK) return err;
    }
    lua_replace(L, class);
    number_is(dec, number);
    if (known) lua_newtable(L);
    err = decode_into(dec);
    lua_settop(L, err == ACO_OK ? class : lua_gettop(L));
    if (err == ACO_OK) err = decode_value(dec);
    if (err != ACO_OK) return err;
    if (!known && lua_istable(L, -1)) { /* what it inherits from */
        lua_createtable(L, 0, 1);
        lua_insert(L, -2);
        lua_setfield(L, -2, "__index");
        lua_setmetatable(L, class);
    }
    lua_settop(L, class);
    return ACO_OK;
}

static int
decode_code_here(decoder *dec, lua_Integer number)
{
    aco_mp_item item;
    lua_Integer ignored;
    int err = next(dec, &item);

    if (err != ACO_OK) return err;
    if (item.type == ACO_MP_STR) {
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
    lua_Integer number;

    if (dec->depth == ACL_CODEC_DEPTH) return fail(dec, "values nested too deep");
    luaL_checkstack(dec->L, 12, "a message is nested too deep");
    int err = number_take(dec, &number);
    if (err != ACO_OK) return err;
    dec->depth++;
    dec->reader = (aco_mp_reader){item->u.data, item->u.data + item->size};
    err = decode(dec, number);
    dec->depth--;
    if (err == ACO_OK && dec->reader.at != dec->reader.end)
        err = fail(dec, "bytes are left inside a value");
    dec->reader = rest;
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

static int
decode_value(decoder *dec)
{
    lua_State *L = dec->L;
    aco_mp_item item;
    int err = next(dec, &item);

    if (err != ACO_OK) return err;
    switch (item.type) {
    case ACO_MP_NIL:
        lua_pushnil(L);
        return ACO_OK;
    case ACO_MP_BOOL:
        lua_pushboolean(L, item.u.boolean);
        return ACO_OK;
    case ACO_MP_INT:
        lua_pushinteger(L, item.u.integer);
        return ACO_OK;
    case ACO_MP_FLOAT:
        lua_pushnumber(L, item.u.number);
        return ACO_OK;
    case ACO_MP_STR:
    case ACO_MP_BIN:
        lua_pushlstring(L, (const char *)item.u.data, item.size);
        return ACO_OK;
    case ACO_MP_ARRAY:
    case ACO_MP_MAP:
        return decode_table(dec, &item);
    default:
        return decode_ext(dec, &item);
    }
}

int
acl_decode(lua_State *L, const void *data, size_t size)
{
    int top = lua_gettop(L);
    decoder dec = {.L = L, .reader = {data, (const uint8_t *)data + size}};

    luaL_checkstack(L, 12, NULL);
    if (size > ACL_CODEC_SIZE) {
        lua_pushfstring(L, "the message is larger than %d bytes", ACL_CODEC_SIZE);
        return ACO_ETOOLARGE;
    }
    if (has_refs(data, size)) {
        lua_newtable(L);
        dec.refs = lua_gettop(L);
    }
    int err = decode_value(&dec);
    if (err == ACO_OK && dec.reader.at != dec.reader.end)
        err = fail(&dec, "more follows its value");
    if (lua_gettop(L) > top + 1) lua_replace(L, top + 1);
    lua_settop(L, top + 1);
    return err;
}
