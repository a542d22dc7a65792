/* SPDX-License-Identifier: MIT */
/* doctor.c -- core.doctor, of which lua/asyncoro/cli/doctor.lua makes its report: the probes of
 * core/net/probe.h, each a slow job of the pool. */
#include "bindings/doctor.h"
#include "bindings/job.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/clock.h"
#include "core/base/version.h"
#include "core/net/probe.h"

typedef struct doctor_job {
    aco_job job;
    void (*look)(const struct aco_probe *probe, aco_facts *facts);
    struct aco_probe probe; /* its texts are the job's own */
    char *texts[6];
    aco_facts facts;
} doctor_job;

static void
doctor_run(aco_job *job)
{
    doctor_job *d = (doctor_job *)job;

    d->look(&d->probe, &d->facts);
}

static void
doctor_free(aco_job *job)
{
    doctor_job *d = (doctor_job *)job;

    for (size_t i = 0; i < sizeof d->texts / sizeof *d->texts; i++)
        free(d->texts[i]);
    aco_facts_free(&d->facts);
    free(d);
}

/* A copy of a field of the options, at index 2; NULL when it is not there. */
static const char *
text_option(lua_State *L, doctor_job *d, int which, const char *name, size_t *size)
{
    size_t length = 0;

    lua_getfield(L, 2, name);
    const char *text = lua_isnil(L, -1) ? NULL : luaL_checklstring(L, -1, &length);
    if (text != NULL) {
        d->texts[which] = malloc(length + 1);
        if (d->texts[which] == NULL) luaL_error(L, "not enough memory");
        memcpy(d->texts[which], text, length + 1);
    }
    lua_pop(L, 1);
    if (size != NULL) *size = length;
    return d->texts[which];
}

static lua_Number
number_option(lua_State *L, const char *name, lua_Number otherwise)
{
    lua_getfield(L, 2, name);
    lua_Number number = luaL_optnumber(L, -1, otherwise);
    lua_pop(L, 1);
    return number;
}

static uint16_t
port_option(lua_State *L, const char *name, lua_Number otherwise)
{
    const lua_Number port = number_option(L, name, otherwise);

    if (!(port >= 0 && port <= 65535)) luaL_error(L, "doctor: %s is no port", name);
    return (uint16_t)port;
}

static void
read_options(lua_State *L, doctor_job *d)
{
    struct aco_probe *p = &d->probe;

    luaL_checktype(L, 2, LUA_TTABLE);
    p->secret = text_option(L, d, 0, "secret", &p->secret_size);
    p->certfile = text_option(L, d, 1, "certfile", NULL);
    p->keyfile = text_option(L, d, 2, "keyfile", NULL);
    p->cafile = text_option(L, d, 3, "cafile", NULL);
    p->location = text_option(L, d, 4, "location", NULL);
    p->secret_file = text_option(L, d, 5, "secret_file", NULL);
    p->udp = port_option(L, "udp", 0);
    p->tcp = port_option(L, "tcp", 51351);
    p->listen = aco_deadline(0, number_option(L, "listen", 1.5));
    p->patience = aco_deadline(0, number_option(L, "patience", 5));
    if (d->look == aco_probe_peer && p->location == NULL) luaL_error(L, "doctor: no location");
}

/* {word = {text, ...}} */
static int
doctor_result(lua_State *L, const doctor_job *d)
{
    const char *word, *text;
    size_t place = 0;

    lua_newtable(L);
    while ((word = aco_facts_next(&d->facts, &place, &text)) != NULL) {
        if (lua_getfield(L, -1, word) == LUA_TNIL) {
            lua_pop(L, 1);
            lua_newtable(L);
            lua_pushvalue(L, -1);
            lua_setfield(L, -3, word);
        }
        lua_pushstring(L, text);
        lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
        lua_pop(L, 1);
    }
    return 1;
}

static int
doctor_k(lua_State *L, int status, lua_KContext ctx)
{
    acl_engine *e = acl_self(L);

    (void)status;
    acl_wait_end(L, e, e->current);
    return doctor_result(L, *(doctor_job **)lua_touserdata(L, (int)ctx));
}

/* doctor(what, options) -> facts; waits. */
static int
doctor(lua_State *L)
{
    static const char *const names[] = {"machine", "secret", "discovery", "peer", NULL};
    static void (*const looks[])(const struct aco_probe *, aco_facts *) = {
        aco_probe_machine, aco_probe_secret, aco_probe_discovery, aco_probe_peer};
    acl_engine *e = acl_self(L);
    const int what = luaL_checkoption(L, 1, NULL, names);

    acl_wait_check(L, e, "doctor");
    lua_settop(L, 2);
    aco_job **box = acl_job_box(L);
    doctor_job *d = calloc(1, sizeof *d);
    if (d == NULL) return luaL_error(L, "not enough memory");
    aco_job_init(&d->job, doctor_run, doctor_free);
    *box = &d->job;
    d->job.slow = true;
    d->look = looks[what];
    read_options(L, d);
    int err = acl_job_submit(e, *box);
    if (err != ACO_OK) return acl_fail(L, err, "doctor: no thread could be started");
    return acl_job_park(L, e, *box, ACO_NEVER, 3, doctor_k);
}

/* versions() -> what this build runs on: lua (text, number), asyncoro, libevent, openssl */
static int
versions(lua_State *L)
{
    lua_createtable(L, 0, 5);
    lua_pushstring(L, LUA_RELEASE);
    lua_setfield(L, -2, "lua");
    lua_pushinteger(L, LUA_VERSION_RELEASE_NUM);
    lua_setfield(L, -2, "lua_number");
    lua_pushstring(L, aco_version());
    lua_setfield(L, -2, "asyncoro");
    lua_pushstring(L, aco_version_libevent());
    lua_setfield(L, -2, "libevent");
    lua_pushstring(L, aco_version_openssl());
    lua_setfield(L, -2, "openssl");
    return 1;
}

void
acl_open_doctor(lua_State *L, acl_engine *e)
{
    static const luaL_Reg funcs[] = {{"doctor", doctor}, {"versions", versions}, {NULL, NULL}};

    acl_setfuncs(L, e, funcs);
}
