/* SPDX-License-Identifier: MIT */
/* Two processes in one program, joined by the network over loopback. */
#include "core/base/clock.h"
#include "core/net/secret.h"
#include "spec/core/side.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Of both processes; NULL: they have the key file. */
static char key_path[64];
static const char *secret_text;   /* NULL: none */
static size_t queue_limit;        /* 0: as usual */
static const char *node_location; /* of the node whose server 3 the next side is; NULL: none */
static int server_inlet;

static void
side_open(struct side *s, const char *name, uint16_t port)
{
    struct aco_net_options options = {
        .port = port, .queue_limit = queue_limit, .heartbeat = ACO_SECOND, .name = name};
    struct aco_secret_options secret = {.key_path = key_path,
                                        .secret = secret_text,
                                        .secret_size = secret_text ? strlen(secret_text) : 0};
    char *why = NULL;

    if (node_location != NULL) {
        options.server = 3;
        options.inlet = server_inlet;
        options.advertise = node_location;
    }
    CHECK(aco_secret_new(&secret, &options.secret, &why) == ACO_OK);
    side_start(s, 7, 100, &options);
    aco_secret_unref(options.secret);
}

static void
side_close(struct side *s)
{
    aco_net_close(s->net, aco_now() + ACO_SECOND);
    side_end(s);
}

/* The record of the other side's coro at `route`. */
static aco_export *
far_at(struct side *s, const struct side *other, const char *route)
{
    aco_identity identity;

    aco_export_identity(other->coro, &identity);
    return aco_export_far(s->process, &identity, ACO_KIND_CORO, route, "far");
}

/* The same, as a handle that has come makes it. */
static aco_export *
far_of(struct side *s, const struct side *other)
{
    return far_at(s, other, aco_process_route(other->process));
}

/* The same, at another name of this machine. */
static aco_export *
far_by(struct side *s, const struct side *other, const char *host)
{
    const char *port = strrchr(aco_process_route(other->process), ':');
    char route[64];

    snprintf(route, sizeof route, "%s%s", host, port);
    return far_at(s, other, route);
}

static void
inbox_wait(struct side *s)
{
    struct pollfd door = {.fd = aco_inbox_fd(s->inbox), .events = POLLIN};

    if (aco_inbox_sleep(s->inbox)) poll(&door, 1, 50);
    aco_inbox_awake(s->inbox);
    aco_inbox_drain(s->inbox);
}

/* What has been posted, without notices of mail. */
static aco_post *
posts_take(struct side *s)
{
    aco_post *kept = NULL, **end = &kept;

    for (aco_post *post = aco_inbox_take(s->inbox), *next; post != NULL; post = next) {
        next = post->next;
        if (post->kind == ACO_POST_MAIL) {
            aco_mailbox_unref(aco_mailbox_noticed(post));
            continue;
        }
        *end = post;
        end = &post->next;
        *end = NULL;
    }
    return kept;
}

/* The next post of a kind, within five seconds. */
static aco_post *
post_await(struct side *s, enum aco_post_kind kind)
{
    aco_time end = aco_now() + 5 * ACO_SECOND;

    while (aco_now() < end) {
        aco_post **at = &s->posts;
        while (*at != NULL)
            at = &(*at)->next;
        *at = posts_take(s);
        for (at = &s->posts; *at != NULL; at = &(*at)->next) {
            aco_post *post = *at;
            if (post->kind != (uint32_t)kind) continue;
            *at = post->next;
            return post;
        }
        inbox_wait(s);
    }
    return NULL;
}

/* A message alone gets a parcel, so that there is one kind to look at. */
static aco_parcel *
parcel_from(const aco_entry *entry)
{
    if (entry->tag == ACO_ENTRY_PARCEL) return entry->u.parcel;
    aco_parcel *parcel = aco_parcel_new(entry->u.msg, NULL);
    aco_msg_unref(entry->u.msg);
    return parcel;
}

static aco_parcel *
mail_await(struct side *s)
{
    aco_time end = aco_now() + 5 * ACO_SECOND;
    aco_entry entry;

    while (aco_now() < end) {
        if (aco_mailbox_pop(NULL, s->mailbox, &entry)) return parcel_from(&entry);
        aco_post **at = &s->posts;
        while (*at != NULL)
            at = &(*at)->next;
        *at = posts_take(s);
        inbox_wait(s);
    }
    return NULL;
}

