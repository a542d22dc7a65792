/* SPDX-License-Identifier: MIT */
/* discovery_test.c -- processes of one machine and of two that find one another, and all that is
 * refused meanwhile. Each instance stands for a process. On this machine loopback only; two
 * machines are two network namespaces, where they may be made. */
#include "core/base/clock.h"
#include "core/base/error.h"
#include "core/net/airwave.h"
#include "core/net/discovery.h"
#include "spec/core/check.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST = 64 };

struct heard {
    size_t count;
    struct aco_sighting at[MOST];
};

static const aco_time START = 100 * ACO_SECOND;

/* A port of UDP that nobody uses now. */
static uint16_t
free_port(void)
{
    aco_address at;
    int fd = socket(AF_INET, SOCK_DGRAM, 0);

    CHECK(aco_address_parse(&at, "0.0.0.0", 0) == ACO_OK);
    CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&at.storage, at.size) == 0);
    CHECK(aco_address_of(&at, fd, false) == ACO_OK);
    close(fd);
    return aco_address_port(&at);
}

static struct aco_discovery_options
options_of(uint8_t number, uint16_t port)
{
    struct aco_discovery_options options = {.location = "127.0.0.1:4711",
                                            .name = "me",
                                            .port = port,
                                            .broadcast = true,
                                            .multicast = true,
                                            .loopback = true};

    memset(options.process, number, sizeof options.process);
    memset(options.key, 7, sizeof options.key);
    return options;
}

static aco_discovery *
open_with(const struct aco_discovery_options *options)
{
    aco_discovery *d;
    char *why;

    int err = aco_discovery_open(options, &d, &why);
    if (err != ACO_OK) fprintf(stderr, "%s\n", why != NULL ? why : "no memory");
    CHECK(err == ACO_OK && why == NULL);
    return d;
}

static aco_discovery *
open_one(uint8_t number, uint16_t port)
{
    const struct aco_discovery_options options = options_of(number, port);

    return open_with(&options);
}

/* All that one turn brings. */
static void
turn(aco_discovery *d, aco_time now, struct heard *heard)
{
    heard->count = 0;
    while (heard->count < MOST && aco_discovery_turn(d, now, &heard->at[heard->count]))
        heard->count++;
}

/* How often process `number` was heard like that. */
static size_t
count_of(const struct heard *heard, enum aco_beacon_kind kind, uint8_t number)
{
    size_t n = 0;

    for (size_t i = 0; i < heard->count; i++)
        n += heard->at[i].kind == kind && heard->at[i].process[0] == number &&
             heard->at[i].process[15] == number;
    return n;
}

static bool
is_readable(const aco_discovery *d)
{
    struct pollfd p = {.fd = aco_discovery_fd(d), .events = POLLIN};

    return poll(&p, 1, 0) == 1;
}

/* Whatever is under way is heard and forgotten, by all of them. */
static void
settle(aco_discovery *const *all, size_t n, aco_time now)
{
    struct heard heard;

    for (int round = 0; round < 4; round++)
        for (size_t i = 0; i < n; i++)
            turn(all[i], now + round, &heard);
}

static void
test_off(void)
{
    struct aco_discovery_options options = options_of(1, 1);
    aco_discovery *d;
    char *why;

    options.broadcast = options.multicast = false;
    CHECK(aco_discovery_open(&options, &d, &why) == ACO_EINVALID && d == NULL);
    CHECK(strstr(why, "off") != NULL);
    free(why);
    options = options_of(1, free_port());
    options.location = "nowhere";
    CHECK(aco_discovery_open(&options, &d, &why) == ACO_EINVALID && d == NULL);
    CHECK(strstr(why, "'nowhere'") != NULL);
    free(why);
    aco_discovery_close(NULL);
    aco_discovery_abandon(NULL);
}

