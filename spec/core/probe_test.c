/* SPDX-License-Identifier: MIT */
/* probe_test.c -- what `asyncoro doctor` finds: of this machine, of discovery, and of a process
 * that is as it should be or fails at one step. The other side is a thread of this test. */
#include "core/base/clock.h"
#include "core/base/error.h"
#include "core/base/msgpack.h"
#include "core/io/socket.h"
#include "core/net/discovery.h"
#include "core/net/frame.h"
#include "core/net/preface.h"
#include "core/net/probe.h"
#include "core/net/secure.h"
#include "spec/core/check.h"

#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <sys/stat.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char SECRET[] = "correct horse battery staple 1234";
static const char OTHER[] = "a secret of somebody else, too long";

/* The text of a fact, NULL when it is not there. */
static const char *
fact(const aco_facts *facts, const char *wanted)
{
    const char *word, *text;
    size_t place = 0;

    while ((word = aco_facts_next(facts, &place, &text)) != NULL)
        if (strcmp(word, wanted) == 0) return text;
    return NULL;
}

static bool
is_fact(const aco_facts *facts, const char *word, const char *text)
{
    const char *found = fact(facts, word);

    if (found != NULL && strcmp(found, text) == 0) return true;
    fprintf(stderr, "%s is %s, not %s\n", word, found != NULL ? found : "not there", text);
    return false;
}

static bool
has_text(const aco_facts *facts, const char *word, const char *part)
{
    const char *found = fact(facts, word);

    return found != NULL && strstr(found, part) != NULL;
}

static struct aco_probe
probe_with(const char *secret)
{
    return (struct aco_probe){.secret = secret,
                              .secret_size = secret != NULL ? strlen(secret) : 0,
                              .listen = ACO_SECOND / 5,
                              .patience = 5 * ACO_SECOND};
}

static void
test_facts(void)
{
    aco_facts facts = {0};
    const char *text;
    size_t place = 0;

    CHECK(aco_facts_next(&facts, &place, &text) == NULL);
    aco_facts_add(&facts, "a", "%d", 7);
    aco_facts_add(&facts, "b", "%s", "");
    CHECK(strcmp(aco_facts_next(&facts, &place, &text), "a") == 0 && strcmp(text, "7") == 0);
    CHECK(strcmp(aco_facts_next(&facts, &place, &text), "b") == 0 && *text == '\0');
    CHECK(aco_facts_next(&facts, &place, &text) == NULL);
    aco_facts_free(&facts);
}

/* A port of a protocol that nobody uses now; `held`: one that is kept, by its descriptor. */
static uint16_t
port_of(int type, int *held)
{
    aco_address at;
    int fd = socket(AF_INET, type, 0);

    CHECK(aco_address_parse(&at, "0.0.0.0", 0) == ACO_OK);
    CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&at.storage, at.size) == 0);
    CHECK(type != SOCK_STREAM || listen(fd, 1) == 0);
    CHECK(aco_address_of(&at, fd, false) == ACO_OK);
    if (held != NULL)
        *held = fd;
    else
        close(fd);
    return aco_address_port(&at);
}