static aco_parcel *
parcel_of(const void *data, size_t size, const aco_return *reply)
{
    aco_msg *msg = aco_msg_new(data, size);
    aco_parcel *parcel = aco_parcel_new(msg, reply);

    aco_msg_unref(msg);
    return parcel;
}

static void
put(aco_export *x, const char *text, enum aco_put how, const aco_return *reply, int expected)
{
    aco_parcel *parcel = parcel_of(text, strlen(text), reply);
    int err = aco_export_put(x, parcel, how, NULL);

    CHECK(err == expected);
    if (err != ACO_OK && err != ACO_PENDING) aco_parcel_free(parcel);
}

static void
mail_check(struct side *s, const char *text)
{
    aco_parcel *parcel = mail_await(s);

    CHECK(parcel != NULL && aco_msg_size(parcel->msg) == strlen(text));
    CHECK(memcmp(aco_msg_data(parcel->msg), text, strlen(text)) == 0);
    aco_parcel_free(parcel);
}

static void
reply_check(struct side *s, int err, const char *text)
{
    aco_post *post = post_await(s, ACO_POST_REPLY);

    CHECK(post != NULL && post->err == err);
    if (text != NULL) {
        CHECK(post->msg != NULL && aco_msg_size(post->msg) == strlen(text));
        CHECK(memcmp(aco_msg_data(post->msg), text, strlen(text)) == 0);
    }
    aco_post_free(post);
}

static void
test_messages(void)
{
    struct side a, b;

    side_open(&a, "a", 0);
    side_open(&b, "b", 0);
    aco_return here = {.inbox = a.inbox, .task = 1, .token = 2};
    aco_export *x = far_of(&a, &b);
    put(x, "one", ACO_PUT_SEND, NULL, ACO_OK);
    put(x, "two", ACO_PUT_DELIVER, &here, ACO_PENDING);
    mail_check(&b, "one");
    mail_check(&b, "two");
    reply_check(&a, ACO_OK, NULL);

    put(x, "ask", ACO_PUT_CALL, &here, ACO_OK);
    aco_parcel *parcel = mail_await(&b);
    CHECK(parcel != NULL && parcel->reply.inbox != NULL);
    aco_post *answer = calloc(1, sizeof *answer);
    *answer = (aco_post){.kind = ACO_POST_REPLY,
                         .task = parcel->reply.task,
                         .token = parcel->reply.token,
                         .msg = aco_msg_new("answer", 6)};
    CHECK(aco_inbox_post(parcel->reply.inbox, answer) == ACO_OK);
    aco_parcel_free(parcel);
    reply_check(&a, ACO_OK, "answer");

    aco_export *back = far_of(&b, &a);
    put(back, "back", ACO_PUT_SEND, NULL, ACO_OK);
    mail_check(&a, "back");

    aco_identity identity;
    aco_export_identity(b.coro, &identity);
    identity.serial = 99;
    aco_export *nobody = aco_export_far(a.process, &identity, ACO_KIND_CORO, x->route, "nobody");
    put(nobody, "x", ACO_PUT_DELIVER, &here, ACO_PENDING);
    reply_check(&a, ACO_ENOTFOUND, NULL);
    aco_export_unref(nobody);

    size_t count;
    struct aco_peer_info *peers = aco_net_peers(a.net, &count);
    CHECK(count == 1 && strcmp(peers[0].name, "b") == 0);
    CHECK(strcmp(peers[0].location, aco_process_route(b.process)) == 0);
    free(peers);
    aco_export_unref(x);
    aco_export_unref(back);
    side_close(&a);
    side_close(&b);
}

static void
test_large(void)
{
    struct side a, b;
    size_t size = 20 << 20;
    char *bytes = malloc(size + 1);

    for (size_t i = 0; i < size; i++)
        bytes[i] = (char)('a' + i % 23);
    bytes[size] = '\0';
    queue_limit = 1000;
    side_open(&a, "a", 0);
    queue_limit = 0;
    side_open(&b, "b", 0);
    aco_export *x = far_of(&a, &b);
    put(x, bytes, ACO_PUT_SEND, NULL, ACO_OK);
    put(x, "behind it", ACO_PUT_SEND, NULL, ACO_EBUSY); /* more than the queue may hold */
    mail_check(&b, bytes);
    put(x, "behind it", ACO_PUT_SEND, NULL, ACO_OK);
    mail_check(&b, "behind it");
    free(bytes);
    aco_export_unref(x);
    side_close(&a);
    side_close(&b);
}