static void
test_port(void)
{
    uint16_t port;
    char *why;

    unsetenv("ASYNCORO_DISCOVERY_PORT");
    CHECK(aco_discovery_port(0, &port, &why) == ACO_OK && port == 51350);
    setenv("ASYNCORO_DISCOVERY_PORT", "4711", 1);
    CHECK(aco_discovery_port(0, &port, &why) == ACO_OK && port == 4711);
    CHECK(aco_discovery_port(99, &port, &why) == ACO_OK && port == 99);
    static const char *const bad[] = {"0", "65536", "x", "-1", " 1", "1 ", "99999999999999999999"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        setenv("ASYNCORO_DISCOVERY_PORT", bad[i], 1);
        CHECK(aco_discovery_port(0, &port, &why) == ACO_EINVALID && strstr(why, bad[i]) != NULL);
        free(why);
    }
    unsetenv("ASYNCORO_DISCOVERY_PORT");
}

/* Three processes that share the port: who asks is heard by each other, and each answers. */
static void
find_each_other(bool broadcast, bool multicast)
{
    struct aco_discovery_options options = options_of(1, free_port());
    aco_discovery *d[3];
    struct heard heard;

    options.broadcast = broadcast;
    options.multicast = multicast;
    for (uint8_t i = 0; i < 3; i++) {
        memset(options.process, i, sizeof options.process);
        d[i] = open_with(&options);
        CHECK(aco_discovery_next(d[i]) == 0 && !is_readable(d[i]));
    }
    turn(d[0], START, &heard); /* asks */
    CHECK(heard.count == 0 && aco_discovery_next(d[0]) == START + 3 * ACO_SECOND / 10);
    for (uint8_t i = 1; i < 3; i++) {
        CHECK(is_readable(d[i]));
        turn(d[i], START, &heard);
        CHECK(heard.count >= 1 && count_of(&heard, ACO_BEACON_PING, 0) == 1);
        CHECK(strcmp(heard.at[0].location, "127.0.0.1:4711") == 0);
        CHECK(strcmp(heard.at[0].name, "me") == 0);
        CHECK(aco_discovery_counts(d[i])->answered >= 1);
    }
    turn(d[0], START, &heard);
    CHECK(count_of(&heard, ACO_BEACON_HERE, 1) == 1 && count_of(&heard, ACO_BEACON_HERE, 2) == 1);
    CHECK(aco_discovery_counts(d[0])->own > 0 && aco_discovery_counts(d[0])->failed == 0);
    aco_discovery_close(d[2]);
    turn(d[0], START, &heard);
    CHECK(count_of(&heard, ACO_BEACON_LEAVE, 2) == 1);
    aco_discovery_abandon(d[1]);
    turn(d[0], START + 1, &heard);
    CHECK(count_of(&heard, ACO_BEACON_LEAVE, 1) == 0);
    aco_discovery_close(d[0]);
}

/* Three pings, then nothing: no turn is due, nothing is readable. */
static void
test_rounds(void)
{
    aco_discovery *d = open_one(1, free_port());
    struct heard heard;
    aco_time now = START;

    turn(d, now, &heard);
    const uint64_t ways = aco_discovery_counts(d)->sent;
    CHECK(ways > 0);
    turn(d, now + 1, &heard);
    CHECK(aco_discovery_counts(d)->sent == ways);
    aco_discovery_ask(d); /* is under way already */
    CHECK(aco_discovery_next(d) == now + 3 * ACO_SECOND / 10);
    turn(d, now += 3 * ACO_SECOND / 10, &heard);
    CHECK(aco_discovery_counts(d)->sent == 2 * ways);
    CHECK(aco_discovery_next(d) == now + 7 * ACO_SECOND / 10);
    turn(d, now += 7 * ACO_SECOND / 10, &heard);
    CHECK(aco_discovery_counts(d)->sent == 3 * ways);
    CHECK(aco_discovery_next(d) == ACO_NEVER && !is_readable(d));
    aco_discovery_ask(d);
    CHECK(aco_discovery_next(d) == 0);
    aco_discovery_mute(d, true);
    turn(d, ++now, &heard);
    CHECK(aco_discovery_counts(d)->sent == 3 * ways && aco_discovery_next(d) == ACO_NEVER);
    aco_discovery_mute(d, false);
    aco_discovery_ask(d);
    turn(d, ++now, &heard);
    CHECK(aco_discovery_counts(d)->sent == 4 * ways);
    aco_discovery_close(d);
}

