/* SPDX-License-Identifier: MIT */
/* place.c -- locations: who is there, and how to get there. An attempt looks its name up, tries its
 * addresses in turn, and ends with a peer or with a reason; after a failure the next one has to
 * wait, longer each time, with jitter so that many do not come at once. */
#include "core/net/state.h"

#include "core/base/clock.h"
#include "core/base/random.h"
#include "core/io/socket.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_DELAY (ACO_SECOND / 10)
#define LONGEST_DELAY (30 * ACO_SECOND)
enum { PLACES = 1024 };

static bool
is_wanted(const aco_place *place)
{
    return place->permanent || place->searches > 0;
}

static bool
is_busy(const aco_place *place)
{
    return place->dial != NULL || place->lookup != NULL;
}

static bool
is_expected(const aco_place *place)
{
    for (const aco_link *l = place->net->peers.next; l != &place->net->peers; l = l->next)
        if (ACO_CONTAINER_OF(l, aco_peer, link)->place == place) return true;
    return false;
}

static void
place_free(aco_place *place)
{
    aco_net_alarm(place->net, &place->alarm, ACO_NEVER);
    aco_waiters_answer(&place->waiters, ACO_EPEERDOWN, NULL);
    if (place->lookup != NULL) aco_job_unref(&place->lookup->job);
    aco_link_remove(&place->link);
    free(place);
}

void
aco_places_free(aco_net *net)
{
    while (!aco_list_empty(&net->places))
        place_free(ACO_CONTAINER_OF(net->places.next, aco_place, link));
}

/* A program that meets very many locations keeps those that are of use. */
static void
places_sweep(aco_net *net)
{
    size_t count = 0;

    for (aco_link *l = net->places.next; l != &net->places; l = l->next)
        count++;
    if (count < PLACES) return;
    for (aco_link *l = net->places.next, *next; l != &net->places; l = next) {
        aco_place *place = ACO_CONTAINER_OF(l, aco_place, link);
        next = l->next;
        if (!is_wanted(place) && !is_busy(place) && !is_expected(place) &&
            place->not_before < aco_now())
            place_free(place);
    }
}

aco_place *
aco_place_get(aco_net *net, const char *text)
{
    aco_location location;
    char canonical[ACO_LOCATION_TEXT];

    if (aco_location_parse(&location, text, strlen(text), NULL) != ACO_OK) return NULL;
    if (aco_location_text(&location, canonical) > ACO_ROUTE_MAX) return NULL;
    for (aco_link *l = net->places.next; l != &net->places; l = l->next) {
        aco_place *place = ACO_CONTAINER_OF(l, aco_place, link);
        if (strcmp(place->text, canonical) == 0) return place;
    }
    places_sweep(net);
    aco_place *place = calloc(1, sizeof *place);
    if (place == NULL) return NULL;
    place->net = net;
    place->location = location;
    memcpy(place->text, canonical, strlen(canonical) + 1);
    place->alarm.kind = ACO_ALARM_PLACE;
    aco_list_init(&place->waiters);
    aco_list_append(&net->places, &place->link);
    return place;
}

void
aco_place_release(aco_place *place)
{
    if (!is_wanted(place)) aco_net_alarm(place->net, &place->alarm, ACO_NEVER);
}

/* An attempt ----------------------------------------------------------------------------------- */

static void
lookup_drop(aco_place *place)
{
    if (place->lookup == NULL) return;
    aco_job_unref(&place->lookup->job);
    place->lookup = NULL;
}

/* Connect to the next address that can be tried; false when there is none. */
static bool
address_try(aco_place *place)
{
    aco_lookup *lookup = place->lookup;

    while (place->next_address < lookup->count) {
        const char *host = lookup->addresses[place->next_address++];
        aco_address address;
        int fd;
        if (aco_address_parse(&address, host, place->location.port) != ACO_OK) continue;
        int err = aco_socket_connect(&fd, &address, NULL);
        if (err != ACO_OK && err != ACO_EBUSY) {
            snprintf(place->error, sizeof place->error, "%s", aco_err_text(err));
            continue;
        }
        place->dial = aco_connection_dial(place, fd, err == ACO_OK);
        return true;
    }
    return false;
}

