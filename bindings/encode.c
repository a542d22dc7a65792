/* SPDX-License-Identifier: MIT */
/* encode.c -- a Lua value to MessagePack.
 *
 * The bytes are built in a block on the C stack, then in blocks that Lua owns, so that nothing is
 * lost when Lua raises. Arrays, maps, instances and code are numbered in the order in which they
 * begin; what is met again is written as its number. Most messages hold one table or none, and for
 * those no table of what was seen is made. */
#include "bindings/codec.h"
#include "bindings/remote.h"

#include <string.h>

#include "core/base/msgpack.h"

enum { FIRST_BLOCK = 512, EXT_HEAD = 6 };

/* Where in the value we are, for the text of a refusal: a chain on the C stack. */
typedef struct place {
    const struct place *up;
    int key;        /* stack index of the key; 0: `index` is the key */
    int descriptor; /* stack index of a function's descriptor: `index` is one of its upvalues */
    lua_Integer index;
} place;

typedef struct encoder {
    lua_State *L;
    uint8_t *data, *at, *end;
    int block, seen, cells; /* stack indices; what is there is nil until needed */
    int root;               /* of the first numbered value */
    int depth, inside;      /* how deep we are, in tables and in functions */
    lua_Integer count;      /* numbered values so far */
    uint8_t first[FIRST_BLOCK];
} encoder;

static int encode_value(encoder *enc, int idx, const place *where);

/* Refusals ---------------------------------------------------------------------------------------
 */

static bool
is_name(lua_State *L, int idx)
{
    if (lua_type(L, idx) != LUA_TSTRING) return false;
    const char *s = lua_tostring(L, idx);
    size_t size = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");
    return size > 0 && size == lua_rawlen(L, idx) && (*s < '0' || *s > '9');
}

static void
push_key(lua_State *L, const place *where)
{
    if (where->key == 0)
        lua_pushfstring(L, "[%I]", (LUAI_UACINT)where->index);
    else if (is_name(L, where->key))
        lua_pushfstring(L, ".%s", lua_tostring(L, where->key));
    else if (lua_type(L, where->key) == LUA_TSTRING)
        lua_pushfstring(L, "[\"%s\"]", lua_tostring(L, where->key));
    else
        lua_pushfstring(L, "[%s]", luaL_tolstring(L, where->key, NULL));
}

static void
push_upvalue(lua_State *L, const place *where)
{
    lua_getfield(L, where->descriptor, "name");
    lua_getfield(L, where->descriptor, "upvalues");
    lua_geti(L, -1, where->index);
    const char *name = lua_tostring(L, -3), *upvalue = lua_tostring(L, -1);
    lua_pushfstring(L, "%s: upvalue `%s`", name != NULL ? name : "a function",
                    upvalue != NULL ? upvalue : "?");
}

/* Push the path to a place, as Lua code would write it; what leads to a function is left out. */
static void
push_path(lua_State *L, const place *where)
{
    luaL_checkstack(L, 8, NULL);
    int top = lua_gettop(L);
    if (where == NULL) {
        lua_pushliteral(L, "message");
        return;
    }
    if (where->descriptor != 0) {
        push_upvalue(L, where);
    } else {
        push_path(L, where->up);
        int path = lua_gettop(L);
        push_key(L, where);
        lua_pushfstring(L, "%s%s", lua_tostring(L, path), lua_tostring(L, -1));
    }
    lua_replace(L, top + 1);
    lua_settop(L, top + 1);
}

static int
refuse(encoder *enc, const place *where, const char *what)
{
    lua_State *L = enc->L;

    push_path(L, where);
    lua_pushfstring(L, "%s is %s, which cannot be sent", lua_tostring(L, -1), what);
    return ACO_EUNSENDABLE;
}

static int
refuse_type(encoder *enc, int idx, const place *where)
{
    lua_State *L = enc->L;

    luaL_checkstack(L, 4, NULL);
    lua_pushfstring(L, "a %s", luaL_typename(L, idx));
    return refuse(enc, where, lua_tostring(L, -1));
}

