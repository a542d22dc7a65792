/* SPDX-License-Identifier: MIT */
#include "core/engine/timer.h"
#include "core/base/error.h"

#include <stdlib.h>

#define HEAP_ARITY 4

/* A bucket is about a millisecond, the wheel about a second. */
enum {
    WHEEL_SHIFT = 20,
    WHEEL_BUCKETS = 1024,
    WHEEL_FROM = 256, /* as long as the heap is smaller it is quicker */
};

/* A timer's place: index in the heap + 1, or this bit, the bucket and the index in it. */
enum { PLACE_WHEEL = 1 << 30, PLACE_BUCKET = 20, PLACE_INDEX = (1 << PLACE_BUCKET) - 1 };

typedef struct bucket {
    aco_timer_slot *slots;
    uint32_t count, capacity;
} bucket;

struct aco_timer_wheel {
    int64_t edge; /* what is due in this bucket of time or before is in the heap */
    uint32_t count;
    uint64_t filled[WHEEL_BUCKETS / 64];
    bucket buckets[WHEEL_BUCKETS]; /* of edge + 1 ... edge + WHEEL_BUCKETS - 1 */
};

void
aco_timers_init(aco_timers *timers)
{
    *timers = (aco_timers){NULL, 0, 0, 0, NULL};
}

void
aco_timers_fini(aco_timers *timers)
{
    if (timers->wheel != NULL)
        for (int i = 0; i < WHEEL_BUCKETS; i++)
            free(timers->wheel->buckets[i].slots);
    free(timers->wheel);
    free(timers->slots);
    aco_timers_init(timers);
}

/* The heap ----------------------------------------------------------------------------------------
 */

static void
heap_put(aco_timers *timers, uint32_t at, aco_timer_slot slot)
{
    timers->slots[at] = slot;
    slot.timer->place = (at + 1) & 0x7fffffff;
}

static void
heap_up(aco_timers *timers, uint32_t at, aco_timer_slot slot)
{
    while (at > 0) {
        uint32_t parent = (at - 1) / HEAP_ARITY;
        if (timers->slots[parent].deadline <= slot.deadline) break;
        heap_put(timers, at, timers->slots[parent]);
        at = parent;
    }
    heap_put(timers, at, slot);
}

static void
heap_down(aco_timers *timers, uint32_t at, aco_timer_slot slot)
{
    for (;;) {
        uint32_t child = at * HEAP_ARITY + 1;
        if (child >= timers->heaped) break;
        uint32_t end = child + HEAP_ARITY;
        if (end > timers->heaped) end = timers->heaped;
        uint32_t least = child;
        for (uint32_t i = child + 1; i < end; i++)
            if (timers->slots[i].deadline < timers->slots[least].deadline) least = i;
        if (timers->slots[least].deadline >= slot.deadline) break;
        heap_put(timers, at, timers->slots[least]);
        at = least;
    }
    heap_put(timers, at, slot);
}

/* Its array has room for all timers, also for those that are on the wheel now. */
static int
heap_grow(aco_timers *timers)
{
    uint32_t capacity = timers->capacity ? timers->capacity * 2 : 16;
    aco_timer_slot *slots = realloc(timers->slots, capacity * sizeof *slots);

    if (slots == NULL) return ACO_ENOMEM;
    timers->slots = slots;
    timers->capacity = capacity;
    return ACO_OK;
}

static void
heap_remove(aco_timers *timers, uint32_t at)
{
    aco_timer_slot last = timers->slots[--timers->heaped];

    if (at == timers->heaped) return;
    if (at > 0 && last.deadline < timers->slots[(at - 1) / HEAP_ARITY].deadline)
        heap_up(timers, at, last);
    else
        heap_down(timers, at, last);
}

/* The wheel ---------------------------------------------------------------------------------------
 */

static bool
bucket_grow(bucket *b)
{
    uint32_t capacity = b->capacity ? b->capacity * 2 : 16;

    if (capacity > PLACE_INDEX) return false;
    aco_timer_slot *slots = realloc(b->slots, capacity * sizeof *slots);
    if (slots == NULL) return false;
    b->slots = slots;
    b->capacity = capacity;
    return true;
}

/* False when it belongs into the heap, or there is no memory. */
static bool
wheel_add(aco_timers *timers, aco_timer_slot slot)
{
    struct aco_timer_wheel *w = timers->wheel;
    int64_t when = slot.deadline >> WHEEL_SHIFT;

    if (w == NULL) w = timers->wheel = calloc(1, sizeof *w);
    if (w == NULL) return false;
    if (w->count == 0) w->edge = timers->slots[0].deadline >> WHEEL_SHIFT;
    if (when <= w->edge || when - w->edge >= WHEEL_BUCKETS) return false;
    uint32_t number = (uint32_t)when & (WHEEL_BUCKETS - 1);
    bucket *b = &w->buckets[number];
    if (b->count == b->capacity && !bucket_grow(b)) return false;
    slot.timer->place = (PLACE_WHEEL | number << PLACE_BUCKET | b->count) & 0x7fffffff;
    b->slots[b->count++] = slot;
    w->filled[number / 64] |= UINT64_C(1) << number % 64;
    w->count++;
    return true;
}