static void
lookup_tried(aco_place *place)
{
    if (address_try(place)) return;
    char why[sizeof place->error];
    snprintf(why, sizeof why, "%s", place->error[0] ? place->error : "it has no address");
    lookup_drop(place);
    aco_place_failed(place, ACO_EUNREACHABLE, why);
}

void
aco_place_found(aco_net *net, aco_lookup *lookup)
{
    for (aco_link *l = net->places.next; l != &net->places; l = l->next) {
        aco_place *place = ACO_CONTAINER_OF(l, aco_place, link);
        if (place->lookup != lookup || place->dial != NULL) continue;
        if (lookup->err == ACO_OK) {
            lookup_tried(place);
        } else {
            char why[sizeof place->error];
            snprintf(why, sizeof why, "%s",
                     lookup->text != NULL ? lookup->text : aco_err_text(lookup->err));
            lookup_drop(place);
            aco_place_failed(place, ACO_EUNREACHABLE, why);
        }
        return;
    }
}

/* A numeric host needs no other thread to be looked up. */
static bool
is_numeric(const aco_place *place)
{
    aco_address address;

    return aco_address_parse(&address, place->location.host, place->location.port) == ACO_OK;
}

static int
attempt(aco_place *place)
{
    aco_lookup *lookup = aco_lookup_new(place->location.host, AF_UNSPEC);

    if (lookup == NULL) return ACO_ENOMEM;
    place->lookup = lookup;
    place->next_address = 0;
    place->error[0] = '\0';
    if (is_numeric(place)) {
        lookup->addresses = calloc(1, sizeof *lookup->addresses);
        if (lookup->addresses == NULL) {
            lookup_drop(place);
            return ACO_ENOMEM;
        }
        snprintf(lookup->addresses[0], ACO_ADDRESS_TEXT, "%.*s", ACO_ADDRESS_TEXT - 1,
                 place->location.host);
        lookup->count = 1;
        lookup_tried(place);
        return ACO_OK;
    }
    lookup->job.slow = true;
    aco_pool *pool = aco_process_pool(place->net->process);
    int err = pool != NULL ? aco_job_post(pool, place->net->inbox, &lookup->job) : ACO_ENOMEM;
    if (err != ACO_OK) lookup_drop(place);
    return err;
}

static aco_peer *
who_is_there(const aco_place *place)
{
    aco_peer *peer = place->reached ? aco_peer_find(place->net, place->id) : NULL;

    if (peer == NULL || peer->connection == NULL) peer = aco_peer_at(place->net, place->text);
    return peer != NULL && peer->connection != NULL ? peer : NULL;
}

int
aco_place_visit(aco_place *place, const aco_return *who)
{
    if (who_is_there(place) != NULL) return ACO_OK;
    if (place->net->closing) return ACO_EPEERDOWN;
    if (!is_busy(place) && place->not_before > aco_now()) return ACO_EPEERDOWN;
    if (who != NULL && aco_waiter_add(&place->waiters, who) != ACO_OK) return ACO_ENOMEM;
    if (is_busy(place)) return ACO_PENDING;
    int err = attempt(place);
    if (err == ACO_OK) return ACO_PENDING;
    if (who != NULL) aco_waiter_drop(&place->waiters, who);
    return err;
}

void
aco_place_connected(aco_place *place, const aco_peer *peer)
{
    place->dial = NULL;
    lookup_drop(place);
    place->failures = 0;
    place->not_before = 0;
    place->error[0] = '\0';
    place->reached = true;
    memcpy(place->id, peer->id, sizeof place->id);
    aco_net_alarm(place->net, &place->alarm, ACO_NEVER);
    aco_waiters_answer(&place->waiters, ACO_OK, NULL);
    for (aco_link *l = place->net->peers.next, *next; l != &place->net->peers; l = next) {
        aco_peer *other = ACO_CONTAINER_OF(l, aco_peer, link);
        next = l->next;
        if (other != peer && other->place == place && other->connection == NULL)
            aco_peer_lost(other, "another process lives there now");
    }
}

