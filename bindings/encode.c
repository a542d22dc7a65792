/* SPDX-License-Identifier: MIT */
/* encode.c -- a Lua value to MessagePack.
 *
 * The bytes are built in a block on the C stack, then in blocks that Lua owns, so that nothing is
 * lost when Lua raises. Arrays, maps, instances and code are numbered in the order in which they
 * begin; what is met again is written as its number. Most messages hold one table or none, and for
 * those no table of what was seen is made. */
#include "bindings/codec.h"
#include "bindings/place.h"
#include "bindings/remote.h"

#include <string.h>

#include "core/base/msgpack.h"

enum { FIRST_BLOCK = 512, EXT_HEAD = 6, SEEN_FIRST = 8 };

typedef struct encoder {
    lua_State *L;
    uint8_t *data, *at, *end;
    int block, seen, cells; /* stack indices; what is there is nil until needed */
    int classes;            /* of the table of classes */
    int root;               /* of the first numbered value */
    int depth, inside;      /* how deep we are, in tables and in functions */
    lua_Integer count;      /* numbered values so far */
    uint8_t first[FIRST_BLOCK];
} encoder;

static int encode_value(encoder *enc, int idx, const acl_place *where);

/* Refusals ---------------------------------------------------------------------------------------
 */

static int
refuse(encoder *enc, const acl_place *where, const char *what)
{
    lua_State *L = enc->L;

    luaL_checkstack(L, 4, NULL);
    acl_place_push(L, where);
    lua_pushfstring(L, "%s is %s, which cannot be sent", lua_tostring(L, -1), what);
    return ACO_EUNSENDABLE;
}

static int
refuse_type(encoder *enc, int idx, const acl_place *where)
{
    lua_State *L = enc->L;

    luaL_checkstack(L, 4, NULL);
    lua_pushfstring(L, "a %s", luaL_typename(L, idx));
    return refuse(enc, where, lua_tostring(L, -1));
}

static int
too_large(encoder *enc)
{
    luaL_checkstack(enc->L, 2, NULL);
    lua_pushfstring(enc->L, "the message is larger than %d bytes, or has more than %d tables",
                    ACL_CODEC_SIZE, ACL_CODEC_TABLES);
    return ACO_ETOOLARGE;
}

/* One level deeper; the caller goes up again where it succeeds. Both ends count the same levels:
 * arrays and maps, instances and code, but not the map in which an instance or a class has its
 * fields. */
