/* SPDX-License-Identifier: MIT */
/* step_test.c -- programs driven turn by turn, by the descriptor, stopped and closed in the middle.
 */
#include "embed.h"

#include <lauxlib.h>
#include <lua.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <time.h>
#include <unistd.h>

enum { LONG = 20000 /* milliseconds: a failure, never waited for */ };

static int
number(asyncoro *rt, const char *name)
{
    lua_State *L = asyncoro_lua(rt);

    lua_getglobal(L, name);
    int value = (int)lua_tointeger(L, -1);
    lua_pop(L, 1);
    return value;
}

static double
now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static bool
readable(int fd, int milliseconds)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    return poll(&p, 1, milliseconds) == 1;
}

static void
steps(void)
{
    told t;
    asyncoro_options options = options_for(&t);
    asyncoro *rt = loaded(&options, "local a = require 'asyncoro'\n"
                                    "n = 1 a.yield() n = 2 a.sleep(0.01) n = 3 a.sleep(30)");

    CHECK(asyncoro_start(rt, 0, NULL) == ASYNCORO_OK);
    CHECK(number(rt, "n") == 0); /* it runs in a step only */
    CHECK(asyncoro_step(rt, 0) == 1);
    CHECK(number(rt, "n") >= 1);
    while (number(rt, "n") < 2)
        CHECK(asyncoro_step(rt, 0) == 1);
    double begin = now();
    CHECK(asyncoro_step(rt, 20) == 1); /* waits for the coro, and runs it */
    CHECK(number(rt, "n") == 3 && now() - begin < 15);
    begin = now();
    CHECK(asyncoro_step(rt, 0.02) == 1);
    CHECK(now() - begin >= 0.02);
    begin = now();
    CHECK(asyncoro_step(rt, 0) == 1);
    CHECK(now() - begin < 15);
    CHECK(asyncoro_run(rt, 0, NULL) == ASYNCORO_EMISUSE); /* one program at a time */
    CHECK(asyncoro_own(rt) == ASYNCORO_EMISUSE);
    CHECK(asyncoro_stop(rt) == ASYNCORO_OK);
    while (asyncoro_step(rt, -1) == 1)
        continue;
    CHECK(t.ends == 1 && t.end == ASYNCORO_STOPPED && t.errors == 0);
    CHECK(asyncoro_step(rt, -1) == 0); /* does not wait for what is over */
    CHECK(t.ends == 1);
    CHECK(asyncoro_close(rt) == ASYNCORO_OK);
}

/* Scripts as coros of one program. */
static void
more_scripts(void)
{
    static const char script[] = "local id = ... ; local a = require 'asyncoro'\n"
                                 "order = (order or '') .. id a.sleep(0.001)\n"
                                 "if id == '2' then error 'two' end\n"
                                 "order = order .. id";
    const char *ids[] = {"1", "2", "3"};
    told t;
    asyncoro_options options = options_for(&t);
    asyncoro *rt = loaded(&options, script);

    for (int i = 0; i < 3; i++)
        CHECK(asyncoro_start(rt, 1, &ids[i]) == ASYNCORO_OK);
    while (asyncoro_step(rt, -1) == 1)
        continue;
    CHECK(asyncoro_result(rt) == ASYNCORO_FAILED);
    CHECK(t.ends == 1 && t.errors == 1 && strstr(t.text, "two") != NULL);
    lua_getglobal(asyncoro_lua(rt), "order");
    const char *order = lua_tostring(asyncoro_lua(rt), -1);
    CHECK(strcmp(order, "12313") == 0 || strcmp(order, "12331") == 0);
    CHECK(asyncoro_close(rt) == ASYNCORO_OK);
}

/* A loop that does nothing but wait for the descriptor. Returns how often it was ready. */
static int
drive(asyncoro *rt, int fd)
{
    int count = 0;

    do {
        CHECK(readable(fd, LONG));
        count++;
    } while (asyncoro_step(rt, 0) == 1);
    return count;
}

