/* SPDX-License-Identifier: MIT */
/* channel.c -- handles of channels: names, transforms, the end.
 *
 * A handle holds the channel of the core. At home, a handle that nobody knows elsewhere closes its
 * channel when it is collected; once it has left the engine, or has a name, it is anchored until
 * the channel is closed, with its transform. Handles are interned, so that equal ones are one
 * value. */
#include "bindings/channel.h"
#include "bindings/codec.h"
#include "bindings/engine.h"
#include "bindings/location.h"
#include "bindings/reach.h"
#include "bindings/remote.h"

#include <string.h>

#define CHANNEL_NAME "asyncoro.channel"

/* In the registry: address of a channel -> handle, weak; the same of those that are known
 * elsewhere; the functions of channel.lua. */
static const char handles_key = 0, anchors_key = 0, transform_key = 0, dropped_key = 0;

/* Handles -------------------------------------------------------------------------------------- */

acl_channel *
acl_channel_test(lua_State *L, int idx)
{
    if (lua_rawlen(L, idx) != sizeof(acl_channel)) return NULL;
    acl_channel *h = lua_touserdata(L, idx);
    return h != NULL && h->self == h ? h : NULL;
}

acl_channel *
acl_channel_check(lua_State *L, int idx)
{
    acl_channel *h = acl_channel_test(L, idx);

    if (h == NULL) {
        luaL_typeerror(L, idx, "channel");
        __builtin_unreachable(); /* it raises */
    }
    return h;
}

bool
acl_channel_is_home(const acl_engine *e, const aco_channel *channel)
{
    return e->reach != NULL && !aco_channel_is_far(channel) &&
           aco_channel_engine(channel) == e->reach->number;
}

/* Push an empty handle. */
static acl_channel *
handle_new(lua_State *L)
{
    acl_channel *h = lua_newuserdatauv(L, sizeof *h, ACL_CHANNEL_VALUES);

    *h = (acl_channel){.self = h};
    luaL_setmetatable(L, CHANNEL_NAME);
    return h;
}

/* At home it was not anchored, so nobody else knows the channel; or the engine has ended. */
static int
handle_gc(lua_State *L)
{
    acl_channel *h = acl_channel_test(L, 1);

    if (h == NULL || h->channel == NULL) return 0;
    aco_channel *channel = h->channel;
    h->channel = NULL;
    h->self = NULL;
    if (acl_channel_is_home(acl_self(L), channel)) aco_channel_close(channel);
    aco_channel_unref(channel);
    return 0;
}

void
acl_channel_anchor(lua_State *L, acl_engine *e, int idx)
{
    acl_channel *h = lua_touserdata(L, idx);

    idx = lua_absindex(L, idx);
    luaL_checkstack(L, 4, NULL);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &anchors_key);
    if (lua_rawgetp(L, -1, h->channel) == LUA_TNIL && !aco_channel_closed(h->channel)) {
        lua_pushvalue(L, idx);
        lua_rawsetp(L, -3, h->channel);
        e->reach->exported++;
    }
    lua_pop(L, 2);
}

/* The handle on top is that of its channel. */
static void
handle_keep(lua_State *L, const acl_channel *h)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &handles_key);
    lua_pushvalue(L, -2);
    lua_rawsetp(L, -2, h->channel);
    lua_pop(L, 1);
}

void
acl_channel_push(lua_State *L, acl_engine *e, const aco_identity *identity, const char *route,
                 const char *name)
{
    aco_process *process = e->reach->process;

    luaL_checkstack(L, 6, NULL);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &handles_key);
    aco_channel *channel = aco_channel_get(process, identity, route, name);
    if (channel == NULL) luaL_error(L, "not enough memory");
    int known = lua_rawgetp(L, -1, channel);
    lua_remove(L, -2);
    if (known != LUA_TNIL) {
        aco_channel_unref(channel);
        return;
    }
    aco_channel_unref(channel); /* what follows may raise */
    lua_pop(L, 1);
    acl_channel *h = handle_new(L);
    h->channel = aco_channel_get(process, identity, route, name);
    if (h->channel == NULL) luaL_error(L, "not enough memory");
    handle_keep(L, h);
}

