/* SPDX-License-Identifier: MIT */
/* udp.c -- datagram sockets at numeric addresses. Names are lua/asyncoro/udp.lua's. */
#include "bindings/udp.h"
#include "bindings/socket.h"
#include "bindings/stream.h"

#include <errno.h>
#include <net/if.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/io/datagram.h"
#include "core/io/socket.h"

#define UDP_NAME "asyncoro.udp"

typedef struct acl_udp {
    aco_watch reader, writer;
    aco_time timeout;
    aco_address was;       /* its own address, once it is closed */
    int fd;                /* -1: closed */
    unsigned interface;    /* through which groups are sent to, 0: the system's choice */
    bool reading, writing; /* a coro waits for it */
} acl_udp;

static acl_udp *
check_udp(lua_State *L)
{
    return luaL_checkudata(L, 1, UDP_NAME);
}

static void
udp_shut(acl_udp *u)
{
    if (u->fd < 0) return;
    if (aco_address_of(&u->was, u->fd, false) != ACO_OK) u->was.size = 0;
    aco_watch_stop(&u->reader);
    aco_watch_stop(&u->writer);
    close(u->fd);
    u->fd = -1;
    aco_waitq_wake_all(u->reader.loop, &u->reader.queue, ACO_ECLOSED);
    aco_waitq_wake_all(u->writer.loop, &u->writer.queue, ACO_ECLOSED);
}

static const char *
udp_where(const acl_udp *u, bool peer, char text[ACO_ADDRESS_TEXT])
{
    aco_address at = u->was;

    if (u->fd >= 0 && aco_address_of(&at, u->fd, peer) != ACO_OK) at.size = 0;
    if (at.size == 0) return "udp";
    aco_address_text(&at, text);
    return text;
}

/* nil, "WHAT WHERE: why", code; where: that address, else the peer's, else its own. */
static int
udp_fail(lua_State *L, const acl_udp *u, const char *what, const aco_address *at, int err)
{
    int errnum = errno;
    char text[ACO_ADDRESS_TEXT];
    const char *where = text;

    if (at != NULL)
        aco_address_text(at, text);
    else if (strcmp(where = udp_where(u, true, text), "udp") == 0)
        where = udp_where(u, false, text);
    bool ours = err == ACO_ETIMEOUT || err == ACO_ECLOSED || err == ACO_EBUSY || errnum == 0;
    return acl_fail(L, err, "%s %s: %s", what, where, ours ? aco_err_text(err) : strerror(errnum));
}

static aco_time
udp_deadline(lua_State *L, const acl_udp *u, int idx)
{
    if (!lua_isnoneornil(L, idx)) return acl_opt_deadline(L, idx);
    if (u->timeout == ACO_NEVER || u->timeout == 0) return u->timeout;
    return aco_now() + u->timeout;
}

/* open(host, port, reuse, broadcast) -> udp; false when the host is a name */
static int
udp_open(lua_State *L)
{
    acl_engine *e = acl_self(L);
    aco_address at;
    char text[ACO_ADDRESS_TEXT];

    if (!acl_address_check(L, 1, &at)) {
        lua_pushboolean(L, 0);
        return 1;
    }
    bool reuse = lua_toboolean(L, 3), broadcast = lua_toboolean(L, 4);
    acl_udp *u = lua_newuserdatauv(L, sizeof *u, 0);
    *u = (acl_udp){.fd = -1, .timeout = ACO_NEVER};
    aco_watch_init(&u->reader, &e->loop, -1, false);
    aco_watch_init(&u->writer, &e->loop, -1, true);
    luaL_setmetatable(L, UDP_NAME);
    int err = aco_socket_datagram(&u->fd, &at, reuse, broadcast);
    if (err != ACO_OK) {
        int errnum = errno;
        aco_address_text(&at, text);
        return acl_fail(L, err, "udp %s: %s", text, strerror(errnum));
    }
    u->reader.fd = u->writer.fd = u->fd;
    return 1;
}

/* Sending ---------------------------------------------------------------------------------------
 */

/* The stack of both ways to send. */
enum { AT_UDP = 1, AT_DATA, AT_HOST, AT_PORT, AT_DEADLINE };

