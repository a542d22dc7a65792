/* SPDX-License-Identifier: MIT */
/* socket.c -- connecting and listening at numeric addresses and Unix paths, and the options of
 * sockets. Names, and several addresses at once, are lua/asyncoro/socket.lua's. */
#include "bindings/socket.h"
#include "bindings/stream.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/io/socket.h"

#define LISTENER_NAME "asyncoro.listener"

/* How long to leave a listener alone when no descriptor is free. */
#define ACCEPT_REST (ACO_SECOND / 10)

typedef struct acl_listener {
    aco_watch watch;
    aco_waitq rest; /* those who wait for a descriptor to be free */
    aco_time timeout;
    aco_address was; /* where it listened, once it is closed */
    int fd;          /* -1: closed */
    bool tcp;
} acl_listener;

bool
acl_address_check(lua_State *L, int idx, aco_address *address)
{
    size_t size;
    const char *host = luaL_checklstring(L, idx, &size);
    const char scheme[] = "unix:";

    if (strncmp(host, scheme, sizeof scheme - 1) == 0) {
        const char *path = host + sizeof scheme - 1;
        int err = aco_address_unix(address, path, size - (sizeof scheme - 1));
        luaL_argcheck(L, err != ACO_EINVALID, idx, "the path of a Unix socket expected");
        return err == ACO_OK;
    }
    lua_Integer port = luaL_checkinteger(L, idx + 1);
    luaL_argcheck(L, port >= 0 && port <= UINT16_MAX, idx + 1, "a port of 0 to 65535 expected");
    return strlen(host) == size && aco_address_parse(address, host, (uint16_t)port) == ACO_OK;
}

int
acl_address_push(lua_State *L, const aco_address *address)
{
    char host[ACO_ADDRESS_TEXT];

    aco_address_host(address, host);
    lua_pushstring(L, host);
    if (address->storage.ss_family == AF_UNIX) return 1;
    lua_pushinteger(L, aco_address_port(address));
    return 2;
}

static int
address_fail(lua_State *L, const char *what, const aco_address *address, int err)
{
    int errnum = errno;
    char text[ACO_ADDRESS_TEXT];

    aco_address_text(address, text);
    bool ours = err == ACO_ETIMEOUT || err == ACO_ECLOSED || errnum == 0;
    return acl_fail(L, err, "%s %s: %s", what, text, ours ? aco_err_text(err) : strerror(errnum));
}

/* It is no address: a name, or a path that no socket can have. */
static int
name_fail(lua_State *L, const char *what, int idx)
{
    if (strncmp(lua_tostring(L, idx), "unix:", 5) == 0)
        return acl_fail(L, ACO_ETOOLARGE, "%s %s: the path is too long for a Unix socket", what,
                        lua_tostring(L, idx));
    return acl_fail(L, ACO_EINVALID, "%s %s: a numeric address expected", what,
                    lua_tostring(L, idx));
}

/* A stream of a new socket: small writes are sent at once. */
static int
socket_stream(acl_engine *e, aco_stream *s, int fd)
{
    const int on = 1;
    int err = aco_stream_open(s, &e->loop, fd);

    if (err != ACO_OK)
        close(fd);
    else
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* not of Unix sockets */
    return err;
}

/* Connecting ------------------------------------------------------------------------------------
 */

enum { AT_HOST = 1, AT_PORT, AT_TIMEOUT, AT_FROM, AT_STREAM };

static int
connect_result(lua_State *L, aco_stream *s, int err)
{
    aco_address to;

    if (err == ACO_OK) {
        lua_settop(L, AT_STREAM);
        acl_stream_remember(s); /* a connection that was reset knows its other side no more */
        return 1;
    }
    int errnum = errno;
    aco_stream_close(s);
    if (!acl_address_check(L, AT_HOST, &to)) return name_fail(L, "connect", AT_HOST);
    errno = errnum;
    return address_fail(L, "connect", &to, err);
}