static int
too_large(encoder *enc)
{
    lua_pushfstring(enc->L, "the message is larger than %d bytes, or has more than %d tables",
                    ACL_CODEC_SIZE, ACL_CODEC_TABLES);
    return ACO_ETOOLARGE;
}

/* Bytes ------------------------------------------------------------------------------------------
 */

static int
room(encoder *enc, size_t size)
{
    size_t used = (size_t)(enc->at - enc->data), capacity = (size_t)(enc->end - enc->data);

    if (ACO_LIKELY(size <= capacity - used)) return ACO_OK;
    if (size > ACL_CODEC_SIZE || used > ACL_CODEC_SIZE - size) return too_large(enc);
    while (capacity < used + size)
        capacity *= 2;
    uint8_t *data = lua_newuserdatauv(enc->L, capacity, 0);
    memcpy(data, enc->data, used);
    lua_replace(enc->L, enc->block);
    enc->data = data;
    enc->at = data + used;
    enc->end = data + capacity;
    return ACO_OK;
}

static int
encode_string(encoder *enc, int idx)
{
    size_t size;
    const char *text = lua_tolstring(enc->L, idx, &size);

    if (size > ACL_CODEC_SIZE) return too_large(enc);
    int err = room(enc, size + ACO_MP_HEAD);
    if (err != ACO_OK) return err;
    if (aco_utf8_valid((const uint8_t *)text, size))
        enc->at = aco_mp_str(enc->at, (uint32_t)size);
    else
        enc->at = aco_mp_bin(enc->at, (uint32_t)size);
    memcpy(enc->at, text, size);
    enc->at += size;
    return ACO_OK;
}

/* An extension value whose size is known when it ends; where it begins is kept as an offset, since
 * the block moves. */
static int
ext_open(encoder *enc, int type, size_t *start)
{
    int err = room(enc, EXT_HEAD);

    if (err != ACO_OK) return err;
    *start = (size_t)(enc->at - enc->data);
    enc->at = aco_mp_ext_open(enc->at, (int8_t)type);
    return ACO_OK;
}

static void
ext_close(encoder *enc, size_t start)
{
    uint8_t *head = enc->data + start;

    aco_mp_ext_size(head, (uint32_t)(enc->at - head - EXT_HEAD));
}

/* Numbers of values ------------------------------------------------------------------------------
 */

static int
number_take(encoder *enc)
{
    if (++enc->count > ACL_CODEC_TABLES) return too_large(enc);
    return ACO_OK;
}

static void
seen_make(encoder *enc)
{
    lua_State *L = enc->L;

    lua_newtable(L);
    if (enc->count > 0) {
        lua_pushvalue(L, enc->root);
        lua_pushinteger(L, 0);
        lua_rawset(L, -3);
    }
    lua_replace(L, enc->seen);
}

static int
write_ref(encoder *enc, lua_Integer number)
{
    int err = room(enc, EXT_HEAD + 4);

    if (err != ACO_OK) return err;
    enc->at = aco_mp_ext(enc->at, ACL_EXT_REF, 4);
    for (int shift = 24; shift >= 0; shift -= 8)
        *enc->at++ = (uint8_t)(number >> shift);
    return ACO_OK;
}

/* Give the value at idx its number; or, when it has one, write that. `open`: a value that cannot be
 * referred to before it has ended; see seen_close. */
static int
number_give(encoder *enc, int idx, bool open, const place *where, bool *known)
{
    lua_State *L = enc->L;

    *known = false;
    if (enc->count == 0 && !open) {
        enc->root = idx;
        return number_take(enc);
    }
    if (lua_isnil(L, enc->seen)) seen_make(enc);
    lua_pushvalue(L, idx);
    int type = lua_rawget(L, enc->seen);
    lua_Integer number = lua_tointeger(L, -1);
    lua_pop(L, 1);
    if (type == LUA_TBOOLEAN)
        return refuse(enc, where, "part of a cycle through a value with __encode");
    if (type == LUA_TNUMBER) {
        *known = true;
        return write_ref(enc, number);
    }
    lua_pushvalue(L, idx);
    if (open)
        lua_pushboolean(L, 0);
    else
        lua_pushinteger(L, enc->count);
    lua_rawset(L, enc->seen);
    return number_take(enc);
}