static void
test_machine(void)
{
    struct aco_probe probe = probe_with(NULL);
    aco_facts facts = {0};
    char number[8];
    int udp, tcp;

    probe.udp = port_of(SOCK_DGRAM, NULL);
    probe.tcp = port_of(SOCK_STREAM, NULL);
    aco_probe_machine(&probe, &facts);
    CHECK(is_fact(&facts, "udp", "free") && is_fact(&facts, "tcp", "free"));
    CHECK(has_text(&facts, "interface", "127.0.0.1") && fact(&facts, "advertise") != NULL);
    snprintf(number, sizeof number, "%u", probe.udp);
    CHECK(is_fact(&facts, "udp_port", number));
    aco_facts_free(&facts);

    facts = (aco_facts){0};
    probe.udp = port_of(SOCK_DGRAM, &udp);
    probe.tcp = port_of(SOCK_STREAM, &tcp);
    aco_probe_machine(&probe, &facts);
    CHECK(is_fact(&facts, "udp", "taken") && is_fact(&facts, "tcp", "taken"));
    aco_facts_free(&facts);
    const int one = 1;
    CHECK(setsockopt(udp, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) == 0);
    facts = (aco_facts){0};
    aco_probe_machine(&probe, &facts);
    CHECK(is_fact(&facts, "udp", "shared"));
    close(udp);
    close(tcp);
    aco_facts_free(&facts);

    facts = (aco_facts){0};
    setenv("ASYNCORO_DISCOVERY_PORT", "nine", 1);
    probe.udp = 0;
    aco_probe_machine(&probe, &facts);
    CHECK(has_text(&facts, "port_error", "'nine'"));
    unsetenv("ASYNCORO_DISCOVERY_PORT");
    aco_facts_free(&facts);
}

static void
test_secret(void)
{
    struct aco_probe probe = probe_with(SECRET);
    char folder[] = "/tmp/probe_test_XXXXXX", path[64], key[96];
    aco_facts facts = {0};

    aco_probe_secret(&probe, &facts);
    CHECK(is_fact(&facts, "mode", "S") && fact(&facts, "key") == NULL);
    aco_facts_free(&facts);

    CHECK(mkdtemp(folder) != NULL);
    snprintf(path, sizeof path, "%s/secret", folder);
    probe.secret_file = path;
    facts = (aco_facts){0};
    aco_probe_secret(&probe, &facts);
    CHECK(is_fact(&facts, "secret_file", "missing"));
    aco_facts_free(&facts);
    FILE *file = fopen(path, "w");
    CHECK(file != NULL && fclose(file) == 0 && chmod(path, 0644) == 0);
    facts = (aco_facts){0};
    aco_probe_secret(&probe, &facts);
    CHECK(is_fact(&facts, "secret_file", "open"));
    aco_facts_free(&facts);
    CHECK(chmod(path, 0600) == 0);
    facts = (aco_facts){0};
    aco_probe_secret(&probe, &facts);
    CHECK(is_fact(&facts, "secret_file", "private"));
    aco_facts_free(&facts);
    CHECK(unlink(path) == 0);

    probe = probe_with(NULL);
    setenv("XDG_CONFIG_HOME", folder, 1);
    facts = (aco_facts){0};
    aco_probe_secret(&probe, &facts);
    snprintf(key, sizeof key, "%s/asyncoro/key", folder);
    CHECK(is_fact(&facts, "mode", "K") && is_fact(&facts, "key", "missing"));
    CHECK(is_fact(&facts, "key_path", key));
    aco_facts_free(&facts);
    (void)!unlink(key);
    snprintf(key, sizeof key, "%s/asyncoro", folder);
    (void)!rmdir(key);
    CHECK(rmdir(folder) == 0);
    unsetenv("XDG_CONFIG_HOME");
}

static aco_secret *
secret_of(const char *text)
{
    const struct aco_secret_options options = {.secret = text, .secret_size = strlen(text)};
    aco_secret *secret;
    char *why;

    CHECK(aco_secret_new(&options, &secret, &why) == ACO_OK);
    return secret;
}

struct answerer {
    aco_discovery *d;
    _Atomic bool stop;
};

static void *
answer_pings(void *arg)
{
    struct answerer *a = arg;
    struct aco_sighting sighting;

    while (!a->stop) {
        struct pollfd p = {.fd = aco_discovery_fd(a->d), .events = POLLIN};
        poll(&p, 1, 10);
        if (aco_discovery_next(a->d) == ACO_NEVER) aco_discovery_ask(a->d);
        while (aco_discovery_turn(a->d, aco_now(), &sighting)) {
        }
    }
    return NULL;
}

