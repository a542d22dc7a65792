/* SPDX-License-Identifier: MIT */
#include "core/net/outq.h"
#include "core/base/error.h"

#include <stdlib.h>
#include <string.h>

/* Messages of this size and more are held, not copied; bytes of a chunk of small frames, of a piece
 * for few of them or for the head of a part; bytes that are made ready at once: control frames wait
 * behind no more. */
enum { HELD = 8 * 1024, CHUNK = 64 * 1024, SHORT = 512, READY = 64 * 1024 };

/* Pieces kept for later; short ones of them that only parts may take while there are lanes, so that
 * a part can always be made when none is on its way. */
enum { CHUNKS = 4, SHORTS = 8, RESERVE = 2 };

enum { TYPE_PART = 5, PART_HEAD = 4, FIRST_HEAD = 8 };

/* Bytes to be written: its own, or a part of a message. */
typedef struct aco_piece {
    aco_link link;
    const uint8_t *at; /* what is left of it */
    size_t size;
    aco_msg *msg;      /* owned reference; NULL: the bytes are its own */
    uint32_t capacity; /* of its own bytes */
    bool goes_on;      /* its last frame ends with the piece behind it */
    uint8_t bytes[];
} piece;

/* A frame that goes in parts, and the frames for its target that were added after it. */
struct large {
    aco_link link;
    uint8_t type, flags;
    size_t head_size, sent; /* of head and message together */
    aco_msg *msg;           /* owned reference */
    aco_link behind;        /* of pieces */
    uint64_t behind_size;
    uint8_t head[];
};

/* Frames for one target, of which the first goes in parts. */
struct lane {
    aco_link link;
    bool named, begun;
    uint8_t target[ACO_OUTQ_TARGET];
    uint32_t number;
    size_t size;    /* of the frame that has begun */
    uint64_t after; /* small_out must be there before the frame in parts may end */
    aco_link larges;
};

void
aco_outq_init(aco_outq *q)
{
    *q = (aco_outq){.lanes.seed = (uintptr_t)q, .turn_limit = SIZE_MAX};
    aco_list_init(&q->ready);
    aco_list_init(&q->control);
    aco_list_init(&q->small);
    aco_list_init(&q->turns);
    aco_list_init(&q->waiting);
    aco_list_init(&q->chunks);
    aco_list_init(&q->shorts);
}

/* Pieces --------------------------------------------------------------------------------------- */

static piece *
piece_of(aco_link *link)
{
    return ACO_CONTAINER_OF(link, piece, link);
}

static piece *
piece_kept(aco_link *list, uint32_t *count)
{
    piece *p = piece_of(list->prev);

    aco_link_remove(&p->link);
    --*count;
    return p;
}

/* A piece in no list. Of the short ones that are kept, `reserve` are left. */
static piece *
piece_new(aco_outq *q, size_t capacity, uint32_t reserve)
{
    piece *p;

    if (capacity == CHUNK && q->chunk_count > 0) {
        p = piece_kept(&q->chunks, &q->chunk_count);
    } else if (capacity == SHORT && q->short_count > reserve) {
        p = piece_kept(&q->shorts, &q->short_count);
    } else {
        p = malloc(sizeof *p + capacity);
        if (p == NULL) return NULL;
        p->link = (aco_link){.next = NULL};
        p->capacity = (uint32_t)capacity;
    }
    p->at = p->bytes;
    p->size = 0;
    p->msg = NULL;
    p->goes_on = false;
    return p;
}

static void
piece_free(aco_outq *q, piece *p)
{
    aco_link_remove(&p->link);
    aco_msg_unref(p->msg);
    if (p->capacity == CHUNK && q->chunk_count < CHUNKS) {
        aco_list_append(&q->chunks, &p->link);
        q->chunk_count++;
    } else if (p->capacity == SHORT && q->short_count < SHORTS) {
        aco_list_append(&q->shorts, &p->link);
        q->short_count++;
    } else {
        free(p);
    }
}

