/* SPDX-License-Identifier: MIT */
/* probe_peer.c -- asyncoro doctor and one other process: each step towards it, as far as it goes.
 * It says in its HELLO that it only looks, so that the other side makes no peer of it. */
#include "core/base/clock.h"
#include "core/base/error.h"
#include "core/base/msgpack.h"
#include "core/base/random.h"
#include "core/base/version.h"
#include "core/io/address.h"
#include "core/io/socket.h"
#include "core/net/frame.h"
#include "core/net/interface.h"
#include "core/net/location.h"
#include "core/net/preface.h"
#include "core/net/probe.h"
#include "core/net/probe_state.h"
#include "core/net/secure.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { HELLO = 1, BYE = 2, HELLO_MAX = 512, ADDRESSES = 8 };

/* A step under way: everything ends at `end`. */
struct talk {
    int fd;
    aco_time end;
    aco_secure *secure;
    aco_frames frames;
    aco_facts *facts;
};

/* True when the descriptor is ready in time. */
static bool
await(const struct talk *t, short events)
{
    struct pollfd p = {.fd = t->fd, .events = events};
    const aco_time left = t->end - aco_now();

    return left > 0 && poll(&p, 1, (int)(left / 1000000) + 1) == 1;
}

/* Connecting ----------------------------------------------------------------------------------- */

/* Without a secret nobody but this machine is asked: the proof is for loopback only. */
static int
connect_to(struct talk *t, const aco_address *to, bool loopback)
{
    if (loopback && !aco_address_is_loopback(to)) return ACO_EDENIED;
    int err = aco_socket_connect(&t->fd, to, NULL);
    if (err != ACO_OK && err != ACO_EBUSY) return err;
    if (err == ACO_EBUSY) err = await(t, POLLOUT) ? aco_socket_connected(t->fd) : ACO_ETIMEOUT;
    if (err == ACO_OK) return ACO_OK;
    close(t->fd);
    t->fd = -1;
    return err;
}

static bool
connect_any(struct talk *t, const struct addrinfo *found, const aco_location *location,
            bool loopback, aco_time patience)
{
    char text[ACO_ADDRESS_TEXT];
    aco_address to, at;

    for (int n = 0; found != NULL && n < ADDRESSES; found = found->ai_next, n++) {
        to.size = found->ai_addrlen;
        memcpy(&to.storage, found->ai_addr, found->ai_addrlen);
        aco_address_host(&to, text);
        if (aco_address_parse(&at, text, location->port) != ACO_OK) continue;
        aco_address_text(&at, text);
        aco_facts_add(t->facts, "address", "%s", text);
        t->end = aco_now() + patience;
        int err = connect_to(t, &at, loopback);
        if (err == ACO_OK) {
            aco_facts_add(t->facts, "connected", "%s", text);
            return true;
        }
        aco_facts_add(t->facts, "unreachable", "%s", text);
        aco_facts_add(t->facts, "cause", "%s", aco_err_word(err));
    }
    return false;
}

static bool
reach(struct talk *t, const aco_location *location, bool loopback, aco_time patience)
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    int code = getaddrinfo(location->host, NULL, &hints, &found);

    if (code != 0) {
        aco_facts_add(t->facts, "unknown", "%s", gai_strerror(code));
        return false;
    }
    bool reached = connect_any(t, found, location, loopback, patience);
    freeaddrinfo(found);
    return reached;
}

/* The preface and its answer ------------------------------------------------------------------- */

static bool
read_all(struct talk *t, uint8_t *data, size_t size, const char **word)
{
    for (size_t got = 0; got < size;) {
        ssize_t n = recv(t->fd, data + got, size - got, 0);
        if (n > 0) {
            got += (size_t)n;
        } else if (n == 0 || errno != EAGAIN) {
            *word = "closed";
            return false;
        } else if (!await(t, POLLIN)) {
            *word = "silent";
            return false;
        }
    }
    return true;
}

static bool
ask_preface(struct talk *t, const uint8_t preface[ACO_PREFACE_SIZE], uint8_t ours)
{
    uint8_t answer[ACO_PREFACE_SIZE], status, theirs;
    const char *word = "closed";

    if (send(t->fd, preface, ACO_PREFACE_SIZE, MSG_NOSIGNAL) != ACO_PREFACE_SIZE ||
        !read_all(t, answer, sizeof answer, &word)) {
        aco_facts_add(t->facts, "answer", "%s", word);
        return false;
    }
    if (!aco_preface_read_answer(answer, &status, &theirs)) {
        aco_facts_add(t->facts, "answer", "foreign");
        return false;
    }
    aco_facts_add(t->facts, "peer_version", "%u", answer[3]);
    aco_facts_add(t->facts, "peer_mode", "%c", theirs);
    aco_facts_add(t->facts, "answer", "%s", status == ACO_PREFACE_OK ? "ok" : "refused");
    if (status == ACO_PREFACE_OK) return true;
    aco_facts_add(t->facts, "refusal", "%s", aco_preface_text(status, answer[3], ours, theirs));
    return false;
}

