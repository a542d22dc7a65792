/* SPDX-License-Identifier: MIT */
/* peer.c -- other processes: what is queued for them, what is awaited from them, and their loss. */
#include "core/net/state.h"

#include "core/base/msgpack.h"

#include <stdlib.h>
#include <string.h>

/* Waiters -------------------------------------------------------------------------------------- */

bool
aco_same_return(const aco_return *a, const aco_return *b)
{
    return a->inbox == b->inbox && a->task == b->task && a->token == b->token;
}

int
aco_waiter_add(aco_link *list, const aco_return *who)
{
    aco_waiter *w = calloc(1, sizeof *w);

    if (w == NULL) return ACO_ENOMEM;
    w->who = *who;
    aco_inbox_ref(who->inbox);
    aco_list_append(list, &w->link);
    return ACO_OK;
}

static void
waiter_free(aco_waiter *w)
{
    aco_link_remove(&w->link);
    aco_inbox_unref(w->who.inbox);
    free(w);
}

bool
aco_waiter_drop(aco_link *list, const aco_return *who)
{
    for (aco_link *l = list->next; l != list; l = l->next) {
        aco_waiter *w = ACO_CONTAINER_OF(l, aco_waiter, link);
        if (!aco_same_return(&w->who, who)) continue;
        waiter_free(w);
        return true;
    }
    return false;
}

void
aco_waiters_tell(aco_link *list)
{
    while (!aco_list_empty(list)) {
        aco_waiter *w = ACO_CONTAINER_OF(list->next, aco_waiter, link);
        aco_inbox_signal(w->who.inbox, ACO_POST_SPACE, w->who.task, w->who.token, ACO_OK);
        waiter_free(w);
    }
}

void
aco_answer(const aco_return *who, int err, aco_msg *msg)
{
    aco_post *post = calloc(1, sizeof *post);

    if (post == NULL) return; /* whoever waits has a deadline, or waits until the peer is lost */
    *post = (aco_post){
        .kind = ACO_POST_REPLY, .err = err, .task = who->task, .token = who->token, .msg = msg};
    if (msg != NULL) aco_msg_ref(msg);
    aco_inbox_post(who->inbox, post);
}

/* A text as a value. */
static aco_msg *
text_value(const char *text)
{
    uint8_t bytes[640], *at = bytes;
    size_t size = strlen(text);

    if (size > sizeof bytes - ACO_MP_HEAD) size = sizeof bytes - ACO_MP_HEAD;
    at = aco_utf8_valid((const uint8_t *)text, size) ? aco_mp_str(at, (uint32_t)size)
                                                     : aco_mp_bin(at, (uint32_t)size);
    memcpy(at, text, size);
    return aco_msg_new(bytes, (size_t)(at + size - bytes));
}

void
aco_waiters_answer(aco_link *list, int err, const char *why)
{
    aco_msg *text = why != NULL && !aco_list_empty(list) ? text_value(why) : NULL;

    while (!aco_list_empty(list)) {
        aco_waiter *w = ACO_CONTAINER_OF(list->next, aco_waiter, link);
        aco_answer(&w->who, err, text);
        waiter_free(w);
    }
    aco_msg_unref(text);
}

/* Answers awaited ------------------------------------------------------------------------------ */

aco_ask *
aco_ask_new(aco_peer *peer, const aco_return *who)
{
    aco_ask *ask = calloc(1, sizeof *ask);

    if (ask == NULL) return NULL;
    aco_put_u64(ask->id, ++peer->last_id);
    if (aco_map_put(&peer->asks, ask->id, sizeof ask->id, ask) != ACO_OK) {
        free(ask);
        return NULL;
    }
    if (who != NULL && who->inbox != NULL) {
        ask->waiter.who = *who;
        aco_inbox_ref(who->inbox);
    }
    return ask;
}

aco_ask *
aco_ask_take(aco_peer *peer, const uint8_t id[8])
{
    return aco_map_remove(&peer->asks, id, 8);
}

void
aco_ask_free(aco_ask *ask)
{
    aco_inbox_unref(ask->waiter.who.inbox);
    free(ask);
}

/* Peers ---------------------------------------------------------------------------------------- */

