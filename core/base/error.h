/* SPDX-License-Identifier: MIT */
/* error.h -- the one list of error codes.
 *
 * Core functions return ACO_OK or one of these; results go through out-parameters. The word is what
 * scripts see as the third value of `nil, message, code`; it is part of the public API and never
 * changes. */
#ifndef ACO_ERROR_H
#define ACO_ERROR_H

#include "core/base/defs.h"

/* X(name, word, text) */
#define ACO_ERROR_TABLE(X)                                                                         \
    X(TIMEOUT, "timeout", "timed out")                                                             \
    X(CLOSED, "closed", "closed")                                                                  \
    X(EOF, "eof", "end of stream")                                                                 \
    X(RESET, "reset", "connection reset")                                                          \
    X(BUSY, "busy", "busy")                                                                        \
    X(CANCELED, "canceled", "canceled")                                                            \
    X(TERMINATED, "terminated", "terminated")                                                      \
    X(NOTFOUND, "notfound", "not found")                                                           \
    X(REFUSED, "refused", "refused")                                                               \
    X(PEERDOWN, "peerdown", "peer is down")                                                        \
    X(PROTOCOL, "protocol", "malformed data")                                                      \
    X(AUTH, "auth", "not authorised")                                                              \
    X(TOOLARGE, "toolarge", "too large")                                                           \
    X(UNSENDABLE, "unsendable", "cannot be sent")                                                  \
    X(NONODE, "nonode", "no node")                                                                 \
    X(EXISTS, "exists", "exists already")                                                          \
    X(DENIED, "denied", "permission denied")                                                       \
    X(INVALID, "invalid", "invalid argument")                                                      \
    X(NOMEM, "nomem", "not enough memory")                                                         \
    X(SYSTEM, "system", "system call failed")                                                      \
    X(UNSUPPORTED, "unsupported", "not supported here")                                            \
    X(UNREACHABLE, "unreachable", "unreachable")                                                   \
    X(NOSPACE, "nospace", "no space left")                                                         \
    X(LIMIT, "limit", "too many open files")                                                       \
    X(TRUNCATED, "truncated", "ended too early")

enum aco_err {
    ACO_OK = 0,
#define X(name, word, text) ACO_E##name,
    ACO_ERROR_TABLE(X)
#undef X
        ACO_ERR_COUNT,
    ACO_PENDING = -1, /**< not an error: the wait has been parked and will complete exactly once */
};

/** The stable code word of an error ("timeout"); never NULL. */
const char *aco_err_word(int err);

/** A short English text of an error ("timed out"); never NULL. */
const char *aco_err_text(int err);

/** The error that stands for an errno value. */
int aco_err_from_errno(int errnum);

/** `err`, with its reason in words in `*why`, for the caller to free; NULL without memory. */
int aco_err_why(char **why, int err, const char *format, ...) ACO_PRINTF(3, 4);

#endif
