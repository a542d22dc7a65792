/* SPDX-License-Identifier: MIT */
#include "core/engine/process.h"
#include "core/base/error.h"
#include "core/base/random.h"
#include "core/engine/channel.h"
#include "core/engine/gate.h"
#include "core/engine/pool.h"
#include "core/engine/process_state.h"

#include <stdlib.h>
#include <string.h>

/* A location that the process has, or had: whoever was told it may still look at it. */
struct aco_route {
    struct aco_route *before;
    char text[];
};

/* The process -----------------------------------------------------------------------------------
 */

aco_process *
aco_process_new(void)
{
    aco_process *process = calloc(1, sizeof *process);

    if (process == NULL) return NULL;
    atomic_init(&process->refs, 1);
    aco_list_init(&process->seats);
    aco_list_init(&process->ended);
    if (aco_random(process->id, sizeof process->id) != ACO_OK ||
        aco_random(&process->names.seed, sizeof process->names.seed) != ACO_OK) {
        free(process);
        return NULL;
    }
    process->exports.seed = process->fars.seed = process->names.seed;
    process->channels = aco_channels_new(process, process->names.seed);
    if (process->channels == NULL) {
        free(process);
        return NULL;
    }
    atomic_init(&process->gate, NULL);
    atomic_init(&process->route, NULL);
    pthread_mutex_init(&process->lock, NULL);
    return process;
}

aco_process *
aco_process_ref(aco_process *process)
{
    atomic_fetch_add_explicit(&process->refs, 1, memory_order_relaxed);
    return process;
}

static void
routes_free(struct aco_route *route)
{
    while (route != NULL) {
        struct aco_route *before = route->before;
        free(route);
        route = before;
    }
}

void
aco_process_unref(aco_process *process)
{
    if (process == NULL || atomic_fetch_sub(&process->refs, 1) != 1) return;
    if (process->pool != NULL) aco_pool_close(process->pool);
    aco_gate *gate = aco_process_gate(process);
    if (gate != NULL) gate->ops->free(gate);
    aco_channels_free(process->channels);
    routes_free(atomic_load(&process->route));
    aco_map_free(&process->exports); /* empty: records hold their process */
    aco_map_free(&process->fars);
    aco_map_free(&process->names);
    pthread_mutex_destroy(&process->lock);
    free(process);
}

const uint8_t *
aco_process_id(const aco_process *process)
{
    return process->id;
}

aco_pool *
aco_process_pool(aco_process *process)
{
    pthread_mutex_lock(&process->lock);
    if (process->pool == NULL) process->pool = aco_pool_new();
    aco_pool *pool = process->pool;
    pthread_mutex_unlock(&process->lock);
    return pool;
}

int
aco_process_rest(aco_process *process)
{
    pthread_mutex_lock(&process->lock);
    aco_pool *pool = process->pool;
    pthread_mutex_unlock(&process->lock);
    return pool != NULL ? aco_pool_rest(pool) : ACO_OK;
}

int
aco_process_renew(aco_process *process)
{
    aco_channels_renew(process);
    return aco_random(process->id, sizeof process->id);
}

void
aco_process_set_gate(aco_process *process, aco_gate *gate)
{
    atomic_store(&process->gate, gate);
}

aco_gate *
aco_process_gate(aco_process *process)
{
    return atomic_load_explicit(&process->gate, memory_order_acquire);
}

int
aco_process_set_route(aco_process *process, const char *text)
{
    size_t size = strlen(text) + 1;

    if (strcmp(text, aco_process_route(process)) == 0) return ACO_OK;
    struct aco_route *route = malloc(sizeof *route + size);
    if (route == NULL) return ACO_ENOMEM;
    memcpy(route->text, text, size);
    route->before = atomic_load(&process->route);
    atomic_store(&process->route, route);
    return ACO_OK;
}

const char *
aco_process_route(const aco_process *process)
{
    const struct aco_route *route = atomic_load_explicit(&process->route, memory_order_acquire);

    return route != NULL ? route->text : "";
}

size_t
aco_process_engines(aco_process *process)
{
    pthread_mutex_lock(&process->lock);
    size_t count = process->engines;
    pthread_mutex_unlock(&process->lock);
    return count;
}

aco_seat *
aco_seat_take(aco_process *process, aco_inbox *inbox)
{
    aco_seat *seat = calloc(1, sizeof *seat);

    if (seat == NULL) return NULL;
    seat->process = aco_process_ref(process);
    seat->inbox = aco_inbox_ref(inbox);
    aco_list_init(&seat->watchers);
    pthread_mutex_lock(&process->lock);
    seat->number = ++process->last_number;
    process->engines++;
    aco_list_append(&process->seats, &seat->link);
    pthread_mutex_unlock(&process->lock);
    return seat;
}

uint32_t
aco_seat_number(const aco_seat *seat)
{
    return seat->number;
}

/* What it watched it does no more. References that go here are never the last: a live coro's record
 * is the process's too. */
void
aco_seat_leave(aco_seat *seat)
{
    aco_process *process = seat->process;

    pthread_mutex_lock(&process->lock);
    aco_seat_unwatch(seat);
    aco_link_remove(&seat->link);
    process->engines--;
    if (seat->idle) process->idle--;
    bool last = process->engines == 0;
    pthread_mutex_unlock(&process->lock);
    if (last) {
        aco_exports_forget(process);
        aco_channels_renew(process);
    }
    aco_inbox_unref(seat->inbox);
    aco_process_unref(process);
    free(seat);
}

static bool
nothing_posted(aco_process *process)
{
    for (aco_link *l = process->seats.next; l != &process->seats; l = l->next)
        if (!aco_inbox_empty(ACO_CONTAINER_OF(l, aco_seat, link)->inbox)) return false;
    return true;
}

bool
aco_seat_idle(aco_seat *seat)
{
    aco_process *process = seat->process;

    pthread_mutex_lock(&process->lock);
    if (!seat->idle) process->idle++;
    seat->idle = true;
    bool all = process->idle == process->engines && nothing_posted(process);
    pthread_mutex_unlock(&process->lock);
    return all;
}

void
aco_seat_busy(aco_seat *seat)
{
    if (!seat->idle) return;
    pthread_mutex_lock(&seat->process->lock);
    seat->idle = false;
    seat->process->idle--;
    pthread_mutex_unlock(&seat->process->lock);
}
