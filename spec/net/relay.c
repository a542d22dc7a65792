/* SPDX-License-Identifier: MIT */
/* relay.c -- a wire between two network namespaces that can be made bad.
 *
 *   relay NAMESPACE DEVICE NAMESPACE DEVICE
 *
 * Makes a TAP device in each and carries frames from one to the other, each after a delay of its
 * own, so that jitter changes their order. Says "ready", then obeys lines on standard input, each
 * answered by "ok":
 *
 *   delay MS      of every frame (0)
 *   jitter MS     at most so much more, at random (0)
 *   loss N        of 1000 frames (0)
 *   twice N       of 1000 frames arrive twice (0)
 *   cut, mend     nothing passes; again it does
 *   freeze, thaw  what comes is kept; all of it passes
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum { FRAME = 2048, WAITING = 32768 };

struct frame {
    int64_t due; /* nanoseconds */
    uint64_t number;
    int to;
    size_t size;
    uint8_t data[FRAME];
};

struct relay {
    int ends[2];
    long delay, jitter, loss, twice; /* microseconds, microseconds, of 1000, of 1000 */
    bool cut, frozen;
    uint64_t numbers;
    size_t count; /* of a heap, the next one due first */
    struct frame *heap[WAITING];
};

static int64_t
now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void
fail(const char *what)
{
    perror(what);
    exit(1);
}

static bool
before(const struct frame *a, const struct frame *b)
{
    return a->due != b->due ? a->due < b->due : a->number < b->number;
}

static void
heap_put(struct relay *r, struct frame *f)
{
    size_t at = r->count++;

    for (; at > 0 && before(f, r->heap[(at - 1) / 2]); at = (at - 1) / 2)
        r->heap[at] = r->heap[(at - 1) / 2];
    r->heap[at] = f;
}

static struct frame *
heap_take(struct relay *r)
{
    struct frame *first = r->heap[0], *last = r->heap[--r->count];
    size_t at = 0;

    for (size_t child; (child = 2 * at + 1) < r->count; at = child) {
        if (child + 1 < r->count && before(r->heap[child + 1], r->heap[child])) child++;
        if (!before(r->heap[child], last)) break;
        r->heap[at] = r->heap[child];
    }
    r->heap[at] = last;
    return first;
}

static void
keep(struct relay *r, int to, const uint8_t *data, size_t size)
{
    if (r->cut || r->count == WAITING || random() % 1000 < r->loss) return;
    struct frame *f = malloc(sizeof *f);
    if (f == NULL) return;
    long late = r->delay + (r->jitter > 0 ? random() % r->jitter : 0);
    f->due = now() + (int64_t)late * 1000;
    f->number = r->numbers++;
    f->to = to;
    f->size = size;
    memcpy(f->data, data, size);
    heap_put(r, f);
}

static void
take_in(struct relay *r, int from)
{
    uint8_t data[FRAME];
    ssize_t size;

    while ((size = read(r->ends[from], data, sizeof data)) > 0) {
        keep(r, 1 - from, data, (size_t)size);
        if (random() % 1000 < r->twice) keep(r, 1 - from, data, (size_t)size);
    }
    if (size < 0 && errno != EAGAIN && errno != EIO) fail("read");
}

static void
give_out(struct relay *r)
{
    while (!r->frozen && r->count > 0 && r->heap[0]->due <= now()) {
        struct frame *f = heap_take(r);
        ssize_t put = write(r->ends[f->to], f->data, f->size); /* a device that is down loses it */
        (void)put;
        free(f);
    }
}

static bool
obey(struct relay *r)
{
    char line[64], word[16] = "";
    double value = 0;

    if (fgets(line, sizeof line, stdin) == NULL) return false;
    sscanf(line, "%15s %lf", word, &value);
    if (strcmp(word, "delay") == 0) r->delay = (long)(value * 1000);
    if (strcmp(word, "jitter") == 0) r->jitter = (long)(value * 1000);
    if (strcmp(word, "loss") == 0) r->loss = (long)value;
    if (strcmp(word, "twice") == 0) r->twice = (long)value;
    if (strcmp(word, "cut") == 0 || strcmp(word, "mend") == 0) r->cut = word[0] == 'c';
    if (strcmp(word, "freeze") == 0 || strcmp(word, "thaw") == 0) r->frozen = word[0] == 'f';
    puts("ok");
    return true;
}

/* A TAP device in a namespace; this process goes back to where it was. */
static int
device(const char *namespace, const char *name)
{
    char path[256];
    struct ifreq request;

    snprintf(path, sizeof path, "/run/netns/%s", namespace);
    int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    int there = open(path, O_RDONLY | O_CLOEXEC);
    if (home < 0 || there < 0 || setns(there, CLONE_NEWNET) != 0) fail(path);
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) fail("/dev/net/tun");
    memset(&request, 0, sizeof request);
    request.ifr_flags = IFF_TAP | IFF_NO_PI;
    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
    if (ioctl(fd, TUNSETIFF, &request) != 0) fail(name);
    if (setns(home, CLONE_NEWNET) != 0) fail("setns");
    close(there);
    close(home);
    return fd;
}

int
main(int argc, char **argv)
{
    struct relay *r = calloc(1, sizeof *r);

    if (argc != 5 || r == NULL) {
        fputs("usage: relay NAMESPACE DEVICE NAMESPACE DEVICE\n", stderr);
        return 1;
    }
    setvbuf(stdin, NULL, _IONBF, 0); /* poll sees all that there is */
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int i = 0; i < 2; i++)
        r->ends[i] = device(argv[2 * i + 1], argv[2 * i + 2]);
    puts("ready");
    for (;;) {
        struct pollfd fds[3] = {{r->ends[0], POLLIN, 0}, {r->ends[1], POLLIN, 0}, {0, POLLIN, 0}};
        int64_t wait = r->count > 0 && !r->frozen ? r->heap[0]->due - now() : 1000000000;
        struct timespec time = {wait > 0 ? wait / 1000000000 : 0, wait > 0 ? wait % 1000000000 : 0};
        if (ppoll(fds, 3, &time, NULL) < 0 && errno != EINTR) fail("poll");
        if (fds[0].revents != 0) take_in(r, 0);
        if (fds[1].revents != 0) take_in(r, 1);
        if (fds[2].revents != 0 && !obey(r)) return 0;
        give_out(r);
    }
}
