/* SPDX-License-Identifier: MIT */
/* hello.c -- who is at the other end of a connection, and which of several with the same process
 * stays (docs/protocol.md). The accepting side answers a HELLO with its own; then the connecting
 * side, which knows now whom it has reached, says START or drops the connection. Nothing but HELLO
 * has gone over a connection that is dropped, so nothing is lost with it. */
#include "core/net/state.h"

#include "core/base/clock.h"
#include "core/base/msgpack.h"
#include "core/base/version.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How long the accepting side waits for START. */
#define START_TIME (10 * ACO_SECOND)
enum { HELLO_MAX = 1024 };

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

int
aco_hello_send(aco_connection *c, bool connected)
{
    uint8_t body[HELLO_MAX], *at = body;
    const aco_net *net = c->net;

    at = aco_mp_map(at, connected ? 10 : 9);
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
    if (connected) at = aco_mp_bool(put_str(at, "connected"), true);
    return aco_connection_put(c, ACO_F_HELLO, body, (size_t)(at - body));
}

struct aco_hello {
    uint8_t process[16];
    bool has_process, probe; /* probe: it only looks, and wants to be no peer */
    bool connected;          /* it has a connection with us already, as far as it knows */
    int64_t version, message;
    double heartbeat;
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
hello_field(struct aco_hello *h, const aco_mp_item *key, const aco_mp_item *value)
{
    if (key->type != ACO_MP_STR) return;
    if (is_key(key, "version") && value->type == ACO_MP_INT) h->version = value->u.integer;
    if (is_key(key, "message") && value->type == ACO_MP_INT) h->message = value->u.integer;
    if (is_key(key, "probe") && value->type == ACO_MP_BOOL) h->probe = value->u.boolean;
    if (is_key(key, "connected") && value->type == ACO_MP_BOOL) h->connected = value->u.boolean;
    if (is_key(key, "heartbeat")) h->heartbeat = number_of(value);
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
hello_read(struct aco_hello *h, const uint8_t *body, size_t size)
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

/* Which one stays ------------------------------------------------------------------------------ */

static void
up(aco_connection *c)
{
    aco_net *net = c->net;
    const struct aco_hello *h = c->hello;
    aco_peer *peer = aco_peer_find(net, h->process);

    if (peer != NULL && peer->connection != NULL) {
        aco_connection_lose(peer->connection, ACO_EPEERDOWN, "it has connected anew");
        peer = aco_peer_find(net, h->process);
    }
    if (peer == NULL) peer = aco_peer_new(net, h->process);
    if (peer == NULL || aco_map_put(&net->by_serial, c->key, sizeof c->key, c) != ACO_OK) {
        aco_connection_bye(c, ACO_W_NOMEM, "not enough memory");
        return;
    }
    snprintf(peer->name, sizeof peer->name, "%s", h->name);
    snprintf(peer->location, sizeof peer->location, "%s", h->location);
    if ((uint64_t)h->message < c->message_max) c->message_max = (uint32_t)h->message;
    peer->queue.turn_limit = (size_t)c->message_max * ACO_FRAME_TIMES;
    double theirs = h->heartbeat * 3 * ACO_SECOND; /* which may be anything */
    bool slower = theirs > (double)net->timeout && h->heartbeat < 1e6;
    c->timeout = slower ? (aco_time)theirs : net->timeout;
    free(c->hello);
    c->hello = NULL;
    c->peer = peer;
    c->received = c->sent = aco_now_coarse();
    aco_connection_stage(c, ACO_STAGE_UP, ACO_NEVER);
    aco_net_alarm(net, &c->alarm, aco_now() + net->heartbeat);
    aco_place *place = c->place;
    c->place = NULL;
    peer->connection = c;
    if (place != NULL) aco_place_connected(place, peer);
    aco_peer_up(peer, c);
}

/* A connection that the same process has made and not decided about; NULL: there is none. */
static aco_connection *
undecided(const aco_connection *c)
{
    const aco_net *net = c->net;

    for (aco_link *l = net->connections.next; l != &net->connections; l = l->next) {
        aco_connection *other = ACO_CONTAINER_OF(l, aco_connection, link);
        if (other->stage == ACO_STAGE_START &&
            memcmp(other->hello->process, c->hello->process, 16) == 0)
            return other;
    }
    return NULL;
}

/* The connecting side decides. Of two processes that connect to each other at once the one with the
 * lower identity goes on, unless the other has decided before it knew. */
static void
decide(aco_connection *c)
{
    static const char why[] = "another connection of this pair is kept";
    const aco_net *net = c->net;
    aco_peer *peer = aco_peer_find(net, c->hello->process);
    aco_connection *theirs = undecided(c);
    bool lower = memcmp(aco_process_id(net->process), c->hello->process, 16) < 0;
    aco_place *place = c->place;

    if (peer != NULL && peer->connection != NULL) { /* reached by two names */
        c->place = NULL;
        aco_place_connected(place, peer);
        aco_connection_bye(c, ACO_W_DUPLICATE, why);
        return;
    }
    if (theirs != NULL && (!lower || c->hello->connected)) {
        c->place = NULL;
        aco_place_await(place, theirs, theirs->hello->process);
        aco_connection_bye(c, ACO_W_DUPLICATE, why);
        return;
    }
    for (; theirs != NULL; theirs = undecided(c))
        aco_connection_bye(theirs, ACO_W_DUPLICATE, why);
    if (aco_connection_put(c, ACO_F_START, NULL, 0) == ACO_OK)
        up(c);
    else
        aco_connection_bye(c, ACO_W_NOMEM, "not enough memory");
}

static void
answer(aco_connection *c)
{
    const aco_peer *peer = aco_peer_find(c->net, c->hello->process);

    aco_connection_settle(c);
    if (aco_hello_send(c, peer != NULL && peer->connection != NULL) != ACO_OK)
        aco_connection_bye(c, ACO_W_NOMEM, "not enough memory");
    else
        aco_connection_stage(c, ACO_STAGE_START, aco_now() + START_TIME);
}

/* Say who we are; the other side closes then. */
static void
answer_probe(aco_connection *c)
{
    aco_connection_settle(c);
    if (aco_hello_send(c, false) != ACO_OK)
        aco_connection_lose(c, ACO_ENOMEM, "not enough memory");
    else
        aco_connection_stage(c, ACO_STAGE_LEAVING, aco_now() + ACO_LEAVE_TIME);
}

void
aco_hello_take(aco_connection *c, const aco_frame *frame)
{
    aco_net *net = c->net;
    struct aco_hello h;

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
    c->hello = malloc(sizeof *c->hello);
    if (c->hello == NULL) {
        aco_connection_bye(c, ACO_W_NOMEM, "not enough memory");
        return;
    }
    *c->hello = h;
    if (c->dialed)
        decide(c);
    else
        answer(c);
}

void
aco_start_take(aco_connection *c, const aco_frame *frame)
{
    if (frame->type == ACO_F_START && frame->size == 0)
        up(c);
    else
        aco_connection_bye(c, ACO_W_PROTOCOL, "START expected");
}
