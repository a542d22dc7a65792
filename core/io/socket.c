/* SPDX-License-Identifier: MIT */
#include "core/io/socket.h"
#include "core/base/error.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static int
socket_new(int *fd, const aco_address *address, int type)
{
    *fd = socket(address->storage.ss_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    return *fd >= 0 ? ACO_OK : aco_err_from_errno(errno);
}

/* Close after a failure; errno stays what it was. */
static int
socket_drop(int *fd)
{
    int errnum = errno;

    close(*fd);
    *fd = -1;
    errno = errnum;
    return aco_err_from_errno(errnum);
}

static bool
set_flag(int fd, int level, int option)
{
    const int on = 1;

    return setsockopt(fd, level, option, &on, sizeof on) == 0;
}

int
aco_socket_connect(int *fd, const aco_address *to, const aco_address *from)
{
    int err = socket_new(fd, to, SOCK_STREAM);

    if (err != ACO_OK) return err;
    if (from != NULL && bind(*fd, (const struct sockaddr *)&from->storage, from->size) != 0)
        return socket_drop(fd);
    if (connect(*fd, (const struct sockaddr *)&to->storage, to->size) == 0) return ACO_OK;
    if (errno == EINPROGRESS) return ACO_EBUSY;
    return socket_drop(fd);
}

int
aco_socket_connected(int fd)
{
    int errnum = 0;
    socklen_t size = sizeof errnum;

    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &errnum, &size) != 0) errnum = errno;
    errno = errnum;
    return aco_err_from_errno(errnum);
}

/* Does nobody listen at this path any more, although it exists as a socket? */
static bool
unix_abandoned(const aco_address *at)
{
    const char *path = ((const struct sockaddr_un *)&at->storage)->sun_path;
    struct stat about;
    int fd, err;

    if (at->storage.ss_family != AF_UNIX || path[0] == '\0' || lstat(path, &about) != 0 ||
        !S_ISSOCK(about.st_mode))
        return false;
    err = aco_socket_connect(&fd, at, NULL);
    if (fd >= 0) close(fd);
    return err == ACO_EREFUSED;
}

static int
listen_bind(int fd, const aco_address *at)
{
    const struct sockaddr *address = (const struct sockaddr *)&at->storage;

    if (bind(fd, address, at->size) == 0) return 0;
    if (errno != EADDRINUSE) return -1;
    if (unix_abandoned(at) && unlink(((const struct sockaddr_un *)address)->sun_path) == 0)
        return bind(fd, address, at->size);
    errno = EADDRINUSE;
    return -1;
}

int
aco_socket_listen(int *fd, const aco_address *at, const struct aco_listen *options)
{
    const int v6_only = options->v6_only;
    int err = socket_new(fd, at, SOCK_STREAM);

    if (err != ACO_OK) return err;
    if ((at->storage.ss_family != AF_UNIX && !set_flag(*fd, SOL_SOCKET, SO_REUSEADDR)) ||
        (options->reuse_port && !set_flag(*fd, SOL_SOCKET, SO_REUSEPORT)) ||
        (at->storage.ss_family == AF_INET6 &&
         setsockopt(*fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6_only, sizeof v6_only) != 0) ||
        listen_bind(*fd, at) != 0 || listen(*fd, options->backlog) != 0)
        return socket_drop(fd);
    return ACO_OK;
}

int
aco_socket_accept(int *fd, int listener)
{
    for (;;) {
        *fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (*fd >= 0) return ACO_OK;
        switch (errno) {
        case EINTR:
        case ECONNABORTED:
        case EPROTO:
            break;
        case EAGAIN:
            return ACO_EBUSY;
        case EMFILE:
        case ENFILE:
        case ENOBUFS:
        case ENOMEM:
            return ACO_ELIMIT;
        default:
            return aco_err_from_errno(errno);
        }
    }
}

int
aco_socket_pair(int fds[2])
{
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0) return ACO_OK;
    return aco_err_from_errno(errno);
}

int
aco_socket_datagram(int *fd, const aco_address *at, bool reuse, bool broadcast)
{
    int err = socket_new(fd, at, SOCK_DGRAM);

    if (err != ACO_OK) return err;
    if ((reuse && !set_flag(*fd, SOL_SOCKET, SO_REUSEADDR)) ||
        (broadcast && !set_flag(*fd, SOL_SOCKET, SO_BROADCAST)) ||
        bind(*fd, (const struct sockaddr *)&at->storage, at->size) != 0)
        return socket_drop(fd);
    return ACO_OK;
}
