/* SPDX-License-Identifier: MIT */
/* load.c -- a load for servers, and what it costs them.
 *   load [--http] N COMMAND...: starts the server, which prints its port, keeps 100 connections busy
 *   with 64 bytes that come back (or a GET), one outstanding each, for N round trips, and prints the
 *   server's CPU time per round trip in microseconds, and round trips per second. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { CONNECTIONS = 100, SIZE = 64, MOST = 4096 };

/* What is asked, and how long an answer is: all are alike. */
static char question[MOST];
static size_t question_size = SIZE, answer_size = SIZE;

static void
die(const char *what)
{
    perror(what);
    exit(1);
}

static double
now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Seconds that all threads of the process have run. */
static double
cpu_of(pid_t pid)
{
    char path[400];
    double sum = 0;
    const struct dirent *entry;

    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *dir = opendir(path);
    if (dir == NULL) die("opendir");
    while ((entry = readdir(dir)) != NULL) {
        unsigned long long ns = 0;
        snprintf(path, sizeof path, "/proc/%d/task/%s/schedstat", (int)pid, entry->d_name);
        FILE *file = entry->d_name[0] != '.' ? fopen(path, "r") : NULL;
        if (file == NULL) continue;
        if (fscanf(file, "%llu", &ns) == 1) sum += (double)ns / 1e9;
        fclose(file);
    }
    closedir(dir);
    return sum;
}

static pid_t
serve(char **argv, int *port)
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
        fprintf(stderr, "load: %s printed no port\n", argv[0]);
        exit(1);
    }
    return pid;
}

static int
dial(int port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (int i = 0; fd >= 0 && i < 200; i++) { /* it may not listen yet */
        if (connect(fd, (struct sockaddr *)&at, sizeof at) == 0) return fd;
        usleep(10000);
    }
    die("connect");
    return -1;
}

static void
ask(int fd)
{
    if (write(fd, question, question_size) != (ssize_t)question_size) die("write");
}

static void
answer(int fd)
{
    char bytes[MOST];
    size_t got = 0;

    while (got < answer_size) {
        ssize_t n = read(fd, bytes + got, answer_size - got);
        if (n <= 0) die("read");
        got += (size_t)n;
    }
}

/* A first GET, to learn how long the answers are. */
static void
learn(int port)
{
    char bytes[MOST];
    const char *body = NULL, *length = NULL;
    int fd = dial(port);

    question_size = (size_t)snprintf(question, sizeof question,
                                     "GET / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n", port);
    ask(fd);
    for (size_t got = 0; body == NULL;) {
        ssize_t n = read(fd, bytes + got, MOST - 1 - got);
        if (n <= 0) die("read");
        got += (size_t)n;
        bytes[got] = '\0';
        body = strstr(bytes, "\r\n\r\n");
    }
    length = strcasestr(bytes, "\r\ncontent-length: ");
    if (length == NULL || length > body || strncmp(bytes, "HTTP/1.1 200", 12) != 0) {
        fprintf(stderr, "load: no answer of a known length\n");
        exit(1);
    }
    answer_size = (size_t)(body - bytes) + 4 + strtoul(length + 18, NULL, 10);
    close(fd);
}

/* Round trips until so many have been made. */
static void
run(int epoll, long count)
{
    struct epoll_event events[CONNECTIONS];
    long asked = CONNECTIONS, answered = 0;

    while (answered < count) {
        int n = epoll_wait(epoll, events, CONNECTIONS, -1);
        for (int i = 0; i < n; i++) {
            answer(events[i].data.fd);
            answered++;
            if (asked < count) {
                ask(events[i].data.fd);
                asked++;
            }
        }
    }
}

int
main(int argc, char **argv)
{
    int fds[CONNECTIONS], port, epoll = epoll_create1(0);

    bool http = argc > 1 && strcmp(argv[1], "--http") == 0;

    argc -= http;
    argv += http;
    if (argc < 3) {
        fprintf(stderr, "usage: load [--http] N COMMAND...\n");
        return 1;
    }
    long count = strtol(argv[1], NULL, 10);
    pid_t pid = serve(argv + 2, &port);
    if (http) learn(port);
    for (int i = 0; i < CONNECTIONS; i++) {
        struct epoll_event event = {.events = EPOLLIN};
        event.data.fd = fds[i] = dial(port);
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, fds[i], &event) != 0) die("epoll_ctl");
        ask(fds[i]); /* so that all have been accepted */
        answer(fds[i]);
    }
    double cpu = cpu_of(pid), start = now();
    for (int i = 0; i < CONNECTIONS; i++)
        ask(fds[i]);
    run(epoll, count);
    double took = now() - start;
    printf("%.3f %.0f\n", (cpu_of(pid) - cpu) / (double)count * 1e6, (double)count / took);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    return 0;
}
