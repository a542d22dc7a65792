/* SPDX-License-Identifier: MIT */
/* Files between a sender and a receiver in this process, and between either and one that does not
 * keep to the rules. */
#include "core/net/transfer.h"
#include "core/base/clock.h"
#include "core/base/error.h"
#include "core/net/carrier.h"
#include "core/net/offer.h"
#include "core/net/preface.h"
#include "core/net/receiver.h"
#include "core/net/secret.h"
#include "core/net/secure.h"
#include "spec/core/check.h"
#include "spec/core/failing.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static char base[] = "/tmp/asyncoro-transfer-XXXXXX";

/* The network's part: listen, read prefaces, hand over. */
typedef struct host {
    aco_receiver *receiver;
    aco_secret *secret;
    uint16_t port;
    int fd, stop[2];
    pthread_t thread;
} host;

static void *
host_run(void *arg)
{
    host *h = arg;
    struct pollfd fds[2] = {{.fd = h->fd, .events = POLLIN}, {.fd = h->stop[0], .events = POLLIN}};
    uint8_t preface[8];

    for (;;) {
        CHECK(poll(fds, 2, -1) > 0);
        if (fds[1].revents != 0) return NULL;
        int fd = accept4(h->fd, NULL, NULL, SOCK_CLOEXEC);
        CHECK(fd >= 0);
        if (recv(fd, preface, sizeof preface, MSG_WAITALL) == sizeof preface)
            (void)!aco_receiver_serve(h->receiver, fd, preface, h->port);
        else
            close(fd);
    }
}

static void
host_open(host *h, aco_secret *secret, const char *folder, uint64_t most_bytes, unsigned most)
{
    struct aco_receiver_options options = {.dest_path = folder,
                                           .max_file_size = most_bytes,
                                           .most = most,
                                           .patience = ACO_SECOND / 2,
                                           .secret = secret};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    char *why;

    CHECK(aco_receiver_new(&options, &h->receiver, &why) == ACO_OK);
    h->secret = secret;
    h->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(h->fd >= 0 && bind(h->fd, (struct sockaddr *)&address, size) == 0);
    CHECK(listen(h->fd, 64) == 0 && getsockname(h->fd, (struct sockaddr *)&address, &size) == 0);
    h->port = ntohs(address.sin_port);
    CHECK(pipe(h->stop) == 0 && pthread_create(&h->thread, NULL, host_run, h) == 0);
}

static void
host_close(host *h)
{
    CHECK(write(h->stop[1], "x", 1) == 1 && pthread_join(h->thread, NULL) == 0);
    close(h->fd);
    close(h->stop[0]);
    close(h->stop[1]);
    aco_receiver_close(h->receiver);
}

static struct aco_receiver_stats
host_stats(host *h, unsigned busy)
{
    struct aco_receiver_stats stats;
    aco_time limit = aco_now() + 20 * ACO_SECOND;

    do {
        aco_receiver_stats(h->receiver, &stats);
        CHECK(aco_now() < limit);
    } while (stats.busy != busy && usleep(200) == 0);
    return stats;
}

/* Files -----------------------------------------------------------------------------------------
 */

static void
file_make(const char *path, size_t size, unsigned seed)
{
    char *data = malloc(size + 1);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0640);

    CHECK(data != NULL && fd >= 0);
    for (size_t i = 0; i < size; i++)
        data[i] = (char)((seed = seed * 1103515245 + 12345) >> 16);
    CHECK(write(fd, data, size) == (ssize_t)size);
    close(fd);
    free(data);
}

static bool
file_same(const char *a, const char *b)
{
    char command[512];
    struct stat x, y;

    snprintf(command, sizeof command, "cmp -s %s %s", a, b);
    return system(command) == 0 && stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_mode == y.st_mode &&
           x.st_mtim.tv_sec == y.st_mtim.tv_sec && x.st_mtim.tv_nsec == y.st_mtim.tv_nsec;
}

static bool
exists(const char *path)
{
    struct stat about;

    return lstat(path, &about) == 0;
}

