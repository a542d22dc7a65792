/* SPDX-License-Identifier: MIT */
/* network.c -- the network of this process for scripts: what lua/asyncoro/network.lua is made of,
 * which checks the arguments.
 *
 * Starting it stretches the secret and reads files, so it is a job of the pool. All engines of the
 * process share the network; the engine that is no isolate ends it, with its program. */
#include "bindings/network.h"
#include "bindings/job.h"
#include "bindings/leash.h"
#include "bindings/location.h"
#include "bindings/reach.h"
#include "bindings/report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/clock.h"
#include "core/net/net.h"
#include "core/net/secret.h"

static aco_net *
net_of(const acl_engine *e)
{
    aco_net *net = e->reach != NULL ? aco_net_of(e->reach->process) : NULL;

    return net != NULL && aco_net_running(net) ? net : NULL;
}

bool
acl_network_runs(const acl_engine *e)
{
    return net_of(e) != NULL;
}

bool
acl_network_takes_code(const acl_engine *e)
{
    aco_net *net = net_of(e);

    return net != NULL && aco_net_takes_code(net);
}

void
acl_network_push_asker(lua_State *L, const acl_engine *e, const aco_post *post)
{
    aco_net *net = net_of(e);
    struct aco_peer_info info;

    if (!aco_msg_is_foreign(post->msg))
        acl_location_push(L, aco_process_route(e->reach->process));
    else if (net != NULL && aco_net_asker(net, post, &info))
        acl_location_push(L, info.location);
    else
        lua_pushboolean(L, 0);
}

static int
no_network(lua_State *L, const char *what)
{
    return acl_fail(L, ACO_ENOTFOUND, "%s: this process has no network", what);
}

/* Start ---------------------------------------------------------------------------------------- */

enum { TEXTS = 10, PEERS_MOST = 1024 };

typedef struct start_job {
    aco_job job;
    aco_process *process; /* owned reference */
    struct aco_secret_options secret;
    struct aco_net_options options;
    char *texts[TEXTS]; /* owned, as are the peers and their array */
    char **peers;
    size_t peer_count;
    int err;
    char *why, *warning; /* owned */
} start_job;

static void
start_run(aco_job *job)
{
    start_job *s = (start_job *)job;
    aco_secret *secret = NULL;

    s->err = aco_secret_new(&s->secret, &secret, &s->why);
    aco_secret_rest(); /* the thread may be cut off at the end of the process */
    if (s->err != ACO_OK) return;
    const char *warning = aco_secret_warning(secret);
    s->warning = warning != NULL ? strdup(warning) : NULL;
    s->options.secret = secret;
    s->err = aco_net_start(s->process, &s->options, &s->why);
    aco_secret_unref(secret);
}

static void
start_free(aco_job *job)
{
    start_job *s = (start_job *)job;

    for (size_t i = 0; i < TEXTS; i++) {
        if (s->texts[i] != NULL) explicit_bzero(s->texts[i], strlen(s->texts[i]));
        free(s->texts[i]);
    }
    for (size_t i = 0; i < s->peer_count; i++)
        free(s->peers[i]);
    free(s->peers);
    free(s->why);
    free(s->warning);
    aco_process_unref(s->process);
    free(s);
}

/* A copy of the text in a field of the options at 1; NULL when there is none. */
static const char *
take_text(lua_State *L, start_job *s, size_t place, const char *field, size_t *length)
{
    size_t size;

    if (lua_getfield(L, 1, field) == LUA_TSTRING) {
        const char *text = lua_tolstring(L, -1, &size);
        s->texts[place] = malloc(size + 1);
        if (s->texts[place] == NULL) luaL_error(L, "not enough memory");
        memcpy(s->texts[place], text, size + 1);
        if (length != NULL) *length = size;
    }
    lua_pop(L, 1);
    return s->texts[place];
}

static double
take_number(lua_State *L, const char *field, double usual)
{
    lua_getfield(L, 1, field);
    double value = lua_isnil(L, -1) ? usual : lua_tonumber(L, -1);
    lua_pop(L, 1);
    return value;
}

static bool
take_flag(lua_State *L, const char *field)
{
    lua_getfield(L, 1, field);
    bool value = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return value;
}

