/* SPDX-License-Identifier: MIT */
/* pair.c -- two processes that talk, over plain sockets, ZeroMQ, NATS and Redis.
 *
 *   pair raw|each|zmq|nats|redis w9|w10 N
 *
 * w9: N messages of 100 bytes one way, in order: messages per second, from the first one sent until
 * the last one has been seen. w10: N round trips of 100 bytes, one outstanding: round trips per
 * second. raw gathers messages into writes of 64 KiB, each writes every one. nats and redis start
 * a server of their own; the round trip of redis is ECHO, to the server and back. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#ifdef WITH_ZMQ
#include <zmq.h>
#endif

enum { SIZE = 100, BATCH = 65536 };

static const char PAYLOAD[SIZE + 1] = "012345678901234567890123456789012345678901234567890123456789"
                                      "0123456789012345678901234567890123456789";

static double
now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void
die(const char *what)
{
    perror(what);
    exit(1);
}

/* Sockets ------------------------------------------------------------------------------------- */

static struct sockaddr_in
local(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

static int
listener(int *port)
{
    struct sockaddr_in address = local(0);
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    if (bind(fd, (struct sockaddr *)&address, size) != 0 || listen(fd, 8) != 0) die("listen");
    getsockname(fd, (struct sockaddr *)&address, &size);
    *port = ntohs(address.sin_port);
    return fd;
}

static int
free_port(void)
{
    int port, fd = listener(&port);

    close(fd);
    return port;
}

static void
tune(int fd)
{
    int one = 1;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

/* Connects, and waits at most 5 seconds for a server that is only starting. */
static int
dial(int port)
{
    struct sockaddr_in address = local(port);

    for (int i = 0; i < 500; i++) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0) {
            tune(fd);
            return fd;
        }
        close(fd);
        usleep(10000);
    }
    die("connect");
    return -1;
}

static void
put(int fd, const void *data, size_t size)
{
    for (const char *at = data; size > 0;) {
        ssize_t n = send(fd, at, size, MSG_NOSIGNAL);
        if (n < 0) die("send");
        at += n;
        size -= (size_t)n;
    }
}

static void
get(int fd, void *data, size_t size)
{
    for (char *at = data; size > 0;) {
        ssize_t n = recv(fd, at, size, 0);
        if (n <= 0) die("recv");
        at += n;
        size -= (size_t)n;
    }
}

/* Text protocols: what has come, line by line. */
struct input {
    int fd;
    size_t begin, end;
    char data[2 * BATCH];
};

static void
fill(struct input *in)
{
    memmove(in->data, in->data + in->begin, in->end - in->begin);
    in->end -= in->begin;
    in->begin = 0;
    ssize_t n = recv(in->fd, in->data + in->end, sizeof in->data - in->end, 0);
    if (n <= 0) die("recv");
    in->end += (size_t)n;
}

/* The next line, its end replaced by a 0. */
static char *
next_line(struct input *in)
{
    for (;;) {
        char *line = in->data + in->begin;
        char *end = memchr(line, '\n', in->end - in->begin);
        if (end != NULL) {
            in->begin = (size_t)(end + 1 - in->data);
            end[end > line && end[-1] == '\r' ? -1 : 0] = '\0';
            return line;
        }
        fill(in);
    }
}

static void
skip(struct input *in, size_t size)
{
    while (in->end - in->begin < size)
        fill(in);
    in->begin += size;
}

/* Two processes -------------------------------------------------------------------------------- */

static pid_t
child(void)
{
    pid_t id = fork();

    if (id < 0) die("fork");
    if (id == 0) prctl(PR_SET_PDEATHSIG, SIGKILL);
    return id;
}

static void
await(pid_t id)
{
    int status;

    if (waitpid(id, &status, 0) != id || status != 0) {
        fputs("pair: the other process failed\n", stderr);
        exit(1);
    }
}

static void
report(long n, double seconds)
{
    printf("%f\n", (double)n / seconds);
}

/* Plain sockets -------------------------------------------------------------------------------- */

/* Messages are a size in 4 bytes and so many bytes, read through a buffer. */
static void
count_messages(int fd, long n)
{
    static char data[BATCH];
    size_t have = 0;

    while (n > 0) {
        ssize_t got = recv(fd, data + have, sizeof data - have, 0);
        if (got <= 0) die("recv");
        have += (size_t)got;
        size_t at = 0;
        for (uint32_t size; have - at >= 4; at += 4 + size, n--) {
            memcpy(&size, data + at, 4);
            if (have - at < 4 + size) break;
        }
        memmove(data, data + at, have - at);
        have -= at;
    }
}

static void
raw_w9(int fd, long n, size_t batch)
{
    static char data[BATCH];
    uint32_t size = SIZE;
    size_t used = 0;

    for (long i = 0; i < n; i++) {
        memcpy(data + used, &size, 4);
        memcpy(data + used + 4, PAYLOAD, SIZE);
        used += 4 + SIZE;
        if (used + 4 + SIZE <= batch && i < n - 1) continue;
        put(fd, data, used);
        used = 0;
    }
}

