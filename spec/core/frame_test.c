/* SPDX-License-Identifier: MIT */
/* The reader of frames: bytes in any pieces, messages in parts, what is malformed, and how much
 * memory all that takes. */
#include "core/base/error.h"
#include "core/net/frame.h"

#include "check.h"

#include <string.h>

enum { SEND = 10, PART = 5 };

static void
put_u32(uint8_t *out, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        out[i] = (uint8_t)(value >> (24 - 8 * i));
}

static void
frame_add(aco_buf *out, int type, int flags, const void *body, size_t size)
{
    uint8_t head[ACO_FRAME_HEAD];

    aco_frame_head(head, (uint32_t)size, type, flags);
    CHECK(aco_frame_size(head) == size);
    CHECK(aco_buf_add(out, head, sizeof head) == ACO_OK);
    if (size > 0) CHECK(aco_buf_add(out, body, size) == ACO_OK);
}

/* A part of a message of `total` bytes, all of them `fill`. */
static void
part_add(aco_buf *out, uint32_t number, uint32_t total, int flags, int fill, size_t size)
{
    static uint8_t body[12 + ACO_FRAME_PART];
    size_t head = flags & ACO_FRAME_FIRST ? 12 : 4;

    put_u32(body, number);
    if (head == 12) {
        put_u32(body + 4, total);
        put_u32(body + 8, SEND << 24 | 1 << 16);
    }
    memset(body + head, fill, size);
    frame_add(out, PART, flags, body, head + size);
}

static void
put(aco_frames *frames, const void *data, size_t size)
{
    void *space;
    size_t room;

    CHECK(aco_frames_space(frames, &space, &room) == ACO_OK && room >= 16384 && room >= size);
    memcpy(space, data, size);
    aco_frames_filled(frames, size);
}

/* Frames of every size that matters, in pieces of one size. */
static void
test_pieces(size_t piece)
{
    static const size_t sizes[] = {0, 1, 8, 100, 16376, 65527, 65528, 65529, ACO_FRAME_MAX, 0, 3};
    static uint8_t body[ACO_FRAME_MAX];
    aco_buf bytes = {0};
    aco_frames frames;
    aco_frame frame;
    size_t got = 0;
    int err = ACO_EBUSY;

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        memset(body, (int)i + 1, sizes[i]);
        frame_add(&bytes, SEND, (int)i, body, sizes[i]);
    }
    aco_frames_init(&frames, 1000);
    for (size_t at = 0; at < bytes.size; at += piece) {
        put(&frames, bytes.data + at, bytes.size - at < piece ? bytes.size - at : piece);
        while ((err = aco_frames_next(&frames, &frame)) == ACO_OK) {
            CHECK(frame.type == SEND && frame.flags == got && frame.whole == NULL);
            CHECK(frame.size == sizes[got++]);
            for (size_t i = 0; i < frame.size; i++)
                CHECK(frame.body[i] == got);
        }
        CHECK(err == ACO_EBUSY);
    }
    CHECK(got == sizeof sizes / sizeof *sizes);
    aco_frames_free(&frames);
    aco_buf_free(&bytes);
}