size_t
acl_channel_encode(lua_State *L, int idx, uint8_t payload[ACO_HANDLE_MAX])
{
    acl_channel *h = acl_channel_test(L, idx);
    acl_engine *e = acl_engine_get(L);
    uint8_t key[ACO_IDENTITY_SIZE];
    char route[ACO_ROUTE_MAX + 1];
    aco_identity identity;

    if (h == NULL) return 0;
    if (acl_channel_is_home(e, h->channel)) acl_channel_anchor(L, e, idx);
    aco_channel_identity(h->channel, &identity);
    aco_identity_write(&identity, key);
    aco_channel_route(h->channel, route);
    return aco_handle_write(key, route, aco_channel_name(h->channel), payload);
}

/* channel(name): for channel.lua, which describes it and checks the name. */
static int
channel_new(lua_State *L)
{
    acl_engine *e = acl_self(L);
    const char *name = luaL_checkstring(L, 1);

    if (e->reach == NULL) return luaL_error(L, "the engine of this Lua state has been closed");
    acl_channel *h = handle_new(L);
    if (aco_channel_new(e->reach->seat, ++e->next_id, name, &h->channel) != ACO_OK)
        return luaL_error(L, "not enough memory");
    handle_keep(L, h);
    return 1;
}

int
acl_channel_failed(lua_State *L, const aco_channel *channel, int err, const char *what)
{
    const char *name = aco_channel_name(channel);

    if (err == ACO_ENOMEM) return luaL_error(L, "not enough memory");
    if (err == ACO_ECLOSED) return acl_fail(L, err, "%s: channel %s is closed", what, name);
    return acl_fail(L, err, "%s: channel %s: %s", what, name, aco_err_text(err));
}

/* Transforms ----------------------------------------------------------------------------------- */

bool
acl_channel_push_transform(lua_State *L, const aco_channel *channel)
{
    int top = lua_gettop(L), type = LUA_TNIL;

    luaL_checkstack(L, 4, NULL);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &handles_key);
    if (lua_rawgetp(L, -1, channel) != LUA_TNIL)
        type = lua_getiuservalue(L, -1, ACL_CHANNEL_TRANSFORM);
    if (type == LUA_TFUNCTION) lua_replace(L, top + 1);
    lua_settop(L, type == LUA_TFUNCTION ? top + 1 : top);
    return type == LUA_TFUNCTION;
}

bool
acl_channel_transform(lua_State *L, const aco_channel *channel, int idx)
{
    idx = lua_absindex(L, idx);
    luaL_checkstack(L, 6, NULL);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &transform_key);
    lua_insert(L, -2);
    lua_pushstring(L, aco_channel_name(channel));
    lua_pushvalue(L, idx);
    lua_call(L, 3, 2); /* transformed(transform, name, message): whether it goes on, and what */
    bool passed = lua_toboolean(L, -2);
    lua_remove(L, -2);
    if (!passed) lua_pop(L, 1);
    return passed;
}

/*** Set what becomes of messages: `transform(name, message)` gives what is passed on, nil drops it.
It runs once for each message, in the engine where the channel lives, and may not wait. When it
fails the message is dropped and the failure logged. Does not wait.
@function channel:set_transform
@tparam ?function transform nil passes messages on as they are
@treturn boolean true
@treturn[2] nil
@treturn[2] string message
@treturn[2] string "unsupported" when the channel lives elsewhere, "closed" */
static int
channel_set_transform(lua_State *L)
{
    acl_channel *h = acl_channel_check(L, 1);

    if (!lua_isnoneornil(L, 2) && !lua_isfunction(L, 2))
        return luaL_error(L, "channel: the transform must be a function, not a %s",
                          luaL_typename(L, 2));
    if (aco_channel_closed(h->channel))
        return acl_channel_failed(L, h->channel, ACO_ECLOSED, "set_transform");
    if (!acl_channel_is_home(acl_self(L), h->channel))
        return acl_fail(L, ACO_EUNSUPPORTED,
                        "set_transform: channel %s lives elsewhere: set it there",
                        aco_channel_name(h->channel));
    lua_settop(L, 2);
    lua_setiuservalue(L, 1, ACL_CHANNEL_TRANSFORM);
    lua_getiuservalue(L, 1, ACL_CHANNEL_TRANSFORM);
    aco_channel_set_transform(h->channel, !lua_isnil(L, -1));
    lua_pushboolean(L, 1);
    return 1;
}

