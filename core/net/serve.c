/* SPDX-License-Identifier: MIT */
/* serve.c -- what peers want of this process: messages for its coros, requests, the end of what
 * they watch, names. Nothing here waits for a script. */
#include "core/net/state.h"

#include <stdlib.h>
#include <string.h>

/* A peer that goes on sending to a mailbox after it was told to pause is cut off at so many times
 * the usual limit. */
enum { OVERFULL = 8 };

/* The lane of large answers, and of ends: the end of a coro must not overtake its last answer. No
 * coro has this target. */
static const uint8_t answers[ACO_TARGET];
enum { LARGE = ACO_FRAME_PART / 2 };

/* A frame being read: what is left of its body. */
struct body {
    const uint8_t *at;
    size_t size;
    const aco_frame *frame;
};

static const uint8_t *
take(struct body *body, size_t size)
{
    const uint8_t *at = body->at;

    if (body->size < size) return NULL;
    body->at += size;
    body->size -= size;
    return at;
}

/* The rest of the body, a value, as a message, which may be one of a slab. */
static aco_msg *
value_in(aco_slab *slab, const struct body *body)
{
    aco_msg *msg = body->frame->whole != NULL
                       ? aco_msg_slice(body->frame->whole, body->at, body->size)
                   : slab != NULL ? aco_slab_add(slab, body->at, body->size)
                                  : aco_msg_new(body->at, body->size);

    if (msg != NULL) aco_msg_mark_foreign(msg);
    return msg;
}

static aco_msg *
value_of(const struct body *body)
{
    return value_in(NULL, body);
}

static aco_export *
record_at(const aco_net *net, const uint8_t target[ACO_TARGET])
{
    return aco_export_find(net->process, aco_get_u32(target), aco_get_u64(target + 4));
}

static void
ack(aco_peer *peer, const uint8_t id[8], int err)
{
    uint8_t body[9];

    memcpy(body, id, 8);
    body[8] = aco_wire_code(err);
    (void)aco_peer_queue(peer, ACO_F_ACK, 0, NULL, body, sizeof body, NULL);
}

/* Full mailboxes ------------------------------------------------------------------------------- */

static struct aco_full *
full_of(aco_net *net, const uint8_t target[ACO_TARGET])
{
    struct aco_full *full = aco_map_get(&net->full, target, ACO_TARGET);

    if (full != NULL) return full;
    full = calloc(1, sizeof *full);
    if (full == NULL) return NULL;
    memcpy(full->target, target, ACO_TARGET);
    aco_list_init(&full->peers);
    if (aco_map_put(&net->full, full->target, ACO_TARGET, full) == ACO_OK) return full;
    free(full);
    return NULL;
}

/* Tell the peer, once, to keep what it has for this mailbox. */
static void
pause_peer(aco_peer *peer, struct aco_full *full)
{
    for (aco_link *l = full->peers.next; l != &full->peers; l = l->next)
        if (ACO_CONTAINER_OF(l, struct aco_full_peer, link)->peer == peer) return;
    struct aco_full_peer *p = calloc(1, sizeof *p);
    if (p == NULL) return;
    p->peer = peer;
    aco_list_append(&full->peers, &p->link);
    (void)aco_peer_queue(peer, ACO_F_PAUSE, 0, NULL, full->target, ACO_TARGET, NULL);
}

static void
full_end(aco_net *net, const uint8_t target[ACO_TARGET])
{
    struct aco_full *full = aco_map_remove(&net->full, target, ACO_TARGET);

    if (full == NULL) return;
    while (!aco_list_empty(&full->peers)) {
        struct aco_full_peer *p = ACO_CONTAINER_OF(full->peers.next, struct aco_full_peer, link);
        (void)aco_peer_queue(p->peer, ACO_F_RESUME, 0, NULL, full->target, ACO_TARGET, NULL);
        aco_link_remove(&p->link);
        free(p);
    }
    free(full);
}

