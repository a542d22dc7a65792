/* SPDX-License-Identifier: MIT */
/* connection.c -- one connection of a pair of processes: the preface, the handshake, HELLO, frames,
 * and its end (docs/protocol.md). */
#include "core/net/state.h"

#include "core/base/clock.h"
#include "core/net/receiver.h"
#include "core/base/msgpack.h"
#include "core/base/version.h"
#include "core/io/socket.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

/* How long the system may take to connect, and both sides to get to know each other; to say
 * good-bye; bytes that one connection reads in one turn; that the system holds unsent. */
#define CONNECT_TIME (10 * ACO_SECOND)
#define SHAKE_TIME (10 * ACO_SECOND)
#define LEAVE_TIME (2 * ACO_SECOND)
enum { READ_TURN = 256 * 1024, UNSENT = 128 * 1024, PIECES = 32, HELLO_MAX = 1024 };

static void
say(char *out, size_t size, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(out, size, format, args);
    va_end(args);
}

/* Making and unmaking -------------------------------------------------------------------------- */

static aco_connection *
connection_new(aco_net *net, int fd)
{
    aco_connection *c = calloc(1, sizeof *c);
    int one = 1, unsent = UNSENT;

    if (c == NULL) return NULL;
    c->net = net;
    c->source = (aco_source){.kind = ACO_SOURCE_CONNECTION, .fd = fd};
    c->alarm.kind = ACO_ALARM_CONNECTION;
    c->serial = ++net->last_serial;
    aco_put_u64(c->key, c->serial);
    c->message_max = ACO_NET_MESSAGE_MAX;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof unsent);
    aco_list_append(&net->connections, &c->link);
    return c;
}

static void
stage_set(aco_connection *c, enum aco_stage stage, aco_time until)
{
    c->stage = stage;
    c->until = until;
    aco_net_alarm(c->net, &c->alarm, until);
}

aco_connection *
aco_connection_dial(aco_place *place, int fd, bool connected)
{
    aco_connection *c = connection_new(place->net, fd);

    if (c == NULL) return NULL;
    c->dialed = true;
    c->place = place;
    say(c->remote, sizeof c->remote, "%s", place->text);
    stage_set(c, ACO_STAGE_CONNECTING, aco_now() + CONNECT_TIME);
    aco_net_watch_fd(c->net, &c->source, EPOLLOUT);
    if (connected) aco_connection_event(c, EPOLLOUT);
    return c;
}

aco_connection *
aco_connection_accept(aco_net *net, int fd, const aco_address *from)
{
    aco_connection *c = connection_new(net, fd);

    if (c == NULL) return NULL;
    aco_address_text(from, c->remote);
    net->half_open++;
    c->counted = true;
    stage_set(c, ACO_STAGE_PREFACE, aco_now() + SHAKE_TIME);
    aco_net_watch_fd(net, &c->source, EPOLLIN);
    return c;
}

static void preface_serve(aco_connection *c);

aco_connection *
aco_connection_given(aco_net *net, int fd, const aco_address *from,
                     const uint8_t preface[ACO_PREFACE_SIZE])
{
    aco_connection *c = aco_connection_accept(net, fd, from);

    if (c == NULL) return NULL;
    memcpy(c->preface, preface, ACO_PREFACE_SIZE);
    preface_serve(c);
    return c;
}

void
aco_connection_free(aco_connection *c)
{
    aco_link_remove(&c->link);
    aco_secure_free(c->secure);
    aco_frames_free(&c->frames);
    aco_buf_free(&c->out);
    if (c->source.fd >= 0) close(c->source.fd);
    free(c);
}

/* It counts among those that are under way no more. */
static void
settle(aco_connection *c)
{
    if (c->counted) c->net->half_open--;
    c->counted = false;
}

/* It is gone for all others; its memory goes at the end of the turn. */
static void
connection_bury(aco_connection *c)
{
    aco_net *net = c->net;

    settle(c);
    aco_net_alarm(net, &c->alarm, ACO_NEVER);
    aco_net_watch_fd(net, &c->source, 0);
    if (c->dirty) aco_link_remove(&c->dirty_link);
    c->dirty = false;
    aco_map_remove(&net->by_serial, c->key, sizeof c->key);
    c->dead = true;
    aco_link_remove(&c->link);
    aco_list_append(&net->dead, &c->link);
}

