/* SPDX-License-Identifier: MIT */

/* The ceiling: what the stock Lua C API allows. A scheduler that does only what each workload
 * needs: tasks are Lua threads anchored in the registry, a ring of ready tasks, a ring of integers
 * as mailbox, a binary heap of sleepers. `ceiling WORKLOAD N` prints the figures. The script at the
 * end sees tasks as plain numbers. */

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef struct {
    lua_State *thread;
    lua_Integer *box; /* a ring of `size` messages, NULL until one has to wait */
    unsigned head, count, size;
    bool waiting;
} task;

typedef struct {
    double due;
    unsigned id;
} sleeper;

typedef struct {
    lua_State *L;
    task *tasks;
    unsigned *ready; /* a ring; its size is a power of two no less than the number of tasks */
    sleeper *heap;
    unsigned ntasks, capacity, mask, head, tail, nheap, current;
} world;

static double
now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void *
claim(size_t count, size_t size)
{
    void *memory = calloc(count, size);
    if (!memory) abort();
    return memory;
}

static world *
world_of(lua_State *L)
{
    return *(world **)lua_getextraspace(L);
}

static void
make_ready(world *w, unsigned id)
{
    w->ready[w->tail++ & w->mask] = id;
}

/* spawn(fn, ...) -> id */
static int
l_spawn(lua_State *L)
{
    world *w = world_of(L);
    unsigned id = w->ntasks++;
    int n = lua_gettop(L);
    if (id == w->capacity) abort();
    lua_State *thread = lua_newthread(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &w->tasks[id]);
    lua_xmove(L, thread, n);
    w->tasks[id].thread = thread;
    make_ready(w, id);
    lua_pushinteger(L, id);
    return 1;
}

static int
l_yield(lua_State *L)
{
    world *w = world_of(L);
    make_ready(w, w->current);
    return lua_yield(L, 0);
}

static int
l_receive(lua_State *L)
{
    world *w = world_of(L);
    task *t = &w->tasks[w->current];
    if (t->count > 0) {
        lua_pushinteger(L, t->box[t->head]);
        t->head = (t->head + 1) & (t->size - 1);
        t->count--;
        return 1;
    }
    t->waiting = true;
    return lua_yield(L, 0);
}

static void
box_push(task *t, lua_Integer msg)
{
    if (t->count == t->size) {
        unsigned size = t->size ? t->size * 2 : 8;
        lua_Integer *box = claim(size, sizeof *box);
        for (unsigned i = 0; i < t->count; i++)
            box[i] = t->box[(t->head + i) & (t->size - 1)];
        free(t->box);
        t->box = box;
        t->head = 0;
        t->size = size;
    }
    t->box[(t->head + t->count++) & (t->size - 1)] = msg;
}

/* send(id, integer): straight to the stack of a waiting receiver, else into its box */
static int
l_send(lua_State *L)
{
    world *w = world_of(L);
    unsigned id = (unsigned)lua_tointeger(L, 1);
    task *t = &w->tasks[id];
    if (t->waiting) {
        t->waiting = false;
        lua_pushinteger(t->thread, lua_tointeger(L, 2));
        make_ready(w, id);
    } else
        box_push(t, lua_tointeger(L, 2));
    return 0;
}

static int
l_sleep(lua_State *L)
{
    world *w = world_of(L);
    sleeper s = {now() + lua_tonumber(L, 1), w->current};
    unsigned i = w->nheap++;
    for (; i > 0 && s.due < w->heap[(i - 1) / 2].due; i = (i - 1) / 2)
        w->heap[i] = w->heap[(i - 1) / 2];
    w->heap[i] = s;
    return lua_yield(L, 0);
}

static unsigned
heap_pop(world *w)
{
    unsigned id = w->heap[0].id, i = 0, child;
    sleeper last = w->heap[--w->nheap];
    while ((child = 2 * i + 1) < w->nheap) {
        if (child + 1 < w->nheap && w->heap[child + 1].due < w->heap[child].due) child++;
        if (last.due <= w->heap[child].due) break;
        w->heap[i] = w->heap[child];
        i = child;
    }
    w->heap[i] = last;
    return id;
}