static size_t
parts(void)
{
    size_t count = 0;
    FILE *list = popen("ls dest/.asyncoro | wc -l", "r");

    CHECK(list != NULL && fscanf(list, "%zu", &count) == 1);
    pclose(list);
    return count;
}

/* Transfers -------------------------------------------------------------------------------------
 */

static aco_transfer *
transfer_to(host *h, const char *path, const char *dir, int flags, bool removes)
{
    const struct aco_transfer_options options = {.host = "127.0.0.1",
                                                 .port = h->port,
                                                 .secret = h->secret,
                                                 .patience = ACO_SECOND,
                                                 .dir = dir,
                                                 .flags = flags};
    aco_transfer *t =
        removes ? aco_transfer_remove(&options, path) : aco_transfer_send(&options, path);

    CHECK(t != NULL);
    return t;
}

/* What it leads to: the error, and how many bytes were sent. */
static int
finish(aco_transfer *t, uint64_t sent, const char *words)
{
    t->job.run(&t->job);
    int err = t->err;
    if (err == ACO_OK) CHECK(strcmp(t->path, words) == 0 && t->sent == sent);
    if (err != ACO_OK && strstr(t->why, words) == NULL) fprintf(stderr, "%s\n", t->why);
    if (err != ACO_OK) CHECK(strstr(t->why, words) != NULL);
    aco_job_unref(&t->job);
    return err;
}

static int
send_to(host *h, const char *path, const char *dir, int flags, uint64_t sent, const char *words)
{
    return finish(transfer_to(h, path, dir, flags, false), sent, words);
}

static int
remove_at(host *h, const char *path, const char *words)
{
    return finish(transfer_to(h, path, NULL, 0, true), 0, words);
}

static char *
there(const char *name)
{
    static char path[256];

    snprintf(path, sizeof path, "%s/dest/%s", base, name);
    return path;
}

static void
test_send(host *h)
{
    enum { SIZE = 3000000 };
    struct timespec times[2];
    struct stat about;
    uint64_t files = host_stats(h, 0).files;

    file_make("one", SIZE, 1);
    CHECK(send_to(h, "one", NULL, 0, SIZE, there("one")) == ACO_OK);
    CHECK(file_same("one", "dest/one") && parts() == 0);
    CHECK(send_to(h, "one", NULL, 0, 0, there("one")) == ACO_OK); /* nothing to send */
    CHECK(send_to(h, "one", NULL, ACO_OFFER_CHECKSUM, 0, there("one")) == ACO_OK);
    CHECK(send_to(h, "one", "a//b", ACO_OFFER_CHECKSUM, SIZE, there("a/b/one")) == ACO_OK);
    CHECK(file_same("one", "dest/a/b/one"));
    CHECK(host_stats(h, 0).files == files + 2);

    /* Another file of the same size and time is only found by its sum. */
    CHECK(stat("one", &about) == 0);
    times[0] = times[1] = about.st_mtim;
    file_make("one", SIZE, 2);
    CHECK(utimensat(AT_FDCWD, "one", times, 0) == 0);
    CHECK(send_to(h, "one", NULL, 0, 0, there("one")) == ACO_OK);
    CHECK(!file_same("one", "dest/one"));
    CHECK(send_to(h, "one", NULL, ACO_OFFER_CHECKSUM, 0, "there already") == ACO_EEXISTS);
    CHECK(send_to(h, "one", NULL, ACO_OFFER_CHECKSUM | ACO_OFFER_OVERWRITE, SIZE, there("one")) ==
          ACO_OK);
    CHECK(file_same("one", "dest/one"));

    file_make("one", SIZE - 1, 3);
    CHECK(send_to(h, "one", NULL, 0, 0, "there already") == ACO_EEXISTS);
    CHECK(send_to(h, "one", NULL, ACO_OFFER_OVERWRITE, SIZE - 1, there("one")) == ACO_OK);
    CHECK(file_same("one", "dest/one"));

    file_make("empty", 0, 0);
    CHECK(chmod("empty", 0444) == 0);
    for (int flags = 0; flags <= ACO_OFFER_FLAGS; flags++) {
        CHECK(send_to(h, "empty", NULL, flags, 0, there("empty")) == ACO_OK);
        CHECK(file_same("empty", "dest/empty"));
        if (flags % 2) CHECK(unlink("dest/empty") == 0);
    }
    CHECK(remove_at(h, "empty", "empty") == ACO_OK || !exists("dest/empty"));
    CHECK(remove_at(h, "a/b/one", "a/b/one") == ACO_OK && !exists("dest/a"));
    CHECK(remove_at(h, there("one"), "one") == ACO_OK && !exists("dest/one"));
    CHECK(remove_at(h, "one", "no file") == ACO_ENOTFOUND);
    CHECK(parts() == 0);
}

