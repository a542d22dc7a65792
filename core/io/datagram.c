/* SPDX-License-Identifier: MIT */
#include "core/io/datagram.h"
#include "core/base/error.h"

#include <errno.h>
#include <ifaddrs.h>
#include <limits.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

static int
family_of(int fd)
{
    int family = AF_UNSPEC;
    socklen_t size = sizeof family;

    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &size) != 0) return AF_UNSPEC;
    return family;
}

/* The address as this socket must be given it. */
static const aco_address *
address_for(int fd, const aco_address *address, aco_address *mapped)
{
    if (address->storage.ss_family != AF_INET || family_of(fd) != AF_INET6) return address;
    aco_address_map(address, mapped);
    return mapped;
}

int
aco_datagram_send(int fd, const void *data, size_t size, const aco_address *to)
{
    aco_address mapped;
    ssize_t n;

    if (to != NULL) to = address_for(fd, to, &mapped);
    do
        n = sendto(fd, data, size, MSG_NOSIGNAL,
                   to != NULL ? (const struct sockaddr *)&to->storage : NULL,
                   to != NULL ? to->size : 0);
    while (n < 0 && errno == EINTR);
    return n >= 0 ? ACO_OK : aco_err_from_errno(errno);
}

int
aco_datagram_receive(int fd, void *data, size_t size, size_t *whole, aco_address *from)
{
    ssize_t n;

    do {
        *from = (aco_address){.size = sizeof from->storage};
        n = recvfrom(fd, data, size, MSG_TRUNC, (struct sockaddr *)&from->storage, &from->size);
    } while (n < 0 && errno == EINTR);
    if (n < 0) return aco_err_from_errno(errno);
    *whole = (size_t)n;
    return ACO_OK;
}

/* Linux takes a port away with the connection when the system had chosen it: ask for it again. */
static int
disconnect(int fd)
{
    const struct sockaddr nobody = {.sa_family = AF_UNSPEC};
    aco_address before, after;
    int err = aco_address_of(&before, fd, false);

    if (err != ACO_OK) return err;
    if (connect(fd, &nobody, sizeof nobody) != 0) return aco_err_from_errno(errno);
    err = aco_address_of(&after, fd, false);
    if (err != ACO_OK || aco_address_port(&after) == aco_address_port(&before)) return err;
    if (bind(fd, (const struct sockaddr *)&before.storage, before.size) == 0) return ACO_OK;
    return aco_err_from_errno(errno);
}

int
aco_datagram_connect(int fd, const aco_address *to)
{
    aco_address mapped;

    if (to == NULL) return disconnect(fd);
    to = address_for(fd, to, &mapped);
    if (connect(fd, (const struct sockaddr *)&to->storage, to->size) == 0) return ACO_OK;
    return aco_err_from_errno(errno);
}

static bool
same_host(const struct sockaddr *a, const struct sockaddr_storage *b)
{
    if (a == NULL || a->sa_family != b->ss_family) return false;
    if (a->sa_family == AF_INET)
        return memcmp(&((const struct sockaddr_in *)a)->sin_addr,
                      &((const struct sockaddr_in *)b)->sin_addr, sizeof(struct in_addr)) == 0;
    return a->sa_family == AF_INET6 &&
           memcmp(&((const struct sockaddr_in6 *)a)->sin6_addr,
                  &((const struct sockaddr_in6 *)b)->sin6_addr, sizeof(struct in6_addr)) == 0;
}

static unsigned
interface_at(const aco_address *address)
{
    struct ifaddrs *all;
    unsigned index = 0;

    if (getifaddrs(&all) != 0) return 0;
    for (const struct ifaddrs *at = all; at != NULL && index == 0; at = at->ifa_next)
        if (same_host(at->ifa_addr, &address->storage)) index = if_nametoindex(at->ifa_name);
    freeifaddrs(all);
    return index;
}

unsigned
aco_interface_index(const char *name)
{
    unsigned index = if_nametoindex(name);
    char text[IF_NAMESIZE], *end;
    aco_address address;

    if (index != 0) return index;
    unsigned long number = strtoul(name, &end, 10);
    if (*name >= '0' && *name <= '9' && *end == '\0')
        return number <= UINT_MAX && if_indextoname((unsigned)number, text) != NULL
                   ? (unsigned)number
                   : 0;
    return aco_address_parse(&address, name, 0) == ACO_OK ? interface_at(&address) : 0;
}

static int
group_do(int fd, const aco_address *group, unsigned interface, int what)
{
    struct group_req request = {.gr_interface = interface};
    int level = group->storage.ss_family == AF_INET6 ? IPPROTO_IPV6 : IPPROTO_IP;

    memcpy(&request.gr_group, &group->storage, group->size);
    if (setsockopt(fd, level, what, &request, sizeof request) == 0) return ACO_OK;
    return aco_err_from_errno(errno);
}

int
aco_datagram_join(int fd, const aco_address *group, unsigned interface)
{
    return group_do(fd, group, interface, MCAST_JOIN_GROUP);
}

int
aco_datagram_leave(int fd, const aco_address *group, unsigned interface)
{
    return group_do(fd, group, interface, MCAST_LEAVE_GROUP);
}

static const int options4[] = {[ACO_DATAGRAM_TTL] = IP_TTL,
                               [ACO_DATAGRAM_GROUP_TTL] = IP_MULTICAST_TTL,
                               [ACO_DATAGRAM_GROUP_LOOP] = IP_MULTICAST_LOOP,
                               [ACO_DATAGRAM_GROUP_INTERFACE] = IP_MULTICAST_IF};
static const int options6[] = {[ACO_DATAGRAM_TTL] = IPV6_UNICAST_HOPS,
                               [ACO_DATAGRAM_GROUP_TTL] = IPV6_MULTICAST_HOPS,
                               [ACO_DATAGRAM_GROUP_LOOP] = IPV6_MULTICAST_LOOP,
                               [ACO_DATAGRAM_GROUP_INTERFACE] = IPV6_MULTICAST_IF};

static bool
set4(int fd, enum aco_datagram_option option, int value)
{
    const struct ip_mreqn at = {.imr_ifindex = value};

    if (option == ACO_DATAGRAM_GROUP_INTERFACE)
        return setsockopt(fd, IPPROTO_IP, options4[option], &at, sizeof at) == 0;
    return setsockopt(fd, IPPROTO_IP, options4[option], &value, sizeof value) == 0;
}

/* A socket of IPv6 may send to IPv4, too: it is set for both. */
int
aco_datagram_set(int fd, enum aco_datagram_option option, int value)
{
    int family = family_of(fd);
    bool done;

    if (family == AF_INET6) {
        done = setsockopt(fd, IPPROTO_IPV6, options6[option], &value, sizeof value) == 0;
        if (done) (void)!set4(fd, option, value);
    } else {
        done = set4(fd, option, value);
    }
    return done ? ACO_OK : aco_err_from_errno(errno);
}

int
aco_datagram_get(int fd, enum aco_datagram_option option, int *value)
{
    bool v6 = family_of(fd) == AF_INET6;
    socklen_t size = sizeof *value;

    *value = 0;
    if (getsockopt(fd, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? options6[option] : options4[option],
                   value, &size) != 0)
        return aco_err_from_errno(errno);
    return ACO_OK;
}
