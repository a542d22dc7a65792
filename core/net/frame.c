/* SPDX-License-Identifier: MIT */
#include "core/net/frame.h"
#include "core/base/error.h"

#include <stdlib.h>
#include <string.h>

enum { TYPE_PART = 5, NUMBER = 4, FIRST_HEAD = 8 };

/* Bytes of the buffer at first; where much comes; room in it at least, before more comes in. After
 * QUIET times in a row with little in it a large one is given back. */
enum { BUFFER = 64 * 1024, LARGE = 256 * 1024, LEAST = 16 * 1024, QUIET = 64 };

/* A message of which parts have come. */
struct aco_part {
    struct aco_part *next;
    uint32_t number;
    uint32_t total;
    uint8_t type, flags;
    aco_buf data; /* never more room than for twice of what came, nor than for the total */
};

static uint32_t
get_u32(const uint8_t *in)
{
    return (uint32_t)in[0] << 24 | (uint32_t)in[1] << 16 | (uint32_t)in[2] << 8 | in[3];
}

void
aco_frame_head(uint8_t out[ACO_FRAME_HEAD], uint32_t size, int type, int flags)
{
    for (int i = 0; i < 4; i++)
        out[i] = (uint8_t)(size >> (24 - 8 * i));
    out[4] = (uint8_t)type;
    out[5] = (uint8_t)flags;
    out[6] = out[7] = 0;
}

uint32_t
aco_frame_size(const uint8_t head[ACO_FRAME_HEAD])
{
    return get_u32(head);
}

void
aco_frames_init(aco_frames *f, size_t limit)
{
    *f = (aco_frames){.limit = limit};
}

static void
part_free(struct aco_part *part)
{
    aco_buf_free(&part->data);
    free(part);
}

void
aco_frames_free(aco_frames *f)
{
    while (f->parts != NULL) {
        struct aco_part *part = f->parts;
        f->parts = part->next;
        part_free(part);
    }
    aco_msg_unref(f->whole);
    aco_buf_free(&f->in);
    *f = (aco_frames){.limit = f->limit};
}

/* Little comes: a large buffer is of no use. */
static void
buffer_shrink(aco_frames *f)
{
    if (f->in.capacity <= BUFFER) return;
    aco_buf_free(&f->in);
    f->quiet = 0;
}

static int
buffer_grow(aco_frames *f)
{
    size_t capacity = f->in.capacity == 0 ? BUFFER : LARGE;

    if (capacity <= f->in.capacity) return ACO_OK;
    return aco_buf_reserve(&f->in, capacity - f->in.size);
}

int
aco_frames_space(aco_frames *f, void **space, size_t *size)
{
    aco_buf *in = &f->in;

    if (f->taken == in->size) {
        in->size = f->taken = 0;
        if (f->quiet >= QUIET) buffer_shrink(f);
    } else if (f->taken > 0 && in->capacity - in->size < LEAST) {
        memmove(in->data, in->data + f->taken, in->size - f->taken);
        in->size -= f->taken;
        f->taken = 0;
    }
    if (f->filled || in->capacity - in->size < LEAST) {
        int err = buffer_grow(f);
        if (err != ACO_OK && in->capacity == in->size) return err;
        f->filled = false;
    }
    *space = in->data + in->size;
    *size = in->capacity - in->size;
    return ACO_OK;
}

void
aco_frames_lend(aco_frames *f, aco_buf *spare)
{
    if (f->taken < f->in.size) return;
    f->in.size = f->taken = 0;
    if (spare->data == NULL) {
        *spare = f->in;
        f->in = (aco_buf){.data = NULL};
    } else {
        aco_buf_free(&f->in);
    }
}

void
aco_frames_borrow(aco_frames *f, aco_buf *spare)
{
    if (f->in.data != NULL) return;
    f->in = *spare;
    *spare = (aco_buf){.data = NULL};
}

void
aco_frames_filled(aco_frames *f, size_t size)
{
    f->in.size += size;
    f->filled = f->in.size == f->in.capacity;
    f->quiet = size < LEAST ? f->quiet + 1 : 0;
}

static int
fail(aco_frames *f, int err, const char *text)
{
    f->error = text;
    return err;
}

const char *
aco_frames_error(const aco_frames *f)
{
    return f->error != NULL ? f->error : "not enough memory";
}

/* Parts ---------------------------------------------------------------------------------------- */

static struct aco_part **
part_find(aco_frames *f, uint32_t number)
{
    struct aco_part **at = &f->parts;

    while (*at != NULL && (*at)->number != number)
        at = &(*at)->next;
    return at;
}

