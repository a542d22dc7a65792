/* SPDX-License-Identifier: MIT */
#include "core/engine/mailbox.h"
#include "core/base/error.h"
#include "core/engine/loop.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

typedef struct waiter {
    struct waiter *next;
    aco_return who;
} waiter;

struct aco_mailbox {
    atomic_uint refs;
    bool shared;     /* set once, by the owner's thread, before the mailbox is shown to another */
    aco_task *task;  /* owner's thread only; NULL after its end */
    aco_waitq space; /* owner's thread only */
    pthread_mutex_t lock; /* taken only when shared; guards what follows */
    bool closed, notified, forced;
    uint32_t head, count, capacity; /* a ring; capacity is a power of two */
    uint32_t promised;              /* places kept for local senders that were woken for them */
    aco_entry *ring;
    size_t limit, bytes;
    aco_inbox *inbox; /* owned reference; NULL again at the end of the task */
    aco_post notice;  /* under way while `notified`, with a reference to this mailbox */
    waiter *waiters;  /* senders of other engines that wait for room, newest first */
    aco_room *rooms;  /* others who are to be told */
};

aco_mailbox *
aco_mailbox_new(aco_task *task, size_t limit)
{
    aco_mailbox *mb = calloc(1, sizeof *mb);

    if (mb == NULL) return NULL;
    atomic_init(&mb->refs, 1);
    mb->task = task;
    mb->limit = limit ? limit : ACO_MAILBOX_COUNT;
    aco_list_init(&mb->space);
    pthread_mutex_init(&mb->lock, NULL);
    return mb;
}

aco_mailbox *
aco_mailbox_ref(aco_mailbox *mb)
{
    atomic_fetch_add_explicit(&mb->refs, 1, memory_order_relaxed);
    return mb;
}

void
aco_mailbox_unref(aco_mailbox *mb)
{
    if (mb == NULL || atomic_fetch_sub(&mb->refs, 1) != 1) return;
    for (uint32_t i = 0; i < mb->count; i++) {
        aco_entry *entry = &mb->ring[(mb->head + i) & (mb->capacity - 1)];
        aco_entry_free(entry);
    }
    while (mb->waiters != NULL) {
        waiter *w = mb->waiters;
        mb->waiters = w->next;
        aco_inbox_unref(w->who.inbox);
        free(w);
    }
    if (mb->inbox != NULL) aco_inbox_unref(mb->inbox);
    pthread_mutex_destroy(&mb->lock);
    free(mb->ring);
    free(mb);
}

static void
mailbox_lock(aco_mailbox *mb)
{
    if (mb->shared) pthread_mutex_lock(&mb->lock);
}

static void
mailbox_unlock(aco_mailbox *mb)
{
    if (mb->shared) pthread_mutex_unlock(&mb->lock);
}

void
aco_mailbox_share(aco_mailbox *mb, aco_inbox *inbox)
{
    if (mb->shared) return;
    mb->inbox = aco_inbox_ref(inbox);
    mb->shared = true;
}

static bool
mailbox_is_full(const aco_mailbox *mb)
{
    return !mb->forced && (mb->count + mb->promised >= mb->limit || mb->bytes >= ACO_MAILBOX_BYTES);
}

static int
mailbox_grow(aco_mailbox *mb)
{
    uint32_t capacity = mb->capacity ? mb->capacity * 2 : 8;
    aco_entry *ring = malloc(capacity * sizeof *ring);

    if (ring == NULL) return ACO_ENOMEM;
    for (uint32_t i = 0; i < mb->count; i++)
        ring[i] = mb->ring[(mb->head + i) & (mb->capacity - 1)];
    free(mb->ring);
    mb->ring = ring;
    mb->capacity = capacity;
    mb->head = 0;
    return ACO_OK;
}

