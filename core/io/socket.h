/* SPDX-License-Identifier: MIT */
/* socket.h -- making sockets and setting their options. Every descriptor is non-blocking and closed
 * on exec. A failure gives the error, and errno says more. Any thread. */
#ifndef ACO_SOCKET_H
#define ACO_SOCKET_H

#include "core/io/address.h"

/** Begin to connect to `to` (from `from`, unless NULL). ACO_OK: done already. ACO_EBUSY: it is
 * under way; when `*fd` is writable, aco_socket_connected tells. Otherwise `*fd` is -1. */
ACO_MUSTUSE int aco_socket_connect(int *fd, const aco_address *to, const aco_address *from);
ACO_MUSTUSE int aco_socket_connected(int fd);

struct aco_listen {
    int backlog;
    bool reuse_port;
    bool v6_only; /* of an IPv6 address: IPv4 does not come here */
};

/** Listen at `at`. An abandoned Unix path (nobody listens there any more) is taken over. */
ACO_MUSTUSE int aco_socket_listen(int *fd, const aco_address *at, const struct aco_listen *options);

/** Accept one. ACO_EBUSY: none has come. ACO_ELIMIT: no descriptor or memory is free just now,
 * try later. A connection that ended before it was accepted is passed over. */
ACO_MUSTUSE int aco_socket_accept(int *fd, int listener);

/** Two stream sockets of this process that are connected with each other. */
ACO_MUSTUSE int aco_socket_pair(int fds[2]);

/** A datagram socket of the family of `at`, bound to it. */
ACO_MUSTUSE int aco_socket_datagram(int *fd, const aco_address *at, bool reuse, bool broadcast);

#endif
