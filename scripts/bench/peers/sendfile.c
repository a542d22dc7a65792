/* SPDX-License-Identifier: MIT */
/* sendfile.c -- W12 as plain C can do it: sendfile(2) on one side, read and write on the other.
 *
 *   sendfile w12 N
 *
 * A file of N MiB from tmpfs to tmpfs, over TCP: MB/s, from the connect until the other process has
 * closed the copy. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK = 256 * 1024 };

static double
now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void
check(int fine, const char *what)
{
    if (fine) return;
    perror(what);
    exit(1);
}

static int
make(long mib)
{
    static char block[1 << 20];
    char path[] = "/dev/shm/sendfile-XXXXXX";
    int fd = mkstemp(path);

    check(fd >= 0 && unlink(path) == 0, path);
    for (long i = 0; i < mib; i++) {
        block[i % BLOCK]++;
        check(write(fd, block, sizeof block) == sizeof block, "write");
    }
    return fd;
}

static void
take(int listener)
{
    static char block[BLOCK];
    char path[] = "/dev/shm/sendfile-XXXXXX";
    int fd = accept(listener, NULL, NULL), copy = mkstemp(path);
    ssize_t n;

    check(fd >= 0 && copy >= 0 && unlink(path) == 0, "accept");
    while ((n = read(fd, block, sizeof block)) > 0)
        check(write(copy, block, (size_t)n) == n, "write");
    check(n == 0 && write(fd, "", 1) == 1, "read");
    exit(0);
}

int
main(int argc, char **argv)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t length = sizeof address;
    long mib = argc > 2 ? atol(argv[2]) : 0;
    off_t at = 0, size = (off_t)mib << 20;
    char byte;

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int file = make(mib), listener = socket(AF_INET, SOCK_STREAM, 0);
    check(bind(listener, (struct sockaddr *)&address, length) == 0 && listen(listener, 1) == 0 &&
              getsockname(listener, (struct sockaddr *)&address, &length) == 0,
          "listen");
    pid_t pid = fork();
    check(pid >= 0, "fork");
    if (pid == 0) take(listener);
    double start = now();
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    check(connect(fd, (struct sockaddr *)&address, length) == 0, "connect");
    while (at < size)
        check(sendfile(fd, file, &at, (size_t)(size - at)) > 0, "sendfile");
    check(shutdown(fd, SHUT_WR) == 0 && read(fd, &byte, 1) == 1, "read");
    printf("%.0f\n", (double)size / (now() - start) / 1e6);
    return waitpid(pid, NULL, 0) == pid ? 0 : 1;
}
