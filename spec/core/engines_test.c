/* SPDX-License-Identifier: MIT */
/* engines_test.c -- several engines in one process: four states on four threads that know nothing
 * of each other, isolates of one that talk, and a fork after which both sides go on. */
#include "bindings/acl.h"
#include "bindings/fork.h"
#include "bindings/run.h"
#include "bindings/state.h"
#include "spec/core/check.h"

#include <lualib.h>
#include <pthread.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ENGINES = 4 };

static lua_State *
state_new(void)
{
    lua_State *L = acl_state_new(0);

    CHECK(L != NULL);
    lua_pushcfunction(L, acl_state_open_libs);
    CHECK(lua_pcall(L, 0, 0, 0) == LUA_OK);
    return L;
}

static void
run_script(lua_State *L, const char *script)
{
    if (luaL_dostring(L, script) != LUA_OK) {
        fprintf(stderr, "%s\n", lua_tostring(L, -1));
        CHECK(false);
    }
}

static const char alone[] =
    "local asyncoro = require 'asyncoro'\n"
    "for _ = 1, 3 do\n"
    "    asyncoro.run(function()\n"
    "        local echo = asyncoro.spawn({daemon = true}, function()\n"
    "            for message, reply in asyncoro.messages() do reply(message) end\n"
    "        end)\n"
    "        assert(echo:register 'echo')\n" /* four engines, four processes: each its own names */
    "        assert(asyncoro.locate 'echo' == echo)\n"
    "        local coros = {}\n"
    "        for i = 1, 100 do\n"
    "            coros[i] = asyncoro.spawn(function(n)\n"
    "                asyncoro.sleep(0.0001 * (n % 7))\n"
    "                return echo:call(n)\n"
    "            end, i)\n"
    "        end\n"
    "        for i = 1, 100 do assert(select(2, coros[i]:finish()) == i) end\n"
    "        echo:unregister 'echo'\n"
    "    end)\n"
    "end\n";

static void *
engine_alone(void *arg)
{
    lua_State *L = state_new();

    (void)arg;
    run_script(L, alone);
    acl_state_close(L);
    return NULL;
}

static void
test_alone(void)
{
    pthread_t threads[ENGINES];

    for (int i = 0; i < ENGINES; i++)
        CHECK(pthread_create(&threads[i], NULL, engine_alone, NULL) == 0);
    for (int i = 0; i < ENGINES; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
}

/* Kept small: it runs under the thread sanitizer. `load` keeps the text, so functions can be
 * shipped. */
static const char together[] =
    "local asyncoro = require 'asyncoro'\n"
    "asyncoro.run(function()\n"
    "    local home = asyncoro.current()\n"
    "    home:register 'home'\n"
    "    local ring = {}\n"
    "    for i = 1, 4 do\n"
    "        ring[i] = assert(asyncoro.isolate({mailbox = 8}, function(n)\n"
    "            local peers = asyncoro.receive()\n"
    "            asyncoro.locate('home'):send {'ready', n}\n"
    "            for message, reply in asyncoro.messages() do\n"
    "                if reply then\n"
    "                    reply(message + n)\n"
    "                elseif message.hops > 0 then\n"
    "                    message.hops = message.hops - 1\n"
    "                    peers[n % 4 + 1]:send(message)\n"
    "                else\n"
    "                    message.home:send(message)\n"
    "                end\n"
    "            end\n"
    "            return n\n"
    "        end, i))\n"
    "        asyncoro.monitor(ring[i])\n"
    "    end\n"
    "    for i = 1, 4 do ring[i]:send(ring) end\n"
    "    for _ = 1, 4 do assert(asyncoro.receive()[1] == 'ready') end\n"
    "    ring[1]:send {hops = 400, home = home}\n"
    "    assert(asyncoro.receive().hops == 0)\n"
    "    for i = 1, 200 do assert(ring[i % 4 + 1]:call(i) == i + i % 4 + 1) end\n"
    "    for i = 1, 4 do ring[i]:send(nil) end\n"
    "    for i = 1, 4 do assert(select(2, ring[i]:finish()) == i) end\n"
    "    for _ = 1, 4 do assert(asyncoro.receive().reason == 'finished') end\n"
    "    local stuck = asyncoro.isolate(function() while true do asyncoro.now() end end)\n"
    "    stuck:terminate()\n"
    "    assert(select(2, stuck:finish()) == 'terminated')\n"
    "end)\n";

static void
test_together(void)
{
    lua_State *L = state_new();

    run_script(L, together);
    acl_state_close(L);
}

/* A state that is closed while isolates run, without a program that would have ended them. */
static void
test_close(void)
{
    lua_State *L = state_new();

    run_script(L,
               "local asyncoro = require 'asyncoro'\n"
               "pcall(asyncoro.run, function()\n"
               "    for i = 1, 3 do\n"
               "        local home = asyncoro.current()\n"
               "        asyncoro.isolate(function(to) to:send(1) asyncoro.sleep(100) end, home)\n"
               "        asyncoro.receive()\n"
               "    end\n"
               "    require 'asyncoro.core'.set_grace(0.001)\n"
               "    error 'over'\n"
               "end)\n");
    acl_state_close(L);
}

/* What a zygote does: load, run, fork; both sides run what was loaded, and more of it. */
static void
test_fork(void)
{
    lua_State *L = state_new();
    int status;

    run_script(L, "asyncoro = require 'asyncoro'\n"
                  "function work(n)\n"
                  "    return asyncoro.run(function()\n"
                  "        local coro = asyncoro.spawn(function() return asyncoro.receive() end)\n"
                  "        asyncoro.sleep(0.001)\n"
                  "        coro:send(n)\n"
                  "        return select(2, coro:finish())\n"
                  "    end)\n"
                  "end\n"
                  "assert(work(1) == 1)\n");
    acl_engine *e = acl_engine_get(L);
    CHECK(acl_prefork(e) == ACO_OK);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0)
        acl_postfork_child(L, e);
    else
        acl_postfork_parent(L, e);
    run_script(L, "assert(work(2) == 2)\n"
                  "asyncoro.run(function()\n"
                  "    local isolate = asyncoro.isolate(function(n) return n + 1 end, 1)\n"
                  "    assert(select(2, isolate:finish()) == 2)\n"
                  "end)\n");
    acl_state_close(L);
    if (pid == 0) _exit(0);
    CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int
main(void)
{
    test_alone();
    test_together();
    test_close();
    test_fork();
    return 0;
}
