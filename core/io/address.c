/* SPDX-License-Identifier: MIT */
#include "core/io/address.h"
#include "core/base/error.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

/* getaddrinfo knows scopes ("%eth0"), and looks nothing up that is numeric. */
int
aco_address_parse(aco_address *address, const char *host, uint16_t port)
{
    const struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
                                   .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    char service[8];

    snprintf(service, sizeof service, "%u", port);
    *address = (aco_address){.size = 0};
    if (*host == '\0' || getaddrinfo(host, service, &hints, &found) != 0) return ACO_EINVALID;
    memcpy(&address->storage, found->ai_addr, found->ai_addrlen);
    address->size = found->ai_addrlen;
    freeaddrinfo(found);
    return ACO_OK;
}

int
aco_address_unix(aco_address *address, const char *path, size_t size)
{
    struct sockaddr_un *at = (struct sockaddr_un *)&address->storage;

    *address = (aco_address){.size = 0};
    if (size == 0 || (path[0] != '@' && memchr(path, '\0', size) != NULL)) return ACO_EINVALID;
    if (size >= sizeof at->sun_path) return ACO_ETOOLARGE;
    at->sun_family = AF_UNIX;
    memcpy(at->sun_path, path, size);
    if (path[0] == '@') at->sun_path[0] = '\0';
    address->size =
        (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size + (path[0] == '@' ? 0 : 1));
    return ACO_OK;
}

static void
unix_host(const aco_address *address, char host[ACO_ADDRESS_TEXT])
{
    const struct sockaddr_un *at = (const struct sockaddr_un *)&address->storage;
    size_t start = offsetof(struct sockaddr_un, sun_path);
    size_t size = address->size > start ? address->size - start : 0;

    if (size > 0 && at->sun_path[0] != '\0') size = strnlen(at->sun_path, size);
    if (size >= ACO_ADDRESS_TEXT) size = ACO_ADDRESS_TEXT - 1;
    memcpy(host, at->sun_path, size);
    if (size > 0 && host[0] == '\0') host[0] = '@';
    host[size] = '\0';
}

void
aco_address_map(const aco_address *v4, aco_address *v6)
{
    const struct sockaddr_in *from = (const struct sockaddr_in *)&v4->storage;
    const struct sockaddr_in6 to = {.sin6_family = AF_INET6, .sin6_port = from->sin_port};
    struct sockaddr_in6 *at = (struct sockaddr_in6 *)&v6->storage;

    *v6 = (aco_address){.size = sizeof to};
    memcpy(at, &to, sizeof to);
    at->sin6_addr.s6_addr[10] = at->sin6_addr.s6_addr[11] = 0xff;
    memcpy(&at->sin6_addr.s6_addr[12], &from->sin_addr, sizeof from->sin_addr);
}

static bool
is_mapped(const aco_address *address)
{
    const struct sockaddr_in6 *at = (const struct sockaddr_in6 *)&address->storage;

    return at->sin6_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&at->sin6_addr);
}

void
aco_address_host(const aco_address *address, char host[ACO_ADDRESS_TEXT])
{
    const struct sockaddr *at = (const struct sockaddr *)&address->storage;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&address->storage;

    host[0] = '\0';
    if (at->sa_family == AF_UNIX)
        unix_host(address, host);
    else if (is_mapped(address))
        inet_ntop(AF_INET, &v6->sin6_addr.s6_addr[12], host, ACO_ADDRESS_TEXT);
    else if (at->sa_family == AF_INET || at->sa_family == AF_INET6)
        getnameinfo(at, address->size, host, ACO_ADDRESS_TEXT, NULL, 0, NI_NUMERICHOST);
}

uint16_t
aco_address_port(const aco_address *address)
{
    switch (address->storage.ss_family) {
    case AF_INET:
        return ntohs(((const struct sockaddr_in *)&address->storage)->sin_port);
    case AF_INET6:
        return ntohs(((const struct sockaddr_in6 *)&address->storage)->sin6_port);
    default:
        return 0;
    }
}

void
aco_address_text(const aco_address *address, char text[ACO_ADDRESS_TEXT])
{
    char host[ACO_ADDRESS_TEXT];
    const int longest = ACO_ADDRESS_TEXT - 16;

    aco_address_host(address, host);
    if (address->storage.ss_family == AF_UNIX)
        snprintf(text, ACO_ADDRESS_TEXT, "unix:%.*s", longest, host);
    else if (address->storage.ss_family == AF_INET6 && !is_mapped(address))
        snprintf(text, ACO_ADDRESS_TEXT, "[%.*s]:%u", longest, host, aco_address_port(address));
    else
        snprintf(text, ACO_ADDRESS_TEXT, "%.*s:%u", longest, host, aco_address_port(address));
}

int
aco_address_of(aco_address *address, int fd, bool peer)
{
    struct sockaddr *at = (struct sockaddr *)&address->storage;

    address->size = sizeof address->storage;
    if ((peer ? getpeername : getsockname)(fd, at, &address->size) == 0) return ACO_OK;
    return aco_err_from_errno(errno);
}