/* A mailbox that is full makes senders wait; nothing is lost, and order is
 * kept. */
static void
test_pause(void)
{
    struct side a, b;
    int sent = 0, got = 0;
    char text[32];

    side_open(&a, "a", 0);
    side_open(&b, "b", 0);
    aco_return here = {.inbox = a.inbox, .task = 1, .token = 2};
    aco_export *x = far_of(&a, &b);
    for (bool full = false; !full;) {
        snprintf(text, sizeof text, "%d", sent);
        aco_parcel *parcel = parcel_of(text, strlen(text), NULL);
        int err = aco_export_put(x, parcel, ACO_PUT_SEND, &here);
        CHECK(err == ACO_OK || err == ACO_EBUSY);
        if (err == ACO_OK) sent++;
        full = err == ACO_EBUSY;
        if (full) aco_parcel_free(parcel);
    }
    CHECK(sent >= 100);
    CHECK(a.posts == NULL && aco_inbox_empty(a.inbox));
    while (got < sent) {
        snprintf(text, sizeof text, "%d", got++);
        mail_check(&b, text);
    }
    aco_post *space = post_await(&a, ACO_POST_SPACE);
    CHECK(space != NULL && space->task == 1 && space->token == 2);
    aco_post_free(space);
    put(x, "more", ACO_PUT_SEND, NULL, ACO_OK);
    mail_check(&b, "more");
    aco_export_unref(x);
    side_close(&a);
    side_close(&b);
}

static void
test_ends(void)
{
    struct side a, b;

    side_open(&a, "a", 0);
    side_open(&b, "b", 0);
    aco_export *x = far_of(&a, &b);
    CHECK(aco_export_watch(x, a.seat) == ACO_OK);
    put(x, "first", ACO_PUT_SEND, NULL, ACO_OK);
    mail_check(&b, "first");
    aco_msg *exit = aco_msg_new("exit", 4);
    aco_export_end(b.coro, ACO_FAILED, exit);
    aco_msg_unref(exit);
    aco_post *post = post_await(&a, ACO_POST_EXIT);
    CHECK(post != NULL && post->object == x && post->err == ACO_OK);
    aco_post_free(post);
    CHECK(atomic_load(&x->reason) == ACO_FAILED);
    exit = aco_export_exit(x);
    CHECK(exit != NULL && aco_msg_size(exit) == 4);
    aco_msg_unref(exit);
    put(x, "late", ACO_PUT_SEND, NULL, ACO_ENOTFOUND);
    aco_export_unref(x);
    side_close(&a);
    side_close(&b);
}

static void
test_loss(void)
{
    struct side a, b;

    side_open(&a, "a", 0);
    side_open(&b, "b", 0);
    aco_return here = {.inbox = a.inbox, .task = 1, .token = 2};
    aco_export *x = far_of(&a, &b);
    CHECK(aco_export_watch(x, a.seat) == ACO_OK);
    CHECK(aco_export_monitor(x, a.mailbox) == ACO_OK);
    put(x, "ask", ACO_PUT_CALL, &here, ACO_OK);
    mail_check(&b, "ask");
    side_close(&b);
    reply_check(&a, ACO_EPEERDOWN, NULL);
    aco_post *post = post_await(&a, ACO_POST_EXIT);
    CHECK(post != NULL && post->object == x && post->err == ACO_EPEERDOWN);
    aco_post_free(post);
    aco_parcel *parcel = mail_await(&a); /* the monitor's */
    CHECK(parcel != NULL);
    aco_parcel_free(parcel);
    aco_export_unref(x);
    side_close(&a);
}

