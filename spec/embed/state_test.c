/* SPDX-License-Identifier: MIT */
/* state_test.c -- runtimes in Lua states that belong to the program around. */
#include "embed.h"

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

/* A library of the program's: a counter. */
static int
l_count(lua_State *L)
{
    lua_Integer n = lua_tointeger(L, lua_upvalueindex(1)) + 1;

    lua_pushinteger(L, n);
    lua_copy(L, -1, lua_upvalueindex(1));
    return 1;
}

/* It calls back. */
static int
l_twice(lua_State *L)
{
    lua_pushvalue(L, 1);
    lua_call(L, 0, 0);
    lua_pushvalue(L, 1);
    lua_call(L, 0, 0);
    return 0;
}

static lua_State *
state_new(void)
{
    lua_State *L = luaL_newstate();

    CHECK(L != NULL);
    luaL_openlibs(L);
    lua_pushinteger(L, 0);
    lua_pushcclosure(L, l_count, 1);
    lua_setglobal(L, "count");
    lua_register(L, "twice", l_twice);
    return L;
}

static const char script[] =
    "local a = require 'asyncoro'\n"
    "assert(count() == (before or 0) + 1)\n"
    "local c = a.spawn(function() a.sleep(0.001) return count() end)\n"
    "local ok, n = c:finish()\n"
    "assert(ok and n == (before or 0) + 2)\n"
    "local fine, why = pcall(twice, function() a.sleep(0.001) end)\n"
    "assert(not fine and why:find('cannot wait inside a function called by', 1, true), why)\n"
    "assert(select(2, pcall(twice, function() error('mine', 0) end)) == 'mine')\n"
    "kept = c\n"
    "before = (before or 0) + 2\n";

/* The state lives on, with the engine that stock Lua would have. */
static void
lives_on(void)
{
    lua_State *L = state_new();
    told t;
    asyncoro_options options = options_for(&t);

    options.lua = L;
    for (int i = 0; i < 3; i++) {
        lua_pushliteral(L, "mine");
        asyncoro *rt = loaded(&options, script);
        CHECK(asyncoro_lua(rt) == L);
        CHECK(asyncoro_new(&options) == NULL); /* one runtime in a state */
        CHECK(strstr(t.text, "another runtime uses this Lua state") != NULL);
        if (asyncoro_run(rt, 0, NULL) != ASYNCORO_FINISHED) puts(asyncoro_last_error(rt));
        CHECK(asyncoro_result(rt) == ASYNCORO_FINISHED);
        CHECK(asyncoro_close(rt) == ASYNCORO_OK);
        CHECK(lua_gettop(L) == i + 1 && strcmp(lua_tostring(L, -1), "mine") == 0);
        CHECK(luaL_dostring(L, "assert(kept:status() == 'finished')\n"
                               "local a = require 'asyncoro'\n"
                               "assert(a.run(function() a.sleep(0.001) return 5 end) == 5)\n"
                               "assert(not pcall(a.run, error, 'x'))\n") == LUA_OK);
        t.text[0] = '\0';
    }
    lua_close(L);
}

/* The module was used before, with its own loop. */
static void
was_used(void)
{
    lua_State *L = state_new();
    told t;
    asyncoro_options options = options_for(&t);

    options.lua = L;
    asyncoro *rt = asyncoro_new(&options);
    CHECK(asyncoro_close(rt) == ASYNCORO_OK);
    CHECK(luaL_dostring(L, "local a = require 'asyncoro' a.run(function() a.yield() end)\n"
                           "a.spawn(print)") == LUA_OK);
    CHECK(asyncoro_new(&options) == NULL); /* a coro waits there for a program */
    CHECK(strstr(t.text, "asyncoro is in use in this Lua state") != NULL);
    lua_close(L);
}

