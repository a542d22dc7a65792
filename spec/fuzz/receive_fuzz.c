/* SPDX-License-Identifier: MIT */
/* receive_fuzz.c -- whatever a sender of files says, nothing happens outside the folder, and what
 * arrives is what was offered. The input: what it sends after the handshake. */
#include "core/base/error.h"
#include "core/net/receive.h"
#include "core/net/secret.h"
#include "core/net/secure.h"
#include "spec/core/check.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FRESH = 64, LARGEST = 100000 };

static char base[64], why[ACO_DEST_WHY];
static aco_dest *dest;
static aco_secret *secret;
static unsigned runs;

static int
remove_one(const char *path, const struct stat *about, int kind, struct FTW *at)
{
    (void)about;
    (void)kind;
    (void)at;
    return remove(path);
}

static void
remove_all(void)
{
    aco_dest_unref(dest);
    dest = NULL;
    nftw(base, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* A folder with ways out of it, and what must stay as it is. */
static void
open_all(void)
{
    char path[128];

    snprintf(base, sizeof base, "/tmp/asyncoro-fuzz-XXXXXX");
    CHECK(mkdtemp(base) != NULL);
    snprintf(path, sizeof path, "%s/outside", base);
    CHECK(mkdir(path, 0700) == 0);
    snprintf(path, sizeof path, "%s/files", base);
    CHECK(aco_dest_open(path, &dest, why) == ACO_OK);
    int root = aco_dest_root(dest);
    CHECK(symlinkat("../outside", root, "l") == 0 && mkdirat(root, "a", 0700) == 0);
    CHECK(symlinkat("../../outside/x", root, "a/x") == 0 && mkfifoat(root, "p", 0600) == 0);
}

static size_t
entries(const char *path)
{
    DIR *dir = opendir(path);
    size_t count = 0;

    CHECK(dir != NULL);
    while (readdir(dir) != NULL)
        count++;
    closedir(dir);
    return count - 2;
}

static void
begin(void)
{
    struct aco_secret_options options = {.key_path = NULL};
    char path[64] = "/tmp/asyncoro-fuzz-key-XXXXXX", key[96];
    char *text;

    CHECK(mkdtemp(path) != NULL);
    snprintf(key, sizeof key, "%s/key", path);
    options.key_path = key;
    CHECK(aco_secret_new(&options, &secret, &text) == ACO_OK);
    CHECK(unlink(key) == 0 && rmdir(path) == 0);
    CHECK(atexit(remove_all) == 0);
    open_all();
}

/* Both ends of a connection of mode K, which says the bytes as they are. */
static aco_secure *
shake(const int fds[2])
{
    static const uint8_t preface[8] = {'A', 'C', 'O', 1, 'F', 'K', 0, 0};
    aco_secure *client = aco_secure_new(secret, fds[0], false, preface, NULL, 1);
    aco_secure *server = aco_secure_new(secret, fds[1], true, preface, NULL, 1);
    int here = ACO_EBUSY, there = ACO_EBUSY;

    while (here == ACO_EBUSY || there == ACO_EBUSY) {
        if (here == ACO_EBUSY) here = aco_secure_shake(client);
        if (there == ACO_EBUSY) there = aco_secure_shake(server);
    }
    CHECK(here == ACO_OK && there == ACO_OK);
    aco_secure_free(client);
    return server;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    aco_receipt receipt = {.max_file_size = LARGEST};
    aco_carrier c;
    char path[128];
    int fds[2];

    if (secret == NULL) begin();
    if (++runs % FRESH == 0) {
        remove_all();
        open_all();
    }
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) == 0);
    receipt.dest = dest;
    aco_carrier_init(&c, fds[1], -1, ACO_SECOND);
    CHECK(aco_carrier_shake(&c, shake(fds)) == ACO_OK);
    ssize_t sent = send(fds[0], data, size, MSG_NOSIGNAL);
    CHECK((size_t)sent == size || sent < 0);
    CHECK(shutdown(fds[0], SHUT_WR) == 0);
    int err = aco_receive(&c, &receipt);
    CHECK(err == ACO_OK || c.why[0] != '\0');
    CHECK(receipt.bytes <= size);
    aco_carrier_fini(&c);
    close(fds[0]);
    close(fds[1]);
    snprintf(path, sizeof path, "%s/outside", base);
    CHECK(entries(path) == 0 && entries(base) == 2);
    return 0;
}
