/* SPDX-License-Identifier: MIT */
/* datagram.h -- sending and receiving datagrams, and groups of receivers. A failure gives the
 * error, and errno says more. Nothing blocks. Any thread. */
#ifndef ACO_DATAGRAM_H
#define ACO_DATAGRAM_H

#include "core/io/address.h"

/** Send `data` to `to`, NULL: to whom the socket is connected. A socket of IPv6 sends to an address
 * of IPv4, too. ACO_EBUSY: try again when it is writable. */
ACO_MUSTUSE int aco_datagram_send(int fd, const void *data, size_t size, const aco_address *to);

/** Receive one into `data`; `*whole` is its size, of which what is past `size` is lost. ACO_EBUSY:
 * none has come. */
ACO_MUSTUSE int aco_datagram_receive(int fd, void *data, size_t size, size_t *whole,
                                     aco_address *from);

/** Exchange datagrams with `to` only; NULL: with everybody again. */
ACO_MUSTUSE int aco_datagram_connect(int fd, const aco_address *to);

/** The number of an interface: from its name ("eth0"), its number in decimal, or one of its
 * addresses. 0: there is none. */
unsigned aco_interface_index(const char *name);

/** Take part in a group, or leave it, at an interface (0: the system's choice). */
ACO_MUSTUSE int aco_datagram_join(int fd, const aco_address *group, unsigned interface);
ACO_MUSTUSE int aco_datagram_leave(int fd, const aco_address *group, unsigned interface);

/** How many networks a datagram may see, and one that is sent to a group (0: it stays in this
 * machine); whether one sent to a group comes to this machine, too; the number of the interface
 * through which it leaves (the system does not tell it again). */
enum aco_datagram_option {
    ACO_DATAGRAM_TTL,
    ACO_DATAGRAM_GROUP_TTL,
    ACO_DATAGRAM_GROUP_LOOP,
    ACO_DATAGRAM_GROUP_INTERFACE
};
ACO_MUSTUSE int aco_datagram_set(int fd, enum aco_datagram_option option, int value);
ACO_MUSTUSE int aco_datagram_get(int fd, enum aco_datagram_option option, int *value);

#endif
