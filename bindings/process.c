/* SPDX-License-Identifier: MIT */
/* process.c -- child processes: core.process.spawn, and the handle behind asyncoro.process. */
#include "bindings/process.h"
#include "bindings/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/io/child.h"
#include "core/io/file.h"
#include "core/io/signals.h"
#include "core/io/sigpipe.h"

#define CHILD_NAME "asyncoro.child"

/* Its user values: handles of the children whose pipes it was given, which live as long. That of
 * our end of a pipe is the child's handle: who has the stream alone has all that it takes. */
typedef struct acl_child {
    aco_child *child; /* NULL: closed */
    int pid;
} acl_child;

static acl_child *
check_child(lua_State *L)
{
    return luaL_checkudata(L, 1, CHILD_NAME);
}

/* Starting --------------------------------------------------------------------------------------
 */

/* The stack of spawn; above it memory, then the results. */
enum { AT_ARGV = 1, AT_ENV, AT_CWD, AT_STDIN, AT_STDOUT, AT_STDERR, AT_GROUP, AT_KEEP, AT_CHILD };

/* Pipes to a child: the ends that it gets, which are ours until it has been started. A userdata, so
 * that they are closed whatever happens. */
typedef struct pipes {
    int theirs[3];
    int ours[3];
} pipes;

static int
pipes_close(lua_State *L)
{
    pipes *p = lua_touserdata(L, 1);

    for (int i = 0; i < 3; i++) {
        if (p->theirs[i] >= 0) close(p->theirs[i]);
        if (p->ours[i] >= 0) close(p->ours[i]);
        p->theirs[i] = p->ours[i] = -1;
    }
    return 0;
}

static pipes *
pipes_new(lua_State *L)
{
    pipes *p = lua_newuserdatauv(L, sizeof *p, 0);

    *p = (pipes){{-1, -1, -1}, {-1, -1, -1}};
    lua_createtable(L, 0, 2);
    lua_pushcfunction(L, pipes_close);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    return p;
}

/* Strings of a list, as a vector that ends with NULL, in a userdata that is pushed. They stay where
 * they are, in the list. */
static char **
vector(lua_State *L, int idx)
{
    size_t n = lua_rawlen(L, idx);
    char **v = lua_newuserdatauv(L, (n + 1) * sizeof *v, 0);

    for (size_t i = 0; i < n; i++) {
        size_t size;
        lua_rawgeti(L, idx, (lua_Integer)i + 1);
        if (lua_type(L, -1) != LUA_TSTRING) luaL_argerror(L, idx, "a list of strings expected");
        v[i] = (char *)lua_tolstring(L, -1, &size);
        if (strlen(v[i]) != size)
            luaL_argerror(L, idx, "a string with a zero byte cannot be passed on");
        lua_pop(L, 1);
    }
    v[n] = NULL;
    return v;
}

static const char *const standard_names[] = {"stdin", "stdout", "stderr"};

/* Of the option that is the argument at idx. */
static void
check_option(lua_State *L, bool holds, int idx, const char *why)
{
    if (!holds) acl_blame(L, "spawn: option '%s': %s", standard_names[idx - AT_STDIN], why);
}

static int
fd_of_stream(lua_State *L, const aco_stream *s, int idx)
{
    check_option(L, aco_stream_is_open(s) && s->fd >= 0, idx, "an open stream expected");
    check_option(L, s->transport == &aco_plain_transport || aco_file_is(s), idx,
                 "a stream over TLS, which only this program can read, cannot be given");
    check_option(L, aco_stream_size(s) == 0, idx, "the stream has bytes that were not read");
    check_option(L, !s->reading && !s->writing, idx, "the stream is in use");
    return s->fd;
}

/* What the argument of descriptor `number` stands for. ACO_OK, or errno's. */
static int
fd_get(lua_State *L, pipes *p, int number, int *fd)
{
    enum { MERGE = 2, PIPE, WORDS };
    static const char *const words[WORDS] = {"inherit", "null", "merge", "pipe"};
    static const int values[] = {ACO_CHILD_INHERIT, ACO_CHILD_NULL, ACO_CHILD_MERGE};
    int idx = AT_STDIN + number, ends[2];
    aco_stream *s = acl_stream_test(L, idx);

    if (s != NULL) {
        *fd = fd_of_stream(L, s, idx);
        return ACO_OK;
    }
    if (lua_isinteger(L, idx)) {
        *fd = (int)lua_tointeger(L, idx);
        check_option(L, fcntl(*fd, F_GETFD) >= 0, idx, "an open descriptor expected");
        return ACO_OK;
    }
    const char *word = lua_tostring(L, idx);
    int n = 0;
    while (word != NULL && n < WORDS && strcmp(word, words[n]) != 0)
        n++;
    check_option(L, word != NULL && n < WORDS, idx,
                 "'pipe', 'inherit', 'null', a stream or a descriptor expected");
    if (n < PIPE) {
        check_option(L, n < MERGE || number == 2, idx, "only standard error can be merged");
        *fd = values[n];
        return ACO_OK;
    }
    if (pipe2(ends, O_CLOEXEC) != 0) return aco_err_from_errno(errno);
    *fd = p->theirs[number] = ends[number == 0 ? 0 : 1];
    p->ours[number] = ends[number == 0 ? 1 : 0];
    return ACO_OK;
}

