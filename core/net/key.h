/* SPDX-License-Identifier: MIT */
/* key.h -- the key file of a user: 32 random bytes that only this user can read, by which processes
 * without a secret prove to each other that they are the same user's. Made at its first use. */
#ifndef ACO_KEY_H
#define ACO_KEY_H

#include "core/base/defs.h"

enum { ACO_KEY_SIZE = 32 };

/** Where it is: $XDG_CONFIG_HOME/asyncoro/key, else ~/.config/asyncoro/key. For the caller to free;
 * NULL without memory or a home. */
char *aco_key_path(void);

/** Read it, or make it. ACO_EDENIED: others can read it, or it is another user's. On an error
 * `*why` is a text for the caller to free (NULL without memory). Blocks. */
ACO_MUSTUSE int aco_key_read(const char *path, uint8_t key[ACO_KEY_SIZE], char **why);

#endif
