/* SPDX-License-Identifier: MIT */
/* net.h -- a process's part of the network: its endpoint, its peers, and the way to the coros of
 * other processes (core/engine/gate.h), on a thread of its own.
 *
 * There is one per process at most. Every function may be called from any thread, and none waits
 * for the network but aco_net_close; what takes time is answered to an aco_return by a post of
 * ACO_POST_REPLY, as a gate does. docs/protocol.md says what travels. */
#ifndef ACO_NET_H
#define ACO_NET_H

#include "core/engine/gate.h"
#include "core/engine/loop.h"

typedef struct aco_net aco_net;
struct aco_secret;

enum {
    ACO_NET_QUEUE_LIMIT = 16 << 20, /* bytes that wait for one peer, by default */
    ACO_NET_MESSAGE_MAX = (64 << 20) + 1024
};
#define ACO_NET_HEARTBEAT (5 * ACO_SECOND)
#define ACO_NET_LINGER (5 * ACO_SECOND)

/** What network{} says; zeros stand for what is usual. Everything is copied. */
struct aco_net_options {
    const char *name;      /* of this process; NULL: its location */
    const char *host;      /* to listen at; NULL: loopback without a secret, else everywhere */
    uint16_t port;         /* 0: a free one */
    const char *advertise; /* "host" or "host:port" that others are told; NULL: what fits best */
    struct aco_secret *secret; /* a reference is taken; needed */
    bool broadcast, multicast; /* discovery by each; both false: no datagrams at all */
    uint16_t discovery_port;   /* 0: 51350 */
    uint16_t server;           /* number of this process behind the port of another one, which gives
                                  it connections through `inlet`, a Unix socket that is duplicated;
                                  `advertise` is the location of that one. 0: it listens itself */
    int inlet;
    const char *const *peers; /* locations of processes to keep in touch with */
    size_t peer_count;
    aco_time heartbeat;    /* send something at least so often */
    aco_time peer_timeout; /* 0: three heartbeats */
    size_t queue_limit;    /* bytes that wait for one peer at most */
    const char *dest_path; /* where received files go; NULL: the usual folder; "": none are taken */
    uint64_t max_file_size; /* 0: no limit */
    bool code;              /* functions and classes may come from peers, and be run */
};

/** Start it: listen, look for peers. ACO_EEXISTS: it has been started. Otherwise `*why` is a text,
 * to be freed, that says what failed. */
ACO_MUSTUSE int aco_net_start(aco_process *process, const struct aco_net_options *options,
                              char **why);

/** The network of a process, NULL while it has none. It stays as long as the process does. */
aco_net *aco_net_of(aco_process *process);

/** End it: what is queued is sent until `deadline`; every wait ends with ACO_EPEERDOWN. How many
 * bytes were not sent. Blocks. */
size_t aco_net_close(aco_net *net, aco_time deadline);

/** From now on connections for server `number` (1 ..) behind this process's port go to whoever has
 * the other end of `fd`, a Unix socket that is duplicated; -1: no more. */
ACO_MUSTUSE int aco_net_server(aco_net *net, uint16_t number, int fd);

/** True between a start and a close. */
bool aco_net_running(aco_net *net);

/** Functions and classes that come from peers may be used (option code). */
bool aco_net_takes_code(aco_net *net);

/** One line of it, "" while there is nothing to say: what it has refused last, and how often. */
struct aco_net_stats {
    uint64_t peers, links, sent_messages, received_messages, sent_bytes, received_bytes;
    uint64_t refused;  /* connections: wrong secret, wrong version, malformed ... */
    uint64_t limited;  /* connections that came too fast */
    char refusal[320]; /* the last one, in words */
};
void aco_net_stats(aco_net *net, struct aco_net_stats *stats);

/* Peers ----------------------------------------------------------------------------------------
 */

struct aco_peer_info {
    uint8_t process[16];
    char location[ACO_ROUTE_MAX + 1];
    char name[ACO_NAME_MAX + 1];
};

/** The peers that are connected, an array to be freed; NULL without memory, or when `*count` is 0.
 */
struct aco_peer_info *aco_net_peers(aco_net *net, size_t *count);

/** The peer that has posted a request to an engine of this process; false: none, or it has gone. */
bool aco_net_asker(aco_net *net, const aco_post *post, struct aco_peer_info *info);

/** Connect to the process at a location, or see that there is a connection; `keep`: and connect
 * again whenever it is lost. Answered to `who` (NULL: to nobody) with ACO_OK or why not, in words
 * in `msg` when there are any. ACO_EINVALID: it is no location. */
ACO_MUSTUSE int aco_net_peer(aco_net *net, const char *where, bool keep, const aco_return *who);

/** Leave the process at a location: both sides see it go. ACO_ENOTFOUND: it is no peer. */
ACO_MUSTUSE int aco_net_close_peer(aco_net *net, const char *where);

/** Find the location of the peer with a name, or wait until there is one; answered to `who` with a
 * value, the location (extension 4). */
ACO_MUSTUSE int aco_net_locate_peer(aco_net *net, const char *name, size_t size, bool wait,
                                    const aco_return *who);

/** From now on the mailbox, which must be shared, gets an instance of asyncoro.peer_status
 * {location, name, status = "online" | "offline"} for each peer that comes or goes, those that are
 * there first; `stop`: no more. ACO_ENOMEM. */
ACO_MUSTUSE int aco_net_watch_peers(aco_net *net, aco_mailbox *mailbox, bool stop);

/** Look for peers now, by datagrams. */
void aco_net_discover(aco_net *net);

/** Where that asks, and what it has refused, in words, cut to fit; "" while it is off. */
void aco_net_discovery_text(aco_net *net, char *text, size_t size);

/** Do not take notice of processes that are discovered, nor answer their datagrams. */
void aco_net_ignore_peers(aco_net *net, bool ignore);

/** The secret in force, for a file transfer: a reference of the caller's. */
struct aco_secret *aco_net_secret(aco_net *net);

/** The folder in which files of others arrive; false: none are taken. */
bool aco_net_dest_path(aco_net *net, char *path, size_t size);

/* The engine that waits -------------------------------------------------------------------------
 * An engine that has nothing to do runs the network itself, which spares two changes of threads for
 * each message; the network's thread takes over when the engine has been busy for a millisecond,
 * and rests while it is idle. */

/** The loop's thread: let it run the network while it waits. ACO_EEXISTS: another loop does.
 * ACO_EUNSUPPORTED: it has a base of its host's. ACO_ENOMEM. In each case the network's thread does
 * what is to be done. */
ACO_MUSTUSE int aco_net_attach(aco_net *net, aco_loop *loop);

/** The loop's thread, before the loop or the network ends; harmless for one that is not attached.
 */
void aco_net_detach(aco_net *net, aco_loop *loop);

#endif
