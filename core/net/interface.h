/* SPDX-License-Identifier: MIT */
/* interface.h -- this machine's addresses, and which of them others are told. Any thread. */
#ifndef ACO_INTERFACE_H
#define ACO_INTERFACE_H

#include "core/io/address.h"

enum { ACO_INTERFACES = 64, ACO_INTERFACE_NAME = 16 };

/** One address of an interface that is up. */
struct aco_interface {
    char name[ACO_INTERFACE_NAME];
    unsigned index;
    bool loopback, multicast, direct; /* direct: a tunnel, with one other end */
    aco_address address;
    aco_address broadcast; /* its port 0; size 0: there is none */
};

struct aco_interfaces {
    size_t count;
    struct aco_interface at[ACO_INTERFACES];
};

/** Read them: IPv4 and IPv6 of interfaces that are up, loopback first; at most ACO_INTERFACES. Of
 * addresses of IPv6 those of a link only (fe80::) come last. Errors from errno. */
ACO_MUSTUSE int aco_interfaces_read(struct aco_interfaces *interfaces);

bool aco_address_is_loopback(const aco_address *address);
bool aco_address_is_any(const aco_address *address); /* 0.0.0.0, :: */
bool aco_address_is_link_local(const aco_address *address);

/** The same host; ports are not looked at. */
bool aco_address_same_host(const aco_address *a, const aco_address *b);

/** The address of this machine that others most likely reach: that of the default route, else of
 * the first interface that has one others could reach, else loopback's. Never what the host's name
 * happens to stand for (127.0.1.1). `family`: AF_INET, AF_INET6; AF_UNSPEC: any, IPv4 before.
 * ACO_EUNREACHABLE: no address at all. */
ACO_MUSTUSE int aco_interface_best(const struct aco_interfaces *interfaces, int family,
                                   aco_address *best);

/** What to tell others of a socket that listens at `bound`: itself, or with 0.0.0.0 and :: the best
 * address, with the port of `bound`. `dual`: one at :: takes IPv4 as well. */
ACO_MUSTUSE int aco_interface_advertise(const struct aco_interfaces *interfaces,
                                        const aco_address *bound, bool dual, aco_address *told);

#endif
