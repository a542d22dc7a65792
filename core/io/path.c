/* SPDX-License-Identifier: MIT */
#include "core/io/path.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { COPY_BLOCK = 256 * 1024 };

static int
do_open(aco_path *p)
{
    p->fd = open(p->path, p->flags | O_CLOEXEC, p->mode);
    p->made = p->fd >= 0 && (p->flags & O_EXCL);
    if (p->fd < 0 || fstat(p->fd, &p->about) != 0) return -1;
    return 0;
}

static int
do_stat(aco_path *p)
{
    return stat(p->path, &p->about);
}

static int
do_lstat(aco_path *p)
{
    return lstat(p->path, &p->about);
}

static int
do_rename(aco_path *p)
{
    return rename(p->path, p->other);
}

static int
do_remove(aco_path *p)
{
    return remove(p->path);
}

static int
do_mkdir(aco_path *p)
{
    return mkdir(p->path, p->mode);
}

static int
list_add(aco_path *p, const char *name)
{
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) return 0;
    if (aco_buf_add(&p->names, name, strlen(name) + 1) == 0) return 0;
    errno = ENOMEM;
    return -1;
}

static int
do_list(aco_path *p)
{
    DIR *dir = opendir(p->path);
    int result = 0;

    if (dir == NULL) return -1;
    while (result == 0) {
        errno = 0;
        const struct dirent *entry = readdir(dir);
        if (entry == NULL) break;
        result = list_add(p, entry->d_name);
    }
    if (errno != 0) result = -1;
    int errnum = errno;
    closedir(dir);
    errno = errnum;
    return result;
}

/* By reading and writing, where the kernel cannot copy between these two. */
static int
copy_blocks(aco_path *p, int from, int to)
{
    char *block = malloc(COPY_BLOCK);
    ssize_t n = -1;

    while (block != NULL && (n = read(from, block, COPY_BLOCK)) > 0) {
        for (ssize_t done = 0, put; done < n; done += put)
            if ((put = write(to, block + done, (size_t)(n - done))) < 0) {
                free(block);
                return -1;
            }
        p->size += n;
    }
    free(block);
    return n == 0 ? 0 : -1;
}

static int
copy_open(aco_path *p, int from, int to)
{
    for (;;) {
        ssize_t n = copy_file_range(from, NULL, to, NULL, (size_t)1 << 30, 0);
        if (n > 0)
            p->size += n;
        else if (n == 0 && p->size > 0)
            return 0;
        else /* nothing yet: perhaps a file that only seems empty, of /proc */
            return n == 0 || p->size == 0 ? copy_blocks(p, from, to) : -1;
    }
}

/* Plain files only: a pipe may never end. Never onto itself: that would empty it. */
static int
copy_check(aco_path *p, int from)
{
    struct stat there;

    errno = 0;
    if (fstat(from, &p->about) != 0) return -1;
    if (!S_ISREG(p->about.st_mode))
        errno = S_ISDIR(p->about.st_mode) ? EISDIR : EINVAL;
    else if (stat(p->other, &there) != 0)
        errno = 0;
    else if (there.st_dev == p->about.st_dev && there.st_ino == p->about.st_ino)
        errno = EEXIST;
    else if (S_ISFIFO(there.st_mode))
        errno = EINVAL;
    return errno == 0 ? 0 : -1;
}

static int
do_copy(aco_path *p)
{
    int from = open(p->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    int to = -1, result = -1;

    if (from < 0) return -1;
    if (copy_check(p, from) == 0)
        to = open(p->other, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY,
                  p->about.st_mode & 0777);
    if (to >= 0) result = copy_open(p, from, to);
    int errnum = errno;
    close(from);
    if (to >= 0 && close(to) != 0 && result == 0) return -1;
    errno = errnum;
    return result;
}

static int
do_temp(aco_path *p)
{
    p->fd = mkostemp(p->path, O_CLOEXEC);
    p->made = p->fd >= 0;
    return p->fd < 0 || fstat(p->fd, &p->about) != 0 ? -1 : 0;
}

static int
do_tempdir(aco_path *p)
{
    p->made = mkdtemp(p->path) != NULL;
    return p->made ? 0 : -1;
}

static int
do_realpath(aco_path *p)
{
    char *real = realpath(p->path, NULL);
    int result = real != NULL ? list_add(p, real) : -1;

    free(real);
    return result;
}

static int
do_symlink(aco_path *p)
{
    return symlink(p->path, p->other);
}

static int
do_chmod(aco_path *p)
{
    return chmod(p->path, p->mode);
}

static int
do_sync(aco_path *p)
{
    int fd = open(p->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0) return -1;
    int result = fsync(fd), errnum = errno;
    close(fd);
    errno = errnum;
    return result;
}

static int (*const operations[ACO_PATH_OPS])(aco_path *p) = {
    [ACO_PATH_OPEN] = do_open,         [ACO_PATH_STAT] = do_stat,
    [ACO_PATH_LSTAT] = do_lstat,       [ACO_PATH_RENAME] = do_rename,
    [ACO_PATH_REMOVE] = do_remove,     [ACO_PATH_MKDIR] = do_mkdir,
    [ACO_PATH_LIST] = do_list,         [ACO_PATH_COPY] = do_copy,
    [ACO_PATH_TEMP] = do_temp,         [ACO_PATH_TEMPDIR] = do_tempdir,
    [ACO_PATH_REALPATH] = do_realpath, [ACO_PATH_SYMLINK] = do_symlink,
    [ACO_PATH_CHMOD] = do_chmod,       [ACO_PATH_SYNC] = do_sync,
};

static void
path_run(aco_job *job)
{
    aco_path *p = (aco_path *)job;

    p->errnum = operations[p->op](p) == 0 ? 0 : errno;
}

static void
path_free(aco_job *job)
{
    aco_path *p = (aco_path *)job;

    if (p->fd >= 0) close(p->fd);
    if (p->made) remove(p->path);
    aco_buf_free(&p->names);
    free(p);
}

aco_path *
aco_path_new(enum aco_path_op op, const char *path, const char *other)
{
    size_t size = strlen(path) + 1, more = other != NULL ? strlen(other) + 1 : 0;
    aco_path *p = calloc(1, sizeof *p + size + more);

    if (p == NULL) return NULL;
    aco_job_init(&p->job, path_run, path_free);
    p->op = op;
    p->fd = -1;
    memcpy(p->path, path, size);
    if (other != NULL) p->other = memcpy(p->path + size, other, more);
    return p;
}
