/* SPDX-License-Identifier: MIT */
/* mailbox.h -- a task's bounded inbox of messages, first in first out.
 *
 * Entries are words that only the owner's engine understands, put in by its own thread, or encoded
 * messages, alone or in parcels, which any thread may post once the mailbox is shared. Both go
 * through one queue, so that they stay in order of arrival. Until it is shared nothing is locked.
 * References are counted; it outlives its task as long as somebody holds one, and then it is
 * closed. */
#ifndef ACO_MAILBOX_H
#define ACO_MAILBOX_H

#include "core/base/buf.h"
#include "core/engine/inbox.h"
#include "core/engine/task.h"

#define ACO_MAILBOX_COUNT 65536
#define ACO_MAILBOX_BYTES (64u << 20)

/** Where an answer goes: the wait `token` of `task` in the engine behind `inbox`. */
typedef struct aco_return {
    aco_inbox *inbox; /* owned reference, NULL: nobody waits */
    uint64_t task, token;
} aco_return;

/** An encoded message from another thread. */
typedef struct aco_parcel {
    aco_msg *msg; /* owned reference */
    aco_return reply;
} aco_parcel;

enum { ACO_ENTRY_PARCEL = 0, ACO_ENTRY_MSG = UINT8_MAX };

typedef struct aco_entry {
    uint32_t tag;
    uint32_t size; /* bytes that count against the limit; 0 for words */
    union {
        uint64_t word;
        int64_t integer;
        double number;
        aco_parcel *parcel; /* owned */
        aco_msg *msg;       /* owned reference */
    } u;
} aco_entry;

/** A new mailbox of `task` for `limit` entries (0: the default); NULL without memory. */
aco_mailbox *aco_mailbox_new(aco_task *task, size_t limit);
aco_mailbox *aco_mailbox_ref(aco_mailbox *mb);
void aco_mailbox_unref(aco_mailbox *mb);

/** Owner's thread: from now on other threads may post; they wake the engine through `inbox`. */
void aco_mailbox_share(aco_mailbox *mb, aco_inbox *inbox);

/** Owner's thread: append. Takes over the entry on ACO_OK only. ACO_EBUSY: full. ACO_ENOMEM. */
ACO_MUSTUSE int aco_mailbox_push(aco_mailbox *mb, aco_entry entry);

/** Owner's thread: would a push only have to append? May say false all the same. If true,
 * aco_mailbox_append is the short way of one push. */
bool aco_mailbox_roomy(const aco_mailbox *mb);
void aco_mailbox_append(aco_mailbox *mb, aco_entry entry);

/** Owner's thread: take the oldest entry; false when there is none. Senders that waited are woken.
 */
bool aco_mailbox_pop(aco_loop *loop, aco_mailbox *mb, aco_entry *entry);

/** Owner's thread: a pop would find nothing and change nothing. May say false all the same. */
bool aco_mailbox_idle(const aco_mailbox *mb);

/** Owner's thread: nothing is in it that another thread has posted. */
bool aco_mailbox_vacant(aco_mailbox *mb);

/** Any thread, of a shared mailbox: append. Takes over the parcel on ACO_OK only.
 *  ACO_EBUSY: full; then `waiter`, when not NULL, gets one ACO_POST_SPACE once there is room.
 * ACO_ECLOSED: the task has ended. ACO_ENOMEM. */
ACO_MUSTUSE int aco_mailbox_post(aco_mailbox *mb, aco_parcel *parcel, const aco_return *waiter);

/** Any thread, of a shared mailbox: append beyond every limit (exit messages). */
ACO_MUSTUSE int aco_mailbox_post_forced(aco_mailbox *mb, aco_parcel *parcel);

/** The same two, with a message that is not to be answered: the mailbox takes a reference of its
 * own on ACO_OK. */
ACO_MUSTUSE int aco_mailbox_post_msg(aco_mailbox *mb, aco_msg *msg, const aco_return *waiter);
ACO_MUSTUSE int aco_mailbox_post_msg_forced(aco_mailbox *mb, aco_msg *msg);

/** Let go of an entry that has been popped. Words are their engine's. */
void aco_entry_free(const aco_entry *entry);

/** Somebody who wants to know, once, that there is room: `tell` is called by the thread that has
 * made it, or has closed the mailbox, with no lock held. */
typedef struct aco_room {
    struct aco_room *next;
    void (*tell)(struct aco_room *room);
} aco_room;

/** Any thread, of a shared mailbox: false when half of it is free, or it is closed; then `room` is
 * not told. */
bool aco_mailbox_await(aco_mailbox *mb, aco_room *room);

/** Any thread: `waiter` waits for room no more. */
void aco_mailbox_forget(aco_mailbox *mb, const aco_return *waiter);

/** Any thread: the task has ended. */
bool aco_mailbox_closed(aco_mailbox *mb);

/** Owner's thread, at the end of the task: refuse from now on; wake all who wait to send. What is
 * queued can still be popped. */
void aco_mailbox_close(aco_loop *loop, aco_mailbox *mb);

/** Owner's thread: while forced, a push does not mind the limit (for what must not be lost: exit
 * messages). */
void aco_mailbox_force(aco_mailbox *mb, bool force);

size_t aco_mailbox_count(aco_mailbox *mb);
bool aco_mailbox_full(aco_mailbox *mb);
bool aco_mailbox_shared(const aco_mailbox *mb);

/** The queue in which local senders wait for room. One that is woken with ACO_OK has a place kept
 * for it: it gives the promise back (redeem), appends at once, and says that it has (redeemed). */
aco_waitq *aco_mailbox_space(aco_mailbox *mb);
void aco_mailbox_redeem(aco_mailbox *mb);
void aco_mailbox_redeemed(aco_loop *loop, aco_mailbox *mb);

/** Owner's thread: local senders wait for room. Those that have been woken do not count: their
 * places are kept, so others may take what is left without a wait. */
bool aco_mailbox_awaited(aco_mailbox *mb);

/** The owner's engine, with an ACO_POST_MAIL that is in no list any more: its mailbox, with the
 * reference that the notice had. The notice is a part of the mailbox and gone; from here on the
 * next message makes a new one, so the mailbox is to be looked at after this. */
aco_mailbox *aco_mailbox_noticed(aco_post *notice);

/** Owner's thread: whose mailbox it is, NULL after the end of the task. */
aco_task *aco_mailbox_task(const aco_mailbox *mb);

aco_parcel *aco_parcel_new(aco_msg *msg, const aco_return *reply);
void aco_parcel_free(aco_parcel *parcel);

#endif