void
aco_connection_lose(aco_connection *c, int err, const char *why)
{
    aco_peer *peer = c->peer;
    aco_place *place = c->place;

    if (c->dead) return;
    c->peer = NULL;
    c->place = NULL;
    if (peer != NULL)
        peer->connection = NULL;
    else if (c->counted && c->stage > ACO_STAGE_PREFACE)
        aco_net_refused(c->net, c->remote, why);
    connection_bury(c);
    if (peer != NULL) aco_peer_lost(peer, why);
    if (place != NULL) aco_place_failed(place, err, why);
}

/* Writing -------------------------------------------------------------------------------------- */

void
aco_connection_dirty(aco_connection *c)
{
    if (c->dirty || c->dead) return;
    c->dirty = true;
    atomic_store_explicit(&c->net->has_dirty, true, memory_order_relaxed);
    aco_list_append(&c->net->dirty, &c->dirty_link);
    aco_net_kick(c->net);
}

/* A frame of the connection's own, before its peer's. */
static int
own_frame(aco_connection *c, int type, const void *body, size_t size)
{
    uint8_t head[ACO_FRAME_HEAD];

    aco_frame_head(head, (uint32_t)size, type, 0);
    int err = aco_buf_reserve(&c->out, sizeof head + size);
    if (err == ACO_OK) err = aco_buf_add(&c->out, head, sizeof head);
    if (err == ACO_OK) err = aco_buf_add(&c->out, body, size);
    if (err == ACO_OK) aco_connection_dirty(c);
    return err;
}

/* What is to be written next: the connection's own bytes, then its peer's frames. */
static int
pieces_gather(aco_connection *c, struct iovec *pieces)
{
    int count = 0;

    if (c->out_sent < c->out.size) {
        pieces[0] = (struct iovec){.iov_base = c->out.data + c->out_sent,
                                   .iov_len = c->out.size - c->out_sent};
        count = 1;
    }
    if (c->peer != NULL && c->stage == ACO_STAGE_UP)
        count += aco_outq_iov(&c->peer->queue, pieces + count, PIECES - count);
    return count;
}

static void
pieces_done(aco_connection *c, size_t put)
{
    size_t own = c->out.size - c->out_sent;

    c->net->stats.sent_bytes += put;
    if (own > 0) {
        if (put < own) {
            c->out_sent += put;
            return;
        }
        put -= own;
        c->out.size = c->out_sent = 0;
    }
    if (put > 0) aco_outq_consumed(&c->peer->queue, put);
}

void
aco_connection_flush(aco_connection *c)
{
    struct iovec pieces[PIECES];
    size_t put = 0;

    if (c->stage < ACO_STAGE_HELLO) return;
    for (;;) {
        int count = pieces_gather(c, pieces);
        if (count == 0) break;
        int err = aco_secure_write(c->secure, pieces, count, &put);
        if (err == ACO_EBUSY) {
            aco_net_watch_fd(c->net, &c->source, EPOLLIN | EPOLLOUT);
            return;
        }
        if (err != ACO_OK) {
            aco_connection_lose(c, err, aco_secure_error(c->secure));
            return;
        }
        pieces_done(c, put);
        c->sent = aco_now_coarse();
        if (c->peer != NULL) aco_peer_roomy(c->peer);
    }
    int err =
        c->stage == ACO_STAGE_LEAVING ? aco_secure_end(c->secure) : aco_secure_flush(c->secure);
    if (err != ACO_OK && err != ACO_EBUSY) {
        aco_connection_lose(c, err, aco_secure_error(c->secure));
        return;
    }
    aco_net_watch_fd(c->net, &c->source, err == ACO_OK ? EPOLLIN : EPOLLIN | EPOLLOUT);
}

/* The first steps ------------------------------------------------------------------------------ */

static uint16_t
listens_at(const aco_connection *c)
{
    aco_address address;

    if (c->dialed) return c->place->location.port;
    return aco_address_of(&address, c->source.fd, false) == ACO_OK ? aco_address_port(&address) : 0;
}

