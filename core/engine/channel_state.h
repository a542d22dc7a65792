/* SPDX-License-Identifier: MIT */
/* channel_state.h -- what channel.c, channel_member.c (subscribers), publish.c (messages and
 * answers), channel_peer.c and channel_frame.c (other processes) share: what stands behind the lock
 * of all channels of a process. */
#ifndef ACO_CHANNEL_STATE_H
#define ACO_CHANNEL_STATE_H

#include "core/base/error.h"
#include "core/base/map.h"
#include "core/engine/channel.h"

#include <pthread.h>

typedef struct channel_peer channel_peer;

struct aco_channels {
    pthread_mutex_t lock;
    aco_process *process; /* whose these are */
    aco_map homes;        /* engine and serial -> channel of this process; without a reference */
    aco_map fars;         /* identity -> replica; without a reference */
    aco_map peers;        /* process -> channel_peer */
    aco_link ready;       /* peers that have frames to be cast */
    aco_link idle;        /* peers with which nobody may have to do any more, by `found` */
    atomic_bool filled;   /* there may be some */
    bool flushing;        /* a thread casts them */
    uint64_t last_id;
    uint32_t marks;
    aco_post *posts, **posts_end; /* for the inboxes in their `from`, the same way */
    struct member *waste_members; /* to be freed when the lock is not held any more */
    struct aco_channel *waste_channels;
};

enum subscription { SUBSCRIBED_NOT, SUBSCRIBED_ASKED, SUBSCRIBED_YES };

/* References are counted under the lock. */
struct aco_channel {
    struct aco_channels *all;
    aco_process *process; /* owned reference */
    unsigned refs;
    bool far, closed, transforms;
    uint8_t key[ACO_IDENTITY_SIZE];
    uint32_t engine, mark;
    char *name;
    aco_inbox *inbox;   /* at home: owned reference, of its engine; NULL when closed */
    aco_seat *seat;     /* at home: until it is closed */
    aco_export *record; /* at home: owned reference, once it was registered */
    aco_link members;
    aco_map index;      /* key of a member -> it */
    size_t count;       /* members; those of replicas instead of these */
    aco_roster *roster; /* NULL: to be made */
    aco_link parents;   /* memberships of this channel in others, by `of_child` */
    unsigned clogs;     /* members without room, and whether the queue is full */
    size_t queued;      /* jobs under way to the home's engine */
    bool queue_full;
    aco_link waiters;               /* who waits for room */
    aco_link counters;              /* who waits for members */
    aco_link awaiting;              /* tickets whose message waits for members */
    aco_link publishers;            /* struct publisher: processes that are held back */
    channel_peer *home;             /* far: its process */
    aco_link of_home;               /* far: there */
    enum subscription subscription; /* far */
    bool held;                      /* far: we are held back */
    bool holds;                     /* far: we hold our home back */
    size_t over;                    /* far: bytes that came since then */
    struct aco_channel *waste;
};

typedef struct member {
    aco_member is;
    unsigned refs;
    aco_process *process; /* owned reference */
    aco_link link;
    aco_channel *of;
    aco_link of_child, of_peer;
    channel_peer *peer; /* of a process */
    size_t count;       /* of a process: subscribers there */
    bool paused;        /* of a process: it holds us back */
    bool clogs;         /* counted in of->clogs */
    aco_room room;      /* of a coro: while it clogs; has a reference */
    struct member *waste;
} member;

struct channel_peer {
    uint8_t id[16];
    char route[ACO_ROUTE_MAX + 1];
    aco_link ready;
    aco_link controls, frames; /* to be cast, the first before the others */
    bool blocked;              /* the way is full */
    bool casting;              /* a thread gives one of them to the gate */
    uint64_t rooms;            /* how often it was not any more */
    aco_map questions;         /* id -> question */
    aco_link members, fars, asked, held;
    size_t asked_count, asked_bytes; /* the bytes: of messages that wait for subscribers */
    aco_link found;                  /* while many are looked at */
};

/* A process that publishes on a channel of ours and is held back. */
typedef struct publisher {
    aco_link of_channel, of_peer;
    channel_peer *peer;
    size_t over; /* bytes that came since then */
} publisher;

/* Something that a peer is to answer. */
typedef struct question {
    uint8_t id[8];
    int type;     /* of the frame */
    size_t count; /* so far */
    aco_link of_ticket;
    channel_peer *peer;
    aco_ticket *ticket;   /* owned reference */
    aco_channel *channel; /* owned reference */
} question;

