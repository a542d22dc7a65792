/* SPDX-License-Identifier: MIT */
#include "core/net/dest.h"
#include "core/base/error.h"
#include "core/net/part.h"
#include "spec/core/check.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static char base[] = "/tmp/asyncoro-dest-XXXXXX";
static char why[ACO_DEST_WHY];

static bool
exists(const char *path)
{
    struct stat about;

    return lstat(path, &about) == 0;
}

static void
make_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
}

/* Names -----------------------------------------------------------------------------------------
 */

static int
name_of(const char *path, char *name)
{
    return aco_dest_name(path, strlen(path), name, why);
}

static void
good(const char *path, const char *expected)
{
    char name[ACO_DEST_NAME_MAX + 1];

    CHECK(name_of(path, name) == ACO_OK && strcmp(name, expected) == 0);
}

static void
bad(const char *path, int err, const char *words)
{
    char name[ACO_DEST_NAME_MAX + 1];

    CHECK(name_of(path, name) == err && strstr(why, words) != NULL);
}

static void
test_names(void)
{
    char name[ACO_DEST_NAME_MAX + 1], longest[ACO_DEST_NAME_MAX + 300];

    good("a", "a");
    good("a/b", "a/b");
    good("./a//b/./c", "a/b/c");
    good("a/b/", "a/b");
    good("...", "...");
    good("..a/b..", "..a/b..");
    good("a/.asyncoro", "a/.asyncoro");
    good(".asyncoro2", ".asyncoro2");
    good("\xc3\xa4 b\\c", "\xc3\xa4 b\\c");
    bad("", ACO_EINVALID, "no name");
    bad(".", ACO_EINVALID, "no name");
    bad("./", ACO_EINVALID, "no name");
    bad("/", ACO_EDENIED, "absolute");
    bad("/etc/passwd", ACO_EDENIED, "absolute");
    bad("..", ACO_EDENIED, "'..'");
    bad("../x", ACO_EDENIED, "'..'");
    bad("a/../../x", ACO_EDENIED, "'..'");
    bad("a/..", ACO_EDENIED, "'..'");
    bad("a/b/../c", ACO_EDENIED, "'..'");
    bad(".asyncoro", ACO_EDENIED, "on their way");
    bad(".asyncoro/p-0", ACO_EDENIED, "on their way");
    bad("./.asyncoro/p-0", ACO_EDENIED, "on their way");
    bad("a\nb", ACO_EINVALID, "control");
    bad("a\x7f", ACO_EINVALID, "control");
    CHECK(aco_dest_name("a\0b", 3, name, why) == ACO_EINVALID);
    CHECK(aco_dest_name("a/..\0", 5, name, why) == ACO_EINVALID);

    memset(longest, 'x', sizeof longest);
    CHECK(aco_dest_name(longest, 255, name, why) == ACO_OK && strlen(name) == 255);
    CHECK(aco_dest_name(longest, 256, name, why) == ACO_ETOOLARGE);
    for (size_t i = 200; i < sizeof longest; i += 200)
        longest[i] = '/';
    CHECK(aco_dest_name(longest, ACO_DEST_NAME_MAX - 1, name, why) == ACO_OK);
    CHECK(aco_dest_name(longest, ACO_DEST_NAME_MAX, name, why) == ACO_ETOOLARGE);
    for (size_t i = 0; i < 2 * ACO_DEST_DEEP; i += 2)
        memcpy(longest + i, "d/", 2);
    CHECK(aco_dest_name(longest, 2 * ACO_DEST_DEEP, name, why) == ACO_OK);
    CHECK(aco_dest_name(longest, 2 * ACO_DEST_DEEP + 1, name, why) == ACO_ETOOLARGE);
}

/* The folder ------------------------------------------------------------------------------------
 */