static void
test_refused(host *h)
{
    CHECK(mkdir("outside", 0700) == 0 && symlink("../outside", "dest/out") == 0);
    CHECK(mkdir("dest2", 0700) == 0 && mkfifo("dest/two", 0600) == 0 && mkfifo("pipe", 0600) == 0);
    file_make("two", 10, 1);
    file_make("outside/two", 10, 1);
    file_make("large", 8 << 20, 1);
    CHECK(send_to(h, "two", "..", 0, 0, "'..'") == ACO_EDENIED);
    CHECK(send_to(h, "two", "../dest2", ACO_OFFER_OVERWRITE, 0, "'..'") == ACO_EDENIED);
    CHECK(send_to(h, "two", "/tmp", 0, 0, "absolute") == ACO_EDENIED);
    CHECK(send_to(h, "two", ".asyncoro", 0, 0, "on their way") == ACO_EDENIED);
    CHECK(send_to(h, "two", "out", ACO_OFFER_OVERWRITE, 0, "symbolic link") == ACO_EDENIED);
    CHECK(send_to(h, "two", NULL, ACO_OFFER_OVERWRITE, 0, "named pipe") == ACO_EINVALID);
    CHECK(send_to(h, "large", NULL, 0, 0, "8388608 bytes are more") == ACO_ETOOLARGE);
    CHECK(send_to(h, "none", NULL, 0, 0, "No such file") == ACO_ENOTFOUND);
    CHECK(send_to(h, "pipe", NULL, 0, 0, "not a plain file") == ACO_EINVALID);
    CHECK(send_to(h, "dest", NULL, 0, 0, "not a plain file") == ACO_EINVALID);
    CHECK(send_to(h, "dest/", NULL, 0, 0, "no name") == ACO_EINVALID);
    CHECK(remove_at(h, "../outside/two", "'..'") == ACO_EDENIED);
    CHECK(remove_at(h, "out/two", "symbolic link") == ACO_EDENIED);
    CHECK(remove_at(h, "/tmp/x", "absolute") == ACO_EDENIED);
    CHECK(remove_at(h, there("../outside/two"), "'..'") == ACO_EDENIED);
    CHECK(exists("outside/two") && exists("dest/two") && parts() == 0);
    CHECK(unlink("dest/two") == 0 && unlink("dest/out") == 0);
}

/* A full disk, as a limit of the size of files has it. */
static void
test_full(host *h)
{
    struct rlimit limit = {.rlim_cur = 1 << 20, .rlim_max = RLIM_INFINITY}, old;

    file_make("big", 4 << 20, 1);
    CHECK(getrlimit(RLIMIT_FSIZE, &old) == 0 && setrlimit(RLIMIT_FSIZE, &limit) == 0);
    CHECK(send_to(h, "big", NULL, ACO_OFFER_RESUME, 0, "File too large") == ACO_ETOOLARGE);
    CHECK(setrlimit(RLIMIT_FSIZE, &old) == 0);
    CHECK(!exists("dest/big") && parts() == 0);
}

/* Raw -------------------------------------------------------------------------------------------
 * A sender that stops where it likes. */

typedef struct raw {
    aco_carrier c;
    int fd;
} raw;

