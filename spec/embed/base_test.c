/* SPDX-License-Identifier: MIT */
/* base_test.c -- programs driven by a libevent base that is not theirs, beside its other events. */
#include "embed.h"

#include <event2/event.h>
#include <lauxlib.h>
#include <lua.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <unistd.h>

static const struct timeval soon = {.tv_usec = 2000};

/* What the program around does meanwhile: a timer that ticks, a socket that echoes. */
typedef struct host {
    struct event_base *base;
    struct event *tick, *echo;
    asyncoro *rt;
    int ticks, echoes, sockets[2];
    told told;
} host;

static void
on_tick(evutil_socket_t fd, short what, void *arg)
{
    host *h = arg;

    (void)fd;
    (void)what;
    h->ticks++;
}

static void
on_echo(evutil_socket_t fd, short what, void *arg)
{
    host *h = arg;
    char bytes[64];
    ssize_t size = read((int)fd, bytes, sizeof bytes);

    (void)what;
    if (size <= 0) return;
    h->echoes++;
    CHECK(write((int)fd, bytes, (size_t)size) == size);
}

static void
host_open(host *h)
{
    *h = (host){.base = event_base_new()};
    CHECK(h->base != NULL);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, h->sockets) == 0);
    h->tick = event_new(h->base, -1, EV_PERSIST, on_tick, h);
    h->echo = event_new(h->base, h->sockets[0], EV_READ | EV_PERSIST, on_echo, h);
    CHECK(event_add(h->tick, &soon) == 0 && event_add(h->echo, NULL) == 0);
}

static void
host_close(host *h)
{
    event_free(h->tick);
    event_free(h->echo);
    event_base_free(h->base);
    close(h->sockets[0]);
    close(h->sockets[1]);
}

/* The end of the program ends the loop around it. */
static void
leave(void *arg, asyncoro *rt, int end)
{
    host *h = arg;

    tell_end(&h->told, rt, end);
    event_base_loopbreak(h->base);
}

static void
host_error(void *arg, const char *text)
{
    host *h = arg;

    tell_error(&h->told, text);
}

static asyncoro_options
host_options(host *h)
{
    asyncoro_options options;

    asyncoro_options_init(&options, sizeof options);
    options.base = h->base;
    options.on_error = host_error;
    options.on_end = leave;
    options.arg = h;
    return options;
}

static int
l_write(lua_State *L)
{
    size_t size;
    const char *text = luaL_checklstring(L, 2, &size);

    lua_pushboolean(L, write((int)luaL_checkinteger(L, 1), text, size) == (ssize_t)size);
    return 1;
}

static int
l_read(lua_State *L)
{
    char bytes[64];
    ssize_t size = read((int)luaL_checkinteger(L, 1), bytes, sizeof bytes);

    if (size < 0) return 0;
    lua_pushlstring(L, bytes, (size_t)size);
    return 1;
}

static void
side_by_side(void)
{
    static const char script[] = "local a = require 'asyncoro'\n"
                                 "local fd = math.tointeger((...))\n"
                                 "for i = 1, 5 do\n"
                                 "  assert(write(fd, 'ping' .. i))\n"
                                 "  assert(a.wait_fd(fd, 'r', 20))\n"
                                 "  assert(read(fd) == 'ping' .. i)\n"
                                 "  a.sleep(0.003)\n"
                                 "end\n"
                                 "for i = 1, 2000 do a.yield() end\n"
                                 "a.spawn({name = 'bad'}, error, 'unseen')";
    host h;
    char digits[16];
    const char *argv[] = {digits};

    host_open(&h);
    asyncoro_options options = host_options(&h);
    asyncoro *rt = loaded(&options, script);
    lua_register(asyncoro_lua(rt), "write", l_write);
    lua_register(asyncoro_lua(rt), "read", l_read);
    snprintf(digits, sizeof digits, "%d", h.sockets[1]);
    CHECK(asyncoro_fd(rt) == ASYNCORO_EMISUSE && asyncoro_step(rt, 0) == ASYNCORO_EMISUSE);
    for (int i = 1; i <= 2; i++) {
        h.told.end = -1;
        CHECK(asyncoro_start(rt, 1, argv) == ASYNCORO_OK);
        CHECK(event_base_dispatch(h.base) == 0);
        CHECK(h.told.ends == i && h.told.end == ASYNCORO_FAILED && h.told.errors == i);
        CHECK(strstr(h.told.text, "coro bad failed: unseen") != NULL);
        CHECK(h.echoes == 5 * i && h.ticks > 0);
    }
    CHECK(asyncoro_close(rt) == ASYNCORO_OK);
    h.ticks = 0; /* the base goes on */
    CHECK(event_base_loop(h.base, EVLOOP_ONCE) == 0 && h.ticks == 1);
    host_close(&h);
}

/* A coro that never rests leaves the base its turns. */
static void
busy(void)
{
    host h;

    host_open(&h);
    asyncoro_options options = host_options(&h);
    asyncoro *rt = loaded(&options, "local a = require 'asyncoro' while true do a.yield() end");
    CHECK(asyncoro_start(rt, 0, NULL) == ASYNCORO_OK);
    while (h.ticks < 5)
        CHECK(event_base_loop(h.base, EVLOOP_ONCE) == 0);
    CHECK(asyncoro_stop(rt) == ASYNCORO_OK);
    CHECK(event_base_dispatch(h.base) == 0);
    CHECK(h.told.end == ASYNCORO_STOPPED);
    CHECK(asyncoro_close(rt) == ASYNCORO_OK);
    host_close(&h);
}

