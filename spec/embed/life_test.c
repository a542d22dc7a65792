/* SPDX-License-Identifier: MIT */
/* life_test.c -- runtimes from asyncoro_new to asyncoro_close: scripts, ends, errors, misuse,
 * memory. */
#include "embed.h"

#include <lauxlib.h>
#include <lua.h>
#include <pthread.h>
#include <unistd.h>

static void
defaults(void)
{
    asyncoro *rt = asyncoro_new(NULL);

    CHECK(rt != NULL);
    CHECK(asyncoro_result(rt) == -1);
    CHECK(strcmp(asyncoro_last_error(rt), "") == 0);
    CHECK(asyncoro_step(rt, 0) == 0);
    CHECK(asyncoro_run(rt, 0, NULL) == ASYNCORO_EMISUSE);
    CHECK(asyncoro_start(rt, 0, NULL) == ASYNCORO_EMISUSE);
    CHECK(strstr(asyncoro_last_error(rt), "no script") != NULL);
    CHECK(asyncoro_close(rt) == ASYNCORO_OK);
    CHECK(asyncoro_close(NULL) == ASYNCORO_OK);
    CHECK(strlen(asyncoro_version()) >= 5);
    CHECK(strcmp(asyncoro_code_text(ASYNCORO_ETIMEOUT), "timed out") == 0);
    CHECK(strcmp(asyncoro_code_text(ASYNCORO_OK), "success") == 0);
    CHECK(strcmp(asyncoro_code_text(17), "unknown code") == 0);
    CHECK(strcmp(asyncoro_code_text(-1000), "unknown code") == 0);
    for (int code = ASYNCORO_EMISUSE; code < 0; code++)
        CHECK(strcmp(asyncoro_code_text(code), "unknown code") != 0);
}

/* An older program, whose options were shorter. */
static void
old_options(void)
{
    asyncoro_options options;

    memset(&options, 0xff, sizeof options);
    asyncoro_options_init(&options, offsetof(asyncoro_options, memory_limit));
    asyncoro *rt = asyncoro_new(&options);
    CHECK(rt != NULL);
    CHECK(asyncoro_close(rt) == ASYNCORO_OK);
}

static void
arguments(void)
{
    static const char script[] = "local a, b = ...\n"
                                 "assert(a == 'one' and b == 'two' and select('#', ...) == 2)\n"
                                 "require('asyncoro').sleep(0.001)\n"
                                 "runs = (runs or 0) + 1\n";
    const char *argv[] = {"one", "two"};
    told t;
    asyncoro_options options = options_for(&t);
    asyncoro *rt = loaded(&options, script);

    for (int i = 1; i <= 3; i++) { /* a loaded script runs as often as one likes */
        CHECK(asyncoro_run(rt, 2, argv) == ASYNCORO_FINISHED);
        CHECK(t.ends == i && t.end == ASYNCORO_FINISHED && t.errors == 0);
        lua_getglobal(asyncoro_lua(rt), "runs");
        CHECK(lua_tointeger(asyncoro_lua(rt), -1) == i);
        lua_pop(asyncoro_lua(rt), 1);
    }
    CHECK(asyncoro_result(rt) == ASYNCORO_FINISHED);
    CHECK(lua_gettop(asyncoro_lua(rt)) == 0);
    CHECK(asyncoro_close(rt) == ASYNCORO_OK);
    CHECK(t.ends == 3);
}

static void
load_errors(void)
{
    told t;
    asyncoro_options options = options_for(&t);
    asyncoro *rt = asyncoro_new(&options);
    char path[] = "/tmp/asyncoro-embed-XXXXXX";

    CHECK(asyncoro_load(rt, "return +", 8, "broken") == ASYNCORO_ESYNTAX);
    CHECK(strncmp(asyncoro_last_error(rt), "broken:1:", 9) == 0);
    CHECK(asyncoro_load(rt, LUA_SIGNATURE "x", 5, NULL) == ASYNCORO_ESYNTAX);
    CHECK(strstr(asyncoro_last_error(rt), "binary") != NULL);
    CHECK(asyncoro_load(rt, NULL, 0, NULL) == ASYNCORO_EINVALID);
    CHECK(asyncoro_load_file(rt, "/nowhere/at/all.lua") == ASYNCORO_ENOTFOUND);
    CHECK(strstr(asyncoro_last_error(rt), "/nowhere/at/all.lua") != NULL);

    int fd = mkstemp(path);
    CHECK(fd >= 0 && write(fd, "return )", 8) == 8);
    CHECK(asyncoro_load_file(rt, path) == ASYNCORO_ESYNTAX);
    CHECK(lseek(fd, 0, SEEK_SET) == 0 && write(fd, "x = 42  ", 8) == 8 && close(fd) == 0);
    CHECK(asyncoro_load_file(rt, path) == ASYNCORO_OK);
    unlink(path);
    CHECK(asyncoro_run(rt, 0, NULL) == ASYNCORO_FINISHED);
    lua_getglobal(asyncoro_lua(rt), "x");
    CHECK(lua_tointeger(asyncoro_lua(rt), -1) == 42);
    lua_settop(asyncoro_lua(rt), 0);
    CHECK(t.errors == 0); /* whoever calls is told */
    CHECK(asyncoro_close(rt) == ASYNCORO_OK);
}

