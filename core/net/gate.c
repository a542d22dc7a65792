/* SPDX-License-Identifier: MIT */
/* gate.c -- what the engines of this process want of others (core/engine/gate.h). */
#include "core/net/state.h"

#include <stdlib.h>
#include <string.h>

static aco_net *
net_of(aco_gate *gate)
{
    return (aco_net *)gate;
}

static const uint8_t *
target_of(const aco_export *x)
{
    return x->key + 16;
}

/* The peer of a record, with the lock held; it is often that of the last one. */
static int
peer_of(aco_net *net, const aco_export *x, aco_peer **peer)
{
    aco_peer *last = net->addressed;

    if (last != NULL && net->running && !net->closing &&
        memcmp(last->id, x->key, sizeof last->id) == 0) {
        *peer = last;
        return ACO_OK;
    }
    int err = aco_peer_reach(net, x->key, x->route, peer);
    if (err == ACO_OK) net->addressed = *peer;
    return err;
}

/* Is there room for a message? Who is to be told when there is, is noted. */
static int
room(aco_peer *peer, const uint8_t *target, const aco_return *waiter)
{
    aco_link *list = NULL;
    struct aco_pause *pause =
        peer->paused.count > 0 ? aco_map_get(&peer->paused, target, ACO_TARGET) : NULL;

    if (pause != NULL)
        list = &pause->waiters;
    else if (aco_peer_is_full(peer))
        list = &peer->room;
    if (list == NULL) return ACO_OK;
    if (waiter != NULL && aco_waiter_add(list, waiter) != ACO_OK) return ACO_ENOMEM;
    return ACO_EBUSY;
}

static bool
is_too_large(const aco_peer *peer, size_t size)
{
    size_t most = peer->connection != NULL ? peer->connection->message_max : ACO_NET_MESSAGE_MAX;

    return size + ACO_TARGET + 8 > most;
}

static int
message_queue(aco_peer *peer, const aco_export *x, aco_parcel *parcel, enum aco_put how)
{
    static const uint8_t types[] = {[ACO_PUT_SEND] = ACO_F_SEND,
                                    [ACO_PUT_DELIVER] = ACO_F_DELIVER,
                                    [ACO_PUT_CALL] = ACO_F_CALL};
    uint8_t head[ACO_TARGET + 8];
    aco_ask *ask = NULL;
    size_t size = ACO_TARGET;

    memcpy(head, target_of(x), ACO_TARGET);
    if (how != ACO_PUT_SEND) {
        ask = aco_ask_new(peer, &parcel->reply);
        if (ask == NULL) return ACO_ENOMEM;
        memcpy(head + ACO_TARGET, ask->id, 8);
        size += 8;
    }
    int err = aco_peer_queue(peer, types[how], 0, target_of(x), head, size, parcel->msg);
    if (err != ACO_OK && ask != NULL) {
        aco_ask_take(peer, ask->id);
        aco_ask_free(ask);
    }
    return err;
}

static int
put(aco_gate *gate, aco_export *x, aco_parcel *parcel, enum aco_put how, const aco_return *waiter)
{
    aco_net *net = net_of(gate);
    aco_peer *peer;

    pthread_mutex_lock(&net->lock);
    int err = peer_of(net, x, &peer);
    if (err == ACO_OK && is_too_large(peer, aco_msg_size(parcel->msg))) err = ACO_ETOOLARGE;
    if (err == ACO_OK) err = room(peer, target_of(x), waiter);
    if (err == ACO_OK) err = message_queue(peer, x, parcel, how);
    pthread_mutex_unlock(&net->lock);
    if (err != ACO_OK) return err;
    aco_parcel_free(parcel);
    return how == ACO_PUT_DELIVER ? ACO_PENDING : ACO_OK;
}

/* Target and message are the head of the frame, which has room for a short one. */
static bool
send_bytes(aco_gate *gate, aco_export *x, const void *data, size_t size)
{
    aco_net *net = net_of(gate);
    uint8_t head[ACO_OUTQ_HEAD];
    aco_peer *peer;

    if (size > sizeof head - ACO_TARGET) return false;
    memcpy(head, target_of(x), ACO_TARGET);
    memcpy(head + ACO_TARGET, data, size);
    pthread_mutex_lock(&net->lock);
    int err = peer_of(net, x, &peer);
    if (err == ACO_OK) err = room(peer, target_of(x), NULL);
    if (err == ACO_OK)
        err = aco_peer_queue(peer, ACO_F_SEND, 0, target_of(x), head, ACO_TARGET + size, NULL);
    pthread_mutex_unlock(&net->lock);
    return err == ACO_OK;
}

static int
request_queue(aco_peer *peer, const aco_export *x, const aco_post *post)
{
    uint8_t head[ACO_TARGET + 8] = {0};
    aco_return who = {.inbox = post->from, .task = post->task, .token = post->token};
    aco_ask *ask = NULL;

    memcpy(head, target_of(x), ACO_TARGET);
    if (post->kind == ACO_POST_KILL)
        return aco_peer_queue(peer, ACO_F_KILL, 0, target_of(x), head, ACO_TARGET, NULL);
    if (post->from != NULL) {
        ask = aco_ask_new(peer, &who);
        if (ask == NULL) return ACO_ENOMEM;
        memcpy(head + ACO_TARGET, ask->id, 8);
    }
    int err = aco_peer_queue(peer, ACO_F_REQUEST, 0, target_of(x), head, sizeof head, post->msg);
    if (err != ACO_OK && ask != NULL) {
        aco_ask_take(peer, ask->id);
        aco_ask_free(ask);
    }
    return err;
}