static void
fail(aco_connection *c, int err, const char *format, ...)
{
    char text[200];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    aco_connection_lose(c, err, text);
}

static void shake(aco_connection *c);

static void
secure_begin(aco_connection *c)
{
    const char *host = c->dialed ? c->place->location.host : NULL;

    c->secure =
        aco_secure_new(c->net->secret, c->source.fd, !c->dialed, c->preface, host, listens_at(c));
    if (c->secure == NULL) {
        fail(c, ACO_ENOMEM, "not enough memory");
        return;
    }
    stage_set(c, ACO_STAGE_SECURING, aco_now() + SHAKE_TIME);
    shake(c);
}

static bool
send_bytes(const aco_connection *c, const uint8_t bytes[ACO_PREFACE_SIZE])
{
    return send(c->source.fd, bytes, ACO_PREFACE_SIZE, MSG_NOSIGNAL) == ACO_PREFACE_SIZE;
}

static void
connected(aco_connection *c)
{
    int err = aco_socket_connected(c->source.fd);

    if (err == ACO_EBUSY) return;
    if (err != ACO_OK) {
        fail(c, err, "%s", strerror(errno));
        return;
    }
    aco_preface_write(c->preface, ACO_PREFACE_MESSAGES, (uint8_t)aco_secret_mode(c->net->secret),
                      c->place->location.server);
    if (!send_bytes(c, c->preface)) {
        fail(c, ACO_ERESET, "the connection was closed at once");
        return;
    }
    stage_set(c, ACO_STAGE_PREFACE, aco_now() + SHAKE_TIME);
    aco_net_watch_fd(c->net, &c->source, EPOLLIN);
}

/* A connection for a file goes to a thread of its own, with the answer to its preface. */
static void
file_serve(aco_connection *c)
{
    uint16_t port = listens_at(c);
    int fd = c->source.fd;

    connection_bury(c);
    c->source.fd = -1;
    (void)!aco_receiver_serve(c->net->receiver, fd, c->preface, port);
}

/* A connection for a server behind this port is that server's from now on: it answers the preface.
 */
static uint8_t
server_serve(aco_connection *c, uint16_t number)
{
    int err = aco_handover_give(c->net, number, c->source.fd, c->preface);

    if (err == ACO_EBUSY) return ACO_PREFACE_BUSY;
    if (err != ACO_OK) return ACO_PREFACE_SERVER;
    connection_bury(c);
    return ACO_PREFACE_OK;
}

/* The acceptor's side: what does the preface ask for? */
static void
preface_serve(aco_connection *c)
{
    struct aco_preface p;
    uint8_t answer[ACO_PREFACE_SIZE];
    uint8_t mode = (uint8_t)aco_secret_mode(c->net->secret);
    uint8_t status = aco_preface_read(c->preface, &p);

    if (status == ACO_PREFACE_OK && p.server != c->net->number) {
        status = server_serve(c, p.server);
        if (status == ACO_PREFACE_OK) return;
    }
    if (status == ACO_PREFACE_OK && p.mode != mode) status = ACO_PREFACE_MODE;
    if (status == ACO_PREFACE_OK && p.kind == ACO_PREFACE_FILE) {
        file_serve(c);
        return;
    }
    if (status == ACO_PREFACE_FOREIGN) { /* whoever it is, it does not speak this */
        fail(c, ACO_EPROTOCOL, "it does not speak asyncoro's protocol");
        return;
    }
    aco_preface_answer(answer, status, mode);
    if (!send_bytes(c, answer)) {
        fail(c, ACO_ERESET, "the connection was closed at once");
        return;
    }
    if (status != ACO_PREFACE_OK) {
        c->stage = ACO_STAGE_SECURING; /* counts as refused */
        fail(c, ACO_EAUTH, "%s", aco_preface_text(status, c->preface[3], p.mode, mode));
        return;
    }
    secure_begin(c);
}

