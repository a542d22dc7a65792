/* SPDX-License-Identifier: MIT */
/* file.c -- files, of which lua/asyncoro/file.lua makes asyncoro.file; the methods that only
 * streams of files need; standard input and output. */
#include "bindings/file.h"
#include "bindings/job.h"
#include "bindings/reach.h"
#include "bindings/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/io/file.h"
#include "core/io/path.h"

/* Paths -----------------------------------------------------------------------------------------
 */

/* The stack of an operation: the operation's name, the path, the other path, flags or mode, then
 * the box of the job. */
enum { AT_OP = 1, AT_PATH, AT_OTHER, AT_MODE, AT_JOB };

static const char *const op_names[] = {"open",     "stat",    "lstat", "rename",    "remove",
                                       "mkdir",    "list",    "copy",  "temporary", "temporary_dir",
                                       "realpath", "symlink", "chmod", "sync",      NULL};

static const char *
mode_type(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG:
        return "file";
    case S_IFDIR:
        return "directory";
    case S_IFLNK:
        return "link";
    case S_IFIFO:
        return "fifo";
    case S_IFSOCK:
        return "socket";
    default:
        return "device";
    }
}

static void
set_time(lua_State *L, const char *name, const struct timespec *time)
{
    lua_pushnumber(L, (lua_Number)time->tv_sec + (lua_Number)time->tv_nsec / 1e9);
    lua_setfield(L, -2, name);
}

static int
push_about(lua_State *L, const struct stat *about)
{
    const struct {
        const char *name;
        lua_Integer value;
    } numbers[] = {{"size", (lua_Integer)about->st_size},
                   {"mode", about->st_mode & 07777},
                   {"inode", (lua_Integer)about->st_ino},
                   {"device", (lua_Integer)about->st_dev},
                   {"links", (lua_Integer)about->st_nlink},
                   {"uid", about->st_uid},
                   {"gid", about->st_gid}};

    lua_createtable(L, 0, 11);
    lua_pushstring(L, mode_type(about->st_mode));
    lua_setfield(L, -2, "type");
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        lua_pushinteger(L, numbers[i].value);
        lua_setfield(L, -2, numbers[i].name);
    }
    set_time(L, "accessed", &about->st_atim);
    set_time(L, "modified", &about->st_mtim);
    set_time(L, "changed", &about->st_ctim);
    return 1;
}

static int
push_names(lua_State *L, const aco_path *p)
{
    size_t at = 0;

    lua_newtable(L);
    for (lua_Integer i = 1; at < p->names.size; i++) {
        const char *name = (const char *)p->names.data + at;
        lua_pushstring(L, name);
        lua_rawseti(L, -2, i);
        at += strlen(name) + 1;
    }
    return 1;
}

/* A stream of an opened file; of what is none (a pipe, a terminal, a device): a plain one. */
static int
push_stream(lua_State *L, acl_engine *e, aco_path *p)
{
    aco_stream *s = acl_stream_new(L, e);
    int fd = p->fd, err;

    p->fd = -1;
    p->made = false;
    if (S_ISREG(p->about.st_mode) || S_ISBLK(p->about.st_mode)) {
        err = aco_file_open(s, &e->loop, aco_process_pool(e->reach->process), fd);
    } else {
        err = aco_stream_open(s, &e->loop, fd);
        if (err != ACO_OK) close(fd);
    }
    if (err != ACO_OK) return acl_fail(L, err, "open %s: %s", p->path, aco_err_text(err));
    s->label = strdup(p->path);
    if (p->op != ACO_PATH_TEMP) return 1;
    lua_pushstring(L, p->path);
    return 2;
}

