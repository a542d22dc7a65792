/* SPDX-License-Identifier: MIT */
/* sigpipe.h -- writing where SIGPIPE threatens, without ending the process and without a handler.
 */
#ifndef ACO_SIGPIPE_H
#define ACO_SIGPIPE_H

#include <sys/uio.h>

/** writev; a broken pipe gives -1 with errno EPIPE and no signal, whatever the process does with
 * SIGPIPE. Any thread. (Sockets have MSG_NOSIGNAL.) */
ssize_t aco_sigpipe_writev(int fd, const struct iovec *pieces, int count);

#endif
