/* SPDX-License-Identifier: MIT */
/* handover.c -- several processes behind one port: whoever listens there reads the preface of a
 * connection, and gives the descriptor and these 8 bytes to the server that is meant, over a Unix
 * socket of seqpackets or streams. Nothing else of the traffic passes through it. */
#include "core/net/state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

/* A server behind this process's port. */
struct server {
    aco_link link;
    uint16_t number;
    int fd; /* owned */
};

/* Room for the one descriptor that comes with a message. */
union control {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(sizeof(int))];
};

static struct server *
server_find(const aco_net *net, uint16_t number)
{
    for (aco_link *l = net->servers.next; l != &net->servers; l = l->next) {
        struct server *s = ACO_CONTAINER_OF(l, struct server, link);
        if (s->number == number) return s;
    }
    return NULL;
}

static void
server_free(struct server *s)
{
    aco_link_remove(&s->link);
    close(s->fd);
    free(s);
}

static int
server_add(aco_net *net, uint16_t number, int fd)
{
    struct server *s = calloc(1, sizeof *s);

    if (s == NULL) return ACO_ENOMEM;
    s->number = number;
    s->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (s->fd < 0) {
        free(s);
        return aco_err_from_errno(errno);
    }
    aco_list_append(&net->servers, &s->link);
    return ACO_OK;
}

int
aco_net_server(aco_net *net, uint16_t number, int fd)
{
    int err = number == 0 ? ACO_EINVALID : ACO_OK;

    pthread_mutex_lock(&net->lock);
    struct server *s = server_find(net, number);
    if (s != NULL) server_free(s);
    if (err == ACO_OK && !net->running) err = ACO_EPEERDOWN;
    if (err == ACO_OK && fd >= 0) err = server_add(net, number, fd);
    pthread_mutex_unlock(&net->lock);
    return err;
}

void
aco_servers_free(aco_net *net)
{
    while (!aco_list_empty(&net->servers))
        server_free(ACO_CONTAINER_OF(net->servers.next, struct server, link));
}

int
aco_handover_give(aco_net *net, uint16_t number, int fd, const uint8_t preface[ACO_PREFACE_SIZE])
{
    struct server *s = server_find(net, number);
    struct iovec bytes = {.iov_base = (void *)(uintptr_t)preface, .iov_len = ACO_PREFACE_SIZE};
    union control control = {.bytes = {0}};
    struct msghdr message = {.msg_iov = &bytes,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof control.bytes};

    if (s == NULL) return ACO_ENOTFOUND;
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(head), &fd, sizeof fd);
    ssize_t n;
    do
        n = sendmsg(s->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n == ACO_PREFACE_SIZE) return ACO_OK;
    if (n < 0 && errno == EAGAIN) return ACO_EBUSY; /* it takes none just now */
    server_free(s);                                 /* it has gone */
    return ACO_ENOTFOUND;
}

/* Take one; -1: none is there. `*end`: the other side has gone. */
static int
take(const struct aco_inlet *inlet, uint8_t preface[ACO_PREFACE_SIZE], bool *end)
{
    struct iovec bytes = {.iov_base = preface, .iov_len = ACO_PREFACE_SIZE};
    union control control;
    struct msghdr message = {.msg_iov = &bytes,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof control.bytes};
    int fd = -1;

    ssize_t n = recvmsg(inlet->source.fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    *end = n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
    struct cmsghdr *head = n > 0 ? CMSG_FIRSTHDR(&message) : NULL;
    if (head != NULL && head->cmsg_level == SOL_SOCKET && head->cmsg_type == SCM_RIGHTS)
        memcpy(&fd, CMSG_DATA(head), sizeof fd);
    if (fd >= 0 && n != ACO_PREFACE_SIZE) {
        close(fd);
        fd = -1;
    }
    return fd;
}

void
aco_handover_take(aco_net *net)
{
    uint8_t preface[ACO_PREFACE_SIZE];
    aco_address from;
    bool end = false;
    int fd;

    while ((fd = take(&net->inlet, preface, &end)) >= 0) {
        bool known = aco_address_of(&from, fd, true) == ACO_OK;
        int flags = fcntl(fd, F_GETFL);
        if (!known || flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0 ||
            aco_connection_given(net, fd, &from, preface) == NULL)
            close(fd);
    }
    if (end) aco_net_watch_fd(net, &net->inlet.source, 0); /* no more will come */
}

int
aco_inlet_open(aco_net *net, int fd)
{
    net->inlet.source = (aco_source){.kind = ACO_SOURCE_INLET, .fd = fcntl(fd, F_DUPFD_CLOEXEC, 0)};
    if (net->inlet.source.fd < 0) return aco_err_from_errno(errno);
    aco_net_watch_fd(net, &net->inlet.source, EPOLLIN);
    return ACO_OK;
}

void
aco_inlet_close(aco_net *net)
{
    if (net->inlet.source.fd < 0) return;
    aco_net_watch_fd(net, &net->inlet.source, 0);
    close(net->inlet.source.fd);
    net->inlet.source.fd = -1;
}
