/* SPDX-License-Identifier: MIT */
/* connection_fuzz.c -- a connection from its first byte on, with a stranger, or with a peer that
 * has the key and then talks nonsense; accepted or dialed.
 *
 * The input: what kind of connection; in pieces of which size; what the other side sends. The
 * thread of the network is kept out: it waits for the lock. */
#include "core/net/state.h"
#include "spec/core/side.h"

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { DIALED = 1, KNOWN = 2, SECRET = 4 };

/* Opened once. */
static struct side plain, secret;
static const char there[] = "127.0.0.1:1"; /* which is dialed */
static aco_address stranger;

static void
side_open(struct side *s, const char *key_path, const char *text)
{
    struct aco_net_options options = {.host = "127.0.0.1", .name = "side", .dest_path = ""};
    struct aco_secret_options how = {
        .key_path = key_path, .secret = text, .secret_size = text != NULL ? strlen(text) : 0};
    char *why = NULL;

    CHECK(aco_secret_new(&how, &options.secret, &why) == ACO_OK);
    side_start(s, 7, 2, &options);
    aco_secret_unref(options.secret);
    CHECK(aco_name_register(s->coro, "name", 4) == ACO_OK);
    pthread_mutex_lock(&s->net->lock);
}

static void
open_all(void)
{
    static char path[] = "/tmp/asyncoro-fuzz-XXXXXX";
    char key[64];

    CHECK(mkdtemp(path) != NULL);
    snprintf(key, sizeof key, "%s/key", path);
    CHECK(aco_address_parse(&stranger, "127.0.0.1", 1) == ACO_OK);
    side_open(&plain, key, NULL);
    side_open(&secret, NULL, "a secret for nonsense, and for nothing else");
    unlink(key);
    rmdir(path);
}

/* The other side proves that it has the key. */
static void
prove(const struct side *s, aco_connection *c, int fd)
{
    uint8_t preface[ACO_PREFACE_SIZE], answer[ACO_PREFACE_SIZE];

    if (c->dialed) {
        CHECK(recv(fd, preface, sizeof preface, MSG_WAITALL) == sizeof preface);
        aco_preface_answer(answer, ACO_PREFACE_OK, ACO_MODE_KEY);
        CHECK(send(fd, answer, sizeof answer, 0) == sizeof answer);
    } else {
        aco_preface_write(preface, ACO_PREFACE_MESSAGES, ACO_MODE_KEY, 0);
        CHECK(send(fd, preface, sizeof preface, 0) == sizeof preface);
    }
    aco_secure *other =
        aco_secure_new(s->net->secret, fd, c->dialed, preface, "127.0.0.1", c->dialed ? 1 : 0);
    int err = ACO_EBUSY;
    for (int i = 0; i < 8 && (err != ACO_OK || c->stage != ACO_STAGE_HELLO); i++) {
        aco_connection_event(c, EPOLLIN);
        if (i == 0 && !c->dialed)
            CHECK(recv(fd, answer, sizeof answer, MSG_WAITALL) == sizeof answer);
        if (err == ACO_EBUSY) err = aco_secure_shake(other);
    }
    CHECK(err == ACO_OK && c->stage == ACO_STAGE_HELLO);
    aco_secure_free(other);
}

/* Write what there is to be written, as a turn does, and throw it away. */
static void
flush(const struct side *s, int fd)
{
    static uint8_t bytes[65536];

    while (!aco_list_empty(&s->net->dirty)) {
        aco_connection *c = ACO_CONTAINER_OF(s->net->dirty.next, aco_connection, dirty_link);
        aco_link_remove(&c->dirty_link);
        c->dirty = false;
        if (!c->dead) aco_connection_flush(c);
    }
    while (recv(fd, bytes, sizeof bytes, MSG_DONTWAIT) > 0)
        continue;
}

static void
inbox_empty(aco_inbox *inbox)
{
    aco_inbox_awake(inbox);
    aco_inbox_drain(inbox);
    for (aco_post *post = aco_inbox_take(inbox), *next; post != NULL; post = next) {
        next = post->next;
        if (post->kind == ACO_POST_MAIL)
            aco_mailbox_unref(aco_mailbox_noticed(post));
        else
            aco_post_free(post);
    }
}

/* As if nothing had happened. */
static void
settle(struct side *s)
{
    aco_entry entry;

    while (!aco_list_empty(&s->net->connections))
        aco_connection_lose(ACO_CONTAINER_OF(s->net->connections.next, aco_connection, link),
                            ACO_EPEERDOWN, "over");
    while (!aco_list_empty(&s->net->dead))
        aco_connection_free(ACO_CONTAINER_OF(s->net->dead.next, aco_connection, link));
    aco_serve_rest(s->net);
    while (aco_mailbox_pop(NULL, s->mailbox, &entry))
        aco_entry_free(&entry);
    inbox_empty(s->inbox);
    inbox_empty(s->net->inbox);
    CHECK(aco_list_empty(&s->net->peers) && s->net->half_open == 0);
}

static void
talk(struct side *s, unsigned how, size_t piece, const uint8_t *data, size_t size)
{
    int ends[2];

    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    int mine = ends[0], theirs = ends[1];
    aco_place *place = aco_place_get(s->net, there);
    CHECK(place != NULL);
    aco_connection *c = how & DIALED ? aco_connection_dial(place, mine, true)
                                     : aco_connection_accept(s->net, mine, &stranger);
    CHECK(c != NULL);
    if (how & DIALED) place->dial = c;
    uint64_t serial = c->serial;
    if (how & KNOWN) prove(s, c, theirs);
    for (size_t n; size > 0 && !c->dead; data += n, size -= n) {
        n = size < piece ? size : piece;
        if (send(theirs, data, n, MSG_NOSIGNAL) != (ssize_t)n) break;
        CHECK(c->serial == serial);
        aco_connection_event(c, EPOLLIN);
        flush(s, theirs);
    }
    close(theirs);
    if (!c->dead) aco_connection_event(c, EPOLLIN | EPOLLHUP);
    settle(s);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (plain.net == NULL) open_all();
    if (size < 2) return 0;
    unsigned how = data[0] & 7;
    bool is_secret = how & SECRET && !(how & KNOWN);
    talk(is_secret ? &secret : &plain, how, (size_t)data[1] * 4 + 1, data + 2, size - 2);
    return 0;
}
