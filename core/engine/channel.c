/* SPDX-License-Identifier: MIT */
/* channel.c -- channels: making, naming and closing them, and who waits for them. */
#include "core/engine/channel.h"
#include "core/engine/channel_state.h"
#include "core/engine/process_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct aco_channels *
aco_channels_new(aco_process *process, uint64_t seed)
{
    struct aco_channels *all = calloc(1, sizeof *all);

    if (all == NULL) return NULL;
    all->process = process;
    all->homes.seed = all->fars.seed = all->peers.seed = seed;
    all->posts_end = &all->posts;
    aco_list_init(&all->ready);
    aco_list_init(&all->idle);
    atomic_init(&all->filled, false);
    pthread_mutex_init(&all->lock, NULL);
    return all;
}

void
aco_channels_free(struct aco_channels *all)
{
    size_t place = 0;

    if (all == NULL) return;
    for (channel_peer *p; (p = aco_map_next(&all->peers, &place)) != NULL;)
        aco_chan_peer_free(p);
    aco_map_free(&all->homes); /* empty: channels hold their process */
    aco_map_free(&all->fars);
    aco_map_free(&all->peers);
    pthread_mutex_destroy(&all->lock);
    free(all);
}

void
aco_channels_enter(struct aco_channels *all)
{
    pthread_mutex_lock(&all->lock);
}

void
aco_channels_exit(struct aco_channels *all)
{
    if (!aco_list_empty(&all->idle)) aco_chan_peers_release(all);
    member *members = all->waste_members;
    aco_channel *channels = all->waste_channels;
    aco_post *posts = all->posts;

    all->waste_members = NULL;
    all->waste_channels = NULL;
    all->posts = NULL;
    all->posts_end = &all->posts;
    pthread_mutex_unlock(&all->lock);
    while (posts != NULL) {
        aco_post *post = posts;
        aco_inbox *inbox = post->from;
        posts = post->next;
        post->from = NULL;
        aco_inbox_post(inbox, post);
        aco_inbox_unref(inbox);
    }
    while (members != NULL) {
        member *m = members;
        members = m->waste;
        if (m->is.mailbox != NULL) aco_mailbox_unref(m->is.mailbox);
        aco_process_unref(m->process);
        free(m);
    }
    while (channels != NULL) {
        aco_channel *channel = channels;
        channels = channel->waste;
        aco_inbox_unref(channel->inbox);
        aco_export_unref(channel->record);
        aco_process_unref(channel->process);
        free(channel->name);
        free(channel);
    }
}

/* Making and unmaking -------------------------------------------------------------------------- */

static aco_channel *
channel_new(aco_process *process, const char *name)
{
    aco_channel *channel = calloc(1, sizeof *channel);

    if (channel != NULL) channel->name = strdup(name);
    if (channel == NULL || channel->name == NULL) {
        free(channel);
        return NULL;
    }
    channel->refs = 1;
    channel->all = process->channels;
    channel->process = aco_process_ref(process);
    channel->index.seed = channel->all->peers.seed;
    aco_list_init(&channel->members);
    aco_list_init(&channel->parents);
    aco_list_init(&channel->waiters);
    aco_list_init(&channel->counters);
    aco_list_init(&channel->awaiting);
    aco_list_init(&channel->publishers);
    return channel;
}

/* One that is in no map, and has nothing yet. */
static void
channel_scrap(aco_channel *channel)
{
    aco_inbox_unref(channel->inbox);
    aco_process_unref(channel->process);
    free(channel->name);
    free(channel);
}

int
aco_channel_new(aco_seat *seat, uint64_t serial, const char *name, aco_channel **made)
{
    aco_identity identity = {.engine = aco_seat_number(seat), .serial = serial};
    aco_channel *channel = channel_new(seat->process, name);

    if (channel == NULL) return ACO_ENOMEM;
    aco_identity_write(&identity, channel->key);
    channel->engine = identity.engine;
    channel->seat = seat;
    channel->inbox = aco_inbox_ref(seat->inbox);
    aco_channels_enter(channel->all);
    int err = aco_map_put(&channel->all->homes, channel->key + 16, CH_TARGET, channel);
    aco_channels_exit(channel->all);
    if (err != ACO_OK)
        channel_scrap(channel);
    else
        *made = channel;
    return err;
}