static void
full_forget(aco_net *net, const aco_peer *peer)
{
    size_t place = 0;
    struct aco_full *full;

    while ((full = aco_map_next(&net->full, &place)) != NULL)
        for (aco_link *l = full->peers.next, *next; l != &full->peers; l = next) {
            struct aco_full_peer *p = ACO_CONTAINER_OF(l, struct aco_full_peer, link);
            next = l->next;
            if (p->peer != peer) continue;
            aco_link_remove(l);
            free(p);
        }
}

/* Messages ------------------------------------------------------------------------------------- */

/* A message, and the parcel around it when it is to be answered. */
struct mail {
    aco_msg *msg;
    aco_parcel *parcel;
    bool forced;
};

static int
mail_post(aco_mailbox *mailbox, const struct mail *mail, const aco_return *waiter, bool forced)
{
    if (mail->parcel == NULL)
        return forced ? aco_mailbox_post_msg_forced(mailbox, mail->msg)
                      : aco_mailbox_post_msg(mailbox, mail->msg, waiter);
    return forced ? aco_mailbox_post_forced(mailbox, mail->parcel)
                  : aco_mailbox_post(mailbox, mail->parcel, waiter);
}

/* Put it into the mailbox, over its limit too: what was under way when it filled up is taken, and
 * the peer told to keep the rest. */
static int
mailbox_give(aco_peer *peer, aco_mailbox *mailbox, const uint8_t target[ACO_TARGET],
             const struct mail *mail)
{
    aco_net *net = peer->net;
    struct aco_full *full = NULL;
    aco_return waiter = {
        .inbox = net->inbox, .task = aco_get_u64(target + 4), .token = aco_get_u32(target)};

    if (mail->forced) return mail_post(mailbox, mail, NULL, true);
    if (net->full.count > 0) full = aco_map_get(&net->full, target, ACO_TARGET);
    int err = mail_post(mailbox, mail, full == NULL ? &waiter : NULL, false);
    if (err != ACO_EBUSY) return err;
    if (aco_mailbox_count(mailbox) > OVERFULL * (size_t)ACO_MAILBOX_COUNT) return ACO_ETOOLARGE;
    if (full == NULL) full = full_of(net, target);
    if (full == NULL) return ACO_ENOMEM;
    pause_peer(peer, full);
    return mail_post(mailbox, mail, NULL, true);
}

/* The mailbox of a coro, which often gets many messages one after the other; the network's. */
static aco_mailbox *
mailbox_of(aco_net *net, const uint8_t target[ACO_TARGET])
{
    if (net->recent != NULL && memcmp(net->recent->key + 16, target, ACO_TARGET) == 0)
        return net->recent->mailbox;
    aco_serve_rest(net);
    net->recent = record_at(net, target);
    return net->recent != NULL ? net->recent->mailbox : NULL;
}

static int
message_give(aco_peer *peer, const uint8_t target[ACO_TARGET], const struct body *body,
             const aco_return *reply, bool forced)
{
    aco_mailbox *mailbox = mailbox_of(peer->net, target);
    struct mail mail = {.forced = forced};

    if (mailbox == NULL) return ACO_ENOTFOUND;
    mail.msg = value_in(reply->inbox == NULL ? &peer->net->slab : NULL, body); /* a call stays */
    if (mail.msg != NULL && reply->inbox != NULL) mail.parcel = aco_parcel_new(mail.msg, reply);
    bool made = mail.msg != NULL && (reply->inbox == NULL || mail.parcel != NULL);
    int err = made ? mailbox_give(peer, mailbox, target, &mail) : ACO_ENOMEM;
    if (err != ACO_OK) aco_parcel_free(mail.parcel);
    aco_msg_unref(mail.msg);
    return err == ACO_ECLOSED ? ACO_ENOTFOUND : err;
}

