/* SPDX-License-Identifier: MIT */
/* state.h -- what the files of core/net share: the network of a process, taken apart.
 *
 *   net.c         its start, its turns, its end; the thread
 *   endpoint.c    where it listens; what it lets in
 *   handover.c    servers behind the port of another process
 *   connection.c  one connection: from the preface to the last frame
 *   hello.c       who is at its other end; which of several connections of a pair stays
 *   place.c       locations, and how to get there
 *   peer.c        processes that are connected, or about to be
 *   serve.c       what peers want of this process
 *   gate.c        what the engines of this process want of peers
 *   search.c      names
 *
 * Everything here is guarded by the lock of the network. Functions whose name begins with aco_ are
 * called with the lock held, but for those of net.h. */
#ifndef ACO_NET_STATE_H
#define ACO_NET_STATE_H

#include "core/base/error.h"
#include "core/base/map.h"
#include "core/engine/channel.h"
#include "core/engine/timer.h"
#include "core/io/address.h"
#include "core/io/lookup.h"
#include "core/net/discovery.h"
#include "core/net/frame.h"
#include "core/net/location.h"
#include "core/net/net.h"
#include "core/net/outq.h"
#include "core/net/preface.h"
#include "core/net/secret.h"
#include "core/net/secure.h"

#include <pthread.h>

/* Frames, and codes in them, as docs/protocol.md numbers them. */
enum aco_frame_type {
    ACO_F_HELLO = 1,
    ACO_F_BYE = 2,
    ACO_F_PING = 3,
    ACO_F_PONG = 4,
    ACO_F_PART = 5,
    ACO_F_START = 6,
    ACO_F_SEND = 10,
    ACO_F_DELIVER = 11,
    ACO_F_CALL = 12,
    ACO_F_ACK = 13,
    ACO_F_REPLY = 14,
    ACO_F_REQUEST = 15,
    ACO_F_KILL = 16,
    ACO_F_WATCH = 17,
    ACO_F_UNWATCH = 18,
    ACO_F_EXIT = 19,
    ACO_F_PAUSE = 20,
    ACO_F_RESUME = 21,
    ACO_F_LOCATE = 22,
    ACO_F_FORGET = 23,
    ACO_F_CHANNEL = 32,
    ACO_F_CHANNEL_END = 48
};

enum { ACO_TARGET = 12, ACO_FORCED = 1 };

enum aco_wire_code {
    ACO_W_OK,
    ACO_W_NOTFOUND,
    ACO_W_CLOSED,
    ACO_W_TOOLARGE,
    ACO_W_DENIED,
    ACO_W_PROTOCOL,
    ACO_W_UNSUPPORTED,
    ACO_W_BUSY,
    ACO_W_TIMEOUT,
    ACO_W_AUTH,
    ACO_W_DUPLICATE,
    ACO_W_SHUTDOWN,
    ACO_W_EXISTS,
    ACO_W_INVALID,
    ACO_W_NOMEM
};

/** What a descriptor of the epoll set belongs to. */
enum aco_source_kind {
    ACO_SOURCE_INBOX,
    ACO_SOURCE_LISTENER,
    ACO_SOURCE_CONNECTION,
    ACO_SOURCE_DISCOVERY,
    ACO_SOURCE_INLET
};

typedef struct aco_source {
    uint8_t kind;
    int fd;
    uint32_t events; /* that the set looks for; 0: it is not in it */
} aco_source;

/** What a timer belongs to. */
enum aco_alarm_kind {
    ACO_ALARM_CONNECTION,
    ACO_ALARM_PLACE,
    ACO_ALARM_DISCOVERY,
    ACO_ALARM_LISTENER
};

typedef struct aco_alarm {
    aco_timer timer;
    uint8_t kind;
} aco_alarm;

/** Somebody who waits for an answer. */
typedef struct aco_waiter {
    aco_link link;
    aco_return who; /* owned reference to its inbox */
} aco_waiter;

typedef struct aco_place aco_place;
typedef struct aco_peer aco_peer;
typedef struct aco_connection aco_connection;

enum aco_stage {
    ACO_STAGE_CONNECTING, /* dialed: the system connects */
    ACO_STAGE_PREFACE,    /* the first 8 bytes of the other side are to come */
    ACO_STAGE_SECURING,
    ACO_STAGE_HELLO,
    ACO_STAGE_START, /* accepted, and both have said HELLO: the other side is to decide */
    ACO_STAGE_UP,
    ACO_STAGE_LEAVING /* said BYE: what comes is thrown away, until the other side closes */
};