/* A plain socket that says what it wants. */
static int
open_raw(void)
{
    aco_address at;
    const int one = 1;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);

    CHECK(aco_address_parse(&at, "127.0.0.1", 0) == ACO_OK);
    CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&at.storage, at.size) == 0);
    CHECK(setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &one, sizeof one) == 0);
    return fd;
}

static void
say(int fd, uint16_t port, const void *data, size_t size)
{
    aco_address to;

    CHECK(aco_address_parse(&to, "127.255.255.255", port) == ACO_OK);
    CHECK(sendto(fd, data, size, 0, (struct sockaddr *)&to.storage, to.size) == (ssize_t)size);
}

static size_t
make(struct aco_beacon *beacon, uint8_t nonce, uint8_t data[ACO_BEACON_MAX])
{
    const struct aco_discovery_options options = options_of(9, 1);

    if (beacon->kind == 0) beacon->kind = ACO_BEACON_PING;
    if (beacon->time == 0) beacon->time = aco_wall_time();
    memset(beacon->process, 9, sizeof beacon->process);
    memset(beacon->nonce, nonce, sizeof beacon->nonce);
    strcpy(beacon->location, "127.0.0.1:1");
    return aco_beacon_write(beacon, options.key, data);
}

static void
test_refused(void)
{
    const uint16_t port = free_port();
    aco_discovery *d = open_one(1, port);
    const struct aco_discovery_counts *counts = aco_discovery_counts(d);
    struct aco_beacon beacon = {.time = aco_wall_time() + 3600};
    uint8_t data[ACO_BEACON_MAX + 64] = {0};
    struct heard heard;
    int fd = open_raw();

    CHECK(*aco_discovery_refusal(d) == '\0' && *aco_discovery_failure(d) == '\0');
    say(fd, port, "hello", 5);
    say(fd, port, "", 0);
    say(fd, port, data, sizeof data);
    turn(d, START, &heard);
    CHECK(heard.count == 0 && counts->refused[ACO_BEACON_FOREIGN] == 3);
    CHECK(strstr(aco_discovery_refusal(d), "127.0.0.1:") == aco_discovery_refusal(d));
    say(fd, port, data, make(&beacon, 1, data));
    turn(d, START, &heard);
    CHECK(heard.count == 0 && counts->refused[ACO_BEACON_CLOCK] == 1);
    CHECK(strstr(aco_discovery_refusal(d), "3600 s ahead of ours") != NULL);
    beacon.time = aco_wall_time() - 900;
    say(fd, port, data, make(&beacon, 1, data));
    turn(d, START, &heard);
    CHECK(strstr(aco_discovery_refusal(d), "900 s behind ours") != NULL);
    beacon.time = 0;
    size_t size = make(&beacon, 1, data);
    data[4] = 2;
    say(fd, port, data, size);
    turn(d, START, &heard);
    CHECK(heard.count == 0 && counts->refused[ACO_BEACON_OTHER] == 1);
    CHECK(counts->answered == 0);
    make(&beacon, 1, data);
    say(fd, port, data, size); /* at last */
    say(fd, port, data, size); /* and again */
    turn(d, START, &heard);
    CHECK(heard.count == 1 && counts->repeated == 1 && counts->answered == 1);
    CHECK(recv(fd, data, sizeof data, 0) > 0 && recv(fd, data, sizeof data, 0) < 0);
    close(fd);
    aco_discovery_close(d);
}

