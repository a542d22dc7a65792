/* SPDX-License-Identifier: MIT */
/* timer_test.c -- the heap and the wheel under random starts and stops, against a plain list. */
#include "core/base/error.h"
#include "core/engine/timer.h"
#include "spec/core/check.h"

enum { TIMERS = 900, STEPS = 60000, SPAN = 500 };

/* The model: what is started, and for when. */
typedef struct model {
    aco_timer timers[TIMERS];
    bool started[TIMERS];
    aco_time deadlines[TIMERS];
    uint32_t count;
    uint32_t seed;
} model;

static uint32_t
draw(model *m, uint32_t below)
{
    m->seed = m->seed * 1664525 + 1013904223;
    return (m->seed >> 8) % below;
}

static aco_time
model_next(const model *m)
{
    aco_time next = ACO_NEVER;

    for (int i = 0; i < TIMERS; i++)
        if (m->started[i] && m->deadlines[i] < next) next = m->deadlines[i];
    return next;
}

static void
model_start(model *m, aco_timers *heap, uint32_t i, aco_time deadline)
{
    CHECK(aco_timer_start(heap, &m->timers[i], deadline) == ACO_OK);
    m->started[i] = true;
    m->deadlines[i] = deadline;
    m->count++;
}

static void
model_stop(model *m, aco_timers *heap, uint32_t i)
{
    if (m->started[i]) {
        CHECK(aco_timer_deadline(heap, &m->timers[i]) == m->deadlines[i]);
        m->started[i] = false;
        m->count--;
    }
    aco_timer_stop(heap, &m->timers[i]); /* harmless when it is not started */
    CHECK(m->timers[i].place == 0);
}

/* Take out all that is due: every one of them, none twice, the earliest first. */
static void
model_pop(model *m, aco_timers *heap, aco_time now)
{
    aco_time last = INT64_MIN;
    aco_timer *timer;

    while ((timer = aco_timers_pop(heap, now)) != NULL) {
        ptrdiff_t i = timer - m->timers;
        CHECK(i >= 0 && i < TIMERS && m->started[i] && timer->place == 0);
        CHECK(m->deadlines[i] >= last && m->deadlines[i] <= now);
        CHECK(timer->kind == (uint32_t)(i & 1)); /* the place is beside it */
        last = m->deadlines[i];
        m->started[i] = false;
        m->count--;
    }
    CHECK(model_next(m) > now);
}

/* Deadlines are up to SPAN units away: with long ones they are on the wheel and beyond it. */
static void
test_random(uint32_t seed, aco_time unit)
{
    static const model none;
    model m = none;
    aco_timers heap;
    aco_time now = 0;
    bool wheeled = false;

    m.seed = seed;
    aco_timers_init(&heap);
    for (uint32_t i = 0; i < TIMERS; i++)
        m.timers[i].kind = i & 1;
    for (int step = 0; step < STEPS; step++) {
        uint32_t i = draw(&m, TIMERS);
        if (!m.started[i] && draw(&m, 4) != 0)
            model_start(&m, &heap, i, now + draw(&m, SPAN) * unit); /* many are equal */
        else
            model_stop(&m, &heap, i);
        if (draw(&m, 50) == 0) {
            now += draw(&m, SPAN / 4) * unit;
            model_pop(&m, &heap, now);
        }
        CHECK(heap.count == m.count);
        if (step % 8 == 0) CHECK(aco_timers_next(&heap) == model_next(&m));
        wheeled |= heap.heaped < heap.count;
    }
    model_pop(&m, &heap, ACO_NEVER - 1);
    CHECK(heap.count == 0 && m.count == 0);
    CHECK(wheeled || unit < 1000 || unit > ACO_SECOND / 10);
    aco_timers_fini(&heap);
}

static void
test_borders(void)
{
    aco_timers heap;
    aco_timer early = {0}, late = {0};

    aco_timers_init(&heap);
    CHECK(aco_timers_next(&heap) == ACO_NEVER && aco_timers_pop(&heap, ACO_NEVER) == NULL);
    CHECK(aco_timer_start(&heap, &late, ACO_NEVER) == ACO_OK);
    CHECK(aco_timer_start(&heap, &early, -5) == ACO_OK);
    CHECK(aco_timers_next(&heap) == -5);
    CHECK(aco_timers_pop(&heap, -6) == NULL);
    CHECK(aco_timers_pop(&heap, -5) == &early);
    CHECK(aco_timers_pop(&heap, ACO_NEVER - 1) == NULL);
    aco_timer_stop(&heap, &late);
    aco_timer_stop(&heap, &late);
    CHECK(heap.count == 0);
    aco_timers_fini(&heap);
    CHECK(heap.slots == NULL);
}

int
main(void)
{
    for (uint32_t seed = 1; seed <= 4; seed++)
        for (aco_time unit = 1; unit < ACO_SECOND; unit *= 30)
            test_random(seed, unit);
    test_borders();
    return 0;
}