static void
raw_open(raw *r, host *h)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(h->port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    uint8_t preface[8], answer[8];

    r->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(connect(r->fd, (struct sockaddr *)&address, sizeof address) == 0);
    CHECK(fcntl(r->fd, F_SETFL, O_NONBLOCK) == 0);
    aco_carrier_init(&r->c, r->fd, -1, 5 * ACO_SECOND);
    aco_preface_write(preface, 'F', (uint8_t)aco_secret_mode(h->secret), 0);
    CHECK(aco_carrier_raw(&r->c, true, preface, 8) == ACO_OK);
    CHECK(aco_carrier_raw(&r->c, false, answer, 8) == ACO_OK && answer[4] == 0);
    CHECK(aco_carrier_shake(&r->c, aco_secure_new(h->secret, r->fd, false, preface, "127.0.0.1",
                                                  h->port)) == ACO_OK);
}

static void
raw_close(raw *r)
{
    aco_carrier_fini(&r->c);
    close(r->fd);
}

static void
raw_offer(raw *r, const char *path, size_t path_size, uint64_t size, int flags)
{
    const aco_offer offer = {.size = size,
                             .mode = 0600,
                             .modified = {.tv_sec = 1000},
                             .path = path,
                             .path_size = path_size};
    uint8_t body[ACO_CARRIER_BODY];

    CHECK(aco_carrier_put(&r->c, ACO_FILE_PUT, flags, body, aco_offer_write(&offer, body)) ==
          ACO_OK);
}

static void
raw_expect(raw *r, int type, int err, const char *words)
{
    CHECK(aco_carrier_get(&r->c) == ACO_OK && r->c.type == type);
    if (type != ACO_FILE_RESULT) return;
    r->c.body[r->c.size] = '\0';
    CHECK(aco_result_err(r->c.body[0]) == err);
    CHECK(strstr((char *)r->c.body + 1, words) != NULL);
}

static void
raw_start(raw *r, uint64_t offset)
{
    uint8_t start[ACO_START_SIZE];

    aco_start_write(offset, start);
    CHECK(aco_carrier_put(&r->c, ACO_FILE_START, 0, start, sizeof start) == ACO_OK);
}

/* An honest client's checks are not the receiver's. */
static void
test_names(host *h)
{
    static const struct {
        const char *path;
        size_t size;
        int err;
        const char *words;
    } cases[] = {{"../x", 4, ACO_EDENIED, "'..'"},      {"/etc/x", 6, ACO_EDENIED, "absolute"},
                 {"a/../../x", 9, ACO_EDENIED, "'..'"}, {"x\0y", 3, ACO_EINVALID, "control"},
                 {"", 0, ACO_EINVALID, "no name"},      {".asyncoro/p", 11, ACO_EDENIED, "way"}};
    raw r;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        raw_open(&r, h);
        raw_offer(&r, cases[i].path, cases[i].size, 10, ACO_OFFER_OVERWRITE);
        raw_expect(&r, ACO_FILE_RESULT, cases[i].err, cases[i].words);
        CHECK(aco_carrier_get(&r.c) != ACO_OK); /* and closed */
        raw_close(&r);
        raw_open(&r, h);
        CHECK(aco_carrier_put(&r.c, ACO_FILE_REMOVE, 0, cases[i].path, cases[i].size) == ACO_OK);
        raw_expect(&r, ACO_FILE_RESULT, cases[i].err, cases[i].words);
        raw_close(&r);
    }
    CHECK(strstr(host_stats(h, 0).refusal, "way") != NULL);
}

static void
raw_refused(host *h, int type, int flags, const void *body, size_t size)
{
    raw r;

    raw_open(&r, h);
    CHECK(aco_carrier_put(&r.c, type, flags, body, size) == ACO_OK);
    raw_expect(&r, ACO_FILE_RESULT, ACO_EPROTOCOL, "");
    raw_close(&r);
}

