/* SPDX-License-Identifier: MIT */
/* path.h -- what is done to files by their paths, as jobs of the pool. */
#ifndef ACO_PATH_H
#define ACO_PATH_H

#include "core/engine/pool.h"

#include <sys/stat.h>

enum aco_path_op {
    ACO_PATH_OPEN,     /* flags, mode -> fd */
    ACO_PATH_STAT,     /* -> about */
    ACO_PATH_LSTAT,    /* -> about */
    ACO_PATH_RENAME,   /* to `other` */
    ACO_PATH_REMOVE,   /* a file, or an empty folder */
    ACO_PATH_MKDIR,    /* mode */
    ACO_PATH_LIST,     /* -> names, one after the other, each with a zero at its end */
    ACO_PATH_COPY,     /* a plain file to `other`, which is made or overwritten -> size */
    ACO_PATH_TEMP,     /* a new file; `path` ends with XXXXXX, which is replaced -> fd */
    ACO_PATH_TEMPDIR,  /* a new folder; as above */
    ACO_PATH_REALPATH, /* -> names: the one */
    ACO_PATH_SYMLINK,  /* `other`, leading to `path` */
    ACO_PATH_CHMOD,    /* mode */
    ACO_PATH_SYNC,     /* of a folder: its names reach the disk */
    ACO_PATH_OPS
};

typedef struct aco_path {
    aco_job job;
    enum aco_path_op op;
    int flags;
    unsigned mode;
    int fd;     /* owned by the job until somebody takes it (-1) */
    bool made;  /* something new, removed with the job unless somebody takes it (false) */
    int errnum; /* 0: done */
    struct stat about;
    int64_t size;
    aco_buf names;
    char *other; /* in the same memory as `path`; NULL */
    char path[];
} aco_path;

/** A job of this kind; NULL without memory. */
aco_path *aco_path_new(enum aco_path_op op, const char *path, const char *other);

#endif
