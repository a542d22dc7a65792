/* SPDX-License-Identifier: MIT */
/* echo.c -- the ceiling of echo servers: libevent's raw events and nothing else. Prints its port. */
#include <event2/event.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static struct event_base *base;

static void
on_data(evutil_socket_t fd, short what, void *arg)
{
    char data[65536];
    ssize_t n = read(fd, data, sizeof data);

    (void)what;
    if (n > 0 && write(fd, data, (size_t)n) == n) return;
    event_free(*(struct event **)arg);
    free(arg);
    close(fd);
}

static void
on_client(evutil_socket_t fd, short what, void *arg)
{
    struct event **event = malloc(sizeof(struct event *));

    (void)what;
    (void)arg;
    int client = accept(fd, NULL, NULL);
    evutil_make_socket_nonblocking(client);
    *event = event_new(base, client, EV_READ | EV_PERSIST, on_data, event);
    event_add(*event, NULL);
}

int
main(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET};
    socklen_t size = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    base = event_base_new();
    if (base == NULL || bind(fd, (struct sockaddr *)&at, sizeof at) != 0 || listen(fd, 1024) != 0 ||
        getsockname(fd, (struct sockaddr *)&at, &size) != 0)
        return 1;
    printf("%d\n", ntohs(at.sin_port));
    fflush(stdout);
    struct event *listener = event_new(base, fd, EV_READ | EV_PERSIST, on_client, NULL);
    event_add(listener, NULL);
    return event_base_dispatch(base);
}