/* On loopback only, whatever the mode: what the other side answers is what counts. */
static void
discover(const char *theirs, aco_time listen, aco_facts *facts)
{
    struct aco_discovery_options options = {
        .location = "127.0.0.1:4711", .name = "other", .broadcast = true, .loopback = true};
    struct aco_probe probe = probe_with(SECRET);
    struct answerer a = {.stop = false};
    pthread_t thread;
    char *why;

    probe.listen = listen;
    options.port = probe.udp = port_of(SOCK_DGRAM, NULL);
    memset(options.process, 5, sizeof options.process);
    aco_secret *secret = secret_of(theirs);
    aco_secret_key(secret, "discovery", options.key);
    aco_secret_unref(secret);
    CHECK(aco_discovery_open(&options, &a.d, &why) == ACO_OK);
    CHECK(pthread_create(&thread, NULL, answer_pings, &a) == 0);
    aco_probe_discovery(&probe, facts);
    a.stop = true;
    pthread_join(thread, NULL);
    aco_discovery_abandon(a.d);
}

static void
test_discovery(void)
{
    aco_facts facts = {0};

    discover(SECRET, ACO_SECOND / 5, &facts);
    CHECK(is_fact(&facts, "peer", "127.0.0.1:4711 127.0.0.1 other"));
    CHECK(is_fact(&facts, "refused", "0") && has_text(&facts, "asked", "127.255.255.255"));
    aco_facts_free(&facts);
    facts = (aco_facts){0};
    discover(OTHER, ACO_SECOND, &facts); /* they ask at least every 0.7 s */
    CHECK(fact(&facts, "peer") == NULL && fact(&facts, "error") == NULL);
    CHECK(has_text(&facts, "refusal", "secret"));
    aco_facts_free(&facts);
}

/* The other side of a connection --------------------------------------------------------------- */

enum failing {
    NOWHERE,
    AT_PREFACE_SILENT,
    AT_PREFACE_CLOSED,
    AT_PREFACE_FOREIGN,
    AT_MODE,
    AT_HELLO
};

struct other {
    int listener;
    uint16_t port;
    const char *secret;
    enum failing failing;
    _Atomic bool stop;
    pthread_t thread;
};

static void
wait_for(int fd, short events)
{
    struct pollfd p = {.fd = fd, .events = events};

    CHECK(poll(&p, 1, 5000) == 1);
}

static void
read_frame(aco_secure *s, int fd, aco_frames *frames, aco_frame *frame)
{
    int err;

    while ((err = aco_frames_next(frames, frame)) == ACO_EBUSY) {
        void *space;
        size_t size, got;
        CHECK(aco_frames_space(frames, &space, &size) == ACO_OK);
        while ((err = aco_secure_read(s, space, size, &got)) == ACO_EBUSY)
            wait_for(fd, POLLIN);
        CHECK(err == ACO_OK);
        aco_frames_filled(frames, got);
    }
    CHECK(err == ACO_OK);
}

static uint8_t *
put_str(uint8_t *at, const char *text)
{
    at = aco_mp_str(at, (uint32_t)strlen(text));
    memcpy(at, text, strlen(text));
    return at + strlen(text);
}

static void
send_frame(aco_secure *s, int type, const uint8_t *body, size_t size)
{
    uint8_t head[ACO_FRAME_HEAD];
    const struct iovec parts[] = {{head, sizeof head}, {(void *)body, size}};
    size_t put;

    aco_frame_head(head, (uint32_t)size, type, 0);
    for (int i = 0; i < 2; i++)
        CHECK(aco_secure_write(s, &parts[i], 1, &put) == ACO_OK && put == parts[i].iov_len);
    CHECK(aco_secure_flush(s) == ACO_OK);
}

