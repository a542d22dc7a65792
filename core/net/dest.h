/* SPDX-License-Identifier: MIT */
/* dest.h -- the folder that takes files from other processes, which nothing leaves.
 *
 * A name from elsewhere is a path below the folder. It is walked from the folder's descriptor, one
 * part at a time, and never through a symbolic link; what it leads to is a plain file or nothing.
 * Files arrive in parts (part.h), in a folder of their own inside, and get their names when they
 * are whole.
 *
 * Any thread. Failures are an error and a text in `why`, of ACO_DEST_WHY bytes, that says what to
 * do about it. */
#ifndef ACO_DEST_H
#define ACO_DEST_H

#include "core/base/defs.h"

#include <sys/stat.h>

enum {
    ACO_DEST_NAME_MAX = 4000, /* bytes of a path below the folder */
    ACO_DEST_LEAF_MAX = 255,  /* of one name in it */
    ACO_DEST_DEEP = 32,       /* names in it */
    ACO_DEST_WHY = 512
};

/** The folder inside in which files grow; nobody can name it. */
#define ACO_DEST_PARTS ".asyncoro"

typedef struct aco_dest aco_dest;

/** The path of the folder that is usual for this user: $XDG_STATE_HOME or ~/.local/state, and
 * asyncoro/files in it; to be freed. NULL without memory, or a home. */
char *aco_dest_usual(void);

/** Open the folder, with one reference; it is made, for this user only, when it is not there.
 * ACO_EDENIED: everybody may write there. */
ACO_MUSTUSE int aco_dest_open(const char *path, aco_dest **out, char why[ACO_DEST_WHY]);
aco_dest *aco_dest_ref(aco_dest *dest);
void aco_dest_unref(aco_dest *dest); /* NULL is allowed */

/** Its path, without links; and the descriptors of it and of the folder of parts. */
const char *aco_dest_path(const aco_dest *dest);
int aco_dest_root(const aco_dest *dest);
int aco_dest_parts(const aco_dest *dest);

/** Check a path from elsewhere and write it down in its one form, without "." and doubled slashes.
 * ACO_EDENIED: it would lead out of the folder, or into the folder of parts. ACO_EINVALID: no name
 * of a file. ACO_ETOOLARGE. */
ACO_MUSTUSE int aco_dest_name(const char *path, size_t size, char name[ACO_DEST_NAME_MAX + 1],
                              char why[ACO_DEST_WHY]);

/** Where a file is, or would be: the folder it is in, and its name there. */
typedef struct aco_spot {
    int folder;       /* a descriptor; owned when it is not the root's */
    bool owned;       /* it is not */
    const char *leaf; /* in `name` */
    char name[ACO_DEST_NAME_MAX + 1];
} aco_spot;

/** Go to the place of a name that aco_dest_name has made. `make`: its folders are made, else
 * ACO_ENOTFOUND says that one is missing. ACO_EDENIED: a symbolic link is on the way. ACO_EINVALID:
 * a file is. To be closed when it is ACO_OK. */
ACO_MUSTUSE int aco_spot_open(aco_dest *dest, const char *name, bool make, aco_spot *spot,
                              char why[ACO_DEST_WHY]);
void aco_spot_close(aco_spot *spot);

/** What is there: ACO_OK with `about` of a plain file, ACO_ENOTFOUND nothing, ACO_EINVALID what is
 * no plain file, ACO_EDENIED a symbolic link. */
ACO_MUSTUSE int aco_spot_look(const aco_spot *spot, struct stat *about, char why[ACO_DEST_WHY]);

/** Remove the file of this name, and then the folders above it that are empty. */
ACO_MUSTUSE int aco_dest_remove(aco_dest *dest, const char *name, char why[ACO_DEST_WHY]);

/** Put a text that says what an errno value means, after "`what` `name`: ", and give its error. */
int aco_dest_failed(char why[ACO_DEST_WHY], const char *what, const char *name, int errnum);

#endif
