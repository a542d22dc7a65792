/* SPDX-License-Identifier: MIT */
/* message_test.c -- messages between scripts and the program around them, and between runtimes. */
#include "embed.h"

#include <lauxlib.h>
#include <lua.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <time.h>

enum { LONG = 20, POSTERS = 4, POSTS = 2000 };

/* The bytes that MessagePack has for small numbers and short texts. */
static size_t
pack_number(unsigned char *at, unsigned number)
{
    at[0] = 0xcd;
    at[1] = (unsigned char)(number >> 8);
    at[2] = (unsigned char)number;
    return 3;
}

static bool
is_text(const asyncoro_message *m, const char *text)
{
    const unsigned char *data = asyncoro_message_data(m);
    size_t size = strlen(text);

    return asyncoro_message_size(m) == size + 1 && data[0] == (0xa0 | size) &&
           memcmp(data + 1, text, size) == 0;
}

typedef struct poster {
    asyncoro_handle *handle;
    unsigned number, refused;
} poster;

/* Each thread its numbers, in order; a full mailbox refuses, and nothing is lost. */
static void *
post_numbers(void *arg)
{
    poster *p = arg;
    unsigned char bytes[8];

    for (unsigned i = 0; i < POSTS; i++) {
        bytes[0] = 0x92;
        size_t size = 1 + pack_number(bytes + 1, p->number);
        size += pack_number(bytes + size, i);
        int code;
        while ((code = asyncoro_post(p->handle, bytes, size)) == ASYNCORO_EBUSY) {
            struct timespec ts = {.tv_nsec = 100000};
            nanosleep(&ts, NULL);
            p->refused++;
        }
        CHECK(code == ASYNCORO_OK);
    }
    asyncoro_handle_unref(p->handle);
    return NULL;
}

static asyncoro_handle *
find(asyncoro *rt, const char *name)
{
    asyncoro_handle *handle = NULL;

    while (asyncoro_handle_find(rt, name, &handle) != ASYNCORO_OK)
        CHECK(asyncoro_step(rt, 0.001) == 1);
    return handle;
}

