/* SPDX-License-Identifier: MIT */
/* search.c -- names that this process looks for at its peers: at one location, or at all of them,
 * those that come later included. */
#include "core/net/state.h"

#include "core/base/clock.h"
#include "core/base/msgpack.h"

#include <stdlib.h>
#include <string.h>

/* Let it go, and let peers that were asked know. */
static void
search_free(aco_search *search, aco_net *net)
{
    for (aco_link *l = net->peers.next; l != &net->peers; l = l->next) {
        aco_peer *peer = ACO_CONTAINER_OF(l, aco_peer, link);
        size_t place = 0;
        aco_ask *ask;
        while ((ask = aco_map_next(&peer->asks, &place)) != NULL) {
            if (ask->search != search) continue;
            (void)aco_peer_queue(peer, ACO_F_FORGET, 0, NULL, ask->id, sizeof ask->id, NULL);
            ask->search = NULL; /* its answer will find nobody */
        }
    }
    if (search->place != NULL) {
        search->place->searches--;
        aco_place_release(search->place);
    }
    aco_link_remove(&search->link);
    aco_inbox_unref(search->waiter.who.inbox);
    free(search);
}

static void
search_end(aco_search *search, int err, aco_msg *msg)
{
    aco_return who = search->waiter.who;

    aco_inbox_ref(who.inbox);
    search_free(search, search->net);
    aco_answer(&who, err, msg);
    aco_inbox_unref(who.inbox);
}

void
aco_search_answer(aco_search *search, int err, aco_msg *msg)
{
    search->asked--;
    search_end(search, err, msg);
}

/* A peer does not know the name, or is lost. */
void
aco_search_negative(aco_search *search)
{
    search->asked--;
    if (!search->wait && search->asked == 0) search_end(search, ACO_ENOTFOUND, NULL);
}

/* It was reached there, or says that it is there: it may have been quicker to connect. */
static bool
is_at(const aco_peer *peer, const aco_place *place)
{
    return (place->reached && memcmp(place->id, peer->id, sizeof peer->id) == 0) ||
           strcmp(place->text, peer->location) == 0;
}

void
aco_search_peer(aco_search *search, aco_peer *peer)
{
    uint8_t head[9 + UINT8_MAX];

    if (search->place != NULL && !is_at(peer, search->place)) return;
    aco_ask *ask = aco_ask_new(peer, NULL);
    if (ask == NULL) return;
    memcpy(head, ask->id, 8);
    head[8] = search->wait;
    memcpy(head + 9, search->name, search->size);
    ask->search = search;
    if (aco_peer_queue(peer, ACO_F_LOCATE, 0, NULL, head, 9 + search->size, NULL) == ACO_OK) {
        search->asked++;
        return;
    }
    aco_ask_take(peer, ask->id);
    aco_ask_free(ask);
}

/* The value that is the location of a peer. */
static aco_msg *
location_value(const aco_peer *peer)
{
    uint8_t bytes[ACO_ROUTE_MAX + ACO_MP_HEAD];
    size_t size = strlen(peer->location);
    uint8_t *at = aco_mp_ext(bytes, 4, (uint32_t)size);

    memcpy(at, peer->location, size);
    return aco_msg_new(bytes, (size_t)(at + size - bytes));
}

static bool
peer_matches(const aco_search *search, const aco_peer *peer)
{
    return peer->up && strlen(peer->name) == search->size &&
           memcmp(peer->name, search->name, search->size) == 0;
}

static void
peer_found(aco_search *search, const aco_peer *peer)
{
    aco_msg *msg = location_value(peer);

    search_end(search, msg != NULL ? ACO_OK : ACO_ENOMEM, msg);
    aco_msg_unref(msg);
}

void
aco_searches_peer_up(aco_peer *peer)
{
    for (aco_link *l = peer->net->searches.next, *next; l != &peer->net->searches; l = next) {
        aco_search *search = ACO_CONTAINER_OF(l, aco_search, link);
        next = l->next;
        if (!search->peer)
            aco_search_peer(search, peer);
        else if (peer_matches(search, peer))
            peer_found(search, peer);
    }
}

