/* SPDX-License-Identifier: MIT */
#include "core/net/probe.h"
#include "core/base/clock.h"
#include "core/base/error.h"
#include "core/base/random.h"
#include "core/net/discovery.h"
#include "core/net/interface.h"
#include "core/net/probe_state.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void
aco_facts_free(aco_facts *facts)
{
    aco_buf_free(&facts->bytes);
}

void
aco_facts_add(aco_facts *facts, const char *word, const char *fmt, ...)
{
    const size_t before = facts->bytes.size;
    char text[512];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (aco_buf_add(&facts->bytes, word, strlen(word) + 1) != ACO_OK ||
        aco_buf_add(&facts->bytes, text, strlen(text) + 1) != ACO_OK)
        facts->bytes.size = before;
}

const char *
aco_facts_next(const aco_facts *facts, size_t *place, const char **text)
{
    if (*place >= facts->bytes.size) return NULL;
    const char *word = (const char *)facts->bytes.data + *place;
    *text = word + strlen(word) + 1;
    *place += (size_t)(*text - word) + strlen(*text) + 1;
    return word;
}

/* This machine --------------------------------------------------------------------------------- */

/* Bind and let go: "free", "taken" or an error. */
static const char *
try_port(int type, const char *host, uint16_t port, bool share)
{
    aco_address at;
    const int one = 1;
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

    if (fd < 0) return aco_err_text(aco_err_from_errno(errno));
    const char *word = "free";
    /* A server's own port is shared with those of its connections that have just ended. */
    if (share || type == SOCK_STREAM)
        (void)!setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (aco_address_parse(&at, host, port) != ACO_OK ||
        bind(fd, (const struct sockaddr *)&at.storage, at.size) != 0 ||
        (type == SOCK_STREAM && listen(fd, 1) != 0))
        word = errno == EADDRINUSE ? "taken" : aco_err_text(aco_err_from_errno(errno));
    close(fd);
    return word;
}

static void
probe_ports(const struct aco_probe *probe, aco_facts *facts)
{
    uint16_t port;
    char *why = NULL;

    if (aco_discovery_port(probe->udp, &port, &why) != ACO_OK) {
        aco_facts_add(facts, "port_error", "%s", why != NULL ? why : "no memory");
        free(why);
        port = ACO_DISCOVERY_PORT;
    }
    const char *udp = try_port(SOCK_DGRAM, "0.0.0.0", port, false);
    if (strcmp(udp, "taken") == 0 &&
        strcmp(try_port(SOCK_DGRAM, "0.0.0.0", port, true), "free") == 0)
        udp = "shared";
    aco_facts_add(facts, "udp", "%s", udp);
    aco_facts_add(facts, "udp_port", "%u", port);
    aco_facts_add(facts, "tcp", "%s", try_port(SOCK_STREAM, "0.0.0.0", probe->tcp, false));
    aco_facts_add(facts, "tcp_port", "%u", probe->tcp);
}

void
aco_probe_machine(const struct aco_probe *probe, aco_facts *facts)
{
    struct aco_interfaces *list = malloc(sizeof *list);
    char host[ACO_ADDRESS_TEXT];
    aco_address best;

    if (list != NULL && aco_interfaces_read(list) == ACO_OK) {
        for (size_t i = 0; i < list->count; i++) {
            aco_address_host(&list->at[i].address, host);
            aco_facts_add(facts, "interface", "%s %s", list->at[i].name, host);
        }
        if (aco_interface_best(list, AF_UNSPEC, &best) == ACO_OK) {
            aco_address_host(&best, host);
            aco_facts_add(facts, "advertise", "%s", host);
        }
    }
    free(list);
    probe_ports(probe, facts);
}

/* The secret ----------------------------------------------------------------------------------- */

/* Who may read a file? */
static const char *
rights_of(const char *path)
{
    struct stat st;

    if (stat(path, &st) != 0) return "missing";
    if (st.st_uid != geteuid()) return "foreign";
    return (st.st_mode & 077) != 0 ? "open" : "private";
}

/* Where the key of this user is kept; the file itself is core/net/secret's. */
static void
probe_key_file(aco_facts *facts)
{
    const char *config = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
    const bool has_config = config != NULL && *config == '/';
    char path[512];

    if (!has_config && (home == NULL || *home == '\0')) return;
    snprintf(path, sizeof path, "%s%s/asyncoro/key", has_config ? config : home,
             has_config ? "" : "/.config");
    aco_facts_add(facts, "key_path", "%s", path);
    aco_facts_add(facts, "key", "%s", rights_of(path));
}