static void
posts_from_threads(void)
{
    static const char script[] = "local a = require 'asyncoro'\n"
                                 "local posters, posts = 4, 2000\n"
                                 "local sink = a.spawn({mailbox = 64}, function()\n"
                                 "  local next = {}\n"
                                 "  for _ = 1, posters * posts do\n"
                                 "    local m = a.receive()\n"
                                 "    assert(m[2] == (next[m[1]] or 0))\n"
                                 "    next[m[1]] = m[2] + 1\n"
                                 "  end\n"
                                 "  assert(a.receive(0, 'nothing') == 'nothing')\n"
                                 "end)\n"
                                 "sink:register('sink')\n"
                                 "local ok, err = sink:finish() assert(ok, err)";
    told t;
    asyncoro_options options = options_for(&t);
    asyncoro *rt = loaded(&options, script);
    pthread_t threads[POSTERS];
    poster posters[POSTERS];
    asyncoro_handle *handle;

    CHECK(asyncoro_handle_find(rt, "sink", &handle) == ASYNCORO_ENOTFOUND);
    CHECK(asyncoro_start(rt, 0, NULL) == ASYNCORO_OK);
    handle = find(rt, "sink");
    for (unsigned i = 0; i < POSTERS; i++) {
        posters[i] = (poster){.handle = asyncoro_handle_ref(handle), .number = i};
        CHECK(pthread_create(&threads[i], NULL, post_numbers, &posters[i]) == 0);
    }
    while (asyncoro_step(rt, -1) == 1)
        continue;
    for (int i = 0; i < POSTERS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    if (t.end != ASYNCORO_FINISHED) fputs(t.text, stderr);
    CHECK(t.end == ASYNCORO_FINISHED);
    CHECK(asyncoro_post(handle, "\1", 1) == ASYNCORO_ENOTFOUND); /* it has ended */
    CHECK(asyncoro_close(rt) == ASYNCORO_OK);
    CHECK(asyncoro_post(handle, "\1", 1) == ASYNCORO_ENOTFOUND);
    asyncoro_handle_unref(handle);
    asyncoro_handle_unref(NULL);
}

/* Bytes that are no MessagePack value never get in. */
static void
wrong_bytes(void)
{
    static const struct {
        const char *bytes;
        size_t size;
        int code;
    } tries[] = {
        {"", 0, ASYNCORO_EPROTOCOL},
        {"\xc1", 1, ASYNCORO_EPROTOCOL},
        {"\xa5hell", 5, ASYNCORO_EPROTOCOL},
        {"\x92\x01", 2, ASYNCORO_EPROTOCOL},
        {"\x01\x02", 2, ASYNCORO_EPROTOCOL},
        {"\xdf\xff\xff\xff\xff", 5, ASYNCORO_EPROTOCOL},
        {"\x92\x01\x80", 3, ASYNCORO_OK},
        {"\x81\xa1k\x93\x01\xc0\xc3", 7, ASYNCORO_OK},
        {"\x90", 1, ASYNCORO_OK},
        {NULL, 0, ASYNCORO_EINVALID},
    };
    unsigned char deep[1000];
    told t;
    asyncoro_options options = options_for(&t);
    asyncoro *rt = loaded(&options, "local a = require 'asyncoro'\n"
                                    "a.current():register('sink')\n"
                                    "local m = a.receive() assert(m[1] == 1 and #m[2] == 0)\n"
                                    "m = a.receive() assert(m.k[1] == 1 and m.k[3] == true)\n"
                                    "m = a.receive() assert(#m == 0)\n"
                                    "m = a.receive() assert(m == nil)");

    CHECK(asyncoro_start(rt, 0, NULL) == ASYNCORO_OK);
    asyncoro_handle *handle = find(rt, "sink");
    for (size_t i = 0; i < sizeof tries / sizeof *tries; i++)
        CHECK(asyncoro_post(handle, tries[i].bytes, tries[i].size) == tries[i].code);
    memset(deep, 0x91, sizeof deep);
    deep[sizeof deep - 1] = 0xc0;
    CHECK(asyncoro_post(handle, deep, sizeof deep) == ASYNCORO_EPROTOCOL);
    char *big = calloc(1, (64u << 20) + 1);
    CHECK(big != NULL && asyncoro_post(handle, big, (64u << 20) + 1) == ASYNCORO_ETOOLARGE);
    free(big);
    CHECK(asyncoro_post(handle, "\xc0", 1) == ASYNCORO_OK);
    while (asyncoro_step(rt, -1) == 1)
        continue;
    if (t.end != ASYNCORO_FINISHED) fputs(t.text, stderr);
    CHECK(t.end == ASYNCORO_FINISHED);
    CHECK(asyncoro_handle_find(rt, NULL, &handle) == ASYNCORO_EINVALID);
    CHECK(asyncoro_close(rt) == ASYNCORO_OK);
    asyncoro_handle_unref(handle);
}

static bool
readable(int fd, int milliseconds)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    return poll(&p, 1, milliseconds) == 1;
}

