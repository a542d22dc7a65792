/* SPDX-License-Identifier: MIT */
/* The key file of a user: made once, and taken only when nobody else can have read it. */
#include "core/base/error.h"
#include "core/net/key.h"

#include "check.h"

#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[] = "/tmp/asyncoro-key-XXXXXX", path[64];

static void
write_file(const char *name, const void *data, size_t size, mode_t mode)
{
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    CHECK(fd >= 0 && write(fd, data, size) == (ssize_t)size && fchmod(fd, mode) == 0);
    close(fd);
}

static void
refused(int expected, const char *word)
{
    uint8_t key[ACO_KEY_SIZE];
    char *why = NULL;

    int err = aco_key_read(path, key, &why);
    CHECK(err == expected && why != NULL);
    CHECK(strstr(why, path) != NULL && strstr(why, word) != NULL);
    free(why);
}

static void
test_made(void)
{
    static const uint8_t zero[ACO_KEY_SIZE];
    uint8_t one[ACO_KEY_SIZE], other[ACO_KEY_SIZE];
    char *why = NULL, upper[64];
    struct stat st;

    snprintf(path, sizeof path, "%s/some/where/key", folder);
    CHECK(aco_key_read(path, one, &why) == ACO_OK && why == NULL);
    CHECK(memcmp(one, zero, sizeof zero) != 0);
    CHECK(stat(path, &st) == 0 && (st.st_mode & 07777) == 0600 && st.st_size == ACO_KEY_SIZE);
    snprintf(upper, sizeof upper, "%s/some/where", folder);
    CHECK(stat(upper, &st) == 0 && (st.st_mode & 07777) == 0700);
    CHECK(aco_key_read(path, other, &why) == ACO_OK && memcmp(one, other, sizeof one) == 0);
}

static void
test_refused(void)
{
    uint8_t bytes[ACO_KEY_SIZE + 1] = {1};
    char target[64];

    write_file(path, bytes, ACO_KEY_SIZE, 0640);
    refused(ACO_EDENIED, "can be read by others");
    write_file(path, bytes, ACO_KEY_SIZE - 1, 0600);
    refused(ACO_EINVALID, "no key file");
    write_file(path, bytes, ACO_KEY_SIZE + 1, 0600);
    refused(ACO_EINVALID, "no key file");
    unlink(path);
    CHECK(mkfifo(path, 0600) == 0);
    refused(ACO_EINVALID, "no key file"); /* and nobody waits for a writer */
    unlink(path);
    CHECK(mkdir(path, 0700) == 0);
    refused(ACO_EINVALID, "no key file");
    rmdir(path);
    snprintf(target, sizeof target, "%s/target", folder);
    write_file(target, bytes, ACO_KEY_SIZE, 0600);
    CHECK(symlink(target, path) == 0);
    refused(ACO_EDENIED, "symbolic link");
    unlink(path);
    unlink(target);
    if (geteuid() == 0) {
        write_file(path, bytes, ACO_KEY_SIZE, 0600);
        CHECK(chown(path, 12345, 12345) == 0);
        refused(ACO_EDENIED, "belongs to another user");
        unlink(path);
    }
    write_file(target, bytes, 1, 0600); /* where a folder should be */
    snprintf(path, sizeof path, "%s/target/key", folder);
    refused(ACO_EINVALID, "cannot");
    unlink(target);
}

static void *
read_it(void *key)
{
    char *why = NULL;

    CHECK(aco_key_read(path, key, &why) == ACO_OK);
    return NULL;
}

/* Whoever comes first makes it; all get the same. */
static void
test_race(void)
{
    enum { THREADS = 4 };
    pthread_t threads[THREADS];
    uint8_t keys[THREADS][ACO_KEY_SIZE];

    snprintf(path, sizeof path, "%s/race", folder);
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < THREADS; i++)
            CHECK(pthread_create(&threads[i], NULL, read_it, keys[i]) == 0);
        for (int i = 0; i < THREADS; i++)
            CHECK(pthread_join(threads[i], NULL) == 0);
        for (int i = 1; i < THREADS; i++)
            CHECK(memcmp(keys[0], keys[i], ACO_KEY_SIZE) == 0);
        unlink(path);
    }
}

static void
test_path(void)
{
    char expected[128];

    setenv("HOME", folder, 1);
    setenv("XDG_CONFIG_HOME", "/somewhere", 1);
    char *found = aco_key_path();
    CHECK(found != NULL && strcmp(found, "/somewhere/asyncoro/key") == 0);
    free(found);
    setenv("XDG_CONFIG_HOME", "relative", 1); /* which its specification has passed over */
    found = aco_key_path();
    snprintf(expected, sizeof expected, "%s/.config/asyncoro/key", folder);
    CHECK(found != NULL && strcmp(found, expected) == 0);
    free(found);
}

int
main(void)
{
    char name[64];

    CHECK(mkdtemp(folder) != NULL);
    test_made();
    test_refused();
    test_race();
    test_path();
    snprintf(name, sizeof name, "%s/some/where", folder);
    rmdir(name);
    snprintf(name, sizeof name, "%s/some", folder);
    rmdir(name);
    CHECK(rmdir(folder) == 0); /* no temporary file is left */
    return 0;
}