static void
ends(void)
{
    told t;
    asyncoro_options options = options_for(&t);

    CHECK(run_script(&options, "local function f() error('boom') end f()") == ASYNCORO_FAILED);
    CHECK(t.errors == 1 && strstr(t.text, "test:1: boom\nstack traceback:") == t.text);

    options = options_for(&t);
    CHECK(run_script(&options, "error({code = 7})") == ASYNCORO_FAILED);
    CHECK(strcmp(t.text, "(error object is a table value)\n") == 0);

    options = options_for(&t);
    CHECK(run_script(&options, "require('asyncoro').spawn({name = 'lonely'}, error, 'unseen')") ==
          ASYNCORO_FAILED);
    CHECK(t.errors == 1 && strstr(t.text, "coro lonely failed: unseen") != NULL);

    options = options_for(&t);
    CHECK(run_script(&options, "require('asyncoro').receive()") == ASYNCORO_DEADLOCK);
    CHECK(t.errors == 1 && strstr(t.text, "deadlock:") == t.text);

    options = options_for(&t); /* somebody may post to it, so that is none */
    CHECK(run_script(&options, "local a = require('asyncoro')\n"
                               "a.current():register('open')\n"
                               "local _, _, code = a.receive(0.02)\n"
                               "assert(code == 'timeout')") == ASYNCORO_FINISHED);

    options = options_for(&t);
    CHECK(run_script(&options, "warn('@on') warn('mind ', 'the gap') warn('@off') warn('x')") ==
          ASYNCORO_FINISHED);
    CHECK(strcmp(t.text, "mind the gap\n") == 0);

    options = options_for(&t);
    CHECK(run_script(&options, "require('asyncoro').atexit(function() error('late', 0) end)") ==
          ASYNCORO_FINISHED);
    CHECK(strstr(t.text, "atexit: late") == t.text);

    asyncoro_options silent; /* no on_error: nobody is told, and nothing is printed */
    asyncoro_options_init(&silent, sizeof silent);
    CHECK(run_script(&silent, "warn('@on') warn('x') error('quiet')") == ASYNCORO_FAILED);
}

/* After a failure the runtime goes on. */
static void
after_errors(void)
{
    told t;
    asyncoro_options options = options_for(&t);
    asyncoro *rt = loaded(&options, "closed = 0\n"
                                    "require('asyncoro').spawn(function()\n"
                                    "  local c <close> = setmetatable({}, {__close = function()\n"
                                    "    closed = closed + 1 end})\n"
                                    "  require('asyncoro').receive()\n"
                                    "end)\n"
                                    "require('asyncoro').yield()\n"
                                    "error('first')");

    CHECK(asyncoro_run(rt, 0, NULL) == ASYNCORO_FAILED);
    CHECK(strstr(asyncoro_last_error(rt), "first") != NULL);
    CHECK(asyncoro_load(rt, "assert(closed == 1)", 19, "second") == ASYNCORO_OK);
    CHECK(asyncoro_run(rt, 0, NULL) == ASYNCORO_FINISHED);
    CHECK(asyncoro_close(rt) == ASYNCORO_OK);
}

/* Misuse is refused, and does no harm. */
static asyncoro *here;

static int
from_inside(lua_State *L)
{
    CHECK(asyncoro_close(here) == ASYNCORO_EMISUSE);
    CHECK(asyncoro_run(here, 0, NULL) == ASYNCORO_EMISUSE);
    CHECK(asyncoro_start(here, 0, NULL) == ASYNCORO_EMISUSE);
    CHECK(asyncoro_step(here, 0) == ASYNCORO_EMISUSE);
    CHECK(asyncoro_fd(here) == ASYNCORO_EMISUSE);
    CHECK(asyncoro_own(here) == ASYNCORO_EMISUSE);
    CHECK(asyncoro_load(here, "", 0, NULL) == ASYNCORO_EMISUSE);
    lua_pushboolean(L, 1);
    return 1;
}