static void
test_malformed(host *h)
{
    uint8_t body[ACO_CARRIER_BODY] = {0};
    raw r;

    raw_refused(h, 99, 0, NULL, 0);
    raw_refused(h, ACO_FILE_START, 0, body, 8);
    raw_refused(h, ACO_FILE_PUT, 0, body, 23);  /* too short */
    raw_refused(h, ACO_FILE_PUT, 64, body, 30); /* an unknown flag */
    body[0] = 0x80;
    raw_refused(h, ACO_FILE_PUT, 0, body, 30); /* 2^63 bytes */
    body[0] = 0;
    body[22] = 0x0f;
    raw_refused(h, ACO_FILE_PUT, 0, body, 30); /* rights that no file gets */

    raw_open(&r, h); /* begins where nothing ends */
    raw_offer(&r, "raw", 3, 1000, 0);
    raw_expect(&r, ACO_FILE_HAVE, 0, "");
    raw_start(&r, 500);
    raw_expect(&r, ACO_FILE_RESULT, ACO_EPROTOCOL, "");
    raw_close(&r);

    raw_open(&r, h); /* a sum that is not that of the bytes */
    raw_offer(&r, "raw", 3, 0, ACO_OFFER_CHECKSUM);
    raw_expect(&r, ACO_FILE_HAVE, 0, "");
    raw_start(&r, 0);
    CHECK(aco_carrier_put(&r.c, ACO_FILE_END, 0, body, 32) == ACO_OK);
    raw_expect(&r, ACO_FILE_RESULT, ACO_EPROTOCOL, "sums");
    raw_close(&r);

    raw_open(&r, h); /* more bytes than offered are no frame */
    raw_offer(&r, "raw", 3, 8, 0);
    raw_expect(&r, ACO_FILE_HAVE, 0, "");
    raw_start(&r, 0);
    const struct iovec bytes = {.iov_base = body, .iov_len = 4000};
    size_t put;
    CHECK(aco_secure_write(r.c.secure, &bytes, 1, &put) == ACO_OK && put > 100);
    raw_expect(&r, ACO_FILE_RESULT, ACO_EPROTOCOL, "");
    raw_close(&r);
    CHECK(!exists("dest/raw") && host_stats(h, 0).busy == 0 && parts() == 0);
}

/* Resuming --------------------------------------------------------------------------------------
 */

/* Send a part of the file as it is, then break off. */
static void
send_part(host *h, const char *path, size_t size, int flags, int spoil)
{
    struct stat about;
    uint8_t body[ACO_CARRIER_BODY];
    char *data = malloc(size);
    size_t put, done = 0;
    raw r;
    int fd = open(path, O_RDONLY);

    CHECK(data != NULL && fd >= 0 && fstat(fd, &about) == 0);
    CHECK(read(fd, data, size) == (ssize_t)size);
    data[size / 2] ^= (char)spoil;
    const aco_offer offer = {.size = (uint64_t)about.st_size,
                             .mode = about.st_mode & 0777,
                             .modified = about.st_mtim,
                             .path = path,
                             .path_size = strlen(path)};
    raw_open(&r, h);
    CHECK(aco_carrier_put(&r.c, ACO_FILE_PUT, flags, body, aco_offer_write(&offer, body)) ==
          ACO_OK);
    raw_expect(&r, ACO_FILE_HAVE, 0, "");
    raw_start(&r, 0);
    while (done < size) {
        const struct iovec rest = {.iov_base = data + done, .iov_len = size - done};
        int err = aco_secure_write(r.c.secure, &rest, 1, &put);
        if (err == ACO_EBUSY)
            CHECK(aco_carrier_wait(&r.c, POLLOUT, aco_now() + 9 * ACO_SECOND) == ACO_OK);
        else
            CHECK(err == ACO_OK);
        if (err == ACO_OK) done += put;
    }
    raw_close(&r);
    close(fd);
    free(data);
    host_stats(h, 0);
}