static int send_k(lua_State *L, int status, lua_KContext to_peer);

static int
send_run(lua_State *L, acl_engine *e, acl_udp *u, bool to_peer)
{
    acl_coro *c = e->current;
    const char *what = to_peer ? "send" : "sendto";
    aco_time deadline = (aco_time)lua_tointeger(L, AT_DEADLINE);
    aco_address to;
    const aco_address *at = to_peer ? NULL : &to;
    size_t size;
    const char *data = lua_tolstring(L, AT_DATA, &size);

    if (!to_peer && !acl_address_check(L, AT_HOST, &to)) {
        lua_pushboolean(L, 0);
        return 1;
    }
    if (u->fd < 0) return udp_fail(L, u, what, at, ACO_ECLOSED);
    if (u->writing) return udp_fail(L, u, what, at, ACO_EBUSY);
    int err = aco_datagram_send(u->fd, data, size, at);
    if (err == ACO_OK) {
        lua_pushinteger(L, (lua_Integer)size);
        return acl_io_done(L, e, 1);
    }
    if (err == ACO_EBUSY && deadline == 0) err = ACO_ETIMEOUT;
    if (err == ACO_EBUSY) {
        err = aco_watch_arm(&u->writer);
        errno = 0;
        if (err == ACO_OK) {
            u->writing = true;
            e->io_streak = 0;
            aco_wait_begin(&c->task, ACO_WAIT_WRITE);
            aco_wait_on(&c->task, &u->writer.queue);
            return acl_park(L, e, c, deadline, to_peer, send_k);
        }
    }
    return udp_fail(L, u, what, at, err);
}

static int
send_k(lua_State *L, int status, lua_KContext to_peer)
{
    acl_engine *e = acl_self(L);
    acl_coro *c = e->current;
    acl_udp *u = lua_touserdata(L, AT_UDP);
    aco_address to;
    const aco_address *at = !to_peer && acl_address_check(L, AT_HOST, &to) ? &to : NULL;

    (void)status;
    u->writing = false;
    acl_wait_end(L, e, c);
    if (c->task.wake_err != ACO_OK)
        return udp_fail(L, u, to_peer ? "send" : "sendto", at, c->task.wake_err);
    return send_run(L, e, u, to_peer);
}

/* (udp, data, host, port, time-out); false when the host is a name */
static int
udp_sendto(lua_State *L)
{
    acl_engine *e = acl_self(L);
    acl_udp *u = check_udp(L);
    aco_time deadline = udp_deadline(L, u, 5);

    luaL_checkstring(L, AT_DATA);
    lua_settop(L, AT_PORT);
    lua_pushinteger(L, deadline);
    acl_wait_check(L, e, "sendto");
    return send_run(L, e, u, false);
}

/*** Send one datagram to whom it is connected (see `connect`).
Waits, hardly ever, until the system takes it.
@function udp:send
@tparam string data perhaps empty
@tparam[opt] number timeout seconds; its own (`settimeout`) when nil
@treturn integer how many bytes
@treturn[2] nil
@treturn[2] string message
@treturn[2] string "refused" when an earlier one found no receiver, "toolarge", "timeout", "closed",
"busy" when another coro sends, ... */
static int
udp_send(lua_State *L)
{
    acl_engine *e = acl_self(L);
    acl_udp *u = check_udp(L);
    aco_time deadline = udp_deadline(L, u, 3);

    luaL_checkstring(L, AT_DATA);
    lua_settop(L, AT_DATA);
    lua_pushnil(L);
    lua_pushnil(L);
    lua_pushinteger(L, deadline);
    acl_wait_check(L, e, "send");
    return send_run(L, e, u, true);
}

/* Receiving -------------------------------------------------------------------------------------
 */

enum { AT_LIMIT = 2, AT_UNTIL };

static const char *
receive_name(bool from_peer)
{
    return from_peer ? "recv" : "recvfrom";
}

