/* SPDX-License-Identifier: MIT */
/* receiver.h -- taking files from other processes into a folder (dest.h), each connection by a
 * thread of its own.
 *
 * What the other side says is believed in nothing: the name cannot leave the folder, no more is
 * written than was offered and allowed, and the file gets its name only when it is whole. Nothing
 * larger than a stack is there for a connection until the other side has proved who it is.
 *
 * Any thread. */
#ifndef ACO_RECEIVER_H
#define ACO_RECEIVER_H

#include "core/base/defs.h"

struct aco_secret;
typedef struct aco_receiver aco_receiver;

enum {
    ACO_RECEIVER_MOST = 16,    /* files on their way at once, by default */
    ACO_RECEIVER_SHAKING = 32, /* connections that have not proved who they are */
};

/** What is taken; zeros stand for what is usual. Everything is copied. */
struct aco_receiver_options {
    const char *dest_path;     /* NULL: the usual one, opened when it is needed; "": nothing is */
    uint64_t max_file_size;    /* 0: no limit */
    unsigned most;             /* files at once */
    aco_time patience;         /* so long may a transfer stand still; 30 s */
    struct aco_secret *secret; /* a reference is taken */
};

struct aco_receiver_stats {
    uint64_t files, bytes; /* that have arrived */
    uint64_t failed;       /* transfers that came to nothing; their senders know why */
    uint64_t refused;      /* connections that were refused, or did not prove who they are */
    unsigned busy;         /* connections now */
    char refusal[160];     /* why the last one failed or was refused, in words */
};

/** Open the folder and make a receiver, with one reference. Otherwise `*why` is a text, to be
 * freed. */
ACO_MUSTUSE int aco_receiver_new(const struct aco_receiver_options *options, aco_receiver **out,
                                 char **why);

/** Serve a connection that has been accepted, of which the preface has been read, and not answered;
 * `port` is the one that it came to. The descriptor is the receiver's from now on, in every case.
 * ACO_EBUSY: there are too many; ACO_ESYSTEM: no thread. It has been told so, and closed. */
ACO_MUSTUSE int aco_receiver_serve(aco_receiver *r, int fd, const uint8_t preface[8],
                                   uint16_t port);

/** The path of the folder; false when nothing is taken. */
bool aco_receiver_path(aco_receiver *r, char *path, size_t size);
void aco_receiver_stats(aco_receiver *r, struct aco_receiver_stats *stats);

/** Cut off all that is under way, wait until it has ended, and let go. NULL is allowed. In a child
 * of a fork, where the threads are not, it just lets go. */
void aco_receiver_close(aco_receiver *r);

#endif