/* A replica. */
static aco_channel *
far_new(struct aco_channels *all, const aco_identity *identity, const char *route, const char *name)
{
    aco_channel *channel = channel_new(all->process, name);

    if (channel == NULL) return NULL;
    channel->far = true;
    channel->engine = identity->engine;
    aco_identity_write(identity, channel->key);
    aco_channels_enter(all);
    aco_channel *known = aco_map_get(&all->fars, channel->key, sizeof channel->key);
    if (known == NULL) channel->home = aco_chan_peer(all, identity->process, route);
    if (channel->home != NULL &&
        aco_map_put(&all->fars, channel->key, sizeof channel->key, channel) == ACO_OK) {
        aco_list_append(&channel->home->fars, &channel->of_home);
        known = channel;
    } else if (known != NULL) {
        known->refs++;
        if (known->home->route[0] == 0) aco_chan_peer(all, identity->process, route);
    }
    aco_channels_exit(all);
    if (known != channel) channel_scrap(channel);
    return known;
}

aco_channel *
aco_channel_get(aco_process *process, const aco_identity *identity, const char *route,
                const char *name)
{
    struct aco_channels *all = process->channels;
    uint8_t key[ACO_IDENTITY_SIZE];

    if (memcmp(identity->process, process->id, sizeof identity->process) != 0)
        return far_new(all, identity, route, name);
    aco_identity_write(identity, key);
    aco_channels_enter(all);
    aco_channel *channel = aco_chan_find(all, key + 16);
    if (channel != NULL) channel->refs++;
    aco_channels_exit(all);
    if (channel != NULL) return channel;
    channel = channel_new(process, name);
    if (channel == NULL) return NULL;
    memcpy(channel->key, key, sizeof key);
    channel->engine = identity->engine;
    channel->closed = true;
    return channel;
}

aco_channel *
aco_chan_find(struct aco_channels *all, const uint8_t target[CH_TARGET])
{
    return aco_map_get(&all->homes, target, CH_TARGET);
}

aco_channel *
aco_chan_replica(struct aco_channels *all, const uint8_t from[16], const uint8_t target[CH_TARGET])
{
    uint8_t key[ACO_IDENTITY_SIZE];

    memcpy(key, from, 16);
    memcpy(key + 16, target, CH_TARGET);
    return aco_map_get(&all->fars, key, sizeof key);
}

aco_channel *
aco_channel_ref(aco_channel *channel)
{
    aco_channels_enter(channel->all);
    channel->refs++;
    aco_channels_exit(channel->all);
    return channel;
}

void
aco_chan_unref(aco_channel *channel)
{
    struct aco_channels *all = channel->all;

    if (--channel->refs > 0) return;
    channel->refs = 1; /* while it is closed */
    aco_chan_close(channel);
    if (channel->far && aco_map_get(&all->fars, channel->key, sizeof channel->key) == channel)
        aco_map_remove(&all->fars, channel->key, sizeof channel->key);
    aco_link_remove(&channel->of_home);
    if (channel->home != NULL) aco_chan_peer_idle(all, channel->home);
    aco_map_free(&channel->index);
    channel->waste = all->waste_channels;
    all->waste_channels = channel;
}

void
aco_channel_unref(aco_channel *channel)
{
    struct aco_channels *all;

    if (channel == NULL) return;
    all = channel->all;
    aco_channels_enter(all);
    aco_chan_unref(channel);
    aco_channels_exit(all);
}