/* data [, host, port] [, size]: the last when the datagram was longer than what there is of it. */
static int
receive_result(lua_State *L, acl_engine *e, size_t limit, size_t whole, const aco_address *from,
               bool from_peer)
{
    lua_settop(L, AT_UNTIL);
    lua_pushlstring(L, (const char *)e->scratch, whole < limit ? whole : limit);
    if (!from_peer && acl_address_push(L, from) == 1) lua_pushnil(L);
    if (whole > limit) lua_pushinteger(L, (lua_Integer)whole);
    return acl_io_done(L, e, lua_gettop(L) - AT_UNTIL);
}

static int receive_k(lua_State *L, int status, lua_KContext from_peer);

static int
receive_run(lua_State *L, acl_engine *e, acl_udp *u, bool from_peer)
{
    acl_coro *c = e->current;
    aco_time deadline = (aco_time)lua_tointeger(L, AT_UNTIL);
    size_t limit = (size_t)lua_tointeger(L, AT_LIMIT), whole = 0;
    const char *what = receive_name(from_peer);
    uint8_t *data = acl_scratch(e);
    aco_address from;

    if (u->fd < 0) return udp_fail(L, u, what, NULL, ACO_ECLOSED);
    if (u->reading) return udp_fail(L, u, what, NULL, ACO_EBUSY);
    if (data == NULL) return udp_fail(L, u, what, NULL, ACO_ENOMEM);
    int err = aco_datagram_receive(u->fd, data, limit, &whole, &from);
    if (err == ACO_OK) return receive_result(L, e, limit, whole, &from, from_peer);
    if (err == ACO_EBUSY && deadline == 0) err = ACO_ETIMEOUT;
    if (err == ACO_EBUSY) {
        err = aco_watch_arm(&u->reader);
        errno = 0;
        if (err == ACO_OK) {
            u->reading = true;
            e->io_streak = 0;
            aco_wait_begin(&c->task, ACO_WAIT_READ);
            aco_wait_on(&c->task, &u->reader.queue);
            return acl_park(L, e, c, deadline, from_peer, receive_k);
        }
    }
    return udp_fail(L, u, what, NULL, err);
}

static int
receive_k(lua_State *L, int status, lua_KContext from_peer)
{
    acl_engine *e = acl_self(L);
    acl_coro *c = e->current;
    acl_udp *u = lua_touserdata(L, AT_UDP);

    (void)status;
    u->reading = false;
    acl_wait_end(L, e, c);
    if (c->task.wake_err != ACO_OK)
        return udp_fail(L, u, receive_name(from_peer), NULL, c->task.wake_err);
    return receive_run(L, e, u, from_peer);
}

/* (udp, limit, time-out) */
static int
receive_begin(lua_State *L, bool from_peer)
{
    acl_engine *e = acl_self(L);
    acl_udp *u = check_udp(L);
    lua_Integer limit = luaL_optinteger(L, 2, ACL_SCRATCH);
    aco_time deadline = udp_deadline(L, u, 3);

    luaL_argcheck(L, limit >= 0, 2, "a number of bytes expected, not a negative one");
    acl_wait_check(L, e, receive_name(from_peer));
    lua_settop(L, AT_UDP);
    lua_pushinteger(L, limit < ACL_SCRATCH ? limit : ACL_SCRATCH);
    lua_pushinteger(L, deadline);
    return receive_run(L, e, u, from_peer);
}

/*** Receive one datagram.
Waits for one.
@function udp:recvfrom
@tparam[opt=65536] integer limit of bytes; what a datagram has more is lost
@tparam[opt] number timeout seconds; its own (`settimeout`) when nil; 0 only looks
@treturn string data, perhaps empty
@treturn string host it came from
@treturn integer port it came from
@treturn ?integer the whole size of the datagram, when it was over the limit
@treturn[2] nil
@treturn[2] string message
@treturn[2] string "timeout", "closed", "busy" when another coro receives, "refused" (see `connect`)
@usage local data, host, port = udp:recvfrom() */
static int
udp_recvfrom(lua_State *L)
{
    return receive_begin(L, false);
}

/*** Receive one datagram, without saying from whom; for those that are connected.
Waits for one.
@function udp:recv
@tparam[opt=65536] integer limit of bytes; what a datagram has more is lost
@tparam[opt] number timeout seconds; its own (`settimeout`) when nil; 0 only looks
@treturn string data, perhaps empty
@treturn ?integer the whole size of the datagram, when it was over the limit
@treturn[2] nil
@treturn[2] string message
@treturn[2] string "timeout", "closed", "busy", "refused" when one that was sent found no receiver
*/
static int
udp_recv(lua_State *L)
{
    return receive_begin(L, true);
}