struct aco_connection {
    aco_source source;
    aco_alarm alarm;
    aco_link link; /* in net->connections, or net->dead */
    aco_net *net;
    uint64_t serial;
    enum aco_stage stage;
    bool dialed, dirty, dead;
    bool hungry;    /* its security layer holds bytes that the next turn is to read */
    bool counted;   /* among those that are under way */
    uint8_t key[8]; /* the serial, as net->by_serial has it */
    aco_link dirty_link;
    uint8_t preface[ACO_PREFACE_SIZE];
    uint8_t preface_got;
    aco_place *place; /* it is to reach: dialed, or taken instead (aco_place_await) */
    aco_secure *secure;
    aco_frames frames;
    aco_buf out; /* the preface, HELLO, BYE: they go before what the peer's queue holds */
    size_t out_sent;
    struct aco_hello *hello;        /* of the other side, until UP */
    aco_peer *peer;                 /* UP */
    aco_time received, sent, until; /* the last sign of the peer; ours; the end of this stage */
    uint32_t message_max;           /* largest body the peer takes */
    aco_time timeout;
    char remote[ACO_ADDRESS_TEXT];
};

/** An answer that is awaited from a peer. */
typedef struct aco_ask {
    uint8_t id[8]; /* its key there */
    aco_waiter waiter;
    struct aco_search *search; /* a LOCATE's; else NULL */
    bool deliver;
} aco_ask;

struct aco_peer {
    aco_link link; /* in net->peers */
    aco_net *net;
    uint8_t id[16];
    char location[ACO_ROUTE_MAX + 1], name[ACO_NAME_MAX + 1];
    aco_connection *connection; /* NULL: not connected yet */
    aco_place *place;           /* where it is being looked for; NULL when connected */
    bool up;                    /* it has been announced */
    aco_outq queue;
    uint64_t last_id;
    aco_map asks;     /* id -> aco_ask */
    aco_map watches;  /* target -> far record, an owned reference: whose end it is to tell */
    aco_map paused;   /* target -> struct aco_pause */
    aco_link room;    /* of aco_waiter: for room in the queue */
    bool awaited;     /* channels wait for it too */
    aco_link serves;  /* of struct aco_serve: local records whose end it wants to know */
    aco_link lookups; /* of struct aco_lookout: names that it waits for */
};

struct aco_pause {
    uint8_t target[ACO_TARGET];
    aco_link waiters;
};

struct aco_serve {
    aco_link of_peer, of_record;
    aco_peer *peer;
    struct aco_record *record;
};

/** A local record that peers watch. */
struct aco_record {
    aco_export *x; /* owned reference; its address is the key */
    aco_link serves;
};

/** A local mailbox that is full, and the peers that were told so. */
struct aco_full {
    uint8_t target[ACO_TARGET];
    aco_link peers; /* of struct aco_full_peer */
};

struct aco_full_peer {
    aco_link link;
    aco_peer *peer;
};

/** A name that a peer waits for. */
struct aco_lookout {
    aco_link link;
    uint64_t id;
    size_t size;
    char name[];
};

struct aco_place {
    aco_link link; /* in net->places */
    aco_net *net;
    char text[ACO_ROUTE_MAX + 1];
    aco_location location;
    bool permanent;       /* to be kept in touch with */
    unsigned searches;    /* that want it */
    aco_connection *dial; /* under way */
    aco_lookup *lookup;   /* under way, or its addresses are being tried; owned */
    size_t next_address;
    uint8_t id[16]; /* of the process that was reached here last */
    bool reached;
    unsigned failures;
    aco_time not_before; /* when the next attempt may be made */
    aco_alarm alarm;
    aco_link waiters; /* of aco_waiter */
    char error[200];  /* of the last attempt */
};

/** A name that this process looks for. */
typedef struct aco_search {
    aco_link link; /* in net->searches */
    aco_net *net;
    aco_waiter waiter;
    aco_place *place; /* NULL: everywhere */
    bool wait;
    bool peer;    /* the name of a peer is looked for, not one of theirs */
    size_t asked; /* peers that have not answered */
    size_t size;
    char name[];
} aco_search;

/** From where connections come that another process has accepted for this one. */
struct aco_inlet {
    aco_source source; /* its descriptor, -1: there is none */
};

enum { ACO_LISTENERS = 2, ACO_HALF_OPEN = 64 };

struct aco_listener {
    aco_source source;
    aco_alarm alarm; /* until which it takes none, for lack of descriptors */
    aco_net *net;
};