static void
raw(bool one_way, long n, size_t batch)
{
    char data[SIZE];
    int port, at = listener(&port);
    pid_t other = child();

    if (other == 0) {
        int fd = dial(port);
        if (one_way) count_messages(fd, n);
        for (long i = 0; !one_way && i < n; i++) {
            get(fd, data, SIZE);
            put(fd, data, SIZE);
        }
        _exit(0);
    }
    int fd = accept(at, NULL, NULL);
    tune(fd);
    double start = now();
    if (one_way) raw_w9(fd, n, batch);
    for (long i = 0; !one_way && i < n; i++) {
        put(fd, PAYLOAD, SIZE);
        get(fd, data, SIZE);
    }
    if (one_way) await(other);
    report(n, now() - start);
    if (!one_way) await(other);
}

/* ZeroMQ --------------------------------------------------------------------------------------- */

#ifdef WITH_ZMQ
static void
zmq_other(bool one_way, long n, const char *where)
{
    void *context = zmq_ctx_new(), *socket = zmq_socket(context, one_way ? ZMQ_PULL : ZMQ_REP);
    char data[SIZE];

    if (zmq_connect(socket, where) != 0) die("zmq_connect");
    for (long i = 0; i < n; i++) {
        if (zmq_recv(socket, data, SIZE, 0) != SIZE) die("zmq_recv");
        if (!one_way && zmq_send(socket, data, SIZE, 0) != SIZE) die("zmq_send");
    }
    zmq_close(socket);
    zmq_ctx_term(context);
}

static void
zeromq(bool one_way, long n)
{
    char where[64], data[SIZE];

    snprintf(where, sizeof where, "tcp://127.0.0.1:%d", free_port());
    pid_t other = child();
    if (other == 0) {
        zmq_other(one_way, n, where);
        _exit(0);
    }
    void *context = zmq_ctx_new(), *socket = zmq_socket(context, one_way ? ZMQ_PUSH : ZMQ_REQ);
    if (zmq_bind(socket, where) != 0) die("zmq_bind");
    double start = now();
    for (long i = 0; i < n; i++) {
        if (zmq_send(socket, PAYLOAD, SIZE, 0) != SIZE) die("zmq_send");
        if (!one_way && zmq_recv(socket, data, SIZE, 0) != SIZE) die("zmq_recv");
    }
    if (one_way) await(other);
    report(n, now() - start);
    if (!one_way) await(other);
    zmq_close(socket);
    zmq_ctx_term(context);
}
#endif

/* Servers in between ----------------------------------------------------------------------------
 */

static pid_t
serve(char *const argv[])
{
    pid_t id = child();

    if (id == 0) {
        if (freopen("/dev/null", "w", stdout) == NULL) _exit(1);
        if (freopen("/dev/null", "w", stderr) == NULL) _exit(1);
        execvp(argv[0], argv);
        _exit(1);
    }
    return id;
}

/* Tells the parent, over a pipe, that it may begin. */
static void
ready(int pipe)
{
    if (write(pipe, "r", 1) != 1) die("write");
}

static void
await_ready(int pipe)
{
    char byte;

    if (read(pipe, &byte, 1) != 1) die("the other process");
}

/* Says hello; `lines` of text then confirm that what was asked for is in force. */
static struct input *
nats(int port, const char *subscribe)
{
    static struct input in;
    char text[256];

    memset(&in, 0, sizeof in);
    in.fd = dial(port);
    next_line(&in); /* INFO */
    int size = snprintf(text, sizeof text,
                        "CONNECT {\"verbose\":false,\"pedantic\":false}\r\n%sPING\r\n", subscribe);
    put(in.fd, text, (size_t)size);
    while (strcmp(next_line(&in), "PONG") != 0)
        continue;
    return &in;
}

/* One message, past its payload. */
static void
nats_message(struct input *in)
{
    for (;;) {
        char *line = next_line(in);
        if (strncmp(line, "MSG ", 4) == 0) {
            skip(in, (size_t)atol(strrchr(line, ' ')) + 2);
            return;
        }
        if (strcmp(line, "PING") == 0) put(in->fd, "PONG\r\n", 6);
        if (line[0] == '-') {
            fprintf(stderr, "pair: NATS says %s\n", line);
            exit(1);
        }
    }
}

static void
nats_other(int port, bool one_way, long n, int pipe)
{
    struct input *in = nats(port, "SUB there 1\r\n");
    char text[256];
    int size = snprintf(text, sizeof text, "PUB here %d\r\n%s\r\n", SIZE, PAYLOAD);

    ready(pipe);
    for (long i = 0; i < n; i++) {
        nats_message(in);
        if (!one_way) put(in->fd, text, (size_t)size);
    }
}

