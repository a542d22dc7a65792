/* SPDX-License-Identifier: MIT */
/* dest_fuzz.c -- names of files from elsewhere: whatever they are, they lead nowhere but below the
 * folder, past links that lead out of it; and offers of files, which are what was written. The
 * input: the first byte says which. */
#include "core/base/error.h"
#include "core/net/dest.h"
#include "core/net/offer.h"
#include "spec/core/check.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static aco_dest *dest;

static void
remove_folder(void)
{
    char command[256];

    snprintf(command, sizeof command, "rm -rf '%.200s'", aco_dest_path(dest));
    (void)!system(command);
}

/* A folder with ways out of it. */
static void
open_folder(void)
{
    char folder[] = "/tmp/asyncoro-fuzz-XXXXXX", why[ACO_DEST_WHY];

    CHECK(mkdtemp(folder) != NULL && aco_dest_open(folder, &dest, why) == ACO_OK);
    CHECK(atexit(remove_folder) == 0);
    int root = aco_dest_root(dest);
    CHECK(mkdirat(root, "a", 0700) == 0 && mkdirat(root, "a/b", 0700) == 0);
    CHECK(symlinkat("/", root, "l") == 0 && symlinkat("../..", root, "a/l") == 0);
    CHECK(symlinkat("..", root, "a/b/u") == 0 && symlinkat("a", root, "i") == 0);
    CHECK(mkfifoat(root, "p", 0600) == 0);
    int file = openat(root, "a/f", O_CREAT | O_WRONLY, 0600);
    CHECK(file >= 0 && close(file) == 0);
}

/* One name after the other, as the file system will see them. */
static void
check_name(const char *name)
{
    size_t count = 0;

    CHECK(name[0] != '\0' && name[0] != '/' && strlen(name) <= ACO_DEST_NAME_MAX);
    for (const char *at = name; at != NULL; count++) {
        const char *next = strchr(at, '/');
        size_t size = next != NULL ? (size_t)(next - at) : strlen(at);
        CHECK(size > 0 && size <= ACO_DEST_LEAF_MAX);
        CHECK(!(size == 1 && at[0] == '.') && !(size == 2 && memcmp(at, "..", 2) == 0));
        if (count == 0)
            CHECK(size != strlen(ACO_DEST_PARTS) || memcmp(at, ACO_DEST_PARTS, size) != 0);
        at = next != NULL ? next + 1 : NULL;
    }
    CHECK(count <= ACO_DEST_DEEP);
}

static void
check_folder(int folder)
{
    char link[64], path[4096];
    const char *root = aco_dest_path(dest);

    snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
    ssize_t size = readlink(link, path, sizeof path - 1);
    CHECK(size > 0);
    path[size] = '\0';
    CHECK(strncmp(path, root, strlen(root)) == 0);
    CHECK(path[strlen(root)] == '\0' || path[strlen(root)] == '/');
}

static void
try_name(const char *path, size_t size)
{
    char name[ACO_DEST_NAME_MAX + 1], again[ACO_DEST_NAME_MAX + 1], why[ACO_DEST_WHY] = "";
    struct stat about;
    aco_spot spot;

    if (aco_dest_name(path, size, name, why) != ACO_OK) {
        CHECK(why[0] != '\0');
        return;
    }
    check_name(name);
    CHECK(aco_dest_name(name, strlen(name), again, why) == ACO_OK && strcmp(name, again) == 0);
    if (aco_spot_open(dest, name, false, &spot, why) != ACO_OK) return;
    check_folder(spot.folder);
    CHECK(strchr(spot.leaf, '/') == NULL);
    if (aco_spot_look(&spot, &about, why) == ACO_OK) CHECK(S_ISREG(about.st_mode));
    aco_spot_close(&spot);
}

static void
try_offer(int flags, const uint8_t *body, size_t size)
{
    uint8_t copy[ACO_CARRIER_BODY];
    aco_offer offer;

    if (size > ACO_CARRIER_BODY || aco_offer_read(&offer, flags, body, size) != ACO_OK) return;
    CHECK(offer.path + offer.path_size == (const char *)body + size);
    if (offer.path_size > ACO_DEST_NAME_MAX) return;
    CHECK(aco_offer_write(&offer, copy) == size && memcmp(copy, body, size) == 0);
    try_name(offer.path, offer.path_size);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (dest == NULL) open_folder();
    if (size == 0) return 0;
    if ((data[0] & 0x80) != 0)
        try_offer(data[0] & 0x7f, data + 1, size - 1);
    else
        try_name((const char *)data + 1, size - 1);
    return 0;
}
