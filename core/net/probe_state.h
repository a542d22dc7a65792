/* SPDX-License-Identifier: MIT */
/* probe_state.h -- what the parts of probe.h share. */
#ifndef ACO_PROBE_STATE_H
#define ACO_PROBE_STATE_H

#include "core/net/probe.h"
#include "core/net/secret.h"

/** The secret of a probe, a reference of the caller's; NULL: the fact `error` says why not. */
aco_secret *aco_probe_make_secret(const struct aco_probe *probe, aco_facts *facts);

#endif