static void
descriptor(void)
{
    static const char script[] = "local a = require 'asyncoro'\n"
                                 "local fd = tonumber((...))\n"
                                 "for i = 1, 3 do a.sleep(0.002) end\n"
                                 "assert(a.wait_fd(fd, 'r', 20))\n"
                                 "assert(a.wait_fd(fd, 'w', 0) == nil)\n"
                                 "local c = a.spawn(function() return a.receive(20) end)\n"
                                 "a.yield() c:send('x')\n"
                                 "assert(select(2, c:finish()) == 'x')";
    told t;
    asyncoro_options options = options_for(&t);
    asyncoro *rt = loaded(&options, script);
    int pipes[2];
    char digits[16], byte = 'x';
    const char *argv[] = {digits};

    CHECK(pipe(pipes) == 0);
    snprintf(digits, sizeof digits, "%d", pipes[0]);
    int fd = asyncoro_fd(rt);
    CHECK(fd >= 0 && asyncoro_fd(rt) == fd);
    CHECK(!readable(fd, 0));
    CHECK(asyncoro_start(rt, 1, argv) == ASYNCORO_OK);
    CHECK(write(pipes[1], &byte, 1) == 1);
    int count = drive(rt, fd);
    CHECK(asyncoro_result(rt) == ASYNCORO_FINISHED && t.errors == 0);
    CHECK(count < 60);       /* it was not readable all the time */
    CHECK(!readable(fd, 0)); /* and is not when all is over */
    CHECK(asyncoro_close(rt) == ASYNCORO_OK);
    close(pipes[0]);
    close(pipes[1]);
}

/* The descriptor is asked for when a coro already waits for one; once over it is quiet. */
static void
late_descriptor(void)
{
    static const char script[] = "local a = require 'asyncoro'\n"
                                 "local fd = tonumber((...))\n"
                                 "assert(a.wait_fd(fd, 'r')) n = 1\n"
                                 "a.sleep(30)";
    told t;
    asyncoro_options options = options_for(&t);
    asyncoro *rt = loaded(&options, script);
    int pipes[2];
    char digits[16], byte = 'x';
    const char *argv[] = {digits};

    CHECK(pipe(pipes) == 0);
    snprintf(digits, sizeof digits, "%d", pipes[0]);
    CHECK(asyncoro_start(rt, 1, argv) == ASYNCORO_OK);
    CHECK(asyncoro_step(rt, 0) == 1);
    int fd = asyncoro_fd(rt);
    while (readable(fd, 0)) /* there was one more turn in it, perhaps */
        CHECK(asyncoro_step(rt, 0) == 1);
    CHECK(write(pipes[1], &byte, 1) == 1);
    while (number(rt, "n") == 0) {
        CHECK(readable(fd, LONG));
        CHECK(asyncoro_step(rt, 0) == 1);
    }
    while (readable(fd, 0)) /* must come to rest, though the pipe is still readable */
        CHECK(asyncoro_step(rt, 0) == 1);
    CHECK(asyncoro_close(rt) == ASYNCORO_OK);
    close(pipes[0]);
    close(pipes[1]);
}

static void *
stop_it(void *arg)
{
    struct timespec ts = {.tv_nsec = 5000000};

    nanosleep(&ts, NULL);
    CHECK(asyncoro_stop(arg) == ASYNCORO_OK);
    return NULL;
}

/* From another thread: a program that waits, and, with the leash, one that computes. */
static void
stop_from_thread(const char *script, unsigned flags)
{
    told t;
    asyncoro_options options = options_for(&t);
    pthread_t thread;

    options.flags = flags;
    asyncoro *rt = loaded(&options, script);
    CHECK(pthread_create(&thread, NULL, stop_it, rt) == 0);
    CHECK(asyncoro_run(rt, 0, NULL) == ASYNCORO_STOPPED);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(t.end == ASYNCORO_STOPPED);
    CHECK(asyncoro_close(rt) == ASYNCORO_OK);
}

#define GUARD                                                                                      \
    "local a = require 'asyncoro'\n"                                                               \
    "warn('@on')\n"                                                                                \
    "local function guard(name)\n  n = (n or 0) + 1\n"                                             \
    "  return setmetatable({}, {__close = function()\n"                                            \
    "    warn(name .. (pcall(a.sleep, 0.001) and ' slept' or ' was cut'))\n"                       \
    "  end})\n"                                                                                    \
    "end\n"                                                                                        \
    "a.atexit(function() warn('atexit') end)\n"

