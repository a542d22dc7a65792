/* SPDX-License-Identifier: MIT */
/* random.h -- bytes that nobody can guess. Any thread; fresh in a forked child. */
#ifndef ACO_RANDOM_H
#define ACO_RANDOM_H

#include "core/base/defs.h"

/** Fill `size` bytes from the kernel. ACO_ESYSTEM: it has none to give. */
ACO_MUSTUSE int aco_random(void *data, size_t size);

#endif
