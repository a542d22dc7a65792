/* SPDX-License-Identifier: MIT */
/* endpoint.c -- where a process listens, and what it lets in. */
#include "core/net/state.h"

#include "core/base/clock.h"
#include "core/io/socket.h"
#include "core/net/interface.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

/* Connections that were refused in one second, after which more are closed unheard; how long nobody
 * is let in when there is no descriptor for them. */
enum { REFUSED_A_SECOND = 50 };
#define BREATH (ACO_SECOND / 10)

static int
fail(char **why, int err, const char *what, const char *where)
{
    int saved = errno;

    free(*why);
    if (asprintf(why, "%s %s: %s", what, where,
                 err == ACO_ESYSTEM ? strerror(saved) : aco_err_text(err)) < 0)
        *why = NULL;
    return err;
}

static int
listener_open(aco_net *net, size_t index, const char *host, uint16_t port, bool v6_only, char **why)
{
    struct aco_listener *listener = &net->listeners[index];
    struct aco_listen options = {.backlog = 128, .v6_only = v6_only};
    aco_address address;
    int fd;

    if (aco_address_parse(&address, host, port) != ACO_OK)
        return fail(why, ACO_EINVALID, "network: host must be an address of this machine, not",
                    host);
    int err = aco_socket_listen(&fd, &address, &options);
    if (err != ACO_OK) {
        char text[ACO_ADDRESS_TEXT];
        aco_address_text(&address, text);
        return fail(why, err, "network: cannot listen at", text);
    }
    if (aco_address_of(&address, fd, false) == ACO_OK) net->port = aco_address_port(&address);
    *listener = (struct aco_listener){.net = net,
                                      .source = {.kind = ACO_SOURCE_LISTENER, .fd = fd},
                                      .alarm = {.kind = ACO_ALARM_LISTENER}};
    aco_net_watch_fd(net, &listener->source, EPOLLIN);
    return ACO_OK;
}

/* Loopback of both kinds, on one port. A machine may have no IPv6. */
static int
loopback_open(aco_net *net, uint16_t port, char **why)
{
    int err = listener_open(net, 0, "127.0.0.1", port, false, why);

    if (err != ACO_OK) return err;
    net->has_v6 = true;
    if (listener_open(net, 1, "::1", net->port, true, why) != ACO_OK) {
        net->listeners[1].source.fd = -1;
        net->has_v6 = false;
        free(*why);
        *why = NULL;
    }
    return ACO_OK;
}

static int
everywhere_open(aco_net *net, uint16_t port, char **why)
{
    int err = listener_open(net, 0, "::", port, false, why);

    net->has_v6 = err == ACO_OK;
    if (err == ACO_OK) return err;
    free(*why);
    *why = NULL;
    return listener_open(net, 0, "0.0.0.0", port, false, why);
}

static bool
is_any(const char *host)
{
    return host == NULL || strcmp(host, "::") == 0 || strcmp(host, "0.0.0.0") == 0;
}

/* The address that others reach best. */
static void
best_host(char *host, size_t size)
{
    struct aco_interfaces interfaces;
    aco_address best;
    char text[ACO_ADDRESS_TEXT] = "127.0.0.1";

    if (aco_interfaces_read(&interfaces) == ACO_OK &&
        aco_interface_best(&interfaces, AF_UNSPEC, &best) == ACO_OK)
        aco_address_host(&best, text);
    snprintf(host, size, "%.*s", (int)size - 1, text);
}

static bool
is_loopback(const char *host)
{
    aco_address address;

    return aco_address_parse(&address, host, 0) == ACO_OK && aco_address_is_loopback(&address);
}

/* What others are told. */
static int
location_set(aco_net *net, const struct aco_net_options *options, bool loopback, char **why)
{
    aco_location location = {.port = net->port};
    const char *advertise = options->advertise;

    if (advertise != NULL &&
        aco_location_parse(&location, advertise, strlen(advertise), NULL) == ACO_OK) {
        if (location.port == 0) location.port = net->port;
    } else if (advertise != NULL) {
        if (strlen(advertise) > ACO_LOCATION_HOST)
            return fail(why, ACO_EINVALID, "network: advertise is no host or location:", advertise);
        snprintf(location.host, sizeof location.host, "%s", advertise);
    } else if (!is_any(options->host)) {
        snprintf(location.host, sizeof location.host, "%s", options->host);
    } else if (loopback) {
        snprintf(location.host, sizeof location.host, "127.0.0.1");
    } else {
        best_host(location.host, sizeof location.host);
    }
    char text[ACO_LOCATION_TEXT];
    location.server = options->server;
    aco_location_text(&location, text);
    if (strlen(text) > ACO_ROUTE_MAX)
        return fail(why, ACO_EINVALID, "network: too long a location:", text);
    memcpy(net->location, text, strlen(text) + 1);
    return ACO_OK;
}