static int
path_result(lua_State *L, acl_engine *e, aco_path *p)
{
    if (p->errnum != 0)
        return acl_fail(L, aco_err_from_errno(p->errnum), "%s %s%s%s: %s", op_names[p->op], p->path,
                        p->other != NULL ? " " : "", p->other != NULL ? p->other : "",
                        strerror(p->errnum));
    switch (p->op) {
    case ACO_PATH_OPEN:
    case ACO_PATH_TEMP:
        return push_stream(L, e, p);
    case ACO_PATH_STAT:
    case ACO_PATH_LSTAT:
        return push_about(L, &p->about);
    case ACO_PATH_LIST:
        return push_names(L, p);
    case ACO_PATH_COPY:
        lua_pushinteger(L, p->size);
        return 1;
    case ACO_PATH_TEMPDIR:
        lua_pushstring(L, p->path);
        p->made = false;
        return 1;
    case ACO_PATH_REALPATH:
        lua_pushstring(L, (const char *)p->names.data);
        return 1;
    default:
        lua_pushboolean(L, 1);
        return 1;
    }
}

static int
path_k(lua_State *L, int status, lua_KContext ctx)
{
    acl_engine *e = acl_self(L);
    aco_path **box = lua_touserdata(L, AT_JOB);

    (void)status;
    (void)ctx;
    if (e->current->task.wake_err == ACO_ECANCELED) { /* let go of it now: what it makes goes too */
        aco_job_unref(&(*box)->job);
        *box = NULL;
    }
    acl_wait_end(L, e, e->current);
    return path_result(L, e, *box);
}

static const char *
check_path(lua_State *L, int idx, enum aco_path_op op)
{
    size_t size;
    const char *path = lua_tolstring(L, idx, &size);

    if (path == NULL)
        acl_blame(L, "%s: a path expected, got %s", op_names[op], luaL_typename(L, idx));
    else if (strlen(path) != size)
        acl_blame(L, "%s: a path expected, not one with a zero byte", op_names[op]);
    return path;
}

static bool
has_other(enum aco_path_op op)
{
    return op == ACO_PATH_RENAME || op == ACO_PATH_COPY || op == ACO_PATH_SYMLINK;
}

static unsigned
check_mode(lua_State *L, int idx, enum aco_path_op op)
{
    int whole;
    lua_Integer mode = lua_tointegerx(L, idx, &whole);

    if (lua_isnil(L, idx) && op != ACO_PATH_CHMOD) return 0;
    if (!whole || mode < 0 || mode > 07777)
        acl_blame(L, "%s: permissions of 0 to 0o7777 expected, got %s", op_names[op],
                  luaL_tolstring(L, idx, NULL));
    return (unsigned)mode;
}

/* path(operation, path [, other [, mode]]): waits for the job */
static int
path_do(lua_State *L)
{
    acl_engine *e = acl_self(L);
    enum aco_path_op op = (enum aco_path_op)luaL_checkoption(L, AT_OP, NULL, op_names);
    lua_Integer flags = luaL_optinteger(L, AT_MODE + 1, 0);

    lua_settop(L, AT_MODE);
    const char *path = check_path(L, AT_PATH, op);
    const char *other = has_other(op) ? check_path(L, AT_OTHER, op) : NULL;
    unsigned mode = check_mode(L, AT_MODE, op);
    acl_wait_check(L, e, op_names[op]);
    aco_job **box = acl_job_box(L);
    aco_path *p = aco_path_new(op, path, other);
    if (p == NULL) return luaL_error(L, "not enough memory");
    *box = &p->job;
    p->mode = mode;
    p->flags = (int)flags;
    int err = acl_job_submit(e, *box);
    if (err != ACO_OK)
        return acl_fail(L, err, "%s %s: no thread could be started", op_names[op], path);
    return acl_job_park(L, e, *box, ACO_NEVER, 0, path_k);
}

/* open_flags(mode) -> flags of open(2), for a mode of io.open; nil when it is none */
static int
open_flags(lua_State *L)
{
    const char *mode = luaL_checkstring(L, 1);
    const char *rest = mode + 1;
    int flags;

    switch (*mode) {
    case 'r':
        flags = 0;
        break;
    case 'w':
        flags = O_CREAT | O_TRUNC;
        break;
    case 'a':
        flags = O_CREAT | O_APPEND;
        break;
    case 'x':
        flags = O_CREAT | O_EXCL;
        break;
    default:
        return 0;
    }
    bool both = *rest == '+';
    if (both) rest++;
    if (*rest == 'b') rest++;
    if (*rest != '\0') return 0;
    flags |= both ? O_RDWR : *mode == 'r' ? O_RDONLY : O_WRONLY;
    lua_pushinteger(L, flags | O_NOCTTY | O_NONBLOCK);
    return 1;
}