static int
post(aco_gate *gate, aco_export *x, aco_post *item)
{
    aco_net *net = net_of(gate);
    aco_peer *peer;

    pthread_mutex_lock(&net->lock);
    int err = peer_of(net, x, &peer);
    if (err == ACO_OK && item->msg != NULL && is_too_large(peer, aco_msg_size(item->msg)))
        err = ACO_ETOOLARGE;
    if (err == ACO_OK) err = request_queue(peer, x, item);
    pthread_mutex_unlock(&net->lock);
    aco_post_free(item);
    return err;
}

static bool
ask_forget(aco_peer *peer, const aco_return *who)
{
    size_t place = 0;
    aco_ask *ask;

    while ((ask = aco_map_next(&peer->asks, &place)) != NULL) {
        if (ask->search != NULL || !aco_same_return(&ask->waiter.who, who)) continue;
        (void)aco_peer_queue(peer, ACO_F_FORGET, 0, NULL, ask->id, sizeof ask->id, NULL);
        aco_ask_take(peer, ask->id);
        aco_ask_free(ask);
        return true;
    }
    return false;
}

static void
peer_forget(aco_peer *peer, const aco_export *x, const aco_return *who)
{
    struct aco_pause *pause = aco_map_get(&peer->paused, target_of(x), ACO_TARGET);

    if (pause != NULL && aco_waiter_drop(&pause->waiters, who)) return;
    if (aco_waiter_drop(&peer->room, who)) return;
    (void)ask_forget(peer, who);
}

static void
forget(aco_gate *gate, aco_export *x, const aco_return *who)
{
    aco_net *net = net_of(gate);

    pthread_mutex_lock(&net->lock);
    if (net->running && x == NULL) {
        if (!aco_search_forget(net, who))
            for (aco_link *l = net->places.next; l != &net->places; l = l->next)
                aco_waiter_drop(&ACO_CONTAINER_OF(l, aco_place, link)->waiters, who);
    } else if (net->running) {
        aco_peer *peer = aco_peer_find(net, x->key);
        if (peer != NULL) peer_forget(peer, x, who);
    }
    pthread_mutex_unlock(&net->lock);
}

static int
watch_queue(aco_peer *peer, aco_export *x)
{
    if (aco_map_get(&peer->watches, target_of(x), ACO_TARGET) != NULL) return ACO_OK;
    int err = aco_map_put(&peer->watches, target_of(x), ACO_TARGET, x);
    if (err != ACO_OK) return err;
    err = aco_peer_queue(peer, ACO_F_WATCH, 0, target_of(x), target_of(x), ACO_TARGET, NULL);
    if (err == ACO_OK)
        aco_export_ref(x);
    else
        aco_map_remove(&peer->watches, target_of(x), ACO_TARGET);
    return err;
}

static int
watch(aco_gate *gate, aco_export *x)
{
    aco_net *net = net_of(gate);
    aco_peer *peer;

    pthread_mutex_lock(&net->lock);
    int err = peer_of(net, x, &peer);
    if (err == ACO_OK) err = watch_queue(peer, x);
    pthread_mutex_unlock(&net->lock);
    if (err == ACO_OK || err == ACO_ENOMEM) return err;
    bool gone = err == ACO_ENOTFOUND;
    aco_msg *exit = aco_exit_new(x->key, x->route, x->name, gone ? "notfound" : "peerdown", NULL);
    if (gone)
        aco_export_end(x, ACO_UNKNOWN, exit);
    else
        aco_export_lost(x, exit);
    aco_msg_unref(exit);
    return ACO_OK;
}

static int
locate(aco_gate *gate, const char *where, const char *name, size_t size, bool wait,
       const aco_return *who)
{
    aco_net *net = net_of(gate);

    pthread_mutex_lock(&net->lock);
    int err = !net->running  ? ACO_ENOTFOUND
              : net->closing ? ACO_EPEERDOWN
                             : aco_search_start(net, where, name, size, wait, who);
    if (err == ACO_OK) aco_net_kick(net);
    pthread_mutex_unlock(&net->lock);
    return err;
}

/* Channels are told when there is room (connection.c); what carries no message always has some. The
 * channel's own frames keep their order: the channel is their target. */
int
aco_gate_cast(aco_gate *gate, const uint8_t process[16], const char *route, int type,
              const void *head, size_t head_size, aco_msg *value)
{
    aco_net *net = net_of(gate);
    aco_peer *peer;

    int err = aco_peer_reach(net, process, route, &peer);
    if (err != ACO_OK) return err;
    if (value != NULL && is_too_large(peer, aco_msg_size(value))) return ACO_ETOOLARGE;
    if (value != NULL && aco_peer_is_full(peer)) {
        peer->awaited = true;
        return ACO_EBUSY;
    }
    return aco_peer_queue(peer, type, 0, head, head, head_size, value);
}

static int
cast(aco_gate *gate, const uint8_t process[16], const char *route, int type, const void *head,
     size_t head_size, aco_msg *value)
{
    aco_net *net = net_of(gate);

    pthread_mutex_lock(&net->lock);
    int err = aco_gate_cast(gate, process, route, type, head, head_size, value);
    pthread_mutex_unlock(&net->lock);
    return err;
}

const struct aco_gate_ops aco_net_gate = {.put = put,
                                          .send = send_bytes,
                                          .post = post,
                                          .forget = forget,
                                          .watch = watch,
                                          .locate = locate,
                                          .cast = cast,
                                          .free = aco_net_free};
