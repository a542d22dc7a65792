/* SPDX-License-Identifier: MIT */
#include "core/net/interface.h"
#include "core/base/error.h"

#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct in_addr *
host4(const aco_address *address)
{
    return &((const struct sockaddr_in *)&address->storage)->sin_addr;
}

static const struct in6_addr *
host6(const aco_address *address)
{
    return &((const struct sockaddr_in6 *)&address->storage)->sin6_addr;
}

bool
aco_address_is_loopback(const aco_address *address)
{
    if (address->storage.ss_family == AF_INET) return ntohl(host4(address)->s_addr) >> 24 == 127;
    if (address->storage.ss_family != AF_INET6) return false;
    const struct in6_addr *host = host6(address);
    return IN6_IS_ADDR_LOOPBACK(host) || (IN6_IS_ADDR_V4MAPPED(host) && host->s6_addr[12] == 127);
}

bool
aco_address_is_any(const aco_address *address)
{
    if (address->storage.ss_family == AF_INET) return host4(address)->s_addr == INADDR_ANY;
    return address->storage.ss_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(host6(address));
}

bool
aco_address_is_link_local(const aco_address *address)
{
    if (address->storage.ss_family == AF_INET)
        return ntohl(host4(address)->s_addr) >> 16 == 0xa9fe; /* 169.254/16 */
    return address->storage.ss_family == AF_INET6 && IN6_IS_ADDR_LINKLOCAL(host6(address));
}

bool
aco_address_same_host(const aco_address *a, const aco_address *b)
{
    if (a->storage.ss_family != b->storage.ss_family) return false;
    if (a->storage.ss_family == AF_INET) return host4(a)->s_addr == host4(b)->s_addr;
    return a->storage.ss_family == AF_INET6 && IN6_ARE_ADDR_EQUAL(host6(a), host6(b));
}

static void
copy_address(aco_address *to, const struct sockaddr *from)
{
    to->size =
        from->sa_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
    memcpy(&to->storage, from, to->size);
}

/* By the mask: the system need not have been told one, and loopback has one all the same. */
static void
set_broadcast(struct aco_interface *to, const struct sockaddr *netmask)
{
    const in_addr_t mask = ((const struct sockaddr_in *)netmask)->sin_addr.s_addr;
    struct sockaddr_in *at = (struct sockaddr_in *)&to->broadcast.storage;

    if (ntohl(~mask) < 3) return; /* /31 and /32 have none */
    to->broadcast = to->address;
    at->sin_port = 0;
    at->sin_addr.s_addr |= ~mask;
}

static void
add(struct aco_interfaces *list, const struct ifaddrs *from)
{
    struct aco_interface *to = &list->at[list->count++];

    memset(to, 0, sizeof *to);
    strncpy(to->name, from->ifa_name, sizeof to->name - 1);
    to->index = if_nametoindex(from->ifa_name);
    to->loopback = (from->ifa_flags & IFF_LOOPBACK) != 0;
    to->multicast = (from->ifa_flags & IFF_MULTICAST) != 0;
    to->direct = (from->ifa_flags & IFF_POINTOPOINT) != 0;
    copy_address(&to->address, from->ifa_addr);
    if (from->ifa_addr->sa_family == AF_INET && from->ifa_netmask != NULL &&
        (from->ifa_flags & (IFF_BROADCAST | IFF_LOOPBACK)) != 0)
        set_broadcast(to, from->ifa_netmask);
}

/* Loopback, what others reach, what only those on the same link reach. */
static int
rank(const struct ifaddrs *at)
{
    aco_address address;

    copy_address(&address, at->ifa_addr);
    if ((at->ifa_flags & IFF_LOOPBACK) != 0) return 0;
    return aco_address_is_link_local(&address) ? 2 : 1;
}

static bool
is_usable(const struct ifaddrs *at)
{
    return (at->ifa_flags & IFF_UP) != 0 && at->ifa_addr != NULL &&
           (at->ifa_addr->sa_family == AF_INET || at->ifa_addr->sa_family == AF_INET6);
}

