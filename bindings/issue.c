/* SPDX-License-Identifier: MIT */
#include "bindings/issue.h"

#include "core/io/issue.h"

#include <stdlib.h>
#include <string.h>

/* What was made, or why nothing was. */
typedef struct texts {
    char *cert, *key, *why;
} texts;

/* Push copies of all, nil for what is not there; the originals are freed also when that raises. */
static int
push_texts(lua_State *L)
{
    const texts *t = lua_touserdata(L, 1);

    lua_pushstring(L, t->cert);
    lua_pushstring(L, t->key);
    lua_pushstring(L, t->why);
    return 3;
}

static void
texts_free(texts *t)
{
    if (t->key != NULL) explicit_bzero(t->key, strlen(t->key));
    free(t->cert);
    free(t->key);
    free(t->why);
}

static const char *
field(lua_State *L, const char *name)
{
    lua_getfield(L, 1, name);
    return lua_tostring(L, -1);
}

/* The names stay in the table; the list goes with its userdata. */
static void
take_names(lua_State *L, struct aco_issue *issue)
{
    lua_getfield(L, 1, "names");
    issue->count = lua_istable(L, -1) ? (size_t)lua_rawlen(L, -1) : 0;
    const char **names = lua_newuserdatauv(L, (issue->count + 1) * sizeof *names, 0);
    for (size_t i = 0; i < issue->count; i++) {
        lua_rawgeti(L, -2, (lua_Integer)i + 1);
        names[i] = luaL_checkstring(L, -1);
        lua_pop(L, 1);
    }
    issue->names = names;
}

/*** Make a certificate and its key. For lua/asyncoro/cli/cert.lua. Does not wait.
@function certificate_issue
@tparam table what `subject`; `days`; and, unless it is to be an authority: `names` (host names and
addresses), `ca` and `ca_key` (the authority's, PEM text)
@treturn string certificate, PEM text
@treturn string key, PEM text
@treturn[2] nil
@treturn[2] string message
@treturn[2] string "invalid", "unsupported"
@local */
static int
certificate_issue(lua_State *L)
{
    struct aco_issue issue = {.subject = NULL};
    texts t;

    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    luaL_checkstack(L, 10, NULL);
    issue.subject = field(L, "subject");
    issue.ca = field(L, "ca");
    issue.ca_key = field(L, "ca_key");
    lua_getfield(L, 1, "days");
    issue.days = (int)lua_tointeger(L, -1);
    luaL_argcheck(L, issue.subject != NULL && issue.days > 0 && issue.days <= ACO_ISSUE_DAYS, 1,
                  "a subject and days expected");
    luaL_argcheck(L, (issue.ca == NULL) == (issue.ca_key == NULL), 1, "both or neither expected");
    take_names(L, &issue);
    lua_pushcfunction(L, push_texts); /* so that nothing can raise until all is freed */
    int err = aco_issue(&issue, &t.cert, &t.key, &t.why);
    lua_pushlightuserdata(L, &t);
    int status = lua_pcall(L, 1, 3, 0);
    texts_free(&t);
    if (status != LUA_OK) return lua_error(L);
    if (err != ACO_OK)
        return acl_fail(L, err, "%s", lua_isnil(L, -1) ? aco_err_text(err) : lua_tostring(L, -1));
    lua_pop(L, 1);
    return 2;
}

void
acl_open_issue(lua_State *L, acl_engine *e)
{
    static const luaL_Reg funcs[] = {{"certificate_issue", certificate_issue}, {NULL, NULL}};

    acl_setfuncs(L, e, funcs);
}