void
aco_serve_rest(aco_net *net)
{
    aco_export_unref(net->recent);
    net->recent = NULL;
    aco_slab_end(&net->slab);
}

static int
serve_message(aco_peer *peer, struct body *body, int type, bool forced, const char **why)
{
    const uint8_t *target = take(body, ACO_TARGET);
    const uint8_t *id = type != ACO_F_SEND ? take(body, 8) : NULL;
    aco_return reply = {.inbox = NULL};

    if (target == NULL || (type != ACO_F_SEND && id == NULL) || body->size == 0)
        return ACO_EPROTOCOL;
    if (type == ACO_F_CALL)
        reply = (aco_return){
            .inbox = peer->net->inbox, .task = peer->connection->serial, .token = aco_get_u64(id)};
    int err = message_give(peer, target, body, &reply, forced);
    if (err == ACO_ETOOLARGE) {
        *why = "it goes on sending to a mailbox that is full";
        return ACO_EPROTOCOL;
    }
    if (id != NULL && (type == ACO_F_DELIVER || err != ACO_OK)) ack(peer, id, err);
    return ACO_OK;
}

/* Answers -------------------------------------------------------------------------------------- */

static int
serve_ack(aco_peer *peer, struct body *body)
{
    const uint8_t *id = take(body, 8), *code = take(body, 1);

    if (id == NULL || code == NULL || body->size > 0) return ACO_EPROTOCOL;
    aco_ask *ask = aco_ask_take(peer, id);
    if (ask == NULL) return ACO_OK; /* forgotten */
    if (ask->search != NULL)
        aco_search_negative(ask->search);
    else if (ask->waiter.who.inbox != NULL)
        aco_answer(&ask->waiter.who, aco_wire_error(*code), NULL);
    aco_ask_free(ask);
    return ACO_OK;
}

static int
serve_reply(aco_peer *peer, struct body *body)
{
    const uint8_t *id = take(body, 8);

    if (id == NULL || body->size == 0) return ACO_EPROTOCOL;
    aco_ask *ask = aco_ask_take(peer, id);
    if (ask == NULL) return ACO_OK;
    aco_msg *msg = value_of(body);
    int err = msg != NULL ? ACO_OK : ACO_ENOMEM;
    if (ask->search != NULL)
        aco_search_answer(ask->search, err, msg);
    else if (ask->waiter.who.inbox != NULL)
        aco_answer(&ask->waiter.who, err, msg);
    aco_msg_unref(msg);
    aco_ask_free(ask);
    return ACO_OK;
}

/* Requests ------------------------------------------------------------------------------------- */

static aco_post *
post_new(enum aco_post_kind kind, aco_export *x)
{
    aco_post *post = calloc(1, sizeof *post);

    if (post == NULL) return NULL;
    post->kind = (uint32_t)kind;
    post->object = aco_export_ref(x);
    return post;
}

static int
request_give(aco_peer *peer, const uint8_t *target, const uint8_t *id, const struct body *body)
{
    aco_export *x = record_at(peer->net, target);

    if (x == NULL) return ACO_ENOTFOUND;
    aco_post *post = post_new(ACO_POST_REQUEST, x);
    if (post != NULL) post->msg = value_of(body);
    if (post != NULL && aco_get_u64(id) != 0) {
        post->from = aco_inbox_ref(peer->net->inbox);
        post->task = peer->connection->serial;
        post->token = aco_get_u64(id);
    }
    int err = post != NULL ? aco_export_post(x, post) : ACO_ENOMEM;
    aco_export_unref(x);
    return err;
}

static int
serve_request(aco_peer *peer, struct body *body)
{
    const uint8_t *target = take(body, ACO_TARGET), *id = take(body, 8);

    if (target == NULL || id == NULL || body->size == 0) return ACO_EPROTOCOL;
    int err = request_give(peer, target, id, body);
    if (err != ACO_OK && aco_get_u64(id) != 0) ack(peer, id, err);
    return ACO_OK;
}

