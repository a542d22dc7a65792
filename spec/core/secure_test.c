/* SPDX-License-Identifier: MIT */
/* Both ends of a connection prove that they may talk: with the key file and with a secret, byte by
 * byte, with the wrong ones, with nonsense and with silence. Certificates: the specs. */
#include "core/base/error.h"
#include "core/net/secret.h"
#include "core/net/secure.h"

#include "check.h"

#include <malloc.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum { PORT = 4711 };

static char key_path[64], other_path[64];
static const uint8_t for_messages[] = {'A', 'C', 'O', 1, 'M', 'K', 0, 0};
static const uint8_t for_a_file[] = {'A', 'C', 'O', 1, 'F', 'K', 0, 0};

/* The secret, or with NULL the key file. */
static aco_secret *
secret_of(const char *text, const char *path)
{
    struct aco_secret_options options = {
        .secret = text, .secret_size = text != NULL ? strlen(text) : 0, .key_path = path};
    aco_secret *secret = NULL;
    char *why = NULL;

    CHECK(aco_secret_new(&options, &secret, &why) == ACO_OK);
    return secret;
}

static const char good[] = "a secret of more than twenty bytes";

/* A client and a server, and between them a wire in two halves. */
struct ends {
    int fds[4];
    aco_secure *client, *server;
    int client_err, server_err;
};

static void
ends_open(struct ends *e, aco_secret *mine, aco_secret *theirs, const uint8_t *asked,
          const uint8_t *served, uint16_t port)
{
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, e->fds) == 0);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, e->fds + 2) == 0);
    e->client = aco_secure_new(mine, e->fds[0], false, asked, "localhost", PORT);
    e->server = aco_secure_new(theirs, e->fds[3], true, served, NULL, port);
    CHECK(e->client != NULL && e->server != NULL);
    e->client_err = e->server_err = ACO_EBUSY;
    aco_secret_unref(mine);
    aco_secret_unref(theirs);
}

static void
ends_close(struct ends *e)
{
    aco_secure_free(e->client);
    aco_secure_free(e->server);
    for (int i = 0; i < 4; i++)
        if (e->fds[i] >= 0) close(e->fds[i]);
}

/* What has come out of one half goes into the other, at most `piece` bytes; false: nothing. */
static bool
carry(int from, int to, size_t piece)
{
    char bytes[65536];
    ssize_t n = recv(from, bytes, piece, MSG_DONTWAIT);

    return n > 0 && send(to, bytes, (size_t)n, MSG_NOSIGNAL) == n;
}

/* Until both are done, or nothing moves any more. */
static void
shake(struct ends *e, size_t piece)
{
    bool moved = true;

    while (moved) {
        if (e->client_err == ACO_EBUSY) e->client_err = aco_secure_shake(e->client);
        moved = carry(e->fds[1], e->fds[2], piece);
        if (e->server_err == ACO_EBUSY) e->server_err = aco_secure_shake(e->server);
        moved = carry(e->fds[2], e->fds[1], piece) || moved;
    }
}

static void
talk(struct ends *e, aco_secure *from, aco_secure *to, size_t piece)
{
    static const char words[] = "how do you do";
    struct iovec pieces[] = {{(void *)words, 4}, {(void *)(words + 4), sizeof words - 4}};
    char heard[sizeof words] = "";
    size_t put = 0, got = 0, n = 0;

    CHECK(aco_secure_write(from, pieces, 2, &put) == ACO_OK && put == sizeof words);
    CHECK(aco_secure_flush(from) == ACO_OK);
    while (got < sizeof words) {
        bool moved = carry(e->fds[1], e->fds[2], piece);
        moved = carry(e->fds[2], e->fds[1], piece) || moved;
        int err = aco_secure_read(to, heard + got, sizeof heard - got, &n);
        CHECK(err == ACO_OK || (err == ACO_EBUSY && moved));
        if (err == ACO_OK) got += n;
    }
    CHECK(strcmp(words, heard) == 0);
}

static void
test_good(const char *secret, size_t piece)
{
    struct ends e;
    char byte;
    size_t n;

    ends_open(&e, secret_of(secret, key_path), secret_of(secret, key_path), for_messages,
              for_messages, PORT);
    CHECK(aco_secure_plain(e.client) == (secret == NULL));
    shake(&e, piece);
    CHECK(e.client_err == ACO_OK && e.server_err == ACO_OK);
    CHECK(aco_secure_shake(e.client) == ACO_OK && aco_secure_wants(e.client) == POLLIN);
    talk(&e, e.client, e.server, piece);
    talk(&e, e.server, e.client, piece);
    CHECK(aco_secure_read(e.server, &byte, 1, &n) == ACO_EBUSY && !aco_secure_holds(e.server));
    CHECK(aco_secure_end(e.client) == ACO_OK);
    while (carry(e.fds[1], e.fds[2], 65536))
        continue;
    shutdown(e.fds[2], SHUT_WR);
    CHECK(aco_secure_read(e.server, &byte, 1, &n) == ACO_EEOF);
    CHECK(strstr(aco_secure_error(e.server), "closed") != NULL);
    ends_close(&e);
}