/* Whoever lives here has connected to us at the same time, and that connection is to serve. */
void
aco_place_await(aco_place *place, aco_connection *c, const uint8_t process[16])
{
    aco_place *other = c->place;

    lookup_drop(place);
    place->reached = true;
    memcpy(place->id, process, sizeof place->id);
    place->dial = other == NULL ? c : NULL;
    if (other == NULL) {
        c->place = place;
        return;
    }
    while (!aco_list_empty(&place->waiters)) {
        aco_link *waiter = place->waiters.next;
        aco_link_remove(waiter);
        aco_list_append(&other->waiters, waiter);
    }
    aco_net_alarm(place->net, &place->alarm,
                  aco_now() + LONGEST_DELAY); /* should it come to nothing */
}

static aco_time
delay_of(const aco_place *place)
{
    aco_time delay = FIRST_DELAY;
    uint32_t random = 0;

    for (unsigned i = 1; i < place->failures && delay < LONGEST_DELAY; i++)
        delay *= 2;
    if (delay > LONGEST_DELAY) delay = LONGEST_DELAY;
    if (aco_random(&random, sizeof random) != ACO_OK) random = 0;
    return delay / 2 + (aco_time)((double)delay * random / UINT32_MAX / 2);
}

/* An attempt has failed, or who was there is gone: some other address may do, or a later time. */
void
aco_place_failed(aco_place *place, int err, const char *why)
{
    aco_net *net = place->net;

    place->dial = NULL;
    if (why != place->error) snprintf(place->error, sizeof place->error, "%s", why);
    bool is_here = err == ACO_EEXISTS && who_is_there(place) != NULL;
    if (is_here) {
        lookup_drop(place);
        aco_waiters_answer(&place->waiters, ACO_OK, NULL);
        return;
    }
    if (place->lookup != NULL && err != ACO_EAUTH && err != ACO_EEXISTS && address_try(place))
        return;
    lookup_drop(place);
    if (err != ACO_EEXISTS) place->failures++;
    aco_time delay = delay_of(place);
    place->not_before = aco_now() + delay;
    char text[ACO_ROUTE_MAX + sizeof place->error + 4];
    snprintf(text, sizeof text, "%s: %s", place->text, place->error);
    aco_waiters_answer(&place->waiters, err == ACO_EAUTH ? ACO_EAUTH : ACO_EPEERDOWN, text);
    for (aco_link *l = net->peers.next, *next; l != &net->peers; l = next) {
        aco_peer *peer = ACO_CONTAINER_OF(l, aco_peer, link);
        next = l->next;
        if (peer->place == place && peer->connection == NULL && err != ACO_EEXISTS)
            aco_peer_lost(peer, text);
    }
    aco_searches_place_failed(place);
    if ((is_wanted(place) || is_expected(place)) && !net->closing)
        aco_net_alarm(net, &place->alarm, place->not_before);
}

/* A peer is gone that was reached at some place: places that are to be kept in touch with are tried
 * again. */
void
aco_place_left(aco_net *net, const aco_peer *peer)
{
    for (aco_link *l = net->places.next; l != &net->places; l = l->next) {
        aco_place *place = ACO_CONTAINER_OF(l, aco_place, link);
        bool was_here = (place->reached && memcmp(place->id, peer->id, 16) == 0) ||
                        strcmp(place->text, peer->location) == 0;
        if (!was_here || !is_wanted(place) || is_busy(place) || net->closing) continue;
        aco_net_alarm(net, &place->alarm, aco_now() + delay_of(place));
    }
}

void
aco_place_alarm(aco_place *place)
{
    if (is_busy(place) || who_is_there(place) != NULL) return;
    if (!is_wanted(place) && !is_expected(place)) return;
    place->not_before = 0;
    int err = attempt(place);
    if (err != ACO_OK) aco_place_failed(place, err, aco_err_text(err));
}