/* The rest --------------------------------------------------------------------------------------
 */

static int
udp_result(lua_State *L, const acl_udp *u, const char *what, const aco_address *at, int err)
{
    if (err != ACO_OK) return udp_fail(L, u, what, at, err);
    lua_pushboolean(L, 1);
    return 1;
}

/* (udp [, host, port]) -> true; false when the host is a name */
static int
udp_connect(lua_State *L)
{
    acl_udp *u = check_udp(L);
    aco_address to;
    const aco_address *at = lua_isnoneornil(L, 2) ? NULL : &to;

    if (at != NULL && !acl_address_check(L, 2, &to)) {
        lua_pushboolean(L, 0);
        return 1;
    }
    if (u->fd < 0) return udp_fail(L, u, "connect", at, ACO_ECLOSED);
    return udp_result(L, u, "connect", at, aco_datagram_connect(u->fd, at));
}

/* The interface at idx: a name, an address, a number; nil: none given. */
static unsigned
check_interface(lua_State *L, int idx)
{
    if (lua_isnoneornil(L, idx)) return 0;
    unsigned index = aco_interface_index(luaL_checkstring(L, idx));
    luaL_argcheck(L, index != 0, idx, "the name, number or address of an interface expected");
    return index;
}

static int
change_group(lua_State *L, const char *what,
             int (*change)(int fd, const aco_address *group, unsigned interface))
{
    acl_udp *u = check_udp(L);
    unsigned interface = check_interface(L, 3);
    aco_address group;

    luaL_argcheck(L, aco_address_parse(&group, luaL_checkstring(L, 2), 0) == ACO_OK, 2,
                  "the numeric address of a group expected");
    if (u->fd < 0) return udp_fail(L, u, what, &group, ACO_ECLOSED);
    return udp_result(L, u, what, &group, change(u->fd, &group, interface));
}

/*** Receive what is sent to a multicast group.
@function udp:join
@tparam string group numeric address, "239.1.2.3" or "ff02::1234"
@tparam[opt] string|integer interface its name, number or one of its addresses; the system's choice
when nil
@treturn boolean true
@treturn[2] nil
@treturn[2] string message
@treturn[2] string "invalid" when it is no group, "exists" when it has been joined, "closed" ... */
static int
udp_join(lua_State *L)
{
    return change_group(L, "join", aco_datagram_join);
}

/*** Receive no more what is sent to a multicast group.
@function udp:leave
@tparam string group
@tparam[opt] string|integer interface as for `join`
@treturn boolean true
@treturn[2] nil
@treturn[2] string message
@treturn[2] string "invalid" when it has not been joined, "closed" ... */
static int
udp_leave(lua_State *L)
{
    return change_group(L, "leave", aco_datagram_leave);
}

enum option_kind { OPTION_FLAG, OPTION_SIZE, GROUP_FLAG, GROUP_SIZE, GROUP_INTERFACE };

static const struct option {
    const char *name;
    int option; /* of the level SOL_SOCKET, or enum aco_datagram_option */
    enum option_kind kind;
} options[] = {{"broadcast", SO_BROADCAST, OPTION_FLAG},
               {"send_buffer", SO_SNDBUF, OPTION_SIZE},
               {"receive_buffer", SO_RCVBUF, OPTION_SIZE},
               {"ttl", ACO_DATAGRAM_TTL, GROUP_SIZE},
               {"multicast_ttl", ACO_DATAGRAM_GROUP_TTL, GROUP_SIZE},
               {"multicast_loop", ACO_DATAGRAM_GROUP_LOOP, GROUP_FLAG},
               {"multicast_interface", ACO_DATAGRAM_GROUP_INTERFACE, GROUP_INTERFACE}};

static const struct option *
check_option(lua_State *L)
{
    const char *name = luaL_checkstring(L, 2);

    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        if (strcmp(options[i].name, name) == 0) return &options[i];
    luaL_argerror(L, 2, lua_pushfstring(L, "unknown option '%s'", name));
    return NULL;
}

