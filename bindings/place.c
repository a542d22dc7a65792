/* SPDX-License-Identifier: MIT */
#include "bindings/place.h"

#include <string.h>

#include "core/base/msgpack.h"

/* Of a long path so many steps at each end are written; of a long key so many bytes. */
enum { STEPS = 8, KEY_BYTES = 40 };

static bool
is_keyword(const char *word)
{
    static const char words[] = " and break do else elseif end false for function goto if in local "
                                "nil not or repeat return then true until while ";
    size_t size = strlen(word);

    for (const char *at = words; (at = strstr(at, word)) != NULL; at++)
        if (at[-1] == ' ' && at[size] == ' ') return true;
    return false;
}

static bool
is_name(const char *text, size_t size)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";

    return size > 0 && size <= KEY_BYTES && strspn(text, letters) == size &&
           (*text < '0' || *text > '9') && !is_keyword(text);
}

static void
add_byte(luaL_Buffer *out, uint8_t byte, bool plain)
{
    if (byte == '"' || byte == '\\') {
        luaL_addchar(out, '\\');
    } else if (byte < ' ' || byte == 0x7f || (byte > 0x7f && !plain)) {
        luaL_addchar(out, '\\');
        luaL_addchar(out, (char)('0' + byte / 100));
        luaL_addchar(out, (char)('0' + byte / 10 % 10));
        byte = (uint8_t)('0' + byte % 10);
    }
    luaL_addchar(out, (char)byte);
}

/* ["text"]; bytes that are not text as \ddd. */
static void
push_quoted(lua_State *L, const char *text, size_t size)
{
    bool whole = size <= KEY_BYTES, plain = aco_utf8_valid((const uint8_t *)text, size);
    luaL_Buffer out;

    if (!whole) {
        size = KEY_BYTES;
        while (plain && (text[size] & 0xc0) == 0x80)
            size--;
    }
    luaL_buffinit(L, &out);
    luaL_addstring(&out, "[\"");
    for (size_t i = 0; i < size; i++)
        add_byte(&out, (uint8_t)text[i], plain);
    luaL_addstring(&out, whole ? "\"]" : "...\"]");
    luaL_pushresult(&out);
}

static void
push_string_key(lua_State *L, int key)
{
    size_t size;
    const char *text = lua_tolstring(L, key, &size);

    if (is_name(text, size))
        lua_pushfstring(L, ".%s", text);
    else
        push_quoted(L, text, size);
}

/* No metamethod is asked for the name of a table: it might raise. */
static void
push_key(lua_State *L, const acl_place *where)
{
    int key = where->key;

    if (key == 0)
        lua_pushfstring(L, "[%I]", (LUAI_UACINT)where->index);
    else if (lua_type(L, key) == LUA_TSTRING)
        push_string_key(L, key);
    else if (lua_isinteger(L, key))
        lua_pushfstring(L, "[%I]", (LUAI_UACINT)lua_tointeger(L, key));
    else if (lua_type(L, key) == LUA_TNUMBER)
        lua_pushfstring(L, "[%f]", (LUAI_UACNUMBER)lua_tonumber(L, key));
    else if (lua_isboolean(L, key))
        lua_pushfstring(L, "[%s]", lua_toboolean(L, key) ? "true" : "false");
    else
        lua_pushfstring(L, "[a %s]", luaL_typename(L, key));
}

static void
push_upvalue(lua_State *L, const acl_place *where)
{
    int top = lua_gettop(L);

    lua_getfield(L, where->descriptor, "name");
    lua_getfield(L, where->descriptor, "upvalues");
    lua_geti(L, -1, where->index);
    const char *name = lua_tostring(L, top + 1), *upvalue = lua_tostring(L, top + 3);
    lua_pushfstring(L, "%s: upvalue `%s`", name != NULL ? name : "a function",
                    upvalue != NULL ? upvalue : "?");
    lua_replace(L, top + 1);
    lua_settop(L, top + 1);
}

/* `inner` steps of the `total` are further inside. */
static void
push_steps(lua_State *L, const acl_place *where, int inner, int total)
{
    if (where == NULL) {
        lua_pushliteral(L, "message");
    } else if (where->descriptor != 0) {
        push_upvalue(L, where);
    } else {
        push_steps(L, where->up, inner + 1, total);
        if (inner < STEPS || total - inner <= STEPS)
            push_key(L, where);
        else if (inner == STEPS)
            lua_pushliteral(L, " ... ");
        else
            return;
        lua_concat(L, 2);
    }
}

void
acl_place_push(lua_State *L, const acl_place *where)
{
    int total = 0;

    luaL_checkstack(L, 12, NULL);
    for (const acl_place *at = where; at != NULL && at->descriptor == 0; at = at->up)
        total++;
    push_steps(L, where, 0, total);
}
