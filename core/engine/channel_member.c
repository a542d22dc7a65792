/* SPDX-License-Identifier: MIT */
/* channel_member.c -- the subscribers of channels, and when there is room at these. */
#include "core/engine/channel.h"
#include "core/engine/channel_state.h"
#include "core/engine/process_state.h"

#include <stdlib.h>

/* The roster is made again when it is needed. */
static void
roster_unref(aco_roster *roster)
{
    if (roster == NULL || --roster->refs > 0) return;
    for (size_t i = 0; i < roster->count; i++)
        aco_chan_member_unref((member *)roster->members[i]);
    free(roster);
}

static void
roster_stale(aco_channel *channel)
{
    aco_roster *roster = channel->roster;

    channel->roster = NULL;
    roster_unref(roster);
}

/* Room ----------------------------------------------------------------------------------------- */

/* One member more, or less, has no room: what comes from elsewhere is held back while there is one.
 */
void
aco_chan_clogged(aco_channel *channel, bool more)
{
    if (more ? channel->clogs++ > 0 : --channel->clogs > 0) {
        if (!more) aco_chan_tell(&channel->waiters);
        return;
    }
    if (channel->far && channel->subscription != SUBSCRIBED_NOT && channel->holds != more) {
        channel->holds = more;
        (void)aco_chan_say(channel, channel->home, more ? CH_PAUSE : CH_RESUME);
    }
    for (aco_link *l = channel->parents.next; l != &channel->parents; l = l->next) {
        member *m = ACO_CONTAINER_OF(l, member, of_child);
        if (more)
            aco_chan_clog(m);
        else
            aco_chan_unclog(m);
    }
    if (more) return;
    aco_chan_let_go(channel);
    aco_chan_tell(&channel->waiters);
}

void
aco_chan_clog(member *m)
{
    if (m->clogs || m->of == NULL) return;
    m->clogs = true;
    aco_chan_clogged(m->of, true);
}

void
aco_chan_unclog(member *m)
{
    if (!m->clogs) return;
    m->clogs = false;
    if (m->of != NULL) aco_chan_clogged(m->of, false);
}

/* Members -------------------------------------------------------------------------------------- */

void
aco_chan_member_unref(member *m)
{
    struct aco_channels *all = m->process->channels;

    if (--m->refs > 0) return;
    if (m->is.channel != NULL) aco_chan_unref(m->is.channel);
    m->waste = all->waste_members;
    all->waste_members = m;
}

/* A replica that nobody needs any more. */
static void
unsubscribe(aco_channel *channel)
{
    if (channel->subscription == SUBSCRIBED_NOT) return;
    channel->subscription = SUBSCRIBED_NOT;
    channel->holds = false;
    if (!channel->closed) (void)aco_chan_say(channel, channel->home, CH_UNSUBSCRIBE);
    aco_chan_unref(channel);
}

void
aco_chan_member_remove(member *m)
{
    aco_channel *channel = m->of;

    if (channel == NULL) return;
    channel->refs++;
    aco_chan_unclog(m);
    atomic_store(&m->is.gone, true);
    m->of = NULL;
    aco_link_remove(&m->link);
    aco_link_remove(&m->of_child);
    aco_link_remove(&m->of_peer);
    aco_map_remove(&channel->index, &m->is.key, sizeof m->is.key);
    channel->count -= m->peer != NULL ? m->count : 1;
    roster_stale(channel);
    aco_chan_tell(&channel->waiters); /* they look again */
    aco_chan_member_unref(m);
    if (channel->far && aco_list_empty(&channel->members))
        unsubscribe(channel);
    else if (channel->far && channel->subscription == SUBSCRIBED_YES)
        (void)aco_chan_subscribe(channel, NULL);
    aco_chan_unref(channel);
}

void
aco_chan_empty(aco_channel *channel)
{
    while (!aco_list_empty(&channel->members))
        aco_chan_member_remove(ACO_CONTAINER_OF(channel->members.next, member, link));
}