static void
test_open(void)
{
    struct stat about;
    aco_dest *dest;

    CHECK(aco_dest_open("new/folder/files", &dest, why) == ACO_OK);
    CHECK(stat("new/folder/files", &about) == 0 && (about.st_mode & 0777) == 0700);
    CHECK(aco_dest_path(dest)[0] == '/' && strstr(aco_dest_path(dest), "/new/folder/files"));
    aco_dest_unref(aco_dest_ref(dest));
    aco_dest_unref(dest);
    aco_dest_unref(NULL);

    make_file("plain", "");
    CHECK(aco_dest_open("plain", &dest, why) != ACO_OK && dest == NULL);
    CHECK(aco_dest_open("plain/x", &dest, why) != ACO_OK);
    CHECK(aco_dest_open("", &dest, why) == ACO_ENOTFOUND);
    CHECK(mkdir("public", 0700) == 0 && chmod("public", 0777) == 0);
    CHECK(aco_dest_open("public", &dest, why) == ACO_EDENIED && strstr(why, "everybody"));
    CHECK(mkdir("open", 0700) == 0 && mkdir("open/.asyncoro", 0700) == 0);
    CHECK(chmod("open/.asyncoro", 0755) == 0);
    CHECK(aco_dest_open("open", &dest, why) == ACO_EDENIED);
    CHECK(mkdir("linked", 0700) == 0 && symlink("/tmp", "linked/.asyncoro") == 0);
    CHECK(aco_dest_open("linked", &dest, why) != ACO_OK);
}

static void
test_usual(void)
{
    char *path;

    CHECK(setenv("XDG_STATE_HOME", "/state", 1) == 0);
    CHECK((path = aco_dest_usual()) != NULL && strcmp(path, "/state/asyncoro/files") == 0);
    free(path);
    CHECK(setenv("XDG_STATE_HOME", "relative", 1) == 0 && setenv("HOME", "/home/me", 1) == 0);
    CHECK((path = aco_dest_usual()) != NULL);
    CHECK(strcmp(path, "/home/me/.local/state/asyncoro/files") == 0);
    free(path);
    CHECK(unsetenv("XDG_STATE_HOME") == 0 && unsetenv("HOME") == 0);
    CHECK((path = aco_dest_usual()) != NULL && strstr(path, "/.local/state/asyncoro/files"));
    free(path);
}

/* Spots -----------------------------------------------------------------------------------------
 */

static int
look(aco_dest *dest, const char *name)
{
    struct stat about;
    aco_spot spot;
    int err = aco_spot_open(dest, name, false, &spot, why);

    if (err != ACO_OK) return err;
    err = aco_spot_look(&spot, &about, why);
    aco_spot_close(&spot);
    return err;
}

/* What lies around a folder, or was put into it, leads nobody out of it. */
static void
test_spots(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "files/socket"};
    aco_spot spot;
    aco_dest *dest;

    CHECK(aco_dest_open("files", &dest, why) == ACO_OK);
    CHECK(mkdir("outside", 0700) == 0 && mkdir("files2", 0700) == 0);
    make_file("outside/secret", "x");
    make_file("files/file", "x");
    CHECK(symlink("../outside", "files/out") == 0);
    CHECK(symlink("../outside/secret", "files/link") == 0);
    CHECK(symlink("file", "files/inner") == 0 && symlink("none", "files/dangling") == 0);
    CHECK(mkfifo("files/fifo", 0600) == 0 && mkdir("files/folder", 0700) == 0);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0);
    close(fd);

    CHECK(look(dest, "file") == ACO_OK);
    CHECK(look(dest, "none") == ACO_ENOTFOUND && look(dest, "no/ne") == ACO_ENOTFOUND);
    CHECK(look(dest, "out/secret") == ACO_EDENIED && strstr(why, "symbolic link"));
    CHECK(look(dest, "link") == ACO_EDENIED && look(dest, "inner") == ACO_EDENIED);
    CHECK(look(dest, "dangling") == ACO_EDENIED && look(dest, "out") == ACO_EDENIED);
    CHECK(look(dest, "fifo") == ACO_EINVALID && strstr(why, "named pipe"));
    CHECK(look(dest, "socket") == ACO_EINVALID && strstr(why, "socket"));
    CHECK(look(dest, "folder") == ACO_EINVALID && strstr(why, "folder"));
    CHECK(look(dest, "file/x") == ACO_EINVALID && strstr(why, "not a folder"));
    CHECK(aco_spot_open(dest, "out/new/x", true, &spot, why) == ACO_EDENIED);
    CHECK(aco_spot_open(dest, "file/x", true, &spot, why) == ACO_EINVALID);
    CHECK(!exists("outside/new"));
    CHECK(aco_spot_open(dest, "deep/er/x", true, &spot, why) == ACO_OK && exists("files/deep/er"));
    aco_spot_close(&spot);
    if (mknod("files/device", S_IFCHR | 0600, 0x103) == 0)
        CHECK(look(dest, "device") == ACO_EINVALID && strstr(why, "device"));
    aco_dest_unref(dest);
}