static void
seen_close(encoder *enc, int idx, lua_Integer number)
{
    lua_pushvalue(enc->L, idx);
    lua_pushinteger(enc->L, number);
    lua_rawset(enc->L, enc->seen);
}

/* Tables -----------------------------------------------------------------------------------------
 */

/* How many entries; *array says whether the keys are 1..n. */
static lua_Integer
table_count(lua_State *L, int idx, bool *array)
{
    lua_Integer length = (lua_Integer)lua_rawlen(L, idx), count = 0;
    bool only = length > 0;

    lua_pushnil(L);
    while (lua_next(L, idx)) {
        lua_pop(L, 1);
        count++;
        if (!only) continue;
        lua_Integer key = lua_isinteger(L, -1) ? lua_tointeger(L, -1) : 0;
        only = key >= 1 && key <= length;
    }
    *array = only && count == length;
    return count;
}

static int
encode_array(encoder *enc, int idx, lua_Integer count, const place *up)
{
    lua_State *L = enc->L;
    place where = {.up = up};
    int err = room(enc, ACO_MP_HEAD);

    if (err != ACO_OK) return err;
    enc->at = aco_mp_array(enc->at, (uint32_t)count);
    for (where.index = 1; where.index <= count; where.index++) {
        lua_rawgeti(L, idx, where.index);
        err = encode_value(enc, lua_gettop(L), &where);
        if (err != ACO_OK) return err;
        lua_pop(L, 1);
    }
    return ACO_OK;
}

static int
encode_pairs(encoder *enc, int idx, lua_Integer count, const place *up)
{
    lua_State *L = enc->L;
    place where = {.up = up};

    lua_pushnil(L);
    where.key = lua_gettop(L);
    while (lua_next(L, idx)) {
        if (count-- == 0) break;
        int err = encode_value(enc, where.key, &where);
        if (err == ACO_OK) err = encode_value(enc, where.key + 1, &where);
        if (err != ACO_OK) return err;
        lua_settop(L, where.key);
    }
    if (count != 0) return luaL_error(L, "a table was changed while it was encoded");
    return ACO_OK;
}

/* The entries of a table that has its number. */
static int
encode_entries(encoder *enc, int idx, const place *where)
{
    bool array;

    luaL_checkstack(enc->L, 10, "a message is nested too deep");
    lua_Integer count = table_count(enc->L, idx, &array);
    if (count > ACL_CODEC_SIZE) return too_large(enc);
    if (array) return encode_array(enc, idx, count, where);
    int err = room(enc, ACO_MP_HEAD);
    if (err != ACO_OK) return err;
    enc->at = aco_mp_map(enc->at, (uint32_t)count);
    return encode_pairs(enc, idx, count, where);
}

static int
encode_plain(encoder *enc, int idx, const place *where)
{
    bool known;
    int err = number_give(enc, idx, false, where, &known);

    return err != ACO_OK || known ? err : encode_entries(enc, idx, where);
}

/* Instances --------------------------------------------------------------------------------------
 */

/* The fields of an instance are the instance itself, or what __encode made of it. */
static int
encode_fields(encoder *enc, int idx, bool hooked, const place *where)
{
    int err;

    if (hooked) {
        err = encode_value(enc, idx, where);
    } else {
        err = number_take(enc);
        if (err == ACO_OK) err = encode_entries(enc, idx, where);
    }
    return err;
}