/* Two messages in parts, one within the other, and a small one in between. */
static void
test_parts(void)
{
    aco_buf bytes = {0};
    aco_frames frames;
    aco_frame frame;

    aco_frames_init(&frames, 5000);
    part_add(&bytes, 1, 5000, ACO_FRAME_FIRST, 1, 2000);
    part_add(&bytes, 2, 10, ACO_FRAME_FIRST, 2, 0);
    frame_add(&bytes, 3, 0, NULL, 0);
    part_add(&bytes, 1, 0, 0, 1, 0);
    part_add(&bytes, 2, 0, ACO_FRAME_LAST, 2, 10);
    part_add(&bytes, 1, 0, ACO_FRAME_LAST, 1, 3000);
    part_add(&bytes, 2, 0, ACO_FRAME_FIRST | ACO_FRAME_LAST, 0, 0); /* a number is used again */
    put(&frames, bytes.data, bytes.size);
    CHECK(aco_frames_next(&frames, &frame) == ACO_OK && frame.type == 3 && frame.size == 0);
    CHECK(aco_frames_next(&frames, &frame) == ACO_OK && frame.type == SEND && frame.flags == 1);
    CHECK(frame.size == 10 && frame.body[9] == 2 && aco_msg_data(frame.whole) == frame.body);
    aco_msg *kept = aco_msg_ref(frame.whole);
    CHECK(aco_frames_next(&frames, &frame) == ACO_OK && frame.size == 5000);
    CHECK(frame.body[0] == 1 && frame.body[4999] == 1);
    CHECK(aco_frames_next(&frames, &frame) == ACO_OK && frame.type == SEND && frame.size == 0);
    CHECK(aco_frames_next(&frames, &frame) == ACO_EBUSY);
    aco_frames_free(&frames);
    CHECK(((const uint8_t *)aco_msg_data(kept))[0] == 2);
    aco_msg_unref(kept);
    aco_buf_free(&bytes);
}

/* Buffers grow where much comes, and no further; they shrink again. */
static void
test_buffer(void)
{
    aco_frames frames;
    aco_frame frame;
    uint8_t head[ACO_FRAME_HEAD];
    void *space;
    size_t room, most = 0, place = 0;

    aco_frames_init(&frames, 1000);
    aco_frame_head(head, 60000, SEND, 0);
    for (int i = 0; i < 200; i++) { /* as much as there is room for */
        CHECK(aco_frames_space(&frames, &space, &room) == ACO_OK);
        for (size_t n = 0; n < room; n++, place = (place + 1) % (60000 + sizeof head))
            ((uint8_t *)space)[n] = place < sizeof head ? head[place] : 0;
        aco_frames_filled(&frames, room);
        while (aco_frames_next(&frames, &frame) == ACO_OK)
            CHECK(frame.size == 60000);
        if (frames.in.capacity > most) most = frames.in.capacity;
    }
    CHECK(most > 65536 && most <= 256 * 1024);
    if (place > 0) {
        uint8_t *rest = calloc(1, 60000 + sizeof head);
        memcpy(rest, head, sizeof head);
        for (size_t n = 0; place < 60000 + sizeof head; place += n) {
            n = 60000 + sizeof head - place;
            if (n > 16384) n = 16384;
            put(&frames, rest + place, n);
        }
        free(rest);
        CHECK(aco_frames_next(&frames, &frame) == ACO_OK);
    }
    for (int i = 0; i < 100; i++) {
        aco_frame_head(head, 0, 3, 0);
        put(&frames, head, sizeof head);
        CHECK(aco_frames_next(&frames, &frame) == ACO_OK && frame.type == 3);
        CHECK(aco_frames_next(&frames, &frame) == ACO_EBUSY);
    }
    CHECK(frames.in.capacity <= 65536);
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
    if (err != ACO_EBUSY) {
        CHECK(aco_frames_error(&frames)[0] != '\0');
        CHECK(aco_frames_next(&frames, &frame) == err); /* for good */
    }
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
    CHECK(read_bytes(many, 64 * 20, 64) == ACO_EBUSY); /* four limits announced */
    CHECK(read_bytes(many, 63 * 20, 63) == ACO_EBUSY);
    CHECK(read_bytes(many, 64 * 20, 63) == ACO_EPROTOCOL);
    memcpy(many + 20, many, 20); /* one that begins twice */
    CHECK(read_bytes(many, 40, 1000) == ACO_EPROTOCOL);
}

int
main(void)
{
    test_pieces(1);
    test_pieces(7);
    test_pieces(4096);
    test_pieces(16384);
    test_parts();
    test_buffer();
    test_hostile();
    return 0;
}
