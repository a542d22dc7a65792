/* SPDX-License-Identifier: MIT */
/* A queue of frames while allocations fail: what was not added leaves no trace, and what was added
 * can be written, in order, without memory. */
#include "core/base/error.h"
#include "core/net/frame.h"
#include "core/net/outq.h"

#include "check.h"

#include <string.h>

enum { SEND = 10, ACK = 13, TARGETS = 40, ADDED = 400, HEAD = 16 };

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *ptr, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *ptr, size_t size);

static unsigned one_in; /* allocations fail; 0: none, 1: all */
static uint32_t seed = 4711;

static uint32_t
random_below(uint32_t limit)
{
    seed = seed * 1664525 + 1013904223;
    return (seed >> 8) % limit;
}

void *
__wrap_malloc(size_t size)
{
    return one_in > 0 && random_below(one_in) == 0 ? NULL : __real_malloc(size);
}

void *
__wrap_calloc(size_t count, size_t size)
{
    return one_in > 0 && random_below(one_in) == 0 ? NULL : __real_calloc(count, size);
}

void *
__wrap_realloc(void *ptr, size_t size)
{
    return one_in > 0 && random_below(one_in) == 0 ? NULL : __real_realloc(ptr, size);
}

struct world {
    aco_outq queue;
    aco_frames frames;
    uint32_t sent[TARGETS], got[TARGETS];
    aco_msg *msgs[4];
};

static void
add(struct world *w)
{
    uint8_t head[HEAD] = {0};
    uint32_t t = random_below(TARGETS), size = random_below(4);
    size_t before = aco_outq_size(&w->queue);

    head[11] = (uint8_t)t;
    memcpy(head + 12, &w->sent[t], sizeof w->sent[t]);
    int type = random_below(8) == 0 ? ACK : SEND;
    if (type == ACK) size = 0;
    int err = aco_outq_add(&w->queue, type, 0, head, head, HEAD, w->msgs[size]);
    CHECK(err == ACO_OK || (err == ACO_ENOMEM && aco_outq_size(&w->queue) == before));
    if (err == ACO_OK && type == SEND) w->sent[t]++;
}

static bool
drain(struct world *w, size_t most)
{
    struct iovec piece;
    aco_frame frame;
    void *space;
    size_t room;
    int err;
    unsigned failing = one_in;

    if (aco_outq_iov(&w->queue, &piece, 1) == 0) {
        CHECK(aco_outq_size(&w->queue) == 0);
        return false;
    }
    one_in = 0; /* the reader is not what is tested */
    CHECK(aco_frames_space(&w->frames, &space, &room) == ACO_OK);
    if (most > room) most = room;
    if (most > piece.iov_len) most = piece.iov_len;
    memcpy(space, piece.iov_base, most);
    aco_frames_filled(&w->frames, most);
    while ((err = aco_frames_next(&w->frames, &frame)) == ACO_OK) {
        uint32_t number;
        CHECK(frame.size >= HEAD && frame.body[11] < TARGETS);
        memcpy(&number, frame.body + 12, sizeof number);
        if (frame.type == SEND) CHECK(number == w->got[frame.body[11]]++);
    }
    CHECK(err == ACO_EBUSY);
    one_in = failing;
    aco_outq_consumed(&w->queue, most);
    return true;
}

static void
test(unsigned failing)
{
    static const size_t sizes[] = {0, 50, 20000, 150000};
    struct world w = {.sent = {0}};

    for (int i = 0; i < 4; i++) {
        uint8_t *bytes = calloc(1, sizes[i] + 1);
        w.msgs[i] = aco_msg_new(bytes, sizes[i]);
        free(bytes);
    }
    aco_outq_init(&w.queue);
    w.queue.turn_limit = ACO_FRAME_TIMES << 20;
    aco_frames_init(&w.frames, 1 << 20);
    one_in = failing;
    for (int i = 0; i < ADDED; i++) {
        add(&w);
        if (random_below(2) == 0) drain(&w, 1 + random_below(80000));
    }
    one_in = 1;
    while (drain(&w, 1 + random_below(80000)))
        continue;
    one_in = 0;
    for (int t = 0; t < TARGETS; t++)
        CHECK(w.got[t] == w.sent[t]);
    for (int i = 0; i < 4; i++)
        aco_msg_unref(w.msgs[i]);
    aco_outq_free(&w.queue);
    aco_frames_free(&w.frames);
}

int
main(void)
{
    for (unsigned failing = 2; failing < 30; failing++)
        test(failing);
    return 0;
}
