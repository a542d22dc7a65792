/* SPDX-License-Identifier: MIT */
/* export.c -- records of what is known beyond its engine, and of what is known of other processes;
 * names that lead to them. */
#include "core/base/clock.h"
#include "core/base/error.h"
#include "core/base/msgpack.h"
#include "core/engine/gate.h"
#include "core/engine/process_state.h"

#include <stdlib.h>
#include <string.h>

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

/* Records of this process are found by the part of their identity that the process does not say:
 * that is another after a fork. */
#define KEY(x) ((x)->key + 16)
enum { KEY_SIZE = ACO_IDENTITY_SIZE - 16 };

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

void
aco_exports_forget(aco_process *process)
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

void
aco_seat_unwatch(aco_seat *seat)
{
    while (!aco_list_empty(&seat->watchers))
        watcher_free(ACO_CONTAINER_OF(seat->watchers.next, watcher, of_seat));
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
    return aco_map_remove(&process->exports, KEY(x), KEY_SIZE);
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

static aco_export *
record_new(aco_process *process, const aco_identity *identity, enum aco_kind kind, const char *text)
{
    aco_export *x = calloc(1, sizeof *x);

    if (x != NULL) x->name = strdup(text);
    if (x == NULL || x->name == NULL) {
        free(x);
        return NULL;
    }
    x->kind = (uint8_t)kind;
    x->engine = identity->engine;
    x->serial = identity->serial;
    x->process = aco_process_ref(process);
    x->monitor_prune = 16;
    aco_identity_write(identity, x->key);
    aco_list_init(&x->names);
    aco_list_init(&x->monitors);
    aco_list_init(&x->watchers);
    return x;
}

/* The record and what it owns; it is in nothing any more. */
static void
record_free(aco_export *x)
{
    while (!aco_list_empty(&x->monitors)) {
        monitor *m = ACO_CONTAINER_OF(x->monitors.next, monitor, link);
        aco_link_remove(&m->link);
        aco_mailbox_unref(m->mailbox);
        free(m);
    }
    if (x->mailbox != NULL) aco_mailbox_unref(x->mailbox);
    aco_msg_unref(x->exit);
    aco_process_unref(x->process);
    free(x->name);
    free(x->route);
    free(x);
}

int
aco_export_new(aco_seat *seat, enum aco_kind kind, uint64_t serial, const char *text,
               aco_mailbox *mailbox, aco_export **made)
{
    aco_process *process = seat->process;
    aco_identity identity = {.engine = seat->number, .serial = serial};
    aco_link gone;

    memcpy(identity.process, process->id, sizeof identity.process);
    aco_export *x = record_new(process, &identity, kind, text);
    if (x == NULL) return ACO_ENOMEM;
    atomic_init(&x->refs, 2);
    x->seat = seat;
    pthread_mutex_lock(&process->lock);
    int err = aco_map_put(&process->exports, KEY(x), KEY_SIZE, x);
    ended_sweep(process, &gone);
    pthread_mutex_unlock(&process->lock);
    gone_free(&gone);
    if (err != ACO_OK) {
        record_free(x);
        return err;
    }
    if (mailbox != NULL) x->mailbox = aco_mailbox_ref(mailbox);
    *made = x;
    return ACO_OK;
}

/* Under the lock: a reference to the record in the map, unless its last one is just being given
 * back. */
static aco_export *
far_get(const aco_process *process, const uint8_t key[ACO_IDENTITY_SIZE])
{
    aco_export *x = aco_map_get(&process->fars, key, ACO_IDENTITY_SIZE);
    unsigned refs = x != NULL ? atomic_load(&x->refs) : 0;

    while (refs != 0)
        if (atomic_compare_exchange_weak(&x->refs, &refs, refs + 1)) return x;
    return NULL;
}

static aco_export *
far_new(aco_process *process, const aco_identity *identity, enum aco_kind kind, const char *route,
        const char *text)
{
    aco_export *x = record_new(process, identity, kind, text);

    if (x == NULL) return NULL;
    x->far = true;
    x->route = strdup(route);
    atomic_init(&x->refs, 1);
    if (x->route != NULL) return x;
    record_free(x);
    return NULL;
}

aco_export *
aco_export_far(aco_process *process, const aco_identity *identity, enum aco_kind kind,
               const char *route, const char *text)
{
    uint8_t key[ACO_IDENTITY_SIZE];

    aco_identity_write(identity, key);
    pthread_mutex_lock(&process->lock);
    aco_export *x = far_get(process, key);
    pthread_mutex_unlock(&process->lock);
    if (x != NULL) return x;
    aco_export *made = far_new(process, identity, kind, route, text);
    if (made == NULL) return NULL;
    pthread_mutex_lock(&process->lock);
    x = far_get(process, key); /* made by another engine meanwhile */
    if (x == NULL) {
        aco_map_remove(&process->fars, key, sizeof key);
        if (aco_map_put(&process->fars, made->key, sizeof made->key, made) == ACO_OK) x = made;
    }
    pthread_mutex_unlock(&process->lock);
    if (x != made) record_free(made);
    return x;
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
    if (x->far) {
        pthread_mutex_lock(&x->process->lock);
        if (aco_map_get(&x->process->fars, x->key, sizeof x->key) == x)
            aco_map_remove(&x->process->fars, x->key, sizeof x->key);
        pthread_mutex_unlock(&x->process->lock);
    }
    record_free(x);
}

aco_export *
aco_export_find(aco_process *process, uint32_t engine, uint64_t serial)
{
    aco_identity identity = {.engine = engine, .serial = serial};
    uint8_t key[ACO_IDENTITY_SIZE];

    aco_identity_write(&identity, key);
    pthread_mutex_lock(&process->lock);
    aco_export *x = aco_map_get(&process->exports, key + 16, KEY_SIZE);
    if (x != NULL) aco_export_ref(x);
    pthread_mutex_unlock(&process->lock);
    return x;
}

void
aco_export_identity(const aco_export *x, aco_identity *identity)
{
    aco_identity_read(identity, x->key);
    if (!x->far) memcpy(identity->process, x->process->id, sizeof identity->process);
}

size_t
aco_export_value(const aco_export *x, uint8_t out[ACO_HANDLE_VALUE_MAX])
{
    aco_identity identity;
    uint8_t key[ACO_IDENTITY_SIZE], handle[ACO_HANDLE_MAX];

    aco_export_identity(x, &identity);
    aco_identity_write(&identity, key);
    size_t size =
        aco_handle_write(key, x->far ? x->route : aco_process_route(x->process), x->name, handle);
    uint8_t *at = aco_mp_ext(out, (int8_t)(ACO_KIND_CORO + 1 + x->kind), (uint32_t)size);
    memcpy(at, handle, size);
    return (size_t)(at + size - out);
}

/* Give the exit message to everybody who monitored; the list is no longer the record's. */
static void
monitors_tell(aco_link *monitors, aco_msg *exit)
{
    while (!aco_list_empty(monitors)) {
        monitor *m = ACO_CONTAINER_OF(monitors->next, monitor, link);
        aco_link_remove(&m->link);
        /* one whose task has ended wants it no more */
        int err = exit != NULL ? aco_mailbox_post_msg_forced(m->mailbox, exit) : ACO_OK;
        (void)err;
        aco_mailbox_unref(m->mailbox);
        free(m);
    }
}

static void
watchers_tell(aco_link *watchers, int err)
{
    while (!aco_list_empty(watchers)) {
        watcher *w = ACO_CONTAINER_OF(watchers->next, watcher, of_export);
        w->post->err = err;
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

static bool
is_alive(const aco_export *x)
{
    return atomic_load(&x->reason) == ACO_ALIVE;
}

/* Who wants to know of the end of a record, taken from it under the lock. */
struct audience {
    aco_link names, monitors, watchers;
};

static void
audience_take(aco_export *x, struct audience *audience)
{
    list_move(&x->monitors, &audience->monitors);
    list_move(&x->watchers, &audience->watchers);
    x->monitor_count = 0;
    x->asked = false;
    for (aco_link *l = audience->watchers.next; l != &audience->watchers; l = l->next)
        aco_link_remove(&ACO_CONTAINER_OF(l, watcher, of_export)->of_seat);
}

/* Under the lock: the outcome is kept for a while. */
static void
outcome_keep(aco_process *process, aco_export *x, aco_link *gone)
{
    x->expires = aco_now_coarse() + ACO_OUTCOME_KEPT;
    aco_list_append(&process->ended, &x->ended);
    process->ended_count++;
    process->ended_bytes += x->exit != NULL ? aco_msg_size(x->exit) : 0;
    ended_sweep(process, gone);
}

/* Under the lock. */
static void
names_take(aco_process *process, aco_export *x, aco_link *names)
{
    list_move(&x->names, names);
    for (aco_link *l = names->next; l != names; l = l->next) {
        name *n = ACO_CONTAINER_OF(l, name, link);
        aco_map_remove(&process->names, n->text, n->size);
    }
}

static void
names_free(aco_link *names)
{
    while (!aco_list_empty(names)) {
        name *n = ACO_CONTAINER_OF(names->next, name, link);
        aco_link_remove(&n->link);
        free(n);
    }
}

void
aco_export_end(aco_export *x, enum aco_reason reason, aco_msg *exit)
{
    aco_process *process = x->process;
    struct audience audience;
    aco_link gone;

    aco_list_init(&gone);
    aco_export_ref(x); /* the sweep may forget it at once */
    pthread_mutex_lock(&process->lock);
    if (!is_alive(x)) {
        pthread_mutex_unlock(&process->lock);
        aco_export_unref(x);
        return;
    }
    names_take(process, x, &audience.names);
    if (!aco_list_empty(&x->monitors) || atomic_load(&x->waiters) > 0)
        atomic_store(&x->observed, true);
    audience_take(x, &audience);
    x->exit = exit != NULL ? aco_msg_ref(exit) : NULL;
    x->seat = NULL;
    atomic_store(&x->reason, (int)reason);
    if (!x->far) outcome_keep(process, x, &gone);
    pthread_mutex_unlock(&process->lock);
    if (!x->far) x->owner = NULL;
    monitors_tell(&audience.monitors, exit);
    watchers_tell(&audience.watchers, ACO_OK);
    names_free(&audience.names);
    gone_free(&gone);
    aco_export_unref(x);
}

void
aco_export_lost(aco_export *x, aco_msg *exit)
{
    struct audience audience;

    pthread_mutex_lock(&x->process->lock);
    audience_take(x, &audience);
    pthread_mutex_unlock(&x->process->lock);
    monitors_tell(&audience.monitors, exit);
    watchers_tell(&audience.watchers, ACO_EPEERDOWN);
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

/* Under the lock: is the gate to be asked to watch? */
static bool
must_ask(aco_export *x)
{
    bool first = x->far && !x->asked;

    x->asked = x->far;
    return first;
}

/* Have the gate watch; what comes of it comes as an end or a loss. */
static int
ask(aco_export *x)
{
    aco_gate *gate = aco_process_gate(x->process);

    if (gate != NULL) return gate->ops->watch(gate, x);
    aco_export_lost(x, NULL);
    return ACO_OK;
}

int
aco_export_watch(aco_export *x, aco_seat *seat)
{
    watcher *w = watcher_new(x, seat->inbox);
    bool asks = false;

    if (w == NULL) return ACO_ENOMEM;
    pthread_mutex_lock(&x->process->lock);
    bool alive = is_alive(x);
    if (alive) {
        aco_list_append(&x->watchers, &w->of_export);
        aco_list_append(&seat->watchers, &w->of_seat);
        asks = must_ask(x);
    }
    pthread_mutex_unlock(&x->process->lock);
    if (alive) return asks ? ask(x) : ACO_OK;
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
    bool asks = false;

    if (m == NULL) return ACO_ENOMEM;
    aco_list_init(&gone);
    m->mailbox = aco_mailbox_ref(mailbox);
    pthread_mutex_lock(&x->process->lock);
    bool alive = is_alive(x);
    if (alive && !is_monitor(x, mailbox)) {
        monitors_prune(x, &gone);
        aco_list_append(&x->monitors, &m->link);
        x->monitor_count++;
        asks = must_ask(x);
    } else {
        aco_list_append(&gone, &m->link);
    }
    pthread_mutex_unlock(&x->process->lock);
    monitors_tell(&gone, NULL);
    if (asks) return ask(x);
    return alive ? ACO_OK : ACO_ENOTFOUND;
}

bool
aco_export_watched(aco_export *x)
{
    pthread_mutex_lock(&x->process->lock);
    bool watched = x->asked;
    pthread_mutex_unlock(&x->process->lock);
    return watched;
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
    aco_gate *gate = x->far ? aco_process_gate(x->process) : NULL;

    if (gate != NULL) return gate->ops->post(gate, x, post);
    pthread_mutex_lock(&x->process->lock);
    if (x->seat != NULL) inbox = aco_inbox_ref(x->seat->inbox);
    pthread_mutex_unlock(&x->process->lock);
    if (inbox == NULL) {
        aco_post_free(post);
        return x->far ? ACO_EPEERDOWN : ACO_ENOTFOUND;
    }
    int err = aco_inbox_post(inbox, post);
    aco_inbox_unref(inbox);
    return err == ACO_OK ? ACO_OK : ACO_ENOTFOUND;
}

int
aco_export_put(aco_export *x, aco_parcel *parcel, int how, const aco_return *waiter)
{
    if (x->mailbox != NULL) {
        int err = aco_mailbox_post(x->mailbox, parcel, waiter);
        return err == ACO_ECLOSED ? ACO_ENOTFOUND : err;
    }
    if (!x->far) return ACO_ENOTFOUND;
    if (!is_alive(x)) return ACO_ENOTFOUND;
    aco_gate *gate = aco_process_gate(x->process);
    return gate != NULL ? gate->ops->put(gate, x, parcel, (enum aco_put)how, waiter)
                        : ACO_EPEERDOWN;
}

bool
aco_export_send(aco_export *x, const void *data, size_t size)
{
    if (!x->far || !is_alive(x)) return false;
    aco_gate *gate = aco_process_gate(x->process);
    return gate != NULL && gate->ops->send(gate, x, data, size);
}

void
aco_export_forget(aco_export *x, const aco_return *who)
{
    aco_gate *gate = x->far ? aco_process_gate(x->process) : NULL;

    if (x->mailbox != NULL) aco_mailbox_forget(x->mailbox, who);
    if (gate != NULL) gate->ops->forget(gate, x, who);
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