/* Stack: ... the class's name, and above it what __encode gave, or nothing. */
static int
encode_instance(encoder *enc, int idx, const place *where)
{
    lua_State *L = enc->L;
    int name = lua_gettop(L);
    bool hooked = luaL_getmetafield(L, idx, "__encode") != LUA_TNIL, known;
    lua_Integer number = enc->count;
    size_t start;

    int err = number_give(enc, idx, hooked, where, &known);
    if (err != ACO_OK || known) return err;
    if (hooked) {
        lua_pushvalue(L, idx);
        lua_call(L, 1, 1);
    }
    err = ext_open(enc, ACL_EXT_INSTANCE, &start);
    if (err == ACO_OK) err = encode_string(enc, name);
    if (err == ACO_OK) err = encode_fields(enc, hooked ? lua_gettop(L) : idx, hooked, where);
    if (err != ACO_OK) return err;
    ext_close(enc, start);
    if (hooked) seen_close(enc, idx, number);
    return ACO_OK;
}

/* Code -------------------------------------------------------------------------------------------
 */

/* Push the name under which the value at idx is known everywhere ("string.format"); false, and
 * nothing pushed, when it has none. */
static bool
push_named(lua_State *L, int idx)
{
    if (!acl_codec_shipper(L, "named")) return false;
    lua_pushvalue(L, idx);
    lua_call(L, 1, 1);
    if (lua_type(L, -1) == LUA_TSTRING) return true;
    lua_pop(L, 1);
    return false;
}

/* A value that stands for its name, which is on top. */
static int
encode_named(encoder *enc, int idx, const place *where)
{
    size_t start;
    bool known;
    int name = lua_gettop(enc->L);
    int err = number_give(enc, idx, false, where, &known);

    if (err != ACO_OK || known) return err;
    err = ext_open(enc, ACL_EXT_CODE, &start);
    if (err == ACO_OK) err = encode_string(enc, name);
    if (err == ACO_OK) ext_close(enc, start);
    return err;
}

/* The cell of an upvalue, at idx: a table with the value, or the word "_ENV". */
static int
encode_cell(encoder *enc, int idx, const place *where)
{
    bool known;

    if (lua_type(enc->L, idx) != LUA_TTABLE) return encode_value(enc, idx, where);
    int err = number_give(enc, idx, false, where, &known);
    if (err == ACO_OK && !known) err = room(enc, ACO_MP_HEAD);
    if (err != ACO_OK || known) return err;
    if (lua_rawgeti(enc->L, idx, 1) == LUA_TNIL) {
        enc->at = aco_mp_map(enc->at, 0);
        return ACO_OK;
    }
    enc->at = aco_mp_array(enc->at, 1);
    return encode_value(enc, lua_gettop(enc->L), where);
}

static int
encode_cells(encoder *enc, int descriptor, int cells, const place *up)
{
    lua_State *L = enc->L;
    place where = {.up = up, .descriptor = descriptor};
    lua_Integer count = (lua_Integer)lua_rawlen(L, cells);
    int err = number_take(enc), top = lua_gettop(L);

    if (err == ACO_OK) err = room(enc, ACO_MP_HEAD);
    if (err != ACO_OK) return err;
    enc->at = aco_mp_array(enc->at, (uint32_t)count);
    for (where.index = 1; where.index <= count; where.index++) {
        lua_rawgeti(L, cells, where.index);
        err = encode_cell(enc, top + 1, &where);
        if (err != ACO_OK) return err;
        lua_settop(L, top);
    }
    return ACO_OK;
}

/* Push the descriptor of the function at idx and the list of its cells; or refuse it. */
static int
describe(encoder *enc, int idx, const place *where)
{
    lua_State *L = enc->L;

    if (!acl_codec_shipper(L, "describe")) return refuse_type(enc, idx, where);
    if (lua_isnil(L, enc->cells)) {
        lua_newtable(L);
        lua_replace(L, enc->cells);
    }
    lua_pushvalue(L, idx);
    lua_pushvalue(L, enc->cells);
    lua_call(L, 2, 2);
    if (!lua_isnil(L, -2)) return ACO_OK;
    push_path(L, where);
    lua_pushfstring(L, "%s cannot be sent: %s", lua_tostring(L, -1), lua_tostring(L, -2));
    return ACO_EUNSENDABLE;
}