static void
test_resume(host *h)
{
    enum { SIZE = 4 << 20, PART = 3000000, REST = SIZE - PART };
    const int resume = ACO_OFFER_RESUME, sum = ACO_OFFER_CHECKSUM;

    file_make("four", SIZE, 4);
    send_part(h, "four", PART, resume, 0);
    CHECK(parts() == 1 && !exists("dest/four"));
    CHECK(send_to(h, "four", NULL, resume, REST, there("four")) == ACO_OK);
    CHECK(file_same("four", "dest/four") && parts() == 0 && unlink("dest/four") == 0);

    send_part(h, "four", PART, resume, 0);
    CHECK(send_to(h, "four", NULL, resume | sum, REST, there("four")) == ACO_OK);
    CHECK(file_same("four", "dest/four") && unlink("dest/four") == 0);

    /* What was kept is not what the sender has: from the beginning. */
    for (int flags = resume; flags <= (resume | sum); flags += sum) {
        send_part(h, "four", PART, resume, 1);
        CHECK(parts() == 1);
        CHECK(send_to(h, "four", NULL, flags, SIZE, there("four")) == ACO_OK);
        CHECK(file_same("four", "dest/four") && parts() == 0 && unlink("dest/four") == 0);
    }

    send_part(h, "four", PART, 0, 0); /* nothing is kept of one that will not be resumed */
    CHECK(parts() == 0);
    send_part(h, "four", PART, resume, 0); /* nor is what was kept of use for another file */
    file_make("four", SIZE, 5);
    CHECK(send_to(h, "four", NULL, resume, SIZE, there("four")) == ACO_OK);
    CHECK(parts() == 1 && unlink("dest/four") == 0);
    CHECK(system("rm -f dest/.asyncoro/*") == 0);
}

/* Time ------------------------------------------------------------------------------------------
 */

/* A sender that stands still is given up, and so is a receiver. */
static void
test_still(host *h)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    host dead = {.secret = h->secret};
    raw r;

    raw_open(&r, h);
    raw_offer(&r, "raw", 3, 1000, 0);
    raw_expect(&r, ACO_FILE_HAVE, 0, "");
    raw_start(&r, 0);
    raw_expect(&r, ACO_FILE_RESULT, ACO_ETIMEOUT, "nothing has moved");
    raw_close(&r);

    dead.fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(bind(dead.fd, (struct sockaddr *)&address, size) == 0 && listen(dead.fd, 5) == 0);
    CHECK(getsockname(dead.fd, (struct sockaddr *)&address, &size) == 0);
    dead.port = ntohs(address.sin_port);
    CHECK(send_to(&dead, "two", NULL, 0, 0, "nothing has moved for 1 s") == ACO_ETIMEOUT);
    close(dead.fd);
    CHECK(send_to(&dead, "two", NULL, 0, 0, "connect to 127.0.0.1") == ACO_EREFUSED);
}

static void *
cancel_run(void *arg)
{
    usleep(30000);
    aco_transfer_cancel(arg);
    return NULL;
}

static void
test_cancel(host *h)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    host dead = {.secret = h->secret};
    pthread_t thread;

    dead.fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(bind(dead.fd, (struct sockaddr *)&address, size) == 0 && listen(dead.fd, 5) == 0);
    CHECK(getsockname(dead.fd, (struct sockaddr *)&address, &size) == 0);
    dead.port = ntohs(address.sin_port);
    aco_transfer *t = transfer_to(&dead, "two", NULL, 0, false);
    CHECK(pthread_create(&thread, NULL, cancel_run, t) == 0);
    t->job.run(&t->job);
    CHECK(t->err == ACO_ECANCELED && pthread_join(thread, NULL) == 0);
    aco_job_unref(&t->job);
    close(dead.fd);

    t = transfer_to(h, "two", NULL, 0, false);
    aco_transfer_cancel(t);
    CHECK(finish(t, 0, "canceled") == ACO_ECANCELED);
}

/* Many ------------------------------------------------------------------------------------------
 */