static bool
is_flag(const struct option *o)
{
    return o->kind == OPTION_FLAG || o->kind == GROUP_FLAG;
}

static int
option_value(lua_State *L, const struct option *o)
{
    if (o->kind == GROUP_INTERFACE) return (int)check_interface(L, 3);
    if (is_flag(o)) {
        luaL_checktype(L, 3, LUA_TBOOLEAN);
        return lua_toboolean(L, 3);
    }
    lua_Integer number = luaL_checkinteger(L, 3);
    luaL_argcheck(L, number >= 0 && number <= INT32_MAX, 3, "not a negative number expected");
    return (int)number;
}

/*** Set an option: `broadcast` (boolean: may send to broadcast addresses), `ttl`, `multicast_ttl`
(how many networks a datagram may see; 1 unless set for groups), `multicast_loop` (boolean: what is
sent to a group comes to receivers of this machine, too; on unless set), `multicast_interface` (its
name, number or address; nil: the system's choice), `send_buffer`, `receive_buffer` (bytes; the
system may take another size).
@function udp:setoption
@tparam string name
@tparam boolean|integer|string value
@treturn boolean true
@treturn[2] nil
@treturn[2] string message
@treturn[2] string "closed", "invalid" ... */
static int
udp_setoption(lua_State *L)
{
    acl_udp *u = check_udp(L);
    const struct option *o = check_option(L);
    int value = option_value(L, o), err = ACO_OK;

    if (u->fd < 0) return udp_fail(L, u, "setoption", NULL, ACO_ECLOSED);
    if (o->kind != OPTION_FLAG && o->kind != OPTION_SIZE)
        err = aco_datagram_set(u->fd, (enum aco_datagram_option)o->option, value);
    else if (setsockopt(u->fd, SOL_SOCKET, o->option, &value, sizeof value) != 0)
        err = aco_err_from_errno(errno);
    if (err == ACO_OK && o->kind == GROUP_INTERFACE) u->interface = (unsigned)value;
    return udp_result(L, u, "setoption", NULL, err);
}

/*** The value of an option (see `setoption`).
@function udp:getoption
@tparam string name
@treturn boolean|integer|string|nil of `multicast_interface`: the name, nil when it is the system's
choice
@treturn[2] nil
@treturn[2] string message
@treturn[2] string "closed" */
static int
udp_getoption(lua_State *L)
{
    acl_udp *u = check_udp(L);
    const struct option *o = check_option(L);
    char name[IF_NAMESIZE];
    int value = 0, err = ACO_OK;
    socklen_t size = sizeof value;

    if (u->fd < 0) return udp_fail(L, u, "getoption", NULL, ACO_ECLOSED);
    if (o->kind == GROUP_INTERFACE) {
        lua_pushstring(L, u->interface != 0 ? if_indextoname(u->interface, name) : NULL);
        return 1;
    }
    if (o->kind == GROUP_FLAG || o->kind == GROUP_SIZE)
        err = aco_datagram_get(u->fd, (enum aco_datagram_option)o->option, &value);
    else if (getsockopt(u->fd, SOL_SOCKET, o->option, &value, &size) != 0)
        err = aco_err_from_errno(errno);
    if (err != ACO_OK) return udp_fail(L, u, "getoption", NULL, err);
    if (is_flag(o))
        lua_pushboolean(L, value);
    else
        lua_pushinteger(L, value);
    return 1;
}

static int
push_address(lua_State *L, const char *what, bool peer)
{
    acl_udp *u = check_udp(L);
    aco_address at;

    if (u->fd < 0) return udp_fail(L, u, what, NULL, ACO_ECLOSED);
    int err = aco_address_of(&at, u->fd, peer);
    if (err != ACO_OK) return udp_fail(L, u, what, NULL, err);
    return acl_address_push(L, &at);
}

/*** The address it has been bound to.
@function udp:address
@treturn string host
@treturn integer port
@treturn[2] nil
@treturn[2] string message
@treturn[2] string "closed" */
static int
udp_address(lua_State *L)
{
    return push_address(L, "address", false);
}

