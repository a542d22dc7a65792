/* SPDX-License-Identifier: MIT */
/* tls_error.h -- what OpenSSL's errors mean. */
#ifndef ACO_TLS_ERROR_H
#define ACO_TLS_ERROR_H

#include "core/base/defs.h"

/** The error that OpenSSL's queue tells of, ACO_EAUTH or ACO_EPROTOCOL, and a text for the caller
 * to free (NULL without memory). `established`: it came after the handshake. Empties the queue. */
int aco_tls_error(char **text, bool established);

#endif