/* There is room in the mailbox of a member that had none, or it has ended. */
static void
member_roomy(aco_room *room)
{
    member *m = ACO_CONTAINER_OF(room, member, room);
    aco_process *process = aco_process_ref(m->process);
    struct aco_channels *all = process->channels;

    aco_channels_enter(all);
    aco_chan_unclog(m);
    aco_chan_member_unref(m);
    aco_channels_exit(all);
    aco_channels_flush(process);
    aco_process_unref(process);
}

/* True when messages of `from` reach `target`. */
static bool
reaches(aco_channel *from, const aco_channel *target, uint32_t mark)
{
    if (from == target) return true;
    if (from->mark == mark) return false;
    from->mark = mark;
    for (aco_link *l = from->members.next; l != &from->members; l = l->next) {
        const member *m = ACO_CONTAINER_OF(l, member, link);
        if (m->is.channel != NULL && reaches(m->is.channel, target, mark)) return true;
    }
    return false;
}

/* Forget coros that have ended when the index is about to grow, so that they do not pile up. */
static void
members_prune(aco_channel *channel)
{
    size_t used = channel->index.count;

    if (used < 16 || (used & (used - 1)) != 0) return;
    for (aco_link *l = channel->members.next, *next; l != &channel->members; l = next) {
        member *m = ACO_CONTAINER_OF(l, member, link);
        next = l->next;
        if (m->is.mailbox != NULL && aco_mailbox_closed(m->is.mailbox)) aco_chan_member_remove(m);
    }
}

static member *
member_new(aco_channel *channel, const aco_member *like, channel_peer *peer)
{
    member *m = calloc(1, sizeof *m);

    if (m == NULL) return NULL;
    m->refs = 1;
    atomic_init(&m->is.gone, false);
    m->is.kind = like->kind;
    m->is.engine = like->engine;
    m->is.key = like->key;
    m->is.mailbox = like->mailbox != NULL ? aco_mailbox_ref(like->mailbox) : NULL;
    m->is.channel = like->channel;
    m->process = aco_process_ref(channel->process);
    m->peer = peer;
    m->room.tell = member_roomy;
    if (m->is.channel != NULL) m->is.channel->refs++;
    return m;
}

int
aco_chan_join(aco_channel *channel, const aco_member *like, channel_peer *peer, member **made)
{
    void *key = like->key;

    *made = NULL;
    if (channel->closed) return ACO_ECLOSED;
    if (aco_map_get(&channel->index, &key, sizeof key) != NULL) return ACO_OK;
    if (like->channel != NULL && like->channel->closed) return ACO_ECLOSED;
    if (like->channel != NULL && reaches(like->channel, channel, ++channel->all->marks))
        return ACO_EINVALID;
    members_prune(channel);
    member *m = member_new(channel, like, peer);
    if (m == NULL) return ACO_ENOMEM;
    if (aco_map_put(&channel->index, &m->is.key, sizeof key, m) != ACO_OK) {
        aco_chan_member_unref(m);
        return ACO_ENOMEM;
    }
    m->of = channel;
    aco_list_append(&channel->members, &m->link);
    if (m->is.channel != NULL) aco_list_append(&m->is.channel->parents, &m->of_child);
    if (peer != NULL) aco_list_append(&peer->members, &m->of_peer);
    if (peer == NULL) channel->count++;
    roster_stale(channel);
    if ((m->is.channel != NULL && m->is.channel->clogs > 0) || (peer != NULL && peer->blocked))
        aco_chan_clog(m);
    *made = m;
    return ACO_OK;
}

/* Tell the home of a replica how many there are; the ticket gets its answer. */
int
aco_chan_subscribe(aco_channel *channel, aco_ticket *ticket)
{
    uint8_t head[4];

    put_u32(head, (uint32_t)channel->count);
    return aco_chan_send(channel, channel->home, CH_SUBSCRIBE, head, sizeof head, NULL, ticket);
}

