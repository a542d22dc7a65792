/* SPDX-License-Identifier: MIT */
/* codec_fuzz.c -- hostile bytes as a Lua value: they decode or are refused; what has decoded can be
 * encoded, and decodes again. Classes and functions have stand-ins that run nothing of the input.
 */
#include "bindings/codec.h"
#include "bindings/state.h"
#include "core/base/error.h"
#include "spec/core/check.h"

#include <lauxlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct input {
    const uint8_t *data;
    size_t size;
} input;

/* Opened once: what one input leaves behind is garbage of the next. */
static lua_State *state;

/* Forget the classes that an input has made; how many entries that were. */
static int
forget_classes(lua_State *L)
{
    int count = 0;

    acl_codec_classes(L);
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
        const char *name = lua_tostring(L, lua_type(L, -2) == LUA_TSTRING ? -2 : -1);
        if (strcmp(name, "Point") == 0 || strcmp(name, "Hook") == 0) continue;
        lua_pushvalue(L, -2);
        lua_pushnil(L);
        lua_rawset(L, -5);
        count++;
    }
    lua_pop(L, 1);
    return count;
}

/* (input) Decode, encode, decode. */
static int
once(lua_State *L)
{
    const input *in = lua_touserdata(L, 1);
    aco_msg *msg = NULL;

    int err = acl_decode(L, in->data, in->size);
    CHECK(lua_gettop(L) == 2);
    if (err != ACO_OK) {
        CHECK((err == ACO_EPROTOCOL || err == ACO_ETOOLARGE) && lua_type(L, 2) == LUA_TSTRING);
        CHECK(forget_classes(L) == 0); /* no part of a message stays */
        return 0;
    }
    err = acl_encode(L, 2, &msg);
    if (err != ACO_OK) { /* a function whose parts were never set, a module's own value */
        CHECK((err == ACO_EUNSENDABLE || err == ACO_ETOOLARGE) && lua_gettop(L) == 3);
        CHECK(lua_type(L, 3) == LUA_TSTRING);
        return 0;
    }
    CHECK(lua_gettop(L) == 2);
    lua_settop(L, 1);
    forget_classes(L);
    err = acl_decode(L, aco_msg_data(msg), aco_msg_size(msg));
    if (err != ACO_OK) fprintf(stderr, "not again: %s\n", lua_tostring(L, -1));
    CHECK(err == ACO_OK);
    aco_msg_unref(msg);
    return 0;
}

static const char stand_ins[] =
    "local core = require 'asyncoro.core'\n"
    "local Point = {}\n"
    "Point.__index = Point\n"
    "core.set_class('Point', Point)\n"
    "local Hook = { __encode = function(self) return self.value end }\n"
    "function Hook.__decode(value)\n"
    "    if value == nil then error('a value expected') end\n"
    "    return setmetatable({ value = value }, Hook)\n"
    "end\n"
    "core.set_class('Hook', Hook)\n"
    "local described = setmetatable({}, { __mode = 'k' })\n"
    "local linked = setmetatable({}, { __mode = 'k' })\n"
    "core.set_shipper {\n"
    "    known_class = function(name) return nil, 'the class ' .. name .. ' is not known' end,\n"
    "    class = function(name)\n"
    "        local class = {}\n"
    "        class.__index = class\n"
    "        core.set_class(name, class)\n"
    "        return class\n"
    "    end,\n"
    "    named = function(value) return value == string.format and 'string:format' or nil end,\n"
    "    find = function(name)\n"
    "        if name == 'string:format' then return string.format end\n"
    "        return nil, name .. ' is not known'\n"
    "    end,\n"
    "    load = function(descriptor)\n"
    "        local text = descriptor.text\n"
    "        if type(text) ~= 'string' then return nil, 'a function without its text' end\n"
    "        local fn = function() return text end\n"
    "        described[fn] = descriptor\n"
    "        return fn\n"
    "    end,\n"
    "    link = function(fn, cells)\n"
    "        linked[fn] = cells\n"
    "        return fn\n"
    "    end,\n"
    "    describe = function(fn)\n"
    "        if linked[fn] then return described[fn], linked[fn] end\n"
    "        return nil, 'its source was not found'\n"
    "    end,\n"
    "}\n";

static lua_State *
open_state(void)
{
    lua_State *L = acl_state_new((size_t)256 << 20);

    CHECK(L != NULL);
    lua_pushcfunction(L, acl_state_open_libs);
    CHECK(lua_pcall(L, 0, 0, 0) == LUA_OK);
    CHECK(luaL_dostring(L, stand_ins) == LUA_OK);
    return L;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    input in = {data, size};

    if (state == NULL) state = open_state();
    lua_pushcfunction(state, once);
    lua_pushlightuserdata(state, &in);
    int status = lua_pcall(state, 1, 0, 0);
    CHECK(status == LUA_OK || status == LUA_ERRMEM); /* nothing else is raised */
    lua_settop(state, 0);
    forget_classes(state);
    return 0;
}
