/* SPDX-License-Identifier: MIT */
#include "core/net/airwave.h"
#include "core/base/error.h"
#include "core/io/datagram.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

static int
set(int fd, int level, int option, int value)
{
    return setsockopt(fd, level, option, &value, sizeof value);
}

static bool
is_hearing(int which)
{
    return which == ACO_AIRWAVE_HEAR4 || which == ACO_AIRWAVE_HEAR6;
}

static bool
is_v6(int which)
{
    return which == ACO_AIRWAVE_HEAR6 || which == ACO_AIRWAVE_TALK6;
}

/* Where a socket is bound. On loopback the sockets hear the broadcasts of loopback, or the group,
 * and nothing that is sent to an address of this machine. */
static const char *
place_of(const aco_airwave *wave, int which)
{
    if (is_v6(which)) return "::";
    if (!wave->loopback) return "0.0.0.0";
    if (!is_hearing(which)) return "127.0.0.1";
    return wave->broadcast ? "127.255.255.255" : ACO_AIRWAVE_GROUP4;
}

/* The options before bind; those that this system lacks change nothing that matters. Sharing is by
 * SO_REUSEADDR: SO_REUSEPORT would keep other users of the machine out. */
static bool
prepare(int fd, int which)
{
    if (is_hearing(which) && set(fd, SOL_SOCKET, SO_REUSEADDR, 1) != 0) return false;
    if (is_v6(which)) {
        (void)set(fd, IPPROTO_IPV6, IPV6_MULTICAST_LOOP, 1);
        (void)set(fd, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, 1);
#ifdef IPV6_MULTICAST_ALL
        (void)set(fd, IPPROTO_IPV6, IPV6_MULTICAST_ALL, 0);
#endif
        return set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1) == 0 &&
               set(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1) == 0;
    }
    (void)set(fd, IPPROTO_IP, IP_MULTICAST_ALL, 0);
    (void)set(fd, IPPROTO_IP, IP_MULTICAST_TTL, 1);
    return set(fd, SOL_SOCKET, SO_BROADCAST, 1) == 0 && set(fd, IPPROTO_IP, IP_PKTINFO, 1) == 0;
}

static int
watch(aco_airwave *wave, int fd)
{
    struct epoll_event ev = {.events = EPOLLIN, .data.fd = fd};

    return epoll_ctl(wave->epoll, EPOLL_CTL_ADD, fd, &ev) == 0 ? ACO_OK : aco_err_from_errno(errno);
}

/* *errnum stays 0 when it went well. */
static int
open_socket(aco_airwave *wave, int which, int *errnum)
{
    aco_address at;
    int err = aco_address_parse(&at, place_of(wave, which), is_hearing(which) ? wave->port : 0);
    int fd =
        socket(is_v6(which) ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (err == ACO_OK && fd >= 0 && prepare(fd, which) &&
        bind(fd, (const struct sockaddr *)&at.storage, at.size) == 0 && watch(wave, fd) == ACO_OK) {
        wave->fds[which] = fd;
        return ACO_OK;
    }
    *errnum = errno;
    if (fd >= 0) close(fd);
    return aco_err_from_errno(*errnum);
}

/* Without one (a sandbox may forbid it) changes are noticed when it is asked again. */
static void
open_netlink(aco_airwave *wave)
{
    const struct sockaddr_nl at = {.nl_family = AF_NETLINK,
                                   .nl_groups =
                                       RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR};
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_ROUTE);

    if (fd < 0) return;
    if (bind(fd, (const struct sockaddr *)&at, sizeof at) == 0 && watch(wave, fd) == ACO_OK)
        wave->netlink = fd;
    else
        close(fd);
}

static void
explain(const aco_airwave *wave, int errnum, char **why)
{
    char text[240];

    snprintf(text, sizeof text, "discovery: UDP port %u: %s%s", wave->port,
             aco_err_text(aco_err_from_errno(errnum)),
             errnum == EADDRINUSE ? ": another program has taken it and does not share it; choose "
                                    "another by the option port of discovery or "
                                    "ASYNCORO_DISCOVERY_PORT, the same for all"
             : errnum == EACCES   ? ": ports below 1024 are for root"
                                  : "");
    *why = strdup(text);
}