aco_secret *
aco_probe_make_secret(const struct aco_probe *probe, aco_facts *facts)
{
    const struct aco_secret_options options = {.secret = probe->secret,
                                               .secret_size = probe->secret_size,
                                               .certfile = probe->certfile,
                                               .keyfile = probe->keyfile,
                                               .cafile = probe->cafile};
    aco_secret *secret = NULL;
    char *why = NULL;
    int err = aco_secret_new(&options, &secret, &why);

    if (err == ACO_OK) return secret;
    aco_facts_add(facts, "error", "%s", why != NULL ? why : aco_err_text(err));
    free(why);
    return NULL;
}

void
aco_probe_secret(const struct aco_probe *probe, aco_facts *facts)
{
    if (probe->secret == NULL && probe->certfile == NULL) probe_key_file(facts);
    if (probe->secret_file != NULL)
        aco_facts_add(facts, "secret_file", "%s", rights_of(probe->secret_file));
    aco_secret *secret = aco_probe_make_secret(probe, facts);
    if (secret == NULL) return;
    aco_facts_add(facts, "mode", "%c", aco_secret_mode(secret));
    const char *warning = aco_secret_warning(secret);
    if (warning != NULL) aco_facts_add(facts, "warning", "%s", warning);
    aco_secret_unref(secret);
}

/* Discovery ------------------------------------------------------------------------------------ */

static void
add_sighting(aco_facts *facts, const struct aco_sighting *sighting)
{
    char from[ACO_ADDRESS_TEXT];

    if (sighting->kind == ACO_BEACON_LEAVE) return;
    aco_address_host(&sighting->from, from);
    aco_facts_add(facts, "peer", "%s %s %s", sighting->location, from, sighting->name);
}

static void
await_answers(aco_discovery *d, aco_time end, aco_facts *facts)
{
    struct aco_sighting sighting;
    uint8_t known[32][16];
    size_t count = 0;

    for (aco_time now = aco_now(); now < end && count < 32; now = aco_now()) {
        while (aco_discovery_turn(d, now, &sighting) && count < 32) {
            size_t i = 0;
            while (i < count && memcmp(known[i], sighting.process, 16) != 0)
                i++;
            if (i < count) continue;
            memcpy(known[count++], sighting.process, 16);
            add_sighting(facts, &sighting);
        }
        aco_time next = aco_discovery_next(d);
        if (next > end) next = end;
        struct pollfd p = {.fd = aco_discovery_fd(d), .events = POLLIN};
        if (next > now) poll(&p, 1, (int)((next - now) / 1000000) + 1);
    }
}

static void
report(const aco_discovery *d, aco_facts *facts)
{
    const struct aco_discovery_counts *counts = aco_discovery_counts(d);
    const uint64_t refused = aco_discovery_refused(d);

    aco_facts_add(facts, "sent", "%llu", (unsigned long long)counts->sent);
    aco_facts_add(facts, "refused", "%llu", (unsigned long long)refused);
    if (refused > 0) aco_facts_add(facts, "refusal", "%s", aco_discovery_refusal(d));
    if (counts->failed > 0) aco_facts_add(facts, "failure", "%s", aco_discovery_failure(d));
}

void
aco_probe_discovery(const struct aco_probe *probe, aco_facts *facts)
{
    struct aco_discovery_options options = {.broadcast = true, .multicast = true};
    char text[400], *why = NULL;
    aco_discovery *d;

    aco_secret *secret = aco_probe_make_secret(probe, facts);
    if (secret == NULL) return;
    aco_secret_key(secret, "discovery", options.key);
    options.loopback = aco_secret_mode(secret) == 'K';
    aco_secret_unref(secret);
    int err = aco_discovery_port(probe->udp, &options.port, &why);
    if (err == ACO_OK) err = aco_random(options.process, sizeof options.process);
    if (err == ACO_OK) err = aco_discovery_open(&options, &d, &why);
    if (err != ACO_OK) {
        aco_facts_add(facts, "error", "%s", why != NULL ? why : aco_err_text(err));
        free(why);
        return;
    }
    aco_discovery_describe(d, text, sizeof text);
    aco_facts_add(facts, "asked", "%s", text);
    await_answers(d, aco_now() + probe->listen, facts);
    report(d, facts);
    aco_discovery_close(d);
}
