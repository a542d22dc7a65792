/* SPDX-License-Identifier: MIT */
/* network_test.c -- runtimes as processes of a network: each has its own, which starts only when it
 * is asked for and ends with the runtime; those that share names share it. */
#include "embed.h"

#include <lua.h>

#define START                                                                                      \
    "local asyncoro = require 'asyncoro'\n"                                                        \
    "local location = assert(asyncoro.network { secret = 'a secret for specs, and for no more',\n" \
    "    host = '127.0.0.1', discovery = false, linger = 1 })\n"

static const char echo[] = START "asyncoro.current():register 'echo'\n"
                                 "place = tostring(location)\n"
                                 "for message, reply in asyncoro.messages() do\n"
                                 "    if reply then reply(message) end\n"
                                 "end\n";

static asyncoro *
started(const asyncoro_options *options, const char *script, const char *argument)
{
    asyncoro *rt = loaded(options, script);

    CHECK(asyncoro_start(rt, argument != NULL, &argument) == ASYNCORO_OK);
    return rt;
}

static const char *
global(asyncoro *rt, const char *name)
{
    lua_State *L = asyncoro_lua(rt);

    lua_getglobal(L, name);
    const char *text = lua_tostring(L, -1);
    lua_pop(L, 1); /* the global holds it */
    return text;
}

/* A runtime that answers, and where. */
static asyncoro *
echo_start(const asyncoro_options *options)
{
    asyncoro *rt = started(options, echo, NULL);

    while (global(rt, "place") == NULL)
        CHECK(asyncoro_step(rt, 1) == 1);
    return rt;
}

static void
step_to_end(asyncoro *one, asyncoro *other)
{
    while (asyncoro_step(one, 0.001) == 1)
        if (other != NULL) asyncoro_step(other, 0.001);
}

static void
only_when_asked(void)
{
    told t;
    asyncoro_options options = options_for(&t);

    CHECK(run_script(&options, "local asyncoro = require 'asyncoro'\n"
                               "local _, message, code = asyncoro.peer('127.0.0.1:1')\n"
                               "assert(code == 'notfound' and message:find 'no network')\n"
                               "assert(select(3, asyncoro.locate('x', '127.0.0.1:1', 1)) == code)\n"
                               "assert(asyncoro.location() == nil)") == ASYNCORO_FINISHED);
    CHECK(t.errors == 0);
}

static void
talk(void)
{
    told t, u;
    asyncoro_options first = options_for(&t), second = options_for(&u);
    asyncoro *server = echo_start(&first);
    asyncoro *client = started(&second,
                               START "local far = assert(asyncoro.locate('echo', ..., 10))\n"
                                     "assert(far:call({far, location}, 10)[1] == far)\n"
                                     "assert(far:deliver('x', 10) == 1 and far:send(nil))\n"
                                     "assert(far:finish(10) == true)\n",
                               global(server, "place"));

    step_to_end(client, server);
    CHECK(asyncoro_result(client) == ASYNCORO_FINISHED && u.errors == 0);
    step_to_end(server, NULL);
    CHECK(asyncoro_result(server) == ASYNCORO_FINISHED && t.errors == 0);
    CHECK(asyncoro_close(client) == ASYNCORO_OK && asyncoro_close(server) == ASYNCORO_OK);
}

/* A runtime that is closed is a process that has gone. */
static void
loss(void)
{
    told t, u;
    asyncoro_options first = options_for(&t), second = options_for(&u);
    asyncoro *server = echo_start(&first);
    asyncoro *client = started(&second,
                               START "far = assert(asyncoro.locate('echo', ..., 10))\n"
                                     "asyncoro.monitor(far)\n"
                                     "assert(far:call('x', 10) == 'x')\n"
                                     "waits = 'yes'\n"
                                     "assert(asyncoro.receive(10).reason == 'terminated')\n"
                                     "local code = select(3, far:call('x', 10))\n"
                                     "assert(code == 'peerdown' or code == 'notfound', code)\n",
                               global(server, "place"));

    while (global(client, "waits") == NULL) {
        CHECK(asyncoro_step(client, 0.001) == 1);
        asyncoro_step(server, 0.001);
    }
    CHECK(asyncoro_close(server) == ASYNCORO_OK);
    step_to_end(client, NULL);
    CHECK(asyncoro_result(client) == ASYNCORO_FINISHED && u.errors == 0);
    CHECK(asyncoro_close(client) == ASYNCORO_OK);
}

static void
shared(void)
{
    told t, u;
    asyncoro_options first = options_for(&t), second = options_for(&u);
    asyncoro *server = echo_start(&first);

    second.share = server;
    CHECK(run_script(&second, "local asyncoro = require 'asyncoro'\n"
                              "assert(asyncoro.location())\n"
                              "assert(asyncoro.locate('echo'):location() == asyncoro.location())\n"
                              "asyncoro.locate('echo'):send(nil)\n") == ASYNCORO_FINISHED);
    step_to_end(server, NULL);
    CHECK(asyncoro_result(server) == ASYNCORO_FINISHED && t.errors == 0 && u.errors == 0);
    CHECK(asyncoro_close(server) == ASYNCORO_OK);
}

int
main(void)
{
    only_when_asked();
    talk();
    loss();
    shared();
    return 0;
}