static void
pieces_free(aco_outq *q, aco_link *list)
{
    while (!aco_list_empty(list))
        piece_free(q, piece_of(list->next));
}

/* The short pieces of one part. */
static int
reserve_make(aco_outq *q)
{
    while (q->short_count < RESERVE) {
        piece *p = piece_new(q, SHORT, SHORTS);
        if (p == NULL) return ACO_ENOMEM;
        piece_free(q, p);
    }
    return ACO_OK;
}

/* Put all of one list at the end of another. */
static void
list_move(aco_link *to, aco_link *from)
{
    if (aco_list_empty(from)) return;
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    aco_list_init(from);
}

/* Small frames --------------------------------------------------------------------------------- */

static size_t
msg_size(const aco_msg *msg)
{
    return msg != NULL ? aco_msg_size(msg) : 0;
}

/* A new piece at the end of the list with so many bytes free. */
ACO_APART static piece *
room_make(aco_outq *q, aco_link *list, size_t size)
{
    /* few frames need little memory; the chunk follows when there are more */
    bool little = aco_list_empty(list) && size <= SHORT;
    bool lanes = q->turn_count > 0;
    piece *p = piece_new(q, little ? SHORT : size > CHUNK ? size : CHUNK, lanes ? RESERVE : 0);

    if (p != NULL) aco_list_append(list, &p->link);
    return p;
}

static piece *
room(aco_outq *q, aco_link *list, size_t size)
{
    if (!aco_list_empty(list)) {
        piece *last = piece_of(list->prev);
        if (last->msg == NULL && last->capacity - last->size >= size) return last;
    }
    return room_make(q, list, size);
}

static void
fill(piece *p, const void *data, size_t size)
{
    if (size > 0) memcpy(p->bytes + p->size, data, size);
    p->size += size;
}

/* A frame of which the message goes in a piece of its own. */
ACO_APART static int
held_add(aco_outq *q, aco_link *list, int type, int flags, const void *head, size_t head_size,
         aco_msg *msg)
{
    size_t size = aco_msg_size(msg);
    piece *body = piece_new(q, 0, 0);
    piece *p = body != NULL ? room(q, list, ACO_FRAME_HEAD + head_size) : NULL;

    if (p == NULL) {
        if (body != NULL) piece_free(q, body);
        return ACO_ENOMEM;
    }
    aco_frame_head(p->bytes + p->size, (uint32_t)(head_size + size), type, flags);
    p->size += ACO_FRAME_HEAD;
    fill(p, head, head_size);
    p->goes_on = true;
    body->msg = aco_msg_ref(msg);
    body->at = aco_msg_data(msg);
    body->size = size;
    aco_list_append(list, &body->link);
    return ACO_OK;
}

/* A frame as it is; `total` counts its bytes. */
static int
small_add(aco_outq *q, aco_link *list, uint64_t *total, int type, int flags, const void *head,
          size_t head_size, aco_msg *msg)
{
    size_t size = msg_size(msg), all = ACO_FRAME_HEAD + head_size + size;

    if (size >= HELD) {
        int err = held_add(q, list, type, flags, head, head_size, msg);
        if (err != ACO_OK) return err;
    } else {
        piece *p = room(q, list, all);
        if (p == NULL) return ACO_ENOMEM;
        aco_frame_head(p->bytes + p->size, (uint32_t)(head_size + size), type, flags);
        p->size += ACO_FRAME_HEAD;
        fill(p, head, head_size);
        if (size > 0) fill(p, aco_msg_data(msg), size);
    }
    q->size += all;
    *total += all;
    return ACO_OK;
}

/* Lanes ---------------------------------------------------------------------------------------- */

static void
large_free(aco_outq *q, struct large *large)
{
    aco_link_remove(&large->link);
    pieces_free(q, &large->behind);
    aco_msg_unref(large->msg);
    free(large);
}

static void
lane_stop(aco_outq *q, struct lane *lane)
{
    if (!lane->begun) return;
    q->turn_count--;
    q->turn_size -= lane->size;
    lane->begun = false;
}