static int
serve_kill(aco_peer *peer, struct body *body)
{
    const uint8_t *target = take(body, ACO_TARGET);

    if (target == NULL || body->size > 0) return ACO_EPROTOCOL;
    aco_export *x = record_at(peer->net, target);
    if (x == NULL) return ACO_OK;
    aco_post *post = post_new(ACO_POST_KILL, x);
    if (post != NULL) (void)aco_export_post(x, post);
    aco_export_unref(x);
    return ACO_OK;
}

/* Ends ----------------------------------------------------------------------------------------- */

static void
exit_send(aco_peer *peer, const uint8_t target[ACO_TARGET], enum aco_reason reason, aco_msg *exit)
{
    static const uint8_t wire[] = {
        [ACO_FINISHED] = 1, [ACO_FAILED] = 2, [ACO_TERMINATED] = 3, [ACO_UNKNOWN] = 4};
    uint8_t head[ACO_TARGET + 1];

    memcpy(head, target, ACO_TARGET);
    head[ACO_TARGET] = wire[reason];
    (void)aco_peer_queue(peer, ACO_F_EXIT, 0, answers, head, sizeof head, exit);
}

static void
exit_tell(aco_peer *peer, const uint8_t target[ACO_TARGET], aco_export *x)
{
    static const char *const words[] = {[ACO_FINISHED] = "finished",
                                        [ACO_FAILED] = "failed",
                                        [ACO_TERMINATED] = "terminated",
                                        [ACO_UNKNOWN] = "notfound"};
    enum aco_reason reason = x != NULL ? (enum aco_reason)atomic_load(&x->reason) : ACO_UNKNOWN;
    aco_msg *exit = x != NULL ? aco_export_exit(x) : NULL;
    uint8_t key[ACO_IDENTITY_SIZE];

    if (x != NULL) atomic_store(&x->observed, true);
    memcpy(key, aco_process_id(peer->net->process), 16);
    memcpy(key + 16, target, ACO_TARGET);
    if (exit == NULL)
        exit =
            aco_exit_new(key, peer->net->location, x != NULL ? x->name : "?", words[reason], NULL);
    if (exit != NULL) exit_send(peer, target, reason, exit);
    aco_msg_unref(exit);
}

static struct aco_record *
watched_record(aco_net *net, aco_export *x)
{
    struct aco_record *record = aco_map_get(&net->records, &x, sizeof x);

    if (record != NULL) return record;
    record = calloc(1, sizeof *record);
    if (record == NULL) return NULL;
    record->x = x;
    aco_list_init(&record->serves);
    if (aco_map_put(&net->records, &record->x, sizeof record->x, record) != ACO_OK) {
        free(record);
        return NULL;
    }
    aco_export_ref(x);
    return record;
}

static void
record_free(aco_net *net, struct aco_record *record)
{
    aco_map_remove(&net->records, &record->x, sizeof record->x);
    aco_export_unref(record->x);
    free(record);
}

/* Tell the peer the end of the record, once. ACO_ENOTFOUND: it has ended. */
static int
serve_add(aco_peer *peer, aco_export *x)
{
    struct aco_record *record = watched_record(peer->net, x);
    struct aco_serve *s;

    if (record == NULL) return ACO_ENOMEM;
    for (aco_link *l = record->serves.next; l != &record->serves; l = l->next)
        if (ACO_CONTAINER_OF(l, struct aco_serve, of_record)->peer == peer) return ACO_OK;
    bool first = aco_list_empty(&record->serves);
    int err = first ? aco_export_watch(x, peer->net->seat) : ACO_OK;
    s = err == ACO_OK ? calloc(1, sizeof *s) : NULL;
    if (s == NULL) {
        if (first) record_free(peer->net, record);
        return err != ACO_OK ? err : ACO_ENOMEM;
    }
    s->peer = peer;
    s->record = record;
    aco_list_append(&record->serves, &s->of_record);
    aco_list_append(&peer->serves, &s->of_peer);
    return ACO_OK;
}