/* "stdin of grep", for messages; NULL without memory. */
static char *
pipe_label(int number, const char *program)
{
    const char *name = standard_names[number];
    size_t size = strlen(name) + strlen(" of ") + strlen(program) + 1;
    char *label = malloc(size);

    if (label != NULL) snprintf(label, size, "%s of %s", name, program);
    return label;
}

/* Push a stream of our end of each pipe, nil where there is none. */
static int
push_streams(lua_State *L, acl_engine *e, pipes *p, const char *program)
{
    for (int number = 0; number < 3; number++) {
        if (p->ours[number] < 0) {
            lua_pushnil(L);
            continue;
        }
        aco_stream *s = acl_stream_new(L, e);
        int err = aco_stream_open(s, &e->loop, p->ours[number]);
        if (err != ACO_OK) return err;
        p->ours[number] = -1;
        s->label = pipe_label(number, program);
        lua_pushvalue(L, AT_CHILD);
        lua_setiuservalue(L, -2, 1);
    }
    return ACO_OK;
}

/* A child wants descriptors that block; when it could not be started they are ours as before. */
static void
block_given(lua_State *L, bool block)
{
    for (int idx = AT_STDIN; idx <= AT_STDERR; idx++) {
        const aco_stream *s = acl_stream_test(L, idx);
        if (s == NULL || s->shared || s->transport != &aco_plain_transport) continue;
        int flags = fcntl(s->fd, F_GETFL);
        if (flags >= 0) fcntl(s->fd, F_SETFL, block ? flags & ~O_NONBLOCK : flags | O_NONBLOCK);
    }
}

/* The streams that were given away are closed here, unless another program will get them too;
 * files stay. The child keeps alive whatever is at the other end. */
static void
close_given(lua_State *L)
{
    bool keep = lua_toboolean(L, AT_KEEP);

    for (int idx = AT_STDIN; idx <= AT_STDERR; idx++) {
        aco_stream *s = acl_stream_test(L, idx);
        if (s == NULL || s->transport != &aco_plain_transport) continue;
        if (keep && idx == AT_STDERR) continue;
        lua_getiuservalue(L, idx, 1);
        lua_setiuservalue(L, AT_CHILD, idx - AT_STDIN + 1);
        aco_stream_close(s);
    }
}

/* What C's stdout holds was written before what the child will write to it. */
static void
flush_inherited(const struct aco_child_setup *setup)
{
    if (setup->fds[1] == ACO_CHILD_INHERIT || setup->fds[1] == 1 || setup->fds[2] == 1)
        (void)aco_sigpipe_flush(stdout);
}

/* Is it the folder's fault? errno then tells. */
static bool
folder_fails(const char *cwd)
{
    struct stat about;

    if (cwd == NULL) return false;
    if (stat(cwd, &about) != 0) return true;
    errno = ENOTDIR;
    if (!S_ISDIR(about.st_mode)) return true;
    return access(cwd, X_OK) != 0;
}

static int
spawn_fail(lua_State *L, const struct aco_child_setup *setup, int err)
{
    const char *program = setup->argv[0];
    int errnum = errno;
    struct stat about;

    if (folder_fails(setup->cwd))
        return acl_fail(L, errno == ENOTDIR ? ACO_ENOTFOUND : aco_err_from_errno(errno),
                        "spawn %s: the folder %s: %s", program, setup->cwd, strerror(errno));
    if (errnum == EACCES && strchr(program, '/') != NULL && stat(program, &about) == 0 &&
        S_ISDIR(about.st_mode))
        return acl_fail(L, err, "spawn %s: it is a folder", program);
    return acl_fail(L, err, "spawn %s: %s", program,
                    errnum != 0 ? strerror(errnum) : aco_err_text(err));
}

static const char *
opt_folder(lua_State *L, int idx)
{
    size_t size;
    const char *folder = luaL_optlstring(L, idx, NULL, &size);

    if (folder != NULL)
        luaL_argcheck(L, strlen(folder) == size, idx, "the name of a folder has a zero byte");
    return folder;
}