static void
test_busy(aco_secret *secret)
{
    raw list[3];
    host h;

    host_open(&h, secret, "dest", 0, 2);
    for (int i = 0; i < 2; i++) {
        char name = (char)('a' + i);
        raw_open(&list[i], &h);
        raw_offer(&list[i], &name, 1, 1000, 0);
        raw_expect(&list[i], ACO_FILE_HAVE, 0, "");
    }
    CHECK(send_to(&h, "two", NULL, 0, 0, "2 files are on their way") == ACO_EBUSY);
    raw_close(&list[0]);
    host_stats(&h, 1);
    CHECK(send_to(&h, "two", NULL, 0, 10, there("two")) == ACO_OK && unlink("dest/two") == 0);
    host_close(&h); /* cuts the other one off, which is told so */
    raw_expect(&list[1], ACO_FILE_RESULT, ACO_ECLOSED, "ends");
    raw_close(&list[1]);
    CHECK(parts() == 0);
}

/* Strangers that say nothing: no more of them than fit, and those are told. */
static void
test_strangers(aco_secret *secret)
{
    enum { MANY = ACO_RECEIVER_SHAKING + 4 };
    int fds[MANY], refused = 0;
    host h;

    host_open(&h, secret, "dest", 0, 0);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(h.port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    uint8_t preface[8], answer[8];
    aco_preface_write(preface, 'F', (uint8_t)aco_secret_mode(secret), 0);
    for (int i = 0; i < MANY; i++) {
        fds[i] = socket(AF_INET, SOCK_STREAM, 0);
        CHECK(connect(fds[i], (struct sockaddr *)&address, sizeof address) == 0);
        CHECK(send(fds[i], preface, 8, 0) == 8);
        CHECK(recv(fds[i], answer, 8, MSG_WAITALL) == 8);
        refused += answer[4] == ACO_PREFACE_BUSY;
    }
    for (int i = 0; i < MANY; i++)
        close(fds[i]);
    CHECK(refused >= 4);
    host_close(&h);
}

static void
test_none(aco_secret *secret)
{
    host h;

    host_open(&h, secret, "", 0, 0);
    char path[512];
    CHECK(!aco_receiver_path(h.receiver, path, sizeof path));
    CHECK(send_to(&h, "two", NULL, 0, 0, "no files are taken") == ACO_EDENIED);
    host_close(&h);
}

/* The usual folder is only made when somebody asks for it. */
static void
test_usual(aco_secret *secret)
{
    char path[512];
    host h;

    snprintf(path, sizeof path, "%s/state", base);
    CHECK(setenv("XDG_STATE_HOME", path, 1) == 0);
    file_make("state", 1, 1); /* is in the way */
    host_open(&h, secret, NULL, 0, 0);
    CHECK(send_to(&h, "two", NULL, 0, 0, "are taken there: folder for files") == ACO_EDENIED);
    CHECK(unlink("state") == 0);
    snprintf(path, sizeof path, "%s/state/asyncoro/files/two", base);
    CHECK(send_to(&h, "two", NULL, 0, 10, path) == ACO_OK && file_same("two", path));
    CHECK(system("rm -rf state") == 0); /* and again when it is gone */
    CHECK(send_to(&h, "two", NULL, 0, 10, path) == ACO_OK && file_same("two", path));
    CHECK(unsetenv("XDG_STATE_HOME") == 0);
    host_close(&h);
}

typedef struct sender {
    host *h;
    int number;
    pthread_t thread;
} sender;

static void *
sender_run(void *arg)
{
    sender *s = arg;
    char dir[16], path[256];

    for (int i = 0; i < 10; i++) {
        snprintf(dir, sizeof dir, "d%d", (s->number + i) % 3);
        snprintf(path, sizeof path, "%s/dest/%s/one", base, dir);
        CHECK(finish(transfer_to(s->h, "one", dir, ACO_OFFER_OVERWRITE | ACO_OFFER_RESUME, false),
                     i == 0 ? 0 : 0, path) == ACO_OK);
    }
    return NULL;
}

static void
test_many(host *h)
{
    enum { MANY = 8 };
    sender list[MANY];
    char path[64];

    file_make("one", 2 << 20, 9);
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "d%d", i);
        CHECK(send_to(h, "one", path, 0, 2 << 20,
                      there(i == 0   ? "d0/one"
                            : i == 1 ? "d1/one"
                                     : "d2/one")) == ACO_OK);
    }
    for (int i = 0; i < MANY; i++) {
        list[i] = (sender){.h = h, .number = i};
        CHECK(pthread_create(&list[i].thread, NULL, sender_run, &list[i]) == 0);
    }
    for (int i = 0; i < MANY; i++)
        CHECK(pthread_join(list[i].thread, NULL) == 0);
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "dest/d%d/one", i);
        CHECK(file_same("one", path));
    }
    CHECK(parts() == 0);
}

