/* SPDX-License-Identifier: MIT */
/* side.h -- one of two processes that meet over the network, for tests: its one engine only has an
 * inbox, its one coro only a mailbox. */
#ifndef ACO_SPEC_SIDE_H
#define ACO_SPEC_SIDE_H

#include "core/base/error.h"
#include "core/engine/gate.h"
#include "core/net/net.h"
#include "spec/core/check.h"

struct side {
    aco_process *process;
    aco_inbox *inbox;
    aco_seat *seat;
    aco_mailbox *mailbox;
    aco_export *coro;
    aco_net *net;
    aco_post *posts; /* taken from the inbox, not looked at yet */
};

/* Start it; its coro has this serial number, and a mailbox for so many messages. */
static inline void
side_start(struct side *s, uint64_t serial, size_t limit, const struct aco_net_options *options)
{
    char *why = NULL;

    *s = (struct side){.process = aco_process_new(), .inbox = aco_inbox_new()};
    CHECK(s->process != NULL && s->inbox != NULL);
    s->seat = aco_seat_take(s->process, s->inbox);
    s->mailbox = aco_mailbox_new(NULL, limit);
    aco_mailbox_share(s->mailbox, s->inbox);
    CHECK(aco_export_new(s->seat, ACO_KIND_CORO, serial, options->name, s->mailbox, &s->coro) ==
          ACO_OK);
    int err = aco_net_start(s->process, options, &why);
    if (err != ACO_OK) fprintf(stderr, "%s\n", why != NULL ? why : aco_err_text(err));
    CHECK(err == ACO_OK);
    s->net = aco_net_of(s->process);
}

/* After its network was closed. */
static inline void
side_end(struct side *s)
{
    aco_entry entry;

    for (aco_post *post = s->posts, *next; post != NULL; post = next) {
        next = post->next;
        aco_post_free(post);
    }
    aco_export_end(s->coro, ACO_FINISHED, NULL);
    aco_export_unref(s->coro);
    aco_mailbox_close(NULL, s->mailbox);
    while (aco_mailbox_pop(NULL, s->mailbox, &entry))
        aco_entry_free(&entry);
    aco_mailbox_unref(s->mailbox);
    aco_inbox_close(s->inbox);
    aco_seat_leave(s->seat);
    aco_inbox_unref(s->inbox);
    aco_process_unref(s->process);
}

#endif
