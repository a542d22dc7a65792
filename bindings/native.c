/* SPDX-License-Identifier: MIT */
/* native.c -- asyncoro.h: messages between scripts and the program around them.
 *
 * A handle is a reference to the mailbox of a coro. A mailbox of the program looks to scripts like
 * a coro of another engine: it has a seat and a record in the process, with a name; what is posted
 * to it wakes nobody, but makes the descriptor of its inbox readable. */
#include "bindings/call.h"
#include "bindings/reach.h"
#include "bindings/runtime.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/clock.h"
#include "core/base/msgpack.h"

enum { MESSAGE_MAX = 64 << 20, DEPTH_MAX = 200 };

struct asyncoro_handle {
    atomic_uint refs;
    aco_mailbox *mailbox; /* owned reference */
};

struct asyncoro_mailbox {
    pthread_mutex_t lock; /* held by who takes */
    aco_mailbox *box;     /* owned reference, as are those that follow */
    aco_inbox *inbox;
    aco_seat *seat;
    aco_export *x;
    aco_process *process;
};

struct asyncoro_message {
    aco_parcel *parcel; /* owned */
    bool answered;
};

/* Bytes --------------------------------------------------------------------------------------- */

/* Exactly one MessagePack value, not nested deeper than a decoder follows? */
static bool
is_value(const void *bytes, size_t size)
{
    aco_mp_reader reader = {.at = bytes, .end = (const uint8_t *)bytes + size};
    uint64_t left[DEPTH_MAX + 1]; /* values to come, of each array or map that is open */
    int depth = 0;
    aco_mp_item item;

    left[0] = 1;
    while (depth >= 0) {
        if (left[depth] == 0) {
            depth--;
            continue;
        }
        left[depth]--;
        if (aco_mp_next(&reader, &item) != ACO_OK) return false;
        if (item.type != ACO_MP_ARRAY && item.type != ACO_MP_MAP) continue;
        if (++depth > DEPTH_MAX) return false;
        left[depth] = (uint64_t)item.size * (item.type == ACO_MP_MAP ? 2 : 1);
    }
    return reader.at == reader.end;
}

/* A message with a copy of the bytes. */
static int
msg_make(const void *bytes, size_t size, aco_msg **msg)
{
    if (bytes == NULL) return ASYNCORO_EINVALID;
    if (size > MESSAGE_MAX) return ASYNCORO_ETOOLARGE;
    if (!is_value(bytes, size)) return ASYNCORO_EPROTOCOL;
    *msg = aco_msg_new(bytes, size);
    return *msg != NULL ? ASYNCORO_OK : ASYNCORO_ENOMEM;
}

/* Handles ------------------------------------------------------------------------------------- */

int
asyncoro_handle_find(asyncoro *rt, const char *name, asyncoro_handle **handle)
{
    if (name == NULL || handle == NULL) return ASYNCORO_EINVALID;
    aco_export *x = aco_name_find(rt->process, name, strlen(name));
    if (x == NULL) return ASYNCORO_ENOTFOUND;
    asyncoro_handle *h = malloc(sizeof *h);
    if (h != NULL) {
        atomic_init(&h->refs, 1);
        h->mailbox = aco_mailbox_ref(x->mailbox);
    }
    aco_export_unref(x);
    *handle = h;
    return h != NULL ? ASYNCORO_OK : ASYNCORO_ENOMEM;
}

asyncoro_handle *
asyncoro_handle_ref(asyncoro_handle *handle)
{
    atomic_fetch_add_explicit(&handle->refs, 1, memory_order_relaxed);
    return handle;
}

void
asyncoro_handle_unref(asyncoro_handle *handle)
{
    if (handle == NULL || atomic_fetch_sub(&handle->refs, 1) != 1) return;
    aco_mailbox_unref(handle->mailbox);
    free(handle);
}

