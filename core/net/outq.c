/* SPDX-License-Identifier: MIT */
#include "core/net/outq.h"
#include "core/base/error.h"

#include <stdlib.h>
#include <string.h>

/* Messages of this size and more are held, not copied; bytes of a chunk of small frames, of a piece
 * that is just a head; bytes that are made ready at once: control frames wait behind no more. */
enum { HELD = 8 * 1024, CHUNK = 64 * 1024, SHORT = 512, READY = 64 * 1024 };

/* Bytes to be written: its own, or a part of a message. */
typedef struct aco_piece {
    aco_link link;
    const uint8_t *at; /* what is left of it */
    size_t size;
    aco_msg *msg;    /* owned reference; NULL: the bytes are its own */
    size_t capacity; /* of its own bytes */
    bool goes_on;    /* its last frame ends with the piece behind it */
    uint8_t bytes[];
} piece;

/* A frame that waits in a lane. */
struct entry {
    aco_link link;
    uint8_t type, flags;
    size_t head_size, sent; /* of head and message together */
    aco_msg *msg;           /* owned reference, may be NULL */
    uint8_t head[];
};

/* Frames for one target, of which the first goes in parts. */
struct lane {
    aco_link link;
    bool named;
    uint8_t target[ACO_OUTQ_TARGET];
    uint32_t number;
    uint64_t after; /* small_out must be there before the frame in parts may end */
    aco_link entries;
};

void
aco_outq_init(aco_outq *q)
{
    *q = (aco_outq){.size = 0};
    aco_list_init(&q->ready);
    aco_list_init(&q->control);
    aco_list_init(&q->small);
    aco_list_init(&q->lanes);
}

/* Pieces --------------------------------------------------------------------------------------- */

static piece *
piece_new(aco_outq *q, size_t capacity)
{
    piece *p = q->spare;

    if (p != NULL && p->capacity >= capacity && capacity > SHORT) {
        q->spare = NULL;
    } else {
        p = malloc(sizeof *p + capacity);
        if (p == NULL) return NULL;
        p->capacity = capacity;
    }
    p->link = (aco_link){.next = NULL};
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
    if (p->msg == NULL && p->capacity == CHUNK && q->spare == NULL) {
        q->spare = p;
        return;
    }
    aco_msg_unref(p->msg);
    free(p);
}

static void
pieces_free(aco_outq *q, aco_link *list)
{
    while (!aco_list_empty(list))
        piece_free(q, ACO_CONTAINER_OF(list->next, piece, link));
}

static void
entry_free(struct entry *entry)
{
    aco_link_remove(&entry->link);
    aco_msg_unref(entry->msg);
    free(entry);
}

static void
lane_free(struct lane *lane)
{
    while (!aco_list_empty(&lane->entries))
        entry_free(ACO_CONTAINER_OF(lane->entries.next, struct entry, link));
    aco_link_remove(&lane->link);
    free(lane);
}

void
aco_outq_free(aco_outq *q)
{
    pieces_free(q, &q->ready);
    pieces_free(q, &q->control);
    pieces_free(q, &q->small);
    while (!aco_list_empty(&q->lanes))
        lane_free(ACO_CONTAINER_OF(q->lanes.next, struct lane, link));
    free(q->spare);
    q->spare = NULL;
    q->size = q->ready_size = 0;
}

/* Small frames --------------------------------------------------------------------------------- */

static size_t
msg_size(const aco_msg *msg)
{
    return msg != NULL ? aco_msg_size(msg) : 0;
}

/* A piece at the end of the list with so many bytes free. */
static piece *
room(aco_outq *q, aco_link *list, size_t size)
{
    if (!aco_list_empty(list)) {
        piece *last = ACO_CONTAINER_OF(list->prev, piece, link);
        if (last->msg == NULL && last->capacity - last->size >= size) return last;
    }
    /* few frames need little memory; the chunk follows when there are more */
    bool little = aco_list_empty(list) && size <= SHORT;
    piece *p = piece_new(q, little ? SHORT : size > CHUNK ? size : CHUNK);
    if (p != NULL) aco_list_append(list, &p->link);
    return p;
}

static void
fill(piece *p, const void *data, size_t size)
{
    if (size > 0) memcpy(p->bytes + p->size, data, size);
    p->size += size;
}

