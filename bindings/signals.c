/* SPDX-License-Identifier: MIT */
/* signals.c -- signals as something to read: a handler writes their numbers into pipes.
 *
 * What a process does with a signal is the process's, so the takers of all engines are in one
 * place: each has a slot with the signals that it wants and its pipe. The handler may run in any
 * thread; it looks at atomics only, and counts itself in and out, so that a slot is given up when
 * nobody looks at it. */
#include "bindings/signals.h"
#include "bindings/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "core/io/signals.h"

#define TAKER_NAME "asyncoro.signals"

enum { TAKERS = 64, SIGNALS = 64 };

static struct {
    pthread_mutex_t lock; /* guards who comes and goes; the handler does without */
    atomic_int inside;    /* handlers that run */
    struct {
        _Atomic uint64_t wanted; /* bit: signal */
        atomic_int fd;
        int reader; /* the other end, which is the stream's */
    } takers[TAKERS];
    unsigned users[SIGNALS + 1];
    struct sigaction old[SIGNALS + 1];
} table = {.lock = PTHREAD_MUTEX_INITIALIZER};

typedef struct acl_taker {
    int slot; /* -1: closed */
    uint64_t wanted;
} acl_taker;

static void
on_signal(int number)
{
    const int saved = errno;
    const char byte = (char)number;

    atomic_fetch_add(&table.inside, 1);
    for (int i = 0; i < TAKERS; i++) {
        if (!(atomic_load(&table.takers[i].wanted) >> number & 1)) continue;
        ssize_t n = write(atomic_load(&table.takers[i].fd), &byte, 1);
        (void)n; /* a full pipe has many of them already */
    }
    atomic_fetch_sub(&table.inside, 1);
    errno = saved;
}

/* With the lock: handle the signal from now on, or as it was handled before the first came; unless
 * somebody else has it handled meanwhile. */
static void
signal_use(int number, bool use)
{
    struct sigaction act = {.sa_handler = on_signal, .sa_flags = SA_RESTART | SA_ONSTACK}, now;

    sigfillset(&act.sa_mask);
    if (use && table.users[number]++ == 0) {
        sigaction(number, &act, &table.old[number]);
    } else if (!use && --table.users[number] == 0) {
        if (sigaction(number, NULL, &now) == 0 && now.sa_handler == on_signal)
            sigaction(number, &table.old[number], NULL);
    }
}

static void
signals_use(uint64_t wanted, bool use)
{
    for (int number = 1; number < SIGNALS; number++)
        if (wanted >> number & 1) signal_use(number, use);
}

/* Take a slot; -1 when all are taken. */
static int
taker_add(const int ends[2], uint64_t wanted)
{
    int slot = TAKERS - 1;

    pthread_mutex_lock(&table.lock);
    while (slot >= 0 && atomic_load(&table.takers[slot].wanted) != 0)
        slot--;
    if (slot >= 0) {
        table.takers[slot].reader = ends[0];
        atomic_store(&table.takers[slot].fd, ends[1]);
        atomic_store(&table.takers[slot].wanted, wanted);
        signals_use(wanted, true);
    }
    pthread_mutex_unlock(&table.lock);
    return slot;
}

static void
taker_remove(acl_taker *t)
{
    if (t->slot < 0) return;
    pthread_mutex_lock(&table.lock);
    signals_use(t->wanted, false);
    int fd = atomic_load(&table.takers[t->slot].fd);
    atomic_store(&table.takers[t->slot].wanted, 0);
    while (atomic_load(&table.inside) > 0)
        sched_yield();
    close(fd);
    pthread_mutex_unlock(&table.lock);
    t->slot = -1;
}

/* The pipes are the parent's too: others take their places. */
int
acl_signals_after_fork(void)
{
    int ends[2], err = ACO_OK;

    for (int i = 0; i < TAKERS && err == ACO_OK; i++) {
        if (atomic_load(&table.takers[i].wanted) == 0) continue;
        if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) return aco_err_from_errno(errno);
        if (dup3(ends[0], table.takers[i].reader, O_CLOEXEC) < 0 ||
            dup3(ends[1], atomic_load(&table.takers[i].fd), O_CLOEXEC) < 0)
            err = aco_err_from_errno(errno);
        close(ends[0]);
        close(ends[1]);
    }
    return err;
}

/* The signals of the list at idx as bits. */
static uint64_t
check_signals(lua_State *L, int idx)
{
    uint64_t wanted = 0;

    luaL_checktype(L, idx, LUA_TTABLE);
    for (lua_Integer i = 1; lua_rawgeti(L, idx, i) != LUA_TNIL; i++) {
        const char *name = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "?";
        int number = aco_signal_number(name);
        if (number == 0)
            luaL_error(L, "signal: no signal '%s' (there are HUP, INT, TERM, USR1, USR2, ...)",
                       name);
        if (number == SIGKILL || number == SIGSTOP)
            luaL_error(L, "signal: %s cannot be caught", name);
        if (number == SIGSEGV || number == SIGBUS || number == SIGFPE || number == SIGILL ||
            number == SIGTRAP || number == SIGSYS || number == SIGABRT)
            luaL_error(L, "signal: %s tells of a fault, which cannot be waited for", name);
        if (number == SIGURG) luaL_error(L, "signal: URG is used by the engine itself");
        wanted |= (uint64_t)1 << number;
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    luaL_argcheck(L, wanted != 0, idx, "the name of a signal expected");
    return wanted;
}

/* take(names) -> stream: their numbers, a byte each, taker; nil, message, code. The taker is the
 * younger, so that it is finalized first: nothing is written to a pipe that nobody can read. */
static int
signal_take(lua_State *L)
{
    acl_engine *e = acl_self(L);
    uint64_t wanted = check_signals(L, 1);
    int ends[2];

    aco_stream *s = acl_stream_new(L, e);
    acl_taker *t = lua_newuserdatauv(L, sizeof *t, 0);
    *t = (acl_taker){.slot = -1, .wanted = wanted};
    luaL_setmetatable(L, TAKER_NAME);
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0)
        return acl_fail(L, aco_err_from_errno(errno), "signal: %s", strerror(errno));
    int err = aco_stream_open(s, &e->loop, ends[0]);
    if (err != ACO_OK) {
        close(ends[0]);
        close(ends[1]);
        return acl_fail(L, err, "signal: %s", strerror(s->errnum));
    }
    t->slot = taker_add(ends, wanted);
    if (t->slot >= 0) return 2;
    close(ends[1]);
    aco_stream_close(s);
    return acl_fail(L, ACO_ELIMIT, "signal: %d handles are open already", TAKERS);
}

/* taker:close() */
static int
taker_close(lua_State *L)
{
    taker_remove(luaL_checkudata(L, 1, TAKER_NAME));
    return 0;
}

void
acl_open_signal(lua_State *L, acl_engine *e)
{
    static const luaL_Reg funcs[] = {{"take", signal_take}, {NULL, NULL}};

    luaL_newmetatable(L, TAKER_NAME);
    lua_pushcfunction(L, taker_close);
    lua_setfield(L, -2, "__gc");
    lua_newtable(L);
    lua_pushcfunction(L, taker_close);
    lua_setfield(L, -2, "close");
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
    lua_newtable(L);
    acl_setfuncs(L, e, funcs);
    lua_setfield(L, -2, "signal");
}