aco_peer *
aco_peer_find(const aco_net *net, const uint8_t id[16])
{
    return aco_map_get(&net->by_id, id, 16);
}

aco_peer *
aco_peer_at(const aco_net *net, const char *location)
{
    for (aco_link *l = net->peers.next; l != &net->peers; l = l->next) {
        aco_peer *peer = ACO_CONTAINER_OF(l, aco_peer, link);
        if (strcmp(peer->location, location) == 0) return peer;
    }
    return NULL;
}

aco_peer *
aco_peer_new(aco_net *net, const uint8_t id[16])
{
    aco_peer *peer = calloc(1, sizeof *peer);

    if (peer == NULL) return NULL;
    peer->net = net;
    memcpy(peer->id, id, sizeof peer->id);
    if (aco_map_put(&net->by_id, peer->id, sizeof peer->id, peer) != ACO_OK) {
        free(peer);
        return NULL;
    }
    aco_outq_init(&peer->queue);
    aco_list_init(&peer->room);
    aco_list_init(&peer->serves);
    aco_list_init(&peer->lookups);
    aco_list_append(&net->peers, &peer->link);
    return peer;
}

int
aco_peer_reach(aco_net *net, const uint8_t id[16], const char *route, aco_peer **found)
{
    aco_peer *peer = aco_peer_find(net, id);

    *found = peer;
    if (!net->running || net->closing) return ACO_EPEERDOWN;
    if (peer != NULL) return ACO_OK;
    aco_place *place = *route != '\0' ? aco_place_get(net, route) : NULL;
    if (place == NULL) return ACO_EPEERDOWN;
    int err = aco_place_visit(place, NULL);
    if (err == ACO_OK) return ACO_ENOTFOUND; /* another process lives there */
    if (err != ACO_PENDING) return err;
    peer = aco_peer_new(net, id);
    if (peer == NULL) return ACO_ENOMEM;
    peer->place = place;
    *found = peer;
    return ACO_OK;
}

bool
aco_peer_is_full(const aco_peer *peer)
{
    return aco_outq_size(&peer->queue) >= peer->net->queue_limit;
}

int
aco_peer_queue(aco_peer *peer, int type, int flags, const uint8_t *target, const void *head,
               size_t head_size, aco_msg *msg)
{
    int err = aco_outq_add(&peer->queue, type, flags, target, head, head_size, msg);

    if (err != ACO_OK) return err;
    peer->net->stats.sent_messages++;
    if (peer->connection != NULL) aco_connection_dirty(peer->connection);
    return ACO_OK;
}

void
aco_peer_up(aco_peer *peer, aco_connection *c)
{
    peer->place = NULL;
    peer->up = true;
    peer->net->stats.links++;
    aco_peers_status(peer->net, peer, true);
    aco_searches_peer_up(peer);
    aco_connection_dirty(c);
}

/* Loss ----------------------------------------------------------------------------------------- */

static void
asks_end(aco_peer *peer)
{
    size_t place = 0;
    aco_ask *ask;

    while ((ask = aco_map_next(&peer->asks, &place)) != NULL) {
        if (ask->search != NULL)
            aco_search_negative(ask->search);
        else if (ask->waiter.who.inbox != NULL)
            aco_answer(&ask->waiter.who, ACO_EPEERDOWN, NULL);
        aco_ask_free(ask);
    }
    aco_map_free(&peer->asks);
}

static void
pauses_end(aco_peer *peer)
{
    size_t place = 0;
    struct aco_pause *pause;

    while ((pause = aco_map_next(&peer->paused, &place)) != NULL) {
        aco_waiters_tell(&pause->waiters);
        free(pause);
    }
    aco_map_free(&peer->paused);
}

/* Everybody who watches one of its coros hears that it is lost. */
static void
watches_end(aco_peer *peer)
{
    size_t place = 0;
    aco_export *x;

    while ((x = aco_map_next(&peer->watches, &place)) != NULL) {
        aco_msg *exit = aco_exit_new(x->key, x->route, x->name, "peerdown", NULL);
        aco_export_lost(x, exit);
        aco_msg_unref(exit);
        aco_export_unref(x);
    }
    aco_map_free(&peer->watches);
}