/* Two secrets on one machine: they do not find one another, and the reason is said. */
static void
test_secrets(void)
{
    struct aco_discovery_options options = options_of(1, free_port());
    struct heard heard;
    aco_discovery *a = open_with(&options);

    memset(options.process, 2, sizeof options.process);
    options.key[31] = 0;
    aco_discovery *b = open_with(&options);
    turn(a, START, &heard);
    turn(b, START, &heard);
    CHECK(heard.count == 0 && aco_discovery_counts(b)->refused[ACO_BEACON_FORGED] == 1);
    CHECK(strstr(aco_discovery_refusal(b), "secret") != NULL);
    turn(a, START + 1, &heard);
    CHECK(heard.count == 0 && aco_discovery_counts(a)->refused[ACO_BEACON_FORGED] == 1);
    aco_discovery_close(a);
    aco_discovery_close(b);
}

/* A storm of pings gets no storm of answers. */
static void
test_limit(void)
{
    struct aco_discovery_options options = options_of(1, free_port());
    struct heard heard;
    uint8_t data[ACO_BEACON_MAX];
    int fd = open_raw();

    options.answers = 5;
    aco_discovery *d = open_with(&options);
    const struct aco_discovery_counts *counts = aco_discovery_counts(d);
    turn(d, START, &heard);
    for (uint8_t i = 0; i < 20; i++) {
        struct aco_beacon beacon = {.kind = ACO_BEACON_PING};
        say(fd, options.port, data, make(&beacon, i + 1, data));
    }
    turn(d, START, &heard);
    CHECK(heard.count == 20 && counts->answered == 5 && counts->withheld == 15);
    for (uint8_t i = 0; i < 20; i++) {
        struct aco_beacon beacon = {.kind = ACO_BEACON_PING};
        say(fd, options.port, data, make(&beacon, i + 101, data));
    }
    turn(d, START + 2 * ACO_SECOND / 5, &heard); /* earns two */
    CHECK(heard.count == 20 && counts->answered == 7 && counts->withheld == 33);
    close(fd);
    aco_discovery_close(d);
}

/* A turn ends, however much there is; the rest comes with the next. */
static void
test_flood(void)
{
    const uint16_t port = free_port();
    aco_discovery *d = open_one(1, port);
    struct heard heard;
    int fd = open_raw();

    turn(d, START, &heard);
    const uint64_t *foreign = &aco_discovery_counts(d)->refused[ACO_BEACON_FOREIGN];
    for (int i = 0; i < 100; i++)
        say(fd, port, "x", 1);
    turn(d, START, &heard);
    CHECK(*foreign > 0 && *foreign < 100 && is_readable(d));
    for (aco_time now = START; *foreign < 100; now++)
        turn(d, now, &heard);
    CHECK(!is_readable(d));
    close(fd);
    aco_discovery_close(d);
}

static void
test_mute(void)
{
    const uint16_t port = free_port();
    aco_discovery *d[2] = {open_one(1, port), open_one(2, port)};
    struct heard heard;

    settle(d, 2, START);
    const uint64_t answered = aco_discovery_counts(d[1])->answered;
    aco_discovery_mute(d[1], true);
    turn(d[0], START + ACO_SECOND, &heard);
    turn(d[1], START, &heard);
    CHECK(heard.count == 0 && aco_discovery_counts(d[1])->answered == answered);
    aco_discovery_close(d[1]); /* without a word */
    turn(d[0], START + ACO_SECOND + 1, &heard);
    CHECK(count_of(&heard, ACO_BEACON_LEAVE, 2) == 0);
    aco_discovery_close(d[0]);
}

