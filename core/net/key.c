/* SPDX-License-Identifier: MIT */
#include "core/net/key.h"
#include "core/base/error.h"
#include "core/base/random.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

char *
aco_key_path(void)
{
    const char *config = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
    struct passwd entry, *found = NULL;
    char text[1024], *path = NULL;
    int done;

    if (config != NULL && *config == '/') {
        done = asprintf(&path, "%s/asyncoro/key", config);
        return done < 0 ? NULL : path;
    }
    if ((home == NULL || *home != '/') &&
        getpwuid_r(geteuid(), &entry, text, sizeof text, &found) == 0 && found != NULL)
        home = entry.pw_dir;
    if (home == NULL || *home != '/') return NULL;
    done = asprintf(&path, "%s/.config/asyncoro/key", home);
    return done < 0 ? NULL : path;
}

static int
system_failed(char **why, const char *what, const char *path)
{
    int saved = errno;

    return aco_err_why(why, aco_err_from_errno(saved), "%s %s: %s", what, path, strerror(saved));
}

/* Make the folders on the way; the last one is for the user only. */
static int
folders_make(const char *path, char **why)
{
    char *folder = strdup(path);

    if (folder == NULL) return ACO_ENOMEM;
    for (char *slash = strchr(folder + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(folder, 0700) != 0 && errno != EEXIST) {
            int err = system_failed(why, "cannot make the folder", folder);
            free(folder);
            return err;
        }
        *slash = '/';
    }
    free(folder);
    return ACO_OK;
}

static bool
write_all(int fd, const uint8_t *data, size_t size)
{
    while (size > 0) {
        ssize_t n = write(fd, data, size);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        data += n;
        size -= (size_t)n;
    }
    return fsync(fd) == 0;
}

/* Several processes may make it at the same time: the first one's stays (where the file system has
 * no links, the last one's). */
static bool
name_give(const char *temporary, const char *path)
{
    if (link(temporary, path) == 0 || errno == EEXIST) return true;
    if (errno != EPERM && errno != ENOTSUP && errno != ENOSYS) return false;
    return rename(temporary, path) == 0;
}

static int
key_make(const char *path, char **why)
{
    uint8_t key[ACO_KEY_SIZE];
    char *temporary = NULL;

    int err = folders_make(path, why);
    if (err != ACO_OK) return err;
    if (aco_random(key, sizeof key) != ACO_OK)
        return aco_err_why(why, ACO_ESYSTEM, "no randomness");
    if (asprintf(&temporary, "%s.XXXXXX", path) < 0) return ACO_ENOMEM;
    int fd = mkostemp(temporary, O_CLOEXEC);
    if (fd < 0) {
        err = system_failed(why, "cannot write", temporary);
    } else {
        bool written = fchmod(fd, 0600) == 0 && write_all(fd, key, sizeof key);
        if (!written || !name_give(temporary, path)) err = system_failed(why, "cannot write", path);
        close(fd);
        unlink(temporary);
    }
    explicit_bzero(key, sizeof key);
    free(temporary);
    return err;
}

static int
key_check(int fd, const char *path, char **why)
{
    struct stat st;

    if (fstat(fd, &st) != 0) return system_failed(why, "cannot read", path);
    if (!S_ISREG(st.st_mode) || st.st_size != ACO_KEY_SIZE)
        return aco_err_why(
            why, ACO_EINVALID,
            "%s is no key file (%d bytes expected): remove it, and a new one is made", path,
            ACO_KEY_SIZE);
    if (st.st_uid != geteuid())
        return aco_err_why(
            why, ACO_EDENIED,
            "%s belongs to another user: run this as that user, or set HOME to the folder "
            "of its own",
            path);
    if (st.st_mode & 077)
        return aco_err_why(
            why, ACO_EDENIED,
            "%s can be read by others: they may have it already; remove it, and a new one "
            "is made",
            path);
    return ACO_OK;
}

static int
key_open(const char *path)
{
    return open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
}

static int
open_failed(const char *path, char **why)
{
    if (errno == ELOOP)
        return aco_err_why(why, ACO_EDENIED,
                           "%s is a symbolic link: remove it, and a new key file is made", path);
    if (errno == EACCES)
        return aco_err_why(
            why, ACO_EDENIED,
            "%s cannot be read by this user: run this as its owner, or set HOME to the "
            "folder of its own",
            path);
    return system_failed(why, "cannot read", path);
}

int
aco_key_read(const char *path, uint8_t key[ACO_KEY_SIZE], char **why)
{
    int fd = key_open(path), err = ACO_OK;

    if (fd < 0 && errno == ENOENT) {
        err = key_make(path, why);
        if (err != ACO_OK) return err;
        fd = key_open(path);
    }
    if (fd < 0) return open_failed(path, why);
    err = key_check(fd, path, why);
    if (err == ACO_OK && pread(fd, key, ACO_KEY_SIZE, 0) != ACO_KEY_SIZE)
        err = system_failed(why, "cannot read", path);
    close(fd);
    return err;
}