int
asyncoro_post(asyncoro_handle *handle, const void *bytes, size_t size)
{
    aco_msg *msg;
    int code = msg_make(bytes, size, &msg);

    if (code != ASYNCORO_OK) return code;
    aco_parcel *parcel = aco_parcel_new(msg, NULL);
    aco_msg_unref(msg);
    int err = parcel != NULL ? aco_mailbox_post(handle->mailbox, parcel, NULL) : ACO_ENOMEM;
    if (err != ACO_OK) aco_parcel_free(parcel);
    return err == ACO_ECLOSED ? ASYNCORO_ENOTFOUND : acl_runtime_code(err);
}

/* Mailboxes ----------------------------------------------------------------------------------- */

/* What has been made of a mailbox, all or a part. */
static void
mailbox_free(asyncoro_mailbox *mb)
{
    if (mb->box != NULL) aco_mailbox_unref(mb->box);
    if (mb->x != NULL) aco_export_unref(mb->x);
    if (mb->seat != NULL) aco_seat_leave(mb->seat);
    if (mb->inbox != NULL) {
        aco_inbox_close(mb->inbox);
        aco_inbox_unref(mb->inbox);
    }
    aco_process_unref(mb->process);
    pthread_mutex_destroy(&mb->lock);
    free(mb);
}

/* End the record: monitors are told, the name is free again. */
static void
mailbox_end(asyncoro_mailbox *mb)
{
    aco_msg *exit = acl_exit_plain(mb->x, "finished", NULL);
    aco_export_end(mb->x, ACO_FINISHED, exit);
    aco_msg_unref(exit);
}

static int
mailbox_open(asyncoro_mailbox *mb, const char *name, size_t limit)
{
    mb->inbox = aco_inbox_new();
    if (mb->inbox == NULL) return ACO_ESYSTEM;
    mb->box = aco_mailbox_new(NULL, limit);
    if (mb->box == NULL) return ACO_ENOMEM;
    aco_mailbox_share(mb->box, mb->inbox);
    mb->seat = aco_seat_take(mb->process, mb->inbox);
    if (mb->seat == NULL) return ACO_ENOMEM;
    int err = aco_export_new(mb->seat, ACO_KIND_CORO, 1, name, mb->box, &mb->x);
    if (err != ACO_OK) return err;
    aco_inbox_sleep(mb->inbox); /* from here on a message makes the descriptor readable */
    err = aco_name_register(mb->x, name, strlen(name));
    if (err != ACO_OK) mailbox_end(mb);
    return err;
}

int
asyncoro_mailbox_new(asyncoro *rt, const char *name, size_t limit, asyncoro_mailbox **mailbox)
{
    if (name == NULL || *name == '\0' || mailbox == NULL || limit > UINT32_MAX / 2)
        return ASYNCORO_EINVALID;
    asyncoro_mailbox *mb = calloc(1, sizeof *mb);
    if (mb == NULL) return ASYNCORO_ENOMEM;
    pthread_mutex_init(&mb->lock, NULL);
    mb->process = aco_process_ref(rt->process);
    int err = mailbox_open(mb, name, limit);
    if (err != ACO_OK) {
        mailbox_free(mb);
        return acl_runtime_code(err);
    }
    *mailbox = mb;
    return ASYNCORO_OK;
}

/* A coro has asked for what only coros can do. */
static void
request_refuse(aco_post *post)
{
    if (post->kind == ACO_POST_REQUEST && post->from != NULL)
        aco_inbox_signal(post->from, ACO_POST_REPLY, post->task, post->token, ACO_ENOTFOUND);
}

/* The mailbox looked empty: let the next message make the descriptor readable. */
static void
mailbox_rearm(asyncoro_mailbox *mb)
{
    do {
        aco_inbox_drain(mb->inbox);
        for (aco_post *post = aco_inbox_take(mb->inbox); post != NULL;) {
            aco_post *next = post->next;
            request_refuse(post);
            if (post->kind == ACO_POST_MAIL)
                aco_mailbox_unref(aco_mailbox_noticed(post));
            else
                aco_post_free(post);
            post = next;
        }
    } while (!aco_inbox_sleep(mb->inbox));
}