/* A function: an array of its descriptor and its cells. */
static int
encode_function(encoder *enc, int idx, const place *where)
{
    size_t start;
    bool known;

    luaL_checkstack(enc->L, 10, "a message is nested too deep");
    if (push_named(enc->L, idx)) return encode_named(enc, idx, where);
    int err = number_give(enc, idx, false, where, &known);
    if (err != ACO_OK || known) return err;
    err = describe(enc, idx, where);
    int cells = lua_gettop(enc->L);
    if (err == ACO_OK) err = ext_open(enc, ACL_EXT_CODE, &start);
    if (err == ACO_OK) err = number_take(enc);
    if (err != ACO_OK) return err;
    err = room(enc, ACO_MP_HEAD);
    if (err != ACO_OK) return err;
    enc->at = aco_mp_array(enc->at, 2);
    enc->inside++;
    err = encode_value(enc, cells - 1, where);
    if (err == ACO_OK) err = encode_cells(enc, cells - 1, cells, where);
    enc->inside--;
    if (err == ACO_OK) ext_close(enc, start);
    return err;
}

/* A copy of a class's own fields, without those that every class has. */
static void
push_class_fields(lua_State *L, int class)
{
    lua_newtable(L);
    lua_pushnil(L);
    while (lua_next(L, class)) {
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_rawset(L, -4);
    }
    lua_getfield(L, -1, "__index");
    bool usual = lua_rawequal(L, -1, class);
    lua_pop(L, 1);
    if (usual) {
        lua_pushnil(L);
        lua_setfield(L, -2, "__index");
    }
    lua_pushnil(L);
    lua_setfield(L, -2, "__name");
}

/* Push the class from which this one inherits, or nil. */
static void
push_class_parent(lua_State *L, int class)
{
    if (luaL_getmetafield(L, class, "__index") == LUA_TNIL) {
        lua_pushnil(L);
        return;
    }
    acl_codec_classes(L);
    lua_pushvalue(L, -2);
    if (lua_rawget(L, -2) != LUA_TSTRING) { /* not a class: the field itself stays behind */
        lua_pop(L, 3);
        lua_pushnil(L);
        return;
    }
    lua_pop(L, 2);
}

/* A class inside a function, whose name is on top: an array of name, fields and parent. */
static int
encode_class(encoder *enc, int idx, const place *where)
{
    lua_State *L = enc->L;
    int name = lua_gettop(L);
    size_t start;
    bool known;
    int err = number_give(enc, idx, false, where, &known);

    if (err != ACO_OK || known) return err;
    push_class_fields(L, idx);
    push_class_parent(L, idx);
    err = ext_open(enc, ACL_EXT_CODE, &start);
    if (err == ACO_OK) err = room(enc, ACO_MP_HEAD);
    if (err == ACO_OK) err = number_take(enc);
    if (err != ACO_OK) return err;
    enc->at = aco_mp_array(enc->at, 3);
    err = encode_string(enc, name);
    if (err == ACO_OK) err = number_take(enc);
    if (err == ACO_OK) err = encode_entries(enc, name + 1, where);
    if (err == ACO_OK) err = encode_value(enc, name + 2, where);
    if (err == ACO_OK) ext_close(enc, start);
    return err;
}

/* Dispatch ---------------------------------------------------------------------------------------
 */

/* Push the name of the class whose metatable is on top, which goes; false for none. */
static bool
push_class_name(lua_State *L)
{
    acl_codec_classes(L);
    lua_insert(L, -2);
    bool known = lua_rawget(L, -2) == LUA_TSTRING;
    lua_remove(L, -2);
    if (!known) lua_pop(L, 1);
    return known;
}