static void
preface_answered(aco_connection *c)
{
    uint8_t status, mode = (uint8_t)aco_secret_mode(c->net->secret), theirs;

    if (!aco_preface_read_answer(c->preface, &status, &theirs)) {
        fail(c, ACO_EPROTOCOL, "what listens there is not asyncoro");
        return;
    }
    if (status != ACO_PREFACE_OK) {
        int err = status == ACO_PREFACE_MODE ? ACO_EAUTH : ACO_EREFUSED;
        fail(c, err, "%s", aco_preface_text(status, c->preface[3], mode, theirs));
        return;
    }
    aco_preface_write(c->preface, ACO_PREFACE_MESSAGES, mode, c->place->location.server);
    secure_begin(c);
}

static void
preface_get(aco_connection *c)
{
    ssize_t got = recv(c->source.fd, c->preface + c->preface_got,
                       (size_t)(ACO_PREFACE_SIZE - c->preface_got), 0);

    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) {
        fail(c, got < 0 ? aco_err_from_errno(errno) : ACO_EEOF,
             got < 0 ? strerror(errno) : "the connection was closed before it began");
        return;
    }
    c->preface_got += (uint8_t)got;
    if (c->preface_got < ACO_PREFACE_SIZE) return;
    if (c->dialed)
        preface_answered(c);
    else
        preface_serve(c);
}

/* HELLO ---------------------------------------------------------------------------------------- */

static uint8_t *
put_str(uint8_t *at, const char *text)
{
    size_t size = strlen(text);

    at = aco_mp_str(at, (uint32_t)size);
    memcpy(at, text, size);
    return at + size;
}

static uint8_t *
put_float(uint8_t *at, const char *key, double value)
{
    return aco_mp_float(put_str(at, key), value);
}

static int
hello_send(aco_connection *c)
{
    uint8_t body[HELLO_MAX], *at = body;
    const aco_net *net = c->net;

    at = aco_mp_map(at, 9);
    at = aco_mp_int(put_str(at, "version"), ACO_PROTOCOL_VERSION);
    at = aco_mp_bin(put_str(at, "process"), 16);
    memcpy(at, aco_process_id(net->process), 16);
    at = put_str(put_str(at + 16, "name"), net->name);
    at = put_str(put_str(at, "location"), net->location);
    at = put_str(put_str(at, "agent"), aco_version());
    at = put_float(at, "heartbeat", (double)net->heartbeat / ACO_SECOND);
    at = put_float(at, "timeout", (double)net->timeout / ACO_SECOND);
    at = aco_mp_int(put_str(at, "message"), ACO_NET_MESSAGE_MAX);
    at = put_float(at, "time", aco_wall_time());
    return own_frame(c, ACO_F_HELLO, body, (size_t)(at - body));
}

struct hello {
    uint8_t process[16];
    bool has_process, probe; /* probe: it only looks, and wants to be no peer */
    int64_t version, message;
    double heartbeat, timeout;
    char name[ACO_NAME_MAX + 1], location[ACO_ROUTE_MAX + 1];
};

static bool
is_key(const aco_mp_item *key, const char *word)
{
    return key->size == strlen(word) && memcmp(key->u.data, word, key->size) == 0;
}

static void
text_take(const aco_mp_item *value, char *out, size_t max)
{
    if (value->type != ACO_MP_STR || value->size > max) return;
    memcpy(out, value->u.data, value->size);
    out[value->size] = '\0';
}

static double
number_of(const aco_mp_item *value)
{
    if (value->type == ACO_MP_FLOAT) return value->u.number;
    return value->type == ACO_MP_INT ? (double)value->u.integer : 0;
}

static void
hello_field(struct hello *h, const aco_mp_item *key, const aco_mp_item *value)
{
    if (key->type != ACO_MP_STR) return;
    if (is_key(key, "version") && value->type == ACO_MP_INT) h->version = value->u.integer;
    if (is_key(key, "message") && value->type == ACO_MP_INT) h->message = value->u.integer;
    if (is_key(key, "probe") && value->type == ACO_MP_BOOL) h->probe = value->u.boolean;
    if (is_key(key, "heartbeat")) h->heartbeat = number_of(value);
    if (is_key(key, "timeout")) h->timeout = number_of(value);
    if (is_key(key, "name")) text_take(value, h->name, ACO_NAME_MAX);
    if (is_key(key, "location")) text_take(value, h->location, ACO_ROUTE_MAX);
    if (is_key(key, "process") && value->type == ACO_MP_BIN && value->size == 16) {
        memcpy(h->process, value->u.data, 16);
        h->has_process = true;
    }
}

