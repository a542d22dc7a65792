/* SPDX-License-Identifier: MIT */
/* issue.h -- making certificates: an authority, and what it issues to processes. */
#ifndef ACO_ISSUE_H
#define ACO_ISSUE_H

#include "core/base/defs.h"

enum { ACO_ISSUE_DAYS = 36500 }; /* the most that one may be valid */

/** What is to be issued. With `ca` and its `ca_key`, PEM text both: by that authority, for the host
 * names and addresses `names`, to a process that connects and is connected to. Without: a new
 * authority, which issues itself. */
struct aco_issue {
    const char *subject; /* the common name, 1 .. 64 bytes of UTF-8 */
    const char *const *names;
    size_t count;
    int days; /* it is valid, 1 .. ACO_ISSUE_DAYS, but no longer than its authority */
    const char *ca, *ca_key;
};

/** Issue it: an elliptic key (P-256) and its certificate, PEM text both for the caller to free.
 * ACO_EINVALID: a name is none, the authority is none or has expired, or its key is another one's;
 * `*why` is a text for the caller to free (NULL without memory). ACO_EUNSUPPORTED. Any thread. */
ACO_MUSTUSE int aco_issue(const struct aco_issue *issue, char **cert, char **key, char **why);

#endif
