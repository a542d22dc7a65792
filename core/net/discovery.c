/* SPDX-License-Identifier: MIT */
#include "core/net/discovery.h"
#include "core/base/clock.h"
#include "core/base/error.h"
#include "core/base/random.h"
#include "core/net/airwave.h"

#include <math.h>
#include <openssl/crypto.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    SEEN = 256,   /* pings remembered, so that their copies count once; a power of two */
    BUDGET = 64,  /* datagrams read in one turn */
    ANSWERS = 50, /* in a second */
    PINGS = 3,
    TEXT = 256,
};

struct aco_discovery {
    aco_airwave wave;
    uint8_t process[16], key[ACO_BEACON_KEY];
    aco_location location;
    char location_text[ACO_LOCATION_TEXT];
    char name[ACO_BEACON_NAME + 1];
    bool guessed, v4, v6, muted, silent; /* silent: it has no location */
    aco_time due;                        /* of the next ping; ACO_NEVER: none */
    int pings;                           /* that are left of this round */
    aco_time turn;
    int budget;
    unsigned answers;
    double tokens; /* answers that may be given now */
    aco_time filled;
    struct aco_discovery_counts counts;
    uint8_t seen[SEEN][16];
    char refusal[TEXT], failure[TEXT];
};

static ACO_PRINTF(1, 2) char *text_of(const char *fmt, ...)
{
    char *text = NULL;
    va_list args;

    va_start(args, fmt);
    if (vasprintf(&text, fmt, args) < 0) text = NULL;
    va_end(args);
    return text;
}

int
aco_discovery_port(uint16_t wanted, uint16_t *port, char **why)
{
    const char *text = getenv("ASYNCORO_DISCOVERY_PORT");
    char *end;

    *port = wanted != 0 ? wanted : ACO_DISCOVERY_PORT;
    if (wanted != 0 || text == NULL || *text == '\0') return ACO_OK;
    unsigned long number = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != '\0' || number == 0 || number > UINT16_MAX) {
        *why =
            text_of("ASYNCORO_DISCOVERY_PORT is '%.40s': a number of 1 to 65535 is wanted", text);
        return ACO_EINVALID;
    }
    *port = (uint16_t)number;
    return ACO_OK;
}

static bool
takes(const aco_discovery *d, const aco_address *address)
{
    if (address->storage.ss_family == AF_INET) return d->v4;
    return d->v6 && !aco_address_is_link_local(address);
}

/* The address of an interface that others are told, preferably of the family they were met by. */
static const aco_address *
address_at(const aco_discovery *d, unsigned index, int family)
{
    const aco_address *found = NULL;

    for (size_t i = 0; i < d->wave.interfaces.count; i++) {
        const struct aco_interface *at = &d->wave.interfaces.at[i];
        if (at->index != index || at->loopback || !takes(d, &at->address)) continue;
        if (at->address.storage.ss_family == family) return &at->address;
        if (found == NULL) found = &at->address;
    }
    return found;
}

/* What is told over an interface: its own address, where ours is but a guess. */
static void
location_at(const aco_discovery *d, unsigned index, int family, char text[ACO_LOCATION_TEXT])
{
    const aco_address *own = d->guessed ? address_at(d, index, family) : NULL;
    aco_location location = d->location;
    char host[ACO_ADDRESS_TEXT];

    if (own == NULL) {
        memcpy(text, d->location_text, ACO_LOCATION_TEXT);
        return;
    }
    aco_address_host(own, host);
    memcpy(location.host, host, strlen(host) + 1);
    aco_location_text(&location, text);
}

/* The guess again, of the interfaces as they are now. */
static void
guess(aco_discovery *d)
{
    const int family = d->v4 && d->v6 ? AF_UNSPEC : d->v6 ? AF_INET6 : AF_INET;
    char host[ACO_ADDRESS_TEXT];
    aco_address best;

    if (!d->guessed || aco_interface_best(&d->wave.interfaces, family, &best) != ACO_OK) return;
    aco_address_host(&best, host);
    memcpy(d->location.host, host, strlen(host) + 1);
    aco_location_text(&d->location, d->location_text);
}

