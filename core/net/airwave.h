/* SPDX-License-Identifier: MIT */
/* airwave.h -- the sockets of discovery: datagrams to all that listen, over every interface.
 *
 * Two sockets of each family. One hears at the port that all processes of a host share: what is
 * broadcast or multicast reaches each of them, what is sent to one address only the one that came
 * last. So what is sent leaves by the other, which has a port of its own, and answers come there.
 *
 * One thread at a time. */
#ifndef ACO_AIRWAVE_H
#define ACO_AIRWAVE_H

#include "core/net/interface.h"

#define ACO_AIRWAVE_GROUP4 "239.255.51.35"
#define ACO_AIRWAVE_GROUP6 "ff05::5:1350"

enum {
    ACO_AIRWAVE_HEAR4,
    ACO_AIRWAVE_HEAR6,
    ACO_AIRWAVE_TALK4,
    ACO_AIRWAVE_TALK6,
    ACO_AIRWAVE_SOCKETS,
    ACO_AIRWAVE_WAYS = 2 * ACO_INTERFACES,
};

/** One way to many: a broadcast or multicast over one interface. */
struct aco_way {
    uint8_t socket; /* which of the four */
    bool multicast;
    uint8_t at; /* the interface, by its place in the list */
    aco_address to;
};

typedef struct aco_airwave {
    int epoll;                    /* readable when one of the others is */
    int fds[ACO_AIRWAVE_SOCKETS]; /* -1: none */
    int netlink;                  /* tells of changes; -1: none */
    unsigned turn;                /* which of the four is next to be read */
    uint16_t port;
    bool broadcast, multicast, loopback;
    struct aco_interfaces interfaces;
    size_t ways;
    struct aco_way way[ACO_AIRWAVE_WAYS];
    size_t joined4, joined6;
    unsigned join4[ACO_INTERFACES], join6[ACO_INTERFACES]; /* indexes of interfaces */
} aco_airwave;

/** Open the sockets. At least one of `broadcast` and `multicast`. With `loopback` nothing leaves or
 * enters the machine: it hears at loopback's own broadcast address. On an error `*why` is a text
 * for the caller to free (NULL without memory), and nothing is open. */
ACO_MUSTUSE int aco_airwave_open(aco_airwave *wave, uint16_t port, bool broadcast, bool multicast,
                                 bool loopback, char **why);
void aco_airwave_close(aco_airwave *wave);

/** Has the system told of a change of its addresses? */
bool aco_airwave_changed(aco_airwave *wave);

/** Look at the interfaces again: the ways, and the groups that are joined. True: the addresses are
 * others than before. */
bool aco_airwave_scan(aco_airwave *wave);

/** Send to all over one way; to one, as an answer. Errors from errno. */
ACO_MUSTUSE int aco_airwave_cast(aco_airwave *wave, const struct aco_way *way, const void *data,
                                 size_t size);
ACO_MUSTUSE int aco_airwave_answer(aco_airwave *wave, const aco_address *to, const void *data,
                                   size_t size);

/** The next datagram and where it came from: the address, and the index of the interface. One that
 * is longer than `size` gives a *got of size + 1. ACO_EBUSY: there is none. What came by a way that
 * is switched off, and in loopback mode from elsewhere, is dropped unseen. */
ACO_MUSTUSE int aco_airwave_receive(aco_airwave *wave, void *data, size_t size, size_t *got,
                                    aco_address *from, unsigned *interface);

#endif