/* Writes a text again and again, in batches; what comes back meanwhile is not of interest. */
static void
pour(int fd, const char *text, size_t size, long n)
{
    static char data[BATCH], waste[BATCH];
    size_t used = 0;

    for (long i = 0; i < n; i++) {
        memcpy(data + used, text, size);
        used += size;
        if (used + size <= sizeof data && i < n - 1) continue;
        put(fd, data, used);
        used = 0;
        while (recv(fd, waste, sizeof waste, MSG_DONTWAIT) > 0)
            continue;
    }
}

static void
over_nats(bool one_way, long n)
{
    char port_text[16], config[] = "/tmp/pair-XXXXXX", text[256];
    const char *settings = "max_pending: 2GB\nwrite_deadline: \"60s\"\n";
    int port = free_port(), pipes[2], file = mkstemp(config);

    if (file < 0 || pipe(pipes) != 0) die("pipe");
    if (write(file, settings, strlen(settings)) < 0) die("write");
    snprintf(port_text, sizeof port_text, "%d", port);
    char *argv[] = {"nats-server", "-a", "127.0.0.1", "-p", port_text, "-c", config, NULL};
    pid_t server = serve(argv), other = child();
    if (other == 0) {
        nats_other(port, one_way, n, pipes[1]);
        _exit(0);
    }
    struct input *in = nats(port, "SUB here 2\r\n");
    await_ready(pipes[0]);
    unlink(config);
    int size =
        snprintf(text, sizeof text,
                 one_way ? "PUB there %d\r\n%s\r\n" : "PUB there here %d\r\n%s\r\n", SIZE, PAYLOAD);
    double start = now();
    if (one_way) pour(in->fd, text, (size_t)size, n);
    for (long i = 0; !one_way && i < n; i++) {
        put(in->fd, text, (size_t)size);
        nats_message(in);
    }
    await(other);
    report(n, now() - start);
    kill(server, SIGKILL);
}

static void
redis_other(int port, long n, int pipe)
{
    static struct input in;
    char text[256];
    int size = snprintf(text, sizeof text, "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$%d\r\n%s\r\n", SIZE,
                        PAYLOAD);

    in.fd = dial(port);
    put(in.fd, "SUBSCRIBE c\r\n", 13);
    for (int i = 0; i < 6; i++)
        next_line(&in); /* *3 $9 subscribe $1 c :1 */
    ready(pipe);
    for (long i = 0; i < n; i++)
        skip(&in, (size_t)size);
}

static void
over_redis(bool one_way, long n)
{
    static struct input in;
    char port_text[16], text[256];
    int port = free_port(), pipes[2];

    if (pipe(pipes) != 0) die("pipe");
    snprintf(port_text, sizeof port_text, "%d", port);
    char *argv[] = {"redis-server", "--bind", "127.0.0.1", "--port",
                    port_text,      "--save", "",          "--client-output-buffer-limit",
                    "pubsub 0 0 0", NULL};
    pid_t server = serve(argv), other = one_way ? child() : -1;
    if (other == 0) {
        redis_other(port, n, pipes[1]);
        _exit(0);
    }
    in.fd = dial(port);
    if (one_way) await_ready(pipes[0]);
    int size = snprintf(text, sizeof text,
                        one_way ? "*3\r\n$7\r\nPUBLISH\r\n$1\r\nc\r\n$%d\r\n%s\r\n"
                                : "*2\r\n$4\r\nECHO\r\n$%d\r\n%s\r\n",
                        SIZE, PAYLOAD);
    double start = now();
    if (one_way) pour(in.fd, text, (size_t)size, n);
    for (long i = 0; !one_way && i < n; i++) {
        put(in.fd, text, (size_t)size);
        skip(&in, strlen("$100\r\n") + SIZE + 2);
    }
    if (one_way) await(other);
    report(n, now() - start);
    kill(server, SIGKILL);
}

int
main(int argc, char **argv)
{
    long n = argc == 4 ? atol(argv[3]) : 0;
    bool one_way = argc == 4 && strcmp(argv[2], "w9") == 0;
    const char *how = argc == 4 ? argv[1] : "";

    if (n > 0 && strcmp(how, "raw") == 0)
        raw(one_way, n, BATCH);
    else if (n > 0 && strcmp(how, "each") == 0)
        raw(one_way, n, 1);
#ifdef WITH_ZMQ
    else if (n > 0 && strcmp(how, "zmq") == 0)
        zeromq(one_way, n);
#endif
    else if (n > 0 && strcmp(how, "nats") == 0)
        over_nats(one_way, n);
    else if (n > 0 && strcmp(how, "redis") == 0)
        over_redis(one_way, n);
    else {
        fputs("usage: pair raw|each|zmq|nats|redis w9|w10 N\n", stderr);
        return 1;
    }
    return 0;
}