/*** To whom it is connected.
@function udp:peer
@treturn string host
@treturn integer port
@treturn[2] nil
@treturn[2] string message
@treturn[2] string "closed"; "system" when it is not connected */
static int
udp_peer(lua_State *L)
{
    return push_address(L, "peer", true);
}

/*** Close it. Coros that wait in it get nil, message, "closed". Never waits; closing twice is
harmless.
@function udp:close
@treturn boolean true */
static int
udp_close(lua_State *L)
{
    udp_shut(check_udp(L));
    lua_pushboolean(L, 1);
    return 1;
}

/*** Set how long each later operation may take, unless it is told itself.
@function udp:settimeout
@tparam[opt] number seconds nil: no limit; 0: never wait
@treturn udp itself */
static int
udp_settimeout(lua_State *L)
{
    check_udp(L)->timeout = acl_timeout_check(L, 2);
    lua_settop(L, 1);
    return 1;
}

/*** The time-out of each operation.
@function udp:gettimeout
@treturn ?number seconds; nil when there is none */
static int
udp_gettimeout(lua_State *L)
{
    return acl_timeout_push(L, check_udp(L)->timeout);
}

/*** The number of the descriptor, which stays its own.
@function udp:fileno
@treturn ?integer nil when it is closed */
static int
udp_fileno(lua_State *L)
{
    return acl_fd_push(L, check_udp(L)->fd);
}

static int
udp_tostring(lua_State *L)
{
    acl_udp *u = check_udp(L);
    char text[ACO_ADDRESS_TEXT];

    lua_pushfstring(L, "udp %s%s", udp_where(u, false, text), u->fd < 0 ? " (closed)" : "");
    return 1;
}

/* For asyncoro.select: would recvfrom have something? */
static int
select_poll(lua_State *L)
{
    acl_udp *u = check_udp(L);

    lua_pushboolean(L, u->fd < 0 || aco_watch_test(u->fd, false) != ACO_ETIMEOUT);
    lua_pushboolean(L, 1);
    return 2;
}

static int
select_queue(lua_State *L)
{
    acl_udp *u = check_udp(L);

    if (u->fd >= 0) {
        int err = aco_watch_arm(&u->reader);
        if (err != ACO_OK) return luaL_error(L, "select: %s", aco_err_text(err));
    }
    lua_pushlightuserdata(L, &u->reader.queue);
    return 1;
}

void
acl_open_udp(lua_State *L, acl_engine *e)
{
    static const luaL_Reg funcs[] = {
        {"open", udp_open}, {"sendto", udp_sendto}, {"connect", udp_connect}, {NULL, NULL}};
    static const luaL_Reg methods[] = {{"send", udp_send},
                                       {"recvfrom", udp_recvfrom},
                                       {"recv", udp_recv},
                                       {"join", udp_join},
                                       {"leave", udp_leave},
                                       {"setoption", udp_setoption},
                                       {"getoption", udp_getoption},
                                       {"address", udp_address},
                                       {"peer", udp_peer},
                                       {"close", udp_close},
                                       {"settimeout", udp_settimeout},
                                       {"gettimeout", udp_gettimeout},
                                       {"fileno", udp_fileno},
                                       {NULL, NULL}};
    static const luaL_Reg meta[] = {
        {"__tostring", udp_tostring}, {"__close", udp_close}, {"__gc", udp_close}, {NULL, NULL}};
    static const luaL_Reg source[] = {{"poll", select_poll}, {"queue", select_queue}, {NULL, NULL}};

    luaL_newmetatable(L, UDP_NAME);
    acl_setfuncs(L, e, meta);
    lua_newtable(L);
    acl_setfuncs(L, e, source);
    lua_setfield(L, -2, "__select");
    lua_newtable(L);
    acl_setfuncs(L, e, funcs);
    lua_newtable(L);
    acl_setfuncs(L, e, methods);
    lua_pushvalue(L, -1);
    lua_setfield(L, -4, "__index");
    lua_setfield(L, -2, "methods");
    lua_setfield(L, -3, "udp"); /* core.udp: the raw functions, and the methods */
    lua_pop(L, 1);
}
