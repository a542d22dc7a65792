/* SPDX-License-Identifier: MIT */
/* address.h -- where sockets are: IPv4, IPv6, Unix paths. Any thread. */
#ifndef ACO_ADDRESS_H
#define ACO_ADDRESS_H

#include "core/base/defs.h"

#include <sys/socket.h>

typedef struct aco_address {
    struct sockaddr_storage storage;
    socklen_t size;
} aco_address;

/** Room for any text of aco_address_text and aco_address_host, with its end. */
enum { ACO_ADDRESS_TEXT = 160 };

/** From a numeric host ("127.0.0.1", "::1", "fe80::1%eth0") and a port. ACO_EINVALID: it is a name,
 * or nothing at all. */
ACO_MUSTUSE int aco_address_parse(aco_address *address, const char *host, uint16_t port);

/** From a path; one that begins with "@" is an abstract name (Linux). ACO_ETOOLARGE, ACO_EINVALID
 * (empty). */
ACO_MUSTUSE int aco_address_unix(aco_address *address, const char *path, size_t size);

/** An IPv4 address as sockets of IPv6 know it: "::ffff:1.2.3.4". */
void aco_address_map(const aco_address *v4, aco_address *v6);

/** The numeric host, or the path; an IPv4 address in a socket of IPv6 as what it is; the port, 0
 * where there is none. */
void aco_address_host(const aco_address *address, char host[ACO_ADDRESS_TEXT]);
uint16_t aco_address_port(const aco_address *address);

/** "127.0.0.1:80", "[::1]:80", "unix:/run/x". */
void aco_address_text(const aco_address *address, char text[ACO_ADDRESS_TEXT]);

/** Of a socket, its own or (`peer`) the other side's. ACO_ESYSTEM and others from errno. */
ACO_MUSTUSE int aco_address_of(aco_address *address, int fd, bool peer);

#endif