/* What a mailbox of the program is to a script. */
static void
mailbox(void)
{
    static const char script[] = "local a = require 'asyncoro'\n"
                                 "local host = assert(a.locate('host', nil, 0))\n"
                                 "assert(host == a.locate('host') and host:is_alive())\n"
                                 "assert(host:send('one') and host:deliver('two') == 1)\n"
                                 "assert(host:call('three', 20) == 'four')\n"
                                 "local r, _, code = host:call('unanswered', 20)\n"
                                 "assert(r == nil and code == 'notfound')\n"
                                 "a.monitor(host)\n"
                                 "assert(host:send('five'))\n"
                                 "local exit = a.receive(20)\n"
                                 "assert(a.is_exit(exit) and exit.reason == 'finished')\n"
                                 "assert(select(3, host:send('x')) == 'notfound')\n"
                                 "assert(select(3, a.locate('host', nil, 0)) == 'timeout')";
    static const char *const texts[] = {"one", "two", "three", "unanswered", "five"};
    told t;
    asyncoro_options options = options_for(&t);
    asyncoro *rt = loaded(&options, script);
    asyncoro_mailbox *box, *other;
    asyncoro_message *m;
    int seen = 0;

    CHECK(asyncoro_mailbox_new(rt, "", 0, &box) == ASYNCORO_EINVALID);
    CHECK(asyncoro_mailbox_new(rt, "host", 0, &box) == ASYNCORO_OK);
    CHECK(asyncoro_mailbox_new(rt, "host", 0, &other) == ASYNCORO_EEXISTS);
    CHECK(asyncoro_mailbox_take(box, 0, &m) == ASYNCORO_ETIMEOUT);
    CHECK(asyncoro_start(rt, 0, NULL) == ASYNCORO_OK);
    while (seen < 5) {
        CHECK(asyncoro_step(rt, 0) == 1);
        if (!readable(asyncoro_mailbox_fd(box), 0)) continue;
        if (asyncoro_mailbox_take(box, 0, &m) != ASYNCORO_OK) continue;
        bool is_call = seen == 2 || seen == 3;
        CHECK(is_text(m, texts[seen]));
        CHECK(asyncoro_message_is_call(m) == is_call);
        CHECK(asyncoro_message_reply(m, "\xc1", 1) ==
              (is_call ? ASYNCORO_EPROTOCOL : ASYNCORO_ENOTFOUND));
        if (seen == 2) {
            CHECK(asyncoro_message_reply(m, "\244four", 5) == ASYNCORO_OK);
            CHECK(asyncoro_message_reply(m, "\244four", 5) == ASYNCORO_ENOTFOUND);
        }
        asyncoro_message_free(m);
        seen++;
    }
    CHECK(asyncoro_mailbox_take(box, 0, &m) == ASYNCORO_ETIMEOUT);
    CHECK(!readable(asyncoro_mailbox_fd(box), 0));
    asyncoro_mailbox_close(box);
    while (asyncoro_step(rt, -1) == 1)
        continue;
    if (t.end != ASYNCORO_FINISHED) fputs(t.text, stderr);
    CHECK(t.end == ASYNCORO_FINISHED);
    CHECK(asyncoro_close(rt) == ASYNCORO_OK);
    asyncoro_mailbox_close(NULL);
    asyncoro_message_free(NULL);
}

/* Takers on several threads, a small limit: senders wait, everything arrives once. */
static atomic_int taken, sum;

static void *
take_all(void *arg)
{
    asyncoro_message *m;

    for (;;) {
        CHECK(asyncoro_mailbox_take(arg, LONG, &m) == ASYNCORO_OK);
        const unsigned char *data = asyncoro_message_data(m);
        bool end = asyncoro_message_size(m) == 1 && data[0] == 0xc0;
        if (!end) {
            atomic_fetch_add(&taken, 1);
            atomic_fetch_add(&sum, data[0]);
        }
        asyncoro_message_free(m);
        if (end) return NULL;
    }
}