/* Streams of files ------------------------------------------------------------------------------
 */

enum after { AFTER_FLUSH, AFTER_SEEK, AFTER_CLOSE, AFTER_SYNC };
static const char *const after_names[] = {"flush", "seek", "close", "sync"};

static int flush_k(lua_State *L, int status, lua_KContext after);

/* (stream, whence, offset), flushed: do what comes after that. */
static int
flushed(lua_State *L, aco_stream *s, enum after after)
{
    static const int whences[] = {SEEK_SET, SEEK_CUR, SEEK_END};
    int64_t place;

    if (after == AFTER_SEEK) {
        int err = aco_file_seek(s, lua_tointeger(L, 3), whences[lua_tointeger(L, 2)], &place);
        if (err != ACO_OK) return acl_stream_fail(L, s, "seek", err);
        lua_pushinteger(L, place);
        return 1;
    }
    if (after == AFTER_CLOSE) aco_stream_close(s);
    lua_pushboolean(L, 1);
    return 1;
}

static int
flush_run(lua_State *L, acl_engine *e, aco_stream *s, enum after after)
{
    acl_coro *c = e->current;
    aco_waitq *wait;
    int err = after == AFTER_SYNC ? aco_file_sync(s, &wait) : aco_file_flush(s, &wait);

    if (err == ACO_OK) return flushed(L, s, after);
    if (err != ACO_EBUSY) {
        int results = acl_stream_fail(L, s, after_names[after], err);
        if (after == AFTER_CLOSE) aco_stream_close(s);
        return results;
    }
    s->writing = true;
    aco_wait_begin(&c->task, ACO_WAIT_JOB);
    aco_wait_on(&c->task, wait);
    return acl_park(L, e, c, ACO_NEVER, (lua_KContext)after, flush_k);
}

static int
flush_k(lua_State *L, int status, lua_KContext after)
{
    acl_engine *e = acl_self(L);
    acl_coro *c = e->current;
    aco_stream *s = lua_touserdata(L, 1);

    (void)status;
    s->writing = false;
    if (after == AFTER_CLOSE && c->task.wake_err == ACO_ECANCELED) aco_stream_close(s);
    acl_wait_end(L, e, c);
    if (c->task.wake_err != ACO_OK)
        return acl_stream_fail(L, s, after_names[after], c->task.wake_err);
    return flush_run(L, e, s, (enum after)after);
}

static int
flush_begin(lua_State *L, aco_stream *s, enum after after)
{
    acl_engine *e = acl_self(L);

    acl_wait_check(L, e, after_names[after]);
    if (s->writing || (after == AFTER_SEEK && s->reading))
        return acl_stream_fail(L, s, after_names[after], ACO_EBUSY);
    return flush_run(L, e, s, after);
}

/*** Let everything that was written to a file reach the system. Other streams hold nothing back.
Waits.
@function stream:flush
@treturn boolean true
@treturn[2] nil
@treturn[2] string message
@treturn[2] string "nospace" when the disk is full (what could not be written is kept: flush again
when there is room), "closed", "busy" ... */
static int
stream_flush(lua_State *L)
{
    aco_stream *s = acl_stream_check(L, 1);

    lua_settop(L, 1);
    return flush_begin(L, s, AFTER_FLUSH);
}

/*** Let everything that was written to a file reach the disk itself (fsync), so that it is still
there when the machine loses its power.
Waits.
@function stream:sync
@treturn boolean true
@treturn[2] nil
@treturn[2] string message
@treturn[2] string "unsupported" for what is no file, "nospace", "closed", "busy" ... */
static int
stream_sync(lua_State *L)
{
    aco_stream *s = acl_stream_check(L, 1);
    int err = s->writing ? ACO_EBUSY : aco_file_sync_begin(s);

    lua_settop(L, 1);
    if (err != ACO_OK) return acl_stream_fail(L, s, "sync", err);
    return flush_begin(L, s, AFTER_SYNC);
}

