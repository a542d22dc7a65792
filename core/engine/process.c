/* SPDX-License-Identifier: MIT */
#include "core/engine/process.h"
#include "core/base/clock.h"
#include "core/base/error.h"
#include "core/base/map.h"
#include "core/base/random.h"
#include "core/engine/pool.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct aco_process {
    atomic_uint refs;
    uint8_t id[16];
    pthread_mutex_t lock; /* guards what follows, and what hangs on it */
    uint32_t last_number;
    size_t engines, idle; /* seats taken; those of them whose engine is idle */
    aco_pool *pool;       /* NULL until first needed */
    aco_link seats;
    aco_map exports; /* engine and serial -> record, with a reference */
    aco_map names;   /* -> struct name */
    aco_link ended;  /* records of ended coros in the order of their `expires` */
    size_t ended_count, ended_bytes;
};

struct aco_seat {
    aco_link link;
    aco_process *process; /* owned reference */
    aco_inbox *inbox;     /* owned reference */
    uint32_t number;
    bool idle, awaits_names;
    aco_link watchers; /* those of this engine */
};

/* An engine that wants to hear of the end of a coro. */
typedef struct watcher {
    aco_link of_export, of_seat;
    aco_inbox *inbox; /* owned reference */
    aco_post *post;   /* made before, so that the end needs no memory */
} watcher;

typedef struct monitor {
    aco_link link;
    aco_mailbox *mailbox; /* owned reference */
} monitor;

typedef struct name {
    aco_link link; /* of its record */
    aco_export *x;
    size_t size;
    char text[];
} name;

/* Identities ------------------------------------------------------------------------------------
 */

static void
put_big(uint8_t *out, uint64_t value, size_t size)
{
    for (size_t i = 0; i < size; i++)
        out[i] = (uint8_t)(value >> (8 * (size - 1 - i)));
}

static uint64_t
get_big(const uint8_t *in, size_t size)
{
    uint64_t value = 0;

    for (size_t i = 0; i < size; i++)
        value = value << 8 | in[i];
    return value;
}

void
aco_identity_write(const aco_identity *identity, uint8_t out[ACO_IDENTITY_SIZE])
{
    memcpy(out, identity->process, sizeof identity->process);
    put_big(out + 16, identity->engine, 4);
    put_big(out + 20, identity->serial, 8);
}

void
aco_identity_read(aco_identity *identity, const uint8_t in[ACO_IDENTITY_SIZE])
{
    memcpy(identity->process, in, sizeof identity->process);
    identity->engine = (uint32_t)get_big(in + 16, 4);
    identity->serial = get_big(in + 20, 8);
}

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
    process->exports.seed = process->names.seed;
    pthread_mutex_init(&process->lock, NULL);
    return process;
}

aco_process *
aco_process_ref(aco_process *process)
{
    atomic_fetch_add_explicit(&process->refs, 1, memory_order_relaxed);
    return process;
}