static void
describe_way(const aco_discovery *d, const struct aco_way *way, char text[TEXT])
{
    char host[ACO_ADDRESS_TEXT];

    aco_address_host(&way->to, host);
    char *scope = strchr(host, '%');
    if (scope != NULL) *scope = '\0';
    snprintf(text, TEXT, "%.100s (%s)", host, d->wave.interfaces.at[way->at].name);
}

static void
sent(aco_discovery *d, const struct aco_way *way, int err)
{
    char where[TEXT];

    if (err == ACO_OK) {
        d->counts.sent++;
        return;
    }
    d->counts.failed++;
    describe_way(d, way, where);
    snprintf(d->failure, TEXT, "%s to %.120s: %s%s", way->multicast ? "multicast" : "broadcast",
             where, aco_err_text(err), err == ACO_EDENIED ? " (a firewall of this machine?)" : "");
}

/* To all, over all ways; each copy has the same nonce. */
static void
cast(aco_discovery *d, enum aco_beacon_kind kind)
{
    struct aco_beacon beacon = {.kind = kind, .time = aco_wall_time()};
    uint8_t data[ACO_BEACON_MAX];

    if (aco_random(beacon.nonce, sizeof beacon.nonce) != ACO_OK) return;
    memcpy(beacon.process, d->process, sizeof beacon.process);
    memcpy(beacon.name, d->name, sizeof beacon.name);
    for (size_t i = 0; i < d->wave.ways; i++) {
        const struct aco_way *way = &d->wave.way[i];
        const struct aco_interface *at = &d->wave.interfaces.at[way->at];
        location_at(d, at->index, way->to.storage.ss_family, beacon.location);
        size_t size = aco_beacon_write(&beacon, d->key, data);
        if (size > 0) sent(d, way, aco_airwave_cast(&d->wave, way, data, size));
    }
}

static int
send_to(aco_discovery *d, enum aco_beacon_kind kind, const aco_address *to, unsigned interface)
{
    struct aco_beacon beacon = {.kind = kind, .time = aco_wall_time()};
    uint8_t data[ACO_BEACON_MAX];
    int err = aco_random(beacon.nonce, sizeof beacon.nonce);

    if (err != ACO_OK) return err;
    memcpy(beacon.process, d->process, sizeof beacon.process);
    memcpy(beacon.name, d->name, sizeof beacon.name);
    location_at(d, interface, to->storage.ss_family, beacon.location);
    size_t size = aco_beacon_write(&beacon, d->key, data);
    if (size == 0) return ACO_EUNSUPPORTED;
    return aco_airwave_answer(&d->wave, to, data, size);
}

static void
answer(aco_discovery *d, aco_time now, const aco_address *to, unsigned interface)
{
    double earned = (double)(now - d->filled) / ACO_SECOND * d->answers;

    if (d->silent) return;
    d->filled = now;
    if (earned > 0) d->tokens += earned;
    if (d->tokens > d->answers) d->tokens = d->answers;
    if (d->tokens < 1) {
        d->counts.withheld++;
        return;
    }
    d->tokens -= 1;
    if (send_to(d, ACO_BEACON_HERE, to, interface) == ACO_OK) d->counts.answered++;
}

static void
refuse(aco_discovery *d, enum aco_beacon_fault fault, const struct aco_beacon *beacon,
       const aco_address *from, double now)
{
    char where[ACO_ADDRESS_TEXT];

    d->counts.refused[fault]++;
    aco_address_text(from, where);
    if (fault == ACO_BEACON_CLOCK)
        snprintf(d->refusal, TEXT, "%s: its clock is %.0f s %s ours: set the clocks of both (NTP)",
                 where, fabs(beacon->time - now), beacon->time > now ? "ahead of" : "behind");
    else
        snprintf(d->refusal, TEXT, "%s: %s", where, aco_beacon_fault_text(fault));
}

/* Has it come before, over another interface or from somebody who plays it again? */
static bool
is_repeated(aco_discovery *d, const uint8_t nonce[16])
{
    uint8_t *slot = d->seen[nonce[0] & (SEEN - 1)];

    if (memcmp(slot, nonce, 16) == 0) return true;
    memcpy(slot, nonce, 16);
    return false;
}

