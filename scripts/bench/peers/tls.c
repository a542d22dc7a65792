/* SPDX-License-Identifier: MIT */
/* tls.c -- the ceiling of TLS servers, and the load for them.
 *   tls serve: OpenSSL and blocking sockets, nothing else, one connection at a time; prints its
 * port. tls bulk N COMMAND...: starts a server and has it send N writes of 64 KiB over one
 * connection; prints MiB/s and the server's CPU time per MiB in microseconds. tls shake N
 * COMMAND...: N full handshakes, one after the other; prints how many per second, and the server's
 * CPU time of one in microseconds. The server finds its certificate and key, as PEM text, in the
 * variable BENCH_PEM. What it is asked for comes as four bytes, big-endian: how many writes. */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { CHUNK = 65536 };

#define SUITE "TLS_AES_128_GCM_SHA256"

static void
die(const char *what)
{
    perror(what);
    ERR_print_errors_fp(stderr);
    exit(1);
}

/* The server ------------------------------------------------------------------------------------
 */

static SSL_CTX *
context(const SSL_METHOD *method)
{
    SSL_CTX *ctx = SSL_CTX_new(method);

    if (ctx == NULL || SSL_CTX_set_ciphersuites(ctx, SUITE) != 1) die("context");
    return ctx;
}

static SSL_CTX *
server_context(void)
{
    SSL_CTX *ctx = context(TLS_server_method());
    BIO *pem = BIO_new_mem_buf(getenv("BENCH_PEM"), -1);
    X509 *cert = PEM_read_bio_X509(pem, NULL, NULL, NULL);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(pem, NULL, NULL, NULL);

    if (SSL_CTX_use_certificate(ctx, cert) != 1 || SSL_CTX_use_PrivateKey(ctx, key) != 1)
        die("BENCH_PEM");
    return ctx;
}

static void
answer(SSL *ssl)
{
    static const char chunk[CHUNK];
    unsigned char asked[4];
    size_t got;

    if (SSL_accept(ssl) != 1 || SSL_read_ex(ssl, asked, sizeof asked, &got) != 1) return;
    long count = (long)asked[0] << 24 | asked[1] << 16 | asked[2] << 8 | asked[3];
    while (count-- > 0)
        if (SSL_write(ssl, chunk, CHUNK) <= 0) return;
}

static void
serve(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET};
    socklen_t size = sizeof at;
    const int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    SSL_CTX *ctx = server_context();

    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(fd, (struct sockaddr *)&at, sizeof at) != 0 || listen(fd, 1024) != 0 ||
        getsockname(fd, (struct sockaddr *)&at, &size) != 0)
        die("listen");
    printf("%d\n", ntohs(at.sin_port));
    fflush(stdout);
    signal(SIGPIPE, SIG_IGN);
    for (;;) {
        int client = accept(fd, NULL, NULL);
        SSL *ssl = SSL_new(ctx);
        setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        SSL_set_fd(ssl, client);
        answer(ssl);
        ERR_clear_error();
        SSL_shutdown(ssl);
        SSL_free(ssl);
        close(client);
    }
}

/* The load --------------------------------------------------------------------------------------
 */

/* A certificate that signs itself, for the server's environment. */
static void
make_certificate(void)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = X509_new();
    X509_NAME *name = X509_get_subject_name(cert);
    BIO *pem = BIO_new(BIO_s_mem());
    char *text;

    X509_set_version(cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
    X509_gmtime_adj(X509_getm_notBefore(cert), 0);
    X509_gmtime_adj(X509_getm_notAfter(cert), 86400);
    X509_set_pubkey(cert, key);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"bench", -1, -1, 0);
    X509_set_issuer_name(cert, name);
    if (X509_sign(cert, key, EVP_sha256()) == 0) die("certificate");
    PEM_write_bio_X509(pem, cert);
    PEM_write_bio_PrivateKey(pem, key, NULL, NULL, 0, NULL, NULL);
    BIO_write(pem, "", 1);
    BIO_get_mem_data(pem, &text);
    setenv("BENCH_PEM", text, 1);
}

static pid_t
start(char **argv, int *port)
{
    int ends[2];

    if (pipe(ends) != 0) die("pipe");
    pid_t pid = fork();
    if (pid < 0) die("fork");
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(ends[1], 1);
        close(ends[0]);
        close(ends[1]);
        execvp(argv[0], argv);
        die(argv[0]);
    }
    close(ends[1]);
    FILE *out = fdopen(ends[0], "r");
    if (out == NULL || fscanf(out, "%d", port) != 1) {
        fprintf(stderr, "tls: %s printed no port\n", argv[0]);
        exit(1);
    }
    return pid;
}

/* Its main thread's: seconds that it has run. */
static double
cpu_of(pid_t pid)
{
    char path[64];
    unsigned long long ns = 0;

    snprintf(path, sizeof path, "/proc/%d/schedstat", (int)pid);
    FILE *file = fopen(path, "r");
    if (file == NULL || fscanf(file, "%llu", &ns) != 1) die(path);
    fclose(file);
    return (double)ns / 1e9;
}

static double
now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static SSL *
dial(SSL_CTX *ctx, int port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    const int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    SSL *ssl = SSL_new(ctx);

    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || connect(fd, (struct sockaddr *)&at, sizeof at) != 0) die("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    SSL_set_fd(ssl, fd);
    if (SSL_connect(ssl) != 1) die("handshake");
    return ssl;
}

/* Receives all there is. */
static size_t
drain(SSL *ssl)
{
    static char bytes[CHUNK];
    size_t sum = 0, n;

    while (SSL_read_ex(ssl, bytes, sizeof bytes, &n) == 1)
        sum += n;
    return sum;
}

static void
hang_up(SSL *ssl)
{
    int fd = SSL_get_fd(ssl);

    SSL_free(ssl);
    close(fd);
}

static void
bulk(SSL_CTX *ctx, int port, unsigned long count)
{
    const unsigned char asked[] = {(unsigned char)(count >> 24), (unsigned char)(count >> 16),
                                   (unsigned char)(count >> 8), (unsigned char)count};
    SSL *ssl = dial(ctx, port);

    if (SSL_write(ssl, asked, sizeof asked) != sizeof asked) die("write");
    if (drain(ssl) != count * CHUNK) die("it sent too little");
    hang_up(ssl);
}

static void
shake(SSL_CTX *ctx, int port, unsigned long count)
{
    while (count-- > 0) {
        SSL *ssl = dial(ctx, port);
        SSL_shutdown(ssl);
        drain(ssl);
        hang_up(ssl);
    }
}

int
main(int argc, char **argv)
{
    int port;

    if (argc == 2 && strcmp(argv[1], "serve") == 0) serve();
    if (argc < 4) {
        fprintf(stderr, "usage: tls serve | bulk N COMMAND... | shake N COMMAND...\n");
        return 1;
    }
    int is_bulk = strcmp(argv[1], "bulk") == 0;
    unsigned long count = strtoul(argv[2], NULL, 10);
    make_certificate();
    SSL_CTX *ctx = context(TLS_client_method());
    pid_t pid = start(argv + 3, &port);
    void (*run)(SSL_CTX *, int, unsigned long) = is_bulk ? bulk : shake;
    run(ctx, port, count / 10 + 1);
    double cpu = cpu_of(pid), began = now();
    run(ctx, port, count);
    double took = now() - began, units = is_bulk ? (double)count / 16 : (double)count;
    printf("%.1f %.2f\n", units / took, (cpu_of(pid) - cpu) / units * 1e6);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    return 0;
}