/* Who only looks is answered, and nobody takes notice of it. */
static void
test_look(void)
{
    struct aco_discovery_options options = options_of(3, free_port());
    struct heard heard;
    aco_discovery *d = open_one(1, options.port);

    settle(&d, 1, START);
    options.location = NULL;
    aco_discovery *looks = open_with(&options);
    CHECK(*aco_discovery_location(looks) == '\0');
    turn(looks, START, &heard);
    turn(d, START, &heard);
    CHECK(heard.count == 0 && aco_discovery_counts(d)->answered == 1);
    turn(looks, START + 1, &heard);
    CHECK(count_of(&heard, ACO_BEACON_HERE, 1) == 1);
    CHECK(aco_discovery_counts(looks)->answered == 0);
    aco_discovery_close(looks); /* without a word */
    turn(d, START + 1, &heard);
    CHECK(heard.count == 0);
    aco_discovery_close(d);
}

static void
test_move(void)
{
    const uint16_t port = free_port();
    aco_discovery *d[2] = {open_one(1, port), open_one(2, port)};
    struct heard heard;

    settle(d, 2, START);
    CHECK(aco_discovery_move(d[0], "x") == ACO_EINVALID);
    CHECK(strcmp(aco_discovery_location(d[0]), "127.0.0.1:4711") == 0);
    CHECK(aco_discovery_move(d[0], "host.example:1/2") == ACO_OK);
    CHECK(strcmp(aco_discovery_location(d[0]), "host.example:1/2") == 0);
    turn(d[0], START + ACO_SECOND, &heard);
    turn(d[1], START + 9, &heard);
    CHECK(count_of(&heard, ACO_BEACON_PING, 1) == 1);
    CHECK(strcmp(heard.at[0].location, "host.example:1/2") == 0);
    settle(d, 2, START + 2 * ACO_SECOND);
    aco_discovery_close(d[0]);
    aco_discovery_close(d[1]);
}

/* The port is a program's that does not share it. */
static void
test_taken(void)
{
    struct aco_discovery_options options = options_of(1, 0);
    aco_discovery *d;
    aco_address at;
    char *why;
    int fd = socket(AF_INET, SOCK_DGRAM, 0);

    CHECK(aco_address_parse(&at, "0.0.0.0", 0) == ACO_OK);
    CHECK(bind(fd, (struct sockaddr *)&at.storage, at.size) == 0);
    CHECK(aco_address_of(&at, fd, false) == ACO_OK);
    options.port = aco_address_port(&at);
    CHECK(aco_discovery_open(&options, &d, &why) == ACO_EEXISTS && d == NULL);
    CHECK(strstr(why, "ASYNCORO_DISCOVERY_PORT") != NULL);
    free(why);
    close(fd);
}

static void
test_describe(void)
{
    const uint16_t port = free_port();
    char text[400], wanted[80], little[8];
    aco_discovery *d = open_one(1, port);
    aco_address host;

    aco_discovery_describe(d, text, sizeof text);
    snprintf(wanted, sizeof wanted, "broadcast to 127.255.255.255 (lo), UDP port %u", port);
    CHECK(strcmp(text, wanted) == 0);
    for (size_t size = 1; size <= sizeof little; size++) {
        memset(little, 'x', sizeof little);
        aco_discovery_describe(d, little, size);
        CHECK(strlen(little) == size - 1);
    }
    CHECK(aco_address_parse(&host, "192.0.2.1", 0) == ACO_OK);
    CHECK(aco_discovery_ask_host(d, &host) == ACO_EDENIED); /* loopback only */
    aco_discovery_close(d);
}

/* Namespaces: one process walks between them, as sockets stay where they were made. */

static bool
ip(const char *command)
{
    char line[200];

    snprintf(line, sizeof line, "ip %s >/dev/null 2>&1", command);
    return system(line) == 0;
}

static int
namespace_of(pid_t pid)
{
    char path[64];

    snprintf(path, sizeof path, "/proc/%ld/ns/net", (long)pid);
    return open(path, O_RDONLY | O_CLOEXEC);
}

static void
enter(int ns)
{
    CHECK(setns(ns, CLONE_NEWNET) == 0);
}

struct machines {
    pid_t keeper; /* holds the other namespace */
    int ns[2];
};