static int
l_now(lua_State *L)
{
    lua_pushnumber(L, now());
    return 1;
}

static int
l_rss(lua_State *L)
{
    FILE *file = fopen("/proc/self/statm", "r");
    long pages = 0;
    if (!file || fscanf(file, "%*d %ld", &pages) != 1) abort();
    fclose(file);
    lua_pushnumber(L, (double)pages * (double)sysconf(_SC_PAGESIZE));
    return 1;
}

/* spawn_batch(fn, n): n tasks start and finish, on threads that are used again */
static int
l_spawn_batch(lua_State *L)
{
    world *w = world_of(L);
    unsigned n = (unsigned)lua_tointeger(L, 2);
    int results;
    for (unsigned i = 0; i < n; i++) {
        lua_State *thread = w->tasks[i + 1].thread;
        if (!thread) {
            thread = w->tasks[i + 1].thread = lua_newthread(L);
            lua_rawsetp(L, LUA_REGISTRYINDEX, &w->tasks[i + 1]);
        }
        lua_pushvalue(L, 1);
        lua_xmove(L, thread, 1);
        make_ready(w, i + 1);
    }
    while (w->head != w->tail) {
        lua_State *thread = w->tasks[w->ready[w->head++ & w->mask]].thread;
        if (lua_resume(thread, L, 0, &results) != LUA_OK) abort();
        lua_settop(thread, 0);
    }
    return 0;
}

/* raw(fn, n): the bare pair; 100 threads that do nothing but yield, n resumes in all */
static int
l_raw(lua_State *L)
{
    lua_State *threads[100];
    long n = (long)lua_tointeger(L, 2);
    int results;
    luaL_checkstack(L, 100, NULL);
    for (int i = 0; i < 100; i++) {
        threads[i] = lua_newthread(L);
        lua_pushvalue(L, 1);
        lua_xmove(L, threads[i], 1);
    }
    for (long i = 0; i < n; i += 100)
        for (int j = 0; j < 100; j++)
            if (lua_resume(threads[j], L, 0, &results) != LUA_YIELD) abort();
    return 0;
}

static int
l_bare_yield(lua_State *L)
{
    return lua_yield(L, 0);
}

static void
resume(world *w, unsigned id)
{
    lua_State *thread = w->tasks[id].thread;
    int results, n = lua_gettop(thread), status = lua_status(thread);
    w->current = id;
    status = lua_resume(thread, w->L, status == LUA_YIELD ? n : n - 1, &results);
    if (status == LUA_YIELD)
        lua_pop(thread, results);
    else if (status == LUA_OK) {
        lua_pushnil(w->L);
        lua_rawsetp(w->L, LUA_REGISTRYINDEX, &w->tasks[id]);
    } else {
        fprintf(stderr, "ceiling: %s\n", lua_tostring(thread, -1));
        exit(1);
    }
}

static void
run(world *w)
{
    for (;;) {
        while (w->head != w->tail)
            resume(w, w->ready[w->head++ & w->mask]);
        if (w->nheap == 0) return;
        double wait = w->heap[0].due - now();
        if (wait > 0) {
            struct timespec t = {0, (long)(wait * 1e9)};
            nanosleep(&t, NULL);
        }
        for (double t = now(); w->nheap > 0 && w->heap[0].due <= t;)
            make_ready(w, heap_pop(w));
    }
}