static int
serve_watch(aco_peer *peer, struct body *body)
{
    const uint8_t *target = take(body, ACO_TARGET);

    if (target == NULL || body->size > 0) return ACO_EPROTOCOL;
    aco_export *x = record_at(peer->net, target);
    if (x == NULL || serve_add(peer, x) != ACO_OK) exit_tell(peer, target, x);
    aco_export_unref(x);
    return ACO_OK;
}

static void
serve_drop(struct aco_serve *s)
{
    aco_link_remove(&s->of_peer);
    aco_link_remove(&s->of_record);
    free(s);
}

/* A record that peers watch has ended. */
static void
record_ended(aco_net *net, aco_export *x)
{
    struct aco_record *record = aco_map_get(&net->records, &x, sizeof x);
    uint8_t target[ACO_TARGET];

    if (record == NULL) return;
    memcpy(target, x->key + 16, ACO_TARGET);
    while (!aco_list_empty(&record->serves)) {
        struct aco_serve *s = ACO_CONTAINER_OF(record->serves.next, struct aco_serve, of_record);
        exit_tell(s->peer, target, x);
        serve_drop(s);
    }
    record_free(net, record);
}

static int
serve_exit(aco_peer *peer, struct body *body)
{
    static const enum aco_reason reasons[] = {ACO_FINISHED, ACO_FAILED, ACO_TERMINATED,
                                              ACO_UNKNOWN};
    const uint8_t *target = take(body, ACO_TARGET), *reason = take(body, 1);

    if (target == NULL || reason == NULL || *reason < 1 || *reason > 4 || body->size == 0)
        return ACO_EPROTOCOL;
    aco_export *x = aco_map_remove(&peer->watches, target, ACO_TARGET);
    if (x == NULL) return ACO_OK;
    aco_msg *exit = value_of(body);
    aco_export_end(x, reasons[*reason - 1], exit);
    aco_msg_unref(exit);
    aco_export_unref(x);
    return ACO_OK;
}

/* Pauses --------------------------------------------------------------------------------------- */

static int
serve_pause(aco_peer *peer, struct body *body)
{
    const uint8_t *target = take(body, ACO_TARGET);

    if (target == NULL || body->size > 0) return ACO_EPROTOCOL;
    if (aco_map_get(&peer->paused, target, ACO_TARGET) != NULL) return ACO_OK;
    struct aco_pause *pause = calloc(1, sizeof *pause);
    if (pause == NULL) return ACO_OK; /* the other side bears it */
    memcpy(pause->target, target, ACO_TARGET);
    aco_list_init(&pause->waiters);
    if (aco_map_put(&peer->paused, pause->target, ACO_TARGET, pause) != ACO_OK) free(pause);
    return ACO_OK;
}

static int
serve_resume(aco_peer *peer, struct body *body)
{
    const uint8_t *target = take(body, ACO_TARGET);

    if (target == NULL || body->size > 0) return ACO_EPROTOCOL;
    struct aco_pause *pause = aco_map_remove(&peer->paused, target, ACO_TARGET);
    if (pause == NULL) return ACO_OK;
    aco_waiters_tell(&pause->waiters);
    free(pause);
    return ACO_OK;
}

/* Names ---------------------------------------------------------------------------------------- */

static bool
name_answer(aco_peer *peer, uint64_t id, const char *name, size_t size)
{
    aco_export *x = aco_name_find(peer->net->process, name, size);
    uint8_t body[8 + ACO_HANDLE_VALUE_MAX];

    if (x == NULL) return false;
    aco_put_u64(body, id);
    size_t value = aco_export_value(x, body + 8);
    (void)aco_peer_queue(peer, ACO_F_REPLY, 0, NULL, body, 8 + value, NULL);
    aco_export_unref(x);
    return true;
}