static void
test_remove(void)
{
    aco_dest *dest;

    CHECK(aco_dest_open("files", &dest, why) == ACO_OK);
    CHECK(mkdir("files/a", 0700) == 0 && mkdir("files/a/b", 0700) == 0);
    make_file("files/a/b/one", "x");
    make_file("files/a/two", "x");
    CHECK(aco_dest_remove(dest, "a/b/one", why) == ACO_OK);
    CHECK(!exists("files/a/b") && exists("files/a/two"));
    CHECK(aco_dest_remove(dest, "a/two", why) == ACO_OK && !exists("files/a") && exists("files"));
    CHECK(aco_dest_remove(dest, "a/two", why) == ACO_ENOTFOUND);
    CHECK(aco_dest_remove(dest, "file", why) == ACO_OK && exists("files"));
    CHECK(aco_dest_remove(dest, "link", why) == ACO_EDENIED && exists("files/link"));
    CHECK(aco_dest_remove(dest, "out/secret", why) == ACO_EDENIED && exists("outside/secret"));
    CHECK(aco_dest_remove(dest, "fifo", why) == ACO_EINVALID && exists("files/fifo"));
    CHECK(aco_dest_remove(dest, "folder", why) == ACO_EINVALID && exists("files/folder"));
    aco_dest_unref(dest);
}

/* Parts -----------------------------------------------------------------------------------------
 */

static const struct timespec noon = {.tv_sec = 1700000000, .tv_nsec = 500000000};

static size_t
part_count(void)
{
    char command[] = "test -z \"$(ls files/.asyncoro)\"";

    return system(command) == 0 ? 0 : 1;
}

static void
part_path(const aco_part *part, char path[64])
{
    snprintf(path, 64, "files/.asyncoro/%s", part->name);
}

static void
test_arrive(aco_dest *dest)
{
    struct stat about;
    aco_part part;

    CHECK(aco_part_open(dest, NULL, &part, why) == ACO_OK && part.size == 0 && !part.kept);
    CHECK(aco_part_add(&part, "hello", 5, why) == ACO_OK && part.size == 5);
    CHECK(aco_part_arrive(dest, &part, "in/here", 0640, &noon, false, why) == ACO_OK);
    CHECK(part.fd == -1 && stat("files/in/here", &about) == 0 && about.st_size == 5);
    CHECK((about.st_mode & 07777) == 0640 && about.st_mtim.tv_sec == noon.tv_sec &&
          about.st_mtim.tv_nsec == noon.tv_nsec && part_count() == 0);
    aco_part_close(dest, &part, true);

    /* Not over another file, unless that is wished; never over what is none. */
    CHECK(aco_part_open(dest, NULL, &part, why) == ACO_OK);
    CHECK(aco_part_arrive(dest, &part, "in/here", 0600, &noon, false, why) == ACO_EEXISTS);
    CHECK(aco_part_arrive(dest, &part, "fifo", 0600, &noon, true, why) == ACO_EINVALID);
    CHECK(aco_part_arrive(dest, &part, "folder", 0600, &noon, true, why) == ACO_EINVALID);
    CHECK(aco_part_arrive(dest, &part, "dangling", 0600, &noon, true, why) == ACO_EDENIED);
    CHECK(aco_part_arrive(dest, &part, "out/x", 0600, &noon, true, why) == ACO_EDENIED);
    CHECK(stat("files/in/here", &about) == 0 && about.st_size == 5);
    CHECK(aco_part_arrive(dest, &part, "in/here", 06777, &noon, true, why) == ACO_OK);
    CHECK(stat("files/in/here", &about) == 0 && about.st_size == 0);
    CHECK((about.st_mode & 07777) == 0777); /* neither of another user's rights */
}