static int
deeper(encoder *enc)
{
    luaL_checkstack(enc->L, LUA_MINSTACK, "a message is nested too deep");
    if (enc->depth++ < ACL_CODEC_DEPTH) return ACO_OK;
    lua_pushfstring(enc->L, "the message is nested more than %d deep", ACL_CODEC_DEPTH);
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

    lua_createtable(L, 0, SEEN_FIRST);
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
number_give(encoder *enc, int idx, bool open, const acl_place *where, bool *known)
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
encode_array(encoder *enc, int idx, lua_Integer count, const acl_place *up)
{
    lua_State *L = enc->L;
    acl_place where = {.up = up};
    int err = room(enc, ACO_MP_HEAD), value = lua_gettop(L) + 1;

    if (err != ACO_OK) return err;
    enc->at = aco_mp_array(enc->at, (uint32_t)count);
    for (where.index = 1; where.index <= count; where.index++) {
        lua_rawgeti(L, idx, where.index);
        err = encode_value(enc, value, &where);
        if (err != ACO_OK) return err;
        lua_pop(L, 1);
    }
    return ACO_OK;
}

static int
encode_pairs(encoder *enc, int idx, lua_Integer count, const acl_place *up)
{
    lua_State *L = enc->L;
    acl_place where = {.up = up};

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
encode_entries(encoder *enc, int idx, const acl_place *where)
{
    bool array;

    lua_Integer count = table_count(enc->L, idx, &array);
    if (count > ACL_CODEC_SIZE) return too_large(enc);
    if (array) return encode_array(enc, idx, count, where);
    int err = room(enc, ACO_MP_HEAD);
    if (err != ACO_OK) return err;
    enc->at = aco_mp_map(enc->at, (uint32_t)count);
    return encode_pairs(enc, idx, count, where);
}

static int
encode_plain(encoder *enc, int idx, const acl_place *where)
{
    bool known;
    int err = number_give(enc, idx, false, where, &known);

    return err != ACO_OK || known ? err : encode_entries(enc, idx, where);
}

/* Instances --------------------------------------------------------------------------------------
 */

/* The fields of an instance are the instance itself, or what __encode made of it. */
static int
encode_fields(encoder *enc, int idx, bool hooked, const acl_place *where)
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

/* Push the class's own __encode: like a metamethod, none is inherited. */
static bool
push_hook(lua_State *L, int idx)
{
    if (luaL_getmetafield(L, idx, "__encode") == LUA_TNIL) return false;
    if (!lua_isfunction(L, -1)) luaL_error(L, "the __encode of a class is no function");
    return true;
}

/* Stack: ... the class's name, and above it what __encode gave, or nothing. */
static int
encode_instance(encoder *enc, int idx, const acl_place *where)
{
    lua_State *L = enc->L;
    int name = lua_gettop(L);
    bool hooked = push_hook(L, idx), known;
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
encode_named(encoder *enc, int idx, const acl_place *where)
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
encode_cell(encoder *enc, int idx, const acl_place *where)
{
    bool known;

    if (lua_type(enc->L, idx) != LUA_TTABLE) return encode_value(enc, idx, where);
    int err = number_give(enc, idx, false, where, &known);
    if (err == ACO_OK && !known) err = room(enc, ACO_MP_HEAD);
    if (err != ACO_OK || known) return err;
    err = deeper(enc);
    if (lua_rawgeti(enc->L, idx, 1) == LUA_TNIL) {
        enc->at = aco_mp_map(enc->at, 0);
    } else if (err == ACO_OK) {
        enc->at = aco_mp_array(enc->at, 1);
        err = encode_value(enc, lua_gettop(enc->L), where);
    }
    enc->depth--;
    return err;
}

static int
encode_cells(encoder *enc, int descriptor, int cells, const acl_place *up)
{
    lua_State *L = enc->L;
    acl_place where = {.up = up, .descriptor = descriptor};
    lua_Integer count = (lua_Integer)lua_rawlen(L, cells);
    int err = number_take(enc), top = lua_gettop(L);

    if (err == ACO_OK) err = deeper(enc);
    if (err == ACO_OK) err = room(enc, ACO_MP_HEAD);
    if (err != ACO_OK) return err;
    enc->at = aco_mp_array(enc->at, (uint32_t)count);
    for (where.index = 1; where.index <= count; where.index++) {
        lua_rawgeti(L, cells, where.index);
        err = encode_cell(enc, top + 1, &where);
        if (err != ACO_OK) return err;
        lua_settop(L, top);
    }
    enc->depth--;
    return ACO_OK;
}

/* Push the descriptor of the function at idx and the list of its cells; or refuse it. */
static int
describe(encoder *enc, int idx, const acl_place *where)
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
    acl_place_push(L, where);
    lua_pushfstring(L, "%s cannot be sent: %s", lua_tostring(L, -1), lua_tostring(L, -2));
    return ACO_EUNSENDABLE;
}

/* A function: an array of its descriptor and its cells. */
static int
encode_function(encoder *enc, int idx, const acl_place *where)
{
    size_t start;
    bool known;

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

/* A class, whose name is on top: an array of name, fields and metatable, by which it inherits. */
static int
encode_class(encoder *enc, int idx, const acl_place *where)
{
    lua_State *L = enc->L;
    int name = lua_gettop(L);
    size_t start;
    bool known;
    int err = number_give(enc, idx, false, where, &known);

    if (err != ACO_OK || known) return err;
    push_class_fields(L, idx);
    if (!lua_getmetatable(L, idx)) lua_pushnil(L);
    err = ext_open(enc, ACL_EXT_CODE, &start);
    if (err == ACO_OK) err = room(enc, ACO_MP_HEAD);
    if (err == ACO_OK) err = number_take(enc);
    if (err != ACO_OK) return err;
    enc->at = aco_mp_array(enc->at, 3);
    enc->inside++;
    err = encode_string(enc, name);
    if (err == ACO_OK) err = number_take(enc);
    if (err == ACO_OK) err = encode_entries(enc, name + 1, where);
    if (err == ACO_OK) err = encode_value(enc, name + 2, where);
    enc->inside--;
    if (err == ACO_OK) ext_close(enc, start);
    return err;
}

/* Dispatch ---------------------------------------------------------------------------------------
 */

/* Replace the table on top by the name of the class it is; false, and it goes, when it is none. */
static bool
class_name(encoder *enc)
{
    if (lua_rawget(enc->L, enc->classes) == LUA_TSTRING) return true;
    lua_pop(enc->L, 1);
    return false;
}

static int
encode_table(encoder *enc, int idx, const acl_place *where)
{
    lua_State *L = enc->L;

    if (enc->inside > 0 && push_named(L, idx)) return encode_named(enc, idx, where);
    lua_pushvalue(L, idx);
    if (class_name(enc)) return encode_class(enc, idx, where);
    if (!lua_getmetatable(L, idx)) return encode_plain(enc, idx, where);
    if (class_name(enc)) return encode_instance(enc, idx, where);
    return refuse(enc, where, "a table with a metatable that asyncoro.class did not make");
}

static int
encode_userdata(encoder *enc, int idx, const acl_place *where)
{
    uint8_t payload[ACO_HANDLE_MAX];
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
encode_nested(encoder *enc, int idx, const acl_place *where,
              int (*encode)(encoder *, int, const acl_place *))
{
    int top = lua_gettop(enc->L), err = deeper(enc);

    if (err == ACO_OK) err = encode(enc, idx, where);
    enc->depth--;
    if (err == ACO_OK) lua_settop(enc->L, top);
    return err;
}

static int
encode_value(encoder *enc, int idx, const acl_place *where)
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

/* A value that fits into the first block for certain, and needs nothing of Lua. */
static bool
is_short(lua_State *L, int idx)
{
    switch (lua_type(L, idx)) {
    case LUA_TSTRING:
        return lua_rawlen(L, idx) <= FIRST_BLOCK - ACO_MP_HEAD;
    case LUA_TNUMBER:
    case LUA_TBOOLEAN:
    case LUA_TNIL:
        return true;
    default:
        return false;
    }
}

/* Encode the value at idx, an absolute index. What is above `top` then is the caller's to drop; of
 * an error its text alone is there. */
static int
encode_whole(encoder *enc, lua_State *L, int idx, int top)
{
    enc->L = L;
    enc->data = enc->at = enc->first;
    enc->end = enc->first + sizeof enc->first;
    if (is_short(L, idx)) return encode_value(enc, idx, NULL);
    luaL_checkstack(L, LUA_MINSTACK, NULL);
    lua_settop(L, top + 3);
    acl_codec_classes(L);
    enc->block = top + 1;
    enc->seen = top + 2;
    enc->cells = top + 3;
    enc->classes = top + 4;
    enc->root = enc->depth = enc->inside = 0;
    enc->count = 0;
    int err = encode_value(enc, idx, NULL);
    if (err != ACO_OK) {
        lua_replace(L, top + 1);
        lua_settop(L, top + 1);
    }
    return err;
}

int
acl_encode_for(lua_State *L, int idx, bool (*take)(void *arg, const void *data, size_t size),
               void *arg, aco_msg **msg)
{
    encoder enc;
    int top = lua_gettop(L);
    int err = encode_whole(&enc, L, lua_absindex(L, idx), top);

    if (err != ACO_OK) return err;
    size_t size = (size_t)(enc.at - enc.data);
    bool taken = take != NULL && take(arg, enc.data, size);
    *msg = taken ? NULL : aco_msg_new(enc.data, size);
    lua_settop(L, top);
    if (*msg == NULL && !taken) luaL_error(L, "not enough memory");
    return ACO_OK;
}

int
acl_encode(lua_State *L, int idx, aco_msg **msg)
{
    return acl_encode_for(L, idx, NULL, NULL, msg);
}

int
acl_encode_string(lua_State *L, int idx)
{
    encoder enc;
    int top = lua_gettop(L);
    int err = encode_whole(&enc, L, lua_absindex(L, idx), top);

    if (err != ACO_OK) return err;
    luaL_checkstack(L, 1, NULL);
    lua_pushlstring(L, (const char *)enc.data, (size_t)(enc.at - enc.data));
    lua_insert(L, top + 1);
    lua_settop(L, top + 1);
    return ACO_OK;
}