/* Values of later versions may be of any kind: skip the rest of one. */
static bool
skip(aco_mp_reader *reader, const aco_mp_item *item, int depth)
{
    size_t count = item->type == ACO_MP_ARRAY ? item->size
                   : item->type == ACO_MP_MAP ? 2 * (size_t)item->size
                                              : 0;
    aco_mp_item inner;

    if (count > 0 && depth > 8) return false;
    while (count-- > 0)
        if (aco_mp_next(reader, &inner) != ACO_OK || !skip(reader, &inner, depth + 1)) return false;
    return true;
}

static bool
hello_read(struct hello *h, const uint8_t *body, size_t size)
{
    aco_mp_reader reader = {.at = body, .end = body + size};
    aco_mp_item map, key, value;

    memset(h, 0, sizeof *h);
    if (aco_mp_next(&reader, &map) != ACO_OK || map.type != ACO_MP_MAP) return false;
    for (uint32_t i = 0; i < map.size; i++) {
        if (aco_mp_next(&reader, &key) != ACO_OK || aco_mp_next(&reader, &value) != ACO_OK)
            return false;
        hello_field(h, &key, &value);
        if (!skip(&reader, &value, 0)) return false;
    }
    return h->has_process && h->version >= 1 && h->message >= 65536;
}

/* Is the connection that we have, or make, to this process kept, and this new one refused? */
static bool
is_duplicate(const aco_connection *c, const struct hello *h)
{
    const aco_net *net = c->net;
    const aco_peer *peer = aco_peer_find(net, h->process);
    bool lower = memcmp(aco_process_id(net->process), h->process, 16) < 0;

    if (c->dialed || !lower) return false;
    if (peer != NULL && peer->connection != NULL && peer->connection->dialed) return true;
    if (peer != NULL && peer->place != NULL && peer->place->dial != NULL) return true;
    for (const aco_link *l = net->places.next; l != &net->places; l = l->next) {
        const aco_place *place = ACO_CONTAINER_OF(l, aco_place, link);
        if (place->dial != NULL && strcmp(place->text, h->location) == 0) return true;
    }
    return false;
}

/* Say who we are; the other side closes then. */
static void
answer_probe(aco_connection *c)
{
    settle(c);
    if (hello_send(c) == ACO_OK)
        stage_set(c, ACO_STAGE_LEAVING, aco_now() + LEAVE_TIME);
    else
        connection_bury(c);
}

static void
hello_take(aco_connection *c, const aco_frame *frame)
{
    aco_net *net = c->net;
    struct hello h;

    if (frame->type == ACO_F_BYE) {
        fail(c, frame->size > 0 ? aco_wire_error(frame->body[0]) : ACO_EREFUSED, "%.*s",
             frame->size > 1 ? (int)(frame->size - 1) : 0, (const char *)frame->body + 1);
        return;
    }
    if (frame->type != ACO_F_HELLO || !hello_read(&h, frame->body, frame->size)) {
        aco_connection_bye(c, ACO_W_PROTOCOL, "HELLO expected");
        return;
    }
    if (memcmp(h.process, aco_process_id(net->process), 16) == 0) {
        aco_connection_bye(c, ACO_W_INVALID, "this is the process itself");
        return;
    }
    if (net->closing) {
        aco_connection_bye(c, ACO_W_SHUTDOWN, "the process ends its network");
        return;
    }
    if (h.probe && !c->dialed) {
        answer_probe(c);
        return;
    }
    if (is_duplicate(c, &h)) {
        aco_connection_bye(c, ACO_W_DUPLICATE, "another connection of this pair is kept");
        return;
    }
    aco_peer *peer = aco_peer_find(net, h.process);
    if (peer != NULL && peer->connection != NULL) {
        if (c->dialed && peer->connection->dialed) { /* reached by two names */
            aco_place *place = c->place;
            c->place = NULL;
            aco_place_connected(place, c, peer);
            aco_connection_bye(c, ACO_W_DUPLICATE, "another connection of this pair is kept");
            return;
        }
        aco_connection_lose(peer->connection, ACO_EPEERDOWN, "it has connected anew");
        peer = aco_peer_find(net, h.process);
    }
    if (peer == NULL) peer = aco_peer_new(net, h.process);
    if (peer == NULL || (!c->dialed && hello_send(c) != ACO_OK) ||
        aco_map_put(&net->by_serial, c->key, sizeof c->key, c) != ACO_OK) {
        aco_connection_bye(c, ACO_W_NOMEM, "not enough memory");
        return;
    }
    settle(c);
    snprintf(peer->name, sizeof peer->name, "%s", h.name);
    snprintf(peer->location, sizeof peer->location, "%s", h.location);
    if ((uint64_t)h.message < c->message_max) c->message_max = (uint32_t)h.message;
    aco_time theirs = (aco_time)(h.heartbeat * 3 * ACO_SECOND);
    c->timeout = theirs > net->timeout && h.heartbeat < 1e6 ? theirs : net->timeout;
    c->peer = peer;
    c->received = c->sent = aco_now_coarse();
    stage_set(c, ACO_STAGE_UP, ACO_NEVER);
    aco_net_alarm(net, &c->alarm, aco_now() + net->heartbeat);
    aco_place *place = c->place;
    c->place = NULL;
    peer->connection = c;
    if (place != NULL) aco_place_connected(place, c, peer);
    aco_peer_up(peer, c);
}

