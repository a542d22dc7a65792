/* SPDX-License-Identifier: MIT */
#include "core/net/location.h"
#include "core/base/error.h"

#include <stdio.h>
#include <string.h>

static int
wrong(const char **why, const char *text)
{
    if (why != NULL) *why = text;
    return ACO_EINVALID;
}

/* A number of 1..65535 without sign, blanks or leading zeros; 0 when it is none. */
static uint16_t
number(const char *text, size_t size)
{
    unsigned value = 0;

    if (size == 0 || size > 5 || *text == '0') return 0;
    for (size_t i = 0; i < size; i++) {
        if (text[i] < '0' || text[i] > '9') return 0;
        value = value * 10 + (unsigned)(text[i] - '0');
    }
    return value <= UINT16_MAX ? (uint16_t)value : 0;
}

/* What names of hosts and numeric addresses are made of; '%' begins the scope of an address. */
static bool
is_host(const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c <= ' ' || c == 0x7f || strchr("/[]@?#\\\"'", c) != NULL) return false;
    }
    return size > 0;
}

/* Split behind "[...]" or at the only colon; *rest is behind the host, where a colon must be. */
static int
take_host(aco_location *location, const char *text, size_t size, size_t *rest, const char **why)
{
    const bool bracketed = size > 0 && *text == '[';
    const char *end = bracketed ? memchr(text, ']', size) : memchr(text, ':', size);

    if (end == NULL && bracketed) return wrong(why, "its '[' is not closed");
    if (end == NULL) return wrong(why, "it has no port: host:port is wanted");
    if (!bracketed && memchr(end + 1, ':', size - (size_t)(end + 1 - text)) != NULL)
        return wrong(why, end[1] == '/' ? "it is a URL: host:port is wanted"
                                        : "an address of IPv6 is written in brackets: [::1]:51351");
    const char *host = text + (bracketed ? 1 : 0);
    size_t length = (size_t)(end - host);
    if (length > ACO_LOCATION_HOST) return wrong(why, "its host is longer than 253 bytes");
    if (!is_host(host, length)) return wrong(why, "it has no host, or one that cannot be");
    if (bracketed != (memchr(host, ':', length) != NULL))
        return wrong(why, "brackets are for addresses of IPv6");
    memcpy(location->host, host, length);
    location->host[length] = '\0';
    *rest = (size_t)(end - text) + (bracketed ? 1 : 0);
    return ACO_OK;
}

static int
parse(aco_location *location, const char *text, size_t size, const char **why)
{
    size_t rest;

    int err = take_host(location, text, size, &rest, why);
    if (err != ACO_OK) return err;
    if (rest == size || text[rest] != ':') return wrong(why, "it has no port: host:port is wanted");
    const char *port = text + rest + 1, *end = text + size;
    const char *slash = memchr(port, '/', (size_t)(end - port));
    location->port = number(port, (size_t)((slash != NULL ? slash : end) - port));
    if (location->port == 0) return wrong(why, "its port is no number of 1 to 65535");
    if (slash == NULL || (end - slash == 2 && slash[1] == '0')) return ACO_OK;
    location->server = number(slash + 1, (size_t)(end - slash - 1));
    if (location->server == 0) return wrong(why, "its server is no number of 1 to 65535");
    return ACO_OK;
}

int
aco_location_parse(aco_location *location, const char *text, size_t size, const char **why)
{
    aco_location parsed = {.port = 0};
    int err = parse(&parsed, text, size, why);

    if (err == ACO_OK) *location = parsed;
    return err;
}

bool
aco_location_is_v6(const aco_location *location)
{
    return strchr(location->host, ':') != NULL;
}

size_t
aco_location_text(const aco_location *location, char text[ACO_LOCATION_TEXT])
{
    const bool v6 = aco_location_is_v6(location);
    int n = snprintf(text, ACO_LOCATION_TEXT, "%s%s%s:%u", v6 ? "[" : "", location->host,
                     v6 ? "]" : "", location->port);

    if (location->server != 0)
        n += snprintf(text + n, (size_t)(ACO_LOCATION_TEXT - n), "/%u", location->server);
    return (size_t)n;
}

bool
aco_location_equal(const aco_location *a, const aco_location *b)
{
    return a->port == b->port && a->server == b->server && strcmp(a->host, b->host) == 0;
}