/* Two machines on one wire: va here, vb there. */
static bool
make_machines(struct machines *m)
{
    char line[128], byte;
    int ready[2];

    if (!ip("-V") || unshare(CLONE_NEWNET) != 0 || pipe2(ready, O_CLOEXEC) != 0) return false;
    m->keeper = fork();
    CHECK(m->keeper >= 0);
    if (m->keeper == 0) {
        bool made = unshare(CLONE_NEWNET) == 0;
        CHECK(write(ready[1], made ? "y" : "n", 1) == 1);
        for (;;)
            pause();
    }
    CHECK(read(ready[0], &byte, 1) == 1);
    close(ready[0]);
    close(ready[1]);
    m->ns[0] = namespace_of(getpid());
    m->ns[1] = namespace_of(m->keeper);
    snprintf(line, sizeof line, "link add name va type veth peer name vb netns %ld",
             (long)m->keeper);
    return byte == 'y' && m->ns[0] >= 0 && m->ns[1] >= 0 && ip("link set lo up") && ip(line);
}

static void
end_machines(struct machines *m)
{
    kill(m->keeper, SIGKILL);
    waitpid(m->keeper, NULL, 0);
    close(m->ns[0]);
    close(m->ns[1]);
}

static aco_discovery *
open_there(const struct machines *m, int which, const struct aco_discovery_options *options)
{
    enter(m->ns[which]);
    return open_with(options);
}

/* Until it is heard, or a second has gone by: a wire takes its time. */
static bool
hears(const struct machines *m, aco_discovery *const *d, int which, enum aco_beacon_kind kind,
      uint8_t number, char location[ACO_LOCATION_TEXT])
{
    struct heard heard;
    const aco_time end = aco_now() + 2 * ACO_SECOND;

    while (aco_now() < end) {
        for (int i = 0; i < 2; i++) {
            if (d[i] == NULL) continue;
            enter(m->ns[i]);
            turn(d[i], aco_now(), &heard);
            if (i != which || count_of(&heard, kind, number) == 0) continue;
            for (size_t j = 0; j < heard.count; j++)
                if (heard.at[j].process[0] == number)
                    memcpy(location, heard.at[j].location, ACO_LOCATION_TEXT);
            return true;
        }
        struct pollfd p = {.fd = aco_discovery_fd(d[which]), .events = POLLIN};
        poll(&p, 1, 20);
    }
    return false;
}

/* Both open at 0.0.0.0 or ::, so that what is told is the address on the wire. */
static void
meet(const struct machines *m, bool broadcast, bool multicast, bool v6, const char *a,
     const char *b)
{
    struct aco_discovery_options options = options_of(1, 45350);
    char location[ACO_LOCATION_TEXT];
    aco_discovery *d[2];

    options.loopback = false;
    options.guessed = true;
    options.v4 = !v6;
    options.v6 = v6;
    options.broadcast = broadcast;
    options.multicast = multicast;
    d[0] = open_there(m, 0, &options);
    memset(options.process, 2, sizeof options.process);
    d[1] = open_there(m, 1, &options);
    aco_discovery_mute(d[1], true); /* so that only the first asks */
    enter(m->ns[1]);
    settle(d + 1, 1, START);
    aco_discovery_mute(d[1], false);
    CHECK(hears(m, d, 1, ACO_BEACON_PING, 1, location));
    CHECK(strcmp(location, a) == 0);
    CHECK(hears(m, d, 0, ACO_BEACON_HERE, 2, location));
    CHECK(strcmp(location, b) == 0);
    enter(m->ns[0]);
    aco_discovery_close(d[0]);
    d[0] = NULL;
    CHECK(hears(m, d, 1, ACO_BEACON_LEAVE, 1, location));
    enter(m->ns[1]);
    aco_discovery_close(d[1]);
}