void
aco_process_unref(aco_process *process)
{
    if (process == NULL || atomic_fetch_sub(&process->refs, 1) != 1) return;
    if (process->pool != NULL) aco_pool_close(process->pool);
    aco_map_free(&process->exports); /* empty: records hold their process */
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
    return aco_random(process->id, sizeof process->id);
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

static void
gone_free(aco_link *gone)
{
    while (!aco_list_empty(gone)) {
        aco_export *x = ACO_CONTAINER_OF(gone->next, aco_export, ended);
        aco_link_remove(&x->ended);
        aco_export_unref(x);
    }
}

static void
watcher_free(watcher *w)
{
    aco_link_remove(&w->of_export);
    aco_link_remove(&w->of_seat);
    aco_inbox_unref(w->inbox);
    if (w->post != NULL) aco_post_free(w->post);
    free(w);
}

/* The last engine has ended: nobody can ask for outcomes any more but who has a handle. */
static void
records_forget(aco_process *process)
{
    size_t place = 0;
    aco_export *x;
    aco_link gone;

    aco_list_init(&gone);
    pthread_mutex_lock(&process->lock);
    while ((x = aco_map_next(&process->exports, &place)) != NULL) {
        aco_link_remove(&x->ended);
        aco_list_append(&gone, &x->ended);
    }
    aco_map_free(&process->exports);
    process->ended_count = process->ended_bytes = 0;
    pthread_mutex_unlock(&process->lock);
    gone_free(&gone);
}

/* What it watched it does no more. References that go here are never the last: a live coro's record
 * is the process's too. */
void
aco_seat_leave(aco_seat *seat)
{
    aco_process *process = seat->process;

    pthread_mutex_lock(&process->lock);
    while (!aco_list_empty(&seat->watchers))
        watcher_free(ACO_CONTAINER_OF(seat->watchers.next, watcher, of_seat));
    aco_link_remove(&seat->link);
    process->engines--;
    if (seat->idle) process->idle--;
    bool last = process->engines == 0;
    pthread_mutex_unlock(&process->lock);
    if (last) records_forget(process);
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

/* Records ---------------------------------------------------------------------------------------
 */

/* Take a record out of those of ended coros, and out of the process; its reference is the caller's.
 */
static aco_export *
ended_remove(aco_process *process, aco_export *x)
{
    aco_link_remove(&x->ended);
    process->ended_count--;
    process->ended_bytes -= x->exit != NULL ? aco_msg_size(x->exit) : 0;
    return aco_map_remove(&process->exports, x->key, sizeof x->key);
}

/* Forget outcomes whose time is over, and the oldest while there are too many. Under the lock; what
 * is returned, linked by its `ended`, is freed outside. */
static void
ended_sweep(aco_process *process, aco_link *gone)
{
    aco_time now = aco_now_coarse();

    aco_list_init(gone);
    while (!aco_list_empty(&process->ended)) {
        aco_export *x = ACO_CONTAINER_OF(process->ended.next, aco_export, ended);
        bool crowded =
            process->ended_count > ACO_OUTCOME_COUNT || process->ended_bytes > ACO_OUTCOME_BYTES;
        if (!crowded && x->expires > now) return;
        if (!crowded && atomic_load(&x->refs) > 1) { /* somebody has a handle */
            aco_link_remove(&x->ended);
            x->expires = now + ACO_OUTCOME_KEPT;
            aco_list_append(&process->ended, &x->ended);
            continue;
        }
        aco_list_append(gone, &ended_remove(process, x)->ended);
    }
}

static void
key_write(uint8_t key[12], uint32_t engine, uint64_t serial)
{
    put_big(key, engine, 4);
    put_big(key + 4, serial, 8);
}

int
aco_export_new(aco_seat *seat, uint64_t serial, const char *text, aco_mailbox *mailbox,
               aco_export **made)
{
    aco_process *process = seat->process;
    aco_export *x = calloc(1, sizeof *x);
    aco_link gone;

    if (x != NULL) x->name = strdup(text);
    if (x == NULL || x->name == NULL) {
        free(x);
        return ACO_ENOMEM;
    }
    atomic_init(&x->refs, 2);
    x->engine = seat->number;
    x->serial = serial;
    x->process = aco_process_ref(process);
    x->seat = seat;
    x->monitor_prune = 16;
    key_write(x->key, x->engine, serial);
    aco_list_init(&x->names);
    aco_list_init(&x->monitors);
    aco_list_init(&x->watchers);
    pthread_mutex_lock(&process->lock);
    int err = aco_map_put(&process->exports, x->key, sizeof x->key, x);
    ended_sweep(process, &gone);
    pthread_mutex_unlock(&process->lock);
    gone_free(&gone);
    if (err != ACO_OK) {
        aco_process_unref(process);
        free(x->name);
        free(x);
        return err;
    }
    if (mailbox != NULL) x->mailbox = aco_mailbox_ref(mailbox);
    *made = x;
    return ACO_OK;
}

aco_export *
aco_export_ref(aco_export *x)
{
    atomic_fetch_add_explicit(&x->refs, 1, memory_order_relaxed);
    return x;
}

void
aco_export_unref(aco_export *x)
{
    if (x == NULL || atomic_fetch_sub(&x->refs, 1) != 1) return;
    while (!aco_list_empty(&x->monitors)) {
        monitor *m = ACO_CONTAINER_OF(x->monitors.next, monitor, link);
        aco_link_remove(&m->link);
        aco_mailbox_unref(m->mailbox);
        free(m);
    }
    aco_mailbox_unref(x->mailbox);
    aco_msg_unref(x->exit);
    aco_process_unref(x->process);
    free(x->name);
    free(x);
}

aco_export *
aco_export_find(aco_process *process, uint32_t engine, uint64_t serial)
{
    uint8_t key[12];

    key_write(key, engine, serial);
    pthread_mutex_lock(&process->lock);
    aco_export *x = aco_map_get(&process->exports, key, sizeof key);
    if (x != NULL) aco_export_ref(x);
    pthread_mutex_unlock(&process->lock);
    return x;
}

void
aco_export_identity(const aco_export *x, aco_identity *identity)
{
    memcpy(identity->process, x->process->id, sizeof identity->process);
    identity->engine = x->engine;
    identity->serial = x->serial;
}

/* Give the exit message to everybody who monitored; the list is no longer the record's. */
static void
monitors_tell(aco_link *monitors, aco_msg *exit)
{
    while (!aco_list_empty(monitors)) {
        monitor *m = ACO_CONTAINER_OF(monitors->next, monitor, link);
        aco_link_remove(&m->link);
        aco_parcel *parcel = exit != NULL ? aco_parcel_new(exit, NULL) : NULL;
        if (parcel != NULL && aco_mailbox_post_forced(m->mailbox, parcel) != ACO_OK)
            aco_parcel_free(parcel);
        aco_mailbox_unref(m->mailbox);
        free(m);
    }
}

static void
watchers_tell(aco_link *watchers)
{
    while (!aco_list_empty(watchers)) {
        watcher *w = ACO_CONTAINER_OF(watchers->next, watcher, of_export);
        aco_inbox_post(w->inbox, w->post);
        w->post = NULL;
        watcher_free(w);
    }
}

static void
list_move(aco_link *from, aco_link *to)
{
    aco_list_init(to);
    while (!aco_list_empty(from)) {
        aco_link *link = from->next;
        aco_link_remove(link);
        aco_list_append(to, link);
    }
}

void
aco_export_end(aco_export *x, enum aco_reason reason, aco_msg *exit)
{
    aco_process *process = x->process;
    aco_link names, monitors, watchers, gone;

    pthread_mutex_lock(&process->lock);
    list_move(&x->names, &names);
    for (aco_link *l = names.next; l != &names; l = l->next) {
        name *n = ACO_CONTAINER_OF(l, name, link);
        aco_map_remove(&process->names, n->text, n->size);
    }
    if (!aco_list_empty(&x->monitors) || atomic_load(&x->waiters) > 0)
        atomic_store(&x->observed, true);
    list_move(&x->monitors, &monitors);
    list_move(&x->watchers, &watchers);
    for (aco_link *l = watchers.next; l != &watchers; l = l->next)
        aco_link_remove(&ACO_CONTAINER_OF(l, watcher, of_export)->of_seat);
    x->exit = exit != NULL ? aco_msg_ref(exit) : NULL;
    x->seat = NULL;
    atomic_store(&x->reason, (int)reason);
    x->expires = aco_now_coarse() + ACO_OUTCOME_KEPT;
    aco_list_append(&process->ended, &x->ended);
    process->ended_count++;
    process->ended_bytes += exit != NULL ? aco_msg_size(exit) : 0;
    aco_export_ref(x); /* the sweep may forget it at once */
    ended_sweep(process, &gone);
    pthread_mutex_unlock(&process->lock);
    x->owner = NULL;
    monitors_tell(&monitors, exit);
    watchers_tell(&watchers);
    while (!aco_list_empty(&names)) {
        name *n = ACO_CONTAINER_OF(names.next, name, link);
        aco_link_remove(&n->link);
        free(n);
    }
    gone_free(&gone);
    aco_export_unref(x);
}

aco_msg *
aco_export_exit(aco_export *x)
{
    aco_msg *exit = NULL;

    pthread_mutex_lock(&x->process->lock);
    if (x->exit != NULL) exit = aco_msg_ref(x->exit);
    pthread_mutex_unlock(&x->process->lock);
    return exit;
}

static watcher *
watcher_new(aco_export *x, aco_inbox *inbox)
{
    watcher *w = calloc(1, sizeof *w);
    aco_post *post = calloc(1, sizeof *post);

    if (w == NULL || post == NULL) {
        free(w);
        free(post);
        return NULL;
    }
    post->kind = ACO_POST_EXIT;
    post->object = aco_export_ref(x);
    w->post = post;
    w->inbox = aco_inbox_ref(inbox);
    return w;
}

int
aco_export_watch(aco_export *x, aco_seat *seat)
{
    watcher *w = watcher_new(x, seat->inbox);

    if (w == NULL) return ACO_ENOMEM;
    pthread_mutex_lock(&x->process->lock);
    bool alive = x->seat != NULL;
    if (alive) {
        aco_list_append(&x->watchers, &w->of_export);
        aco_list_append(&seat->watchers, &w->of_seat);
    }
    pthread_mutex_unlock(&x->process->lock);
    if (alive) return ACO_OK;
    watcher_free(w);
    return ACO_ENOTFOUND;
}

/* Monitors end too: forget theirs now and then, so that a long-lived coro does not collect them. */
static void
monitors_prune(aco_export *x, aco_link *gone)
{
    if (x->monitor_count < x->monitor_prune) return;
    for (aco_link *l = x->monitors.next, *next; l != &x->monitors; l = next) {
        next = l->next;
        if (!aco_mailbox_closed(ACO_CONTAINER_OF(l, monitor, link)->mailbox)) continue;
        aco_link_remove(l);
        aco_list_append(gone, l);
        x->monitor_count--;
    }
    x->monitor_prune = 2 * x->monitor_count + 16;
}

static bool
is_monitor(const aco_export *x, const aco_mailbox *mailbox)
{
    for (aco_link *l = x->monitors.next; l != &x->monitors; l = l->next)
        if (ACO_CONTAINER_OF(l, monitor, link)->mailbox == mailbox) return true;
    return false;
}

int
aco_export_monitor(aco_export *x, aco_mailbox *mailbox)
{
    monitor *m = calloc(1, sizeof *m);
    aco_link gone;

    if (m == NULL) return ACO_ENOMEM;
    aco_list_init(&gone);
    m->mailbox = aco_mailbox_ref(mailbox);
    pthread_mutex_lock(&x->process->lock);
    bool alive = x->seat != NULL;
    if (alive && !is_monitor(x, mailbox)) {
        monitors_prune(x, &gone);
        aco_list_append(&x->monitors, &m->link);
        x->monitor_count++;
    } else {
        aco_list_append(&gone, &m->link);
    }
    pthread_mutex_unlock(&x->process->lock);
    monitors_tell(&gone, NULL);
    return alive ? ACO_OK : ACO_ENOTFOUND;
}

bool
aco_export_observed(aco_export *x)
{
    if (atomic_load(&x->observed) || atomic_load(&x->waiters) > 0) return true;
    pthread_mutex_lock(&x->process->lock);
    bool monitored = !aco_list_empty(&x->monitors);
    pthread_mutex_unlock(&x->process->lock);
    return monitored;
}

int
aco_export_post(aco_export *x, aco_post *post)
{
    aco_inbox *inbox = NULL;

    pthread_mutex_lock(&x->process->lock);
    if (x->seat != NULL) inbox = aco_inbox_ref(x->seat->inbox);
    pthread_mutex_unlock(&x->process->lock);
    if (inbox == NULL) {
        aco_post_free(post);
        return ACO_ENOTFOUND;
    }
    int err = aco_inbox_post(inbox, post);
    aco_inbox_unref(inbox);
    return err == ACO_OK ? ACO_OK : ACO_ENOTFOUND;
}

/* Names -----------------------------------------------------------------------------------------
 */

/* Tell the engines in which somebody waits for a name. */
static void
names_tell(aco_process *process)
{
    for (aco_link *l = process->seats.next; l != &process->seats; l = l->next) {
        aco_seat *seat = ACO_CONTAINER_OF(l, aco_seat, link);
        if (seat->awaits_names) aco_inbox_signal(seat->inbox, ACO_POST_NAME, 0, 0, ACO_OK);
    }
}

int
aco_name_register(aco_export *x, const char *text, size_t size)
{
    aco_process *process = x->process;
    name *n = calloc(1, sizeof *n + size);
    int err = ACO_ENOTFOUND;

    if (n == NULL) return ACO_ENOMEM;
    n->x = x;
    n->size = size;
    memcpy(n->text, text, size);
    pthread_mutex_lock(&process->lock);
    const name *known = aco_map_get(&process->names, text, size);
    if (known != NULL)
        err = known->x == x ? ACO_OK : ACO_EEXISTS;
    else if (x->seat != NULL)
        err = aco_map_put(&process->names, n->text, size, n);
    if (known == NULL && err == ACO_OK) {
        aco_list_append(&x->names, &n->link);
        n = NULL;
        names_tell(process);
    }
    pthread_mutex_unlock(&process->lock);
    free(n);
    return err;
}

int
aco_name_unregister(aco_export *x, const char *text, size_t size)
{
    aco_process *process = x->process;

    pthread_mutex_lock(&process->lock);
    name *n = aco_map_get(&process->names, text, size);
    if (n != NULL && n->x != x) n = NULL;
    if (n != NULL) {
        aco_map_remove(&process->names, text, size);
        aco_link_remove(&n->link);
    }
    pthread_mutex_unlock(&process->lock);
    free(n);
    return n != NULL ? ACO_OK : ACO_ENOTFOUND;
}

aco_export *
aco_name_find(aco_process *process, const char *text, size_t size)
{
    pthread_mutex_lock(&process->lock);
    const name *n = aco_map_get(&process->names, text, size);
    aco_export *x = n != NULL ? aco_export_ref(n->x) : NULL;
    pthread_mutex_unlock(&process->lock);
    return x;
}

void
aco_name_await(aco_seat *seat, bool waits)
{
    if (seat->awaits_names == waits) return;
    pthread_mutex_lock(&seat->process->lock);
    seat->awaits_names = waits;
    pthread_mutex_unlock(&seat->process->lock);
}
