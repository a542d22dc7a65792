/* SPDX-License-Identifier: MIT */
/* connection.c -- one connection of a pair of processes: the preface, the handshake, frames, and
 * its end (docs/protocol.md); hello.c has what is between the handshake and the first frame. */
#include "core/net/state.h"

#include "core/base/clock.h"
#include "core/net/receiver.h"
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

/* How long the system may take to connect, and both sides to get to know each other; bytes that one
 * connection reads, and writes, in one turn; that the system holds unsent. */
#define CONNECT_TIME (10 * ACO_SECOND)
#define SHAKE_TIME (10 * ACO_SECOND)
enum { READ_TURN = 256 * 1024, WRITE_TURN = 512 * 1024, UNSENT = 128 * 1024, PIECES = 32 };

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

void
aco_connection_stage(aco_connection *c, enum aco_stage stage, aco_time until)
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
    aco_connection_stage(c, ACO_STAGE_CONNECTING, aco_now() + CONNECT_TIME);
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
    aco_connection_stage(c, ACO_STAGE_PREFACE, aco_now() + SHAKE_TIME);
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
    free(c->hello);
    if (c->source.fd >= 0) close(c->source.fd);
    free(c);
}

/* It counts among those that are under way no more. */
void
aco_connection_settle(aco_connection *c)
{
    if (c->counted) c->net->half_open--;
    c->counted = false;
}

/* It is gone for all others; its memory goes at the end of the turn. */
static void
connection_bury(aco_connection *c)
{
    aco_net *net = c->net;

    aco_connection_settle(c);
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
int
aco_connection_put(aco_connection *c, int type, const void *body, size_t size)
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
    for (size_t total = 0;; total += put) {
        int count = pieces_gather(c, pieces);
        if (count == 0) break;
        int err = total < WRITE_TURN ? aco_secure_write(c->secure, pieces, count, &put) : ACO_EBUSY;
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
    aco_connection_stage(c, ACO_STAGE_SECURING, aco_now() + SHAKE_TIME);
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
    aco_connection_stage(c, ACO_STAGE_PREFACE, aco_now() + SHAKE_TIME);
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

/* Security is settled: say who we are; the acceptor waits to hear it. */
static void
secured(aco_connection *c)
{
    aco_connection_stage(c, ACO_STAGE_HELLO, aco_now() + SHAKE_TIME);
    aco_frames_init(&c->frames, ACO_NET_MESSAGE_MAX);
    if (c->dialed && aco_hello_send(c, false) != ACO_OK) fail(c, ACO_ENOMEM, "not enough memory");
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

/* It said BYE. */
static void
left(aco_connection *c, const aco_frame *frame)
{
    int size = frame->size > 1 ? (int)(frame->size - 1) : 0;
    const char *why = (const char *)frame->body + 1;

    if (c->stage == ACO_STAGE_UP)
        fail(c, ACO_EPEERDOWN, "it said good-bye: %.*s", size, why);
    else
        fail(c, frame->size > 0 ? aco_wire_error(frame->body[0]) : ACO_EREFUSED, "%.*s", size, why);
}

static void
frame_take(aco_connection *c, const aco_frame *frame)
{
    const char *why = "malformed frame";

    if (c->stage == ACO_STAGE_LEAVING) return;
    if (frame->type == ACO_F_BYE) {
        left(c, frame);
        return;
    }
    if (c->stage == ACO_STAGE_HELLO) {
        aco_hello_take(c, frame);
        return;
    }
    if (c->stage == ACO_STAGE_START) {
        aco_start_take(c, frame);
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
        size_t size = 0, got = 0;
        int err = aco_frames_space(&c->frames, &space, &size);
        if (size > READ_TURN) size = READ_TURN;
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
    } while (taken < READ_TURN);
    if (c->hungry || !aco_secure_holds(c->secure)) return; /* the system tells of the rest */
    c->hungry = true;
    aco_net_alarm(c->net, &c->alarm, aco_now());
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
    if (!c->hungry) aco_outq_trim(&c->peer->queue);
    if (quiet >= net->heartbeat) {
        aco_put_u64(body, (uint64_t)now);
        (void)aco_peer_queue(c->peer, ACO_F_PING, 0, NULL, body, sizeof body, NULL);
        quiet = 0;
    }
    aco_time next = now + net->heartbeat - quiet, end = c->received + c->timeout;
    if (end < next) next = end;
    aco_net_alarm(net, &c->alarm, c->hungry ? aco_now() : next);
}

void
aco_connection_alarm(aco_connection *c, aco_time now)
{
    static const char *const what[] = {
        [ACO_STAGE_CONNECTING] = "it did not answer in time",
        [ACO_STAGE_PREFACE] = "it said nothing in time",
        [ACO_STAGE_SECURING] = "the handshake took too long",
        [ACO_STAGE_HELLO] = "it did not say who it is in time",
        [ACO_STAGE_START] = "it did not start in time",
        [ACO_STAGE_LEAVING] = "it was left",
    };

    if (c->hungry) {
        c->hungry = false;
        read_frames(c);
        if (c->dead) return;
    }
    if (c->stage == ACO_STAGE_UP)
        heartbeat(c, now);
    else if (c->until <= now)
        aco_connection_lose(c, ACO_ETIMEOUT, what[c->stage]);
    else
        aco_net_alarm(c->net, &c->alarm, c->hungry ? aco_now() : c->until);
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
    bool up = peer != NULL && c->stage == ACO_STAGE_UP;
    aco_connection_settle(c);
    c->peer = NULL;
    c->place = NULL;
    int err = up ? aco_outq_rest(&peer->queue, &c->out) : ACO_OK; /* BYE goes between frames */
    if (err == ACO_OK) err = aco_connection_put(c, ACO_F_BYE, body, size + 1);
    if (err == ACO_OK)
        aco_connection_stage(c, ACO_STAGE_LEAVING, aco_now() + ACO_LEAVE_TIME);
    else
        connection_bury(c);
    if (peer != NULL) {
        peer->connection = NULL;
        aco_peer_lost(peer, why);
    }
    if (place != NULL) aco_place_failed(place, aco_wire_error(code), why);
}
