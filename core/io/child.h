/* SPDX-License-Identifier: MIT */
/* child.h -- child processes: started, watched one by one, and never left as zombies.
 *
 * Each is waited for by its own number, so that children of others are left alone, and no signal
 * handler is needed: a pidfd shows the end (in older kernels, a pipe that a thread closes then).
 * Loop's thread. */
#ifndef ACO_CHILD_H
#define ACO_CHILD_H

#include "core/engine/watch.h"

#include <sys/types.h>

/* What becomes of a standard descriptor, where no descriptor is given. */
enum { ACO_CHILD_INHERIT = -1, ACO_CHILD_NULL = -2, ACO_CHILD_MERGE = -3 };

struct aco_child_setup {
    char *const *argv; /* ends with NULL; argv[0] is looked for in PATH when it has no slash */
    char *const *env;  /* NULL: ours */
    const char *cwd;   /* NULL: ours */
    int fds[3]; /* descriptors, or of the above; MERGE: standard error goes where output does */
    bool group; /* a process group of its own, of which it is the first */
};

typedef struct aco_child {
    aco_watch watch; /* of `fd`; in its queue are those who wait for the end */
    aco_loop *loop;
    pid_t pid;
    int fd;     /* can be read when it has ended; -1: it has been waited for */
    int code;   /* exit code; number of the signal; -1: unknown, somebody else has waited for it */
    bool ended; /* and has been waited for */
    bool signaled, group;
    bool abandoned; /* nobody holds it: freed at the end */
} aco_child;

/** Start a program. The descriptors stay the caller's, and are made to block by the caller.
 * ACO_ENOTFOUND, ACO_EDENIED and others from errno, which is set. */
ACO_MUSTUSE int aco_child_start(aco_child **child, aco_loop *loop,
                                const struct aco_child_setup *setup);

/** Has it ended? Waits for it if so, without blocking. */
bool aco_child_look(aco_child *child);

/** Send a signal, to its group when it has one of its own. ACO_ENOTFOUND: it has ended. */
int aco_child_kill(aco_child *child, int number);

/** Let go: when it still runs it is killed (with its group), and waited for when it has ended; by
 * a thread, when the loop ends before. */
void aco_child_free(aco_child *child);

#endif
