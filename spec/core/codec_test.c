/* SPDX-License-Identifier: MIT */
/* codec_test.c -- the stack of those who encode and decode; and the same values again and again,
 * each time with another allocation of Lua's failing: nothing may be lost, and the next time it
 * works. */
#include "bindings/codec.h"
#include "bindings/embedded.h"
#include "bindings/module.h"
#include "core/base/error.h"
#include "spec/core/check.h"

#include <lauxlib.h>
#include <lualib.h>
#include <string.h>

/* Allocations to go until one fails, with the one after it: Lua tries again when it has collected.
 */
typedef struct memory {
    long countdown;
    size_t used;
} memory;

enum { OFF = -100 };

static void *
allocate(void *ud, void *ptr, size_t osize, size_t nsize)
{
    memory *m = ud;

    if (ptr == NULL) osize = 0;
    if (nsize == 0) {
        free(ptr);
        m->used -= osize;
        return NULL;
    }
    if (nsize > osize && m->countdown > OFF && m->countdown-- <= 0 && m->countdown >= -2)
        return NULL;
    void *block = realloc(ptr, nsize);
    CHECK(block != NULL);
    m->used += nsize - osize;
    return block;
}

/* Its last expression is the value that is sent: all kinds, larger than the block on the C stack,
 * shared and cyclic, with code that the other end does not have. */
static const char make_value[] =
    "local asyncoro = require 'asyncoro'\n"
    "local Point = asyncoro.class 'Point'\n"
    "local Hook = asyncoro.class('Hook', { __encode = function(self) return { self.value } end })\n"
    "function Hook.__decode(list) return setmetatable({ value = list[1] }, Hook) end\n"
    "local shared = { 1, 2.5, 'text', '\\xff', true, false }\n"
    "local point = setmetatable({ x = shared }, Point)\n"
    "point.me = point\n"
    "local function get() return shared, point end\n"
    "local value = { shared, shared, point, setmetatable({ value = shared }, Hook), get, "
    "math.floor,\n"
    "    ('x'):rep(5000), Point, [{}] = {}, [-1] = 1 << 40 }\n"
    "value.me = value\n"
    "return value\n";

static int
open_all(lua_State *L)
{
    luaL_openlibs(L);
    acl_embedded_preload(L);
    luaL_requiref(L, "asyncoro.core", luaopen_asyncoro_core, 0);
    lua_pop(L, 1);
    if (luaL_dostring(L, make_value) != LUA_OK) return lua_error(L);
    return 1;
}

static lua_State *
open_state(memory *m)
{
    *m = (memory){.countdown = OFF};
    lua_State *L = lua_newstate(allocate, m);
    CHECK(L != NULL);
    lua_pushcfunction(L, open_all);
    int status = lua_pcall(L, 0, 1, 0);
    if (status != LUA_OK) fprintf(stderr, "%s\n", lua_tostring(L, -1));
    CHECK(status == LUA_OK && lua_istable(L, 1));
    return L;
}

/* (value) The stack has one value more than before, whatever comes of it. */
static int
encode_value(lua_State *L)
{
    aco_msg *msg;

    CHECK(acl_encode(L, 1, &msg) == ACO_OK);
    aco_msg_unref(msg);
    CHECK(lua_gettop(L) == 1);
    CHECK(acl_encode_string(L, 1) == ACO_OK && lua_gettop(L) == 2);
    return 1;
}

/* (bytes) */
static int
decode_value(lua_State *L)
{
    size_t size;
    const char *bytes = lua_tolstring(L, 1, &size);

    int err = acl_decode(L, bytes, size);
    CHECK(lua_gettop(L) == 2);
    if (err == ACO_OK) return 1;
    /* `load` gives what it lacks as a message, like the errors of a text. */
    CHECK(strstr(lua_tostring(L, 2), "not enough memory") != NULL);
    luaL_error(L, "again");
    return 0;
}

static void
test_stack(void)
{
    memory m;
    lua_State *L = open_state(&m);
    aco_msg *msg = NULL;

    lua_pushthread(L);
    CHECK(acl_encode(L, -1, &msg) == ACO_EUNSENDABLE && msg == NULL && lua_gettop(L) == 3);
    CHECK(strcmp(lua_tostring(L, 3), "message is a thread, which cannot be sent") == 0);
    lua_settop(L, 1);
    CHECK(acl_decode(L, "\x91\xc0\xc0", 3) == ACO_EPROTOCOL && lua_gettop(L) == 2);
    CHECK(lua_type(L, 2) == LUA_TSTRING);
    CHECK(acl_decode(L, "\xc0", 1) == ACO_OK && lua_gettop(L) == 3 && lua_isnil(L, 3));
    CHECK(acl_decode(L, "", 0) == ACO_EPROTOCOL);
    CHECK(acl_decode(L, "", (size_t)ACL_CODEC_SIZE + 1) == ACO_ETOOLARGE);
    lua_close(L);
    CHECK(m.used == 0);
}

/* Let each allocation fail that `what` makes of the value on top, which stays. */
static void
fail_each(lua_State *L, memory *m, lua_CFunction what)
{
    long n = 0;
    int status = LUA_ERRMEM;

    for (; status != LUA_OK; n++) {
        int top = lua_gettop(L);
        lua_pushcfunction(L, what);
        lua_pushvalue(L, top);
        lua_gc(L, LUA_GCCOLLECT);
        m->countdown = n;
        status = lua_pcall(L, 1, 1, 0);
        m->countdown = OFF;
        CHECK(status == LUA_OK || status == LUA_ERRMEM || status == LUA_ERRRUN);
        if (status == LUA_ERRRUN) CHECK(strcmp(lua_tostring(L, -1), "again") == 0);
        lua_settop(L, top + (status == LUA_OK));
    }
    CHECK(n > 10);
}

static void
test_memory(void)
{
    memory m;
    lua_State *L = open_state(&m);

    fail_each(L, &m, encode_value);
    fail_each(L, &m, decode_value);
    CHECK(lua_gettop(L) == 3 && lua_istable(L, 3));
    lua_getfield(L, 3, "me");
    CHECK(lua_rawequal(L, 3, 4));
    lua_close(L);
    CHECK(m.used == 0);
}

int
main(void)
{
    test_stack();
    test_memory();
    return 0;
}
