/* SPDX-License-Identifier: MIT */
/* Frames of channels from hostile processes, one of them the home of a replica here: pieces of the
 * input, each with its type, sender and size before it, to a process that has a channel with a
 * subscriber and that replica. */
#include "core/base/error.h"
#include "core/engine/channel.h"
#include "core/engine/gate.h"
#include "core/engine/loop.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int
drop(aco_gate *gate, const uint8_t process[16], const char *route, int type, const void *head,
     size_t head_size, aco_msg *value)
{
    volatile uint8_t last = head_size > 0 ? ((const uint8_t *)head)[head_size - 1] : 0;

    (void)gate, (void)process, (void)route, (void)value, (void)last;
    return type % 3 == 0 ? ACO_EBUSY : ACO_OK;
}

static void
go(aco_gate *gate)
{
    (void)gate;
}

static void
subscribe(aco_process *process, aco_channel *channel, aco_mailbox *mailbox, uint32_t engine)
{
    aco_ticket *ticket = aco_ticket_new(process);

    if (ticket == NULL || aco_channel_join_coro(channel, mailbox, engine, ticket) > 0) abort();
    aco_ticket_drop(ticket);
}

/* One frame; its value apart from the head, as that of a message in parts, or behind it. */
static void
arrive(aco_process *process, const uint8_t from[16], int type, const uint8_t *data, size_t size,
       bool apart)
{
    size_t head = apart ? aco_channel_head(type) : 0;
    aco_msg *value = NULL;

    if (head > 0 && head < size) {
        value = aco_msg_new(data + head, size - head);
        size = head;
    }
    uint8_t *room = malloc(size + 1); /* its end is the end of an allocation */
    if (room == NULL) abort();
    memcpy(room + 1, data, size);
    (void)!aco_channel_frame(process, from, "there:1", type, room + 1, size, value);
    free(room);
    aco_msg_unref(value);
}

static void
feed(aco_process *process, const uint8_t *data, size_t size)
{
    while (size > 2) {
        int type = 32 + (data[0] & 15) % 12;
        uint8_t from[16] = {(uint8_t)(1 + (data[0] >> 4 & 3))};
        size_t piece = data[1];
        bool apart = data[0] & 0x80;
        data += 2;
        size -= 2;
        if (data[-2] & 0x40) piece *= 16;
        if (piece > size) piece = size;
        arrive(process, from, type, data, piece, apart);
        if (type == 43) aco_channels_lost(process, from);
        if (type == 42) aco_channels_room(process, from);
        aco_channels_flush(process);
        data += piece;
        size -= piece;
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct aco_gate_ops ops = {.cast = drop, .free = go};
    aco_gate gate = {.ops = &ops};
    aco_identity identity = {.process = {1}, .engine = 1, .serial = 8};
    aco_process *process = aco_process_new();
    aco_channel *channel;
    aco_loop loop;
    aco_task task;

    if (process == NULL || aco_loop_init(&loop, NULL) != ACO_OK) abort();
    aco_process_set_gate(process, &gate);
    aco_seat *seat = aco_seat_take(process, loop.inbox);
    aco_task_init(&task, 1);
    aco_mailbox *mailbox = aco_mailbox_new(&task, 2);
    aco_mailbox_share(mailbox, loop.inbox);
    if (aco_channel_new(seat, 9, "home", &channel) != ACO_OK) abort();
    aco_channel *replica = aco_channel_get(process, &identity, "there:1", "far");
    subscribe(process, channel, mailbox, aco_seat_number(seat));
    subscribe(process, replica, mailbox, aco_seat_number(seat));
    feed(process, data, size);
    aco_mailbox_close(&loop, mailbox);
    aco_mailbox_unref(mailbox);
    aco_channel_unref(replica);
    aco_channel_unref(channel);
    aco_channels_leave(process, aco_seat_number(seat));
    aco_seat_leave(seat);
    aco_loop_fini(&loop);
    aco_process_unref(process);
    return 0;
}
