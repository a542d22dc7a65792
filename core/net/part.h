/* SPDX-License-Identifier: MIT */
/* part.h -- a file on its way into a folder for files (dest.h): it grows under a name of its own,
 * and gets the name it is meant for when it is whole.
 *
 * What is left of a transfer that was cut off stays for a week, so that the next one goes on from
 * there. A part is locked while somebody writes it, also for other processes. */
#ifndef ACO_PART_H
#define ACO_PART_H

#include "core/net/dest.h"

enum { ACO_PART_KEY = 16, ACO_PART_COUNT = 64, ACO_PART_AGE = 7 * 86400 };

typedef struct aco_part {
    int fd; /* to read and write; -1: none */
    uint64_t size;
    char name[40]; /* in the folder of parts */
    bool kept;     /* has a name by which it is found again */
} aco_part;

/** Open the part with this key, what an earlier transfer has left, or a new one. When somebody else
 * writes that one, or `key` is NULL: a new one, which nobody finds again. */
ACO_MUSTUSE int aco_part_open(aco_dest *dest, const uint8_t key[ACO_PART_KEY], aco_part *part,
                              char why[ACO_DEST_WHY]);

/** Throw away what is there, or what is beyond `size`. */
ACO_MUSTUSE int aco_part_cut(aco_part *part, uint64_t size, char why[ACO_DEST_WHY]);

/** Append. ACO_ENOSPACE, ACO_ETOOLARGE. */
ACO_MUSTUSE int aco_part_add(aco_part *part, const void *data, size_t size, char why[ACO_DEST_WHY]);

/** It is whole: it goes to the disk, gets mode and time, and then its name, in one step. An old
 * file of that name is replaced when `overwrite` says so, else ACO_EEXISTS. */
ACO_MUSTUSE int aco_part_arrive(aco_dest *dest, aco_part *part, const char *name, unsigned mode,
                                const struct timespec *modified, bool overwrite,
                                char why[ACO_DEST_WHY]);

/** Let go of it: `keep` what is there for the next transfer, as far as that can find it. */
void aco_part_close(aco_dest *dest, aco_part *part, bool keep);

/** Remove what was left behind: parts that are a week old, that nobody can find again, or that are
 * more than ACO_PART_COUNT. */
void aco_part_prune(aco_dest *dest);

#endif
