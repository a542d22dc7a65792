/* SPDX-License-Identifier: MIT */
#include "core/net/part.h"
#include "core/base/error.h"
#include "core/base/random.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

/* Less than this is not worth going on from. What was written is sent on to the disk in pieces of
 * FLUSH bytes, so that there is little left for the end. */
enum { WORTH = 64 << 10, FLUSH = 8 << 20 };

/* Parts that are found again, and others. */
#define KEPT 'p'
#define LOOSE 't'

static void
part_name(char name[40], char kind, const uint8_t key[ACO_PART_KEY])
{
    char *at = name;

    *at++ = kind;
    *at++ = '-';
    for (int i = 0; i < ACO_PART_KEY; i++)
        at += sprintf(at, "%02x", key[i]);
}

/* Ours alone, and still under its name? */
static bool
part_is_mine(aco_dest *dest, int fd, const char *name, uint64_t *size)
{
    struct stat about, named;

    if (flock(fd, LOCK_EX | LOCK_NB) != 0 || fstat(fd, &about) != 0) return false;
    if (fstatat(aco_dest_parts(dest), name, &named, AT_SYMLINK_NOFOLLOW) != 0) return false;
    *size = (uint64_t)about.st_size;
    return S_ISREG(about.st_mode) && about.st_uid == geteuid() && about.st_nlink == 1 &&
           about.st_dev == named.st_dev && about.st_ino == named.st_ino;
}

/* False: somebody else has it, or errno says what it is. */
static bool
part_try(aco_dest *dest, aco_part *part, char kind, const uint8_t key[ACO_PART_KEY])
{
    const int flags = O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;

    part_name(part->name, kind, key);
    part->kept = kind == KEPT;
    part->fd = openat(aco_dest_parts(dest), part->name, flags, 0600);
    if (part->fd < 0) return false;
    if (part_is_mine(dest, part->fd, part->name, &part->size)) return true;
    close(part->fd);
    part->fd = -1;
    errno = EBUSY;
    return false;
}

int
aco_part_open(aco_dest *dest, const uint8_t key[ACO_PART_KEY], aco_part *part,
              char why[ACO_DEST_WHY])
{
    uint8_t random[ACO_PART_KEY];

    *part = (aco_part){.fd = -1};
    if (key != NULL && part_try(dest, part, KEPT, key)) return ACO_OK;
    for (int i = 0; i < 3; i++) {
        if (aco_random(random, sizeof random) != ACO_OK) break;
        if (part_try(dest, part, LOOSE, random)) return ACO_OK;
    }
    return aco_dest_failed(why, "folder for files", aco_dest_path(dest), errno);
}

int
aco_part_cut(aco_part *part, uint64_t size, char why[ACO_DEST_WHY])
{
    if (ftruncate(part->fd, (off_t)size) != 0)
        return aco_dest_failed(why, "shorten", part->name, errno);
    part->size = size;
    return ACO_OK;
}

int
aco_part_add(aco_part *part, const void *data, size_t size, char why[ACO_DEST_WHY])
{
    const uint8_t *at = data;
    uint64_t before = part->size;

    while (size > 0) {
        ssize_t n = pwrite(part->fd, at, size, (off_t)part->size);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return aco_dest_failed(why, "write to", "the folder for files", errno);
        at += n;
        size -= (size_t)n;
        part->size += (uint64_t)n;
    }
    uint64_t from = before / FLUSH * FLUSH, to = part->size / FLUSH * FLUSH;
    if (to > from)
        (void)sync_file_range(part->fd, (off_t)from, (off_t)(to - from), SYNC_FILE_RANGE_WRITE);
    return ACO_OK;
}

/* Arriving --------------------------------------------------------------------------------------
 */

/* Without a window in which another file could get the name. */
static int
rename_new(int from, const char *old, const aco_spot *spot)
{
    if (renameat2(from, old, spot->folder, spot->leaf, RENAME_NOREPLACE) == 0) return 0;
    if (errno != EINVAL && errno != ENOSYS) return -1;
    if (linkat(from, old, spot->folder, spot->leaf, 0) != 0) return -1;
    return unlinkat(from, old, 0);
}