/* A HELLO with what a later version might add, a day ahead. */
static void
talk(struct other *o, aco_secure *s, int fd)
{
    uint8_t body[256], *at = body;
    aco_frames frames;
    aco_frame frame;

    aco_frames_init(&frames, ACO_FRAME_MAX);
    read_frame(s, fd, &frames, &frame);
    CHECK(frame.type == 1);
    if (o->failing == AT_HELLO) {
        send_frame(s, 2, (const uint8_t *)"\x0bgoing down", 11);
    } else {
        at = aco_mp_map(at, 5);
        at = put_str(put_str(at, "name"), "other");
        at = aco_mp_array(put_str(at, "later"), 2);
        at = aco_mp_nil(aco_mp_map(at, 0));
        at = put_str(put_str(at, "location"), "198.51.100.7:1");
        at = aco_mp_int(put_str(at, "version"), ACO_PROTOCOL_VERSION);
        at = aco_mp_float(put_str(at, "time"), aco_wall_time() + 86400);
        send_frame(s, 1, body, (size_t)(at - body));
        read_frame(s, fd, &frames, &frame);
        CHECK(frame.type == 2); /* it says good-bye */
    }
    aco_frames_free(&frames);
}

static void
serve(struct other *o, int fd)
{
    uint8_t preface[ACO_PREFACE_SIZE], answer[ACO_PREFACE_SIZE];
    aco_secret *secret = secret_of(o->secret);
    int err;

    wait_for(fd, POLLIN);
    CHECK(recv(fd, preface, sizeof preface, 0) == sizeof preface);
    aco_preface_answer(answer, o->failing == AT_MODE ? ACO_PREFACE_MODE : ACO_PREFACE_OK,
                       o->failing == AT_MODE ? 'C' : 'S');
    if (o->failing == AT_PREFACE_FOREIGN) memcpy(answer, "HTTP/1.1", sizeof answer);
    CHECK(send(fd, answer, sizeof answer, MSG_NOSIGNAL) == sizeof answer);
    if (o->failing == NOWHERE || o->failing == AT_HELLO) {
        aco_secure *s = aco_secure_new(secret, fd, true, preface, NULL, o->port);
        CHECK(s != NULL);
        while ((err = aco_secure_shake(s)) == ACO_EBUSY)
            wait_for(fd, aco_secure_wants(s));
        if (err == ACO_OK) talk(o, s, fd);
        aco_secure_free(s);
    }
    aco_secret_unref(secret);
}

static void *
other_run(void *arg)
{
    struct other *o = arg;
    int fd, err;

    do
        wait_for(o->listener, POLLIN);
    while ((err = aco_socket_accept(&fd, o->listener)) == ACO_EBUSY);
    CHECK(err == ACO_OK);
    if (o->failing == AT_PREFACE_SILENT)
        while (!o->stop)
            poll(NULL, 0, 5);
    else if (o->failing != AT_PREFACE_CLOSED)
        serve(o, fd);
    close(fd);
    return NULL;
}

static void
look_at(enum failing failing, const char *theirs, struct aco_probe probe, aco_facts *facts)
{
    const struct aco_listen options = {.backlog = 8};
    struct other o = {.failing = failing, .secret = theirs};
    char location[32];
    aco_address at;

    CHECK(aco_address_parse(&at, "127.0.0.1", 0) == ACO_OK);
    CHECK(aco_socket_listen(&o.listener, &at, &options) == ACO_OK);
    CHECK(aco_address_of(&at, o.listener, false) == ACO_OK);
    o.port = aco_address_port(&at);
    CHECK(pthread_create(&o.thread, NULL, other_run, &o) == 0);
    snprintf(location, sizeof location, "127.0.0.1:%u", o.port);
    probe.location = location;
    *facts = (aco_facts){0};
    aco_probe_peer(&probe, facts);
    o.stop = true;
    pthread_join(o.thread, NULL);
    close(o.listener);
    CHECK(is_fact(facts, "address", location) && is_fact(facts, "connected", location));
}

