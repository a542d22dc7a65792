/* SPDX-License-Identifier: MIT */
#include "core/net/dest.h"
#include "core/base/error.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct aco_dest {
    atomic_uint refs;
    int root, parts;
    char path[];
};

/* Texts -----------------------------------------------------------------------------------------
 */

ACO_PRINTF(3, 4)
static int
say(char why[ACO_DEST_WHY], int err, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(why, ACO_DEST_WHY, format, args);
    va_end(args);
    return err;
}

int
aco_dest_failed(char why[ACO_DEST_WHY], const char *what, const char *name, int errnum)
{
    char text[128];

    return say(why, aco_err_from_errno(errnum), "%s %.300s: %s", what, name,
               strerror_r(errnum, text, sizeof text));
}

/* Names -----------------------------------------------------------------------------------------
 */

static bool
is_plain_text(const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f) return false;
    return true;
}

/* Append one name of a path. */
static int
name_add(char *name, size_t *length, const char *leaf, size_t size, char why[ACO_DEST_WHY])
{
    if (size == 2 && memcmp(leaf, "..", 2) == 0)
        return say(why, ACO_EDENIED, "a path with '..' in it would leave the folder for files");
    if (size > ACO_DEST_LEAF_MAX)
        return say(why, ACO_ETOOLARGE, "a name of more than %d bytes", ACO_DEST_LEAF_MAX);
    if (*length == 0 && size == strlen(ACO_DEST_PARTS) && memcmp(leaf, ACO_DEST_PARTS, size) == 0)
        return say(why, ACO_EDENIED, "'%s' is the folder for files on their way", ACO_DEST_PARTS);
    if (*length + size + 2 > ACO_DEST_NAME_MAX)
        return say(why, ACO_ETOOLARGE, "a path of more than %d bytes", ACO_DEST_NAME_MAX - 1);
    if (*length > 0) name[(*length)++] = '/';
    memcpy(name + *length, leaf, size);
    *length += size;
    return ACO_OK;
}

int
aco_dest_name(const char *path, size_t size, char name[ACO_DEST_NAME_MAX + 1],
              char why[ACO_DEST_WHY])
{
    const char *end = path + size, *next;
    size_t length = 0, count = 0;

    name[0] = '\0';
    if (!is_plain_text(path, size))
        return say(why, ACO_EINVALID, "a path with control characters in it");
    if (size > 0 && path[0] == '/')
        return say(why, ACO_EDENIED, "an absolute path: it must be one below the folder for files");
    for (; path < end; path = next + (next < end)) {
        next = memchr(path, '/', (size_t)(end - path));
        if (next == NULL) next = end;
        size_t leaf = (size_t)(next - path);
        if (leaf == 0 || (leaf == 1 && path[0] == '.')) continue;
        if (++count > ACO_DEST_DEEP)
            return say(why, ACO_ETOOLARGE, "more than %d folders below each other", ACO_DEST_DEEP);
        int err = name_add(name, &length, path, leaf, why);
        if (err != ACO_OK) return err;
    }
    name[length] = '\0';
    if (length == 0) return say(why, ACO_EINVALID, "no name of a file");
    return ACO_OK;
}

/* The folder ------------------------------------------------------------------------------------
 */

static char *
path_join(const char *folder, const char *rest)
{
    char *path = NULL;

    return asprintf(&path, "%s/%s", folder, rest) < 0 ? NULL : path;
}

char *
aco_dest_usual(void)
{
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    struct passwd entry, *found = NULL;
    char text[2048];

    if (state != NULL && state[0] == '/') return path_join(state, "asyncoro/files");
    if (home == NULL || home[0] != '/') {
        if (getpwuid_r(geteuid(), &entry, text, sizeof text, &found) != 0 || found == NULL)
            return NULL;
        home = found->pw_dir;
    }
    return path_join(home, ".local/state/asyncoro/files");
}