/* Security is settled: say who we are; the acceptor waits to hear it. */
static void
secured(aco_connection *c)
{
    stage_set(c, ACO_STAGE_HELLO, aco_now() + SHAKE_TIME);
    aco_frames_init(&c->frames, ACO_NET_MESSAGE_MAX);
    if (c->dialed && hello_send(c) != ACO_OK) fail(c, ACO_ENOMEM, "not enough memory");
}

static void read_frames(aco_connection *c);

static void
shake(aco_connection *c)
{
    int err = aco_secure_shake(c->secure);

    if (err == ACO_EBUSY) {
        uint32_t wants = aco_secure_wants(c->secure) & POLLOUT ? EPOLLOUT : 0;
        aco_net_watch_fd(c->net, &c->source, EPOLLIN | wants);
        return;
    }
    if (err != ACO_OK) {
        fail(c, err, "%s", aco_secure_error(c->secure));
        return;
    }
    aco_net_watch_fd(c->net, &c->source, EPOLLIN);
    secured(c);
    if (!c->dead) read_frames(c);
}

/* Reading -------------------------------------------------------------------------------------- */

static void
frame_take(aco_connection *c, const aco_frame *frame)
{
    const char *why = "malformed frame";

    if (c->stage == ACO_STAGE_LEAVING) return;
    if (c->stage == ACO_STAGE_HELLO) {
        hello_take(c, frame);
        return;
    }
    if (frame->type == ACO_F_BYE) {
        fail(c, ACO_EPEERDOWN, "it said good-bye: %.*s",
             frame->size > 1 ? (int)(frame->size - 1) : 0, (const char *)frame->body + 1);
        return;
    }
    c->net->stats.received_messages++;
    int err = aco_serve(c->peer, frame, &why);
    if (err != ACO_OK) aco_connection_bye(c, aco_wire_code(err), why);
}

/* Take every frame that is whole; false when the connection is no more. */
static bool
frames_take(aco_connection *c)
{
    aco_frame frame;
    int err;

    while ((err = aco_frames_next(&c->frames, &frame)) == ACO_OK) {
        frame_take(c, &frame);
        if (c->dead) return false;
    }
    if (err == ACO_EBUSY) return true;
    aco_connection_bye(c, aco_wire_code(err), aco_frames_error(&c->frames));
    return false;
}