static void
test_peer(void)
{
    aco_facts facts;

    look_at(NOWHERE, SECRET, probe_with(SECRET), &facts);
    CHECK(is_fact(&facts, "answer", "ok") && is_fact(&facts, "peer_version", "1"));
    CHECK(is_fact(&facts, "peer_mode", "S") && is_fact(&facts, "mode", "S"));
    CHECK(is_fact(&facts, "secure", "ok") && is_fact(&facts, "hello", "ok"));
    CHECK(is_fact(&facts, "name", "other") && is_fact(&facts, "location", "198.51.100.7:1"));
    CHECK(is_fact(&facts, "protocol", "1"));
    CHECK(fabs(atof(fact(&facts, "clock")) - 86400) < 5);
    CHECK(atof(fact(&facts, "trip")) > 0 && atof(fact(&facts, "trip")) < 5);
    aco_facts_free(&facts);
}

static void
test_failing(void)
{
    struct aco_probe hasty = probe_with(SECRET);
    aco_facts facts;

    hasty.patience = ACO_SECOND / 20;
    look_at(AT_PREFACE_SILENT, SECRET, hasty, &facts);
    CHECK(is_fact(&facts, "answer", "silent") && fact(&facts, "secure") == NULL);
    aco_facts_free(&facts);
    look_at(AT_PREFACE_CLOSED, SECRET, probe_with(SECRET), &facts);
    CHECK(is_fact(&facts, "answer", "closed") && fact(&facts, "secure") == NULL);
    aco_facts_free(&facts);
    look_at(AT_PREFACE_FOREIGN, SECRET, probe_with(SECRET), &facts);
    CHECK(is_fact(&facts, "answer", "foreign") && fact(&facts, "secure") == NULL);
    aco_facts_free(&facts);
    look_at(AT_MODE, SECRET, probe_with(SECRET), &facts);
    CHECK(is_fact(&facts, "answer", "refused") && has_text(&facts, "refusal", "certificates"));
    CHECK(fact(&facts, "secure") == NULL);
    aco_facts_free(&facts);
    look_at(AT_HELLO, SECRET, probe_with(SECRET), &facts);
    CHECK(is_fact(&facts, "secure", "ok") && is_fact(&facts, "hello", "going down"));
    aco_facts_free(&facts);
    look_at(NOWHERE, OTHER, probe_with(SECRET), &facts);
    CHECK(has_text(&facts, "secure", "secret") && fact(&facts, "hello") == NULL);
    aco_facts_free(&facts);
}

/* Nothing there to talk to. */
static void
test_unreached(void)
{
    struct aco_probe probe = probe_with(SECRET);
    char location[32];
    aco_facts facts = {0};

    snprintf(location, sizeof location, "127.0.0.1:%u", port_of(SOCK_STREAM, NULL));
    probe.location = location;
    aco_probe_peer(&probe, &facts);
    CHECK(is_fact(&facts, "unreachable", location) && is_fact(&facts, "cause", "refused"));
    CHECK(fact(&facts, "connected") == NULL && fact(&facts, "answer") == NULL);
    aco_facts_free(&facts);
    facts = (aco_facts){0};
    probe.location = "127.0.0.1";
    aco_probe_peer(&probe, &facts);
    CHECK(has_text(&facts, "error", "no port"));
    aco_facts_free(&facts);
    facts = (aco_facts){0};
    probe = probe_with(NULL); /* the key file is for this machine */
    probe.location = "192.0.2.1:1";
    aco_probe_peer(&probe, &facts);
    CHECK(is_fact(&facts, "cause", "denied"));
    aco_facts_free(&facts);
}

int
main(void)
{
    char folder[] = "/tmp/probe_test_XXXXXX", command[64];

    CHECK(mkdtemp(folder) != NULL); /* its own home, as a key may be made */
    setenv("HOME", folder, 1);
    unsetenv("XDG_CONFIG_HOME");
    unsetenv("ASYNCORO_DISCOVERY_PORT");
    test_facts();
    test_machine();
    test_secret();
    test_discovery();
    test_peer();
    test_failing();
    test_unreached();
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}