bool
aco_mailbox_roomy(const aco_mailbox *mb)
{
    return !mb->shared && !mb->closed && mb->count < mb->capacity &&
           mb->count + mb->promised < mb->limit && mb->bytes < ACO_MAILBOX_BYTES &&
           aco_list_empty(&mb->space);
}

void
aco_mailbox_append(aco_mailbox *mb, aco_entry entry)
{
    mb->ring[(mb->head + mb->count++) & (mb->capacity - 1)] = entry;
    mb->bytes += entry.size;
}

static int
mailbox_try(aco_mailbox *mb, aco_entry entry)
{
    if (mb->closed) return ACO_ECLOSED;
    if (mailbox_is_full(mb)) return ACO_EBUSY;
    if (mb->count == mb->capacity && mailbox_grow(mb) != ACO_OK) return ACO_ENOMEM;
    aco_mailbox_append(mb, entry);
    return ACO_OK;
}

int
aco_mailbox_push(aco_mailbox *mb, aco_entry entry)
{
    mailbox_lock(mb);
    int err = mailbox_try(mb, entry);
    mailbox_unlock(mb);
    return err;
}

static int
mailbox_add_waiter(aco_mailbox *mb, const aco_return *who)
{
    waiter *w = malloc(sizeof *w);

    if (w == NULL) return ACO_ENOMEM;
    w->who = *who;
    aco_inbox_ref(w->who.inbox);
    w->next = mb->waiters;
    mb->waiters = w;
    return ACO_EBUSY;
}

/* Append an entry and wake the owner's engine, once until it has looked. */
static int
mailbox_post(aco_mailbox *mb, aco_entry entry, const aco_return *who, bool forced)
{
    aco_inbox *inbox = NULL;

    assert(mb->shared);
    pthread_mutex_lock(&mb->lock);
    bool was_forced = mb->forced;
    mb->forced |= forced;
    int err = mailbox_try(mb, entry);
    mb->forced = was_forced;
    if (err == ACO_EBUSY && who != NULL) err = mailbox_add_waiter(mb, who);
    if (err == ACO_OK && !mb->notified) {
        mb->notified = true;
        inbox = aco_inbox_ref(mb->inbox);
    }
    pthread_mutex_unlock(&mb->lock);
    if (inbox == NULL) return err;
    mb->notice = (aco_post){.kind = ACO_POST_MAIL, .object = aco_mailbox_ref(mb)};
    aco_inbox_post(inbox,
                   &mb->notice); /* closed: the task ends with its engine, the message with it */
    aco_inbox_unref(inbox);
    return ACO_OK;
}

static aco_entry
parcel_entry(aco_parcel *parcel)
{
    return (aco_entry){
        .tag = ACO_ENTRY_PARCEL, .size = (uint32_t)aco_msg_size(parcel->msg), .u.parcel = parcel};
}

int
aco_mailbox_post(aco_mailbox *mb, aco_parcel *parcel, const aco_return *who)
{
    return mailbox_post(mb, parcel_entry(parcel), who, false);
}

int
aco_mailbox_post_forced(aco_mailbox *mb, aco_parcel *parcel)
{
    return mailbox_post(mb, parcel_entry(parcel), NULL, true);
}

static int
msg_post(aco_mailbox *mb, aco_msg *msg, const aco_return *who, bool forced)
{
    aco_entry entry = {
        .tag = ACO_ENTRY_MSG, .size = (uint32_t)aco_msg_size(msg), .u.msg = aco_msg_ref(msg)};
    int err = mailbox_post(mb, entry, who, forced);

    if (err != ACO_OK) aco_msg_unref(msg);
    return err;
}

int
aco_mailbox_post_msg(aco_mailbox *mb, aco_msg *msg, const aco_return *who)
{
    return msg_post(mb, msg, who, false);
}

int
aco_mailbox_post_msg_forced(aco_mailbox *mb, aco_msg *msg)
{
    return msg_post(mb, msg, NULL, true);
}

