/* SPDX-License-Identifier: MIT */
/* watch.h -- waiting for a descriptor to become ready, once. Loop's thread. */
#ifndef ACO_WATCH_H
#define ACO_WATCH_H

#include "core/engine/loop.h"

struct event;

/** One interest in one descriptor. The memory is the owner's, from start to stop. */
typedef struct aco_watch {
    aco_link link; /* in loop->watching */
    aco_loop *loop;
    struct event *event;
    aco_waitq queue;  /* the task that waits; woken with ACO_OK */
    int fd, mirrored; /* the second: a duplicate in the mirror of aco_loop_fd, or -1 */
    bool writing;
} aco_watch;

/** Look once: ACO_OK when `fd` is readable (or writable) now, else ACO_ETIMEOUT. ACO_EINVALID: it
 * cannot be waited for, as plain files and closed descriptors cannot. */
ACO_MUSTUSE int aco_watch_test(int fd, bool writing);

/** Watch `fd` until it is readable (or writable) once. ACO_EINVALID: this descriptor cannot be
 * waited for, as plain files cannot; ACO_ENOMEM. Nothing was started then. */
ACO_MUSTUSE int aco_watch_start(aco_watch *watch, aco_loop *loop, int fd, bool writing);

/** Stop; harmless after the descriptor was ready, or when it was never started. */
void aco_watch_stop(aco_watch *watch);

/** For the loop: show the interest in its mirror; take it out again. ACO_ESYSTEM. */
ACO_MUSTUSE int aco_watch_mirror(aco_watch *watch);
void aco_watch_unmirror(aco_watch *watch);

#endif
