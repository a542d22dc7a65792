/* SPDX-License-Identifier: MIT */
/* publish.c -- how messages get from channel to channel and to subscribers, and who is told how
 * many they have reached. */
#include "core/engine/channel.h"
#include "core/engine/channel_state.h"
#include "core/engine/process_state.h"

#include <stdlib.h>
#include <string.h>

/* Tickets -------------------------------------------------------------------------------------- */

aco_ticket *
aco_chan_ticket_new(struct aco_channels *all)
{
    aco_ticket *ticket = calloc(1, sizeof *ticket);

    if (ticket == NULL) return NULL;
    ticket->refs = 1;
    ticket->all = all;
    aco_list_init(&ticket->questions);
    return ticket;
}

aco_ticket *
aco_ticket_new(aco_process *process)
{
    aco_ticket *ticket = aco_chan_ticket_new(process->channels);

    if (ticket != NULL) ticket->process = aco_process_ref(process);
    return ticket;
}

void
aco_chan_ticket_unref(aco_ticket *ticket)
{
    if (ticket == NULL || --ticket->refs > 0) return;
    aco_inbox_unref(ticket->who.inbox);
    aco_msg_unref(ticket->msg);
    free(ticket);
}

/* The process that asked is not to be answered any more. */
static void
asker_leave(aco_ticket *ticket)
{
    channel_peer *asker = ticket->asker;

    if (asker == NULL) return;
    asker->asked_count--;
    if (ticket->msg != NULL) asker->asked_bytes -= aco_msg_size(ticket->msg);
    ticket->asker = NULL;
    aco_link_remove(&ticket->of_asker);
}

/* Nobody waits for it any more: nor need those who were asked. */
void
aco_chan_ticket_forget(aco_ticket *ticket)
{
    ticket->dropped = true;
    ticket->refs++;
    aco_inbox_unref(ticket->who.inbox);
    ticket->who.inbox = NULL;
    asker_leave(ticket);
    while (!aco_list_empty(&ticket->questions)) {
        question *q = ACO_CONTAINER_OF(ticket->questions.next, question, of_ticket);
        if (q->type == CH_PUBLISH)
            (void)aco_chan_send(q->channel, q->peer, CH_FORGET, q->id, sizeof q->id, NULL, NULL);
        if (q->type == CH_SUBSCRIBE) { /* its answer matters to the replica */
            aco_link_remove(&q->of_ticket);
            continue;
        }
        aco_chan_question_free(q);
    }
    if (aco_link_in_list(&ticket->awaiting)) {
        aco_link_remove(&ticket->awaiting);
        aco_chan_ticket_settle(ticket, 0, ACO_OK);
    }
    aco_chan_ticket_unref(ticket);
}

void
aco_ticket_drop(aco_ticket *ticket)
{
    aco_process *process;

    if (ticket == NULL) return;
    process = ticket->process;
    aco_channels_enter(process->channels);
    aco_chan_ticket_forget(ticket);
    aco_chan_ticket_unref(ticket);
    aco_channels_exit(process->channels);
    aco_channels_flush(process);
    aco_process_unref(process);
}

/* Everything has been answered. */
static void
ticket_done(aco_ticket *ticket)
{
    if (ticket->who.inbox != NULL) {
        aco_inbox_signal(ticket->who.inbox, ACO_POST_SPACE, ticket->who.task, ticket->who.token,
                         ACO_OK);
        aco_inbox_unref(ticket->who.inbox);
        ticket->who.inbox = NULL;
    }
    if (ticket->asker == NULL) return;
    (void)aco_chan_answer(ticket->all, ticket->asker, ticket->asker_target, ticket->asker_id,
                          ticket->count, ticket->failure, false);
    asker_leave(ticket);
}

/* One of those that were to answer has, which gives back its reference. */
void
aco_chan_ticket_settle(aco_ticket *ticket, size_t count, int failure)
{
    ticket->count += count;
    if (failure != ACO_OK) ticket->failure = failure;
    if (--ticket->pending == 0) ticket_done(ticket);
    aco_chan_ticket_unref(ticket);
}

int
aco_ticket_look(aco_ticket *ticket, size_t *count, int *failure, const aco_return *who)
{
    aco_channels_enter(ticket->all);
    *count = ticket->count;
    *failure = ticket->failure;
    bool pending = ticket->pending > 0;
    aco_inbox_unref(ticket->who.inbox);
    ticket->who.inbox = NULL;
    if (pending && who != NULL) {
        ticket->who = *who;
        aco_inbox_ref(who->inbox);
    }
    aco_channels_exit(ticket->all);
    return pending ? ACO_PENDING : ACO_OK;
}

