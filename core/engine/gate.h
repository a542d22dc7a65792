/* SPDX-License-Identifier: MIT */
/* gate.h -- how what lives in other processes is reached: the face of the network towards engines.
 *
 * The engine knows no network. A runtime of core/net makes a gate and puts it into its process
 * (aco_process_set_gate); from then on records of coros of other processes, which have far set,
 * are acted on through it. Any thread may call an operation; none of them waits. What cannot be
 * answered at once is answered by a post to the inbox of whoever waits:
 *
 *   ACO_POST_SPACE  a put that gave ACO_EBUSY may be tried again
 *   ACO_POST_REPLY  the answer to a put (deliver: `err` only; call: `msg` or `err`), to a request
 *                   (`msg` or `err`), to a locate (`msg` is the encoded handle, or `err`)
 *   ACO_POST_EXIT   a watched record has ended; with `err` ACO_EPEERDOWN: its process was lost
 *
 * An answer whose wait is over finds nobody and is dropped. */
#ifndef ACO_GATE_H
#define ACO_GATE_H

#include "core/engine/process.h"

/** What a message is to do: just go; be confirmed when it is in the mailbox; be answered. */
enum aco_put { ACO_PUT_SEND, ACO_PUT_DELIVER, ACO_PUT_CALL };

struct aco_gate_ops {
    /** A message for `x`. Takes over the parcel on ACO_OK (on its way) and ACO_PENDING (deliver: it
     * is answered to parcel->reply). ACO_EBUSY: its mailbox or the way there is full; `waiter`,
     * when not NULL, gets one ACO_POST_SPACE. ACO_ENOTFOUND, ACO_EPEERDOWN, ACO_ETOOLARGE,
     * ACO_ENOMEM. */
    int (*put)(aco_gate *gate, aco_export *x, aco_parcel *parcel, enum aco_put how,
               const aco_return *waiter);

    /** The short way of a put of a message that shall just go: its bytes are copied. False: it has
     * not gone; put has to be asked. */
    bool (*send)(aco_gate *gate, aco_export *x, const void *data, size_t size);

    /** ACO_POST_KILL or ACO_POST_REQUEST for `x`; takes over the post in every case. */
    int (*post)(aco_gate *gate, aco_export *x, aco_post *post);

    /** `who` waits no more for room at `x`, nor for an answer. */
    void (*forget)(aco_gate *gate, aco_export *x, const aco_return *who);

    /** Learn the end of `x`: aco_export_end or aco_export_lost follows. */
    int (*watch)(aco_gate *gate, aco_export *x);

    /** Find a name at a location (NULL: at every peer), or wait until it is there; answered to
     * `who`. The caller looks in this process itself. ACO_EINVALID: no location; ACO_ENOTFOUND: no
     * network. */
    int (*locate)(aco_gate *gate, const char *where, const char *name, size_t size, bool wait,
                  const aco_return *who);

    /** A frame of the family of channels (core/engine/channel.h) to a process: `head`, which begins
     * with the channel as a target, and the value behind it, which may be NULL. ACO_EBUSY: the way
     * is full; aco_channels_room follows. Never so when there is no value. ACO_ENOTFOUND,
     * ACO_EPEERDOWN, ACO_ETOOLARGE, ACO_ENOMEM. */
    int (*cast)(aco_gate *gate, const uint8_t process[16], const char *route, int type,
                const void *head, size_t head_size, aco_msg *value);

    /** The process goes, and all its engines have gone. */
    void (*free)(aco_gate *gate);
};

struct aco_gate {
    const struct aco_gate_ops *ops;
};

#endif
