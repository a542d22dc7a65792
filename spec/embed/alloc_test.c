/* SPDX-License-Identifier: MIT */
/* alloc_test.c -- the life of a runtime again and again, each time with another allocation failing,
 * of Lua's or of ours, until it comes through: whoever calls is told, nothing crashes, hangs or is
 * left behind, and the runtime goes on afterwards.
 *
 * Two allocations fail in a row; in a second round all that follow do, until the phase is over.
 */
#include "embed.h"
#include "spec/core/failing.h"

static const char script[] =
    "local a = require 'asyncoro'\n"
    "a.atexit(function() a.sleep(0) end)\n"
    "local results = a.locate('results')\n"
    "local worker = a.spawn({name = 'worker'}, function(...)\n"
    "  local g <close> = setmetatable({}, {__close = function() a.yield() end})\n"
    "  for message in a.messages() do assert(results:send {message, 'done'}) end\n"
    "  return ...\n"
    "end, 1, 2)\n"
    "worker:register()\n"
    "local coros = {}\n"
    "for i = 1, 10 do coros[i] = a.spawn(function() a.sleep(0.0001) return {i} end) end\n"
    "for i = 1, 10 do assert(coros[i]:finish()) end\n"
    "a.with_timeout(0.0001, a.receive)\n"
    "local ok, one = worker:finish(5)\n"
    "assert(ok and one == 1)\n";

/* What is loaded at its first use is loaded then. */
static const char warm_up[] = "local a = require 'asyncoro' local _ = a.atexit a.shield(type, 1)";

enum phase { OPENING, LOADING, RUNNING, MIDDLE };

/* Post what the script waits for, and take its answers; false when there was no memory. */
static bool
talk(asyncoro *rt, asyncoro_mailbox *results, int *posted)
{
    static const unsigned char nil = 0xc0;
    asyncoro_handle *worker;
    asyncoro_message *m;

    while (asyncoro_mailbox_take(results, 0, &m) == ASYNCORO_OK)
        asyncoro_message_free(m);
    if (*posted == 3) return true;
    int found = asyncoro_handle_find(rt, "worker", &worker);
    if (found != ASYNCORO_OK) return found == ASYNCORO_ENOTFOUND;
    unsigned char byte = (unsigned char)*posted;
    int code = asyncoro_post(worker, *posted == 2 ? &nil : &byte, 1);
    if (code == ASYNCORO_OK) ++*posted;
    CHECK(code == ASYNCORO_OK || code == ASYNCORO_ENOMEM || code == ASYNCORO_ENOTFOUND);
    asyncoro_handle_unref(worker);
    return code != ASYNCORO_ENOMEM;
}

/* To the end, or, in the middle of it, to a close. */
static void
drive(asyncoro *rt, enum phase phase)
{
    asyncoro_mailbox *results;
    int posted = 0, failed = 0, code = asyncoro_mailbox_new(rt, "results", 0, &results);

    if (code != ASYNCORO_OK) {
        CHECK(code == ASYNCORO_ENOMEM || code == ASYNCORO_ESYSTEM);
        return;
    }
    code = asyncoro_start(rt, 0, NULL);
    CHECK(code == ASYNCORO_OK || code == ASYNCORO_ENOMEM || code == ASYNCORO_ERUNTIME);
    for (int i = 0; code == ASYNCORO_OK && asyncoro_step(rt, 0.01) == 1; i++) {
        CHECK(i < 10000);
        if (phase == MIDDLE && i == 3) break;
        if (!talk(rt, results, &posted) && ++failed == 3) CHECK(asyncoro_stop(rt) == ASYNCORO_OK);
    }
    asyncoro_mailbox_close(results);
}

/* One life; allocations fail from `after` on in that phase. Returns whether none of them had to. */
static bool
live(enum phase phase, long after, long count)
{
    asyncoro_options options;
    bool through;

    asyncoro_options_init(&options, sizeof options);
    options.alloc = allocate;
    options.alloc_arg = &lua_bytes;
    if (phase == OPENING) arm(after, count);
    asyncoro *rt = asyncoro_new(&options);
    if (phase == OPENING) {
        through = disarm(count);
        CHECK(!through || rt != NULL);
        if (rt != NULL) CHECK(asyncoro_close(rt) == ASYNCORO_OK);
        CHECK(lua_bytes == 0);
        return through;
    }
    CHECK(rt != NULL);
    CHECK(asyncoro_load(rt, warm_up, sizeof warm_up - 1, "warm") == ASYNCORO_OK);
    CHECK(asyncoro_run(rt, 0, NULL) == ASYNCORO_FINISHED);
    if (phase == LOADING) arm(after, count);
    int code = asyncoro_load(rt, script, sizeof script - 1, "alloc");
    if (phase == LOADING) {
        through = disarm(count);
        CHECK(code == ASYNCORO_OK || (!through && code == ASYNCORO_ENOMEM));
    } else {
        arm(after, count);
        drive(rt, phase);
        if (phase == MIDDLE) CHECK(asyncoro_close(rt) == ASYNCORO_OK);
        through = disarm(count);
        if (phase == RUNNING && through && asyncoro_result(rt) != ASYNCORO_FINISHED)
            puts(asyncoro_last_error(rt));
        if (phase == RUNNING) CHECK(!through || asyncoro_result(rt) == ASYNCORO_FINISHED);
    }
    if (phase != MIDDLE) { /* it goes on: a script that needs no memory of note */
        if (asyncoro_step(rt, 0) == 0) {
            CHECK(asyncoro_load(rt, "local x = 1", 11, "after") == ASYNCORO_OK);
            int end = asyncoro_run(rt, 0, NULL);
            if (end != 0) printf("after %ld: %d %s\n", after, end, asyncoro_last_error(rt));
            fflush(stdout);
            CHECK(end == ASYNCORO_FINISHED);
        }
        CHECK(asyncoro_close(rt) == ASYNCORO_OK);
    }
    CHECK(lua_bytes == 0);
    return through;
}

static void
fail_each(const char *name, enum phase phase, long count, long step)
{
    long n = 0;

#ifdef UNDER_TSAN /* many times slower */
    step *= 16;
#endif
    while (!live(phase, n, count))
        n += step;
    CHECK(n > 1); /* the wrappers are in force */
    printf("# %s: %ld allocations, %s\n", name, n, count > 2 ? "all failing" : "two failing");
}

int
main(void)
{
    const long all = 1000000;

    fail_each("opening", OPENING, 2, 7);
    fail_each("opening", OPENING, all, 31);
    fail_each("loading", LOADING, 2, 1);
    fail_each("loading", LOADING, all, 3);
    fail_each("running", RUNNING, 2, 1);
    fail_each("running", RUNNING, all, 1);
    fail_each("closing", MIDDLE, 2, 1);
    puts("ok");
    return 0;
}