/* Jobs: messages on their way to the engine of a home ------------------------------------------ */

struct aco_channel_job {
    aco_channel *channel; /* owned reference */
    aco_msg *msg;         /* owned */
    aco_ticket *ticket;   /* owned reference, may be NULL; this is one of its pending */
    size_t n;
    unsigned hops;
    bool done;
};

static void
queue_more(aco_channel *channel)
{
    if (++channel->queued < ACO_CHANNEL_QUEUE || channel->queue_full) return;
    channel->queue_full = true;
    aco_chan_clogged(channel, true);
}

static void
queue_less(aco_channel *channel)
{
    if (--channel->queued > ACO_CHANNEL_QUEUE / 2 || !channel->queue_full) return;
    channel->queue_full = false;
    aco_chan_clogged(channel, false);
}

static int
job_post(aco_channel *channel, aco_msg *msg, aco_ticket *ticket, size_t n, unsigned hops)
{
    aco_post *post = calloc(1, sizeof *post);
    aco_channel_job *job = calloc(1, sizeof *job);

    if (post == NULL || job == NULL) {
        free(post);
        free(job);
        return ACO_ENOMEM;
    }
    *job = (aco_channel_job){.channel = channel, .ticket = ticket, .n = n, .hops = hops};
    job->msg = aco_msg_ref(msg);
    channel->refs++;
    queue_more(channel);
    if (ticket != NULL) {
        ticket->refs++;
        ticket->pending++;
    }
    post->kind = ACO_POST_CHANNEL;
    post->object = job;
    post->from = aco_inbox_ref(channel->inbox); /* where it goes, when the lock is given back */
    *channel->all->posts_end = post;
    channel->all->posts_end = &post->next;
    return ACO_OK;
}

aco_channel *
aco_channel_job_channel(const aco_channel_job *job)
{
    return job->channel;
}

aco_msg *
aco_channel_job_msg(const aco_channel_job *job)
{
    return job->msg;
}

void
aco_channel_job_done(aco_channel_job *job, aco_msg *msg)
{
    aco_channel *channel = job->channel;

    if (job->done) return;
    job->done = true;
    aco_channels_enter(channel->all);
    queue_less(channel);
    int err = channel->closed ? ACO_ECLOSED : ACO_OK;
    if (msg != NULL) aco_chan_accept(channel, msg, job->ticket, job->n, job->hops, true);
    if (job->ticket != NULL) aco_chan_ticket_settle(job->ticket, 0, err);
    aco_channels_exit(channel->all);
    aco_channels_flush(channel->process);
}

void
aco_channel_job_free(aco_channel_job *job)
{
    aco_channel *channel = job->channel;

    if (!job->done) {
        aco_channels_enter(channel->all);
        queue_less(channel);
        if (job->ticket != NULL) aco_chan_ticket_settle(job->ticket, 0, ACO_ECLOSED);
        aco_channels_exit(channel->all);
    }
    aco_msg_unref(job->msg);
    aco_channel_unref(channel);
    free(job);
}

/* Fanning out, with the lock ------------------------------------------------------------------- */

/* Put it into the mailbox, full or not: a full one makes others wait before they publish more. */
static int
member_post(member *m, aco_msg *msg)
{
    aco_parcel *parcel = aco_parcel_new(msg, NULL);

    if (parcel == NULL) return ACO_ENOMEM;
    int err = aco_mailbox_post(m->is.mailbox, parcel, NULL);
    bool full = err == ACO_EBUSY;
    if (full) err = aco_mailbox_post_forced(m->is.mailbox, parcel);
    if (err != ACO_OK) aco_parcel_free(parcel);
    if (err == ACO_OK && full && !m->clogs && aco_mailbox_await(m->is.mailbox, &m->room)) {
        m->refs++;
        aco_chan_clog(m);
    }
    return err;
}

static int
member_cast(member *m, aco_msg *msg, aco_ticket *ticket, unsigned hops)
{
    uint8_t head[2] = {(uint8_t)hops, 0};

    return aco_chan_send(m->of, m->peer, CH_CAST, head, sizeof head, msg, ticket);
}

static void
ticket_note(aco_ticket *ticket, size_t count, int failure)
{
    if (ticket == NULL) return;
    ticket->count += count;
    if (failure != ACO_OK) ticket->failure = failure;
}