/* Say that what a transform gave cannot go on; the text is on top. */
static void
dropped(lua_State *L, const aco_channel *channel)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &dropped_key);
    lua_pushstring(L, aco_channel_name(channel));
    lua_pushvalue(L, -3);
    lua_call(L, 2, 0);
}

/* (job): a message from elsewhere, transformed and given back. */
static int
serve(lua_State *L)
{
    aco_channel_job *job = lua_touserdata(L, 1);
    const aco_channel *channel = aco_channel_job_channel(job);
    aco_msg *msg = aco_channel_job_msg(job), *result;

    if (!acl_channel_push_transform(L, channel)) {
        aco_channel_job_done(job, msg);
        return 0;
    }
    int err = acl_decode_msg(L, msg);
    if (err != ACO_OK) {
        dropped(L, channel);
        return 0;
    }
    int message = lua_gettop(L);
    lua_pushvalue(L, message - 1); /* the transform */
    if (!acl_channel_transform(L, channel, message)) return 0;
    err = acl_encode(L, lua_gettop(L), &result);
    if (err != ACO_OK) {
        dropped(L, channel);
        return 0;
    }
    aco_channel_job_done(job, result);
    aco_msg_unref(result);
    return 0;
}

void
acl_channel_serve(lua_State *L, acl_engine *e, aco_post *post)
{
    aco_channel_job *job = post->object;

    (void)e;
    lua_pushcfunction(L, serve);
    lua_pushlightuserdata(L, job);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK) lua_pop(L, 1);
    aco_channel_job_done(job, NULL); /* when that has not been done */
}

/* Names ---------------------------------------------------------------------------------------- */

/* Push the name under which the channel is registered. */
static const char *
push_name(lua_State *L, const aco_channel *channel, size_t *size)
{
    lua_pushfstring(L, ACL_CHANNEL_PREFIX "%s", aco_channel_name(channel));
    return lua_tolstring(L, -1, size);
}

/*** Make the channel known under its name, for `locate_channel`. Does not wait.
@function channel:register
@treturn boolean true
@treturn[2] nil
@treturn[2] string message
@treturn[2] string "exists" when another channel has the name, "closed", "unsupported" when it is of
another process */
static int
channel_register(lua_State *L)
{
    acl_engine *e = acl_self(L);
    aco_channel *channel = acl_channel_check(L, 1)->channel;
    size_t size;

    if (aco_channel_is_far(channel))
        return acl_fail(L, ACO_EUNSUPPORTED, "register: channel %s is of another process",
                        aco_channel_name(channel));
    if (acl_channel_is_home(e, channel)) acl_channel_anchor(L, e, 1);
    const char *name = push_name(L, channel, &size);
    int err = aco_channel_register(channel, name, size);
    if (err == ACO_EEXISTS)
        return acl_fail(L, err, "register: there is another channel %s", aco_channel_name(channel));
    if (err != ACO_OK) return acl_channel_failed(L, channel, err, "register");
    lua_pushboolean(L, 1);
    return 1;
}

/*** Take the name back. Does not wait.
@function channel:unregister
@treturn boolean true
@treturn[2] nil
@treturn[2] string message
@treturn[2] string "notfound" when it was not registered */
static int
channel_unregister(lua_State *L)
{
    aco_channel *channel = acl_channel_check(L, 1)->channel;
    size_t size;
    const char *name = push_name(L, channel, &size);

    if (aco_channel_unregister(channel, name, size) != ACO_OK)
        return acl_fail(L, ACO_ENOTFOUND, "unregister: channel %s is not registered",
                        aco_channel_name(channel));
    lua_pushboolean(L, 1);
    return 1;
}

/*** The name it was made with.
@function channel:name
@treturn string */
static int
channel_name(lua_State *L)
{
    lua_pushstring(L, aco_channel_name(acl_channel_check(L, 1)->channel));
    return 1;
}

/*** Where the channel lives: the route to its process.
@function channel:location
@treturn ?location nil while that process has no network */
static int
channel_location(lua_State *L)
{
    char route[ACO_ROUTE_MAX + 1];

    aco_channel_route(acl_channel_check(L, 1)->channel, route);
    acl_location_push(L, route);
    return 1;
}