/* It has a member more. */
static int
joined(aco_channel *channel, member *m, aco_ticket *ticket)
{
    if (!channel->far) {
        aco_chan_changed(channel);
        return ACO_OK;
    }
    if (channel->subscription == SUBSCRIBED_YES) {
        if (m != NULL) (void)aco_chan_subscribe(channel, NULL);
        return ACO_OK;
    }
    int err = aco_chan_subscribe(channel, ticket);
    if (err != ACO_OK) {
        if (m != NULL) aco_chan_member_remove(m);
        return err;
    }
    if (channel->subscription == SUBSCRIBED_NOT) channel->refs++;
    channel->subscription = SUBSCRIBED_ASKED;
    return ACO_PENDING;
}

int
aco_chan_enrol(aco_channel *channel, const aco_member *like, aco_ticket *ticket)
{
    member *m;
    int err = aco_chan_join(channel, like, NULL, &m);

    return err == ACO_OK && (m != NULL || channel->far) ? joined(channel, m, ticket) : err;
}

static int
join(aco_channel *channel, const aco_member *like, aco_ticket *ticket)
{
    aco_channels_enter(channel->all);
    int err = aco_chan_enrol(channel, like, ticket);
    aco_channels_exit(channel->all);
    aco_channels_flush(channel->process);
    return err;
}

int
aco_channel_join_coro(aco_channel *channel, aco_mailbox *mailbox, uint32_t engine,
                      aco_ticket *ticket)
{
    const aco_member like = {
        .kind = ACO_MEMBER_CORO, .engine = engine, .key = mailbox, .mailbox = mailbox};

    return join(channel, &like, ticket);
}

int
aco_channel_join_channel(aco_channel *channel, aco_channel *sub, aco_ticket *ticket)
{
    const aco_member like = {.kind = ACO_MEMBER_CHANNEL, .key = sub, .channel = sub};

    return join(channel, &like, ticket);
}

int
aco_chan_part(aco_channel *channel, const void *key)
{
    member *m = aco_map_get(&channel->index, &key, sizeof key);

    if (channel->closed) return ACO_ECLOSED;
    if (m == NULL) return ACO_ENOTFOUND;
    aco_chan_member_remove(m);
    return ACO_OK;
}

int
aco_channel_part(aco_channel *channel, const void *key)
{
    aco_channels_enter(channel->all);
    int err = aco_chan_part(channel, key);
    aco_channels_exit(channel->all);
    aco_channels_flush(channel->process);
    return err;
}

/* Rosters -------------------------------------------------------------------------------------- */

static aco_roster *
roster_make(aco_channel *channel)
{
    size_t count = channel->index.count, at = 0;
    aco_roster *roster = malloc(sizeof *roster + count * sizeof *roster->members);

    if (roster == NULL) return NULL;
    for (aco_link *l = channel->members.next; l != &channel->members; l = l->next) {
        member *m = ACO_CONTAINER_OF(l, member, link);
        m->refs++;
        roster->members[at++] = &m->is;
    }
    roster->count = count;
    roster->refs = 1;
    roster->channel = channel;
    return roster;
}

aco_roster *
aco_channel_roster(aco_channel *channel, int *err)
{
    aco_channels_enter(channel->all);
    *err = channel->closed ? ACO_ECLOSED : ACO_OK;
    aco_roster *roster = NULL;
    if (*err == ACO_OK && !aco_list_empty(&channel->members)) {
        if (channel->roster == NULL) channel->roster = roster_make(channel);
        roster = channel->roster;
        if (roster == NULL) *err = ACO_ENOMEM;
    }
    if (roster != NULL) {
        roster->refs++;
        channel->refs++;
    }
    aco_channels_exit(channel->all);
    return roster;
}

void
aco_roster_drop(aco_roster *roster)
{
    if (roster == NULL) return;
    aco_channel *channel = roster->channel;
    struct aco_channels *all = channel->all;
    aco_channels_enter(all);
    roster_unref(roster);
    aco_chan_unref(channel);
    aco_channels_exit(all);
}

void
aco_roster_ended(aco_roster *roster, aco_member *ended)
{
    aco_channel *channel = roster->channel;
    member *m = (member *)ended;

    aco_channels_enter(channel->all);
    if (m->of != NULL) aco_chan_member_remove(m);
    aco_channels_exit(channel->all);
    if (channel->far) aco_channels_flush(channel->process);
}