void
aco_chan_fan_out(aco_channel *channel, aco_msg *msg, aco_ticket *ticket, unsigned hops)
{
    for (aco_link *l = channel->members.next, *next; l != &channel->members; l = next) {
        member *m = ACO_CONTAINER_OF(l, member, link);
        int err = ACO_OK;
        next = l->next;
        if (m->is.mailbox != NULL) {
            err = member_post(m, msg);
            if (err == ACO_OK) ticket_note(ticket, 1, ACO_OK);
        } else if (m->is.channel != NULL) {
            aco_chan_accept(m->is.channel, msg, ticket, 0, hops + 1, false);
        } else {
            err = member_cast(m, msg, ticket, hops);
        }
        if (err == ACO_ECLOSED)
            aco_chan_member_remove(m);
        else if (err != ACO_OK)
            ticket_note(ticket, 0, err);
    }
}

/* The message waits for members. */
static int
ticket_await(aco_channel *channel, aco_msg *msg, aco_ticket *ticket, size_t n, unsigned hops)
{
    size_t size = aco_msg_size(msg);

    if (ticket->asker != NULL && ticket->asker->asked_bytes + size > ACO_CHANNEL_AWAIT)
        return ACO_EBUSY;
    if (ticket->asker != NULL) ticket->asker->asked_bytes += size;
    ticket->msg = aco_msg_ref(msg);
    ticket->channel = channel;
    ticket->n = n;
    ticket->hops = hops;
    ticket->refs++;
    ticket->pending++;
    aco_list_append(&channel->awaiting, &ticket->awaiting);
    return ACO_OK;
}

/* A message from elsewhere for a channel whose home is in this process. */
void
aco_chan_accept(aco_channel *channel, aco_msg *msg, aco_ticket *ticket, size_t n, unsigned hops,
                bool transformed)
{
    int err = ACO_OK;

    if (channel->closed)
        err = ACO_ECLOSED;
    else if (hops > ACO_CHANNEL_HOPS)
        err = ACO_EINVALID;
    else if (!transformed && (channel->transforms || channel->queued > 0))
        err = job_post(channel, msg, ticket, n, hops);
    else if (n > channel->count && ticket != NULL && !ticket->dropped)
        err = ticket_await(channel, msg, ticket, n, hops);
    else if (n <= channel->count)
        aco_chan_fan_out(channel, msg, ticket, hops);
    if (err != ACO_OK) ticket_note(ticket, 0, err);
}

/* Of an engine --------------------------------------------------------------------------------- */

enum aco_channel_way
aco_channel_way(aco_channel *channel, uint32_t engine)
{
    enum aco_channel_way way = ACO_WAY_HERE;

    aco_channels_enter(channel->all);
    if (channel->closed)
        way = ACO_WAY_CLOSED;
    else if (channel->far)
        way = ACO_WAY_PUT;
    else if (channel->engine == engine)
        way = channel->transforms ? ACO_WAY_TRANSFORM : ACO_WAY_HERE;
    else if (channel->transforms || channel->queued > 0)
        way = ACO_WAY_PUT;
    aco_channels_exit(channel->all);
    return way;
}

static int
wait_for_room(aco_channel *channel, const aco_return *who)
{
    if (who == NULL) return ACO_EBUSY;
    return aco_chan_wait(&channel->waiters, who) == ACO_OK ? ACO_EBUSY : ACO_ENOMEM;
}

int
aco_roster_cast(aco_roster *roster, aco_member *to, aco_msg *msg, aco_ticket *ticket, unsigned hops,
                const aco_return *waiter)
{
    aco_channel *channel = roster->channel;
    member *m = (member *)to;
    int err;

    aco_channels_enter(channel->all);
    if (m->of == NULL)
        err = ACO_ENOTFOUND;
    else if (m->clogs)
        err = wait_for_room(channel, waiter);
    else
        err = member_cast(m, msg, ticket, hops);
    aco_channels_exit(channel->all);
    aco_channels_flush(channel->process);
    return err;
}

static int
put_far(aco_channel *channel, aco_msg *msg, aco_ticket *ticket, uint32_t n, unsigned hops)
{
    uint8_t head[6];

    put_u32(head, n);
    head[4] = (uint8_t)hops;
    head[5] = 0;
    return aco_chan_send(channel, channel->home, CH_PUBLISH, head, sizeof head, msg, ticket);
}

int
aco_channel_put(aco_channel *channel, aco_msg *msg, aco_ticket *ticket, uint32_t n, unsigned hops,
                const aco_return *waiter)
{
    int err = ACO_OK;

    aco_channels_enter(channel->all);
    if (channel->closed)
        err = ACO_ECLOSED;
    else if (channel->far ? channel->held || channel->home->blocked : channel->clogs > 0)
        err = wait_for_room(channel, waiter);
    else if (channel->far)
        err = put_far(channel, msg, ticket, n, hops);
    else
        err = job_post(channel, msg, ticket, n, hops);
    aco_channels_exit(channel->all);
    aco_channels_flush(channel->process);
    return err;
}