/* Both sides hear of it. Whoever fails first closes, as its owner would. */
static void
refused(aco_secret *mine, aco_secret *theirs, const uint8_t *served, uint16_t port,
        const char *words)
{
    struct ends e;

    ends_open(&e, mine, theirs, for_messages, served, port);
    shake(&e, 65536);
    if (e.client_err != ACO_EBUSY) {
        shutdown(e.fds[2], SHUT_RDWR);
        shake(&e, 65536);
    } else {
        shutdown(e.fds[1], SHUT_RDWR);
        shake(&e, 65536);
    }
    bool client = strstr(aco_secure_error(e.client), words) != NULL;
    bool server = strstr(aco_secure_error(e.server), words) != NULL;
    CHECK(client || server);
    CHECK(e.client_err == ACO_EAUTH || e.client_err == ACO_EPROTOCOL);
    CHECK(e.server_err == ACO_EAUTH || e.server_err == ACO_EPROTOCOL);
    CHECK(aco_secure_shake(e.client) == e.client_err); /* it stays so */
    ends_close(&e);
}

static void
test_wrong(void)
{
    static const char other[] = "a secret of another kind than good";

    refused(secret_of(NULL, key_path), secret_of(NULL, other_path), for_messages, PORT,
            "key files differ");
    refused(secret_of(NULL, key_path), secret_of(NULL, key_path), for_messages, PORT + 1,
            "forwarded port");
    refused(secret_of(NULL, key_path), secret_of(NULL, key_path), for_a_file, PORT, "differ");
    refused(secret_of(good, NULL), secret_of(other, NULL), for_messages, PORT, "secrets differ");
    refused(secret_of(good, NULL), secret_of(good, NULL), for_a_file, PORT, "first bytes");
}

/* A stranger without the key who sends the server's own proof back. */
static void
test_mirror(void)
{
    uint8_t nonce[32] = {1}, answer[64];
    int fds[2];
    aco_secret *secret = secret_of(NULL, key_path);

    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
    aco_secure *server = aco_secure_new(secret, fds[0], true, for_messages, NULL, PORT);
    CHECK(send(fds[1], nonce, sizeof nonce, 0) == sizeof nonce);
    CHECK(aco_secure_shake(server) == ACO_EBUSY);
    CHECK(recv(fds[1], answer, sizeof answer, MSG_DONTWAIT) == sizeof answer);
    CHECK(send(fds[1], answer + 32, 32, 0) == 32);
    CHECK(aco_secure_shake(server) == ACO_EAUTH);
    aco_secure_free(server);
    aco_secret_unref(secret);
    close(fds[0]);
    close(fds[1]);
}

static size_t
memory_used(void)
{
    return mallinfo2().uordblks; /* 0 where a sanitizer allocates */
}

/* A stranger says something of this kind, over and over; the end, and what is kept of it until
 * then. */
static void
nonsense(const char *secret, bool server, const void *bytes, size_t size)
{
    int fds[2];
    aco_secret *of = secret_of(secret, key_path);
    int err = ACO_EBUSY;

    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
    aco_secure *s = aco_secure_new(of, fds[0], server, for_messages, "localhost", PORT);
    size_t before = memory_used(), most = 0;
    for (int i = 0; i < 2000 && err == ACO_EBUSY; i++) {
        if (send(fds[1], bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) break;
        err = aco_secure_shake(s);
        size_t now = memory_used();
        if (now > before && now - before > most) most = now - before;
    }
    if (err == ACO_EBUSY) {
        shutdown(fds[1], SHUT_WR);
        err = aco_secure_shake(s);
    }
    CHECK(err != ACO_OK && err != ACO_EBUSY && aco_secure_error(s)[0] != '\0');
    CHECK(most < 256 * 1024);
    aco_secure_free(s);
    aco_secret_unref(of);
    close(fds[0]);
    close(fds[1]);
}

static void
test_nonsense(const char *secret, bool server)
{
    /* The start of a message of the handshake of 16 MiB, and more of it. */
    static const uint8_t large[] = {0x16, 3, 3, 0, 8, 1, 0xff, 0xff, 0xff, 3, 3, 0, 0};
    static const uint8_t more[] = {0x16, 3, 3, 0, 4, 1, 2, 3, 4};
    uint8_t bytes[1024];

    memset(bytes, 0xff, sizeof bytes);
    nonsense(secret, server, bytes, sizeof bytes);
    memset(bytes, 0, sizeof bytes);
    nonsense(secret, server, bytes, sizeof bytes);
    nonsense(secret, server, "GET / HTTP/1.0\r\n\r\n", 18);
    nonsense(secret, server, large, sizeof large);
    nonsense(secret, server, more, sizeof more);
    nonsense(secret, server, "", 0); /* silence, until its owner loses patience */
}

int
main(void)
{
    char folder[] = "/tmp/asyncoro-secure-XXXXXX";

    CHECK(mkdtemp(folder) != NULL);
    snprintf(key_path, sizeof key_path, "%s/key", folder);
    snprintf(other_path, sizeof other_path, "%s/other", folder);
    test_good(NULL, 65536);
    test_good(NULL, 1);
    test_good(good, 65536);
    test_good(good, 1);
    test_wrong();
    test_mirror();
    for (int server = 0; server < 2; server++) {
        test_nonsense(NULL, server);
        test_nonsense(good, server);
    }
    unlink(key_path);
    unlink(other_path);
    rmdir(folder);
    return 0;
}