/* A frame as it is: head, and the message in a piece of its own when it is not small. */
static int
small_add(aco_outq *q, aco_link *list, int type, int flags, const void *head, size_t head_size,
          aco_msg *msg)
{
    size_t size = msg_size(msg);
    bool held = size >= HELD;
    uint8_t start[ACO_FRAME_HEAD];
    piece *body = NULL;

    if (held) {
        body = piece_new(q, 0);
        if (body == NULL) return ACO_ENOMEM;
    }
    piece *p = room(q, list, sizeof start + head_size + (held ? 0 : size));
    if (p == NULL) {
        if (body != NULL) piece_free(q, body);
        return ACO_ENOMEM;
    }
    aco_frame_head(start, (uint32_t)(head_size + size), type, flags);
    fill(p, start, sizeof start);
    fill(p, head, head_size);
    if (held) {
        body->msg = aco_msg_ref(msg);
        body->at = aco_msg_data(msg);
        body->size = size;
        p->goes_on = true;
        aco_list_append(list, &body->link);
    } else if (size > 0) {
        fill(p, aco_msg_data(msg), size);
    }
    q->size += sizeof start + head_size + size;
    if (list == &q->small) q->small_in += sizeof start + head_size + size;
    return ACO_OK;
}

/* Lanes ---------------------------------------------------------------------------------------- */

static struct lane *
lane_find(const aco_outq *q, const uint8_t *target)
{
    for (aco_link *l = q->lanes.next; target != NULL && l != &q->lanes; l = l->next) {
        struct lane *lane = ACO_CONTAINER_OF(l, struct lane, link);
        if (lane->named && memcmp(lane->target, target, ACO_OUTQ_TARGET) == 0) return lane;
    }
    return NULL;
}

static struct lane *
lane_new(aco_outq *q, const uint8_t *target)
{
    struct lane *lane = calloc(1, sizeof *lane);

    if (lane == NULL) return NULL;
    lane->named = target != NULL;
    if (target != NULL) memcpy(lane->target, target, ACO_OUTQ_TARGET);
    lane->number = ++q->last_number;
    lane->after = q->small_in; /* frames for this target may be among those */
    aco_list_init(&lane->entries);
    aco_list_append(&q->lanes, &lane->link);
    return lane;
}

static int
lane_add(aco_outq *q, struct lane *lane, int type, int flags, const void *head, size_t head_size,
         aco_msg *msg)
{
    struct entry *entry = malloc(sizeof *entry + head_size);

    if (entry == NULL) return ACO_ENOMEM;
    *entry = (struct entry){.type = (uint8_t)type,
                            .flags = (uint8_t)flags,
                            .head_size = head_size,
                            .msg = msg != NULL ? aco_msg_ref(msg) : NULL};
    memcpy(entry->head, head, head_size);
    aco_list_append(&lane->entries, &entry->link);
    q->size += head_size + msg_size(msg);
    return ACO_OK;
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
    bool large = head_size + msg_size(msg) > ACO_FRAME_PART;
    struct lane *lane = NULL;

    if (is_control(type)) return small_add(q, &q->control, type, flags, head, head_size, msg);
    if (!aco_list_empty(&q->lanes)) lane = lane_find(q, target);
    if (lane == NULL && !large) return small_add(q, &q->small, type, flags, head, head_size, msg);
    bool made = lane == NULL;
    if (made) lane = lane_new(q, target);
    if (lane == NULL) return ACO_ENOMEM;
    int err = lane_add(q, lane, type, flags, head, head_size, msg);
    if (err != ACO_OK && made) lane_free(lane);
    return err;
}

/* What is next --------------------------------------------------------------------------------- */

static void
make_ready(aco_outq *q, aco_link *list)
{
    bool goes_on;

    do {
        piece *p = ACO_CONTAINER_OF(list->next, piece, link);
        goes_on = p->goes_on;
        aco_link_remove(&p->link);
        aco_list_append(&q->ready, &p->link);
        q->ready_size += p->size;
        if (list == &q->small) q->small_out += p->size;
    } while (goes_on);
}

