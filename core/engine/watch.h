/* SPDX-License-Identifier: MIT */
/* watch.h -- waiting until a descriptor can be read, or written. Loop's thread.
 *
 * A watch stays armed after its descriptor was ready: who reads, waits, reads again costs no system
 * call but the reads. When it is ready again and again and nobody waits it disarms itself. */
#ifndef ACO_WATCH_H
#define ACO_WATCH_H

#include "core/engine/loop.h"

struct event;

/** One interest in one descriptor. The memory is the owner's, from init to stop. */
typedef struct aco_watch {
    aco_link link; /* in loop->watching while it has an event */
    /* For owners in core, set after init, may be NULL: the descriptor is ready (instead of waking
     * the queue); the loop ends, and has stopped the watch. */
    void (*on_ready)(struct aco_watch *watch);
    void (*on_end)(struct aco_watch *watch);
    aco_loop *loop;
    struct event *event; /* made when it is first armed */
    aco_waitq queue;     /* those who wait; woken with ACO_OK */
    int fd, mirrored;    /* the second: a duplicate in the mirror of aco_loop_fd, or -1 */
    bool writing, armed;
    uint8_t missed; /* how often it has been ready and nobody waited */
} aco_watch;

/** Look once: ACO_OK when `fd` is readable (or writable) now, else ACO_ETIMEOUT. ACO_EINVALID: it
 * cannot be waited for, as plain files and closed descriptors cannot. */
ACO_MUSTUSE int aco_watch_test(int fd, bool writing);

/** A watch of `fd` that is not armed. Cannot fail. */
void aco_watch_init(aco_watch *watch, aco_loop *loop, int fd, bool writing);

/** Wake those who are in the queue whenever the descriptor is readable (or writable); nothing is
 * done when it is armed already. ACO_EINVALID: this descriptor cannot be waited for, as plain files
 * cannot; ACO_ENOMEM, ACO_ESYSTEM. */
ACO_MUSTUSE int aco_watch_arm(aco_watch *watch);

/** Disarm and give back what init and arm took; harmless at any time after init, and on zeros. The
 * descriptor must still be open. Those in the queue stay there. */
void aco_watch_stop(aco_watch *watch);

/** For the loop: show the interest in its mirror; take it out again. ACO_ESYSTEM. */
ACO_MUSTUSE int aco_watch_mirror(aco_watch *watch);
void aco_watch_unmirror(aco_watch *watch);

#endif
