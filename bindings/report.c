/* SPDX-License-Identifier: MIT */
#include "bindings/report.h"
#include "bindings/coro.h"
#include "bindings/engine.h"
#include "bindings/isolate.h"
#include "bindings/remote.h"

#include <stdio.h>

enum { DEADLOCK_LISTED = 20 };

void
acl_report(lua_State *L, acl_engine *e, const char *text)
{
    if (e->on_error != NULL) {
        e->on_error(e->on_error_arg, text);
        return;
    }
    (void)L;
    fprintf(stderr, "asyncoro: %s\n", text);
    fflush(stderr);
}

static int
error_tolstring(lua_State *L)
{
    luaL_tolstring(L, 1, NULL);
    return 1;
}

void
acl_error_text(lua_State *L, int idx)
{
    idx = lua_absindex(L, idx);
    luaL_checkstack(L, 4, NULL);
    if (lua_type(L, idx) == LUA_TSTRING || lua_type(L, idx) == LUA_TNUMBER) {
        lua_pushvalue(L, idx);
        lua_tostring(L, -1);
        return;
    }
    if (luaL_getmetafield(L, idx, "__tostring") == LUA_TNIL) {
        lua_pushfstring(L, "(error object is a %s value)", luaL_typename(L, idx));
        return;
    }
    lua_pop(L, 1);
    lua_pushcfunction(L, error_tolstring);
    lua_pushvalue(L, idx);
    if (lua_pcall(L, 1, 1, 0) == LUA_OK) return;
    lua_pop(L, 1);
    lua_pushfstring(L, "(error object is a %s value whose __tostring fails)",
                    luaL_typename(L, idx));
}

void
acl_warn(lua_State *L, const char *what, int err)
{
    err = lua_absindex(L, err);
    acl_error_text(L, err);
    lua_pushfstring(L, "%s: %s", what, lua_tostring(L, -1));
    acl_report(L, acl_engine_get(L), lua_tostring(L, -1));
    lua_pop(L, 2);
}

/* Report the failure of the coro whose handle is at `handle`. */
static void
report_failure(lua_State *L, acl_engine *e, int handle)
{
    int top = lua_gettop(L);

    acl_coro_name(L, handle);
    acl_extras(L, handle);
    if (lua_getfield(L, -1, "error") == LUA_TTABLE) lua_rawgeti(L, -1, 1);
    acl_error_text(L, -1);
    const char *text = lua_tostring(L, -1);
    bool traced = lua_getfield(L, top + 2, "trace") == LUA_TSTRING;
    lua_pushfstring(L, "coro %s failed: %s%s%s", lua_tostring(L, top + 1), text, traced ? "\n" : "",
                    traced ? lua_tostring(L, -1) : "");
    acl_report(L, e, lua_tostring(L, -1));
    lua_settop(L, top);
}

size_t
acl_report_unobserved(lua_State *L, acl_engine *e)
{
    size_t count = e->unobserved;

    if (count == 0) return 0;
    lua_rawgeti(L, LUA_REGISTRYINDEX, e->unobserved_ref);
    int failures = lua_gettop(L);
    lua_newtable(L);
    lua_rawseti(L, LUA_REGISTRYINDEX, e->unobserved_ref);
    e->unobserved = 0;
    lua_pushnil(L);
    while (lua_next(L, failures)) {
        lua_pop(L, 1);
        acl_coro *c = acl_coro_test(L, -1);
        if (acl_remote_observed(L, c, -1)) { /* by another engine */
            count--;
        } else if (c == NULL) {
            acl_remote_report(L, e, lua_gettop(L));
        } else {
            c->flags &= (uint16_t)~ACL_UNOBSERVED;
            report_failure(L, e, lua_gettop(L));
        }
    }
    lua_settop(L, failures - 1);
    e->failures += count;
    return count;
}

void
acl_deadlock_text(lua_State *L, acl_engine *e)
{
    size_t left = 0, listed = 0;
    luaL_Buffer text;

    luaL_buffinit(L, &text);
    for (uint32_t slot = 0; slot < e->slot_count; slot++) {
        acl_coro *c = acl_slot_coro(e, slot);
        if (c == NULL || (c->flags & ACL_DAEMON)) continue;
        if (left++ >= DEADLOCK_LISTED) continue;
        acl_coro_push(L, e, c);
        acl_coro_name(L, -1);
        lua_pushfstring(L, "\n  coro %s#%I waits in %s", lua_tostring(L, -1),
                        (LUAI_UACINT)c->task.id, aco_wait_text(&c->task));
        lua_insert(L, -3);
        lua_pop(L, 2);
        luaL_addvalue(&text);
        listed++;
    }
    if (left > listed) {
        lua_pushfstring(L, "\n  and %I more", (LUAI_UACINT)(left - listed));
        luaL_addvalue(&text);
    }
    left += acl_isolates_text(L, e);
    luaL_addvalue(&text);
    luaL_pushresult(&text);
    lua_pushfstring(L, "deadlock: nothing can wake the coros that are left (%I):%s",
                    (LUAI_UACINT)left, lua_tostring(L, -1));
    lua_remove(L, -2);
}