/* At home, and for a replica whose home has said so. */
void
aco_chan_close(aco_channel *channel)
{
    struct aco_channels *all = channel->all;

    if (channel->closed) return;
    channel->refs++;
    channel->closed = true;
    if (!channel->far) {
        aco_map_remove(&all->homes, channel->key + 16, CH_TARGET);
        for (aco_link *l = channel->members.next; l != &channel->members; l = l->next) {
            member *m = ACO_CONTAINER_OF(l, member, link);
            if (m->peer != NULL) (void)aco_chan_say(channel, m->peer, CH_CLOSED);
        }
    }
    aco_chan_empty(channel);
    aco_chan_let_go(channel);
    while (!aco_list_empty(&channel->awaiting)) {
        aco_ticket *ticket = ACO_CONTAINER_OF(channel->awaiting.next, aco_ticket, awaiting);
        aco_link_remove(&ticket->awaiting);
        aco_chan_ticket_settle(ticket, 0, ACO_ECLOSED);
    }
    while (!aco_list_empty(&channel->parents))
        aco_chan_member_remove(ACO_CONTAINER_OF(channel->parents.next, member, of_child));
    aco_chan_tell(&channel->waiters);
    aco_chan_tell(&channel->counters);
    channel->refs--;
}

void
aco_channel_close(aco_channel *channel)
{
    aco_process *process;
    aco_export *record = NULL;

    if (channel->far) return;
    process = aco_process_ref(channel->process);
    aco_channels_enter(channel->all);
    if (!channel->closed) record = channel->record;
    aco_chan_close(channel);
    aco_channels_exit(channel->all);
    if (record != NULL) aco_export_end(record, ACO_FINISHED, NULL);
    aco_channels_flush(process);
    aco_process_unref(process);
}

/* Under the lock: the coros of an engine are subscribed no more. */
static void
coros_leave(aco_channel *channel, uint32_t engine)
{
    for (aco_link *l = channel->members.next, *next; l != &channel->members; l = next) {
        member *m = ACO_CONTAINER_OF(l, member, link);
        next = l->next;
        if (m->is.mailbox != NULL && m->is.engine == engine) aco_chan_member_remove(m);
    }
}

/* Every channel of a map, with a reference, and how many; NULL: none, or no memory. */
static aco_channel **
channels_list(const aco_map *map, size_t *count)
{
    aco_channel **list = map->count > 0 ? malloc(map->count * sizeof *list) : NULL, *channel;
    size_t place = 0;

    *count = 0;
    while (list != NULL && (channel = aco_map_next(map, &place)) != NULL) {
        channel->refs++;
        list[(*count)++] = channel;
    }
    return list;
}

void
aco_channels_leave(aco_process *process, uint32_t engine)
{
    struct aco_channels *all = process->channels;
    const aco_map *maps[] = {&all->homes, &all->fars};

    for (int i = 0; i < 2; i++) {
        size_t count;
        aco_channels_enter(all);
        aco_channel **list = channels_list(maps[i], &count);
        for (size_t k = 0; k < count; k++)
            coros_leave(list[k], engine);
        aco_channels_exit(all);
        for (size_t k = 0; k < count; k++) {
            if (!list[k]->far && list[k]->engine == engine) aco_channel_close(list[k]);
            aco_channel_unref(list[k]);
        }
        free(list);
    }
    aco_channels_flush(process);
}

/* What is known of it --------------------------------------------------------------------------
 */

void
aco_channel_identity(const aco_channel *channel, aco_identity *identity)
{
    aco_identity_read(identity, channel->key);
    if (!channel->far) memcpy(identity->process, channel->process->id, sizeof identity->process);
}

const char *
aco_channel_name(const aco_channel *channel)
{
    return channel->name;
}

void
aco_channel_route(aco_channel *channel, char route[ACO_ROUTE_MAX + 1])
{
    aco_channels_enter(channel->all);
    const char *text = channel->far ? channel->home->route : aco_process_route(channel->process);
    snprintf(route, ACO_ROUTE_MAX + 1, "%s", text);
    aco_channels_exit(channel->all);
}

bool
aco_channel_is_far(const aco_channel *channel)
{
    return channel->far;
}

uint32_t
aco_channel_engine(const aco_channel *channel)
{
    return channel->engine;
}

bool
aco_channel_closed(aco_channel *channel)
{
    aco_channels_enter(channel->all);
    bool closed = channel->closed;
    aco_channels_exit(channel->all);
    return closed;
}

void
aco_channel_set_transform(aco_channel *channel, bool transforms)
{
    aco_channels_enter(channel->all);
    channel->transforms = transforms;
    aco_channels_exit(channel->all);
}