void
aco_entry_free(const aco_entry *entry)
{
    if (entry->tag == ACO_ENTRY_PARCEL)
        aco_parcel_free(entry->u.parcel);
    else if (entry->tag == ACO_ENTRY_MSG)
        aco_msg_unref(entry->u.msg);
}

void
aco_mailbox_forget(aco_mailbox *mb, const aco_return *who)
{
    waiter *gone = NULL;

    pthread_mutex_lock(&mb->lock);
    for (waiter **at = &mb->waiters; *at != NULL;) {
        waiter *w = *at;
        bool is_who =
            w->who.inbox == who->inbox && w->who.task == who->task && w->who.token == who->token;
        if (!is_who) {
            at = &w->next;
            continue;
        }
        *at = w->next;
        w->next = gone;
        gone = w;
    }
    pthread_mutex_unlock(&mb->lock);
    while (gone != NULL) {
        waiter *w = gone;
        gone = w->next;
        aco_inbox_unref(w->who.inbox);
        free(w);
    }
}

bool
aco_mailbox_closed(aco_mailbox *mb)
{
    mailbox_lock(mb);
    bool closed = mb->closed;
    mailbox_unlock(mb);
    return closed;
}

/* Tell every sender of another engine that it may try again. */
static void
waiters_tell(waiter *list)
{
    while (list != NULL) {
        waiter *w = list;
        list = w->next;
        aco_inbox_signal(w->who.inbox, ACO_POST_SPACE, w->who.task, w->who.token, ACO_OK);
        aco_inbox_unref(w->who.inbox);
        free(w);
    }
}

static waiter *
mailbox_take_waiters(aco_mailbox *mb)
{
    waiter *taken = NULL;

    while (mb->waiters != NULL) { /* oldest first again */
        waiter *w = mb->waiters;
        mb->waiters = w->next;
        w->next = taken;
        taken = w;
    }
    return taken;
}

static bool
mailbox_is_roomy(const aco_mailbox *mb)
{
    return mb->count <= mb->limit / 2 && mb->bytes <= ACO_MAILBOX_BYTES / 2;
}

/* Once half of it is free: wake as many local senders as there are places, and keep the places. */
static void
mailbox_admit(aco_loop *loop, aco_mailbox *mb)
{
    size_t woken = 0, places = 0;

    mailbox_lock(mb);
    if (mailbox_is_roomy(mb) && mb->count + mb->promised < mb->limit)
        places = mb->limit - mb->count - mb->promised;
    for (aco_link *at = mb->space.next; at != &mb->space && woken < places; at = at->next)
        woken++;
    mb->promised += (uint32_t)woken;
    mailbox_unlock(mb);
    while (woken-- > 0)
        aco_waitq_wake_one(loop, &mb->space, ACO_OK);
}

void
aco_mailbox_redeem(aco_mailbox *mb)
{
    mailbox_lock(mb);
    mb->promised--;
    mailbox_unlock(mb);
}

void
aco_mailbox_redeemed(aco_loop *loop, aco_mailbox *mb)
{
    if (!aco_list_empty(&mb->space)) mailbox_admit(loop, mb);
}

bool
aco_mailbox_awaited(aco_mailbox *mb)
{
    return !aco_list_empty(&mb->space);
}

static void
rooms_tell(aco_room *list)
{
    while (list != NULL) {
        aco_room *room = list;
        list = room->next;
        room->tell(room);
    }
}

bool
aco_mailbox_await(aco_mailbox *mb, aco_room *room)
{
    pthread_mutex_lock(&mb->lock);
    bool waits = !mb->closed && !mailbox_is_roomy(mb);
    if (waits) {
        room->next = mb->rooms;
        mb->rooms = room;
    }
    pthread_mutex_unlock(&mb->lock);
    return waits;
}

bool
aco_mailbox_idle(const aco_mailbox *mb)
{
    return !mb->shared && mb->count == 0 && aco_list_empty(&mb->space);
}

