/* SPDX-License-Identifier: MIT */
/* channel.h -- named broadcast: what is published on a channel reaches every subscriber.
 *
 * A channel has a home, the engine that made it. Its subscribers are mailboxes of coros of any
 * engine of this process, other channels of this process, and other processes, each of them once:
 * there a replica of the channel, an aco_channel too, has the subscribers that live there. A coro
 * or channel of another process is subscribed by that process (aco_channel_ask), to its replica.
 *
 * Who publishes fans out: an engine hands the message to its own coros by itself, posts it to those
 * of others, and queues one frame for each process. What came from another process is fanned out by
 * the thread that brings it. Only a transform runs at home: the message goes there as a post
 * (ACO_POST_CHANNEL) and comes back by aco_channel_job_done.
 *
 * Nothing is lost and nothing grows without bound: an engine that publishes waits for room where
 * there is none. What comes from elsewhere is put even into a full mailbox; then the channel is
 * clogged, and whoever publishes on it from elsewhere is held back until there is room.
 *
 * Any thread may call what is here. There is one lock for all channels of a process; nothing is
 * called with it held that could call back, the gate least of all (see aco_channels_flush). */
#ifndef ACO_CHANNEL_H
#define ACO_CHANNEL_H

#include "core/engine/process.h"

typedef struct aco_channel aco_channel;
typedef struct aco_ticket aco_ticket;
typedef struct aco_channel_job aco_channel_job;

/** A message that went through so many channels goes in a circle. So many messages wait for a
 * transform at most. So many questions of one process may be open, and so many bytes of its
 * messages wait for subscribers. So many bytes are taken from one that was told to hold back, since
 * they were under way: who sends more does not obey. */
enum {
    ACO_CHANNEL_HOPS = 16,
    ACO_CHANNEL_QUEUE = 1024,
    ACO_CHANNEL_ASKED = 4096,
    ACO_CHANNEL_AWAIT = 64 << 20,
    ACO_CHANNEL_OVER = 256 << 20
};

/* Channels --------------------------------------------------------------------------------------
 */

/** The engine's thread: a new channel with one reference, whose home is this engine, and whose
 * serial is none of its coros'. ACO_ENOMEM. */
ACO_MUSTUSE int aco_channel_new(aco_seat *seat, uint64_t serial, const char *name,
                                aco_channel **channel);

/** The channel with this identity, a reference of the caller's: that of this process, closed when
 * it is no more, or a replica of that of another one, which may have no subscribers. NULL without
 * memory. */
aco_channel *aco_channel_get(aco_process *process, const aco_identity *identity, const char *route,
                             const char *name);
aco_channel *aco_channel_ref(aco_channel *channel);
void aco_channel_unref(aco_channel *channel);

void aco_channel_identity(const aco_channel *channel, aco_identity *identity);
const char *aco_channel_name(const aco_channel *channel);
void aco_channel_route(aco_channel *channel, char route[ACO_ROUTE_MAX + 1]); /* to its process */
bool aco_channel_is_far(const aco_channel *channel);     /* of another process */
uint32_t aco_channel_engine(const aco_channel *channel); /* its home */
bool aco_channel_closed(aco_channel *channel);

/** The channel, which is of this process, is at home no more: its subscribers and its name are
 * forgotten, who waits is told. Twice is as once. */
void aco_channel_close(aco_channel *channel);

/** The engine with this number has ended, and so have its channels. */
void aco_channels_leave(aco_process *process, uint32_t engine);

/** The engine's thread, at home: what is published from elsewhere is to be transformed first. */
void aco_channel_set_transform(aco_channel *channel, bool transforms);

/** Give the channel, which is of this process, this name, as aco_name_register does. ACO_ECLOSED.
 */
ACO_MUSTUSE int aco_channel_register(aco_channel *channel, const char *name, size_t size);
int aco_channel_unregister(aco_channel *channel, const char *name, size_t size);

/* Answers ---------------------------------------------------------------------------------------
 */

/** What others have been asked to do, and how much of it they have done. One reference of the
 * caller's, which aco_ticket_drop gives back: then nobody waits for it any more. NULL without
 * memory. */
aco_ticket *aco_ticket_new(aco_process *process);
void aco_ticket_drop(aco_ticket *ticket);

/** How many coros were reached, and the last failure, so far. ACO_OK: all has been answered.
 * ACO_PENDING: `who`, when not NULL, gets one ACO_POST_SPACE when it is. ACO_ENOMEM. */
ACO_MUSTUSE int aco_ticket_look(aco_ticket *ticket, size_t *count, int *failure,
                                const aco_return *who);

/* Subscribers ------------------------------------------------------------------------------------
 */

enum aco_member_kind { ACO_MEMBER_CORO, ACO_MEMBER_CHANNEL, ACO_MEMBER_PEER };

/** A subscriber. What is here never changes, but for `gone`. */
typedef struct aco_member {
    atomic_bool gone; /* not subscribed any more */
    uint8_t kind;     /* enum aco_member_kind */
    uint32_t engine;  /* of a coro */
    void *key;
    aco_mailbox *mailbox; /* of a coro: shared */
    aco_channel *channel; /* of a channel */
} aco_member;

/** Subscribe a coro, that is, its mailbox, or a channel of this process. Twice is as once. ACO_OK.
 * ACO_PENDING: the channel is of another process, the ticket (not NULL then) gets its answer.
 * ACO_EINVALID: messages would go in a circle. ACO_ECLOSED, ACO_ENOMEM. */