/* IPv4 or IPv6 may be missing, not both. */
static int
open_sockets(aco_airwave *wave, int *errnum)
{
    int err4 = open_socket(wave, ACO_AIRWAVE_HEAR4, errnum);
    int err6 = ACO_EUNSUPPORTED, errnum6 = 0;

    if (err4 == ACO_OK) err4 = open_socket(wave, ACO_AIRWAVE_TALK4, errnum);
    if (wave->loopback) return err4;
    if (wave->multicast) {
        err6 = open_socket(wave, ACO_AIRWAVE_HEAR6, &errnum6);
        if (err6 == ACO_OK) err6 = open_socket(wave, ACO_AIRWAVE_TALK6, &errnum6);
    }
    if (*errnum == EADDRINUSE) return err4; /* the port is another's */
    return err6 == ACO_OK ? ACO_OK : err4;
}

int
aco_airwave_open(aco_airwave *wave, uint16_t port, bool broadcast, bool multicast, bool loopback,
                 char **why)
{
    int errnum = 0;

    memset(wave, 0, sizeof *wave);
    wave->port = port;
    wave->broadcast = broadcast;
    wave->multicast = multicast && !(loopback && broadcast);
    wave->loopback = loopback;
    wave->netlink = -1;
    for (int i = 0; i < ACO_AIRWAVE_SOCKETS; i++)
        wave->fds[i] = -1;
    wave->epoll = epoll_create1(EPOLL_CLOEXEC);
    int err = wave->epoll < 0 ? aco_err_from_errno(errnum = errno) : open_sockets(wave, &errnum);
    if (err != ACO_OK) {
        explain(wave, errnum, why);
        aco_airwave_close(wave);
        return err;
    }
    open_netlink(wave);
    (void)aco_airwave_scan(wave);
    return ACO_OK;
}

void
aco_airwave_close(aco_airwave *wave)
{
    for (int i = 0; i < ACO_AIRWAVE_SOCKETS; i++)
        if (wave->fds[i] >= 0) close(wave->fds[i]);
    if (wave->netlink >= 0) close(wave->netlink);
    if (wave->epoll >= 0) close(wave->epoll);
    for (int i = 0; i < ACO_AIRWAVE_SOCKETS; i++)
        wave->fds[i] = -1;
    wave->netlink = wave->epoll = -1;
}

bool
aco_airwave_changed(aco_airwave *wave)
{
    uint8_t data[4096];
    bool changed = false;

    if (wave->netlink < 0) return false;
    for (int i = 0; i < 64; i++) {
        ssize_t n = recv(wave->netlink, data, sizeof data, MSG_DONTWAIT);
        if (n <= 0 && errno != ENOBUFS) break; /* ENOBUFS: there was more than it could keep */
        changed = true;
    }
    return changed;
}

static bool
same_list(const struct aco_interfaces *a, const struct aco_interfaces *b)
{
    if (a->count != b->count) return false;
    for (size_t i = 0; i < a->count; i++)
        if (a->at[i].index != b->at[i].index ||
            !aco_address_same_host(&a->at[i].address, &b->at[i].address))
            return false;
    return true;
}

static bool
holds(const unsigned *list, size_t count, unsigned index)
{
    for (size_t i = 0; i < count; i++)
        if (list[i] == index) return true;
    return false;
}

/* Interfaces that take part in multicast. Loopback is one when there is nothing else to reach the
 * other processes of this machine by: IPv4 only, as Linux has no multicast route there. */
static bool
takes_group(const aco_airwave *wave, const struct aco_interface *at)
{
    if (!wave->multicast) return false;
    if (at->loopback) return !wave->broadcast && at->address.storage.ss_family == AF_INET;
    return at->multicast && !wave->loopback;
}

/* Join where there is an address now; where there is none any more, leave. */
static void
join(aco_airwave *wave, int which, const char *text, unsigned *joined, size_t *count)
{
    unsigned now[ACO_INTERFACES];
    size_t n = 0;
    aco_address group;
    const int family = is_v6(which) ? AF_INET6 : AF_INET, fd = wave->fds[which];

    if (fd < 0 || aco_address_parse(&group, text, 0) != ACO_OK) return;
    for (size_t i = 0; i < wave->interfaces.count; i++) {
        const struct aco_interface *at = &wave->interfaces.at[i];
        if (at->address.storage.ss_family != family || !takes_group(wave, at) ||
            holds(now, n, at->index))
            continue;
        if (holds(joined, *count, at->index) || aco_datagram_join(fd, &group, at->index) == ACO_OK)
            now[n++] = at->index;
    }
    for (size_t i = 0; i < *count; i++) {
        if (holds(now, n, joined[i])) continue;
        int err = aco_datagram_leave(fd, &group, joined[i]);
        (void)err; /* its interface may be gone, and the membership with it */
    }
    memcpy(joined, now, n * sizeof *now);
    *count = n;
}