static bool
anybody_waits(const aco_net *net)
{
    for (aco_link *l = net->peers.next; l != &net->peers; l = l->next)
        if (!aco_list_empty(&ACO_CONTAINER_OF(l, aco_peer, link)->lookups)) return true;
    return false;
}

static int
lookout_add(aco_peer *peer, uint64_t id, const uint8_t *name, size_t size)
{
    struct aco_lookout *l = calloc(1, sizeof *l + size);

    if (l == NULL) return ACO_ENOMEM;
    l->id = id;
    l->size = size;
    memcpy(l->name, name, size);
    aco_list_append(&peer->lookups, &l->link);
    aco_name_await(peer->net->seat, true);
    return ACO_OK;
}

static void
lookout_free(struct aco_lookout *l)
{
    aco_link_remove(&l->link);
    free(l);
}

static int
serve_locate(aco_peer *peer, struct body *body)
{
    const uint8_t *id = take(body, 8), *wait = take(body, 1);

    if (id == NULL || wait == NULL || *wait > 1 || body->size == 0) return ACO_EPROTOCOL;
    uint64_t number = aco_get_u64(id);
    int err = *wait ? lookout_add(peer, number, body->at, body->size) : ACO_ENOTFOUND;
    /* it is looked for after it is waited for, so that no name is missed */
    if (name_answer(peer, number, (const char *)body->at, body->size)) {
        if (*wait && err == ACO_OK)
            lookout_free(ACO_CONTAINER_OF(peer->lookups.prev, struct aco_lookout, link));
        return ACO_OK;
    }
    if (err != ACO_OK) ack(peer, id, err);
    return ACO_OK;
}

static void
names_look(aco_net *net)
{
    for (aco_link *p = net->peers.next; p != &net->peers; p = p->next) {
        aco_peer *peer = ACO_CONTAINER_OF(p, aco_peer, link);
        for (aco_link *l = peer->lookups.next, *next; l != &peer->lookups; l = next) {
            struct aco_lookout *lookout = ACO_CONTAINER_OF(l, struct aco_lookout, link);
            next = l->next;
            if (name_answer(peer, lookout->id, lookout->name, lookout->size)) lookout_free(lookout);
        }
    }
    if (!anybody_waits(net)) aco_name_await(net->seat, false);
}

static int
serve_forget(aco_peer *peer, struct body *body)
{
    const uint8_t *id = take(body, 8);

    if (id == NULL || body->size > 0) return ACO_EPROTOCOL;
    for (aco_link *l = peer->lookups.next; l != &peer->lookups; l = l->next) {
        struct aco_lookout *lookout = ACO_CONTAINER_OF(l, struct aco_lookout, link);
        if (lookout->id != aco_get_u64(id)) continue;
        lookout_free(lookout);
        break;
    }
    return ACO_OK;
}

static int
serve_ping(aco_peer *peer, struct body *body)
{
    const uint8_t *bytes = take(body, 8);

    if (bytes == NULL || body->size > 0) return ACO_EPROTOCOL;
    (void)aco_peer_queue(peer, ACO_F_PONG, 0, NULL, bytes, 8, NULL);
    return ACO_OK;
}

static int
serve_channel(aco_peer *peer, const struct body *body)
{
    size_t head = aco_channel_head(body->frame->type);
    aco_msg *value = NULL;

    if (head > 0 && head < body->size) {
        const struct body rest = {
            .at = body->at + head, .size = body->size - head, .frame = body->frame};
        value = value_of(&rest);
        if (value == NULL) return ACO_ENOMEM;
    }
    int err = aco_channel_frame(peer->net->process, peer->id, peer->location, body->frame->type,
                                body->at, value != NULL ? head : body->size, value);
    aco_msg_unref(value);
    return err;
}