static void
lane_free(aco_outq *q, struct lane *lane)
{
    while (!aco_list_empty(&lane->larges))
        large_free(q, ACO_CONTAINER_OF(lane->larges.next, struct large, link));
    if (lane->named) aco_map_remove(&q->lanes, lane->target, sizeof lane->target);
    lane_stop(q, lane);
    aco_link_remove(&lane->link);
    free(lane);
}

/* Let lanes begin while there may be more, and the other side makes room for what they announce. */
static void
lanes_begin(aco_outq *q)
{
    while (q->turn_count < ACO_OUTQ_TURNS && !aco_list_empty(&q->waiting)) {
        struct lane *lane = ACO_CONTAINER_OF(q->waiting.next, struct lane, link);
        const struct large *first = ACO_CONTAINER_OF(lane->larges.next, struct large, link);
        lane->size = first->head_size + msg_size(first->msg);
        if (q->turn_count > 0 && lane->size > q->turn_limit - q->turn_size) return;
        q->turn_size += lane->size;
        aco_link_remove(&lane->link);
        aco_list_append(&q->turns, &lane->link);
        lane->number = ++q->last_number;
        lane->begun = true;
        q->turn_count++;
    }
}

/* The lane's next large frame waits for its turn. */
static void
lane_wait(aco_outq *q, struct lane *lane)
{
    lane_stop(q, lane);
    lane->after = q->small_in; /* frames for this target may be among those */
    aco_link_remove(&lane->link);
    aco_list_append(&q->waiting, &lane->link);
}

static struct lane *
lane_new(aco_outq *q, const uint8_t *target)
{
    struct lane *lane = calloc(1, sizeof *lane);

    if (lane == NULL) return NULL;
    aco_list_init(&lane->larges);
    if (target != NULL) {
        memcpy(lane->target, target, sizeof lane->target);
        if (aco_map_put(&q->lanes, lane->target, sizeof lane->target, lane) != ACO_OK) {
            free(lane);
            return NULL;
        }
        lane->named = true;
    }
    lane_wait(q, lane);
    return lane;
}

static struct large *
large_new(int type, int flags, const void *head, size_t head_size, aco_msg *msg)
{
    struct large *large = malloc(sizeof *large + head_size);

    if (large == NULL) return NULL;
    *large = (struct large){.type = (uint8_t)type,
                            .flags = (uint8_t)flags,
                            .head_size = head_size,
                            .msg = aco_msg_ref(msg)};
    if (head_size > 0) memcpy(large->head, head, head_size);
    aco_list_init(&large->behind);
    return large;
}

static int
large_add(aco_outq *q, struct lane *lane, const uint8_t *target, int type, int flags,
          const void *head, size_t head_size, aco_msg *msg)
{
    struct large *large = large_new(type, flags, head, head_size, msg);

    if (large == NULL) return ACO_ENOMEM;
    if (lane == NULL && (reserve_make(q) != ACO_OK || (lane = lane_new(q, target)) == NULL)) {
        large_free(q, large);
        return ACO_ENOMEM;
    }
    aco_list_append(&lane->larges, &large->link);
    q->size += head_size + aco_msg_size(msg);
    lanes_begin(q);
    return ACO_OK;
}

/* A frame that is large, or for a target for which there is a lane. */
ACO_APART static int
lane_add(aco_outq *q, struct lane *lane, const uint8_t *target, int type, int flags,
         const void *head, size_t head_size, aco_msg *msg)
{
    if (head_size + msg_size(msg) > ACO_FRAME_PART) {
        if (head_size > ACO_OUTQ_HEAD || msg_size(msg) > UINT32_MAX - head_size)
            return ACO_EINVALID;
        return large_add(q, lane, target, type, flags, head, head_size, msg);
    }
    struct large *last = ACO_CONTAINER_OF(lane->larges.prev, struct large, link);
    return small_add(q, &last->behind, &last->behind_size, type, flags, head, head_size, msg);
}