/* spawn(argv, env or nil, cwd or nil, stdin, stdout, stderr, group, keep stderr's stream open)
 *   -> child, stdin, stdout, stderr; nil, message, code */
static int
process_spawn(lua_State *L)
{
    acl_engine *e = acl_self(L);
    struct aco_child_setup setup;

    lua_settop(L, AT_KEEP);
    luaL_checktype(L, AT_ARGV, LUA_TTABLE);
    luaL_argcheck(L, lua_rawlen(L, AT_ARGV) > 0, AT_ARGV, "a program expected");
    acl_child *handle = lua_newuserdatauv(L, sizeof *handle, 3);
    *handle = (acl_child){.child = NULL};
    luaL_setmetatable(L, CHILD_NAME);
    pipes *p = pipes_new(L);
    setup.argv = vector(L, AT_ARGV);
    setup.env = lua_isnil(L, AT_ENV) ? NULL : vector(L, AT_ENV);
    setup.cwd = opt_folder(L, AT_CWD);
    setup.group = lua_toboolean(L, AT_GROUP);
    int err = ACO_OK;
    for (int number = 0; number < 3 && err == ACO_OK; number++)
        err = fd_get(L, p, number, &setup.fds[number]);
    lua_pushvalue(L, AT_CHILD);
    if (err == ACO_OK) err = push_streams(L, e, p, setup.argv[0]);
    if (err != ACO_OK) return spawn_fail(L, &setup, err);
    flush_inherited(&setup);
    block_given(L, true);
    err = aco_child_start(&handle->child, &e->loop, &setup);
    if (err != ACO_OK) {
        int errnum = errno;
        block_given(L, false);
        errno = errnum;
        return spawn_fail(L, &setup, err);
    }
    handle->pid = (int)handle->child->pid;
    for (int number = 0; number < 3; number++) {
        if (p->theirs[number] >= 0) close(p->theirs[number]);
        p->theirs[number] = -1;
    }
    close_given(L);
    return 4;
}

/* The handle ------------------------------------------------------------------------------------
 */

/* true or false, "exit" or "signal", the code or the signal's name */
static int
push_outcome(lua_State *L, const aco_child *child)
{
    const char *name = child->signaled ? aco_signal_name(child->code) : NULL;

    lua_pushboolean(L, !child->signaled && child->code == 0);
    lua_pushstring(L, child->signaled ? "signal" : "exit");
    if (name != NULL)
        lua_pushstring(L, name);
    else
        lua_pushinteger(L, child->code);
    return 3;
}

static int wait_k(lua_State *L, int status, lua_KContext ctx);

/* (child, deadline) */
static int
wait_run(lua_State *L, acl_engine *e, const acl_child *handle)
{
    acl_coro *c = e->current;
    aco_time deadline = (aco_time)lua_tointeger(L, 2);

    if (handle->child == NULL)
        return acl_fail(L, ACO_ECLOSED, "wait for process %d: closed", handle->pid);
    if (aco_child_look(handle->child)) return push_outcome(L, handle->child);
    if (deadline == 0 || (deadline != ACO_NEVER && aco_now() >= deadline))
        return acl_fail(L, ACO_ETIMEOUT, "wait for process %d: timed out", handle->pid);
    aco_wait_begin(&c->task, ACO_WAIT_PROCESS);
    aco_wait_on(&c->task, &handle->child->watch.queue);
    return acl_park(L, e, c, deadline, 0, wait_k);
}

static int
wait_k(lua_State *L, int status, lua_KContext ctx)
{
    acl_engine *e = acl_self(L);

    (void)status;
    (void)ctx;
    acl_wait_end(L, e, e->current);
    return wait_run(L, e, lua_touserdata(L, 1));
}

/*** Wait for the end of the program.
Waits. Any number of coros may; it can be asked again.
@function process:wait
@tparam[opt] number timeout seconds; nil waits for ever, 0 only looks
@treturn boolean did it exit with code 0?
@treturn string "exit" or "signal"
@treturn integer|string the exit code, or the name of the signal ("KILL")
@treturn[2] nil
@treturn[2] string message
@treturn[2] string "timeout", "closed" */
static int
child_wait(lua_State *L)
{
    acl_engine *e = acl_self(L);
    acl_child *handle = check_child(L);
    aco_time deadline = acl_opt_deadline(L, 2);

    acl_wait_check(L, e, "wait");
    lua_settop(L, 1);
    lua_pushinteger(L, deadline);
    return wait_run(L, e, handle);
}