static int
connect_k(lua_State *L, int status, lua_KContext ctx)
{
    acl_engine *e = acl_self(L);
    acl_coro *c = e->current;
    aco_stream *s = lua_touserdata(L, AT_STREAM);
    int err = c->task.wake_err;

    (void)status;
    (void)ctx;
    s->writing = false;
    if (err != ACO_OK) aco_stream_close(s);
    acl_wait_end(L, e, c);
    errno = 0;
    return connect_result(L, s, err == ACO_OK ? aco_socket_connected(s->fd) : err);
}

/* connect(host, port [, timeout [, from]]) -> stream; numeric addresses, "unix:path" */
static int
socket_connect(lua_State *L)
{
    acl_engine *e = acl_self(L);
    aco_address to, from;
    aco_time deadline = acl_opt_deadline(L, AT_TIMEOUT);
    int fd;

    lua_settop(L, AT_FROM);
    if (!acl_address_check(L, AT_HOST, &to)) return name_fail(L, "connect", AT_HOST);
    bool bound = !lua_isnil(L, AT_FROM);
    if (bound && aco_address_parse(&from, luaL_checkstring(L, AT_FROM), 0) != ACO_OK)
        return name_fail(L, "connect from", AT_FROM);
    acl_coro *c = acl_wait_check(L, e, "connect");
    aco_stream *s = acl_stream_new(L, e);
    int err = aco_socket_connect(&fd, &to, bound ? &from : NULL);
    if (fd < 0) return connect_result(L, s, err);
    bool under_way = err == ACO_EBUSY;
    err = socket_stream(e, s, fd);
    if (err != ACO_OK || !under_way) return connect_result(L, s, err);
    errno = 0;
    if (deadline == 0) return connect_result(L, s, ACO_ETIMEOUT);
    err = aco_watch_arm(&s->writer);
    if (err != ACO_OK) return connect_result(L, s, err);
    s->writing = true;
    aco_wait_begin(&c->task, ACO_WAIT_CONNECT);
    aco_wait_on(&c->task, &s->writer.queue);
    return acl_park(L, e, c, deadline, 0, connect_k);
}

/* pair() -> stream, stream */
static int
socket_pair(lua_State *L)
{
    acl_engine *e = acl_self(L);
    aco_stream *one = acl_stream_new(L, e), *other = acl_stream_new(L, e);
    int fds[2];
    int err = aco_socket_pair(fds);

    if (err == ACO_OK) {
        err = aco_stream_open(one, &e->loop, fds[0]);
        if (err == ACO_OK) err = aco_stream_open(other, &e->loop, fds[1]);
    }
    if (err != ACO_OK) return acl_fail(L, err, "socket pair: %s", strerror(errno));
    return 2;
}

/* from_fd(fd) -> stream, which owns it from now on */
static int
socket_from_fd(lua_State *L)
{
    acl_engine *e = acl_self(L);
    lua_Integer fd = luaL_checkinteger(L, 1);

    luaL_argcheck(L, fd > 2 && fd <= INT32_MAX, 1,
                  "a descriptor above 2 expected (0 to 2: asyncoro.stdin, .stdout, .stderr)");
    aco_stream *s = acl_stream_new(L, e);
    if (aco_watch_test((int)fd, false) == ACO_EINVALID)
        return acl_fail(L, ACO_EINVALID, "from_fd %d: closed, or a plain file", (int)fd);
    int err = aco_stream_open(s, &e->loop, (int)fd);
    if (err != ACO_OK) return acl_fail(L, err, "from_fd %d: %s", (int)fd, strerror(s->errnum));
    return 1;
}

/* Listening -------------------------------------------------------------------------------------
 */

static acl_listener *
check_listener(lua_State *L)
{
    return luaL_checkudata(L, 1, LISTENER_NAME);
}