static void
read_all(aco_connection *c)
{
    size_t taken = 0;

    do {
        void *space;
        size_t size, got = 0;
        int err = aco_frames_space(&c->frames, &space, &size);
        if (err == ACO_OK) err = aco_secure_read(c->secure, space, size, &got);
        if (err == ACO_EBUSY) return;
        if (err != ACO_OK) {
            const char *why =
                err == ACO_EEOF ? "the connection was closed" : aco_secure_error(c->secure);
            fail(c, err == ACO_EEOF ? ACO_EPEERDOWN : err, "%s", why);
            return;
        }
        aco_frames_filled(&c->frames, got);
        c->net->stats.received_bytes += got;
        c->received = aco_now_coarse();
        taken += got;
        if (!frames_take(c)) return;
        if (got < size && !aco_secure_holds(c->secure)) return;
    } while (taken < READ_TURN || aco_secure_holds(c->secure));
}

/* One memory for what is read serves all connections that are idle between frames. */
static void
read_frames(aco_connection *c)
{
    aco_frames_borrow(&c->frames, &c->net->spare);
    read_all(c);
    aco_frames_lend(&c->frames, &c->net->spare);
}

/* Events --------------------------------------------------------------------------------------- */

void
aco_connection_event(aco_connection *c, uint32_t events)
{
    if (c->dead) return;
    switch (c->stage) {
    case ACO_STAGE_CONNECTING:
        connected(c);
        return;
    case ACO_STAGE_PREFACE:
        preface_get(c);
        return;
    case ACO_STAGE_SECURING:
        shake(c);
        return;
    default:
        break;
    }
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) read_frames(c);
    if (!c->dead && events & EPOLLOUT) aco_connection_flush(c);
}

static void
heartbeat(aco_connection *c, aco_time now)
{
    uint8_t body[8];
    aco_net *net = c->net;
    aco_time silent = now - c->received;

    if (silent >= c->timeout) {
        fail(c, ACO_EPEERDOWN, "nothing was heard of it for %.1f s", (double)silent / ACO_SECOND);
        return;
    }
    aco_time quiet = now - c->sent;
    aco_outq_trim(&c->peer->queue);
    if (quiet >= net->heartbeat) {
        aco_put_u64(body, (uint64_t)now);
        (void)aco_peer_queue(c->peer, ACO_F_PING, 0, NULL, body, sizeof body, NULL);
        quiet = 0;
    }
    aco_time next = now + net->heartbeat - quiet, end = c->received + c->timeout;
    aco_net_alarm(net, &c->alarm, next < end ? next : end);
}

void
aco_connection_alarm(aco_connection *c, aco_time now)
{
    static const char *const what[] = {
        [ACO_STAGE_CONNECTING] = "it did not answer in time",
        [ACO_STAGE_PREFACE] = "it said nothing in time",
        [ACO_STAGE_SECURING] = "the handshake took too long",
        [ACO_STAGE_HELLO] = "it did not say who it is in time",
        [ACO_STAGE_LEAVING] = "it was left",
    };

    if (c->stage != ACO_STAGE_UP)
        aco_connection_lose(c, ACO_ETIMEOUT, what[c->stage]);
    else
        heartbeat(c, now);
}

/* Say why, send it if that can be done at once, and go once the other side has closed: a connection
 * closed with bytes unread would be reset, and take with it what the other side has not read. */
void
aco_connection_bye(aco_connection *c, uint8_t code, const char *why)
{
    uint8_t body[200];
    size_t size = strlen(why);
    aco_peer *peer = c->peer;
    aco_place *place = c->place;

    if (c->dead || c->stage == ACO_STAGE_LEAVING) return;
    if (c->stage < ACO_STAGE_HELLO) {
        aco_connection_lose(c, aco_wire_error(code), why);
        return;
    }
    if (size > sizeof body - 1) size = sizeof body - 1;
    body[0] = code;
    memcpy(body + 1, why, size);
    bool counts = code != ACO_W_DUPLICATE && code != ACO_W_SHUTDOWN && code != ACO_W_INVALID;
    if (counts) aco_net_refused(c->net, c->remote, why);
    settle(c);
    c->peer = NULL;
    c->place = NULL;
    if (own_frame(c, ACO_F_BYE, body, size + 1) == ACO_OK)
        stage_set(c, ACO_STAGE_LEAVING, aco_now() + LEAVE_TIME);
    else
        connection_bury(c);
    if (peer != NULL) {
        peer->connection = NULL;
        aco_peer_lost(peer, why);
    }
    if (place != NULL) aco_place_failed(place, aco_wire_error(code), why);
}