struct aco_net {
    aco_gate gate;
    aco_process *process; /* the process owns the network */
    pthread_mutex_t lock;
    pthread_cond_t changed; /* a turn is over */
    pthread_cond_t called;  /* the thread is wanted */
    pthread_t thread;
    aco_companion companion;
    aco_loop *loop;            /* that runs the network while it waits; NULL: none */
    int door;                  /* eventfd: the thread shall look again */
    bool kicked;               /* it has been written to */
    bool leads, polls, parked; /* the loop does so now, the thread; it rests until it is called */
    aco_time since;            /* when `leads` changed */
    atomic_bool has_dirty;
    bool running, closing, stop;
    int set;   /* epoll; made once, as a loop may still look at it after the end */
    pid_t pid; /* of the process that made it */
    aco_seat *seat;
    aco_inbox *inbox;
    aco_source bell; /* the inbox's descriptor */
    struct aco_listener listeners[ACO_LISTENERS];
    struct aco_inlet inlet;
    uint16_t number;  /* of this process, as a server behind the port of another; 0: it is none */
    aco_link servers; /* behind the port of this one (handover.c) */
    uint16_t port;
    aco_secret *secret;
    aco_discovery *discovery;
    aco_source beacon;
    aco_alarm beacon_alarm;
    aco_timers timers;
    uint64_t last_serial;
    size_t half_open; /* accepted, and not up */
    aco_link connections, dead, dirty;
    aco_link places, searches, peers;
    aco_map by_id;       /* process id -> peer */
    aco_peer *addressed; /* something was last sent to, NULL: it has gone */
    aco_map by_serial;   /* of connections: 8 bytes -> connection */
    aco_map records;     /* address of a local record -> struct aco_record */
    aco_buf spare;       /* memory for what is read, of whoever reads next */
    aco_map full;        /* target -> struct aco_full */
    aco_export *recent;  /* a coro that got a message in this turn; owned reference */
    aco_slab slab;       /* of its messages */
    aco_link status;     /* of struct aco_status: mailboxes that hear of peers */
    char location[ACO_ROUTE_MAX + 1], name[ACO_NAME_MAX + 1], bound[ACO_ADDRESS_TEXT];
    aco_time heartbeat, timeout;
    size_t queue_limit;
    struct aco_receiver *receiver; /* of files */
    bool code, ignores, has_v6;
    aco_time limit_since; /* of the second in which `limit_count` connections were refused */
    unsigned limit_count;
    struct aco_net_stats stats;
};

struct aco_status {
    aco_link link;
    aco_mailbox *mailbox; /* owned reference */
};

/* net.c */
void aco_net_free(aco_gate *gate);
void aco_net_watch_fd(aco_net *net, aco_source *source, uint32_t events);
void aco_net_alarm(aco_net *net, aco_alarm *alarm, aco_time when); /* ACO_NEVER: stop it */
void aco_net_kick(aco_net *net);
int aco_wire_error(uint8_t code);
uint8_t aco_wire_code(int err);

static inline void
aco_put_u32(uint8_t *out, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        out[i] = (uint8_t)(value >> (24 - 8 * i));
}

static inline void
aco_put_u64(uint8_t *out, uint64_t value)
{
    aco_put_u32(out, (uint32_t)(value >> 32));
    aco_put_u32(out + 4, (uint32_t)value);
}

static inline uint32_t
aco_get_u32(const uint8_t *in)
{
    return (uint32_t)in[0] << 24 | (uint32_t)in[1] << 16 | (uint32_t)in[2] << 8 | in[3];
}

static inline uint64_t
aco_get_u64(const uint8_t *in)
{
    return (uint64_t)aco_get_u32(in) << 32 | aco_get_u32(in + 4);
}

/* Waiters (peer.c). Answering or telling frees them. */
int aco_waiter_add(aco_link *list, const aco_return *who);
bool aco_waiter_drop(aco_link *list, const aco_return *who);
void aco_waiters_tell(aco_link *list);                             /* ACO_POST_SPACE */
void aco_waiters_answer(aco_link *list, int err, const char *why); /* ACO_POST_REPLY */
void aco_answer(const aco_return *who, int err, aco_msg *msg);
bool aco_same_return(const aco_return *a, const aco_return *b);

/* endpoint.c */
int aco_endpoint_open(aco_net *net, const struct aco_net_options *options, char **why);
void aco_endpoint_close(aco_net *net);
void aco_endpoint_accept(aco_net *net, struct aco_listener *listener);
void aco_endpoint_resume(aco_net *net, struct aco_listener *listener);
void aco_net_refused(aco_net *net, const char *who, const char *why);

/* handover.c */
int aco_handover_give(aco_net *net, uint16_t number, int fd,
                      const uint8_t preface[ACO_PREFACE_SIZE]);