/* One datagram. True: it makes a sighting. */
static bool
take(aco_discovery *d, aco_time now, const uint8_t *data, size_t size, unsigned interface,
     struct aco_sighting *sighting)
{
    struct aco_beacon beacon;
    const double clock = aco_wall_time();
    enum aco_beacon_fault fault = aco_beacon_read(&beacon, d->key, data, size, clock);

    if ((fault == ACO_BEACON_GOOD || fault == ACO_BEACON_CLOCK) &&
        memcmp(beacon.process, d->process, sizeof d->process) == 0) {
        d->counts.own++;
        return false;
    }
    if (fault != ACO_BEACON_GOOD) {
        refuse(d, fault, &beacon, &sighting->from, clock);
        return false;
    }
    if (is_repeated(d, beacon.nonce)) {
        d->counts.repeated++;
        return false;
    }
    if (d->muted) return false;
    if (beacon.kind == ACO_BEACON_PING || beacon.kind == ACO_BEACON_PROBE)
        answer(d, now, &sighting->from, interface);
    if (beacon.kind == ACO_BEACON_PROBE) return false;
    d->counts.heard++;
    sighting->kind = beacon.kind;
    memcpy(sighting->process, beacon.process, sizeof sighting->process);
    memcpy(sighting->location, beacon.location, sizeof sighting->location);
    memcpy(sighting->name, beacon.name, sizeof sighting->name);
    return true;
}

static void
ping(aco_discovery *d, aco_time now)
{
    if (d->muted) {
        d->due = ACO_NEVER;
        return;
    }
    if (d->pings == PINGS && aco_airwave_scan(&d->wave)) guess(d);
    cast(d, d->silent ? ACO_BEACON_PROBE : ACO_BEACON_PING);
    d->pings--;
    d->due = d->pings == 0 ? ACO_NEVER : now + (d->pings == 2 ? 3 : 7) * (ACO_SECOND / 10);
}

/* A new turn: what time and the system have brought. */
static void
begin_turn(aco_discovery *d, aco_time now)
{
    d->turn = now;
    d->budget = BUDGET;
    if (aco_airwave_changed(&d->wave) && aco_airwave_scan(&d->wave)) {
        guess(d);
        if (d->due == ACO_NEVER && !d->muted) { /* others may be in reach now; let it settle */
            d->pings = PINGS;
            d->due = now + ACO_SECOND;
        }
    }
    if (d->due <= now) ping(d, now);
}

bool
aco_discovery_turn(aco_discovery *d, aco_time now, struct aco_sighting *sighting)
{
    uint8_t data[ACO_BEACON_MAX + 1];
    size_t size;
    unsigned interface;

    if (now != d->turn || d->due <= now) begin_turn(d, now);
    for (; d->budget > 0; d->budget--) {
        if (aco_airwave_receive(&d->wave, data, ACO_BEACON_MAX, &size, &sighting->from,
                                &interface) != ACO_OK)
            return false;
        if (take(d, now, data, size, interface, sighting)) return true;
    }
    return false;
}

/* The memory held a key. */
static void
forget(aco_discovery *d)
{
    OPENSSL_cleanse(d, sizeof *d);
    free(d);
}

static void
set_name(aco_discovery *d, const char *name)
{
    size_t size = name != NULL ? strnlen(name, ACO_BEACON_NAME) : 0;

    if (size > 0) memcpy(d->name, name, size);
}