/*** Go to a place in a file, as Lua's `file:seek`.
Waits: what was written is flushed first.
@function stream:seek
@tparam[opt="cur"] string whence "set" (from the start), "cur" (from here), "end"
@tparam[opt=0] integer offset in bytes
@treturn integer the place, counted from the start
@treturn[2] nil
@treturn[2] string message
@treturn[2] string "unsupported" for what is no file, "invalid" for a place before the start,
"closed", "busy", "nospace" ... */
static int
stream_seek(lua_State *L)
{
    static const char *const whences[] = {"set", "cur", "end", NULL};
    aco_stream *s = acl_stream_check(L, 1);
    int whence = luaL_checkoption(L, 2, "cur", whences);
    lua_Integer offset = luaL_optinteger(L, 3, 0);

    if (!aco_stream_is_open(s)) return acl_stream_fail(L, s, "seek", ACO_ECLOSED);
    if (!aco_file_is(s)) return acl_stream_fail(L, s, "seek", ACO_EUNSUPPORTED);
    lua_settop(L, 1);
    lua_pushinteger(L, whence);
    lua_pushinteger(L, offset);
    return flush_begin(L, s, AFTER_SEEK);
}

/*** Close the stream. Coros that wait in it get nil, message, "closed". Closing twice is harmless.
Never waits, but for a file that holds what was written: that is flushed first, so that a full disk
is not missed. (A file that is collected without having been closed is written to its end all the
same.)
@function stream:close
@treturn boolean true
@treturn[2] nil of a file, which is closed nevertheless
@treturn[2] string message
@treturn[2] string "nospace" ... */
static int
stream_close(lua_State *L)
{
    acl_engine *e = acl_self(L);
    aco_stream *s = acl_stream_check(L, 1);

    lua_settop(L, 1);
    if (aco_stream_is_open(s) && aco_file_dirty(s) && !s->writing && acl_can_wait(L, e) &&
        !e->current->task.pending)
        return flush_begin(L, s, AFTER_CLOSE);
    acl_stream_remember(s);
    aco_stream_close(s);
    lua_pushboolean(L, 1);
    return 1;
}

/* Standard input and output ---------------------------------------------------------------------
 */

/* standard(0, 1 or 2) -> stream; a closed one when the descriptor is closed */
static int
standard(lua_State *L)
{
    static const char *const labels[] = {"stdin", "stdout", "stderr"};
    acl_engine *e = acl_self(L);
    int number = (int)luaL_checkinteger(L, 1);
    struct stat about;

    luaL_argcheck(L, number >= 0 && number <= 2, 1, "0, 1 or 2 expected");
    aco_stream *s = acl_stream_new(L, e);
    int fd = fcntl(number, F_DUPFD_CLOEXEC, 3), err = ACO_OK;
    if (fd < 0 && errno != EBADF) return luaL_error(L, "%s: %s", labels[number], strerror(errno));
    if (fd >= 0 && number == 0 && fstat(fd, &about) == 0 && S_ISREG(about.st_mode))
        err = aco_file_open(s, &e->loop, aco_process_pool(e->reach->process), fd);
    else if (fd >= 0)
        aco_stream_share(s, &e->loop, fd, number);
    if (err != ACO_OK) return luaL_error(L, "%s: %s", labels[number], aco_err_text(err));
    s->label = strdup(labels[number]);
    return 1;
}

void
acl_open_file(lua_State *L, acl_engine *e)
{
    static const luaL_Reg funcs[] = {
        {"path", path_do}, {"open_flags", open_flags}, {"standard", standard}, {NULL, NULL}};
    static const luaL_Reg methods[] = {{"flush", stream_flush},
                                       {"sync", stream_sync},
                                       {"seek", stream_seek},
                                       {"close", stream_close},
                                       {NULL, NULL}};
    static const luaL_Reg meta[] = {{"__close", stream_close}, {NULL, NULL}};

    lua_newtable(L);
    acl_setfuncs(L, e, funcs);
    lua_setfield(L, -2, "file");
    lua_getfield(L, -1, "stream");
    acl_setfuncs(L, e, methods);
    lua_pop(L, 1);
    acl_stream_meta(L);
    acl_setfuncs(L, e, meta);
    lua_pop(L, 1);
}
