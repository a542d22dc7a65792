/* SPDX-License-Identifier: MIT */
#include "core/engine/timer.h"
#include "core/base/error.h"

#include <stdlib.h>

#define HEAP_ARITY 4

void
aco_timers_init(aco_timers *heap)
{
    heap->slots = NULL;
    heap->count = heap->capacity = 0;
}

void
aco_timers_fini(aco_timers *heap)
{
    free(heap->slots);
    aco_timers_init(heap);
}

static void
heap_put(aco_timers *heap, uint32_t at, aco_timer_slot slot)
{
    heap->slots[at] = slot;
    slot.timer->place = (at + 1) & 0x7fffffff;
}

static void
heap_up(aco_timers *heap, uint32_t at, aco_timer_slot slot)
{
    while (at > 0) {
        uint32_t parent = (at - 1) / HEAP_ARITY;
        if (heap->slots[parent].deadline <= slot.deadline) break;
        heap_put(heap, at, heap->slots[parent]);
        at = parent;
    }
    heap_put(heap, at, slot);
}

static void
heap_down(aco_timers *heap, uint32_t at, aco_timer_slot slot)
{
    for (;;) {
        uint32_t child = at * HEAP_ARITY + 1;
        if (child >= heap->count) break;
        uint32_t end = child + HEAP_ARITY;
        if (end > heap->count) end = heap->count;
        uint32_t least = child;
        for (uint32_t i = child + 1; i < end; i++)
            if (heap->slots[i].deadline < heap->slots[least].deadline) least = i;
        if (heap->slots[least].deadline >= slot.deadline) break;
        heap_put(heap, at, heap->slots[least]);
        at = least;
    }
    heap_put(heap, at, slot);
}

static int
heap_grow(aco_timers *heap)
{
    uint32_t capacity = heap->capacity ? heap->capacity * 2 : 16;
    aco_timer_slot *slots = realloc(heap->slots, capacity * sizeof *slots);

    if (slots == NULL) return ACO_ENOMEM;
    heap->slots = slots;
    heap->capacity = capacity;
    return ACO_OK;
}

int
aco_timer_start(aco_timers *heap, aco_timer *timer, aco_time deadline)
{
    assert(timer->place == 0);
    if (heap->count == heap->capacity) {
        int err = heap_grow(heap);
        if (err != ACO_OK) return err;
    }
    heap_up(heap, heap->count++, (aco_timer_slot){deadline, timer});
    return ACO_OK;
}

static void
heap_remove(aco_timers *heap, uint32_t at)
{
    aco_timer_slot last = heap->slots[--heap->count];

    if (at == heap->count) return;
    if (at > 0 && last.deadline < heap->slots[(at - 1) / HEAP_ARITY].deadline)
        heap_up(heap, at, last);
    else
        heap_down(heap, at, last);
}

void
aco_timer_stop(aco_timers *heap, aco_timer *timer)
{
    if (timer->place == 0) return;
    heap_remove(heap, timer->place - 1);
    timer->place = 0;
}

aco_time
aco_timer_deadline(const aco_timers *heap, const aco_timer *timer)
{
    assert(timer->place != 0);
    return heap->slots[timer->place - 1].deadline;
}

aco_timer *
aco_timers_pop(aco_timers *heap, aco_time now)
{
    if (heap->count == 0 || heap->slots[0].deadline > now) return NULL;
    aco_timer *timer = heap->slots[0].timer;
    aco_timer_stop(heap, timer);
    return timer;
}