void
aco_peer_roomy(aco_peer *peer)
{
    if (aco_list_empty(&peer->room) && !peer->awaited) return;
    if (aco_peer_is_full(peer)) return;
    aco_waiters_tell(&peer->room);
    if (peer->awaited) aco_channels_room(peer->net->process, peer->id);
    peer->awaited = false;
}

void
aco_peer_lost(aco_peer *peer, const char *why)
{
    aco_net *net = peer->net;
    aco_connection *c = peer->connection;

    aco_map_remove(&net->by_id, peer->id, sizeof peer->id);
    if (net->addressed == peer) net->addressed = NULL;
    aco_link_remove(&peer->link);
    peer->connection = NULL;
    if (c != NULL) {
        c->peer = NULL;
        aco_connection_lose(c, ACO_EPEERDOWN, why);
    }
    asks_end(peer);
    pauses_end(peer);
    aco_waiters_tell(&peer->room);
    aco_channels_lost(net->process, peer->id);
    watches_end(peer);
    aco_serve_forget(peer);
    if (peer->up) aco_peers_status(net, peer, false);
    if (peer->up) aco_place_left(net, peer);
    aco_outq_free(&peer->queue);
    free(peer);
}

/* Who wants to know ---------------------------------------------------------------------------- */

static uint8_t *
put_text(uint8_t *at, const char *text)
{
    size_t size = strlen(text);

    at = aco_utf8_valid((const uint8_t *)text, size) ? aco_mp_str(at, (uint32_t)size)
                                                     : aco_mp_bin(at, (uint32_t)size);
    memcpy(at, text, size);
    return at + size;
}

static uint8_t *
put_location(uint8_t *at, const char *location)
{
    size_t size = strlen(location);

    at = aco_mp_ext(at, 4, (uint32_t)size);
    memcpy(at, location, size);
    return at + size;
}

/* An instance of asyncoro.peer_status. */
static aco_msg *
status_msg(const aco_peer *peer, bool up)
{
    uint8_t bytes[ACO_ROUTE_MAX + ACO_NAME_MAX + 128], *at = bytes;

    at = aco_mp_ext_open(at, 6);
    uint8_t *content = at;
    at = put_text(at, "asyncoro.peer_status");
    at = aco_mp_map(at, 3);
    at = put_location(put_text(at, "location"), peer->location);
    at = put_text(put_text(at, "name"), peer->name);
    at = put_text(put_text(at, "status"), up ? "online" : "offline");
    aco_mp_ext_size(bytes, (uint32_t)(at - content));
    return aco_msg_new(bytes, (size_t)(at - bytes));
}

static void
status_tell(aco_mailbox *mailbox, aco_msg *msg)
{
    aco_parcel *parcel = msg != NULL ? aco_parcel_new(msg, NULL) : NULL;

    if (parcel != NULL && aco_mailbox_post_forced(mailbox, parcel) != ACO_OK)
        aco_parcel_free(parcel);
}

static void
status_free(struct aco_status *s)
{
    aco_link_remove(&s->link);
    aco_mailbox_unref(s->mailbox);
    free(s);
}

void
aco_peers_status(aco_net *net, const aco_peer *peer, bool up)
{
    aco_msg *msg = aco_list_empty(&net->status) ? NULL : status_msg(peer, up);

    for (aco_link *l = net->status.next, *next; l != &net->status; l = next) {
        struct aco_status *s = ACO_CONTAINER_OF(l, struct aco_status, link);
        next = l->next;
        if (aco_mailbox_closed(s->mailbox))
            status_free(s);
        else
            status_tell(s->mailbox, msg);
    }
    aco_msg_unref(msg);
}

static struct aco_status *
status_find(const aco_net *net, const aco_mailbox *mailbox)
{
    for (aco_link *l = net->status.next; l != &net->status; l = l->next) {
        struct aco_status *s = ACO_CONTAINER_OF(l, struct aco_status, link);
        if (s->mailbox == mailbox) return s;
    }
    return NULL;
}

