/* SPDX-License-Identifier: MIT */
/* transfer.c -- files sent to other processes, or removed there: core.send_file and
 * core.del_file, of which lua/asyncoro/transfer.lua makes what users see; core.dest_path. */
#include "bindings/transfer.h"
#include "bindings/job.h"
#include "bindings/location.h"
#include "bindings/reach.h"

#include <string.h>

#include "core/base/clock.h"
#include "core/net/location.h"
#include "core/net/net.h"
#include "core/net/secret.h"
#include "core/net/transfer.h"

#define TRANSFER_NAME "asyncoro.transfer"

enum { AT_LOCATION = 1, AT_PATH, AT_DIR, AT_FLAGS, AT_TIMEOUT, AT_BOX };

static void
box_drop(aco_transfer **box)
{
    aco_transfer *t = *box;

    *box = NULL;
    if (t == NULL) return;
    aco_transfer_cancel(t);
    aco_job_unref(&t->job);
}

static int
box_gc(lua_State *L)
{
    box_drop(lua_touserdata(L, 1));
    return 0;
}

/* What nobody waits for any more ends. */
static aco_transfer **
push_box(lua_State *L)
{
    aco_transfer **box = lua_newuserdatauv(L, sizeof *box, 0);

    *box = NULL;
    if (luaL_newmetatable(L, TRANSFER_NAME)) {
        lua_pushcfunction(L, box_gc);
        lua_setfield(L, -2, "__gc");
    }
    lua_setmetatable(L, -2);
    return box;
}

static const char *
check_text(lua_State *L, int idx)
{
    size_t size;
    const char *text = luaL_checklstring(L, idx, &size);

    luaL_argcheck(L, strlen(text) == size, idx, "a path expected, not one with a zero byte");
    return text;
}

static int
transfer_result(lua_State *L, const aco_transfer *t)
{
    if (t->err != ACO_OK)
        return acl_fail(L, t->err, t->removes ? "del_file %s at %s: %s" : "send_file %s to %s: %s",
                        lua_tostring(L, AT_PATH), lua_tostring(L, AT_LOCATION), t->why);
    lua_pushstring(L, t->path);
    lua_pushinteger(L, (lua_Integer)t->sent);
    return 2;
}

static int
transfer_k(lua_State *L, int status, lua_KContext ctx)
{
    acl_engine *e = acl_self(L);
    aco_transfer **box = lua_touserdata(L, AT_BOX);

    (void)status;
    (void)ctx;
    if (e->current->task.wake_err == ACO_ECANCELED) box_drop(box);
    acl_wait_end(L, e, e->current);
    return transfer_result(L, *box);
}

/* The network's secret, a reference; NULL when it has not been started. */
static struct aco_secret *
secret_of(acl_engine *e)
{
    aco_net *net = aco_net_of(e->reach->process);

    return net != NULL && aco_net_running(net) ? aco_net_secret(net) : NULL;
}

static aco_transfer *
transfer_make(const aco_location *to, const struct aco_transfer_options *how,
              struct aco_secret *secret, const char *path, bool removes)
{
    struct aco_transfer_options options = *how;

    options.host = to->host;
    options.port = to->port;
    options.server = to->server;
    options.secret = secret;
    aco_transfer *t =
        removes ? aco_transfer_remove(&options, path) : aco_transfer_send(&options, path);
    aco_secret_unref(secret);
    return t;
}

/* (location, path, dir or nil, flags, timeout or nil) -> path there, how many bytes were sent; nil,
 * message, code. Waits. */
static int
transfer_do(lua_State *L, bool removes)
{
    const char *what = removes ? "del_file" : "send_file";
    acl_engine *e = acl_self(L);
    const char *where = acl_location_check(L, AT_LOCATION);
    const char *path = check_text(L, AT_PATH);
    struct aco_transfer_options how = {.flags = (int)luaL_checkinteger(L, AT_FLAGS)};
    aco_location to;

    if (!lua_isnoneornil(L, AT_DIR)) how.dir = check_text(L, AT_DIR);
    if (!lua_isnoneornil(L, AT_TIMEOUT)) {
        aco_time patience = aco_deadline(0, luaL_checknumber(L, AT_TIMEOUT));
        how.patience = patience > 0 ? patience : 1;
    }
    if (aco_location_parse(&to, where, strlen(where), NULL) != ACO_OK)
        return luaL_argerror(L, AT_LOCATION, "a location expected");
    lua_settop(L, AT_TIMEOUT);
    acl_wait_check(L, e, what);
    aco_transfer **box = push_box(L);
    struct aco_secret *secret = secret_of(e);
    if (secret == NULL) return acl_fail(L, ACO_ENOTFOUND, "%s: this process has no network", what);
    *box = transfer_make(&to, &how, secret, path, removes);
    if (*box == NULL) return acl_fail(L, ACO_ENOMEM, "%s %s: not enough memory", what, path);
    int err = acl_job_submit(e, &(*box)->job);
    if (err != ACO_OK) return acl_fail(L, err, "%s %s: no thread could be started", what, path);
    return acl_job_park(L, e, &(*box)->job, ACO_NEVER, 0, transfer_k);
}

static int
send_file(lua_State *L)
{
    return transfer_do(L, false);
}

static int
del_file(lua_State *L)
{
    return transfer_do(L, true);
}

/* dest_path() -> the folder; nil, message, code */
static int
dest_path(lua_State *L)
{
    aco_net *net = aco_net_of(acl_self(L)->reach->process);
    char path[4096];

    if (net == NULL || !aco_net_dest_path(net, path, sizeof path))
        return acl_fail(L, ACO_ENOTFOUND, "dest_path: this process takes no files");
    lua_pushstring(L, path);
    return 1;
}

void
acl_open_transfer(lua_State *L, acl_engine *e)
{
    static const luaL_Reg funcs[] = {
        {"send_file", send_file}, {"del_file", del_file}, {"dest_path", dest_path}, {NULL, NULL}};

    acl_setfuncs(L, e, funcs);
}