static void
set_port(aco_address *address, uint16_t port)
{
    if (address->storage.ss_family == AF_INET)
        ((struct sockaddr_in *)&address->storage)->sin_port = htons(port);
    else
        ((struct sockaddr_in6 *)&address->storage)->sin6_port = htons(port);
}

static void
add_way(aco_airwave *wave, size_t place, int socket, bool multicast, const aco_address *to)
{
    if (wave->ways == ACO_AIRWAVE_WAYS || wave->fds[socket] < 0) return;
    struct aco_way *way = &wave->way[wave->ways++];
    *way = (struct aco_way){
        .socket = (uint8_t)socket, .multicast = multicast, .at = (uint8_t)place, .to = *to};
    set_port(&way->to, wave->port);
}

static bool
has_way(const aco_airwave *wave, const aco_address *to)
{
    for (size_t i = 0; i < wave->ways; i++)
        if (aco_address_same_host(&wave->way[i].to, to)) return true;
    return false;
}

static void
add_ways(aco_airwave *wave, size_t place)
{
    const struct aco_interface *at = &wave->interfaces.at[place];
    const bool v6 = at->address.storage.ss_family == AF_INET6;
    aco_address group;

    if (wave->broadcast && at->broadcast.size != 0 && (at->loopback || !wave->loopback) &&
        !has_way(wave, &at->broadcast))
        add_way(wave, place, ACO_AIRWAVE_TALK4, false, &at->broadcast);
    if (!takes_group(wave, at)) return;
    for (size_t i = 0; i < place; i++) { /* once for each interface and family */
        const struct aco_interface *before = &wave->interfaces.at[i];
        if (before->index == at->index &&
            before->address.storage.ss_family == at->address.storage.ss_family)
            return;
    }
    if (aco_address_parse(&group, v6 ? ACO_AIRWAVE_GROUP6 : ACO_AIRWAVE_GROUP4, 0) != ACO_OK)
        return;
    if (v6) ((struct sockaddr_in6 *)&group.storage)->sin6_scope_id = at->index;
    add_way(wave, place, v6 ? ACO_AIRWAVE_TALK6 : ACO_AIRWAVE_TALK4, true, &group);
}

bool
aco_airwave_scan(aco_airwave *wave)
{
    struct aco_interfaces *before = malloc(sizeof *before);

    if (before == NULL) return false;
    *before = wave->interfaces;
    bool changed = false;
    if (aco_interfaces_read(&wave->interfaces) == ACO_OK) {
        changed = !same_list(before, &wave->interfaces);
        wave->ways = 0;
        for (size_t i = 0; i < wave->interfaces.count; i++)
            add_ways(wave, i);
        join(wave, ACO_AIRWAVE_HEAR4, ACO_AIRWAVE_GROUP4, wave->join4, &wave->joined4);
        join(wave, ACO_AIRWAVE_HEAR6, ACO_AIRWAVE_GROUP6, wave->join6, &wave->joined6);
    } else {
        wave->interfaces = *before;
    }
    free(before);
    return changed;
}

/* Over this interface whatever the routes say, and from its address. */
static void
choose_interface(struct msghdr *msg, const struct aco_interface *at, bool v6)
{
    struct cmsghdr *head = CMSG_FIRSTHDR(msg);

    if (v6) {
        const struct in6_pktinfo info = {.ipi6_ifindex = at->index};
        head->cmsg_level = IPPROTO_IPV6;
        head->cmsg_type = IPV6_PKTINFO;
        head->cmsg_len = CMSG_LEN(sizeof info);
        memcpy(CMSG_DATA(head), &info, sizeof info);
    } else {
        const struct in_pktinfo info = {
            .ipi_ifindex = (int)at->index,
            .ipi_spec_dst = ((const struct sockaddr_in *)&at->address.storage)->sin_addr};
        head->cmsg_level = IPPROTO_IP;
        head->cmsg_type = IP_PKTINFO;
        head->cmsg_len = CMSG_LEN(sizeof info);
        memcpy(CMSG_DATA(head), &info, sizeof info);
    }
    msg->msg_controllen = head->cmsg_len;
}

