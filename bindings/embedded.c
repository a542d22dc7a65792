/* SPDX-License-Identifier: MIT */
#include "bindings/embedded.h"

#include <lauxlib.h>
#include <stddef.h>
#include <stdint.h>

struct embedded_file {
    const char *module, *chunkname;
    const unsigned char *text;
    size_t size;
};

#include "embedded_lua.h"

static int
embedded_load(lua_State *L)
{
    const struct embedded_file *file = lua_touserdata(L, lua_upvalueindex(1));

    if (luaL_loadbufferx(L, (const char *)file->text, file->size, file->chunkname, "t") != LUA_OK)
        return lua_error(L);
    lua_pushstring(L, file->module);
    lua_pushstring(L, file->chunkname + 1);
    lua_call(L, 2, 1);
    return 1;
}

void
acl_embedded_preload(lua_State *L)
{
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
    for (size_t i = 0; i < sizeof embedded_files / sizeof *embedded_files; i++) {
        lua_pushlightuserdata(L, (void *)(uintptr_t)&embedded_files[i]);
        lua_pushcclosure(L, embedded_load, 1);
        lua_setfield(L, -2, embedded_files[i].module);
    }
    lua_pop(L, 1);
}
