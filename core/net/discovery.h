/* SPDX-License-Identifier: MIT */
/* discovery.h -- finding the other processes of asyncoro: pings to all, answers to the one who
 * asked, and what is heard.
 *
 * Who hears of a process it does not know dials it. A process asks when it starts and when it is
 * told to; between that nothing is sent and nobody is woken. All datagrams are authenticated
 * (core/net/beacon.h) and read at the port that the processes of a host share.
 *
 * Switched off it does not exist: whoever wants none opens none. No call waits. Objects are used by
 * one thread at a time. */
#ifndef ACO_DISCOVERY_H
#define ACO_DISCOVERY_H

#include "core/io/address.h"
#include "core/net/beacon.h"

enum { ACO_DISCOVERY_PORT = 51350 };

typedef struct aco_discovery aco_discovery;

struct aco_discovery_options {
    uint8_t process[16];
    uint8_t key[ACO_BEACON_KEY];
    const char *location;      /* what others are told */
    const char *name;          /* NULL: none */
    uint16_t port;             /* 0: ACO_DISCOVERY_PORT */
    bool broadcast, multicast; /* at least one of them */
    bool loopback; /* this machine only, in both directions: for who listens on loopback only */
    /* The host of `location` is a guess, as the process listens at 0.0.0.0 or :: with these
     * families: each interface hears its own address instead, and changes are followed. */
    bool guessed, v4, v6;
    unsigned answers; /* in a second at most; 0: 50 */
};

/** What was heard of another process. */
struct aco_sighting {
    enum aco_beacon_kind kind;
    uint8_t process[16];
    char location[ACO_LOCATION_TEXT];
    char name[ACO_BEACON_NAME + 1];
    aco_address from; /* where the datagram came from */
};

/** What has happened; the last three are of datagrams that were heard. */
struct aco_discovery_counts {
    uint64_t sent, failed;       /* datagrams to all, over all ways */
    uint64_t heard;              /* sightings given */
    uint64_t answered, withheld; /* withheld: over the limit of answers */
    uint64_t own, repeated;      /* copies of what is known */
    uint64_t refused[ACO_BEACON_FAULTS];
};

/** The port: `wanted`, or that of ASYNCORO_DISCOVERY_PORT, or 51350. ACO_EINVALID: the variable is
 * no port; `*why` is a text for the caller to free (NULL without memory). */
ACO_MUSTUSE int aco_discovery_port(uint16_t wanted, uint16_t *port, char **why);

/** Open the sockets; the first ping leaves at the first turn. On an error `*why` is a text for the
 * caller to free (NULL without memory). ACO_EINVALID, ACO_EEXISTS (the port is another program's),
 * ACO_ENOMEM and others from errno. */
ACO_MUSTUSE int aco_discovery_open(const struct aco_discovery_options *options, aco_discovery **out,
                                   char **why);

/** Say that this process leaves, and close. NULL is allowed. */
void aco_discovery_close(aco_discovery *d);

/** Close without a word: in a forked child, whose parent stays. NULL is allowed. */
void aco_discovery_abandon(aco_discovery *d);

/** Readable when there is something for a turn. */
int aco_discovery_fd(const aco_discovery *d);

/** When the next turn is due by time: ACO_NEVER most of the time, 0 for at once. */
aco_time aco_discovery_next(const aco_discovery *d);

/** Do what is due and read what came. True: there is a sighting, call again with the same `now`;
 * false: that was all for now. Bounded, whatever comes. */
bool aco_discovery_turn(aco_discovery *d, aco_time now, struct aco_sighting *sighting);

/** Ask again: pings at the next turn, 0.3 and 1 s after. Nothing new while that is under way. */
void aco_discovery_ask(aco_discovery *d);

/** Ask one host, at the port of discovery; of its processes one hears it. Errors from errno. */
ACO_MUSTUSE int aco_discovery_ask_host(aco_discovery *d, const aco_address *host);

/** Neither answer nor ask nor give sightings, until it is taken back. */
void aco_discovery_mute(aco_discovery *d, bool mute);

/** Another location from now on. ACO_EINVALID: it is none. */
ACO_MUSTUSE int aco_discovery_move(aco_discovery *d, const char *location);

/** What others are told now (with `guessed` it follows the interfaces). */
const char *aco_discovery_location(const aco_discovery *d);

const struct aco_discovery_counts *aco_discovery_counts(const aco_discovery *d);

/** How many datagrams were refused, for any reason. */
uint64_t aco_discovery_refused(const aco_discovery *d);

/** The last refusal in words ("192.0.2.7:51350: its secret is not ours, or it was forged"), and
 * the last failure to send; empty when there was none. */
const char *aco_discovery_refusal(const aco_discovery *d);
const char *aco_discovery_failure(const aco_discovery *d);

/** Where it asks, in words: "broadcast to 192.0.2.255 (eth0), 127.255.255.255 (lo), multicast to
 * 239.255.51.35 (eth0), UDP port 51350"; cut to fit. */
void aco_discovery_describe(const aco_discovery *d, char *text, size_t size);

#endif