int
aco_interfaces_read(struct aco_interfaces *interfaces)
{
    struct ifaddrs *all;

    interfaces->count = 0;
    if (getifaddrs(&all) != 0) return aco_err_from_errno(errno);
    for (int wanted = 0; wanted <= 2; wanted++)
        for (const struct ifaddrs *at = all; at != NULL; at = at->ifa_next)
            if (interfaces->count < ACO_INTERFACES && is_usable(at) && rank(at) == wanted)
                add(interfaces, at);
    freeifaddrs(all);
    return ACO_OK;
}

/* The address from which the default route would be used: connecting a datagram socket sends
 * nothing. The targets are addresses for documents, which nobody has. */
static bool
default_route(int family, aco_address *own)
{
    aco_address far;
    bool found = false;

    if (aco_address_parse(&far, family == AF_INET ? "203.0.113.1" : "2001:db8::1", 9) != ACO_OK)
        return false;
    int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return false;
    if (connect(fd, (const struct sockaddr *)&far.storage, far.size) == 0)
        found = aco_address_of(own, fd, false) == ACO_OK && !aco_address_is_loopback(own) &&
                !aco_address_is_any(own) && !aco_address_is_link_local(own);
    close(fd);
    return found;
}

/* Bridges and the like that programs make on a machine, which others do not reach. */
static bool
is_inner(const char *name)
{
    static const char *const begins[] = {"docker", "br-", "virbr",  "veth", "lxc",
                                         "lxd",    "cni", "podman", "vmnet"};

    for (size_t i = 0; i < sizeof begins / sizeof *begins; i++)
        if (strncmp(name, begins[i], strlen(begins[i])) == 0) return true;
    return false;
}

/* How little others can make of an address. One of a link only, of IPv6, means something else to
 * each of them. */
static int
cost(const struct aco_interface *at)
{
    const bool link_local = aco_address_is_link_local(&at->address);

    if (at->loopback) return 8;
    if (link_local && at->address.storage.ss_family == AF_INET6) return 9;
    return (link_local ? 4 : 0) + (is_inner(at->name) ? 2 : 0) + (at->direct ? 1 : 0);
}

static bool
best_of(const struct aco_interfaces *interfaces, int family, aco_address *best, int *best_cost)
{
    const struct aco_interface *found = NULL;

    if (default_route(family, best)) {
        *best_cost = -1;
        return true;
    }
    for (size_t i = 0; i < interfaces->count; i++) {
        const struct aco_interface *at = &interfaces->at[i];
        if (at->address.storage.ss_family != family) continue;
        if (found == NULL || cost(at) < cost(found)) found = at;
    }
    if (found == NULL) return false;
    *best = found->address;
    *best_cost = cost(found);
    return true;
}

static void
set_port(aco_address *address, uint16_t port)
{
    if (address->storage.ss_family == AF_INET)
        ((struct sockaddr_in *)&address->storage)->sin_port = htons(port);
    else
        ((struct sockaddr_in6 *)&address->storage)->sin6_port = htons(port);
}

int
aco_interface_best(const struct aco_interfaces *interfaces, int family, aco_address *best)
{
    aco_address v6;
    int cost4 = 16, cost6 = 16;
    bool has4 = family != AF_INET6 && best_of(interfaces, AF_INET, best, &cost4);
    bool has6 = family != AF_INET && best_of(interfaces, AF_INET6, &v6, &cost6);

    if (!has4 && !has6) return ACO_EUNREACHABLE;
    if (!has4 || (has6 && cost6 < cost4)) *best = v6;
    set_port(best, 0);
    return ACO_OK;
}

int
aco_interface_advertise(const struct aco_interfaces *interfaces, const aco_address *bound,
                        bool dual, aco_address *told)
{
    int family = dual ? AF_UNSPEC : bound->storage.ss_family;

    *told = *bound;
    if (!aco_address_is_any(bound)) return ACO_OK;
    int err = aco_interface_best(interfaces, family, told);
    if (err == ACO_OK) set_port(told, aco_address_port(bound));
    return err;
}
