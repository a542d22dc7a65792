/* SPDX-License-Identifier: MIT */
/* location.c -- locations: values of their own, of which there is one for each text, so that they
 * are equal and index tables. */
#include "bindings/location.h"
#include "bindings/reach.h"

#include <string.h>

#include "core/net/location.h"

#define LOCATION_NAME "asyncoro.location"

typedef struct location {
    aco_location at;
    size_t size;
    char text[ACO_LOCATION_TEXT];
} location;

/* In the registry: text -> location, weak. */
static const char known_key = 0;

/* Push the location that was parsed. */
static void
push(lua_State *L, const aco_location *at)
{
    char text[ACO_LOCATION_TEXT];
    size_t size = aco_location_text(at, text);

    luaL_checkstack(L, 4, NULL);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &known_key);
    lua_pushlstring(L, text, size);
    lua_pushvalue(L, -1);
    if (lua_rawget(L, -3) == LUA_TNIL) {
        lua_pop(L, 1);
        location *made = lua_newuserdatauv(L, sizeof *made, 0);
        made->at = *at;
        made->size = size;
        memcpy(made->text, text, sizeof text);
        luaL_setmetatable(L, LOCATION_NAME);
        lua_pushvalue(L, -1);
        lua_insert(L, -3);
        lua_rawset(L, -4);
    } else {
        lua_remove(L, -2);
    }
    lua_remove(L, -2);
}

/* As aco_location_parse; the text of a location must also fit into a handle. */
static int
parse(aco_location *at, const char *text, size_t size, const char **why)
{
    *why = "it is longer than 255 bytes";
    return size <= ACO_ROUTE_MAX ? aco_location_parse(at, text, size, why) : ACO_EINVALID;
}

void
acl_location_push(lua_State *L, const char *text)
{
    aco_location at;
    const char *why;

    if (text[0] != '\0' && parse(&at, text, strlen(text), &why) == ACO_OK)
        push(L, &at);
    else
        lua_pushnil(L);
}

const char *
acl_location_check(lua_State *L, int idx)
{
    const location *known = luaL_testudata(L, idx, LOCATION_NAME);
    aco_location at;
    char text[ACO_LOCATION_TEXT];
    const char *why;
    size_t size;

    idx = lua_absindex(L, idx);
    if (known == NULL) {
        if (lua_type(L, idx) != LUA_TSTRING) luaL_typeerror(L, idx, "location");
        const char *given = lua_tolstring(L, idx, &size);
        if (parse(&at, given, size, &why) != ACO_OK)
            luaL_argerror(L, idx, lua_pushfstring(L, "'%s' is no location: %s", given, why));
        size = aco_location_text(&at, text);
        lua_pushlstring(L, text, size);
    } else {
        lua_pushlstring(L, known->text, known->size);
    }
    lua_replace(L, idx);
    return lua_tostring(L, idx);
}

size_t
acl_location_encode(lua_State *L, int idx, uint8_t payload[ACO_HANDLE_MAX])
{
    const location *known = luaL_testudata(L, idx, LOCATION_NAME);

    if (known == NULL) return 0;
    memcpy(payload, known->text, known->size);
    return known->size;
}

bool
acl_location_decode(lua_State *L, const void *data, size_t size)
{
    aco_location at;
    const char *why;

    if (parse(&at, data, size, &why) != ACO_OK) {
        lua_pushfstring(L, "malformed message: a location: %s", why);
        return false;
    }
    push(L, &at);
    return true;
}

static int
location_index(lua_State *L)
{
    const location *known = luaL_checkudata(L, 1, LOCATION_NAME);
    const char *field = lua_tostring(L, 2);

    if (field != NULL && strcmp(field, "host") == 0)
        lua_pushstring(L, known->at.host);
    else if (field != NULL && strcmp(field, "port") == 0)
        lua_pushinteger(L, known->at.port);
    else if (field != NULL && strcmp(field, "server") == 0 && known->at.server != 0)
        lua_pushinteger(L, known->at.server);
    else
        lua_pushnil(L);
    return 1;
}

static int
location_tostring(lua_State *L)
{
    const location *known = luaL_checkudata(L, 1, LOCATION_NAME);

    lua_pushlstring(L, known->text, known->size);
    return 1;
}

/*** The location of this process, or the location that a text stands for. Locations are values:
equal ones are the same value, `tostring` gives the text, and there are the fields `host`, `port`
and `server` (nil, but for the servers of a node). Does not wait.
@function location
@tparam[opt] string|location text "host:port", "[v6]:port", or either with "/n" behind it for server
n of a node
@treturn location nil when there is no text, and this process has no network
@treturn[2] nil
@treturn[2] string message
@treturn[2] string "invalid" when the text is no location */
static int
acl_location(lua_State *L)
{
    const acl_engine *e = acl_self(L);
    aco_location at;
    const char *why;
    size_t size;

    if (lua_isnoneornil(L, 1)) {
        acl_location_push(L, e->reach != NULL ? aco_process_route(e->reach->process) : "");
        return 1;
    }
    if (luaL_testudata(L, 1, LOCATION_NAME) != NULL) {
        lua_settop(L, 1);
        return 1;
    }
    const char *text = luaL_checklstring(L, 1, &size);
    if (parse(&at, text, size, &why) != ACO_OK)
        return acl_fail(L, ACO_EINVALID, "location '%s': %s", text, why);
    push(L, &at);
    return 1;
}

/*** Tell a location from any other value.
@function is_location
@param value
@treturn boolean
@local */
static int
is_location(lua_State *L)
{
    luaL_checkany(L, 1);
    lua_pushboolean(L, luaL_testudata(L, 1, LOCATION_NAME) != NULL);
    return 1;
}

void
acl_open_location(lua_State *L, acl_engine *e)
{
    static const luaL_Reg funcs[] = {
        {"location", acl_location}, {"is_location", is_location}, {NULL, NULL}};
    static const luaL_Reg meta[] = {
        {"__index", location_index}, {"__tostring", location_tostring}, {NULL, NULL}};

    luaL_newmetatable(L, LOCATION_NAME);
    acl_setfuncs(L, e, meta);
    lua_pushliteral(L, "location");
    lua_setfield(L, -2, "__name");
    lua_pop(L, 1);
    lua_newtable(L);
    lua_createtable(L, 0, 1);
    lua_pushliteral(L, "v");
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &known_key);
    acl_setfuncs(L, e, funcs);
}