static bool
mailbox_take(aco_mailbox *mb, aco_entry *entry)
{
    if (mb->count == 0) return false;
    *entry = mb->ring[mb->head];
    mb->head = (mb->head + 1) & (mb->capacity - 1);
    mb->count--;
    mb->bytes -= entry->size;
    return true;
}

bool
aco_mailbox_vacant(aco_mailbox *mb)
{
    return !mb->shared || aco_mailbox_count(mb) == 0;
}

bool
aco_mailbox_pop(aco_loop *loop, aco_mailbox *mb, aco_entry *entry)
{
    waiter *woken = NULL;
    aco_room *rooms = NULL;

    if (!mb->shared && aco_list_empty(&mb->space)) return mailbox_take(mb, entry);
    mailbox_lock(mb);
    bool found = mailbox_take(mb, entry);
    if (found && mb->waiters != NULL && mailbox_is_roomy(mb)) woken = mailbox_take_waiters(mb);
    if (found && mb->rooms != NULL && mailbox_is_roomy(mb)) {
        rooms = mb->rooms;
        mb->rooms = NULL;
    }
    mailbox_unlock(mb);
    if (!aco_list_empty(&mb->space)) mailbox_admit(loop, mb);
    waiters_tell(woken);
    rooms_tell(rooms);
    return found;
}

void
aco_mailbox_close(aco_loop *loop, aco_mailbox *mb)
{
    mailbox_lock(mb);
    mb->closed = true;
    waiter *woken = mailbox_take_waiters(mb);
    aco_room *rooms = mb->rooms;
    mb->rooms = NULL;
    aco_inbox *inbox = mb->inbox; /* who keeps a handle of the ended task keeps no descriptor */
    mb->inbox = NULL;
    mailbox_unlock(mb);
    if (inbox != NULL) aco_inbox_unref(inbox);
    mb->task = NULL;
    aco_waitq_wake_all(loop, &mb->space, ACO_ENOTFOUND);
    waiters_tell(woken);
    rooms_tell(rooms);
}

void
aco_mailbox_force(aco_mailbox *mb, bool force)
{
    mailbox_lock(mb);
    mb->forced = force;
    mailbox_unlock(mb);
}

size_t
aco_mailbox_count(aco_mailbox *mb)
{
    mailbox_lock(mb);
    size_t count = mb->count;
    mailbox_unlock(mb);
    return count;
}

bool
aco_mailbox_full(aco_mailbox *mb)
{
    mailbox_lock(mb);
    bool full = mailbox_is_full(mb);
    mailbox_unlock(mb);
    return full;
}

bool
aco_mailbox_shared(const aco_mailbox *mb)
{
    return mb->shared;
}

aco_waitq *
aco_mailbox_space(aco_mailbox *mb)
{
    return &mb->space;
}

aco_mailbox *
aco_mailbox_noticed(aco_post *notice)
{
    aco_mailbox *mb = notice->object;

    mailbox_lock(mb);
    mb->notified = false;
    mailbox_unlock(mb);
    return mb;
}

aco_task *
aco_mailbox_task(const aco_mailbox *mb)
{
    return mb->task;
}

aco_parcel *
aco_parcel_new(aco_msg *msg, const aco_return *reply)
{
    aco_parcel *parcel = calloc(1, sizeof *parcel);

    if (parcel == NULL) return NULL;
    parcel->msg = aco_msg_ref(msg);
    if (reply != NULL && reply->inbox != NULL) {
        parcel->reply = *reply;
        aco_inbox_ref(reply->inbox);
    }
    return parcel;
}

void
aco_parcel_free(aco_parcel *parcel)
{
    if (parcel == NULL) return;
    aco_msg_unref(parcel->msg);
    if (parcel->reply.inbox != NULL) aco_inbox_unref(parcel->reply.inbox);
    free(parcel);
}