static bucket *
wheel_bucket(const aco_timers *timers, uint32_t place)
{
    return &timers->wheel->buckets[(place & ~(uint32_t)PLACE_WHEEL) >> PLACE_BUCKET];
}

static void
wheel_remove(aco_timers *timers, uint32_t place)
{
    bucket *b = wheel_bucket(timers, place);
    aco_timer_slot last = b->slots[--b->count];

    b->slots[place & PLACE_INDEX] = last;
    last.timer->place = place & 0x7fffffff;
    timers->wheel->count--;
    if (b->count > 0) return;
    uint32_t number = (uint32_t)(b - timers->wheel->buckets);
    timers->wheel->filled[number / 64] &= ~(UINT64_C(1) << number % 64);
}

/* When its first timers are due, in buckets; it has some. */
static int64_t
wheel_first(const struct aco_timer_wheel *w)
{
    uint32_t start = (uint32_t)(w->edge + 1) & (WHEEL_BUCKETS - 1), word = start / 64;
    uint64_t bits = w->filled[word] & ~UINT64_C(0) << start % 64;

    while (bits == 0) {
        word = (word + 1) % (WHEEL_BUCKETS / 64);
        bits = w->filled[word];
    }
    uint32_t number = word * 64 + (uint32_t)__builtin_ctzll(bits);
    return w->edge + 1 + ((number - start) & (WHEEL_BUCKETS - 1));
}

/* The timers of one bucket of time go into the heap, where their order is found. */
static void
wheel_pour(aco_timers *timers, int64_t when)
{
    uint32_t number = (uint32_t)when & (WHEEL_BUCKETS - 1);
    struct aco_timer_wheel *w = timers->wheel;
    bucket *b = &w->buckets[number];

    for (uint32_t i = 0; i < b->count; i++)
        __builtin_prefetch(b->slots[i].timer, 1);
    for (uint32_t i = 0; i < b->count; i++)
        heap_up(timers, timers->heaped++, b->slots[i]);
    w->count -= b->count;
    w->edge = when;
    w->filled[number / 64] &= ~(UINT64_C(1) << number % 64);
    free(b->slots);
    *b = (bucket){NULL, 0, 0};
}

/* All that is due by `now`, and all that is due before what is in the heap. */
static void
wheel_turn(aco_timers *timers, aco_time now)
{
    struct aco_timer_wheel *w = timers->wheel;

    while (w->count > 0) {
        int64_t first = wheel_first(w), last = now >> WHEEL_SHIFT;
        if (timers->heaped > 0) {
            int64_t top = timers->slots[0].deadline >> WHEEL_SHIFT;
            if (top > last) last = top;
            if (first > last) break;
        }
        wheel_pour(timers, first);
    }
}

/* Both --------------------------------------------------------------------------------------------
 */

int
aco_timer_start(aco_timers *timers, aco_timer *timer, aco_time deadline)
{
    aco_timer_slot slot = {deadline, timer};

    assert(timer->place == 0);
    if (timers->count == timers->capacity) {
        int err = heap_grow(timers);
        if (err != ACO_OK) return err;
    }
    timers->count++;
    if (timers->heaped < WHEEL_FROM || !wheel_add(timers, slot))
        heap_up(timers, timers->heaped++, slot);
    return ACO_OK;
}

void
aco_timer_remove(aco_timers *timers, aco_timer *timer)
{
    assert(timer->place != 0);
    timers->count--;
    if (timer->place & PLACE_WHEEL)
        wheel_remove(timers, timer->place);
    else
        heap_remove(timers, timer->place - 1);
    timer->place = 0;
}

aco_time
aco_timer_deadline(const aco_timers *timers, const aco_timer *timer)
{
    assert(timer->place != 0);
    if (timer->place & PLACE_WHEEL)
        return wheel_bucket(timers, timer->place)->slots[timer->place & PLACE_INDEX].deadline;
    return timers->slots[timer->place - 1].deadline;
}

aco_time
aco_timers_next(aco_timers *timers)
{
    if (ACO_UNLIKELY(timers->wheel != NULL)) wheel_turn(timers, INT64_MIN);
    return timers->heaped ? timers->slots[0].deadline : ACO_NEVER;
}

aco_timer *
aco_timers_pop(aco_timers *timers, aco_time now)
{
    if (ACO_UNLIKELY(timers->wheel != NULL)) wheel_turn(timers, now);
    if (timers->heaped == 0 || timers->slots[0].deadline > now) return NULL;
    aco_timer *timer = timers->slots[0].timer;
    aco_timer_remove(timers, timer);
    return timer;
}