static bool
is_control(int type)
{
    return type <= 4 || type == 13 || type == 20 || type == 21 || type == 23;
}

int
aco_outq_add(aco_outq *q, int type, int flags, const uint8_t *target, const void *head,
             size_t head_size, aco_msg *msg)
{
    size_t size = head_size + msg_size(msg);
    uint64_t uncounted = 0;
    struct lane *lane = NULL;

    if (ACO_UNLIKELY(head_size > ACO_OUTQ_HEAD)) return ACO_EINVALID;
    if (ACO_UNLIKELY(is_control(type))) {
        if (size > ACO_FRAME_MAX) return ACO_EINVALID;
        return small_add(q, &q->control, &uncounted, type, flags, head, head_size, msg);
    }
    if (target != NULL && q->lanes.count > 0)
        lane = aco_map_get(&q->lanes, target, ACO_OUTQ_TARGET);
    if (ACO_UNLIKELY(lane != NULL || size > ACO_FRAME_PART))
        return lane_add(q, lane, target, type, flags, head, head_size, msg);
    return small_add(q, &q->small, &q->small_in, type, flags, head, head_size, msg);
}

void
aco_outq_trim(aco_outq *q)
{
    while (q->chunk_count > 0)
        free(piece_kept(&q->chunks, &q->chunk_count));
}

void
aco_outq_free(aco_outq *q)
{
    while (!aco_list_empty(&q->turns))
        lane_free(q, ACO_CONTAINER_OF(q->turns.next, struct lane, link));
    while (!aco_list_empty(&q->waiting))
        lane_free(q, ACO_CONTAINER_OF(q->waiting.next, struct lane, link));
    aco_map_free(&q->lanes);
    pieces_free(q, &q->ready);
    pieces_free(q, &q->control);
    pieces_free(q, &q->small);
    aco_outq_trim(q);
    while (q->short_count > 0)
        free(piece_kept(&q->shorts, &q->short_count));
    aco_outq_init(q);
}

/* What is next --------------------------------------------------------------------------------- */

static void
make_ready(aco_outq *q, aco_link *list)
{
    bool goes_on;

    do {
        piece *p = piece_of(list->next);
        goes_on = p->goes_on;
        aco_link_remove(&p->link);
        aco_list_append(&q->ready, &p->link);
        q->ready_size += p->size;
        if (list == &q->small) q->small_out += p->size;
    } while (goes_on);
}

static void
put_u32(uint8_t *out, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        out[i] = (uint8_t)(value >> (24 - 8 * i));
}

/* Write the head of the next part, of `size` bytes of the frame. */
static void
part_head(piece *p, const struct lane *lane, const struct large *large, size_t size)
{
    size_t total = large->head_size + aco_msg_size(large->msg), fields = PART_HEAD;
    bool first = large->sent == 0, last = large->sent + size == total;
    uint8_t *at = p->bytes + ACO_FRAME_HEAD;

    put_u32(at, lane->number);
    if (first) {
        put_u32(at + 4, (uint32_t)total);
        at[8] = large->type;
        at[9] = large->flags;
        at[10] = at[11] = 0;
        fields += FIRST_HEAD;
    }
    aco_frame_head(p->bytes, (uint32_t)(fields + size), TYPE_PART,
                   (first ? ACO_FRAME_FIRST : 0) | (last ? ACO_FRAME_LAST : 0));
    p->size = ACO_FRAME_HEAD + fields;
    if (first) fill(p, large->head, large->head_size);
}