int
aco_serve(aco_peer *peer, const aco_frame *frame, const char **why)
{
    struct body body = {.at = frame->body, .size = frame->size, .frame = frame};

    *why = "a frame that is malformed";
    switch (frame->type) {
    case ACO_F_SEND:
    case ACO_F_DELIVER:
    case ACO_F_CALL:
        return serve_message(peer, &body, frame->type, frame->flags & ACO_FORCED, why);
    case ACO_F_ACK:
        return serve_ack(peer, &body);
    case ACO_F_REPLY:
        return serve_reply(peer, &body);
    case ACO_F_REQUEST:
        return serve_request(peer, &body);
    case ACO_F_KILL:
        return serve_kill(peer, &body);
    case ACO_F_WATCH:
        return serve_watch(peer, &body);
    case ACO_F_UNWATCH:
        return body.size == ACO_TARGET ? ACO_OK : ACO_EPROTOCOL;
    case ACO_F_EXIT:
        return serve_exit(peer, &body);
    case ACO_F_PAUSE:
        return serve_pause(peer, &body);
    case ACO_F_RESUME:
        return serve_resume(peer, &body);
    case ACO_F_LOCATE:
        return serve_locate(peer, &body);
    case ACO_F_FORGET:
        return serve_forget(peer, &body);
    case ACO_F_PING:
        return serve_ping(peer, &body);
    case ACO_F_PONG:
        return body.size == 8 ? ACO_OK : ACO_EPROTOCOL;
    default:
        if (frame->type >= ACO_F_CHANNEL && frame->type < ACO_F_CHANNEL_END)
            return serve_channel(peer, &body);
    }
    *why = "a frame of an unknown type";
    return ACO_EPROTOCOL;
}

/* What engines answer -------------------------------------------------------------------------- */

static void
reply_send(aco_net *net, aco_post *post)
{
    uint8_t key[8], id[8];

    aco_put_u64(key, post->task);
    aco_put_u64(id, post->token);
    aco_connection *c = aco_map_get(&net->by_serial, key, sizeof key);
    if (c == NULL || c->peer == NULL) return;
    if (post->msg != NULL && aco_msg_size(post->msg) <= c->message_max)
        (void)aco_peer_queue(c->peer, ACO_F_REPLY, 0,
                             aco_msg_size(post->msg) > LARGE ? answers : NULL, id, sizeof id,
                             post->msg);
    else
        ack(c->peer, id, post->msg != NULL ? ACO_ETOOLARGE : post->err);
}

void
aco_serve_post(aco_net *net, aco_post *post)
{
    uint8_t target[ACO_TARGET];

    switch (post->kind) {
    case ACO_POST_REPLY:
        reply_send(net, post);
        break;
    case ACO_POST_EXIT:
        record_ended(net, post->object);
        break;
    case ACO_POST_NAME:
        names_look(net);
        break;
    case ACO_POST_SPACE:
        aco_put_u32(target, (uint32_t)post->token);
        aco_put_u64(target + 4, post->task);
        full_end(net, target);
        break;
    default:
        break;
    }
}

/* The network ends: no peer is left. */
void
aco_serve_end(aco_net *net)
{
    size_t place = 0;
    struct aco_record *record;
    struct aco_full *full;

    while ((record = aco_map_next(&net->records, &place)) != NULL) {
        aco_export_unref(record->x);
        free(record);
    }
    for (place = 0; (full = aco_map_next(&net->full, &place)) != NULL;)
        free(full);
    aco_map_free(&net->records);
    aco_map_free(&net->full);
}

/* The peer is lost. */
void
aco_serve_forget(aco_peer *peer)
{
    while (!aco_list_empty(&peer->serves)) {
        struct aco_serve *s = ACO_CONTAINER_OF(peer->serves.next, struct aco_serve, of_peer);
        serve_drop(s);
    }
    while (!aco_list_empty(&peer->lookups))
        lookout_free(ACO_CONTAINER_OF(peer->lookups.next, struct aco_lookout, link));
    full_forget(peer->net, peer);
}
