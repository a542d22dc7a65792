/* SPDX-License-Identifier: MIT */
/* interface_test.c -- this machine's addresses, and the one that others are told. */
#include "core/base/error.h"
#include "core/net/interface.h"
#include "spec/core/check.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

static aco_address
parse(const char *host)
{
    aco_address address;

    CHECK(aco_address_parse(&address, host, 4711) == ACO_OK);
    return address;
}

static void
test_kinds(void)
{
    static const struct {
        const char *host;
        bool loopback, any, link_local;
    } hosts[] = {
        {"127.0.0.1", true, false, false},   {"127.0.1.1", true, false, false},
        {"::1", true, false, false},         {"::ffff:127.0.0.1", true, false, false},
        {"0.0.0.0", false, true, false},     {"::", false, true, false},
        {"169.254.7.7", false, false, true}, {"fe80::1", false, false, true},
        {"192.0.2.7", false, false, false},  {"2001:db8::1", false, false, false},
        {"128.0.0.1", false, false, false},  {"::ffff:10.0.0.1", false, false, false},
    };

    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
        const aco_address at = parse(hosts[i].host);
        CHECK(aco_address_is_loopback(&at) == hosts[i].loopback);
        CHECK(aco_address_is_any(&at) == hosts[i].any);
        CHECK(aco_address_is_link_local(&at) == hosts[i].link_local);
        for (size_t j = 0; j < sizeof hosts / sizeof *hosts; j++) {
            const aco_address other = parse(hosts[j].host);
            CHECK(aco_address_same_host(&at, &other) == (i == j));
        }
    }
}

static void
test_read(void)
{
    struct aco_interfaces *list = malloc(sizeof *list);
    bool loopback = false;

    CHECK(list != NULL && aco_interfaces_read(list) == ACO_OK);
    CHECK(list->count > 0 && list->count <= ACO_INTERFACES);
    for (size_t i = 0; i < list->count; i++) {
        const struct aco_interface *at = &list->at[i];
        CHECK(*at->name != '\0' && at->index != 0);
        CHECK(at->loopback == aco_address_is_loopback(&at->address));
        CHECK(i == 0 || !at->loopback || list->at[i - 1].loopback); /* loopback first */
        loopback = loopback || at->loopback;
    }
    CHECK(loopback);
    free(list);
}

static void
add(struct aco_interfaces *list, const char *name, const char *host)
{
    struct aco_interface *at = &list->at[list->count++];

    *at = (struct aco_interface){.index = (unsigned)list->count, .address = parse(host)};
    strcpy(at->name, name);
    at->loopback = aco_address_is_loopback(&at->address);
}

/* Without a default route what counts is how far an address reaches. With one these lists say
 * nothing, as the machine's own is taken: then only what always holds is looked at. */
static void
check_best(struct aco_interfaces *list, int family, const char *wanted)
{
    struct aco_interfaces *own = calloc(1, sizeof *own);
    char host[ACO_ADDRESS_TEXT];
    aco_address routed, best;

    CHECK(own != NULL);
    const bool has_route = aco_interface_best(own, family, &routed) == ACO_OK;
    free(own);
    int err = aco_interface_best(list, family, &best);
    if (has_route) {
        CHECK(err == ACO_OK && !aco_address_is_loopback(&best));
        return;
    }
    CHECK((err == ACO_OK) == (wanted != NULL));
    if (wanted == NULL) return;
    aco_address_host(&best, host);
    CHECK(strcmp(host, wanted) == 0 && aco_address_port(&best) == 0);
}

static void
test_best(void)
{
    struct aco_interfaces *list = calloc(1, sizeof *list);

    CHECK(list != NULL);
    check_best(list, AF_UNSPEC, NULL);
    add(list, "lo", "127.0.0.1");
    add(list, "lo", "::1");
    check_best(list, AF_UNSPEC, "127.0.0.1");
    check_best(list, AF_INET6, "::1");
    add(list, "eth0", "fe80::1");
    check_best(list, AF_UNSPEC, "127.0.0.1");
    add(list, "eth1", "169.254.1.1");
    check_best(list, AF_UNSPEC, "169.254.1.1");
    add(list, "docker0", "172.17.0.1");
    check_best(list, AF_INET, "172.17.0.1");
    add(list, "eth2", "2001:db8::7");
    check_best(list, AF_UNSPEC, "2001:db8::7");
    add(list, "eth3", "192.0.2.7");
    check_best(list, AF_UNSPEC, "192.0.2.7");
    check_best(list, AF_INET6, "2001:db8::7");
    free(list);
}

static void
test_advertise(void)
{
    struct aco_interfaces *list = calloc(1, sizeof *list);
    aco_address bound = parse("127.0.1.1"), told;

    CHECK(list != NULL && aco_interfaces_read(list) == ACO_OK);
    CHECK(aco_interface_advertise(list, &bound, false, &told) == ACO_OK);
    CHECK(aco_address_same_host(&bound, &told) && aco_address_port(&told) == 4711);
    bound = parse("0.0.0.0");
    CHECK(aco_interface_advertise(list, &bound, false, &told) == ACO_OK);
    CHECK(told.storage.ss_family == AF_INET && aco_address_port(&told) == 4711);
    CHECK(!aco_address_is_any(&told));
    for (size_t i = 0; i < list->count; i++) /* one that others reach, when there is one */
        if (!list->at[i].loopback && list->at[i].address.storage.ss_family == AF_INET)
            CHECK(!aco_address_is_loopback(&told));
    bound = parse("::");
    CHECK(aco_interface_advertise(list, &bound, true, &told) == ACO_OK);
    CHECK(!aco_address_is_any(&told) && aco_address_port(&told) == 4711);
    free(list);
}

int
main(void)
{
    test_kinds();
    test_read();
    test_best();
    test_advertise();
    return 0;
}