/* Close when `guards` handlers are there, and so many steps after that; how long it took. */
static double
close_after(told *t, const char *script, int guards, int steps, double grace)
{
    asyncoro_options options = options_for(t);

    options.grace = grace;
    asyncoro *rt = loaded(&options, script);
    CHECK(asyncoro_start(rt, 0, NULL) == ASYNCORO_OK);
    while (number(rt, "n") < guards)
        CHECK(asyncoro_step(rt, -1) == 1);
    for (int i = 0; i < steps; i++)
        CHECK(asyncoro_step(rt, i * 0.002) == 1);
    double begin = now();
    CHECK(asyncoro_close(rt) == ASYNCORO_OK);
    CHECK(t->ends == 0);
    return now() - begin;
}

/* Handlers run, in the middle of anything; with a grace they may wait. */
static void
close_in_mid_run(void)
{
    static const char script[] = GUARD
        "a.spawn(function() local g <close> = guard 'sleeper' a.sleep(1000) end)\n"
        "a.spawn({daemon = true}, function() local g <close> = guard 'daemon' a.receive() end)\n"
        "local gen = coroutine.wrap(function()\n"
        "  local g <close> = guard 'generator' a.sleep(1000)\n"
        "end)\n"
        "gen()";
    told t;

    CHECK(close_after(&t, script, 0, 0, 0) < LONG / 1000);
    CHECK(t.errors == 0); /* nothing has run, and nothing ran */
    for (int steps = 0; steps < 3; steps++) {
        close_after(&t, script, 3, steps, 0);
        CHECK(strstr(t.text, "sleeper was cut") != NULL);
        CHECK(strstr(t.text, "daemon was cut") != NULL);
        CHECK(strstr(t.text, "generator was cut") != NULL);
        CHECK(t.errors == 4 && strcmp(strrchr(t.text, 'a'), "atexit\n") == 0);
        CHECK(close_after(&t, script, 3, steps, LONG) <
              LONG / 1000); /* when all have ended, it is over */
        CHECK(strstr(t.text, "sleeper slept") != NULL);
        CHECK(strstr(t.text, "daemon slept") != NULL);
        CHECK(strstr(t.text, "generator slept") != NULL);
        CHECK(t.errors == 4 && strcmp(strrchr(t.text, 'a'), "atexit\n") == 0);
    }
}

#ifndef UNDER_TSAN /* whose own stack overflows when many thousand errors are raised in a row */
/* Those that will not end are cut off, and nobody suffers from them. */
static void
close_against_will(void)
{
    static const char script[] =
        GUARD "a.spawn(function() while true do pcall(a.sleep, 1000) end end)\n"
              "a.spawn(function() a.sleep(0.001) while true do pcall(a.yield) end end)\n"
              "a.spawn(function() a.shield(function()\n"
              "  local g <close> = guard 'shielded' a.sleep(1000)\n"
              "end) end)\n"
              "local g <close> = guard 'main' a.sleep(1000)\n";
    told t;

    for (int steps = 0; steps < 3; steps++) {
        close_after(&t, script, 2, steps, 0);
        CHECK(strstr(t.text, "shielded was cut") != NULL); /* its thread was closed */
        CHECK(strstr(t.text, "main was cut") != NULL);
        CHECK(t.errors == 3 && strcmp(strrchr(t.text, 'a'), "atexit\n") == 0);
    }
}

/* Even one that computes, without any leash. */
static void
close_while_computing(void)
{
    told t;
    asyncoro_options options = options_for(&t);
    asyncoro *rt = loaded(&options, "local a = require 'asyncoro'\n"
                                    "a.spawn(function()\n"
                                    "  local ok = pcall(a.sleep, 1000)\n"
                                    "  while true do pcall(function() while true do end end) end\n"
                                    "end)");

    CHECK(asyncoro_start(rt, 0, NULL) == ASYNCORO_OK);
    for (int i = 0; i < 3; i++)
        CHECK(asyncoro_step(rt, 0) == 1);
    CHECK(asyncoro_close(rt) == ASYNCORO_OK);
}

#else
static void
close_against_will(void)
{
}

static void
close_while_computing(void)
{
}
#endif

int
main(void)
{
    steps();
    more_scripts();
    descriptor();
    late_descriptor();
    stop_from_thread("require('asyncoro').sleep(1000)", 0);
    /* the thread sanitizer delivers signals in calls of libc only */
    stop_from_thread("while true do string.format('%d', 1) end", ASYNCORO_LEASH);
    close_in_mid_run();
    close_against_will();
    close_while_computing();
    puts("ok");
    return 0;
}
