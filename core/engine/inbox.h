/* SPDX-License-Identifier: MIT */
/* inbox.h -- what other threads have for an engine: the only door into it.
 *
 * Any thread posts; the engine's thread takes. Posts are never dropped and never wait: what must be
 * bounded (messages) is bounded by its mailbox before it gets here. An inbox outlives its engine as
 * long as somebody holds a reference; then it is closed and refuses. */
#ifndef ACO_INBOX_H
#define ACO_INBOX_H

#include "core/base/buf.h"
#include "core/base/defs.h"

enum aco_post_kind {
    ACO_POST_MAIL,    /* the mailbox at `object` has messages from outside */
    ACO_POST_SPACE,   /* a task that waited to send may try again: `task`, `token` */
    ACO_POST_REPLY,   /* the answer to a call of `task`, wait `token`: `msg` or `err` */
    ACO_POST_NAME,    /* a name has been registered somewhere in the process */
    ACO_POST_ENDED,   /* an engine of this process has ended: `task` is its number */
    ACO_POST_HOST,    /* a message of the host program */
    ACO_POST_SIGNAL,  /* a signal: `err` is its number; in an isolate: end the program */
    ACO_POST_EXIT,    /* a coro that this engine watches has ended: `object` is its aco_export */
    ACO_POST_KILL,    /* terminate the coro of the aco_export at `object` */
    ACO_POST_REQUEST, /* do what `msg` says to the coro at `object`; answer to `from` */
    ACO_POST_REPORT,  /* an engine that this one started has something to say: `msg` is the text */
    ACO_POST_JOB,     /* the aco_job at `object`, an owned reference, has been run */
    ACO_POST_CHANNEL  /* transform a message: `object` is the aco_channel_job */
};

/** One item. Made with malloc by the poster; owned by the inbox, then by the taker (aco_post_free).
 */
typedef struct aco_post {
    struct aco_post *next;
    uint32_t kind;
    int err;
    uint64_t task, token;
    void *object;           /* an owned reference where the kind has one */
    aco_msg *msg;           /* owned, may be NULL */
    struct aco_inbox *from; /* owned, may be NULL: who waits for the answer, as `task`, `token` */
} aco_post;

typedef struct aco_inbox aco_inbox;

/** A new inbox with one reference; NULL without memory or descriptors. */
aco_inbox *aco_inbox_new(void);
aco_inbox *aco_inbox_ref(aco_inbox *inbox);
void aco_inbox_unref(aco_inbox *inbox);

/** Any thread. Takes over the post in every case. ACO_ECLOSED: the engine has ended, the post was
 * freed. */
int aco_inbox_post(aco_inbox *inbox, aco_post *post);

/** Make and post one item without object or message; ACO_ENOMEM too. */
int aco_inbox_signal(aco_inbox *inbox, enum aco_post_kind kind, uint64_t task, uint64_t token,
                     int err);

/** Any thread, and signal handlers: end the engine's current or next poll. */
void aco_inbox_wake(aco_inbox *inbox);

/** Engine's thread: take everything, oldest first; NULL when there is nothing. */
aco_post *aco_inbox_take(aco_inbox *inbox);

/** Any thread: true when there is nothing to take. */
bool aco_inbox_empty(aco_inbox *inbox);

/** Engine's thread, before it blocks: false when there is something to take, so it must not block.
 */
bool aco_inbox_sleep(aco_inbox *inbox);
void aco_inbox_awake(aco_inbox *inbox);

/** Refuse from now on and free what is queued. */
void aco_inbox_close(aco_inbox *inbox);

/** Descriptor that is readable after a post to a sleeping engine; aco_inbox_drain empties it. */
int aco_inbox_fd(const aco_inbox *inbox);
void aco_inbox_drain(aco_inbox *inbox);

/** In a forked child: a wake-up of its own behind the same descriptor. ACO_ESYSTEM. */
ACO_MUSTUSE int aco_inbox_after_fork(aco_inbox *inbox);

void aco_post_free(aco_post *post);

#endif