static int
send_message(int fd, const struct msghdr *msg)
{
    ssize_t n;

    do
        n = sendmsg(fd, msg, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    return n >= 0 ? ACO_OK : aco_err_from_errno(errno);
}

int
aco_airwave_cast(aco_airwave *wave, const struct aco_way *way, const void *data, size_t size)
{
    _Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(sizeof(struct in6_pktinfo))] = {0};
    struct iovec part = {(void *)data, size};
    aco_address to = way->to;
    struct msghdr msg = {.msg_name = &to.storage,
                         .msg_namelen = to.size,
                         .msg_iov = &part,
                         .msg_iovlen = 1,
                         .msg_control = control,
                         .msg_controllen = sizeof control};

    choose_interface(&msg, &wave->interfaces.at[way->at], is_v6(way->socket));
    return send_message(wave->fds[way->socket], &msg);
}

int
aco_airwave_answer(aco_airwave *wave, const aco_address *to, const void *data, size_t size)
{
    const bool v6 = to->storage.ss_family == AF_INET6;
    int fd = wave->fds[v6 ? ACO_AIRWAVE_TALK6 : ACO_AIRWAVE_TALK4];

    if (fd < 0) return ACO_EUNREACHABLE;
    return aco_datagram_send(fd, data, size, to);
}

/* What is known of a datagram beside its bytes; may it be heard? */
static bool
may_hear(const aco_airwave *wave, struct msghdr *msg, const aco_address *from, unsigned *interface)
{
    *interface = 0;
    if (wave->loopback && !aco_address_is_loopback(from)) return false;
    for (struct cmsghdr *at = CMSG_FIRSTHDR(msg); at != NULL; at = CMSG_NXTHDR(msg, at)) {
        struct in_pktinfo v4;
        struct in6_pktinfo v6;
        if (at->cmsg_level == IPPROTO_IP && at->cmsg_type == IP_PKTINFO) {
            memcpy(&v4, CMSG_DATA(at), sizeof v4);
            *interface = (unsigned)v4.ipi_ifindex;
            if (IN_MULTICAST(ntohl(v4.ipi_addr.s_addr))) return wave->multicast;
            return v4.ipi_addr.s_addr == v4.ipi_spec_dst.s_addr || wave->broadcast;
        }
        if (at->cmsg_level == IPPROTO_IPV6 && at->cmsg_type == IPV6_PKTINFO) {
            memcpy(&v6, CMSG_DATA(at), sizeof v6);
            *interface = v6.ipi6_ifindex;
            return !IN6_IS_ADDR_MULTICAST(&v6.ipi6_addr) || wave->multicast;
        }
    }
    return true;
}

static int
receive_from(aco_airwave *wave, int fd, void *data, size_t size, size_t *got, aco_address *from,
             unsigned *interface)
{
    _Alignas(struct cmsghdr) uint8_t control[256];

    for (int tries = 0; tries < 16;) {
        struct iovec part = {data, size};
        struct msghdr msg = {.msg_name = &from->storage,
                             .msg_namelen = sizeof from->storage,
                             .msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof control};
        ssize_t n = recvmsg(fd, &msg, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return ACO_EBUSY;
        tries++; /* errors are those of what was sent before (ICMP): they are over now */
        if (n < 0) continue;
        from->size = msg.msg_namelen;
        if (!may_hear(wave, &msg, from, interface)) continue;
        *got = (msg.msg_flags & MSG_TRUNC) != 0 ? size + 1 : (size_t)n;
        return ACO_OK;
    }
    return ACO_EBUSY;
}

int
aco_airwave_receive(aco_airwave *wave, void *data, size_t size, size_t *got, aco_address *from,
                    unsigned *interface)
{
    for (int i = 0; i < ACO_AIRWAVE_SOCKETS; i++) {
        int fd = wave->fds[wave->turn++ % ACO_AIRWAVE_SOCKETS]; /* none keeps the others waiting */
        if (fd >= 0 && receive_from(wave, fd, data, size, got, from, interface) == ACO_OK)
            return ACO_OK;
    }
    return ACO_EBUSY;
}