static void
take_peers(lua_State *L, start_job *s)
{
    if (lua_getfield(L, 1, "peers") == LUA_TTABLE) {
        size_t count = lua_rawlen(L, -1);
        if (count > PEERS_MOST) luaL_error(L, "network: %d peers are too many", (int)count);
        s->peers = calloc(count + 1, sizeof *s->peers);
        if (s->peers == NULL) luaL_error(L, "not enough memory");
        for (size_t i = 0; i < count; i++) {
            lua_rawgeti(L, -1, (lua_Integer)i + 1);
            s->peers[i] = strdup(acl_location_check(L, -1));
            if (s->peers[i] == NULL) luaL_error(L, "not enough memory");
            s->peer_count++;
            lua_pop(L, 1);
        }
    }
    lua_pop(L, 1);
}

/* The options at 1, which have been checked. */
static void
take_options(lua_State *L, start_job *s)
{
    struct aco_net_options *o = &s->options;

    s->secret.secret = take_text(L, s, 0, "secret", &s->secret.secret_size);
    s->secret.certfile = take_text(L, s, 1, "certfile", NULL);
    s->secret.keyfile = take_text(L, s, 2, "keyfile", NULL);
    s->secret.cafile = take_text(L, s, 3, "cafile", NULL);
    o->name = take_text(L, s, 4, "name", NULL);
    o->host = take_text(L, s, 5, "host", NULL);
    o->advertise = take_text(L, s, 6, "advertise", NULL);
    o->dest_path = take_text(L, s, 7, "dest_path", NULL);
    s->secret.key_path = take_text(L, s, 8, "key_path", NULL);
    take_peers(L, s);
    o->peers = (const char *const *)s->peers;
    o->peer_count = s->peer_count;
    o->port = (uint16_t)take_number(L, "port", 0);
    o->discovery_port = (uint16_t)take_number(L, "discovery_port", 0);
    o->broadcast = take_flag(L, "broadcast");
    o->multicast = take_flag(L, "multicast");
    o->heartbeat = aco_deadline(0, take_number(L, "heartbeat", 0));
    o->peer_timeout = aco_deadline(0, take_number(L, "peer_timeout", 0));
    o->queue_limit = (size_t)take_number(L, "queue_limit", 0);
    o->max_file_size = (uint64_t)take_number(L, "max_file_size", 0);
    o->code = take_flag(L, "code");
}

static int
start_result(lua_State *L, acl_engine *e, const start_job *s)
{
    if (s->err == ACO_ENOMEM) return luaL_error(L, "not enough memory");
    if (s->err == ACO_EEXISTS)
        return acl_fail(L, s->err, "network: it has been started already (at %s)",
                        aco_process_route(e->reach->process));
    if (s->err != ACO_OK)
        return acl_fail(L, s->err, "%s", s->why != NULL ? s->why : aco_err_text(s->err));
    e->reach->has_started = true;
    aco_net *net = net_of(e);
    if (net != NULL && aco_net_attach(net, &e->loop) == ACO_ENOMEM)
        return luaL_error(L, "not enough memory");
    acl_location_push(L, aco_process_route(e->reach->process));
    lua_pushstring(L, s->warning);
    return 2;
}

static int
start_k(lua_State *L, int status, lua_KContext ctx)
{
    acl_engine *e = acl_self(L);

    (void)status;
    (void)ctx;
    acl_wait_end(L, e, e->current);
    return start_result(L, e, *(start_job **)lua_touserdata(L, 2));
}

/*** Start the network. For our own Lua files, which check the options.
@function network_start
@tparam table options
@treturn location
@treturn ?string a warning
@treturn[2] nil
@treturn[2] string message
@treturn[2] string code
@local */
static int
network_start(lua_State *L)
{
    acl_engine *e = acl_self(L);

    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    acl_wait_check(L, e, "network");
    aco_job **box = acl_job_box(L);
    start_job *s = calloc(1, sizeof *s);
    if (s == NULL) return luaL_error(L, "not enough memory");
    aco_job_init(&s->job, start_run, start_free);
    *box = &s->job;
    s->job.slow = true;
    s->process = aco_process_ref(e->reach->process);
    take_options(L, s);
    e->reach->linger = aco_deadline(0, take_number(L, "linger", 5));
    int err = acl_job_submit(e, &s->job);
    if (err != ACO_OK) return acl_fail(L, err, "network: no thread could be started");
    return acl_job_park(L, e, &s->job, ACO_NEVER, 0, start_k);
}

/* Certificates, read again --------------------------------------------------------------------- */

typedef struct reload_job {
    aco_job job;
    aco_secret *secret; /* owned reference */
    int err;
    char *why; /* owned */
} reload_job;

static void
reload_run(aco_job *job)
{
    reload_job *r = (reload_job *)job;

    r->err = aco_secret_reload(r->secret, &r->why);
    aco_secret_rest();
}