static void
test_names(void)
{
    struct side a, b;

    side_open(&a, "a", 0);
    side_open(&b, "b", 0);
    aco_return here = {.inbox = a.inbox, .task = 1, .token = 2};
    aco_gate *gate = aco_process_gate(a.process);
    const char *where = aco_process_route(b.process);
    CHECK(gate->ops->locate(gate, where, "name", 4, false, &here) == ACO_OK);
    reply_check(&a, ACO_ENOTFOUND, NULL);
    CHECK(gate->ops->locate(gate, NULL, "name", 4, true, &here) == ACO_OK);
    CHECK(aco_name_register(b.coro, "name", 4) == ACO_OK);
    aco_post *post = post_await(&a, ACO_POST_REPLY);
    uint8_t value[ACO_HANDLE_VALUE_MAX];
    size_t size = aco_export_value(b.coro, value);
    CHECK(post != NULL && post->err == ACO_OK && aco_msg_size(post->msg) == size);
    CHECK(memcmp(aco_msg_data(post->msg), value, size) == 0);
    aco_post_free(post);
    CHECK(gate->ops->locate(gate, where, "name", 4, false, &here) == ACO_OK);
    post = post_await(&a, ACO_POST_REPLY);
    CHECK(post != NULL && post->err == ACO_OK);
    aco_post_free(post);
    CHECK(aco_net_locate_peer(a.net, "b", 1, false, &here) == ACO_OK);
    post = post_await(&a, ACO_POST_REPLY);
    CHECK(post != NULL && post->err == ACO_OK);
    aco_post_free(post);
    side_close(&b);
    side_close(&a);
}

/* Both dial the other at the same time, by whichever name: one connection is left, and nothing is
 * lost. */
static void
test_both(const char *to_b, const char *to_a)
{
    for (int round = 0; round < 8; round++) {
        struct side a, b;
        side_open(&a, "a", 0);
        side_open(&b, "b", 0);
        aco_export *x = far_by(&a, &b, to_b), *y = far_by(&b, &a, to_a);
        put(x, "from a", ACO_PUT_SEND, NULL, ACO_OK);
        put(y, "from b", ACO_PUT_SEND, NULL, ACO_OK);
        mail_check(&b, "from a");
        mail_check(&a, "from b");
        size_t count;
        free(aco_net_peers(a.net, &count));
        CHECK(count == 1);
        aco_export_unref(x);
        aco_export_unref(y);
        side_close(&a);
        side_close(&b);
    }
}

/* A process that has dialed us is reached by any of its names over the connection that is there. */
static void
test_two_names(void)
{
    struct side a, b;
    struct aco_net_stats stats;
    char where[64];

    side_open(&a, "a", 0);
    side_open(&b, "b", 0);
    aco_return here = {.inbox = a.inbox, .task = 1, .token = 2};
    aco_export *x = far_of(&a, &b), *y = far_of(&b, &a);
    put(y, "hello", ACO_PUT_SEND, NULL, ACO_OK);
    mail_check(&a, "hello");
    snprintf(where, sizeof where, "[::1]%s", strrchr(aco_process_route(b.process), ':'));
    for (int round = 0; round < 2; round++) {
        CHECK(aco_net_peer(a.net, where, false, &here) == ACO_OK);
        reply_check(&a, ACO_OK, NULL);
    }
    put(x, "and back", ACO_PUT_SEND, NULL, ACO_OK);
    mail_check(&b, "and back");
    aco_net_stats(a.net, &stats);
    CHECK(stats.peers == 1 && stats.links == 1 && stats.refused == 0);
    aco_net_stats(b.net, &stats);
    CHECK(stats.peers == 1 && stats.links == 1 && stats.refused == 0);
    aco_export_unref(x);
    aco_export_unref(y);
    side_close(&a);
    side_close(&b);
}

