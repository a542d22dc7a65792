/* SPDX-License-Identifier: MIT */
/* address_test.c -- addresses from text and back. */
#include "core/base/error.h"
#include "core/io/address.h"
#include "core/io/socket.h"
#include "spec/core/check.h"

#include <netinet/in.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

static void
check_text(const char *host, uint16_t port, const char *wanted_host, const char *wanted)
{
    char text[ACO_ADDRESS_TEXT];
    aco_address a;

    CHECK(aco_address_parse(&a, host, port) == ACO_OK);
    aco_address_host(&a, text);
    CHECK(strcmp(text, wanted_host) == 0);
    aco_address_text(&a, text);
    CHECK(strcmp(text, wanted) == 0);
    CHECK(aco_address_port(&a) == port);
}

static void
test_numeric(void)
{
    static const char *const names[] = {"",           "localhost", "1.2.3.4.5", "256.1.1.1",
                                        "127.0.0.1 ", "[::1]",     ":::",       "%"};
    aco_address a;

    check_text("127.0.0.1", 80, "127.0.0.1", "127.0.0.1:80");
    check_text("0.0.0.0", 0, "0.0.0.0", "0.0.0.0:0");
    check_text("255.255.255.255", 65535, "255.255.255.255", "255.255.255.255:65535");
    check_text("::1", 443, "::1", "[::1]:443");
    check_text("2001:DB8:0:0::1", 1, "2001:db8::1", "[2001:db8::1]:1");
    check_text("fe80::1%lo", 9, "fe80::1%lo", "[fe80::1%lo]:9");
    check_text("::ffff:10.1.2.3", 9, "10.1.2.3", "10.1.2.3:9");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        CHECK(aco_address_parse(&a, names[i], 1) == ACO_EINVALID && a.size == 0);
}

static void
test_mapped(void)
{
    char text[ACO_ADDRESS_TEXT];
    aco_address v4, v6;

    CHECK(aco_address_parse(&v4, "192.0.2.7", 4711) == ACO_OK);
    aco_address_map(&v4, &v6);
    CHECK(v6.storage.ss_family == AF_INET6 && v6.size == sizeof(struct sockaddr_in6));
    aco_address_text(&v6, text);
    CHECK(strcmp(text, "192.0.2.7:4711") == 0);
    CHECK(aco_address_parse(&v4, "::ffff:192.0.2.7", 4711) == ACO_OK);
    CHECK(v4.size == v6.size && memcmp(&v4.storage, &v6.storage, v6.size) == 0);
}

static void
check_unix(const char *path, size_t size, const char *wanted)
{
    char text[ACO_ADDRESS_TEXT];
    aco_address a;

    CHECK(aco_address_unix(&a, path, size) == ACO_OK);
    CHECK(a.storage.ss_family == AF_UNIX && a.size <= sizeof(struct sockaddr_un));
    aco_address_text(&a, text);
    CHECK(strcmp(text, wanted) == 0 && aco_address_port(&a) == 0);
}

static void
test_unix(void)
{
    char longest[sizeof((struct sockaddr_un *)0)->sun_path + 1], wanted[ACO_ADDRESS_TEXT];
    const size_t most = sizeof longest - 2;
    aco_address a;

    check_unix("/run/x", 6, "unix:/run/x");
    check_unix("@x", 2, "unix:@x");
    memset(longest, 'p', sizeof longest);
    longest[0] = '/';
    snprintf(wanted, sizeof wanted, "unix:%.*s", (int)most, longest);
    check_unix(longest, most, wanted);
    longest[0] = '@';
    wanted[5] = '@';
    check_unix(longest, most, wanted);
    CHECK(aco_address_unix(&a, longest, most + 1) == ACO_ETOOLARGE && a.size == 0);
    CHECK(aco_address_unix(&a, "", 0) == ACO_EINVALID);
    CHECK(aco_address_unix(&a, "/a\0b", 4) == ACO_EINVALID);
}

/* Of sockets: their own, the other side's, and of one that has none. */
static void
test_of(void)
{
    const struct aco_listen options = {.backlog = 1};
    char text[ACO_ADDRESS_TEXT];
    aco_address at, own, peer;
    int listener, fd, fds[2];

    CHECK(aco_address_parse(&at, "127.0.0.1", 0) == ACO_OK);
    CHECK(aco_socket_listen(&listener, &at, &options) == ACO_OK);
    CHECK(aco_address_of(&at, listener, false) == ACO_OK && aco_address_port(&at) != 0);
    CHECK(aco_address_of(&peer, listener, true) != ACO_OK);
    int err = aco_socket_connect(&fd, &at, NULL);
    CHECK((err == ACO_OK || err == ACO_EBUSY) && fd >= 0);
    CHECK(aco_address_of(&peer, fd, true) == ACO_OK && aco_address_of(&own, fd, false) == ACO_OK);
    CHECK(aco_address_port(&peer) == aco_address_port(&at));
    CHECK(aco_address_port(&own) != aco_address_port(&at));
    close(fd);
    close(listener);
    CHECK(aco_address_of(&own, fd, false) != ACO_OK);

    CHECK(aco_socket_pair(fds) == ACO_OK);
    CHECK(aco_address_of(&own, fds[0], false) == ACO_OK);
    aco_address_text(&own, text);
    CHECK(strcmp(text, "unix:") == 0);
    close(fds[0]);
    close(fds[1]);
}

int
main(void)
{
    test_numeric();
    test_mapped();
    test_unix();
    test_of();
    return 0;
}