/* With no events of others the base ends when the program does: nothing of ours is left in it. */
static void
ends_by_itself(void)
{
    struct event_base *base = event_base_new();
    told t;
    asyncoro_options options = options_for(&t);

    options.base = base;
    asyncoro *one = loaded(&options, "require('asyncoro').sleep(0.005)");
    asyncoro *two = loaded(&options, "require('asyncoro').sleep(0.002) error 'two'");
    CHECK(event_base_dispatch(base) == 1); /* nothing to do */
    CHECK(asyncoro_start(one, 0, NULL) == ASYNCORO_OK);
    CHECK(asyncoro_start(two, 0, NULL) == ASYNCORO_OK);
    CHECK(event_base_dispatch(base) == 1);
    CHECK(t.ends == 2 && t.errors == 1);
    CHECK(asyncoro_result(one) == ASYNCORO_FINISHED && asyncoro_result(two) == ASYNCORO_FAILED);
    CHECK(asyncoro_run(one, 0, NULL) == ASYNCORO_FINISHED); /* in one call, on the same base */
    CHECK(event_base_dispatch(base) == 1);
    CHECK(asyncoro_close(one) == ASYNCORO_OK);
    CHECK(asyncoro_close(two) == ASYNCORO_OK);
    event_base_free(base);
}

/* In the middle of the program, from a callback of the base, without waiting for anything in it. */
static void
close_it(evutil_socket_t fd, short what, void *arg)
{
    host *h = arg;

    (void)fd;
    (void)what;
    CHECK(asyncoro_close(h->rt) == ASYNCORO_OK);
    h->rt = NULL;
}

static void
close_in_callback(double grace)
{
    static const char script[] = "warn('@on')\n"
                                 "local a = require 'asyncoro'\n"
                                 "a.atexit(function() warn('atexit') end)\n"
                                 "local g <close> = setmetatable({}, {__close = function()\n"
                                 "  warn(pcall(a.sleep, 0.001) and 'slept' or 'cut')\n"
                                 "end})\n"
                                 "a.wait_fd(math.tointeger((...)), 'r')";
    host h;
    char digits[16];
    const char *argv[] = {digits};

    host_open(&h);
    snprintf(digits, sizeof digits, "%d", h.sockets[1]);
    asyncoro_options options = host_options(&h);
    options.grace = grace;
    h.rt = loaded(&options, script);
    CHECK(asyncoro_start(h.rt, 1, argv) == ASYNCORO_OK);
    struct event *closer = event_new(h.base, -1, 0, close_it, &h);
    CHECK(event_add(closer, &soon) == 0);
    while (h.rt != NULL)
        CHECK(event_base_loop(h.base, EVLOOP_ONCE) == 0);
    CHECK(strcmp(h.told.text, grace > 0 ? "slept\natexit\n" : "cut\natexit\n") == 0);
    event_free(closer);
    CHECK(event_base_loop(h.base, EVLOOP_ONCE) == 0);
    host_close(&h);
}

/* on_end may do everything: begin again, and close. */
static void
again_and_close(void *arg, asyncoro *rt, int end)
{
    told *t = arg;

    tell_end(t, rt, end);
    if (t->ends < 3)
        CHECK(asyncoro_start(rt, 0, NULL) == ASYNCORO_OK);
    else
        CHECK(asyncoro_close(rt) == ASYNCORO_OK);
}

static void
from_on_end(bool with_base)
{
    struct event_base *base = event_base_new();
    told t;
    asyncoro_options options = options_for(&t);

    options.on_end = again_and_close;
    if (with_base) options.base = base;
    asyncoro *rt = loaded(&options, "require('asyncoro').sleep(0.001)");
    CHECK(asyncoro_start(rt, 0, NULL) == ASYNCORO_OK);
    if (with_base) CHECK(event_base_dispatch(base) == 1);
    while (!with_base && t.ends < 3)
        asyncoro_step(rt, -1);
    CHECK(t.ends == 3 && t.end == ASYNCORO_FINISHED);
    event_base_free(base);
}

/* Posts of other threads wake the base. */
static void *
post_all(void *arg)
{
    static const unsigned char nil[] = {0xc0};
    asyncoro_handle *handle = arg;

    for (int i = 0; i < 100; i++) {
        unsigned char byte = (unsigned char)i;
        CHECK(asyncoro_post(handle, &byte, 1) == ASYNCORO_OK);
    }
    CHECK(asyncoro_post(handle, nil, 1) == ASYNCORO_OK);
    return NULL;
}

static void
posts(void)
{
    struct event_base *base = event_base_new();
    told t;
    asyncoro_options options = options_for(&t);
    asyncoro_handle *handle;
    pthread_t thread;

    options.base = base;
    asyncoro *rt = loaded(&options, "local a = require 'asyncoro'\n"
                                    "a.current():register('sink')\n"
                                    "local want = 0\n"
                                    "for n in a.messages() do\n"
                                    "  assert(n == want) want = want + 1\n"
                                    "end\n"
                                    "assert(want == 100)");
    CHECK(asyncoro_start(rt, 0, NULL) == ASYNCORO_OK);
    while (asyncoro_handle_find(rt, "sink", &handle) != ASYNCORO_OK)
        CHECK(event_base_loop(base, EVLOOP_ONCE) == 0);
    CHECK(pthread_create(&thread, NULL, post_all, handle) == 0);
    CHECK(event_base_dispatch(base) == 1);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(t.ends == 1 && t.end == ASYNCORO_FINISHED);
    CHECK(asyncoro_close(rt) == ASYNCORO_OK);
    CHECK(asyncoro_post(handle, "\1", 1) == ASYNCORO_ENOTFOUND);
    asyncoro_handle_unref(handle);
    event_base_free(base);
}

int
main(void)
{
    side_by_side();
    busy();
    ends_by_itself();
    close_in_callback(0);
    close_in_callback(0.1);
    from_on_end(true);
    from_on_end(false);
    posts();
    puts("ok");
    return 0;
}