/* Security ------------------------------------------------------------------------------------- */

static bool
shake(struct talk *t)
{
    int err;

    while ((err = aco_secure_shake(t->secure)) == ACO_EBUSY)
        if (!await(t, aco_secure_wants(t->secure))) break;
    if (err == ACO_OK) {
        aco_facts_add(t->facts, "secure", "ok");
        return true;
    }
    const char *why =
        err == ACO_EBUSY ? "the handshake took too long" : aco_secure_error(t->secure);
    aco_facts_add(t->facts, "secure", "%s", why != NULL ? why : aco_err_text(err));
    return false;
}

/* HELLO ---------------------------------------------------------------------------------------- */

static uint8_t *
put_str(uint8_t *at, const char *text)
{
    const size_t size = strlen(text);

    at = aco_mp_str(at, (uint32_t)size);
    memcpy(at, text, size);
    return at + size;
}

static bool
write_all(struct talk *t, uint8_t *data, size_t size)
{
    for (size_t sent = 0; sent < size;) {
        const struct iovec part = {data + sent, size - sent};
        size_t put = 0;
        int err = aco_secure_write(t->secure, &part, 1, &put);
        sent += put;
        if (err == ACO_EBUSY && await(t, POLLOUT)) continue;
        if (err != ACO_OK) return false;
    }
    int err;
    while ((err = aco_secure_flush(t->secure)) == ACO_EBUSY)
        if (!await(t, POLLOUT)) break;
    return err == ACO_OK;
}

static bool
say_hello(struct talk *t)
{
    uint8_t frame[ACO_FRAME_HEAD + HELLO_MAX], *at = frame + ACO_FRAME_HEAD;

    at = aco_mp_map(at, 10);
    at = aco_mp_int(put_str(at, "version"), ACO_PROTOCOL_VERSION);
    at = aco_mp_bin(put_str(at, "process"), 16);
    if (aco_random(at, 16) != ACO_OK) return false;
    at = put_str(put_str(at + 16, "name"), "asyncoro doctor");
    at = put_str(put_str(at, "location"), "");
    at = put_str(put_str(at, "agent"), aco_version());
    at = aco_mp_float(put_str(at, "heartbeat"), 5);
    at = aco_mp_float(put_str(at, "timeout"), 15);
    at = aco_mp_int(put_str(at, "message"), 65536);
    at = aco_mp_float(put_str(at, "time"), aco_wall_time());
    at = aco_mp_bool(put_str(at, "probe"), true);
    aco_frame_head(frame, (uint32_t)(at - frame - ACO_FRAME_HEAD), HELLO, 0);
    return write_all(t, frame, (size_t)(at - frame));
}

static void
say_bye(struct talk *t)
{
    uint8_t frame[ACO_FRAME_HEAD + 1];

    aco_frame_head(frame, 1, BYE, 0);
    frame[ACO_FRAME_HEAD] = 0;
    if (write_all(t, frame, sizeof frame)) (void)shutdown(t->fd, SHUT_WR);
}

/* The first frame of the other side, whole. */
static int
read_frame(struct talk *t, aco_frame *frame)
{
    int err;

    while ((err = aco_frames_next(&t->frames, frame)) == ACO_EBUSY) {
        void *space;
        size_t size, got = 0;
        err = aco_frames_space(&t->frames, &space, &size);
        if (err == ACO_OK) err = aco_secure_read(t->secure, space, size, &got);
        if (err == ACO_OK) aco_frames_filled(&t->frames, got);
        if (err == ACO_EBUSY && !await(t, aco_secure_wants(t->secure) | POLLIN))
            return ACO_ETIMEOUT;
        if (err != ACO_OK && err != ACO_EBUSY) return err;
    }
    return err;
}

static bool
is_key(const aco_mp_item *key, const char *word)
{
    return key->type == ACO_MP_STR && key->size == strlen(word) &&
           memcmp(key->u.data, word, key->size) == 0;
}

