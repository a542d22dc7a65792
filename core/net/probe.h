/* SPDX-License-Identifier: MIT */
/* probe.h -- what `asyncoro doctor` looks at: this machine, its ports, the secret, who answers to
 * discovery, and one process at a location.
 *
 * What is found is a list of facts, each a word and a text; what they mean and what to do about
 * them is said elsewhere. Every function blocks: they are for a thread of their own. */
#ifndef ACO_PROBE_H
#define ACO_PROBE_H

#include "core/base/buf.h"

/** Facts as "word\0text\0word\0text\0"; all zeros is none of them. Without memory some are lost. */
typedef struct aco_facts {
    aco_buf bytes;
} aco_facts;

void aco_facts_free(aco_facts *facts);
ACO_PRINTF(3, 4) void aco_facts_add(aco_facts *facts, const char *word, const char *fmt, ...);

/** The fact at *place, with *place set behind it; NULL at the end. The first has place 0. */
const char *aco_facts_next(const aco_facts *facts, size_t *place, const char **text);

struct aco_probe {
    const char *secret; /* NULL: none */
    size_t secret_size;
    const char *certfile, *keyfile, *cafile; /* NULL: none */
    const char *secret_file;                 /* where the secret came from; NULL: not from a file */
    const char *location;                    /* of the peer */
    uint16_t udp, tcp;                       /* ports; udp 0: that of discovery */
    aco_time listen;                         /* how long answers to discovery are awaited */
    aco_time patience;                       /* how long one step with a peer may take */
};

/** Addresses, what would be advertised, the ports. Facts: `interface` (name, address), `advertise`,
 * `udp` ("free", "shared", "taken" or an error), `udp_port`, `tcp` ("free", "taken"
 * or an error), `tcp_port`, `port_error`. */
void aco_probe_machine(const struct aco_probe *probe, aco_facts *facts);

/** The secret, the certificates, or the key file. Facts: `mode` ("K", "S", "C"), `warning`,
 * `error`, and of the key file `key_path`, `key` ("missing", "private", "open", "foreign"); the
 * same of a secret's file, `secret_file`. */
void aco_probe_secret(const struct aco_probe *probe, aco_facts *facts);

/** Who answers to discovery. Facts: `asked` (where, in words), `peer` (location, address,
 * name), `sent` and `refused` (how many datagrams), `refusal` (the last one), `failure`, `error`.
 */
void aco_probe_discovery(const struct aco_probe *probe, aco_facts *facts);

/** The process at a location. Facts, as far as it comes: `mode` (ours), `unknown` (its name is, and
 * why), `address` (each), `unreachable` and `cause` (each that was tried in vain, and the word of
 * the error), `connected`, `peer_version`, `peer_mode`, `answer` ("ok", "silent", "closed",
 * "foreign", "refused"), `refusal` (why, in words), `secure` ("ok" or what is wrong), `hello` ("ok"
 * or what it said instead), `protocol`, `name`, `location`, `agent`, `clock` (seconds that its
 * clock is ahead), `trip` (seconds), `error`. */
void aco_probe_peer(const struct aco_probe *probe, aco_facts *facts);

#endif