/* Make the next part of a frame ready; false without memory: then one is ready already. */
static bool
part_make(aco_outq *q, struct lane *lane, struct large *large)
{
    size_t left = large->head_size + aco_msg_size(large->msg) - large->sent;
    size_t size = left < ACO_FRAME_PART ? left : ACO_FRAME_PART;
    size_t head = large->sent == 0 ? large->head_size : 0; /* all of it, in the first part */
    piece *start = piece_new(q, SHORT, 0), *body = piece_new(q, SHORT, 0);

    if (start == NULL || body == NULL) {
        if (start != NULL) piece_free(q, start);
        if (body != NULL) piece_free(q, body);
        return false;
    }
    part_head(start, lane, large, size);
    start->goes_on = true;
    body->msg = aco_msg_ref(large->msg);
    body->at = aco_msg_data(large->msg);
    if (large->sent > 0) body->at += large->sent - large->head_size;
    body->size = size - head;
    large->sent += size;
    aco_list_append(&q->ready, &start->link);
    aco_list_append(&q->ready, &body->link);
    q->ready_size += start->size + body->size;
    q->size += start->size - head; /* its message was counted when it was added */
    return true;
}

/* The first frame of a lane has gone: what stood behind it goes as it is, up to the next large
 * one. */
static void
lane_go_on(aco_outq *q, struct lane *lane, struct large *large)
{
    list_move(&q->small, &large->behind);
    q->small_in += large->behind_size;
    large_free(q, large);
    if (aco_list_empty(&lane->larges))
        lane_free(q, lane);
    else
        lane_wait(q, lane);
    lanes_begin(q);
}

/* One part of a lane; false when it has to wait. */
static bool
lane_turn(aco_outq *q, struct lane *lane)
{
    struct large *large = ACO_CONTAINER_OF(lane->larges.next, struct large, link);
    size_t total = large->head_size + aco_msg_size(large->msg);

    aco_link_remove(&lane->link);
    aco_list_append(&q->turns, &lane->link);
    if (total - large->sent <= ACO_FRAME_PART && q->small_out < lane->after) return false;
    if (!part_make(q, lane, large)) return false;
    if (large->sent == total) lane_go_on(q, lane, large);
    return true;
}

static void
refill(aco_outq *q)
{
    while (!aco_list_empty(&q->control))
        make_ready(q, &q->control);
    while (!aco_list_empty(&q->small) && q->ready_size < READY)
        make_ready(q, &q->small);
    for (uint32_t i = q->turn_count; i > 0; i--)
        if (lane_turn(q, ACO_CONTAINER_OF(q->turns.next, struct lane, link))) break;
}

int
aco_outq_iov(aco_outq *q, struct iovec *pieces, int max)
{
    int count = 0;

    if (q->ready_size < READY) refill(q);
    for (aco_link *l = q->ready.next; l != &q->ready && count < max; l = l->next) {
        piece *p = piece_of(l);
        if (p->size == 0) continue;
        pieces[count].iov_base = (void *)(uintptr_t)p->at;
        pieces[count++].iov_len = p->size;
    }
    return count;
}

void
aco_outq_consumed(aco_outq *q, size_t size)
{
    q->size -= size;
    q->ready_size -= size;
    for (aco_link *l = q->ready.next; l != &q->ready; l = q->ready.next) {
        piece *p = piece_of(l);
        if (size < p->size) {
            p->at += size;
            p->size -= size;
            return;
        }
        size -= p->size;
        piece_free(q, p);
    }
}

/* The end of the frame, begun before `at`, in a piece that begins with a frame; `at` or before it
 * when there is none. */
static const uint8_t *
frame_end(const piece *p)
{
    const uint8_t *frame = p->bytes;

    while (frame < p->at)
        frame += ACO_FRAME_HEAD + aco_frame_size(frame);
    return frame;
}

int
aco_outq_rest(const aco_outq *q, aco_buf *out)
{
    if (aco_list_empty(&q->ready)) return ACO_OK;
    const piece *p = piece_of(q->ready.next);
    if (p->msg != NULL) return aco_buf_add(out, p->at, p->size); /* its head has gone */
    size_t left = (size_t)(frame_end(p) - p->at);
    if (left <= p->size) return aco_buf_add(out, p->at, left);
    int err = aco_buf_reserve(out, left);
    if (err == ACO_OK) err = aco_buf_add(out, p->at, p->size);
    p = piece_of(p->link.next);
    return err == ACO_OK ? aco_buf_add(out, p->at, p->size) : err;
}