static void
listener_shut(acl_listener *l)
{
    if (l->fd < 0) return;
    if (aco_address_of(&l->was, l->fd, false) != ACO_OK) l->was.size = 0;
    aco_watch_stop(&l->watch);
    close(l->fd);
    l->fd = -1;
    aco_waitq_wake_all(l->watch.loop, &l->watch.queue, ACO_ECLOSED);
    aco_waitq_wake_all(l->watch.loop, &l->rest, ACO_ECLOSED);
}

static acl_listener *
listener_new(lua_State *L, acl_engine *e)
{
    acl_listener *l = lua_newuserdatauv(L, sizeof *l, 0);

    *l = (acl_listener){.fd = -1, .timeout = ACO_NEVER};
    aco_watch_init(&l->watch, &e->loop, -1, false);
    aco_list_init(&l->rest);
    luaL_setmetatable(L, LISTENER_NAME);
    return l;
}

static void
listener_open(acl_listener *l, acl_engine *e, int fd, bool tcp)
{
    l->fd = fd;
    l->tcp = tcp;
    aco_watch_init(&l->watch, &e->loop, fd, false);
}

/* listen(host, port, backlog, reuse_port, v6_only) -> listener; numeric addresses, "unix:path" */
static int
socket_listen(lua_State *L)
{
    acl_engine *e = acl_self(L);
    const struct aco_listen options = {.backlog = (int)luaL_optinteger(L, 3, 1024),
                                       .reuse_port = lua_toboolean(L, 4),
                                       .v6_only = lua_toboolean(L, 5)};
    aco_address at;
    int fd;

    if (!acl_address_check(L, 1, &at)) return name_fail(L, "listen", 1);
    acl_listener *l = listener_new(L, e);
    int err = aco_socket_listen(&fd, &at, &options);
    if (err != ACO_OK) return address_fail(L, "listen", &at, err);
    listener_open(l, e, fd, at.storage.ss_family != AF_UNIX);
    return 1;
}

static const char *
listener_where(const acl_listener *l, char text[ACO_ADDRESS_TEXT])
{
    aco_address at = l->was;

    if (l->fd >= 0 && aco_address_of(&at, l->fd, false) != ACO_OK) at.size = 0;
    if (at.size == 0) return "listener";
    aco_address_text(&at, text);
    return text;
}

static int
accept_fail(lua_State *L, const acl_listener *l, int err)
{
    char text[ACO_ADDRESS_TEXT];
    bool ours = err == ACO_ETIMEOUT || err == ACO_ECLOSED;
    const char *why = ours ? aco_err_text(err) : strerror(errno);

    return acl_fail(L, err, "accept %s: %s", listener_where(l, text), why);
}

static int accept_k(lua_State *L, int status, lua_KContext ctx);

/* (listener, deadline) */
static int
accept_run(lua_State *L, acl_engine *e, acl_listener *l)
{
    acl_coro *c = e->current;
    aco_time deadline = (aco_time)lua_tointeger(L, 2);
    int fd = -1;

    lua_settop(L, 2);
    if (l->fd < 0) return accept_fail(L, l, ACO_ECLOSED);
    aco_stream *s = acl_stream_new(L, e);
    int err = aco_socket_accept(&fd, l->fd);
    if (err == ACO_OK) err = socket_stream(e, s, fd);
    if (err == ACO_OK) return acl_io_done(L, e, 1);
    if (err != ACO_EBUSY && err != ACO_ELIMIT) return accept_fail(L, l, err);
    if (deadline == 0) return accept_fail(L, l, ACO_ETIMEOUT);
    lua_settop(L, 2);
    aco_waitq *queue = err == ACO_EBUSY ? &l->watch.queue : &l->rest;
    if (err == ACO_EBUSY && (err = aco_watch_arm(&l->watch)) != ACO_OK)
        return accept_fail(L, l, err);
    if (queue == &l->rest && deadline > aco_now() + ACCEPT_REST) deadline = aco_now() + ACCEPT_REST;
    e->io_streak = 0;
    aco_wait_begin(&c->task, ACO_WAIT_ACCEPT);
    aco_wait_on(&c->task, queue);
    return acl_park(L, e, c, deadline, 0, accept_k);
}