/*** Look whether the program has ended. Does not wait.
@function process:poll
@treturn ?boolean nil while it runs; else all that `wait` gives */
static int
child_poll(lua_State *L)
{
    acl_child *handle = check_child(L);

    if (handle->child == NULL || !aco_child_look(handle->child)) return 0;
    return push_outcome(L, handle->child);
}

/*** Send a signal. Does not wait.
@function process:kill
@tparam[opt="TERM"] string signal its name: "TERM", "KILL", "HUP", "STOP" ...
@treturn boolean true
@treturn[2] nil
@treturn[2] string message
@treturn[2] string "notfound" when it has ended, "closed", "denied" */
static int
child_kill(lua_State *L)
{
    acl_child *handle = check_child(L);
    int number = aco_signal_number(luaL_optstring(L, 2, "TERM"));

    luaL_argcheck(L, number > 0, 2, "the name of a signal expected (\"TERM\", \"KILL\", ...)");
    if (handle->child == NULL)
        return acl_fail(L, ACO_ECLOSED, "kill process %d: closed", handle->pid);
    int err = aco_child_kill(handle->child, number);
    if (err == ACO_ENOTFOUND) return acl_fail(L, err, "kill process %d: it has ended", handle->pid);
    if (err != ACO_OK) return acl_fail(L, err, "kill process %d: %s", handle->pid, strerror(errno));
    lua_pushboolean(L, 1);
    return 1;
}

/*** The number of the process.
@function process:pid
@treturn integer */
static int
child_pid(lua_State *L)
{
    lua_pushinteger(L, check_child(L)->pid);
    return 1;
}

/* Kills it when it runs. Those who wait get "closed". */
static int
child_close(lua_State *L)
{
    acl_child *handle = check_child(L);
    aco_child *child = handle->child;

    handle->child = NULL;
    if (child != NULL) {
        aco_waitq_wake_all(child->loop, &child->watch.queue, ACO_OK);
        aco_child_free(child);
    }
    lua_pushboolean(L, 1);
    return 1;
}

/* queue() -> for select */
static int
child_queue(lua_State *L)
{
    acl_child *handle = check_child(L);

    if (handle->child == NULL) return luaL_error(L, "select: the process is closed");
    lua_pushlightuserdata(L, &handle->child->watch.queue);
    return 1;
}

/* unread(stream) -> has everybody gone who could read what is written to this pipe? */
static int
process_unread(lua_State *L)
{
    const aco_stream *s = acl_stream_check(L, 1);
    struct pollfd end = {.fd = s->fd};

    lua_pushboolean(L, s->fd < 0 || (poll(&end, 1, 0) > 0 && (end.revents & (POLLERR | POLLNVAL))));
    return 1;
}

/* keep(stream, value): the value lives as long as the stream */
static int
process_keep(lua_State *L)
{
    acl_stream_check(L, 1);
    lua_settop(L, 2);
    lua_setiuservalue(L, 1, 1);
    return 0;
}

/* environ() -> name -> value */
static int
process_environ(lua_State *L)
{
    lua_newtable(L);
    for (char **at = environ; at != NULL && *at != NULL; at++) {
        const char *equals = strchr(*at, '=');
        if (equals == NULL) continue;
        lua_pushlstring(L, *at, (size_t)(equals - *at));
        lua_pushstring(L, equals + 1);
        lua_rawset(L, -3);
    }
    return 1;
}

/* signal_number(name) -> number or nil; signal_name(number) -> name or nil */
static int
signal_number(lua_State *L)
{
    int number = aco_signal_number(luaL_checkstring(L, 1));

    if (number == 0) return 0;
    lua_pushinteger(L, number);
    return 1;
}

static int
signal_name(lua_State *L)
{
    lua_pushstring(L, aco_signal_name((int)luaL_checkinteger(L, 1)));
    return 1;
}

void
acl_open_process(lua_State *L, acl_engine *e)
{
    static const luaL_Reg funcs[] = {{"spawn", process_spawn},
                                     {"environ", process_environ},
                                     {"unread", process_unread},
                                     {"keep", process_keep},
                                     {"signal_number", signal_number},
                                     {"signal_name", signal_name},
                                     {NULL, NULL}};
    static const luaL_Reg methods[] = {
        {"wait", child_wait},   {"poll", child_poll},   {"kill", child_kill}, {"pid", child_pid},
        {"close", child_close}, {"queue", child_queue}, {NULL, NULL}};

    luaL_newmetatable(L, CHILD_NAME);
    lua_newtable(L);
    acl_setfuncs(L, e, methods);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, child_close);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 1);
    lua_newtable(L);
    acl_setfuncs(L, e, funcs);
    lua_setfield(L, -2, "process");
}