void aco_handover_take(aco_net *net);
int aco_inlet_open(aco_net *net, int fd);
void aco_inlet_close(aco_net *net);
void aco_servers_free(aco_net *net);

/* connection.c */
aco_connection *aco_connection_given(aco_net *net, int fd, const aco_address *from,
                                     const uint8_t preface[ACO_PREFACE_SIZE]);
aco_connection *aco_connection_dial(aco_place *place, int fd, bool connected);
aco_connection *aco_connection_accept(aco_net *net, int fd, const aco_address *from);
void aco_connection_event(aco_connection *c, uint32_t events);
void aco_connection_alarm(aco_connection *c, aco_time now);
void aco_connection_dirty(aco_connection *c);
void aco_connection_flush(aco_connection *c);
void aco_connection_bye(aco_connection *c, uint8_t code, const char *why); /* and lose it */
void aco_connection_lose(aco_connection *c, int err, const char *why);
void aco_connection_free(aco_connection *c);
void aco_connection_stage(aco_connection *c, enum aco_stage stage, aco_time until);
void aco_connection_settle(aco_connection *c); /* it counts among those under way no more */
int aco_connection_put(aco_connection *c, int type, const void *body,
                       size_t size); /* a frame of its own, before its peer's */

/* hello.c */
#define ACO_LEAVE_TIME (2 * ACO_SECOND) /* to say good-bye */
int aco_hello_send(aco_connection *c, bool connected);
void aco_hello_take(aco_connection *c, const aco_frame *frame);
void aco_start_take(aco_connection *c, const aco_frame *frame);

/* place.c */
aco_place *aco_place_get(aco_net *net, const char *text);     /* NULL: no location, or no memory */
int aco_place_visit(aco_place *place, const aco_return *who); /* ACO_OK: it is up; ACO_PENDING */
void aco_place_connected(aco_place *place, const aco_peer *peer);
void aco_place_await(aco_place *place, aco_connection *c, const uint8_t process[16]);
void aco_place_failed(aco_place *place, int err, const char *why);
void aco_place_left(aco_net *net, const aco_peer *peer);
void aco_place_alarm(aco_place *place);
void aco_place_found(aco_net *net, aco_lookup *lookup); /* a lookup is done */
void aco_place_release(aco_place *place);               /* nobody may want it any more */
void aco_places_free(aco_net *net);

/* peer.c */
aco_peer *aco_peer_find(const aco_net *net, const uint8_t id[16]);
aco_peer *aco_peer_at(const aco_net *net, const char *location);
aco_peer *aco_peer_new(aco_net *net, const uint8_t id[16]);
int aco_peer_reach(aco_net *net, const uint8_t id[16], const char *route, aco_peer **peer);
void aco_peer_up(aco_peer *peer, aco_connection *c);
void aco_peer_lost(aco_peer *peer, const char *why);
int aco_peer_queue(aco_peer *peer, int type, int flags, const uint8_t *target, const void *head,
                   size_t head_size, aco_msg *msg);
bool aco_peer_is_full(const aco_peer *peer);
void aco_peer_roomy(aco_peer *peer); /* its queue has become shorter */
aco_ask *aco_ask_new(aco_peer *peer, const aco_return *who);
aco_ask *aco_ask_take(aco_peer *peer, const uint8_t id[8]);
void aco_ask_free(aco_ask *ask);
void aco_peers_status(aco_net *net, const aco_peer *peer, bool up);

/* serve.c */
int aco_serve(aco_peer *peer, const aco_frame *frame, const char **why);
void aco_serve_post(aco_net *net, aco_post *post);
void aco_serve_rest(aco_net *net); /* the end of a turn */
void aco_serve_forget(aco_peer *peer);
void aco_serve_end(aco_net *net);

/* search.c */
void aco_search_peer(aco_search *search, aco_peer *peer);
void aco_searches_peer_up(aco_peer *peer);
void aco_search_answer(aco_search *search, int err, aco_msg *msg);
void aco_search_negative(aco_search *search);
int aco_search_start(aco_net *net, const char *where, const char *name, size_t size, bool wait,
                     const aco_return *who);
void aco_searches_place_failed(aco_place *place);
bool aco_search_forget(aco_net *net, const aco_return *who);
void aco_searches_end(aco_net *net);

/* gate.c */
extern const struct aco_gate_ops aco_net_gate;
int aco_gate_cast(aco_gate *gate, const uint8_t process[16], const char *route, int type,
                  const void *head, size_t head_size, aco_msg *value);

#endif