static int
accept_k(lua_State *L, int status, lua_KContext ctx)
{
    acl_engine *e = acl_self(L);
    acl_coro *c = e->current;
    acl_listener *l = lua_touserdata(L, 1);
    int err = c->task.wake_err;

    (void)status;
    (void)ctx;
    acl_wait_end(L, e, c);
    bool over = err == ACO_ETIMEOUT && aco_now() >= (aco_time)lua_tointeger(L, 2);
    if (err == ACO_ECLOSED || over) return accept_fail(L, l, err);
    return accept_run(L, e, l);
}

/*** Accept the next connection.
Waits for one. When the process has no descriptor left it tries again every 0.1 s; connections wait
in the system's queue meanwhile.
@function listener:accept
@tparam[opt] number timeout seconds; nil waits for ever (or as `settimeout` said), 0 only looks
@treturn stream
@treturn[2] nil
@treturn[2] string message
@treturn[2] string "timeout", "closed" */
static int
listener_accept(lua_State *L)
{
    acl_engine *e = acl_self(L);
    acl_listener *l = check_listener(L);
    aco_time deadline = acl_opt_deadline(L, 2);

    if (lua_isnoneornil(L, 2) && l->timeout != ACO_NEVER)
        deadline = l->timeout > 0 ? aco_now() + l->timeout : 0;
    acl_wait_check(L, e, "accept");
    lua_settop(L, 1);
    lua_pushinteger(L, deadline);
    return accept_run(L, e, l);
}

/*** Set how long each later `accept` may take, unless it is told itself.
@function listener:settimeout
@tparam[opt] number seconds nil: no limit; 0: never wait
@treturn listener itself */
static int
listener_settimeout(lua_State *L)
{
    acl_listener *l = check_listener(L);

    l->timeout = acl_timeout_check(L, 2);
    lua_settop(L, 1);
    return 1;
}

/*** Stop listening. Those who wait get nil, message, "closed". Never waits; closing twice is
harmless. Connections that were accepted go on.
@function listener:close
@treturn boolean true */
static int
listener_close(lua_State *L)
{
    listener_shut(check_listener(L));
    lua_pushboolean(L, 1);
    return 1;
}

/*** Where it listens.
@function listener:address
@treturn string host, or the path of a Unix socket
@treturn ?integer port
@treturn[2] nil
@treturn[2] string message
@treturn[2] string "closed" */
static int
listener_address(lua_State *L)
{
    acl_listener *l = check_listener(L);
    char text[ACO_ADDRESS_TEXT];
    aco_address at;

    if (l->fd < 0) return acl_fail(L, ACO_ECLOSED, "address %s: closed", listener_where(l, text));
    int err = aco_address_of(&at, l->fd, false);
    if (err != ACO_OK) return acl_fail(L, err, "address: %s", strerror(errno));
    return acl_address_push(L, &at);
}

/*** The number of the descriptor, which stays the listener's.
@function listener:fileno
@treturn ?integer nil when it is closed */
static int
listener_fileno(lua_State *L)
{
    return acl_fd_push(L, check_listener(L)->fd);
}

static int
listener_tostring(lua_State *L)
{
    acl_listener *l = check_listener(L);
    char text[ACO_ADDRESS_TEXT];

    lua_pushfstring(L, "listener %s%s", listener_where(l, text), l->fd < 0 ? " (closed)" : "");
    return 1;
}

static int
listener_poll(lua_State *L)
{
    acl_listener *l = check_listener(L);

    lua_pushboolean(L, l->fd < 0 || aco_watch_test(l->fd, false) != ACO_ETIMEOUT);
    lua_pushboolean(L, 1);
    return 2;
}