static aco_search *
search_new(aco_net *net, const char *name, size_t size, bool wait, const aco_return *who)
{
    aco_search *search = calloc(1, sizeof *search + size);

    if (search == NULL) return NULL;
    search->net = net;
    search->waiter.who = *who;
    aco_inbox_ref(who->inbox);
    search->wait = wait;
    search->size = size;
    memcpy(search->name, name, size);
    aco_list_append(&net->searches, &search->link);
    return search;
}

/* Ask whoever is there; without waiting, an answer must come from those. */
static void
search_begin(aco_search *search)
{
    aco_net *net = search->net;

    for (aco_link *l = net->peers.next; l != &net->peers; l = l->next) {
        aco_peer *peer = ACO_CONTAINER_OF(l, aco_peer, link);
        if (peer->up) aco_search_peer(search, peer);
    }
    bool may_come = search->place != NULL && search->asked == 0 && search->place->dial != NULL;
    if (!search->wait && search->asked == 0 && !may_come)
        search_end(search, search->place != NULL ? ACO_EPEERDOWN : ACO_ENOTFOUND, NULL);
}

int
aco_search_start(aco_net *net, const char *where, const char *name, size_t size, bool wait,
                 const aco_return *who)
{
    aco_place *place = where != NULL ? aco_place_get(net, where) : NULL;

    if (size == 0 || size > UINT8_MAX || (where != NULL && place == NULL)) return ACO_EINVALID;
    aco_search *search = search_new(net, name, size, wait, who);
    if (search == NULL) return ACO_ENOMEM;
    search->place = place;
    if (place != NULL) {
        place->searches++;
        int err = aco_place_visit(place, NULL);
        if (err != ACO_OK && err != ACO_PENDING && wait)
            aco_net_alarm(net, &place->alarm, place->not_before);
    }
    search_begin(search);
    return ACO_OK;
}

/* An attempt to reach a place has failed: who does not wait for it hears so. */
void
aco_searches_place_failed(aco_place *place)
{
    aco_net *net = place->net;

    for (aco_link *l = net->searches.next, *next; l != &net->searches; l = next) {
        aco_search *search = ACO_CONTAINER_OF(l, aco_search, link);
        next = l->next;
        if (search->place == place && !search->wait && search->asked == 0)
            search_end(search, ACO_EPEERDOWN, NULL);
    }
}

bool
aco_search_forget(aco_net *net, const aco_return *who)
{
    for (aco_link *l = net->searches.next; l != &net->searches; l = l->next) {
        aco_search *search = ACO_CONTAINER_OF(l, aco_search, link);
        if (!aco_same_return(&search->waiter.who, who)) continue;
        search_free(search, net);
        return true;
    }
    return false;
}

void
aco_searches_end(aco_net *net)
{
    while (!aco_list_empty(&net->searches))
        search_end(ACO_CONTAINER_OF(net->searches.next, aco_search, link), ACO_EPEERDOWN, NULL);
}

int
aco_net_locate_peer(aco_net *net, const char *name, size_t size, bool wait, const aco_return *who)
{
    pthread_mutex_lock(&net->lock);
    int err = !net->running                      ? ACO_EPEERDOWN
              : size == 0 || size > ACO_NAME_MAX ? ACO_EINVALID
                                                 : ACO_OK;
    aco_search *search = err == ACO_OK ? search_new(net, name, size, wait, who) : NULL;
    if (err == ACO_OK && search == NULL) err = ACO_ENOMEM;
    if (search != NULL) {
        search->peer = true;
        aco_link *l = net->peers.next;
        while (l != &net->peers && !peer_matches(search, ACO_CONTAINER_OF(l, aco_peer, link)))
            l = l->next;
        if (l != &net->peers)
            peer_found(search, ACO_CONTAINER_OF(l, aco_peer, link));
        else if (!wait)
            search_end(search, ACO_ENOTFOUND, NULL);
    }
    pthread_mutex_unlock(&net->lock);
    return err;
}
