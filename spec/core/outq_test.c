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

/* The bytes of the queue into the reader, until there are none; how many frames came. */
static uint32_t
drain_all(aco_outq *q, aco_frames *frames, void (*each)(const aco_frame *, void *), void *arg)
{
    struct iovec piece;
    aco_frame frame;
    uint32_t count = 0;
    int err;

    while (aco_outq_iov(q, &piece, 1) == 1) {
        void *space;
        size_t room;
        CHECK(aco_frames_space(frames, &space, &room) == ACO_OK);
        size_t n = piece.iov_len < room ? piece.iov_len : room;
        memcpy(space, piece.iov_base, n);
        aco_frames_filled(frames, n);
        aco_outq_consumed(q, n);
        while ((err = aco_frames_next(frames, &frame)) == ACO_OK) {
            count++;
            if (each != NULL) each(&frame, arg);
        }
        CHECK(err == ACO_EBUSY);
    }
    CHECK(aco_outq_size(q) == 0);
    return count;
}

/* More large messages than may be in parts at once: for targets, and for none (replies). Those for
 * one target stay in order, with small ones between them. */
static void
in_order(const aco_frame *frame, void *arg)
{
    uint32_t *next = arg;

    if (frame->body[0] == 7) CHECK(get_u32(frame->body + 12) == (*next)++);
}

static void
test_many_large(void)
{
    enum { LIMIT = 110000 };
    aco_outq q;
    aco_frames frames;
    uint8_t head[HEAD] = {0};
    uint32_t next = 0, added = 0;
    aco_msg *msg = msg_of(0, 100000);

    aco_outq_init(&q);
    q.turn_limit = 4 * LIMIT;
    aco_frames_init(&frames, LIMIT); /* which takes no more than that at the same time */
    for (uint32_t i = 0; i < 150; i++) {
        head[0] = 1;
        put_u32(head + 4, i);
        CHECK(aco_outq_add(&q, SEND, 0, head, head, HEAD, msg) == ACO_OK);
        CHECK(aco_outq_add(&q, 14, 0, NULL, head, 8, msg) == ACO_OK);
        added += 2;
        memset(head, 0, sizeof head);
        head[0] = 7;
        put_u32(head + 12, i);
        CHECK(aco_outq_add(&q, SEND, 0, head, head, HEAD, i % 3 == 0 ? msg : NULL) == ACO_OK);
        added++;
    }
    CHECK(drain_all(&q, &frames, in_order, &next) == added && next == 150);
    aco_msg_unref(msg);
    aco_outq_free(&q);
    aco_frames_free(&frames);
}

/* What breaks off anywhere ends with the rest of its frame; another frame can follow. */
static void
test_rest(void)
{
    static const uint8_t bye[] = {0, 0, 0, 1, 2, 0, 0, 0, 9};
    uint8_t head[HEAD] = {0};

    for (int round = 0; round < 3000; round++) {
        aco_outq q;
        aco_frames frames;
        aco_frame frame = {0};
        aco_buf all = {0}, rest = {0};
        size_t cut = random_below(random_below(2) ? 400 : 300000);
        struct iovec piece;
        aco_outq_init(&q);
        aco_frames_init(&frames, 1 << 20);
        for (uint32_t i = 1 + random_below(6); i > 0; i--) {
            aco_msg *msg = msg_of(i, random_below(4) ? random_below(200) : size_random());
            head[11] = (uint8_t)random_below(3);
            CHECK(aco_outq_add(&q, SEND, 0, head, head, HEAD, msg) == ACO_OK);
            aco_msg_unref(msg);
        }
        while (cut > 0 && aco_outq_iov(&q, &piece, 1) == 1) {
            size_t n = piece.iov_len < cut ? piece.iov_len : cut;
            CHECK(aco_buf_add(&all, piece.iov_base, n) == ACO_OK);
            aco_outq_consumed(&q, n);
            cut -= n;
        }
        CHECK(aco_outq_rest(&q, &rest) == ACO_OK);
        CHECK(rest.size <= ACO_FRAME_HEAD + ACO_FRAME_MAX);
        CHECK(aco_buf_reserve(&all, rest.size + sizeof bye) == ACO_OK);
        if (rest.size > 0) CHECK(aco_buf_add(&all, rest.data, rest.size) == ACO_OK);
        CHECK(aco_buf_add(&all, bye, sizeof bye) == ACO_OK);
        for (size_t at = 0, n; at < all.size; at += n) {
            void *space;
            CHECK(aco_frames_space(&frames, &space, &n) == ACO_OK);
            if (n > all.size - at) n = all.size - at;
            memcpy(space, all.data + at, n);
            aco_frames_filled(&frames, n);
            aco_frame one;
            int err;
            while ((err = aco_frames_next(&frames, &one)) == ACO_OK)
                frame = (aco_frame){.type = one.type, .size = one.size};
            CHECK(err == ACO_EBUSY);
        }
        CHECK(frame.type == 2 && frame.size == 1);
        aco_buf_free(&all);
        aco_buf_free(&rest);
        aco_outq_free(&q);
        aco_frames_free(&frames);
    }
}

/* Small frames are few pieces to write; what no frame can hold is refused. */
static void
test_pieces(void)
{
    aco_outq q;
    struct iovec piece;
    aco_frames frames;
    uint8_t head[ACO_OUTQ_HEAD + 1] = {0};
    aco_msg *msg = msg_of(0, 100), *large = msg_of(0, 70000);
    size_t pieces = 0;

    aco_outq_init(&q);
    aco_frames_init(&frames, 1 << 20);
    for (int i = 0; i < 20000; i++)
        CHECK(aco_outq_add(&q, SEND, 0, head, head, 12, msg) == ACO_OK);
    CHECK(aco_outq_size(&q) == 20000 * 120);
    while (aco_outq_iov(&q, &piece, 1) == 1) {
        pieces++;
        aco_outq_consumed(&q, piece.iov_len);
    }
    CHECK(pieces <= 20000 * 120 / 65000 + 2);
    CHECK(aco_outq_add(&q, ACK, 0, NULL, head, 4, large) == ACO_EINVALID);
    CHECK(aco_outq_add(&q, SEND, 0, head, head, sizeof head, large) == ACO_EINVALID);
    CHECK(aco_outq_size(&q) == 0 && aco_outq_iov(&q, &piece, 1) == 0);
    CHECK(aco_outq_add(&q, SEND, 0, head, head, ACO_OUTQ_HEAD, large) == ACO_OK);
    CHECK(drain_all(&q, &frames, NULL, NULL) == 1);
    CHECK(aco_outq_add(&q, SEND, 0, head, head, ACO_OUTQ_HEAD, large) == ACO_OK);
    CHECK(aco_outq_iov(&q, &piece, 1) == 1);
    aco_msg_unref(msg);
    aco_msg_unref(large);
    aco_outq_free(&q); /* with a frame of which a part is ready */
    CHECK(aco_outq_size(&q) == 0 && aco_outq_iov(&q, &piece, 1) == 0);
    aco_frames_free(&frames);
}

int
main(void)
{
    for (int i = 0; i < 8; i++)
        test_order();
    test_overtaking();
    test_many_large();
    test_rest();
    test_pieces();
    return 0;
}