static int
listener_queue(lua_State *L)
{
    acl_listener *l = check_listener(L);

    if (l->fd >= 0 && aco_watch_arm(&l->watch) != ACO_OK)
        return luaL_error(L, "select: the listener cannot be waited for");
    lua_pushlightuserdata(L, &l->watch.queue);
    return 1;
}

/* What only sockets have ------------------------------------------------------------------------
 */

static int
stream_address(lua_State *L, const char *what, bool peer)
{
    aco_stream *s = acl_stream_check(L, 1);
    aco_address at;

    if (s->fd < 0) return acl_stream_fail(L, s, what, ACO_ECLOSED);
    if (!s->socket) return acl_stream_fail(L, s, what, ACO_EUNSUPPORTED);
    int err = aco_address_of(&at, s->fd, peer);
    s->errnum = errno;
    if (err != ACO_OK) return acl_stream_fail(L, s, what, err);
    return acl_address_push(L, &at);
}

/*** The address of the other side of a socket.
@function stream:peer
@treturn string numeric host, or the path of a Unix socket
@treturn ?integer port
@treturn[2] nil
@treturn[2] string message
@treturn[2] string "closed"; "unsupported" for what is no socket; "system" when it is not connected
*/
static int
socket_peer(lua_State *L)
{
    return stream_address(L, "peer", true);
}

/*** The address of this side of a socket.
@function stream:address
@treturn string numeric host, or the path of a Unix socket
@treturn ?integer port
@treturn[2] nil
@treturn[2] string message
@treturn[2] string "closed"; "unsupported" for what is no socket */
static int
socket_address(lua_State *L)
{
    return stream_address(L, "address", false);
}

enum option_kind { OPTION_FLAG, OPTION_SIZE, OPTION_LINGER };

static const struct option {
    const char *name;
    int level, option;
    enum option_kind kind;
} options[] = {{"nodelay", IPPROTO_TCP, TCP_NODELAY, OPTION_FLAG},
               {"keepalive", SOL_SOCKET, SO_KEEPALIVE, OPTION_FLAG},
               {"keepalive_idle", IPPROTO_TCP, TCP_KEEPIDLE, OPTION_SIZE},
               {"keepalive_interval", IPPROTO_TCP, TCP_KEEPINTVL, OPTION_SIZE},
               {"keepalive_count", IPPROTO_TCP, TCP_KEEPCNT, OPTION_SIZE},
               {"send_buffer", SOL_SOCKET, SO_SNDBUF, OPTION_SIZE},
               {"receive_buffer", SOL_SOCKET, SO_RCVBUF, OPTION_SIZE},
               {"linger", SOL_SOCKET, SO_LINGER, OPTION_LINGER}};

static const struct option *
check_option(lua_State *L)
{
    const char *name = luaL_checkstring(L, 2);

    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        if (strcmp(options[i].name, name) == 0) return &options[i];
    luaL_argerror(L, 2, lua_pushfstring(L, "unknown option '%s'", name));
    return NULL;
}

/*** Set an option of a socket: `nodelay` (on for every new TCP socket), `keepalive` (boolean),
`keepalive_idle`, `keepalive_interval` (whole seconds), `keepalive_count`, `send_buffer`,
`receive_buffer` (bytes; the system may take another size), `linger` (whole seconds for which the
system goes on sending after close before it gives up; 0: close resets the connection; false: off).
@function stream:setoption
@tparam string name
@tparam boolean|integer value
@treturn boolean true
@treturn[2] nil
@treturn[2] string message
@treturn[2] string "closed"; "unsupported" for what is no such socket */
static int
socket_setoption(lua_State *L)
{
    aco_stream *s = acl_stream_check(L, 1);
    const struct option *o = check_option(L);
    int number = 0, done;

    if (o->kind == OPTION_FLAG)
        luaL_checktype(L, 3, LUA_TBOOLEAN);
    else if (o->kind == OPTION_SIZE || lua_toboolean(L, 3))
        number = (int)luaL_checkinteger(L, 3);
    luaL_argcheck(L, number >= 0, 3, "not a negative number expected");
    if (s->fd < 0) return acl_stream_fail(L, s, "setoption", ACO_ECLOSED);
    if (o->kind == OPTION_LINGER) {
        const struct linger value = {.l_onoff = lua_toboolean(L, 3), .l_linger = number};
        done = setsockopt(s->fd, o->level, o->option, &value, sizeof value);
    } else {
        if (o->kind == OPTION_FLAG) number = lua_toboolean(L, 3);
        done = setsockopt(s->fd, o->level, o->option, &number, sizeof number);
    }
    if (done != 0) return acl_stream_fail(L, s, "setoption", aco_stream_errno(s));
    lua_pushboolean(L, 1);
    return 1;
}