int
aco_discovery_open(const struct aco_discovery_options *options, aco_discovery **out, char **why)
{
    const char *wrong = NULL;

    *out = NULL;
    *why = NULL;
    if (!options->broadcast && !options->multicast) {
        *why = text_of("discovery: broadcast and multicast are both off");
        return ACO_EINVALID;
    }
    aco_discovery *d = calloc(1, sizeof *d);
    if (d == NULL) return ACO_ENOMEM;
    memcpy(d->process, options->process, sizeof d->process);
    memcpy(d->key, options->key, sizeof d->key);
    set_name(d, options->name);
    d->guessed = options->guessed && !options->loopback && (options->v4 || options->v6) &&
                 options->location != NULL;
    d->v4 = options->v4;
    d->v6 = options->v6;
    d->answers = options->answers != 0 ? options->answers : ANSWERS;
    d->tokens = d->answers;
    aco_discovery_ask(d);
    int err = ACO_OK;
    d->silent = options->location == NULL;
    if (!d->silent)
        err =
            aco_location_parse(&d->location, options->location, strlen(options->location), &wrong);
    if (err != ACO_OK) *why = text_of("discovery: '%.80s': %s", options->location, wrong);
    if (err == ACO_OK)
        err = aco_airwave_open(&d->wave, options->port != 0 ? options->port : ACO_DISCOVERY_PORT,
                               options->broadcast, options->multicast, options->loopback, why);
    if (err != ACO_OK) {
        forget(d);
        return err;
    }
    if (!d->silent) aco_location_text(&d->location, d->location_text);
    *out = d;
    return ACO_OK;
}

void
aco_discovery_abandon(aco_discovery *d)
{
    if (d == NULL) return;
    aco_airwave_close(&d->wave);
    forget(d);
}

void
aco_discovery_close(aco_discovery *d)
{
    if (d != NULL && !d->muted && !d->silent) cast(d, ACO_BEACON_LEAVE);
    aco_discovery_abandon(d);
}

int
aco_discovery_fd(const aco_discovery *d)
{
    return d->wave.epoll;
}

aco_time
aco_discovery_next(const aco_discovery *d)
{
    return d->due;
}

void
aco_discovery_ask(aco_discovery *d)
{
    if (d->pings > 0 && d->due != ACO_NEVER) return;
    d->pings = PINGS;
    d->due = 0;
}

int
aco_discovery_ask_host(aco_discovery *d, const aco_address *host)
{
    aco_address to = *host;
    char text[ACO_ADDRESS_TEXT];

    if (d->wave.loopback && !aco_address_is_loopback(host)) return ACO_EDENIED;
    aco_address_host(host, text);
    int err = aco_address_parse(&to, text, d->wave.port);
    return err != ACO_OK ? err : send_to(d, d->silent ? ACO_BEACON_PROBE : ACO_BEACON_PING, &to, 0);
}

void
aco_discovery_mute(aco_discovery *d, bool mute)
{
    d->muted = mute;
}

int
aco_discovery_move(aco_discovery *d, const char *location)
{
    aco_location parsed;

    if (aco_location_parse(&parsed, location, strlen(location), NULL) != ACO_OK)
        return ACO_EINVALID;
    d->location = parsed;
    aco_location_text(&d->location, d->location_text);
    return ACO_OK;
}

const char *
aco_discovery_location(const aco_discovery *d)
{
    return d->location_text;
}

const struct aco_discovery_counts *
aco_discovery_counts(const aco_discovery *d)
{
    return &d->counts;
}

uint64_t
aco_discovery_refused(const aco_discovery *d)
{
    uint64_t all = 0;

    for (int i = 1; i < ACO_BEACON_FAULTS; i++)
        all += d->counts.refused[i];
    return all;
}

const char *
aco_discovery_refusal(const aco_discovery *d)
{
    return d->refusal;
}

const char *
aco_discovery_failure(const aco_discovery *d)
{
    return d->failure;
}

/* The ways of one kind, after its word. */
static size_t
describe_kind(const aco_discovery *d, bool multicast, char *text, size_t size, size_t at)
{
    const char *before = multicast ? "multicast to " : "broadcast to ";
    char where[TEXT];

    for (size_t i = 0; i < d->wave.ways; i++) {
        if (d->wave.way[i].multicast != multicast || at >= size) continue;
        describe_way(d, &d->wave.way[i], where);
        at += (size_t)snprintf(text + at, size - at, "%s%s", before, where);
        before = ", ";
    }
    if (*before == ',' && at < size) at += (size_t)snprintf(text + at, size - at, ", ");
    return at;
}

void
aco_discovery_describe(const aco_discovery *d, char *text, size_t size)
{
    size_t at = describe_kind(d, false, text, size, 0);

    at = describe_kind(d, true, text, size, at);
    if (at == 0) at = (size_t)snprintf(text, size, "no interface that is up, ");
    if (at < size) snprintf(text + at, size - at, "UDP port %u", d->wave.port);
}