static int
spot_take(aco_dest *dest, const aco_part *part, const aco_spot *spot, bool overwrite,
          char why[ACO_DEST_WHY])
{
    struct stat about;
    int parts = aco_dest_parts(dest), err = aco_spot_look(spot, &about, why);

    if (err != ACO_OK && err != ACO_ENOTFOUND) return err;
    int result = overwrite ? renameat(parts, part->name, spot->folder, spot->leaf)
                           : rename_new(parts, part->name, spot);
    if (result == 0) return ACO_OK;
    if (errno == EXDEV) {
        snprintf(why, ACO_DEST_WHY, "'%.300s' is on another disk than the folder for files",
                 spot->name);
        return ACO_EUNSUPPORTED;
    }
    if (errno == EEXIST) {
        snprintf(why, ACO_DEST_WHY, "another file '%.300s' is there already", spot->name);
        return ACO_EEXISTS;
    }
    return aco_dest_failed(why, "file", spot->name, errno);
}

/* A folder of the way may be removed at the same time, when the last file in it is. */
static int
part_settle(aco_dest *dest, const aco_part *part, const char *name, bool overwrite,
            char why[ACO_DEST_WHY])
{
    aco_spot spot;
    int err = ACO_ENOTFOUND;

    for (int i = 0; i < 10 && err == ACO_ENOTFOUND; i++) {
        err = aco_spot_open(dest, name, true, &spot, why);
        if (err != ACO_OK) continue;
        err = spot_take(dest, part, &spot, overwrite, why);
        if (err == ACO_OK) (void)fsync(spot.folder);
        aco_spot_close(&spot);
    }
    return err;
}

int
aco_part_arrive(aco_dest *dest, aco_part *part, const char *name, unsigned mode,
                const struct timespec *modified, bool overwrite, char why[ACO_DEST_WHY])
{
    const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, *modified};

    if (fchmod(part->fd, (mode_t)mode & 0777) != 0 || futimens(part->fd, times) != 0 ||
        fsync(part->fd) != 0)
        return aco_dest_failed(why, "file", name, errno);
    int err = part_settle(dest, part, name, overwrite, why);
    if (err != ACO_OK) return err;
    close(part->fd);
    part->fd = -1;
    return ACO_OK;
}

void
aco_part_close(aco_dest *dest, aco_part *part, bool keep)
{
    if (part->fd < 0) return;
    if (!keep || !part->kept || part->size < WORTH)
        (void)unlinkat(aco_dest_parts(dest), part->name, 0);
    close(part->fd);
    part->fd = -1;
}

/* Old ones --------------------------------------------------------------------------------------
 */

struct old {
    time_t time;
    char name[40];
};

/* Nobody writes it: away with it. */
static void
part_remove(aco_dest *dest, const char *name)
{
    int fd = openat(aco_dest_parts(dest), name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    uint64_t size;

    if (fd < 0) return;
    if (part_is_mine(dest, fd, name, &size)) (void)unlinkat(aco_dest_parts(dest), name, 0);
    close(fd);
}

static int
old_compare(const void *a, const void *b)
{
    time_t x = ((const struct old *)a)->time, y = ((const struct old *)b)->time;

    return (x < y) - (x > y);
}

/* The kept ones beyond the newest, in `list`, which has room for twice as many as are kept. */
static void
prune_some(aco_dest *dest, struct old *list, size_t *count)
{
    qsort(list, *count, sizeof *list, old_compare);
    while (*count > ACO_PART_COUNT)
        part_remove(dest, list[--*count].name);
}

static void
prune_look(aco_dest *dest, const char *name, struct old *list, size_t *count)
{
    struct stat about;

    if (strlen(name) >= sizeof list->name) return;
    if (fstatat(aco_dest_parts(dest), name, &about, AT_SYMLINK_NOFOLLOW) != 0) return;
    if (name[0] == LOOSE || about.st_mtime < time(NULL) - ACO_PART_AGE) {
        part_remove(dest, name);
    } else if (name[0] == KEPT) {
        list[*count].time = about.st_mtime;
        memcpy(list[(*count)++].name, name, strlen(name) + 1);
        if (*count == 2 * ACO_PART_COUNT) prune_some(dest, list, count);
    }
}

void
aco_part_prune(aco_dest *dest)
{
    int fd = openat(aco_dest_parts(dest), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    struct old *list = calloc(2 * ACO_PART_COUNT, sizeof *list);
    const struct dirent *entry;
    size_t count = 0;

    while (dir != NULL && list != NULL && (entry = readdir(dir)) != NULL)
        if (entry->d_name[0] != '.') prune_look(dest, entry->d_name, list, &count);
    if (list != NULL) prune_some(dest, list, &count);
    free(list);
    if (dir != NULL)
        closedir(dir);
    else if (fd >= 0)
        close(fd);
}