/* Memory ----------------------------------------------------------------------------------------
 * Some allocation fails, of the sender's or of the receiver's: the transfer does, and the next one
 * goes through. */

static bool
send_poor(host *h, long after, long count)
{
    const struct aco_transfer_options options = {.host = "127.0.0.1",
                                                 .port = h->port,
                                                 .secret = h->secret,
                                                 .patience = ACO_SECOND,
                                                 .dir = "poor",
                                                 .flags = ACO_OFFER_FLAGS};

    arm(after, count);
    aco_transfer *t = aco_transfer_send(&options, "two");
    if (t != NULL) t->job.run(&t->job);
    bool came_through = disarm(count);
    if (came_through) CHECK(t != NULL && t->err == ACO_OK);
    if (t != NULL && t->err != ACO_OK) CHECK(t->why[0] != '\0');
    if (t != NULL) aco_job_unref(&t->job);
    host_stats(h, 0);
    return came_through;
}

static void
test_memory(aco_secret *secret)
{
    host h;

    (void)allocate; /* is for Lua */
    (void)lua_bytes;

    host_open(&h, secret, "dest", 0, 0);
    for (long count = 1; count <= 2; count++)
        for (long after = 0; !send_poor(&h, after, count); after++)
            (void)unlink("dest/poor/two");
    (void)unlink("dest/poor/two");
    CHECK(send_to(&h, "two", "poor", 0, 10, there("poor/two")) == ACO_OK && parts() == 0);
    host_close(&h);
}

static void
test_all(aco_secret *secret)
{
    host h;

    CHECK(mkdtemp(base) != NULL && chdir(base) == 0);
    host_open(&h, secret, "dest", 6 << 20, 0);
    char path[512];
    CHECK(aco_receiver_path(h.receiver, path, sizeof path) &&
          !aco_receiver_path(h.receiver, path, 5));
    CHECK(strcmp(path + strlen(base), "/dest") == 0);
    test_send(&h);
    test_refused(&h);
    test_full(&h);
    test_names(&h);
    test_malformed(&h);
    test_resume(&h);
    test_still(&h);
    test_cancel(&h);
    test_many(&h);
    host_close(&h);
    test_busy(secret);
    test_strangers(secret);
    test_none(secret);
    test_usual(secret);
    test_memory(secret);
    CHECK(chdir("/") == 0);
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", base);
    CHECK(system(command) == 0);
    memcpy(base + strlen(base) - 6, "XXXXXX", 6);
}

int
main(void)
{
    const struct aco_secret_options word = {.secret = "a word that both know", .secret_size = 21};
    char key[] = "/tmp/asyncoro-key-XXXXXX", key_path[64];
    struct aco_secret_options plain = {.key_path = key_path};
    aco_secret *secret;
    char *why;

    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    CHECK(mkdtemp(key) != NULL);
    snprintf(key_path, sizeof key_path, "%s/key", key);
    CHECK(aco_secret_new(&plain, &secret, &why) == ACO_OK);
    test_all(secret);
    aco_secret_unref(secret);
    CHECK(aco_secret_new(&word, &secret, &why) == ACO_OK);
    test_all(secret);
    aco_secret_unref(secret);
    (void)unlink(key_path);
    CHECK(rmdir(key) == 0);
    return 0;
}