static int
part_begin(aco_frames *f, uint32_t number, const uint8_t *head)
{
    struct aco_part *part;

    if (*part_find(f, number) != NULL)
        return fail(f, ACO_EPROTOCOL, "a message in parts begins twice");
    if (f->part_count >= ACO_FRAME_PARTS)
        return fail(f, ACO_EPROTOCOL, "too many messages come in parts at the same time");
    if (get_u32(head) > f->limit)
        return fail(f, ACO_ETOOLARGE, "a message that is larger than the limit");
    if (head[6] != 0 || head[7] != 0 || head[4] == TYPE_PART)
        return fail(f, ACO_EPROTOCOL, "the first part of a message is malformed");
    if (f->announced + get_u32(head) > (uint64_t)f->limit * ACO_FRAME_TIMES)
        return fail(f, ACO_EPROTOCOL, "too large messages come in parts at the same time");
    part = calloc(1, sizeof *part);
    if (part == NULL) return ACO_ENOMEM;
    part->number = number;
    part->total = get_u32(head);
    part->type = head[4];
    part->flags = head[5];
    part->next = f->parts;
    f->parts = part;
    f->part_count++;
    f->announced += part->total;
    return ACO_OK;
}

static int
part_end(aco_frames *f, struct aco_part **at, aco_frame *frame)
{
    struct aco_part *part = *at;

    if (part->data.size != part->total)
        return fail(f, ACO_EPROTOCOL, "a message in parts has not the size it announced");
    f->whole = part->total > 0 ? aco_msg_adopt(&part->data) : aco_msg_new(NULL, 0);
    if (f->whole == NULL) return ACO_ENOMEM;
    *frame = (aco_frame){.type = part->type,
                         .flags = part->flags,
                         .body = aco_msg_data(f->whole),
                         .size = part->total,
                         .whole = f->whole};
    *at = part->next;
    f->part_count--;
    f->announced -= part->total;
    part_free(part);
    return ACO_OK;
}

/* Room for what came, and for as much again while there is more to come. */
static int
part_add(struct aco_part *part, const uint8_t *bytes, size_t size)
{
    aco_buf *data = &part->data;

    if (data->capacity - data->size < size) {
        size_t capacity = data->size + size;
        if (capacity < 2 * data->capacity) capacity = 2 * data->capacity;
        if (capacity > part->total) capacity = part->total;
        uint8_t *grown = realloc(data->data, capacity);
        if (grown == NULL) return ACO_ENOMEM;
        data->data = grown;
        data->capacity = capacity;
    }
    return aco_buf_add(data, bytes, size);
}

/* Take a part. ACO_OK: it was the last of a message; ACO_EBUSY: more of it is to come. */
static int
part_take(aco_frames *f, aco_frame *frame)
{
    const uint8_t *at = frame->body;
    size_t size = frame->size;
    bool first = frame->flags & ACO_FRAME_FIRST, last = frame->flags & ACO_FRAME_LAST;

    if (frame->flags & ~(ACO_FRAME_FIRST | ACO_FRAME_LAST) ||
        size < NUMBER + (first ? FIRST_HEAD : 0))
        return fail(f, ACO_EPROTOCOL, "a malformed part of a message");
    uint32_t number = get_u32(at);
    at += NUMBER;
    size -= NUMBER;
    if (first) {
        int err = part_begin(f, number, at);
        if (err != ACO_OK) return err;
        at += FIRST_HEAD;
        size -= FIRST_HEAD;
    }
    struct aco_part **part = part_find(f, number);
    if (*part == NULL) return fail(f, ACO_EPROTOCOL, "a part of a message that has not begun");
    if (size > (*part)->total - (*part)->data.size)
        return fail(f, ACO_EPROTOCOL, "a message in parts is longer than it announced");
    if (size > 0 && part_add(*part, at, size) != ACO_OK) return ACO_ENOMEM;
    return last ? part_end(f, part, frame) : ACO_EBUSY;
}

/* Frames --------------------------------------------------------------------------------------- */

/* The next one as it stands in the buffer. */
static int
frame_cut(aco_frames *f, aco_frame *frame)
{
    size_t left = f->in.size - f->taken;

    if (left < ACO_FRAME_HEAD) return ACO_EBUSY;
    const uint8_t *at = f->in.data + f->taken;
    uint32_t size = get_u32(at);
    if (size > ACO_FRAME_MAX) return fail(f, ACO_EPROTOCOL, "a frame that is too large");
    if (at[6] != 0 || at[7] != 0) return fail(f, ACO_EPROTOCOL, "a malformed head of a frame");
    if (left - ACO_FRAME_HEAD < size) return ACO_EBUSY;
    *frame = (aco_frame){.type = at[4], .flags = at[5], .body = at + ACO_FRAME_HEAD, .size = size};
    f->taken += ACO_FRAME_HEAD + size;
    return ACO_OK;
}

int
aco_frames_next(aco_frames *f, aco_frame *frame)
{
    int err;

    if (f->whole != NULL) {
        aco_msg_unref(f->whole);
        f->whole = NULL;
    }
    if (ACO_UNLIKELY(f->failed != ACO_OK)) return f->failed;
    while ((err = frame_cut(f, frame)) == ACO_OK && frame->type == TYPE_PART) {
        err = part_take(f, frame);
        if (err != ACO_EBUSY) break;
    }
    if (err != ACO_OK && err != ACO_EBUSY) f->failed = err;
    return err;
}
