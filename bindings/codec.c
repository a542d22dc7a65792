/* SPDX-License-Identifier: MIT */
#include "bindings/codec.h"

/* Keys in the registry. */
static const char classes_key = 0, shipper_key = 0;

void
acl_codec_classes(lua_State *L)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &classes_key);
}

bool
acl_codec_shipper(lua_State *L, const char *what)
{
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &shipper_key) == LUA_TTABLE &&
        lua_getfield(L, -1, what) == LUA_TFUNCTION) {
        lua_remove(L, -2);
        return true;
    }
    lua_settop(L, -2);
    return false;
}

/* set_shipper{named =, describe =, load =, link =} */
static int
set_shipper(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &shipper_key);
    return 0;
}

/* set_class(name, metatable): instances of it travel under the name. */
static int
set_class(lua_State *L)
{
    luaL_checkstring(L, 1);
    luaL_checktype(L, 2, LUA_TTABLE);
    acl_codec_classes(L);
    lua_pushvalue(L, 2);
    lua_pushvalue(L, 1);
    lua_rawset(L, 3);
    lua_pushvalue(L, 1);
    lua_pushvalue(L, 2);
    lua_rawset(L, 3);
    return 0;
}

/* class_of(name or metatable): the other; nil when there is none. */
static int
class_of(lua_State *L)
{
    luaL_checkany(L, 1);
    lua_settop(L, 1);
    if (lua_isnil(L, 1)) return 1;
    acl_codec_classes(L);
    lua_pushvalue(L, 1);
    lua_rawget(L, -2);
    return 1;
}

/* encode(value): a string; or nil, message, code */
static int
codec_encode(lua_State *L)
{
    luaL_checkany(L, 1);
    lua_settop(L, 1);
    int err = acl_encode_string(L, 1);
    if (err == ACO_OK) return 1;
    lua_pushnil(L);
    lua_insert(L, -2);
    lua_pushstring(L, aco_err_word(err));
    return 3;
}

/* decode(string): the value; or nil, message, code */
static int
codec_decode(lua_State *L)
{
    size_t size;
    const char *data = luaL_checklstring(L, 1, &size);

    lua_settop(L, 1);
    int err = acl_decode(L, data, size);
    if (err == ACO_OK) return 1;
    lua_pushnil(L);
    lua_insert(L, -2);
    lua_pushstring(L, aco_err_word(err));
    return 3;
}

void
acl_open_codec(lua_State *L)
{
    static const luaL_Reg funcs[] = {{"encode", codec_encode},     {"decode", codec_decode},
                                     {"set_class", set_class},     {"class_of", class_of},
                                     {"set_shipper", set_shipper}, {NULL, NULL}};

    lua_newtable(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &classes_key);
    luaL_setfuncs(L, funcs, 0);
}