static void
take_field(aco_facts *facts, const aco_mp_item *key, const aco_mp_item *value, double middle)
{
    static const char *const texts[] = {"name", "location", "agent"};

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (is_key(key, texts[i]) && value->type == ACO_MP_STR)
            aco_facts_add(facts, texts[i], "%.*s", value->size < 300 ? (int)value->size : 300,
                          (const char *)value->u.data);
    if (is_key(key, "version") && value->type == ACO_MP_INT)
        aco_facts_add(facts, "protocol", "%lld", (long long)value->u.integer);
    if (is_key(key, "time") && value->type == ACO_MP_FLOAT)
        aco_facts_add(facts, "clock", "%.3f", value->u.number - middle);
}

/* Values of later versions may be of any kind: skip what is inside one. */
static bool
skip(aco_mp_reader *reader, const aco_mp_item *item, int depth)
{
    const size_t count = item->type == ACO_MP_ARRAY ? item->size
                         : item->type == ACO_MP_MAP ? 2 * (size_t)item->size
                                                    : 0;
    aco_mp_item inner;

    if (count > 0 && depth > 8) return false;
    for (size_t i = 0; i < count; i++)
        if (aco_mp_next(reader, &inner) != ACO_OK || !skip(reader, &inner, depth + 1)) return false;
    return true;
}

static bool
take_hello(aco_facts *facts, const aco_frame *frame, double middle)
{
    aco_mp_reader reader = {frame->body, frame->body + frame->size};
    aco_mp_item map, key, value;

    if (aco_mp_next(&reader, &map) != ACO_OK || map.type != ACO_MP_MAP) return false;
    for (uint32_t i = 0; i < map.size; i++) {
        if (aco_mp_next(&reader, &key) != ACO_OK || !skip(&reader, &key, 0) ||
            aco_mp_next(&reader, &value) != ACO_OK)
            return false;
        take_field(facts, &key, &value, middle);
        if (!skip(&reader, &value, 0)) return false;
    }
    return true;
}

static void
exchange_hello(struct talk *t)
{
    aco_frame frame;
    const aco_time start = aco_now();

    int err = say_hello(t) ? read_frame(t, &frame) : ACO_ERESET;
    const double trip = (double)(aco_now() - start) / ACO_SECOND;
    if (err != ACO_OK) {
        aco_facts_add(t->facts, "hello", "%s",
                      err == ACO_EPROTOCOL ? aco_frames_error(&t->frames) : aco_err_text(err));
    } else if (frame.type == BYE) {
        const size_t size = frame.size > 1 ? frame.size - 1 : 0;
        aco_facts_add(t->facts, "hello", "%.*s", size < 300 ? (int)size : 300,
                      size > 0 ? (const char *)frame.body + 1 : "");
    } else if (frame.type != HELLO || !take_hello(t->facts, &frame, aco_wall_time() - trip / 2)) {
        aco_facts_add(t->facts, "hello", "what it sent is no HELLO");
    } else {
        aco_facts_add(t->facts, "hello", "ok");
        aco_facts_add(t->facts, "trip", "%.6f", trip);
        say_bye(t);
    }
}

static void
talk_to(struct talk *t, const aco_location *location, aco_secret *secret, aco_time patience)
{
    uint8_t preface[ACO_PREFACE_SIZE];
    const uint8_t mode = (uint8_t)aco_secret_mode(secret);

    const int one = 1;

    if (!reach(t, location, mode == 'K', patience)) return;
    (void)!setsockopt(t->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); /* times are measured */
    t->end = aco_now() + patience;
    aco_preface_write(preface, ACO_PREFACE_MESSAGES, mode, location->server);
    if (!ask_preface(t, preface, mode)) return;
    t->secure = aco_secure_new(secret, t->fd, false, preface, location->host, location->port);
    if (t->secure == NULL) {
        aco_facts_add(t->facts, "error", "not enough memory");
        return;
    }
    t->end = aco_now() + patience;
    if (!shake(t)) return;
    t->end = aco_now() + patience;
    exchange_hello(t);
}

void
aco_probe_peer(const struct aco_probe *probe, aco_facts *facts)
{
    struct talk t = {.fd = -1, .facts = facts};
    aco_location location;
    const char *why = NULL;

    if (aco_location_parse(&location, probe->location, strlen(probe->location), &why) != ACO_OK) {
        aco_facts_add(facts, "error", "'%.80s' is no location: %s", probe->location, why);
        return;
    }
    aco_secret *secret = aco_probe_make_secret(probe, facts);
    if (secret == NULL) return;
    aco_facts_add(facts, "mode", "%c", aco_secret_mode(secret));
    aco_frames_init(&t.frames, ACO_FRAME_MAX);
    talk_to(&t, &location, secret, probe->patience);
    aco_frames_free(&t.frames);
    if (t.secure != NULL) aco_secure_free(t.secure);
    if (t.fd >= 0) close(t.fd);
    aco_secret_unref(secret);
}
