/* SPDX-License-Identifier: MIT */
/* Frames into the queue, bytes out of it in any pieces, and into the reader: what comes out is what
 * went in, for each target in order, and control frames do not wait. */
#include "core/base/error.h"
#include "core/net/frame.h"
#include "core/net/outq.h"

#include "check.h"

#include <string.h>

enum { TARGETS = 5, ROUNDS = 60, SEND = 10, ACK = 13, HEAD = 12 + 4 };

static uint32_t seed = 12345;

static uint32_t
random_below(uint32_t limit)
{
    seed = seed * 1664525 + 1013904223;
    return (seed >> 8) % limit;
}

static uint32_t
get_u32(const uint8_t *in)
{
    return (uint32_t)in[0] << 24 | (uint32_t)in[1] << 16 | (uint32_t)in[2] << 8 | in[3];
}

static void
put_u32(uint8_t *out, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        out[i] = (uint8_t)(value >> (24 - 8 * i));
}

/* A message whose bytes can be told from its number and size. */
static aco_msg *
msg_of(uint32_t number, size_t size)
{
    uint8_t *bytes = malloc(size + 1);

    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)(number * 31 + i * 7);
    aco_msg *msg = aco_msg_new(bytes, size);
    free(bytes);
    return msg;
}

static size_t
size_random(void)
{
    static const uint32_t limits[] = {10, 100, 300, 9000, 70000, 400000};

    return random_below(limits[random_below(6)]);
}

struct world {
    aco_outq queue;
    aco_frames frames;
    uint32_t sent[TARGETS], got[TARGETS];
    size_t sizes[TARGETS][8192];
    uint32_t acks_sent, acks_got;
};

static void
add(struct world *w)
{
    uint8_t head[HEAD] = {0};
    uint32_t t = random_below(TARGETS);

    if (random_below(8) == 0) {
        put_u32(head, w->acks_sent++);
        CHECK(aco_outq_add(&w->queue, ACK, 0, NULL, head, 4, NULL) == ACO_OK);
        return;
    }
    size_t size = size_random();
    head[11] = (uint8_t)t;
    put_u32(head + 12, w->sent[t]);
    w->sizes[t][w->sent[t]] = size;
    aco_msg *msg = msg_of(w->sent[t]++, size);
    CHECK(aco_outq_add(&w->queue, SEND, 3, head, head, HEAD, msg) == ACO_OK);
    aco_msg_unref(msg);
}

static void
frame_check(struct world *w, const aco_frame *frame)
{
    if (frame->type == ACK) {
        CHECK(frame->size == 4 && get_u32(frame->body) == w->acks_got++);
        return;
    }
    CHECK(frame->type == SEND && frame->flags == 3 && frame->size >= HEAD);
    uint32_t t = frame->body[11], number = get_u32(frame->body + 12);
    CHECK(t < TARGETS && number == w->got[t]++);
    CHECK(frame->size == HEAD + w->sizes[t][number]);
    for (size_t i = 0; i < frame->size - HEAD; i++)
        CHECK(frame->body[HEAD + i] == (uint8_t)(number * 31 + i * 7));
    if (frame->whole != NULL) CHECK(aco_msg_size(frame->whole) == frame->size);
}

static void
feed(struct world *w, const uint8_t *data, size_t size)
{
    aco_frame frame;
    int err;

    while (size > 0) {
        void *space;
        size_t room;
        CHECK(aco_frames_space(&w->frames, &space, &room) == ACO_OK && room >= 16384);
        size_t n = size < room ? size : room;
        memcpy(space, data, n);
        aco_frames_filled(&w->frames, n);
        data += n;
        size -= n;
        while ((err = aco_frames_next(&w->frames, &frame)) == ACO_OK)
            frame_check(w, &frame);
        CHECK(err == ACO_EBUSY);
    }
}

/* Take some of what is to be written, cut anywhere. False: there was nothing. */
static bool
drain(struct world *w, size_t most)
{
    struct iovec pieces[4], again[4];
    int count = aco_outq_iov(&w->queue, pieces, 4);
    size_t taken = 0;

    if (count == 0) return false;
    if (random_below(2) == 0) add(w); /* what was offered stays where it is */
    CHECK(aco_outq_iov(&w->queue, again, 4) >= count);
    for (int i = 0; i < count && taken < most; i++) {
        CHECK(again[i].iov_base == pieces[i].iov_base);
        size_t n = pieces[i].iov_len < most - taken ? pieces[i].iov_len : most - taken;
        feed(w, pieces[i].iov_base, n);
        taken += n;
    }
    size_t before = aco_outq_size(&w->queue);
    aco_outq_consumed(&w->queue, taken);
    CHECK(aco_outq_size(&w->queue) == before - taken);
    return true;
}

static void
test_order(void)
{
    struct world *w = calloc(1, sizeof *w);

    aco_outq_init(&w->queue);
    aco_frames_init(&w->frames, 1 << 20);
    for (int round = 0; round < ROUNDS; round++) {
        for (uint32_t i = random_below(60); i > 0; i--)
            add(w);
        for (uint32_t i = random_below(40); i > 0; i--)
            drain(w, 1 + random_below(random_below(2) ? 50 : 100000));
    }
    while (drain(w, 1 << 20))
        continue;
    for (int t = 0; t < TARGETS; t++)
        CHECK(w->got[t] == w->sent[t]);
    CHECK(w->acks_got == w->acks_sent && aco_outq_size(&w->queue) == 0);
    aco_outq_free(&w->queue);
    aco_frames_free(&w->frames);
    free(w);
}

/* A control frame leaves before what waits, but for what was made ready; a small one for another
 * target does not wait for the end of a large one. */
