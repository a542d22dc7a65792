/* SPDX-License-Identifier: MIT */
/* proof.h -- mode K: two processes prove to each other that they read the same key file
 * (docs/protocol.md). One thread at a time. */
#ifndef ACO_PROOF_H
#define ACO_PROOF_H

#include "core/net/preface.h"
#include "core/net/secret.h"

typedef struct aco_proof aco_proof;

/** `preface` is the dialling side's; `port` that to which it connected. NULL without memory or
 * randomness. */
aco_proof *aco_proof_new(const aco_secret *secret, bool server,
                         const uint8_t preface[ACO_PREFACE_SIZE], uint16_t port);
void aco_proof_free(aco_proof *proof); /* NULL is allowed */

/** Go on over `fd`, without waiting; take from it not a byte more than the proof's own. ACO_OK:
 * done. ACO_EBUSY: call again when the descriptor is ready. Else `*why` says why: a text that
 * stays, or NULL: what errno says. */
ACO_MUSTUSE int aco_proof_shake(aco_proof *proof, int fd, const char **why);

/** Are bytes left to be sent? */
bool aco_proof_holds(const aco_proof *proof);

#endif
