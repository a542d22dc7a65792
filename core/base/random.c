/* SPDX-License-Identifier: MIT */
#include "core/base/random.h"
#include "core/base/error.h"

#include <errno.h>
#include <sys/random.h>

int
aco_random(void *data, size_t size)
{
    uint8_t *at = data;

    while (size > 0) {
        ssize_t got = getrandom(at, size, 0);
        if (got < 0 && errno != EINTR) return ACO_ESYSTEM;
        if (got > 0) {
            at += got;
            size -= (size_t)got;
        }
    }
    return ACO_OK;
}
