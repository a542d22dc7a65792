/* SPDX-License-Identifier: MIT */
/* frame_fuzz.c -- the reader of frames with hostile bytes: in pieces it gives the same frames, and
 * the same complaint, as at once.
 *
 * The input: in pieces of which size; behind how many large frames, which make the buffer move and
 * grow; the bytes. */
#include "core/base/error.h"
#include "core/net/frame.h"
#include "spec/core/check.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LARGE = 40000, LARGEST = 3 * (ACO_FRAME_HEAD + LARGE) + 65536, LIMIT = 4096 };

/* Memory of the reader, which keeps it from one input to the next. */
static aco_buf spare;

/* What has come: a sum over most of all frames, how many, and how it ended. */
struct seen {
    uint64_t sum;
    size_t frames;
    int err;
    const char *error;
};

static void
frame_see(struct seen *seen, const aco_frame *frame)
{
    uint64_t sum = seen->sum ^ frame->type ^ (uint64_t)frame->flags << 8 ^ frame->size << 16;

    for (size_t i = 0; i < frame->size; i += i < 64 || frame->size - i < 64 ? 1 : 61)
        sum = (sum ^ frame->body[i]) * 0x100000001b3;
    seen->sum = sum;
    seen->frames++;
}

static struct seen
read_in(const uint8_t *data, size_t size, size_t piece)
{
    struct seen seen = {.err = ACO_EBUSY};
    aco_frames frames;
    aco_frame frame;

    aco_frames_init(&frames, LIMIT);
    for (size_t at = 0, n; at < size && seen.err == ACO_EBUSY; at += n) {
        void *space;
        aco_frames_borrow(&frames, &spare);
        CHECK(aco_frames_space(&frames, &space, &n) == ACO_OK && n > 0);
        if (n > piece) n = piece;
        if (n > size - at) n = size - at;
        memcpy(space, data + at, n);
        aco_frames_filled(&frames, n);
        while ((seen.err = aco_frames_next(&frames, &frame)) == ACO_OK)
            frame_see(&seen, &frame);
        aco_frames_lend(&frames, &spare);
    }
    if (seen.err != ACO_EBUSY) seen.error = aco_frames_error(&frames);
    aco_frames_free(&frames);
    return seen;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t stream[LARGEST];
    size_t end = 0;

    if (size < 2 || size > 65536) return 0;
    size_t piece = ((size_t)data[0] + 1) * (data[0] & 1 ? 1 : 300);
    for (int i = (data[1] & 31) - 28; i > 0; i--, end += ACO_FRAME_HEAD + LARGE)
        aco_frame_head(stream + end, LARGE, 10, 0);
    memcpy(stream + end, data + 2, size - 2);
    end += size - 2;
    struct seen whole = read_in(stream, end, end), pieces = read_in(stream, end, piece);
    CHECK(whole.sum == pieces.sum && whole.frames == pieces.frames);
    CHECK(whole.err == pieces.err && whole.error == pieces.error);
    return 0;
}
