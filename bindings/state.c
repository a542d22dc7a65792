/* SPDX-License-Identifier: MIT */
#include "bindings/state.h"
#include "bindings/alloc.h"
#include "bindings/embedded.h"
#include "bindings/engine.h"
#include "bindings/module.h"

#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <string.h>

#include "core/io/file.h"

/* Warnings as lauxlib has them: "@on" and "@off" are control messages, the rest goes to stderr. */
static void warn_off(void *ud, const char *message, int continued);
static void warn_on(void *ud, const char *message, int continued);

static bool
warn_control(lua_State *L, const char *message, int continued)
{
    if (continued || message[0] != '@') return false;
    if (strcmp(message, "@off") == 0)
        lua_setwarnf(L, warn_off, L);
    else if (strcmp(message, "@on") == 0)
        lua_setwarnf(L, warn_on, L);
    return true;
}

static void
warn_off(void *ud, const char *message, int continued)
{
    warn_control(ud, message, continued);
}

static void
warn_more(void *ud, const char *message, int continued)
{
    lua_State *L = ud;

    fputs(message, stderr);
    if (continued) {
        lua_setwarnf(L, warn_more, L);
        return;
    }
    fputs("\n", stderr);
    fflush(stderr);
    lua_setwarnf(L, warn_on, L);
}

static void
warn_on(void *ud, const char *message, int continued)
{
    if (warn_control(ud, message, continued)) return;
    fputs("Lua warning: ", stderr);
    warn_more(ud, message, continued);
}

lua_State *
acl_state_new(size_t memory_limit)
{
    acl_alloc *a = acl_alloc_new(memory_limit);

    if (a == NULL) return NULL;
    lua_State *L = lua_newstate(acl_alloc_function, a);
    if (L == NULL) {
        acl_alloc_free(a);
        return NULL;
    }
    lua_setwarnf(L, warn_off, L);
    return L;
}

void
acl_state_close(lua_State *L)
{
    void *a;

    lua_getallocf(L, &a);
    lua_close(L);
    acl_alloc_free(a);
}

/* A cycle of the collector looks at all that is alive, and begins when as much again has been
 * allocated. While that is little it may be a few times as much: a program that makes many small
 * things, coros perhaps, or reads in large pieces, gains much. What is alive is not known, but what
 * there is with its garbage: between two cycles it grows up to the pace times what is alive. */
enum { PACE_USUAL = 200, PACE_FEW = 300, PACE_LEAST = 400, FEW_KB = 1024, LEAST_KB = 512 };

void
acl_state_own(acl_engine *e)
{
    e->gc_pause = PACE_USUAL;
}

static int
pace_for(int pause, int kb)
{
    if (kb < LEAST_KB || (pause == PACE_LEAST && kb <= LEAST_KB * PACE_LEAST / 100))
        return PACE_LEAST;
    return kb < FEW_KB || (pause >= PACE_FEW && kb <= FEW_KB * PACE_FEW / 100) ? PACE_FEW
                                                                               : PACE_USUAL;
}

void
acl_state_pace(lua_State *L, acl_engine *e)
{
    if (e->gc_pause == 0) return;
    int pause = pace_for(e->gc_pause, lua_gc(L, LUA_GCCOUNT));
    if (pause == e->gc_pause) return;
    int before = lua_gc(L, LUA_GCSETPAUSE, pause);
    if (before == e->gc_pause) {
        e->gc_pause = pause;
    } else { /* the program wants it otherwise */
        lua_gc(L, LUA_GCSETPAUSE, before);
        e->gc_pause = 0;
    }
}

/* os.exit, before which files get what was written to them, as those of Lua's io do. */
static int
exit_flushed(lua_State *L)
{
    acl_engine *e = acl_engine_find(L);

    if (e != NULL && e->loop.inbox != NULL) aco_files_write(&e->loop);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, 0);
    return 0;
}

int
acl_state_open_libs(lua_State *L)
{
    luaL_openlibs(L);
    acl_embedded_preload(L);
    luaL_requiref(L, "asyncoro.core", luaopen_asyncoro_core, 0);
    lua_pop(L, 1);
    acl_state_own(acl_engine_find(L));
    lua_getglobal(L, LUA_OSLIBNAME);
    lua_getfield(L, -1, "exit");
    lua_pushcclosure(L, exit_flushed, 1);
    lua_setfield(L, -2, "exit");
    lua_pop(L, 1);
    return 0;
}