/* With the folders above. Whatever is there already stays as it is. */
static int
make_folders(char *path)
{
    for (char *at = path + 1; *at != '\0'; at++) {
        if (*at != '/') continue;
        *at = '\0';
        int result = mkdir(path, 0700);
        *at = '/';
        if (result != 0 && errno != EEXIST && errno != EACCES && errno != EROFS) return -1;
    }
    return mkdir(path, 0700) != 0 && errno != EEXIST ? -1 : 0;
}

static int
open_root(const char *path, int *root, char why[ACO_DEST_WHY])
{
    struct stat about;
    char *copy = strdup(path);

    if (copy == NULL) return say(why, ACO_ENOMEM, "%s", aco_err_text(ACO_ENOMEM));
    int made = path[0] == '\0' ? (errno = ENOENT, -1) : make_folders(copy), errnum = errno;
    free(copy);
    if (made != 0) return aco_dest_failed(why, "folder for files", path, errnum);
    *root = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*root < 0 || fstat(*root, &about) != 0)
        return aco_dest_failed(why, "folder for files", path, errno);
    if ((about.st_mode & S_IWOTH) != 0)
        return say(why, ACO_EDENIED,
                   "folder for files %.300s: everybody may write there; take one of your own",
                   path);
    return ACO_OK;
}