/* A server behind the port of a node is reached through it, and talks for itself. */
static void
test_server(void)
{
    struct side node, a, server;
    int ends[2];
    char where[128];

    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0);
    side_open(&node, "node", 0);
    node_location = aco_process_route(node.process);
    server_inlet = ends[1];
    side_open(&server, "server", 0);
    node_location = NULL;
    side_open(&a, "a", 0);
    snprintf(where, sizeof where, "%s/3", aco_process_route(node.process));
    CHECK(strcmp(aco_process_route(server.process), where) == 0);
    aco_return here = {.inbox = a.inbox, .task = 1, .token = 2};
    CHECK(aco_net_peer(a.net, where, false, &here) == ACO_OK);
    reply_check(&a, ACO_EPEERDOWN, NULL); /* the node does not know it yet */
    CHECK(aco_net_server(node.net, 3, ends[0]) == ACO_OK);
    CHECK(aco_net_peer(a.net, where, false, &here) == ACO_OK);
    reply_check(&a, ACO_OK, NULL);
    aco_export *x = far_of(&a, &server);
    put(x, "to the server", ACO_PUT_DELIVER, &here, ACO_PENDING);
    mail_check(&server, "to the server");
    reply_check(&a, ACO_OK, NULL);
    size_t count;
    free(aco_net_peers(node.net, &count));
    CHECK(count == 0);
    close(ends[0]);
    close(ends[1]);
    aco_export_unref(x);
    side_close(&a);
    side_close(&server);
    side_close(&node);
}

static void
test_unreachable(void)
{
    struct side a;
    aco_identity identity = {.engine = 1, .serial = 1};

    side_open(&a, "a", 0);
    aco_return here = {.inbox = a.inbox, .task = 1, .token = 2};
    aco_export *x =
        aco_export_far(a.process, &identity, ACO_KIND_CORO, "127.0.0.1:1", "unreachable");
    put(x, "x", ACO_PUT_DELIVER, &here, ACO_PENDING);
    reply_check(&a, ACO_EPEERDOWN, NULL);
    CHECK(aco_net_peer(a.net, "127.0.0.1:1", false, &here) == ACO_OK);
    reply_check(&a, ACO_EPEERDOWN, NULL);
    CHECK(aco_net_peer(a.net, "no location", false, &here) == ACO_EINVALID);
    aco_export_unref(x);
    side_close(&a);
}

/* Another secret is refused at once, on both sides in words. */
static void
test_wrong_secret(void)
{
    struct side a, b;
    struct aco_net_stats stats;

    secret_text = "one secret of more than twenty bytes";
    side_open(&a, "a", 0);
    secret_text = "another secret of more than twenty bytes";
    side_open(&b, "b", 0);
    secret_text = NULL;
    aco_return here = {.inbox = a.inbox, .task = 1, .token = 2};
    CHECK(aco_net_peer(a.net, aco_process_route(b.process), false, &here) == ACO_OK);
    aco_post *post = post_await(&a, ACO_POST_REPLY);
    CHECK(post != NULL && post->err == ACO_EAUTH && post->msg != NULL);
    CHECK(memmem(aco_msg_data(post->msg), aco_msg_size(post->msg), "the secrets differ", 18));
    aco_post_free(post);
    aco_net_stats(b.net, &stats);
    CHECK(stats.refused == 1 && strstr(stats.refusal, "the secrets differ") != NULL);
    side_close(&a);
    side_close(&b);

    side_open(&a, "a", 0);
    secret_text = "one secret of more than twenty bytes";
    side_open(&b, "b", 0);
    secret_text = NULL;
    here.inbox = a.inbox;
    CHECK(aco_net_peer(a.net, aco_process_route(b.process), false, &here) == ACO_OK);
    post = post_await(&a, ACO_POST_REPLY);
    CHECK(post != NULL && post->err == ACO_EAUTH && post->msg != NULL);
    CHECK(memmem(aco_msg_data(post->msg), aco_msg_size(post->msg), "wants a secret", 14));
    aco_post_free(post);
    side_close(&a);
    side_close(&b);
}

static void
test_all(void)
{
    test_messages();
    test_large();
    test_pause();
    test_ends();
    test_loss();
    test_names();
    test_both("127.0.0.1", "127.0.0.1");
    test_both("127.0.0.1", "[::1]");
    test_both("[::1]", "[::1]");
    test_two_names();
    test_unreachable();
    test_server();
}

int
main(void)
{
    char folder[] = "/tmp/asyncoro-net-XXXXXX";

    CHECK(mkdtemp(folder) != NULL);
    snprintf(key_path, sizeof key_path, "%s/key", folder);
    test_all();
    secret_text = "a secret of more than twenty bytes";
    test_all();
    secret_text = NULL;
    test_wrong_secret();
    unlink(key_path);
    rmdir(folder);
    return 0;
}