static int
status_add(aco_net *net, aco_mailbox *mailbox)
{
    struct aco_status *s = calloc(1, sizeof *s);

    if (s == NULL) return ACO_ENOMEM;
    s->mailbox = aco_mailbox_ref(mailbox);
    aco_list_append(&net->status, &s->link);
    for (aco_link *l = net->peers.next; l != &net->peers; l = l->next) {
        aco_peer *peer = ACO_CONTAINER_OF(l, aco_peer, link);
        if (!peer->up) continue;
        aco_msg *msg = status_msg(peer, true);
        status_tell(mailbox, msg);
        aco_msg_unref(msg);
    }
    return ACO_OK;
}

int
aco_net_watch_peers(aco_net *net, aco_mailbox *mailbox, bool stop)
{
    int err = ACO_OK;

    pthread_mutex_lock(&net->lock);
    struct aco_status *s = status_find(net, mailbox);
    if (stop && s != NULL) status_free(s);
    if (!stop && s == NULL) err = status_add(net, mailbox);
    pthread_mutex_unlock(&net->lock);
    return err;
}

struct aco_peer_info *
aco_net_peers(aco_net *net, size_t *count)
{
    struct aco_peer_info *all = NULL;
    size_t most = 0, n = 0;

    pthread_mutex_lock(&net->lock);
    for (aco_link *l = net->peers.next; l != &net->peers; l = l->next)
        most++;
    if (most > 0) all = calloc(most, sizeof *all);
    for (aco_link *l = net->peers.next; all != NULL && l != &net->peers; l = l->next) {
        const aco_peer *peer = ACO_CONTAINER_OF(l, aco_peer, link);
        if (!peer->up) continue;
        memcpy(all[n].process, peer->id, 16);
        memcpy(all[n].location, peer->location, sizeof peer->location);
        memcpy(all[n].name, peer->name, sizeof peer->name);
        n++;
    }
    pthread_mutex_unlock(&net->lock);
    *count = n;
    if (n > 0) return all;
    free(all);
    return NULL;
}

/* Posts of peers are answered to the connection on which they came. */
bool
aco_net_asker(aco_net *net, const aco_post *post, struct aco_peer_info *info)
{
    uint8_t key[8];

    aco_put_u64(key, post->task);
    pthread_mutex_lock(&net->lock);
    const aco_connection *c = post->from != NULL && post->from == net->inbox
                                  ? aco_map_get(&net->by_serial, key, sizeof key)
                                  : NULL;
    const aco_peer *peer = c != NULL ? c->peer : NULL;
    if (peer != NULL) {
        memcpy(info->process, peer->id, sizeof info->process);
        memcpy(info->location, peer->location, sizeof peer->location);
        memcpy(info->name, peer->name, sizeof peer->name);
    }
    pthread_mutex_unlock(&net->lock);
    return peer != NULL;
}

bool
aco_net_takes_code(aco_net *net)
{
    pthread_mutex_lock(&net->lock);
    bool takes = net->running && net->code;
    pthread_mutex_unlock(&net->lock);
    return takes;
}

int
aco_net_peer(aco_net *net, const char *where, bool keep, const aco_return *who)
{
    pthread_mutex_lock(&net->lock);
    aco_place *place = net->running ? aco_place_get(net, where) : NULL;
    int err = place != NULL ? ACO_OK : ACO_EINVALID;
    if (place != NULL) {
        if (keep) place->permanent = true;
        place->not_before = 0; /* who asks does not want to hear of the last attempt */
        err = aco_place_visit(place, who);
        if (err == ACO_OK && who != NULL) aco_answer(who, ACO_OK, NULL);
        if (err == ACO_PENDING) err = ACO_OK;
        aco_net_kick(net);
    }
    pthread_mutex_unlock(&net->lock);
    return err;
}

int
aco_net_close_peer(aco_net *net, const char *where)
{
    pthread_mutex_lock(&net->lock);
    aco_place *place = net->running ? aco_place_get(net, where) : NULL;
    aco_peer *peer = NULL;
    if (place != NULL) {
        place->permanent = false;
        if (place->reached) peer = aco_peer_find(net, place->id);
        if (peer == NULL) peer = aco_peer_at(net, place->text);
    }
    bool up = peer != NULL && peer->connection != NULL;
    if (up) aco_connection_bye(peer->connection, ACO_W_CLOSED, "its peer was told to leave it");
    pthread_mutex_unlock(&net->lock);
    return up ? ACO_OK : ACO_ENOTFOUND;
}