static int
encode_table(encoder *enc, int idx, const place *where)
{
    lua_State *L = enc->L;

    if (enc->inside > 0) {
        luaL_checkstack(L, 10, "a message is nested too deep");
        if (push_named(L, idx)) return encode_named(enc, idx, where);
        lua_pushvalue(L, idx);
        if (push_class_name(L)) return encode_class(enc, idx, where);
    }
    if (!lua_getmetatable(L, idx)) return encode_plain(enc, idx, where);
    if (push_class_name(L)) return encode_instance(enc, idx, where);
    return refuse(enc, where, "a table with a metatable that asyncoro.class did not make");
}

static int
encode_userdata(encoder *enc, int idx, const place *where)
{
    uint8_t payload[ACL_HANDLE_MAX];
    int type;
    size_t size = acl_handle_encode(enc->L, idx, &type, payload);

    if (size > 0) {
        int err = room(enc, EXT_HEAD + size);
        if (err != ACO_OK) return err;
        enc->at = aco_mp_ext(enc->at, (int8_t)type, (uint32_t)size);
        memcpy(enc->at, payload, size);
        enc->at += size;
        return ACO_OK;
    }
    luaL_checkstack(enc->L, 6, NULL);
    if (push_named(enc->L, idx)) return encode_named(enc, idx, where);
    return refuse_type(enc, idx, where);
}

static int
encode_number(encoder *enc, int idx)
{
    enc->at = lua_isinteger(enc->L, idx) ? aco_mp_int(enc->at, lua_tointeger(enc->L, idx))
                                         : aco_mp_float(enc->at, lua_tonumber(enc->L, idx));
    return ACO_OK;
}

/* What is above idx on return is the caller's to drop. */
static int
encode_nested(encoder *enc, int idx, const place *where,
              int (*encode)(encoder *, int, const place *))
{
    int top = lua_gettop(enc->L);

    if (enc->depth == ACL_CODEC_DEPTH) return refuse(enc, where, "nested too deep");
    enc->depth++;
    int err = encode(enc, idx, where);
    enc->depth--;
    if (err == ACO_OK) lua_settop(enc->L, top);
    return err;
}

static int
encode_value(encoder *enc, int idx, const place *where)
{
    int err = room(enc, ACO_MP_HEAD);

    if (err != ACO_OK) return err;
    switch (lua_type(enc->L, idx)) {
    case LUA_TNIL:
        enc->at = aco_mp_nil(enc->at);
        return ACO_OK;
    case LUA_TBOOLEAN:
        enc->at = aco_mp_bool(enc->at, lua_toboolean(enc->L, idx));
        return ACO_OK;
    case LUA_TNUMBER:
        return encode_number(enc, idx);
    case LUA_TSTRING:
        return encode_string(enc, idx);
    case LUA_TTABLE:
        return encode_nested(enc, idx, where, encode_table);
    case LUA_TFUNCTION:
        return encode_nested(enc, idx, where, encode_function);
    case LUA_TUSERDATA:
        return encode_nested(enc, idx, where, encode_userdata);
    default:
        return refuse_type(enc, idx, where);
    }
}

int
acl_encode(lua_State *L, int idx, aco_msg **msg)
{
    encoder enc;

    idx = lua_absindex(L, idx);
    int top = lua_gettop(L);
    luaL_checkstack(L, 10, NULL);
    lua_settop(L, top + 3);
    enc.L = L;
    enc.data = enc.at = enc.first;
    enc.end = enc.first + sizeof enc.first;
    enc.block = top + 1;
    enc.seen = top + 2;
    enc.cells = top + 3;
    enc.root = enc.depth = enc.inside = 0;
    enc.count = 0;
    int err = encode_value(&enc, idx, NULL);
    if (err != ACO_OK) {
        lua_replace(L, top + 1);
        lua_settop(L, top + 1);
        return err;
    }
    *msg = aco_msg_new(enc.data, (size_t)(enc.at - enc.data));
    lua_settop(L, top);
    if (*msg == NULL) luaL_error(L, "not enough memory");
    return ACO_OK;
}