ACO_MUSTUSE int aco_channel_join_coro(aco_channel *channel, aco_mailbox *mailbox, uint32_t engine,
                                      aco_ticket *ticket);
ACO_MUSTUSE int aco_channel_join_channel(aco_channel *channel, aco_channel *sub,
                                         aco_ticket *ticket);

/** End a subscription: of a mailbox, of a channel of this process. ACO_ENOTFOUND, ACO_ECLOSED. */
int aco_channel_part(aco_channel *channel, const void *key);

/** Have another process subscribe what lives there, or end that. ACO_PENDING: the ticket gets the
 * answer. ACO_ENOMEM. */
ACO_MUSTUSE int aco_channel_ask(aco_channel *channel, bool join, enum aco_kind kind,
                                const aco_identity *who, const char *route, aco_ticket *ticket);

/** ACO_OK: it has `n` subscribers. ACO_PENDING: `who` gets one ACO_POST_SPACE when there are more
 * of them, or it is closed. ACO_ECLOSED, ACO_ENOMEM. How many there are. */
ACO_MUSTUSE int aco_channel_await(aco_channel *channel, size_t n, const aco_return *who,
                                  size_t *count);

/** `who` waits no more, neither for subscribers nor for room. */
void aco_channel_forget(aco_channel *channel, const aco_return *who);

/* Publishing ------------------------------------------------------------------------------------
 */

/** How the engine with this number publishes on a channel: by giving the message to each of its
 * subscribers, after a transform of its own or without one; or by aco_channel_put. */
enum aco_channel_way { ACO_WAY_CLOSED, ACO_WAY_HERE, ACO_WAY_TRANSFORM, ACO_WAY_PUT };
enum aco_channel_way aco_channel_way(aco_channel *channel, uint32_t engine);

/** The subscribers of this moment, oldest first; aco_roster_drop gives them back. NULL: none, or
 * no memory (*err). */
typedef struct aco_roster {
    unsigned refs;
    size_t count;
    aco_channel *channel; /* a reference of everybody's who has the roster */
    aco_member *members[];
} aco_roster;
aco_roster *aco_channel_roster(aco_channel *channel, int *err);
void aco_roster_drop(aco_roster *roster);

/** A subscriber of the roster has ended. */
void aco_roster_ended(aco_roster *roster, aco_member *member);

/** Give a message to a subscriber of the roster that is another process. The ticket, which may be
 * NULL, gets how many coros it has reached there. ACO_EBUSY: `waiter`, when not NULL, gets one
 * ACO_POST_SPACE (aco_channel_forget for the roster's channel). ACO_ENOTFOUND, ACO_ENOMEM. */
ACO_MUSTUSE int aco_roster_cast(aco_roster *roster, aco_member *member, aco_msg *msg,
                                aco_ticket *ticket, unsigned hops, const aco_return *waiter);

/** Give a message to the home of a channel, when it has `n` subscribers, or for a transform. As
 * above, and ACO_ECLOSED. */
ACO_MUSTUSE int aco_channel_put(aco_channel *channel, aco_msg *msg, aco_ticket *ticket, uint32_t n,
                                unsigned hops, const aco_return *waiter);

/** The engine's thread, at home: the message of an ACO_POST_CHANNEL, whose object the job is; what
 * has become of it, NULL when it is dropped, is published, once. */
aco_channel *aco_channel_job_channel(const aco_channel_job *job);
aco_msg *aco_channel_job_msg(const aco_channel_job *job);
void aco_channel_job_done(aco_channel_job *job, aco_msg *msg);
void aco_channel_job_free(aco_channel_job *job); /* of aco_post_free */

/* Of the network --------------------------------------------------------------------------------
 * These may be called with locks of the network held; they never call the gate. What is to be sent
 * waits for aco_channels_flush, which does, and is called without those locks; or for
 * aco_channels_give. */

/** How many bytes of a frame of this type stand before its value; 0: it has none. */
size_t aco_channel_head(int type);

/** A frame of the types 32..47 (docs/protocol_channels.md) came from the process `from`, whose
 * location is `from_route`. The value behind the head is `value`, or, when that is NULL, the rest
 * of the body. ACO_EPROTOCOL: it is malformed. ACO_ENOMEM. */
ACO_MUSTUSE int aco_channel_frame(aco_process *process, const uint8_t from[16],
                                  const char *from_route, int type, const uint8_t *body,
                                  size_t size, aco_msg *value);

/** A process was lost, or could not be reached: what was to be sent to it is dropped. */
void aco_channels_lost(aco_process *process, const uint8_t peer[16]);

/** There is room again on the way to a process for which gate->ops->cast gave ACO_EBUSY. */
void aco_channels_room(aco_process *process, const uint8_t peer[16]);

/** All of them: this process is another one, after a fork, or has ended. */
void aco_channels_renew(aco_process *process);

/** Give to the gate what is to be sent, by its own operation, or by this function, which may have
 * locks of its caller. One thread at a time does that; another one returns at once. */
void aco_channels_flush(aco_process *process);
void aco_channels_give(aco_process *process,
                       int (*cast)(aco_gate *gate, const uint8_t peer[16], const char *route,
                                   int type, const void *head, size_t head_size, aco_msg *value));

/* Of a process ----------------------------------------------------------------------------------
 */

struct aco_channels *aco_channels_new(aco_process *process, uint64_t seed);
void aco_channels_free(struct aco_channels *all);

#endif