/* The record behind its name, a reference of the caller's; made when there is none. */
static int
record_get(aco_channel *channel, aco_export **record)
{
    uint64_t serial = (uint64_t)get_u32(channel->key + 20) << 32 | get_u32(channel->key + 24);
    aco_export *made = NULL;
    int err = ACO_OK;

    aco_channels_enter(channel->all);
    if (channel->closed) err = ACO_ECLOSED;
    if (err == ACO_OK && channel->record == NULL) {
        err = aco_export_new(channel->seat, ACO_KIND_CHANNEL, serial, channel->name, NULL, &made);
        if (err == ACO_OK) channel->record = made;
    }
    if (err == ACO_OK) *record = aco_export_ref(channel->record);
    aco_channels_exit(channel->all);
    return err;
}

int
aco_channel_register(aco_channel *channel, const char *name, size_t size)
{
    aco_export *record;
    int err = record_get(channel, &record);

    if (err != ACO_OK) return err;
    err = aco_name_register(record, name, size);
    aco_export_unref(record);
    return err == ACO_ENOTFOUND ? ACO_ECLOSED : err;
}

int
aco_channel_unregister(aco_channel *channel, const char *name, size_t size)
{
    aco_export *record = NULL;

    aco_channels_enter(channel->all);
    if (channel->record != NULL) record = aco_export_ref(channel->record);
    aco_channels_exit(channel->all);
    int err = record != NULL ? aco_name_unregister(record, name, size) : ACO_ENOTFOUND;
    aco_export_unref(record);
    return err;
}

/* Who waits ------------------------------------------------------------------------------------ */

int
aco_chan_wait(aco_link *list, const aco_return *who)
{
    channel_waiter *w = calloc(1, sizeof *w);

    if (w == NULL) return ACO_ENOMEM;
    w->who = *who;
    aco_inbox_ref(w->who.inbox);
    aco_list_append(list, &w->link);
    return ACO_OK;
}

static void
waiter_free(channel_waiter *w)
{
    aco_link_remove(&w->link);
    aco_inbox_unref(w->who.inbox);
    free(w);
}

void
aco_chan_tell(aco_link *list)
{
    while (!aco_list_empty(list)) {
        channel_waiter *w = ACO_CONTAINER_OF(list->next, channel_waiter, link);
        aco_inbox_signal(w->who.inbox, ACO_POST_SPACE, w->who.task, w->who.token, ACO_OK);
        waiter_free(w);
    }
}

static void
list_forget(aco_link *list, const aco_return *who)
{
    for (aco_link *l = list->next, *next; l != list; l = next) {
        channel_waiter *w = ACO_CONTAINER_OF(l, channel_waiter, link);
        next = l->next;
        if (w->who.inbox == who->inbox && w->who.task == who->task && w->who.token == who->token)
            waiter_free(w);
    }
}

void
aco_channel_forget(aco_channel *channel, const aco_return *who)
{
    aco_channels_enter(channel->all);
    list_forget(&channel->waiters, who);
    list_forget(&channel->counters, who);
    aco_channels_exit(channel->all);
}

int
aco_channel_await(aco_channel *channel, size_t n, const aco_return *who, size_t *count)
{
    int err = ACO_OK;

    aco_channels_enter(channel->all);
    *count = channel->count;
    if (channel->closed)
        err = ACO_ECLOSED;
    else if (channel->count < n)
        err = who == NULL || aco_chan_wait(&channel->counters, who) == ACO_OK ? ACO_PENDING
                                                                              : ACO_ENOMEM;
    aco_channels_exit(channel->all);
    return err;
}

/* There are more members than there were. */
void
aco_chan_changed(aco_channel *channel)
{
    aco_chan_tell(&channel->counters);
    for (aco_link *l = channel->awaiting.next, *next; l != &channel->awaiting; l = next) {
        aco_ticket *t = ACO_CONTAINER_OF(l, aco_ticket, awaiting);
        next = l->next;
        if (channel->count < t->n) continue;
        aco_link_remove(&t->awaiting);
        t->refs++;
        aco_chan_fan_out(channel, t->msg, t, t->hops);
        aco_chan_ticket_settle(t, 0, ACO_OK);
        aco_chan_ticket_unref(t);
    }
}