struct aco_ticket {
    unsigned refs;
    bool dropped; /* nobody waits for it */
    unsigned pending;
    size_t count;
    int failure;
    aco_process *process; /* owned reference, of a caller's */
    struct aco_channels *all;
    aco_return who; /* owned reference to the inbox */
    aco_link questions;
    channel_peer *asker; /* a process asks: to be answered */
    uint8_t asker_id[8], asker_target[12];
    aco_link of_asker;
    aco_link awaiting; /* with its message, for members */
    aco_channel *channel;
    aco_msg *msg;
    size_t n;
    unsigned hops;
};

typedef struct channel_waiter {
    aco_link link;
    aco_return who; /* owned reference to the inbox */
} channel_waiter;

enum channel_frame {
    CH_SUBSCRIBE = 32,
    CH_UNSUBSCRIBE,
    CH_PUBLISH,
    CH_CAST,
    CH_COUNT,
    CH_CLOSED,
    CH_PAUSE,
    CH_RESUME,
    CH_JOIN,
    CH_FORGET
};

/* Every frame begins with the channel; then the id of a question, when it has one. */
enum { CH_TARGET = 12, CH_ID = 8, CH_HEAD = CH_TARGET + CH_ID };

/** Take the lock; give it back, and free what nobody refers to any more. */
void aco_channels_enter(struct aco_channels *all);
void aco_channels_exit(struct aco_channels *all);

/* All of these are called under the lock. */

/* channel.c */
void aco_chan_unref(aco_channel *channel);
void aco_chan_close(aco_channel *channel);
void aco_chan_changed(aco_channel *channel); /* more members */
aco_channel *aco_chan_find(struct aco_channels *all, const uint8_t target[CH_TARGET]);
aco_channel *aco_chan_replica(struct aco_channels *all, const uint8_t from[16],
                              const uint8_t target[CH_TARGET]);
int aco_chan_wait(aco_link *list, const aco_return *who);
void aco_chan_tell(aco_link *list);

/* channel_member.c */
void aco_chan_member_unref(member *m);
void aco_chan_member_remove(member *m);
void aco_chan_empty(aco_channel *channel); /* it has no members any more */
int aco_chan_join(aco_channel *channel, const aco_member *like, channel_peer *peer, member **made);
int aco_chan_enrol(aco_channel *channel, const aco_member *like, aco_ticket *ticket);
int aco_chan_part(aco_channel *channel, const void *key);
int aco_chan_subscribe(aco_channel *channel, aco_ticket *ticket);
void aco_chan_clog(member *m);
void aco_chan_unclog(member *m);
void aco_chan_clogged(aco_channel *channel, bool more);

/* publish.c */
void aco_chan_accept(aco_channel *channel, aco_msg *msg, aco_ticket *ticket, size_t n,
                     unsigned hops, bool transformed);
void aco_chan_fan_out(aco_channel *channel, aco_msg *msg, aco_ticket *ticket, unsigned hops);
aco_ticket *aco_chan_ticket_new(struct aco_channels *all);
void aco_chan_ticket_unref(aco_ticket *ticket);
void aco_chan_ticket_settle(aco_ticket *ticket, size_t count, int failure); /* one of pending */
void aco_chan_ticket_forget(aco_ticket *ticket);

/* channel_peer.c */
void aco_chan_peer_free(channel_peer *peer); /* at the end of the process */
void aco_chan_peer_idle(struct aco_channels *all,
                        channel_peer *peer);           /* perhaps it is not needed any more */
void aco_chan_peers_release(struct aco_channels *all); /* those that are not */
channel_peer *aco_chan_peer(struct aco_channels *all, const uint8_t id[16], const char *route);
int aco_chan_send(aco_channel *channel, channel_peer *peer, int type, const uint8_t *head,
                  size_t size, aco_msg *value, aco_ticket *ticket);
int aco_chan_answer(struct aco_channels *all, channel_peer *peer, const uint8_t target[CH_TARGET],
                    const uint8_t id[CH_ID], size_t count, int code, bool more);
int aco_chan_code(uint8_t code); /* the error that a code in a frame stands for */
void aco_chan_refuse(struct aco_channels *all, channel_peer *peer,
                     const uint8_t target[CH_TARGET]); /* there is no such channel */
void aco_chan_question_free(question *q);
void aco_chan_question_answer(question *q, size_t count,
                              int failure); /* or there will be no answer */
bool aco_chan_hold(aco_channel *channel, channel_peer *peer,
                   size_t size);                                      /* false: it does not mind */
void aco_chan_let_go(aco_channel *channel);                           /* who was held back */
int aco_chan_say(aco_channel *channel, channel_peer *peer, int type); /* target only, or a side */

static inline void
put_u32(uint8_t *out, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        out[i] = (uint8_t)(value >> (24 - 8 * i));
}

static inline uint32_t
get_u32(const uint8_t *in)
{
    return (uint32_t)in[0] << 24 | (uint32_t)in[1] << 16 | (uint32_t)in[2] << 8 | in[3];
}

#endif