/*** The value of an option (see `setoption`).
@function stream:getoption
@tparam string name
@treturn boolean|integer
@treturn[2] nil
@treturn[2] string message
@treturn[2] string "closed"; "unsupported" for what is no such socket */
static int
socket_getoption(lua_State *L)
{
    aco_stream *s = acl_stream_check(L, 1);
    const struct option *o = check_option(L);
    union {
        int number;
        struct linger linger;
    } value = {.number = 0};
    socklen_t size = sizeof value;

    if (s->fd < 0) return acl_stream_fail(L, s, "getoption", ACO_ECLOSED);
    if (getsockopt(s->fd, o->level, o->option, &value, &size) != 0)
        return acl_stream_fail(L, s, "getoption", aco_stream_errno(s));
    if (o->kind == OPTION_FLAG)
        lua_pushboolean(L, value.number);
    else if (o->kind == OPTION_SIZE)
        lua_pushinteger(L, value.number);
    else if (value.linger.l_onoff)
        lua_pushinteger(L, value.linger.l_linger);
    else
        lua_pushboolean(L, 0);
    return 1;
}

static void
open_listener(lua_State *L, acl_engine *e)
{
    static const luaL_Reg methods[] = {
        {"accept", listener_accept}, {"settimeout", listener_settimeout},
        {"close", listener_close},   {"address", listener_address},
        {"fileno", listener_fileno}, {NULL, NULL}};
    static const luaL_Reg meta[] = {{"__tostring", listener_tostring},
                                    {"__close", listener_close},
                                    {"__gc", listener_close},
                                    {NULL, NULL}};
    static const luaL_Reg source[] = {
        {"poll", listener_poll}, {"queue", listener_queue}, {NULL, NULL}};

    luaL_newmetatable(L, LISTENER_NAME);
    acl_setfuncs(L, e, meta);
    lua_newtable(L);
    acl_setfuncs(L, e, source);
    lua_setfield(L, -2, "__select");
    lua_newtable(L);
    acl_setfuncs(L, e, methods);
    lua_pushvalue(L, -1);
    lua_setfield(L, -3, "__index");
    lua_setfield(L, -3, "listener"); /* core.listener: the methods */
    lua_pop(L, 1);
}

void
acl_open_socket(lua_State *L, acl_engine *e)
{
    static const luaL_Reg funcs[] = {{"connect", socket_connect},
                                     {"listen", socket_listen},
                                     {"pair", socket_pair},
                                     {"from_fd", socket_from_fd},
                                     {NULL, NULL}};
    static const luaL_Reg methods[] = {{"peer", socket_peer},
                                       {"address", socket_address},
                                       {"setoption", socket_setoption},
                                       {"getoption", socket_getoption},
                                       {NULL, NULL}};

    lua_newtable(L);
    acl_setfuncs(L, e, funcs);
    lua_setfield(L, -2, "socket");
    lua_getfield(L, -1, "stream");
    acl_setfuncs(L, e, methods);
    lua_pop(L, 1);
    open_listener(L, e);
}