int
aco_endpoint_open(aco_net *net, const struct aco_net_options *options, char **why)
{
    bool loopback = aco_secret_mode(options->secret) == ACO_MODE_KEY;
    int err;

    for (size_t i = 0; i < ACO_LISTENERS; i++)
        net->listeners[i].source = (aco_source){.kind = ACO_SOURCE_LISTENER, .fd = -1};
    net->number = options->server;
    if (options->server != 0) {
        err = options->advertise != NULL ? aco_inlet_open(net, options->inlet) : ACO_EINVALID;
        if (err == ACO_OK) return location_set(net, options, loopback, why);
        return fail(why, err, "network: a server needs an inlet and the location of", "its node");
    }
    if (loopback && options->host != NULL && !is_loopback(options->host))
        return fail(why, ACO_EDENIED,
                    "network: without a secret or certificates only this machine may connect; give "
                    "a secret to listen at",
                    options->host);
    if (loopback && is_any(options->host))
        err = loopback_open(net, options->port, why);
    else if (is_any(options->host))
        err = everywhere_open(net, options->port, why);
    else
        err = listener_open(net, 0, options->host, options->port, false, why);
    return err == ACO_OK ? location_set(net, options, loopback, why) : err;
}

void
aco_endpoint_close(aco_net *net)
{
    aco_inlet_close(net);
    aco_servers_free(net);
    for (size_t i = 0; i < ACO_LISTENERS; i++) {
        struct aco_listener *listener = &net->listeners[i];
        if (listener->net == NULL || listener->source.fd < 0) continue;
        aco_net_alarm(net, &listener->alarm, ACO_NEVER);
        aco_net_watch_fd(net, &listener->source, 0);
        close(listener->source.fd);
        listener->source.fd = -1;
    }
}

void
aco_net_refused(aco_net *net, const char *who, const char *why)
{
    aco_time now = aco_now_coarse();

    if (now - net->limit_since > ACO_SECOND) {
        net->limit_since = now;
        net->limit_count = 0;
    }
    net->limit_count++;
    net->stats.refused++;
    snprintf(net->stats.refusal, sizeof net->stats.refusal, "%s: %s", who, why);
}

static bool
is_limited(const aco_net *net)
{
    bool hot =
        aco_now_coarse() - net->limit_since < ACO_SECOND && net->limit_count >= REFUSED_A_SECOND;

    return hot || net->half_open >= ACO_HALF_OPEN;
}

static void
limited(aco_net *net, int fd)
{
    uint8_t answer[ACO_PREFACE_SIZE];

    net->stats.limited++;
    aco_preface_answer(answer, ACO_PREFACE_BUSY, (uint8_t)aco_secret_mode(net->secret));
    (void)!send(fd, answer, sizeof answer, MSG_NOSIGNAL | MSG_DONTWAIT);
    close(fd);
}

void
aco_endpoint_accept(aco_net *net, struct aco_listener *listener)
{
    for (int i = 0; i < ACO_HALF_OPEN; i++) {
        aco_address from;
        int fd, err = aco_socket_accept(&fd, listener->source.fd);
        if (err == ACO_EBUSY) return;
        if (err != ACO_OK) { /* no descriptor: let those who wait wait */
            aco_net_watch_fd(net, &listener->source, 0);
            aco_net_alarm(net, &listener->alarm, aco_now() + BREATH);
            return;
        }
        if (is_limited(net))
            limited(net, fd);
        else if (aco_address_of(&from, fd, true) != ACO_OK ||
                 aco_connection_accept(net, fd, &from) == NULL)
            close(fd);
    }
}

void
aco_endpoint_resume(aco_net *net, struct aco_listener *listener)
{
    aco_net_watch_fd(net, &listener->source, EPOLLIN);
}
