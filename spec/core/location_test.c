/* SPDX-License-Identifier: MIT */
/* location_test.c -- locations from text and back, and what is none. */
#include "core/base/error.h"
#include "core/net/location.h"
#include "spec/core/check.h"

#include <string.h>

static void
check(const char *text, const char *host, unsigned port, unsigned server, const char *again)
{
    char printed[ACO_LOCATION_TEXT];
    aco_location location;

    CHECK(aco_location_parse(&location, text, strlen(text), NULL) == ACO_OK);
    CHECK(strcmp(location.host, host) == 0);
    CHECK(location.port == port && location.server == server);
    CHECK(aco_location_text(&location, printed) == strlen(printed));
    CHECK(strcmp(printed, again) == 0);
}

static void
test_good(void)
{
    check("127.0.0.1:80", "127.0.0.1", 80, 0, "127.0.0.1:80");
    check("node-7.example.org:51351", "node-7.example.org", 51351, 0, "node-7.example.org:51351");
    check("h_1:1/1", "h_1", 1, 1, "h_1:1/1");
    check("h:65535/65535", "h", 65535, 65535, "h:65535/65535");
    check("h:80/0", "h", 80, 0, "h:80");
    check("[::1]:80", "::1", 80, 0, "[::1]:80");
    check("[fe80::1%eth0]:80/3", "fe80::1%eth0", 80, 3, "[fe80::1%eth0]:80/3");
}

static void
refuse(const char *text, size_t size, const char *words)
{
    aco_location location = {"untouched", 7, 8};
    const char *why = NULL;

    CHECK(aco_location_parse(&location, text, size, &why) == ACO_EINVALID);
    CHECK(strcmp(location.host, "untouched") == 0 && location.port == 7 && location.server == 8);
    CHECK(aco_location_parse(&location, text, size, NULL) == ACO_EINVALID);
    CHECK(why != NULL && strstr(why, words) != NULL);
}

static void
test_bad(void)
{
    static const struct {
        const char *text, *words;
    } bad[] = {
        {"", "port"},           {"host", "port"},       {"[::1]", "port"},
        {"[::1]80", "port"},    {":80", "host"},        {"[]:80", "host"},
        {"h:", "port"},         {"h:0", "port"},        {"h:080", "port"},
        {"h:65536", "port"},    {"h:99999", "port"},    {"h:100000", "port"},
        {"h:+80", "port"},      {"h: 80", "port"},      {"h:80 ", "port"},
        {"h:8O", "port"},       {"h:80/", "server"},    {"h:80/65536", "server"},
        {"h:80/x", "server"},   {"h:80/1/2", "server"}, {"h:80/01", "server"},
        {"h:80/00", "server"},  {"::1:80", "brackets"}, {"fe80::1:80", "brackets"},
        {"[h]:80", "brackets"}, {"[::1:80", "closed"},  {"a b:80", "host"},
        {"a/b:80", "host"},     {"http://h:80", "URL"}, {"h\n:80", "host"},
        {"me@h:80", "host"},
    };
    char longest[ACO_LOCATION_HOST + 8];

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        refuse(bad[i].text, strlen(bad[i].text), bad[i].words);
    refuse("h\0h:80", 6, "host");
    memset(longest, 'h', sizeof longest);
    memcpy(longest + ACO_LOCATION_HOST + 1, ":80", 3);
    refuse(longest, ACO_LOCATION_HOST + 4, "longer");
}

/* The longest there is fits. */
static void
test_longest(void)
{
    char text[ACO_LOCATION_TEXT], printed[ACO_LOCATION_TEXT];
    aco_location location;

    memset(text, 'h', sizeof text);
    memcpy(text + ACO_LOCATION_HOST, ":65535/65535", 13);
    CHECK(aco_location_parse(&location, text, strlen(text), NULL) == ACO_OK);
    aco_location_text(&location, printed);
    CHECK(strcmp(text, printed) == 0);
    memset(location.host, ':', ACO_LOCATION_HOST);
    CHECK(aco_location_text(&location, printed) == ACO_LOCATION_HOST + 14);
}

static void
test_equal(void)
{
    aco_location a, b;

    CHECK(aco_location_parse(&a, "h:80/2", 6, NULL) == ACO_OK);
    CHECK(aco_location_parse(&b, "h:80/2", 6, NULL) == ACO_OK);
    CHECK(aco_location_equal(&a, &b) && !aco_location_is_v6(&a));
    b.server = 3;
    CHECK(!aco_location_equal(&a, &b));
    b = a;
    b.port = 81;
    CHECK(!aco_location_equal(&a, &b));
    b = a;
    b.host[0] = 'i';
    CHECK(!aco_location_equal(&a, &b));
}

int
main(void)
{
    test_good();
    test_bad();
    test_longest();
    test_equal();
    return 0;
}