/* What stood behind the frame that has gone in parts goes as it is, up to the next large one. */
static void
lane_go_on(aco_outq *q, struct lane *lane)
{
    while (!aco_list_empty(&lane->entries)) {
        struct entry *entry = ACO_CONTAINER_OF(lane->entries.next, struct entry, link);
        size_t size = entry->head_size + msg_size(entry->msg);
        if (size > ACO_FRAME_PART) {
            lane->number = ++q->last_number;
            lane->after = q->small_in;
            return;
        }
        int err = small_add(q, &q->small, entry->type, entry->flags, entry->head, entry->head_size,
                            entry->msg);
        if (err != ACO_OK) return; /* tried again at the next turn of this lane */
        q->size -= size;
        entry_free(entry);
    }
    lane_free(lane);
}

static void
put_u32(uint8_t *out, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        out[i] = (uint8_t)(value >> (24 - 8 * i));
}

/* Make the next part of a frame ready; false without memory. */
static bool
part_make(aco_outq *q, struct lane *lane, struct entry *entry)
{
    size_t total = entry->head_size + msg_size(entry->msg), left = total - entry->sent;
    size_t size = left < ACO_FRAME_PART ? left : ACO_FRAME_PART, head = 0;
    bool first = entry->sent == 0;
    size_t before = ACO_FRAME_HEAD + 4 + (first ? 8 : 0);

    if (entry->sent < entry->head_size) head = entry->head_size; /* all of it, in the first part */
    piece *start = piece_new(q, before + head);
    piece *body = start != NULL ? piece_new(q, 0) : NULL;
    if (body == NULL) {
        if (start != NULL) piece_free(q, start);
        return false;
    }
    int flags = (first ? ACO_FRAME_FIRST : 0) | (size == left ? ACO_FRAME_LAST : 0);
    aco_frame_head(start->bytes, (uint32_t)(before - ACO_FRAME_HEAD + size), 5, flags);
    put_u32(start->bytes + ACO_FRAME_HEAD, lane->number);
    if (first) {
        put_u32(start->bytes + 12, (uint32_t)total);
        start->bytes[16] = entry->type;
        start->bytes[17] = entry->flags;
        start->bytes[18] = start->bytes[19] = 0;
    }
    start->size = before;
    fill(start, entry->head, head);
    body->msg = aco_msg_ref(entry->msg);
    body->at = (const uint8_t *)aco_msg_data(entry->msg) +
               (entry->sent > 0 ? entry->sent - entry->head_size : 0);
    body->size = size - head;
    entry->sent += size;
    aco_list_append(&q->ready, &start->link);
    aco_list_append(&q->ready, &body->link);
    q->ready_size += start->size + body->size;
    q->size += before;
    return true;
}

/* One part of the lane whose turn it is. */
static void
lane_turn(aco_outq *q)
{
    struct lane *lane = ACO_CONTAINER_OF(q->lanes.next, struct lane, link);
    struct entry *entry = ACO_CONTAINER_OF(lane->entries.next, struct entry, link);
    size_t total = entry->head_size + msg_size(entry->msg);

    aco_link_remove(&lane->link);
    aco_list_append(&q->lanes, &lane->link);
    if (total - entry->sent <= ACO_FRAME_PART && q->small_out < lane->after) return;
    if (entry->sent < total && !part_make(q, lane, entry)) return;
    if (entry->sent < total) return;
    entry_free(entry);
    lane_go_on(q, lane);
}

static void
refill(aco_outq *q)
{
    while (!aco_list_empty(&q->control))
        make_ready(q, &q->control);
    while (!aco_list_empty(&q->small) && q->ready_size < READY)
        make_ready(q, &q->small);
    if (!aco_list_empty(&q->lanes)) lane_turn(q);
}

int
aco_outq_iov(aco_outq *q, struct iovec *pieces, int max)
{
    int count = 0;

    if (q->ready_size < READY) refill(q);
    for (aco_link *l = q->ready.next; l != &q->ready && count < max; l = l->next) {
        piece *p = ACO_CONTAINER_OF(l, piece, link);
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
    for (aco_link *l = q->ready.next; l != &q->ready && size > 0; l = q->ready.next) {
        piece *p = ACO_CONTAINER_OF(l, piece, link);
        if (size < p->size) {
            p->at += size;
            p->size -= size;
            return;
        }
        size -= p->size;
        piece_free(q, p);
    }
}