static void
test_keep(aco_dest *dest)
{
    static const uint8_t key[ACO_PART_KEY] = {1, 2, 3};
    static const char data[100000];
    char path[64], other_path[64];
    aco_part part, other;

    CHECK(aco_part_open(dest, key, &part, why) == ACO_OK && part.kept);
    CHECK(aco_part_add(&part, data, sizeof data, why) == ACO_OK);
    CHECK(aco_part_open(dest, key, &other, why) == ACO_OK && !other.kept && other.size == 0);
    CHECK(aco_part_add(&other, data, sizeof data, why) == ACO_OK);
    part_path(&part, path);
    part_path(&other, other_path);
    aco_part_prune(dest);
    CHECK(exists(path) && exists(other_path)); /* somebody writes them */
    aco_part_close(dest, &other, true);
    aco_part_close(dest, &part, true);
    CHECK(exists(path) && !exists(other_path));

    CHECK(aco_part_open(dest, key, &part, why) == ACO_OK && part.size == sizeof data);
    CHECK(aco_part_cut(&part, 70000, why) == ACO_OK && part.size == 70000);
    aco_part_close(dest, &part, true);
    CHECK(aco_part_open(dest, key, &part, why) == ACO_OK && part.size == 70000);
    aco_part_close(dest, &part, false);
    CHECK(part_count() == 0);
    CHECK(aco_part_open(dest, key, &part, why) == ACO_OK);
    CHECK(aco_part_add(&part, data, 10, why) == ACO_OK);
    aco_part_close(dest, &part, true); /* not worth it */
    CHECK(part_count() == 0);

    /* A link in the place of a part leads nowhere. */
    CHECK(symlink("../../outside/secret", path) == 0);
    CHECK(aco_part_open(dest, key, &part, why) == ACO_OK && !part.kept);
    aco_part_close(dest, &part, false);
    CHECK(unlink(path) == 0 && link("outside/secret", path) == 0);
    CHECK(aco_part_open(dest, key, &part, why) == ACO_OK && !part.kept);
    aco_part_close(dest, &part, false);
    CHECK(unlink(path) == 0);
}

static void
test_prune(aco_dest *dest)
{
    struct timespec times[2] = {{.tv_sec = time(NULL)}, {.tv_sec = time(NULL)}};
    char name[64];
    int left = 0;

    for (int i = 0; i < 3 * ACO_PART_COUNT; i++) {
        snprintf(name, sizeof name, "files/.asyncoro/p-%032d", i);
        make_file(name, "x");
        times[0].tv_sec = times[1].tv_sec = time(NULL) - 3600 + i;
        CHECK(utimensat(AT_FDCWD, name, times, 0) == 0);
    }
    times[0].tv_sec = times[1].tv_sec = time(NULL) - ACO_PART_AGE - 100;
    CHECK(utimensat(AT_FDCWD, name, times, 0) == 0); /* the last one is too old */
    make_file("files/.asyncoro/t-0", "x");
    aco_part_prune(dest);
    CHECK(!exists(name) && !exists("files/.asyncoro/t-0"));
    for (int i = 0; i < 3 * ACO_PART_COUNT - 1; i++) {
        snprintf(name, sizeof name, "files/.asyncoro/p-%032d", i);
        left += exists(name);
        CHECK(exists(name) == (i >= 2 * ACO_PART_COUNT - 1));
    }
    CHECK(left == ACO_PART_COUNT);
}

int
main(void)
{
    aco_dest *dest;

    CHECK(mkdtemp(base) != NULL && chdir(base) == 0);
    test_names();
    test_open();
    test_usual();
    test_spots();
    test_remove();
    CHECK(aco_dest_open("files", &dest, why) == ACO_OK);
    test_arrive(dest);
    test_keep(dest);
    test_prune(dest);
    aco_dest_unref(dest);
    CHECK(chdir("/") == 0);
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", base);
    CHECK(system(command) == 0);
    return 0;
}