static void
reload_free(aco_job *job)
{
    reload_job *r = (reload_job *)job;

    aco_secret_unref(r->secret);
    free(r->why);
    free(r);
}

static int
reload_k(lua_State *L, int status, lua_KContext ctx)
{
    acl_engine *e = acl_self(L);

    (void)status;
    (void)ctx;
    acl_wait_end(L, e, e->current);
    const reload_job *r = *(reload_job **)lua_touserdata(L, 1);
    if (r->err != ACO_OK)
        return acl_fail(L, r->err, "reload_certificates: %s",
                        r->why != NULL ? r->why : aco_err_text(r->err));
    lua_pushboolean(L, 1);
    return 1;
}

/*** Read the files of the certificates again, for the connections to come. Waits.
@function network_reload
@treturn boolean true
@local */
static int
network_reload(lua_State *L)
{
    acl_engine *e = acl_self(L);
    aco_net *net = net_of(e);

    acl_wait_check(L, e, "reload_certificates");
    lua_settop(L, 0);
    if (net == NULL) return no_network(L, "reload_certificates");
    aco_job **box = acl_job_box(L);
    reload_job *r = calloc(1, sizeof *r);
    if (r == NULL) return luaL_error(L, "not enough memory");
    aco_job_init(&r->job, reload_run, reload_free);
    *box = &r->job;
    r->job.slow = true;
    r->secret = aco_net_secret(net);
    int err = acl_job_submit(e, &r->job);
    if (err != ACO_OK) return acl_fail(L, err, "reload_certificates: no thread could be started");
    return acl_job_park(L, e, &r->job, ACO_NEVER, 0, reload_k);
}

/* End ------------------------------------------------------------------------------------------ */

static void
report_unsent(acl_engine *e, size_t bytes)
{
    char text[128];

    if (bytes == 0) return;
    snprintf(text, sizeof text, "the network has ended with %zu bytes not sent", bytes);
    acl_report(e->L, e, text);
}

void
acl_network_end(acl_engine *e)
{
    aco_net *net = net_of(e);

    if (net == NULL || e->reach->self != NULL) return;
    aco_time linger = e->reach->has_started ? e->reach->linger : ACO_NET_LINGER;
    aco_net_detach(net, &e->loop);
    acl_leash_idle(e, true);
    report_unsent(e, aco_net_close(net, aco_now() + linger));
    acl_leash_idle(e, false);
    e->reach->has_started = false;
}

void
acl_network_leave(acl_engine *e)
{
    aco_net *net = aco_net_of(e->reach->process);

    if (net != NULL) aco_net_detach(net, &e->loop);
}

/*** End the network, as the end of the program does. Blocks. For our own Lua files, and specs.
@function network_close
@tparam[opt=0] number linger seconds
@local */
static int
network_close(lua_State *L)
{
    acl_engine *e = acl_self(L);
    aco_net *net = net_of(e);

    if (net != NULL) aco_net_detach(net, &e->loop);
    if (net != NULL)
        report_unsent(e, aco_net_close(net, aco_deadline(aco_now(), luaL_optnumber(L, 1, 0))));
    return 0;
}

/*** The network of this process runs.
@function network_runs
@treturn boolean
@treturn boolean it may start by itself; not in a program that embeds asyncoro
@local */
static int
network_runs(lua_State *L)
{
    acl_engine *e = acl_self(L);

    lua_pushboolean(L, acl_network_runs(e));
    lua_pushboolean(L, e->reach != NULL && !e->reach->asks_first);
    return 2;
}

/* Peers ---------------------------------------------------------------------------------------- */

/* The wait for an answer of the network is over, without one. */
static void
net_forget(const acl_engine *e)
{
    aco_return here = acl_return_here((acl_engine *)e, e->current);
    aco_gate *gate = aco_process_gate(e->reach->process);

    here.token--; /* of the wait that is over */
    if (gate != NULL) gate->ops->forget(gate, NULL, &here);
}

/* Wait for an answer of the network. */
static int
net_park(lua_State *L, acl_engine *e, enum aco_wait_kind what, aco_time deadline, lua_KFunction k)
{
    aco_wait_begin(&e->current->task, what);
    e->reach->waits++;
    return acl_park(L, e, e->current, deadline == 0 ? aco_now() : deadline, 0, k);
}

/* It is over: how. */
static int
net_woken(lua_State *L, acl_engine *e)
{
    int err = e->current->task.wake_err;

    e->reach->waits--;
    if (err == ACO_ETIMEOUT || err == ACO_ECANCELED) net_forget(e);
    acl_wait_end(L, e, e->current);
    return err;
}

