/* SPDX-License-Identifier: MIT */
/* The reader of frames with hostile bytes, in pieces as the first byte says. */
#include "core/base/error.h"
#include "core/net/frame.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    aco_frames frames;
    aco_frame frame;
    aco_buf spare = {0};
    size_t piece = size > 0 ? (size_t)data[0] + 1 : 1;
    volatile uint8_t last = 0;
    int err = ACO_EBUSY;

    aco_frames_init(&frames, 4096);
    for (size_t at = 1; at < size && err == ACO_EBUSY; at += piece) {
        size_t n = size - at < piece ? size - at : piece, room;
        void *space;
        aco_frames_borrow(&frames, &spare);
        if (aco_frames_space(&frames, &space, &room) != ACO_OK) break;
        memcpy(space, data + at, n);
        aco_frames_filled(&frames, n);
        while ((err = aco_frames_next(&frames, &frame)) == ACO_OK)
            if (frame.size > 0) last = frame.body[frame.size - 1]; /* all of it can be read */
        aco_frames_lend(&frames, &spare);
    }
    (void)last;
    aco_frames_free(&frames);
    aco_buf_free(&spare);
    return 0;
}