static void
unusable(void)
{
    lua_State *L = luaL_newstate();
    told t;
    asyncoro_options options = options_for(&t);

    options.lua = L;
    CHECK(asyncoro_new(&options) == NULL);
    CHECK(strstr(t.text, "open its package library") != NULL);
    luaL_openlibs(L);
    options.alloc = lua_getallocf(L, &options.alloc_arg);
    CHECK(asyncoro_new(&options) == NULL);
    CHECK(strstr(t.text, "`alloc` is for a state of our own") != NULL);
    options.alloc = NULL;
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    lua_pushboolean(L, 1);
    lua_setfield(L, -2, "asyncoro.core");
    CHECK(asyncoro_new(&options) == NULL);
    CHECK(strstr(t.text, "another copy of asyncoro") != NULL);
    lua_close(L);
}

/* A limit on a state that is not ours, for as long as the runtime lives. */
static void
limited(void)
{
    lua_State *L = state_new();
    told t;
    asyncoro_options options = options_for(&t);
    void *ud, *ud_then;
    lua_Alloc alloc = lua_getallocf(L, &ud);

    options.lua = L;
    options.memory_limit = 4 << 20;
    CHECK(run_script(&options, "big = ('x'):rep(1 << 23)") == ASYNCORO_FAILED);
    CHECK(strstr(t.text, "not enough memory") != NULL);
    CHECK(lua_getallocf(L, &ud_then) == alloc && ud_then == ud);
    CHECK(luaL_dostring(L, "big = ('x'):rep(1 << 23)") == LUA_OK);
    lua_close(L);
}

/* Coros in the middle of something; the state is closed by its owner afterwards. */
static void
closed_in_the_middle(void)
{
    static const char waiting[] = "local a = require 'asyncoro'\n"
                                  "local function guard()\n"
                                  "  return setmetatable({}, {__close = function() count() end})\n"
                                  "end\n"
                                  "a.spawn(function() local g <close> = guard() a.sleep(99) end)\n"
                                  "a.spawn(function() a.shield(function()\n"
                                  "  local g <close> = guard() a.receive() end) end)\n"
                                  "local g <close> = guard()\n"
                                  "a.sleep(99)";
    lua_State *L = state_new();
    told t;
    asyncoro_options options = options_for(&t);

    options.lua = L;
    asyncoro *rt = loaded(&options, waiting);
    CHECK(asyncoro_start(rt, 0, NULL) == ASYNCORO_OK);
    for (int i = 0; i < 3; i++)
        CHECK(asyncoro_step(rt, 0) == 1);
    CHECK(asyncoro_close(rt) == ASYNCORO_OK);
    CHECK(luaL_dostring(L, "assert(count() == 4)\n"
                           "local s = require('asyncoro').stats()\n"
                           "assert(s.live == 0 and s.waiting == 0 and s.timers == 0)") == LUA_OK);
    lua_close(L);
}

/* A program that embeds and, in the same state, calls asyncoro.run itself. */
static void
both(void)
{
    lua_State *L = state_new();
    told t;
    asyncoro_options options = options_for(&t);

    options.lua = L;
    asyncoro *rt = loaded(&options, "local a = require 'asyncoro'\n"
                                    "assert(a.run(function() a.yield() return 3 end) == 3)\n"
                                    "a.sleep(99)");
    CHECK(luaL_dostring(L, "local a = require 'asyncoro'\n"
                           "local function fn() return a.sleep(0.001) or 4 end\n"
                           "return a.run({leash = false}, fn)") == LUA_OK);
    CHECK(lua_tointeger(L, -1) == 4);
    CHECK(asyncoro_start(rt, 0, NULL) == ASYNCORO_OK);
    CHECK(asyncoro_step(rt, 0) == 1);
    CHECK(luaL_dostring(L, "require('asyncoro').run(print)") != LUA_OK);
    CHECK(strstr(lua_tostring(L, -1), "a program is running already") != NULL);
    CHECK(asyncoro_close(rt) == ASYNCORO_OK);
    lua_close(L);
}

int
main(void)
{
    lives_on();
    was_used();
    unusable();
    limited();
    closed_in_the_middle();
    both();
    puts("ok");
    return 0;
}