static void *
from_elsewhere(void *arg)
{
    (void)arg;
    CHECK(asyncoro_close(here) == ASYNCORO_EMISUSE);
    CHECK(asyncoro_run(here, 0, NULL) == ASYNCORO_EMISUSE);
    CHECK(asyncoro_step(here, 0) == ASYNCORO_EMISUSE);
    return NULL;
}

static void *
take_over(void *arg)
{
    (void)arg;
    CHECK(asyncoro_own(here) == ASYNCORO_OK);
    CHECK(asyncoro_run(here, 0, NULL) == ASYNCORO_FINISHED);
    return NULL;
}

static void
in_thread(void *(*function)(void *))
{
    pthread_t thread;

    CHECK(pthread_create(&thread, NULL, function, NULL) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
}

static void
misuse(void)
{
    told t;
    asyncoro_options options = options_for(&t);

    here = loaded(&options, "assert(inside()) done = true");
    lua_register(asyncoro_lua(here), "inside", from_inside);
    in_thread(from_elsewhere);
    CHECK(asyncoro_run(here, 0, NULL) == ASYNCORO_FINISHED);
    in_thread(take_over);
    CHECK(asyncoro_close(here) == ASYNCORO_EMISUSE); /* the other thread's now */
    CHECK(asyncoro_own(here) == ASYNCORO_OK);
    CHECK(asyncoro_close(here) == ASYNCORO_OK);
    CHECK(t.errors == 0);
}

/* A script that wants too much gets an error; the runtime goes on. */
static void
memory_limit(void)
{
    static const char greedy[] = "local t = {}\n"
                                 "for i = 1, 1e9 do t[i] = ('x'):rep(1000) .. i end\n";
    static const char careful[] = "local ok, err = pcall(string.rep, 'x', 1 << 30)\n"
                                  "assert(not ok and err == 'not enough memory')\n"
                                  "local a = require 'asyncoro'\n"
                                  "local c = a.spawn(function() return ('x'):rep(1 << 30) end)\n"
                                  "local _, err = c:finish()\n"
                                  "assert(err == 'not enough memory')\n";
    told t;
    asyncoro_options options = options_for(&t);

    options.memory_limit = 4 << 20;
    asyncoro *rt = loaded(&options, greedy);
    CHECK(asyncoro_run(rt, 0, NULL) == ASYNCORO_FAILED);
    CHECK(strstr(asyncoro_last_error(rt), "not enough memory") != NULL);
    CHECK(lua_gc(asyncoro_lua(rt), LUA_GCCOUNT) <= 4200);
    CHECK(asyncoro_load(rt, careful, strlen(careful), "careful") == ASYNCORO_OK);
    if (asyncoro_run(rt, 0, NULL) != ASYNCORO_FINISHED) puts(t.text);
    CHECK(asyncoro_result(rt) == ASYNCORO_FINISHED);
    CHECK(asyncoro_close(rt) == ASYNCORO_OK);

    options = options_for(&t); /* not even enough to begin */
    options.memory_limit = 1000;
    CHECK(asyncoro_new(&options) == NULL);
    CHECK(strcmp(t.text, "not enough memory\n") == 0);
}

/* An allocator that counts. */
static void *
counted(void *arg, void *ptr, size_t old_size, size_t new_size)
{
    size_t *used = arg;

    *used += new_size - (ptr != NULL ? old_size : 0);
    if (new_size > 0) return realloc(ptr, new_size);
    free(ptr);
    return NULL;
}

static void
allocator(void)
{
    size_t used = 0;
    told t;
    asyncoro_options options = options_for(&t);

    options.alloc = counted;
    options.alloc_arg = &used;
    asyncoro *rt = loaded(&options, "local t = {} for i = 1, 1000 do t[i] = {} end");
    CHECK(used > 10000);
    CHECK(asyncoro_run(rt, 0, NULL) == ASYNCORO_FINISHED);
    CHECK(asyncoro_close(rt) == ASYNCORO_OK);
    CHECK(used == 0);
    options.memory_limit = 2 << 20;
    CHECK(run_script(&options, "assert(not pcall(string.rep, 'x', 1 << 22))") == ASYNCORO_FINISHED);
    CHECK(used == 0);
}

int
main(void)
{
    defaults();
    old_options();
    arguments();
    load_errors();
    ends();
    after_errors();
    misuse();
    memory_limit();
    allocator();
    puts("ok");
    return 0;
}
