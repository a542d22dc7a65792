/* SPDX-License-Identifier: MIT */
/* sigpipe.h -- writing where SIGPIPE or SIGXFSZ threatens, without ending the process and without a
 * handler: a broken pipe gives EPIPE, a file over the limit of its size EFBIG, and no signal,
 * whatever the process does with them. Any thread. (Sockets have MSG_NOSIGNAL.) */
#ifndef ACO_SIGPIPE_H
#define ACO_SIGPIPE_H

#include <stdio.h>
#include <sys/uio.h>

/** writev. */
ssize_t aco_sigpipe_writev(int fd, const struct iovec *pieces, int count);

/** fflush. */
int aco_sigpipe_flush(FILE *file);

#endif