static void
takers(void)
{
    static const char script[] = "local a = require 'asyncoro'\n"
                                 "local host = a.locate('host')\n"
                                 "a.group(function(g)\n"
                                 "  for c = 1, 4 do g:spawn(function()\n"
                                 "    for i = 1, 500 do assert(host:send(c)) end\n"
                                 "  end) end\n"
                                 "end)\n"
                                 "for i = 1, 3 do host:send(nil) end";
    told t;
    asyncoro_options options = options_for(&t);
    asyncoro *rt = loaded(&options, script);
    asyncoro_mailbox *box;
    pthread_t threads[3];

    CHECK(asyncoro_mailbox_new(rt, "host", 8, &box) == ASYNCORO_OK);
    for (int i = 0; i < 3; i++)
        CHECK(pthread_create(&threads[i], NULL, take_all, box) == 0);
    CHECK(asyncoro_run(rt, 0, NULL) == ASYNCORO_FINISHED);
    for (int i = 0; i < 3; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(atomic_load(&taken) == 2000 && atomic_load(&sum) == 500 * (1 + 2 + 3 + 4));
    CHECK(asyncoro_close(rt) == ASYNCORO_OK);
    asyncoro_mailbox_close(box); /* outlives its runtime */
}

/* What was not taken goes with the mailbox: callers are told, also those that wait for room. */
static void
closed_full(void)
{
    static const char script[] = "local a = require 'asyncoro'\n"
                                 "local host = a.locate('host')\n"
                                 "local c = a.spawn(function() return host:call('x', 20) end)\n"
                                 "local d = a.spawn(function() return host:send('y', 20) end)\n"
                                 "local e = a.spawn(function() return host:traceback() end)\n"
                                 "for _, coro in ipairs {c, d, e} do\n"
                                 "  local ok, r, _, code = coro:finish()\n"
                                 "  assert(ok and r == nil and code == 'notfound', code)\n"
                                 "end";
    told t;
    asyncoro_options options = options_for(&t);
    asyncoro *rt = loaded(&options, script);
    asyncoro_mailbox *box;

    CHECK(asyncoro_mailbox_new(rt, "host", 1, &box) == ASYNCORO_OK);
    CHECK(asyncoro_start(rt, 0, NULL) == ASYNCORO_OK);
    for (int i = 0; i < 5; i++)
        CHECK(asyncoro_step(rt, 0) == 1);
    asyncoro_mailbox_close(box);
    while (asyncoro_step(rt, LONG) == 1)
        continue;
    if (t.end != ASYNCORO_FINISHED) fputs(t.text, stderr);
    CHECK(t.end == ASYNCORO_FINISHED);
    CHECK(asyncoro_close(rt) == ASYNCORO_OK);
}

/* Runtimes on threads of their own that share their names. */
static asyncoro *first;

static void *
second_thread(void *arg)
{
    static const char script[] = "local a = require 'asyncoro'\n"
                                 "local server = a.locate('server', nil, 20)\n"
                                 "for i = 1, 300 do assert(server:call(i, 20) == i * 2) end\n"
                                 "server:send(nil)";
    told t;
    asyncoro_options options = options_for(&t);

    (void)arg;
    options.share = first;
    asyncoro *rt = loaded(&options, script);
    int end = asyncoro_run(rt, 0, NULL);
    if (end != ASYNCORO_FINISHED) fputs(t.text, stderr);
    CHECK(end == ASYNCORO_FINISHED);
    CHECK(asyncoro_close(rt) == ASYNCORO_OK);
    return NULL;
}

static void
shared_names(void)
{
    static const char script[] = "local a = require 'asyncoro'\n"
                                 "a.current():register('server')\n"
                                 "for n, reply in a.messages() do reply(n * 2) end";
    told t;
    asyncoro_options options = options_for(&t);
    asyncoro_handle *handle;
    pthread_t thread;

    first = loaded(&options, script);
    CHECK(pthread_create(&thread, NULL, second_thread, NULL) == 0);
    int end = asyncoro_run(first, 0, NULL);
    if (end != ASYNCORO_FINISHED) fputs(t.text, stderr);
    CHECK(end == ASYNCORO_FINISHED);
    CHECK(pthread_join(thread, NULL) == 0);
    options = options_for(&t); /* names of others are not seen */
    asyncoro *alone = loaded(&options, "require('asyncoro').current():register('alone')\n"
                                       "require('asyncoro').sleep(30)");
    CHECK(asyncoro_start(alone, 0, NULL) == ASYNCORO_OK);
    asyncoro_handle_unref(find(alone, "alone"));
    CHECK(asyncoro_handle_find(first, "alone", &handle) == ASYNCORO_ENOTFOUND);
    CHECK(asyncoro_close(alone) == ASYNCORO_OK);
    CHECK(asyncoro_close(first) == ASYNCORO_OK);
}

/* Many runtimes, each on its thread, one after the other and side by side. */
static void *
whole_life(void *arg)
{
    (void)arg;
    for (int i = 0; i < 5; i++) {
        told t;
        asyncoro_options options = options_for(&t);
        options.flags = i % 2 ? ASYNCORO_LEASH : ASYNCORO_UNPATCHED;
        CHECK(run_script(&options,
                         "local a = require 'asyncoro'\n"
                         "for i = 1, 10 do a.spawn(a.sleep, 0.001) end\n"
                         "a.isolate(function() return 1 end):finish()") == ASYNCORO_FINISHED);
    }
    return NULL;
}

static void
many(void)
{
    pthread_t threads[4];

    for (int i = 0; i < 4; i++)
        CHECK(pthread_create(&threads[i], NULL, whole_life, NULL) == 0);
    for (int i = 0; i < 4; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
}

int
main(void)
{
    posts_from_threads();
    wrong_bytes();
    mailbox();
    takers();
    closed_full();
    shared_names();
    many();
    puts("ok");
    return 0;
}
