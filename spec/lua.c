/* SPDX-License-Identifier: MIT */
/* lua.c -- the least that can be called a stock Lua interpreter: `lua FILE [args]`.
 *
 * Sanitizer builds run the specs under it, because the system's interpreter has no sanitizer inside
 * and one that is preloaded would also be inherited by every shell that a spec starts.
 */
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>

static int
traceback(lua_State *L)
{
    luaL_traceback(L, L, luaL_tolstring(L, 1, NULL), 1);
    return 1;
}

static int
run(lua_State *L)
{
    int argc = (int)lua_tointeger(L, 1);
    char **argv = lua_touserdata(L, 2);

    luaL_openlibs(L);
    lua_createtable(L, argc, 1);
    for (int i = 0; i < argc; i++) {
        lua_pushstring(L, argv[i]);
        lua_rawseti(L, -2, i - 1);
    }
    lua_setglobal(L, "arg");
    lua_pushcfunction(L, traceback);
    if (luaL_loadfile(L, argv[1]) != LUA_OK) return lua_error(L);
    luaL_checkstack(L, argc, "arguments");
    for (int i = 2; i < argc; i++)
        lua_pushstring(L, argv[i]);
    if (lua_pcall(L, argc - 2, 0, 3) != LUA_OK) return lua_error(L);
    return 0;
}

int
main(int argc, char **argv)
{
    lua_State *L = luaL_newstate();

    if (L == NULL || argc < 2) {
        fputs(L == NULL ? "lua: not enough memory\n" : "usage: lua FILE [args]\n", stderr);
        return EXIT_FAILURE;
    }
    lua_pushcfunction(L, run);
    lua_pushinteger(L, argc);
    lua_pushlightuserdata(L, argv);
    int status = lua_pcall(L, 2, 0, 0);
    if (status != LUA_OK) fprintf(stderr, "lua: %s\n", lua_tostring(L, -1));
    lua_close(L);
    return status == LUA_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}