enum { PEER_WHERE = 1, PEER_KEEP, PEER_TIMEOUT, NAME_TIMEOUT = 2 };

static int
peer_k(lua_State *L, int status, lua_KContext ctx)
{
    acl_engine *e = acl_self(L);
    const char *where = lua_tostring(L, PEER_WHERE);
    int err = net_woken(L, e);

    (void)status;
    (void)ctx;
    if (err == ACO_OK) {
        lua_pushboolean(L, 1);
        return 1;
    }
    if (err == ACO_ETIMEOUT) return acl_fail(L, err, "peer %s: it did not answer in time", where);
    const char *words = acl_ask_words(L, err);
    if (strncmp(words, where, strlen(where)) == 0) return acl_fail(L, err, "peer %s", words);
    return acl_fail(L, err, "peer %s: %s", where, words);
}

/*** Connect to the process at a location. For lua/asyncoro/network.lua.
@function network_peer
@tparam location|string location
@tparam boolean keep connect again whenever the connection is lost
@tparam[opt] number timeout
@local */
static int
network_peer(lua_State *L)
{
    acl_engine *e = acl_self(L);
    aco_net *net = net_of(e);
    aco_time deadline = acl_opt_deadline(L, PEER_TIMEOUT);

    acl_wait_check(L, e, "peer");
    const char *where = acl_location_check(L, PEER_WHERE);
    lua_settop(L, PEER_KEEP);
    if (net == NULL) return no_network(L, "peer");
    aco_return here = acl_return_here(e, e->current);
    int err = aco_net_peer(net, where, lua_toboolean(L, PEER_KEEP), &here);
    if (err == ACO_ENOMEM) return luaL_error(L, "not enough memory");
    if (err != ACO_OK) return acl_fail(L, err, "peer %s: %s", where, aco_err_text(err));
    return net_park(L, e, ACO_WAIT_CALL, deadline, peer_k);
}

static int
locate_peer_k(lua_State *L, int status, lua_KContext ctx)
{
    acl_engine *e = acl_self(L);
    int err = net_woken(L, e);

    (void)status;
    (void)ctx;
    if (err == ACO_OK && e->current->nvals == 1) {
        err = acl_msg_open(L);
        if (err == ACO_OK) return 1;
    }
    return acl_fail(L, err == ACO_ENOTFOUND ? ACO_ETIMEOUT : err,
                    "locate_peer: no peer has the name '%s'", lua_tostring(L, 1));
}

/*** Find the peer that has a name. For lua/asyncoro/network.lua.
@function network_locate_peer
@tparam string name
@tparam[opt] number timeout
@treturn location
@local */
static int
network_locate_peer(lua_State *L)
{
    acl_engine *e = acl_self(L);
    aco_net *net = net_of(e);
    size_t size;
    const char *name = luaL_checklstring(L, 1, &size);
    aco_time deadline = acl_opt_deadline(L, NAME_TIMEOUT);

    acl_wait_check(L, e, "locate_peer");
    lua_settop(L, 1);
    if (net == NULL) return no_network(L, "locate_peer");
    aco_return here = acl_return_here(e, e->current);
    int err = aco_net_locate_peer(net, name, size, deadline != 0, &here);
    if (err == ACO_ENOMEM) return luaL_error(L, "not enough memory");
    if (err != ACO_OK) return acl_fail(L, err, "locate_peer '%s': %s", name, aco_err_text(err));
    return net_park(L, e, ACO_WAIT_NAME, deadline == 0 ? ACO_NEVER : deadline, locate_peer_k);
}

static int
free_box_gc(lua_State *L)
{
    void **box = lua_touserdata(L, 1);

    free(*box);
    *box = NULL;
    return 0;
}

/* An empty box for something that is to be freed. */
static void **
free_box(lua_State *L)
{
    void **box = lua_newuserdatauv(L, sizeof *box, 0);

    *box = NULL;
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, free_box_gc);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    return box;
}