/* Loopback mode beside a wire: nothing of it goes out, nothing comes in. */
static void
keep_apart(const struct machines *m)
{
    struct aco_discovery_options options = options_of(1, 45351);
    struct heard heard;
    aco_discovery *d[2];

    d[0] = open_there(m, 0, &options);
    memset(options.process, 2, sizeof options.process);
    options.loopback = false;
    d[1] = open_there(m, 1, &options);
    for (int i = 0; i < 2; i++) {
        enter(m->ns[i]);
        turn(d[i], START, &heard);
    }
    struct pollfd p[2] = {{.fd = aco_discovery_fd(d[0]), .events = POLLIN},
                          {.fd = aco_discovery_fd(d[1]), .events = POLLIN}};
    poll(p, 2, 50);
    for (int i = 0; i < 2; i++) {
        enter(m->ns[i]);
        turn(d[i], START, &heard);
        CHECK(heard.count == 0 && aco_discovery_counts(d[i])->heard == 0);
        aco_discovery_close(d[i]);
    }
}

/* An interface that comes up later is used, and those behind it are asked. */
static void
follow(const struct machines *m)
{
    struct aco_discovery_options options = options_of(1, 45352);
    struct heard heard;
    char text[400];

    options.loopback = false;
    options.guessed = options.v4 = true;
    CHECK(ip("addr flush dev va"));
    aco_discovery *d = open_there(m, 0, &options);
    aco_time now = START;
    for (int i = 0; i < 3; i++)
        turn(d, now += ACO_SECOND, &heard);
    aco_discovery_describe(d, text, sizeof text);
    CHECK(aco_discovery_next(d) == ACO_NEVER && strstr(text, "va") == NULL);
    CHECK(ip("addr add 10.94.1.1/24 dev va"));
    CHECK(is_readable(d));
    turn(d, ++now, &heard);
    CHECK(aco_discovery_next(d) == now + ACO_SECOND);
    CHECK(strcmp(aco_discovery_location(d), "10.94.1.1:4711") == 0);
    const uint64_t sent = aco_discovery_counts(d)->sent;
    turn(d, now += ACO_SECOND, &heard);
    CHECK(aco_discovery_counts(d)->sent == sent + 3); /* two broadcasts, one multicast */
    aco_discovery_describe(d, text, sizeof text);
    CHECK(strstr(text, "10.94.1.255 (va)") != NULL && strstr(text, ACO_AIRWAVE_GROUP4) != NULL);
    aco_discovery_close(d);
}

static void
test_machines(void)
{
    struct machines m;

    if (!make_machines(&m)) {
        fprintf(stderr, "discovery_test: no network namespaces here: two machines not tested\n");
        return;
    }
    CHECK(ip("link set va up") && ip("addr add 10.94.0.1/24 dev va"));
    enter(m.ns[1]);
    CHECK(ip("link set lo up") && ip("link set vb up") && ip("addr add 10.94.0.2/24 dev vb"));
    meet(&m, true, false, false, "10.94.0.1:4711", "10.94.0.2:4711");
    meet(&m, false, true, false, "10.94.0.1:4711", "10.94.0.2:4711");
    meet(&m, true, true, false, "10.94.0.1:4711", "10.94.0.2:4711");
    keep_apart(&m);
    enter(m.ns[0]);
    if (ip("-6 addr add fd94::1/64 dev va nodad")) {
        CHECK(ip("addr del 10.94.0.1/24 dev va"));
        enter(m.ns[1]);
        CHECK(ip("-6 addr add fd94::2/64 dev vb nodad") && ip("addr del 10.94.0.2/24 dev vb"));
        meet(&m, false, true, true, "[fd94::1]:4711", "[fd94::2]:4711");
    }
    enter(m.ns[0]);
    follow(&m);
    end_machines(&m);
}

int
main(void)
{
    test_off();
    test_port();
    find_each_other(true, true);
    find_each_other(true, false);
    find_each_other(false, true);
    test_rounds();
    test_refused();
    test_secrets();
    test_limit();
    test_flood();
    test_mute();
    test_look();
    test_move();
    test_taken();
    test_describe();
    test_machines(); /* last: this process is elsewhere then */
    return 0;
}