static int
open_parts(const char *path, int root, int *parts, char why[ACO_DEST_WHY])
{
    struct stat about;

    if (mkdirat(root, ACO_DEST_PARTS, 0700) != 0 && errno != EEXIST)
        return aco_dest_failed(why, "folder for files", path, errno);
    *parts = openat(root, ACO_DEST_PARTS, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (*parts < 0 || fstat(*parts, &about) != 0)
        return aco_dest_failed(why, "folder for files", path, errno);
    if (about.st_uid != geteuid() || (about.st_mode & 077) != 0)
        return say(why, ACO_EDENIED, "%.300s/%s: it must belong to this user, and to no other",
                   path, ACO_DEST_PARTS);
    return ACO_OK;
}

static aco_dest *
dest_new(int root, int parts, const char *path)
{
    size_t size = strlen(path) + 1;
    aco_dest *dest = calloc(1, sizeof *dest + size);

    if (dest == NULL) return NULL;
    atomic_init(&dest->refs, 1);
    dest->root = root;
    dest->parts = parts;
    memcpy(dest->path, path, size);
    return dest;
}

int
aco_dest_open(const char *path, aco_dest **out, char why[ACO_DEST_WHY])
{
    int root = -1, parts = -1;
    int err = open_root(path, &root, why);

    *out = NULL;
    if (err == ACO_OK) err = open_parts(path, root, &parts, why);
    if (err == ACO_OK) {
        char *real = realpath(path, NULL);
        if (real != NULL) *out = dest_new(root, parts, real);
        free(real);
        if (*out == NULL) err = say(why, ACO_ENOMEM, "%s", aco_err_text(ACO_ENOMEM));
    }
    if (err != ACO_OK) {
        if (root >= 0) close(root);
        if (parts >= 0) close(parts);
    }
    return err;
}

aco_dest *
aco_dest_ref(aco_dest *dest)
{
    atomic_fetch_add_explicit(&dest->refs, 1, memory_order_relaxed);
    return dest;
}

void
aco_dest_unref(aco_dest *dest)
{
    if (dest == NULL || atomic_fetch_sub(&dest->refs, 1) != 1) return;
    close(dest->root);
    close(dest->parts);
    free(dest);
}

const char *
aco_dest_path(const aco_dest *dest)
{
    return dest->path;
}

int
aco_dest_root(const aco_dest *dest)
{
    return dest->root;
}

int
aco_dest_parts(const aco_dest *dest)
{
    return dest->parts;
}

/* Spots -----------------------------------------------------------------------------------------
 */

/* What kept us from a folder: a link, a file, or what errno says. */
static int
step_failed(int folder, const char *leaf, int errnum, char why[ACO_DEST_WHY])
{
    struct stat about;

    if (errnum == ENOENT) return say(why, ACO_ENOTFOUND, "there is no folder '%.255s'", leaf);
    if ((errnum == ENOTDIR || errnum == ELOOP) &&
        fstatat(folder, leaf, &about, AT_SYMLINK_NOFOLLOW) == 0) {
        if (S_ISLNK(about.st_mode))
            return say(why, ACO_EDENIED, "'%.255s' is a symbolic link, which is not followed",
                       leaf);
        return say(why, ACO_EINVALID, "'%.255s' is a file, not a folder", leaf);
    }
    return aco_dest_failed(why, "folder", leaf, errnum);
}

/* One folder further down. */
static int
spot_step(aco_spot *spot, const char *leaf, bool make, char why[ACO_DEST_WHY])
{
    const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    int fd = openat(spot->folder, leaf, flags);

    if (fd < 0 && errno == ENOENT && make) {
        if (mkdirat(spot->folder, leaf, 0700) == 0)
            (void)fsync(spot->folder);
        else if (errno != EEXIST)
            return step_failed(spot->folder, leaf, errno, why);
        fd = openat(spot->folder, leaf, flags);
    }
    if (fd < 0) return step_failed(spot->folder, leaf, errno, why);
    if (spot->owned) close(spot->folder);
    spot->folder = fd;
    spot->owned = true;
    return ACO_OK;
}

int
aco_spot_open(aco_dest *dest, const char *name, bool make, aco_spot *spot, char why[ACO_DEST_WHY])
{
    size_t size = strlen(name);
    char *next;

    assert(size > 0 && size <= ACO_DEST_NAME_MAX);
    memcpy(spot->name, name, size + 1);
    spot->folder = dest->root;
    spot->owned = false;
    spot->leaf = spot->name;
    while ((next = strchr(spot->leaf, '/')) != NULL) {
        *next = '\0';
        int err = spot_step(spot, spot->leaf, make, why);
        *next = '/';
        if (err != ACO_OK) {
            aco_spot_close(spot);
            return err;
        }
        spot->leaf = next + 1;
    }
    return ACO_OK;
}

void
aco_spot_close(aco_spot *spot)
{
    if (spot->owned) close(spot->folder);
    spot->owned = false;
}

int
aco_spot_look(const aco_spot *spot, struct stat *about, char why[ACO_DEST_WHY])
{
    if (fstatat(spot->folder, spot->leaf, about, AT_SYMLINK_NOFOLLOW) != 0) {
        if (errno == ENOENT)
            return say(why, ACO_ENOTFOUND, "there is no file '%.300s'", spot->name);
        return aco_dest_failed(why, "file", spot->name, errno);
    }
    if (S_ISREG(about->st_mode)) return ACO_OK;
    if (S_ISLNK(about->st_mode))
        return say(why, ACO_EDENIED, "'%.300s' is a symbolic link, which is not followed",
                   spot->name);
    return say(why, ACO_EINVALID, "'%.300s' is a %s, not a plain file", spot->name,
               S_ISDIR(about->st_mode)    ? "folder"
               : S_ISFIFO(about->st_mode) ? "named pipe"
               : S_ISSOCK(about->st_mode) ? "socket"
                                          : "device");
}

/* Removing --------------------------------------------------------------------------------------
 */

/* From the innermost on, as long as they are empty. */
static void
remove_folders(aco_dest *dest, char *name)
{
    char why[ACO_DEST_WHY], *slash;
    aco_spot spot;

    while ((slash = strrchr(name, '/')) != NULL) {
        *slash = '\0';
        if (aco_spot_open(dest, name, false, &spot, why) != ACO_OK) return;
        int result = unlinkat(spot.folder, spot.leaf, AT_REMOVEDIR);
        aco_spot_close(&spot);
        if (result != 0) return;
    }
}

int
aco_dest_remove(aco_dest *dest, const char *name, char why[ACO_DEST_WHY])
{
    struct stat about;
    aco_spot spot;
    int err = aco_spot_open(dest, name, false, &spot, why);

    if (err != ACO_OK) return err;
    err = aco_spot_look(&spot, &about, why);
    if (err == ACO_OK && unlinkat(spot.folder, spot.leaf, 0) != 0)
        err = aco_dest_failed(why, "remove", name, errno);
    aco_spot_close(&spot);
    if (err == ACO_OK) remove_folders(dest, spot.name);
    return err;
}