/*** The peers that are connected.
@function network_peers
@treturn {table,...} each with `location` and `name`; none while there is no network
@local */
static int
network_peers(lua_State *L)
{
    aco_net *net = net_of(acl_self(L));
    size_t count = 0;
    void **box = free_box(L);

    if (net != NULL) *box = aco_net_peers(net, &count);
    const struct aco_peer_info *peers = *box;
    lua_newtable(L);
    for (size_t i = 0; i < count; i++) {
        lua_createtable(L, 0, 2);
        acl_location_push(L, peers[i].location);
        lua_setfield(L, -2, "location");
        lua_pushstring(L, peers[i].name);
        lua_setfield(L, -2, "name");
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

/*** Where discovery asks, and what it has refused, in words.
@function network_discovery
@treturn string "" while it is off
@local */
static int
network_discovery(lua_State *L)
{
    aco_net *net = net_of(acl_self(L));
    char text[600] = "";

    if (net != NULL) aco_net_discovery_text(net, text, sizeof text);
    lua_pushstring(L, text);
    return 1;
}

/*** Let a coro hear of peers that come and go.
@function network_watch
@tparam coro coro
@tparam boolean stop
@local */
static int
network_watch(lua_State *L)
{
    acl_engine *e = acl_self(L);
    aco_net *net = net_of(e);
    acl_coro *c = acl_coro_test(L, 1);
    const acl_remote *r = c == NULL ? acl_remote_check(L, 1) : NULL;
    aco_mailbox *mailbox = NULL;

    if (net == NULL) return no_network(L, "peer_status");
    if (c != NULL && !(c->flags & ACL_ENDED))
        mailbox = acl_export_mailbox(L, e, 1);
    else if (r != NULL && r->x != NULL)
        mailbox = r->x->mailbox;
    if (mailbox == NULL)
        return acl_fail(L, ACO_ENOTFOUND,
                        "peer_status: the coro has ended, or is in another process");
    if (aco_net_watch_peers(net, mailbox, lua_toboolean(L, 2)) != ACO_OK)
        return luaL_error(L, "not enough memory");
    lua_pushboolean(L, 1);
    return 1;
}

/*** Leave the process at a location.
@function network_leave
@tparam location|string location
@local */
static int
network_leave(lua_State *L)
{
    aco_net *net = net_of(acl_self(L));
    const char *where = acl_location_check(L, 1);

    int err = net != NULL ? aco_net_close_peer(net, where) : ACO_ENOTFOUND;
    if (err == ACO_ENOMEM) return luaL_error(L, "not enough memory");
    if (err != ACO_OK) return acl_fail(L, err, "close_peer: %s is no peer", where);
    lua_pushboolean(L, 1);
    return 1;
}

/*** Look for peers now.
@function network_discover
@local */
static int
network_discover(lua_State *L)
{
    aco_net *net = net_of(acl_self(L));

    if (net == NULL) return no_network(L, "discover");
    aco_net_discover(net);
    lua_pushboolean(L, 1);
    return 1;
}

/*** Take no notice of processes that are discovered.
@function network_ignore
@tparam boolean flag
@local */
static int
network_ignore(lua_State *L)
{
    aco_net *net = net_of(acl_self(L));

    if (net == NULL) return no_network(L, "ignore_peers");
    aco_net_ignore_peers(net, lua_toboolean(L, 1));
    lua_pushboolean(L, 1);
    return 1;
}

bool
acl_network_stats(lua_State *L, const acl_engine *e)
{
    aco_net *net = net_of(e);
    struct aco_net_stats stats;

    if (net == NULL) return false;
    aco_net_stats(net, &stats);
    const struct {
        const char *name;
        uint64_t value;
    } figures[] = {{"peers", stats.peers},
                   {"connections", stats.links},
                   {"sent_messages", stats.sent_messages},
                   {"received_messages", stats.received_messages},
                   {"sent_bytes", stats.sent_bytes},
                   {"received_bytes", stats.received_bytes},
                   {"refused", stats.refused},
                   {"limited", stats.limited}};
    lua_createtable(L, 0, 10);
    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++) {
        lua_pushinteger(L, (lua_Integer)figures[i].value);
        lua_setfield(L, -2, figures[i].name);
    }
    if (stats.refusal[0] != '\0') {
        lua_pushstring(L, stats.refusal);
        lua_setfield(L, -2, "refusal");
    }
    return true;
}

void
acl_open_network(lua_State *L, acl_engine *e)
{
    static const luaL_Reg funcs[] = {{"network_start", network_start},
                                     {"network_close", network_close},
                                     {"network_runs", network_runs},
                                     {"network_reload", network_reload},
                                     {"network_peer", network_peer},
                                     {"network_locate_peer", network_locate_peer},
                                     {"network_peers", network_peers},
                                     {"network_watch", network_watch},
                                     {"network_leave", network_leave},
                                     {"network_discover", network_discover},
                                     {"network_discovery", network_discovery},
                                     {"network_ignore", network_ignore},
                                     {NULL, NULL}};

    acl_setfuncs(L, e, funcs);
}