static bool
mailbox_pop(asyncoro_mailbox *mb, aco_parcel **parcel)
{
    aco_entry entry;

    pthread_mutex_lock(&mb->lock);
    bool found = aco_mailbox_pop(NULL, mb->box, &entry);
    if (!found) {
        mailbox_rearm(mb);
        found = aco_mailbox_pop(NULL, mb->box, &entry); /* came meanwhile, and more may have */
        if (found) aco_inbox_wake(mb->inbox);
    }
    pthread_mutex_unlock(&mb->lock);
    if (!found) return false;
    if (entry.tag == ACO_ENTRY_MSG) {
        (*parcel)->msg = entry.u.msg;
    } else {
        free(*parcel);
        *parcel = entry.u.parcel;
    }
    return true;
}

/* Wait for the descriptor; false when the time is over. */
static bool
mailbox_wait(const asyncoro_mailbox *mb, aco_time deadline)
{
    struct pollfd door = {.fd = aco_inbox_fd(mb->inbox), .events = POLLIN};
    struct timespec ts = {.tv_sec = 0};

    if (deadline != ACO_NEVER) {
        aco_time left = deadline - aco_now();
        if (left <= 0) return false;
        ts = (struct timespec){.tv_sec = left / ACO_SECOND, .tv_nsec = left % ACO_SECOND};
    }
    int ready = ppoll(&door, 1, deadline == ACO_NEVER ? NULL : &ts, NULL);
    return ready != 0; /* after a signal the mailbox is looked at, too */
}

int
asyncoro_mailbox_take(asyncoro_mailbox *mb, double seconds, asyncoro_message **message)
{
    aco_time deadline = seconds < 0 ? ACO_NEVER : aco_deadline(aco_now(), seconds);

    asyncoro_message *m = calloc(1, sizeof *m);
    aco_parcel *parcel = calloc(1, sizeof *parcel); /* for a message that comes without one */
    if (m == NULL || parcel == NULL) {
        free(m);
        free(parcel);
        return ASYNCORO_ENOMEM;
    }
    while (!mailbox_pop(mb, &parcel)) {
        if (mailbox_wait(mb, deadline)) continue;
        free(m);
        free(parcel);
        return ASYNCORO_ETIMEOUT;
    }
    m->parcel = parcel;
    *message = m;
    return ASYNCORO_OK;
}

int
asyncoro_mailbox_fd(const asyncoro_mailbox *mb)
{
    return aco_inbox_fd(mb->inbox);
}

void
asyncoro_mailbox_close(asyncoro_mailbox *mb)
{
    aco_entry entry;

    if (mb == NULL) return;
    mailbox_end(mb);
    aco_mailbox_close(NULL, mb->box);
    while (aco_mailbox_pop(NULL, mb->box, &entry))
        acl_entry_refuse(&entry);
    mailbox_rearm(mb); /* answers requests */
    mailbox_free(mb);
}

/* Messages ------------------------------------------------------------------------------------ */

const void *
asyncoro_message_data(const asyncoro_message *message)
{
    return aco_msg_data(message->parcel->msg);
}

size_t
asyncoro_message_size(const asyncoro_message *message)
{
    return aco_msg_size(message->parcel->msg);
}

int
asyncoro_message_is_call(const asyncoro_message *message)
{
    return message->parcel->reply.inbox != NULL && !message->answered;
}

int
asyncoro_message_reply(asyncoro_message *message, const void *bytes, size_t size)
{
    const aco_return *to = &message->parcel->reply;
    aco_msg *msg;

    if (!asyncoro_message_is_call(message)) return ASYNCORO_ENOTFOUND;
    int code = msg_make(bytes, size, &msg);
    if (code != ASYNCORO_OK) return code;
    aco_post *post = calloc(1, sizeof *post);
    if (post == NULL) {
        aco_msg_unref(msg);
        return ASYNCORO_ENOMEM;
    }
    *post = (aco_post){.kind = ACO_POST_REPLY, .task = to->task, .token = to->token, .msg = msg};
    message->answered = true;
    return aco_inbox_post(to->inbox, post) == ACO_OK ? ASYNCORO_OK : ASYNCORO_ENOTFOUND;
}

void
asyncoro_message_free(asyncoro_message *message)
{
    if (message == NULL) return;
    if (asyncoro_message_is_call(message))
        acl_parcel_refuse(message->parcel);
    else
        aco_parcel_free(message->parcel);
    free(message);
}