static const char script[] =
    "local name, n = ...\n"
    "local spawn, send, receive, yield, now = spawn, send, receive, yield, now\n"
    "local sleep, random, rss = sleep, math.random, rss\n"
    "local workloads, done = {}, 0\n"
    "local function rate(start) print(n / (now() - start)) end\n"
    "function workloads.w1()\n"
    "    local function trivial() done = done + 1 end\n"
    "    local start = now()\n"
    "    for _ = 1000, n, 1000 do spawn_batch(trivial, 1000) end\n"
    "    assert(done == n) rate(start)\n"
    "end\n"
    "function workloads.w2()\n"
    "    local function idle() done = done + 1 return receive() end\n"
    "    collectgarbage()\n"
    "    local before, start, tasks = rss(), now(), {}\n"
    "    for i = 1, n do tasks[i] = spawn(idle) end\n"
    "    while done < n do yield() end\n"
    "    local seconds = now() - start\n"
    "    print((rss() - before) / #tasks, seconds)\n"
    "    os.exit(0)\n"
    "end\n"
    "function workloads.w3()\n"
    "    local pong = spawn(function() for _ = 1, n do send(0, receive()) end end)\n"
    "    local start = now()\n"
    "    for i = 1, n do send(pong, i) receive() end\n"
    "    rate(start)\n"
    "end\n"
    "function workloads.w4()\n"
    "    local each, start = n // 1000, now()\n"
    "    local function sender() for i = 1, each do send(0, i) end end\n"
    "    for _ = 1, 1000 do spawn(sender) end\n"
    "    for _ = 1, each * 1000 do receive() end\n"
    "    rate(start)\n"
    "end\n"
    "function workloads.w5()\n"
    "    local rounds, next = n // 1000, 0\n"
    "    local function station(to) for _ = 1, rounds do send(to, receive()) end end\n"
    "    for _ = 2, 1000 do next = spawn(station, next) end\n"
    "    yield()\n"
    "    local start = now()\n"
    "    for i = 1, rounds do send(next, i) receive() end\n"
    "    rate(start)\n"
    "end\n"
    "function workloads.w6()\n"
    "    local left, start = n, now()\n"
    "    local function sleeper()\n"
    "        sleep(random())\n"
    "        left = left - 1\n"
    "        if left == 0 then send(0, 1) end\n"
    "    end\n"
    "    for _ = 1, n do spawn(sleeper) end\n"
    "    receive()\n"
    "    print(now() - start - 1)\n"
    "    os.exit(0)\n"
    "end\n"
    "function workloads.turn()\n"
    "    local bare_yield, start = bare_yield, now()\n"
    "    raw(function() while true do bare_yield() end end, n)\n"
    "    print((now() - start) * 1e9 / n)\n"
    "end\n"
    "workloads[name]()\n";

static const luaL_Reg functions[] = {
    {"spawn", l_spawn},     {"send", l_send},
    {"receive", l_receive}, {"yield", l_yield},
    {"sleep", l_sleep},     {"now", l_now},
    {"rss", l_rss},         {"spawn_batch", l_spawn_batch},
    {"raw", l_raw},         {"bare_yield", l_bare_yield},
    {NULL, NULL},
};

int
main(int argc, char **argv)
{
    if (argc != 3) return 1;
    world *w = claim(1, sizeof *w);
    lua_State *L = w->L = luaL_newstate();
    if (!L) return 1;
    *(world **)lua_getextraspace(L) = w; /* threads inherit it from the main thread */
    w->capacity = (unsigned)atol(argv[2]) + 2000;
    w->tasks = claim(w->capacity, sizeof *w->tasks);
    w->heap = claim(w->capacity, sizeof *w->heap);
    for (w->mask = 1; w->mask < w->capacity;)
        w->mask *= 2;
    w->ready = claim(w->mask--, sizeof *w->ready);
    luaL_openlibs(L);
    lua_pushglobaltable(L);
    luaL_setfuncs(L, functions, 0);
    if (luaL_loadstring(L, script) != LUA_OK) abort();
    lua_pushstring(L, argv[1]);
    lua_pushinteger(L, atol(argv[2]));
    lua_pushcfunction(L, l_spawn);
    lua_insert(L, -4);
    lua_call(L, 3, 0);
    run(w);
    return 0;
}