/*** Close it: it forgets its subscribers and its name; `deliver` calls that wait end with "closed".
Does not wait; a second close has no effect. A channel that lives elsewhere is only let go.
@function channel:close */
static int
channel_close(lua_State *L)
{
    acl_engine *e = acl_self(L);
    acl_channel *h = acl_channel_check(L, 1);

    if (!acl_channel_is_home(e, h->channel)) return 0;
    lua_rawgetp(L, LUA_REGISTRYINDEX, &anchors_key);
    if (lua_rawgetp(L, -1, h->channel) != LUA_TNIL) {
        lua_pushnil(L);
        lua_rawsetp(L, -3, h->channel);
        e->reach->exported--;
    }
    lua_pushnil(L);
    lua_setiuservalue(L, 1, ACL_CHANNEL_TRANSFORM);
    lua_pushnil(L);
    lua_setiuservalue(L, 1, ACL_CHANNEL_KEPT);
    aco_channel_close(h->channel);
    return 0;
}

static int
handle_tostring(lua_State *L)
{
    const acl_channel *h = acl_channel_test(L, 1);

    lua_pushfstring(L, "channel %s", h != NULL ? aco_channel_name(h->channel) : "?");
    return 1;
}

static int
handle_eq(lua_State *L)
{
    const acl_channel *a = acl_channel_test(L, 1), *b = acl_channel_test(L, 2);
    aco_identity one, two;
    uint8_t keys[2][ACO_IDENTITY_SIZE];

    if (a == NULL || b == NULL) return 0;
    aco_channel_identity(a->channel, &one);
    aco_channel_identity(b->channel, &two);
    aco_identity_write(&one, keys[0]);
    aco_identity_write(&two, keys[1]);
    lua_pushboolean(L, memcmp(keys[0], keys[1], sizeof keys[0]) == 0);
    return 1;
}

/*** Tell the handle of a channel.
@function is_channel
@param value any value
@treturn boolean */
static int
is_channel(lua_State *L)
{
    luaL_checkany(L, 1);
    lua_pushboolean(L, acl_channel_test(L, 1) != NULL);
    return 1;
}

/* set_channel_functions(transformed, dropped): of channel.lua. */
static int
set_functions(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    lua_settop(L, 2);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &dropped_key);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &transform_key);
    return 0;
}

static const luaL_Reg channel_methods[] = {{"send", acl_channel_send},
                                           {"deliver", acl_channel_deliver},
                                           {"subscribe", acl_channel_subscribe},
                                           {"unsubscribe", acl_channel_unsubscribe},
                                           {"set_transform", channel_set_transform},
                                           {"register", channel_register},
                                           {"unregister", channel_unregister},
                                           {"name", channel_name},
                                           {"close", channel_close},
                                           {"location", channel_location},
                                           {NULL, NULL}};

static const luaL_Reg channel_meta[] = {{"__gc", handle_gc},
                                        {"__tostring", handle_tostring},
                                        {"__eq", handle_eq},
                                        {"__close", channel_close},
                                        {NULL, NULL}};

static const luaL_Reg channel_funcs[] = {{"is_channel", is_channel},
                                         {"set_channel_functions", set_functions},
                                         {"__channel", channel_new},
                                         {NULL, NULL}};

static void
table_new(lua_State *L, const char *key, const char *mode)
{
    lua_newtable(L);
    if (mode != NULL) {
        lua_createtable(L, 0, 1);
        lua_pushstring(L, mode);
        lua_setfield(L, -2, "__mode");
        lua_setmetatable(L, -2);
    }
    lua_rawsetp(L, LUA_REGISTRYINDEX, key);
}

void
acl_open_channel(lua_State *L, acl_engine *e)
{
    table_new(L, &handles_key, "v");
    table_new(L, &anchors_key, NULL);
    luaL_newmetatable(L, CHANNEL_NAME);
    acl_setfuncs(L, e, channel_meta);
    lua_pushliteral(L, "channel");
    lua_setfield(L, -2, "__name");
    lua_newtable(L);
    acl_setfuncs(L, e, channel_methods);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
    acl_setfuncs(L, e, channel_funcs);
    acl_open_publish(L);
    acl_open_subscribe(L);
}