static void
test_overtaking(void)
{
    aco_outq q;
    aco_frames frames;
    aco_frame frame;
    uint8_t big[HEAD] = {1}, small[HEAD] = {2}, behind[HEAD] = {1};
    aco_msg *msg = msg_of(0, 10 << 20);
    size_t passed = 0, until_ack = 0, until_small = 0, until_big = 0;

    aco_outq_init(&q);
    aco_frames_init(&frames, 11 << 20);
    behind[15] = 1;
    CHECK(aco_outq_add(&q, SEND, 0, big, big, HEAD, msg) == ACO_OK);
    CHECK(aco_outq_add(&q, SEND, 0, behind, behind, HEAD, NULL) == ACO_OK);
    CHECK(aco_outq_add(&q, SEND, 0, small, small, HEAD, NULL) == ACO_OK);
    CHECK(aco_outq_add(&q, ACK, 0, NULL, small, 4, NULL) == ACO_OK);
    aco_msg_unref(msg);
    for (struct iovec piece; aco_outq_iov(&q, &piece, 1) == 1;) {
        void *space;
        size_t room;
        CHECK(aco_frames_space(&frames, &space, &room) == ACO_OK);
        size_t n = piece.iov_len < room ? piece.iov_len : room;
        memcpy(space, piece.iov_base, n);
        aco_frames_filled(&frames, n);
        aco_outq_consumed(&q, n);
        passed += n;
        while (aco_frames_next(&frames, &frame) == ACO_OK) {
            if (frame.type == ACK) until_ack = passed;
            if (frame.type == SEND && frame.body[0] == 2) until_small = passed;
            if (frame.type == SEND && frame.body[0] == 1 && frame.whole != NULL) until_big = passed;
            if (frame.type == SEND && frame.body[0] == 1 && frame.whole == NULL)
                CHECK(until_big > 0); /* the one behind it */
        }
    }
    CHECK(until_ack > 0 && until_ack < 200000);
    CHECK(until_small > 0 && until_small < 300000);
    CHECK(until_big > 10 << 20);
    aco_outq_free(&q);
    aco_frames_free(&frames);
}

static int
read_bytes(const uint8_t *bytes, size_t size, size_t limit)
{
    aco_frames frames;
    aco_frame frame;
    void *space;
    size_t room;
    int err;

    aco_frames_init(&frames, limit);
    CHECK(aco_frames_space(&frames, &space, &room) == ACO_OK && room >= size);
    memcpy(space, bytes, size);
    aco_frames_filled(&frames, size);
    while ((err = aco_frames_next(&frames, &frame)) == ACO_OK)
        continue;
    if (err != ACO_EBUSY) CHECK(aco_frames_error(&frames)[0] != '\0');
    aco_frames_free(&frames);
    return err;
}

static void
test_hostile(void)
{
    static const uint8_t too_large[] = {0xff, 0, 0, 0, 10, 0, 0, 0};
    static const uint8_t not_zero[] = {0, 0, 0, 0, 10, 0, 0, 1};
    static const uint8_t no_start[] = {0, 0, 0, 4, 5, 0, 0, 0, 0, 0, 0, 1};
    static const uint8_t short_part[] = {0, 0, 0, 3, 5, 1, 0, 0, 0, 0, 0};
    static const uint8_t huge[] = {0, 0, 0, 12, 5, 1, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 0, 10, 0, 0, 0};
    static const uint8_t longer[] = {0, 0, 0, 13, 5, 1,  0, 0, 0, 0, 0,
                                     1, 0, 0, 0,  0, 10, 0, 0, 0, 9};
    static const uint8_t early[] = {0, 0, 0, 12, 5, 3, 0, 0, 0, 0, 0, 1, 0, 0, 0, 4, 10, 0, 0, 0};
    static const uint8_t nested[] = {0, 0, 0, 12, 5, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 4, 5, 0, 0, 0};
    uint8_t many[65 * 20];

    CHECK(read_bytes(too_large, sizeof too_large, 1000) == ACO_EPROTOCOL);
    CHECK(read_bytes(not_zero, sizeof not_zero, 1000) == ACO_EPROTOCOL);
    CHECK(read_bytes(no_start, sizeof no_start, 1000) == ACO_EPROTOCOL);
    CHECK(read_bytes(short_part, sizeof short_part, 1000) == ACO_EPROTOCOL);
    CHECK(read_bytes(huge, sizeof huge, 1000) == ACO_ETOOLARGE);
    CHECK(read_bytes(longer, sizeof longer, 1000) == ACO_EPROTOCOL);
    CHECK(read_bytes(early, sizeof early, 1000) == ACO_EPROTOCOL);
    CHECK(read_bytes(nested, sizeof nested, 1000) == ACO_EPROTOCOL);
    CHECK(read_bytes(huge, 7, 1000) == ACO_EBUSY);
    for (uint32_t i = 0; i < 65; i++) {
        static const uint8_t begin[] = {0, 0, 0, 12, 5, 1, 0,  0, 0, 0,
                                        0, 0, 0, 0,  0, 4, 10, 0, 0, 0};
        memcpy(many + 20 * i, begin, 20);
        put_u32(many + 20 * i + 8, i);
    }
    CHECK(read_bytes(many, 64 * 20, 1000) == ACO_EBUSY);
    CHECK(read_bytes(many, 65 * 20, 1000) == ACO_EPROTOCOL);
    memcpy(many + 20, many, 20); /* one that begins twice */
    CHECK(read_bytes(many, 40, 1000) == ACO_EPROTOCOL);
}

int
main(void)
{
    test_order();
    test_overtaking();
    test_hostile();
    return 0;
}
