/* SPDX-License-Identifier: MIT */
/* resolve.c -- looking up names of hosts: core.lookup and core.lookup_wait, of which
 * lua/asyncoro/resolve.lua makes asyncoro.resolve. */
#include "bindings/resolve.h"
#include "bindings/job.h"

#include <string.h>

#include "core/io/lookup.h"

/* lookup(host [, family]) -> a job; nil, message, code. "name": of an address, its name. */
static int
lookup(lua_State *L)
{
    static const char *const families[] = {"any", "ipv4", "ipv6", "name", NULL};
    static const int numbers[] = {AF_UNSPEC, AF_INET, AF_INET6, ACO_LOOKUP_NAME};
    acl_engine *e = acl_self(L);
    size_t size;
    const char *host = luaL_checklstring(L, 1, &size);
    int family = numbers[luaL_checkoption(L, 2, "any", families)];

    if (size == 0 || size > 253 || strlen(host) != size)
        return acl_fail(L, ACO_EINVALID, "resolve %s: not the name of a host", host);
    aco_job **box = acl_job_box(L);
    aco_lookup *l = aco_lookup_new(host, family);
    if (l == NULL) return luaL_error(L, "not enough memory");
    *box = &l->job;
    int err = acl_job_submit(e, *box);
    if (err != ACO_OK) return acl_fail(L, err, "resolve %s: no thread could be started", host);
    return 1;
}

static int
lookup_result(lua_State *L, const aco_lookup *l)
{
    if (l->err != ACO_OK) return acl_fail(L, l->err, "resolve %s: %s", l->host, l->text);
    lua_createtable(L, (int)l->count, 0);
    for (size_t i = 0; i < l->count; i++) {
        lua_pushstring(L, l->addresses[i]);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

static int
lookup_k(lua_State *L, int status, lua_KContext ctx)
{
    acl_engine *e = acl_self(L);
    const aco_lookup *l = *(aco_lookup **)lua_touserdata(L, 1);

    (void)status;
    (void)ctx;
    acl_wait_end(L, e, e->current);
    if (e->current->task.wake_err == ACO_ETIMEOUT)
        return acl_fail(L, ACO_ETIMEOUT, "resolve %s: timed out", l->host);
    return lookup_result(L, l);
}

/* lookup_wait(job [, timeout]) -> numeric addresses; nil, message, code. Waits. */
static int
lookup_wait(lua_State *L)
{
    acl_engine *e = acl_self(L);
    aco_lookup *l = *(aco_lookup **)luaL_checkudata(L, 1, "asyncoro.job");
    aco_time deadline = acl_opt_deadline(L, 2);

    acl_wait_check(L, e, "resolve");
    if (l->job.done) return lookup_result(L, l);
    if (deadline == 0) return acl_fail(L, ACO_ETIMEOUT, "resolve %s: timed out", l->host);
    return acl_job_park(L, e, &l->job, deadline, 0, lookup_k);
}

/* lookup_done(job) -> boolean */
static int
lookup_done(lua_State *L)
{
    const aco_lookup *l = *(aco_lookup **)luaL_checkudata(L, 1, "asyncoro.job");

    lua_pushboolean(L, l->job.done);
    return 1;
}

/* is_numeric(host) -> boolean */
static int
is_numeric(lua_State *L)
{
    aco_address address;

    lua_pushboolean(L, aco_address_parse(&address, luaL_checkstring(L, 1), 0) == ACO_OK);
    return 1;
}

void
acl_open_resolve(lua_State *L, acl_engine *e)
{
    static const luaL_Reg funcs[] = {{"lookup", lookup},
                                     {"lookup_wait", lookup_wait},
                                     {"lookup_done", lookup_done},
                                     {"is_numeric", is_numeric},
                                     {NULL, NULL}};

    acl_setfuncs(L, e, funcs);
}
