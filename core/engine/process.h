/* SPDX-License-Identifier: MIT */
/* process.h -- what the engines of one process know of each other.
 *
 * Every engine has a seat in a process, which it holds by reference: there is no global one. The
 * process has an identity, 128 random bits, new at each start and after each fork. A coro whose
 * handle leaves its engine gets a record here, an aco_export, by which any thread finds its
 * mailbox, its name, and, for a while after its end, its outcome; names that were registered lead
 * to records.
 *
 * Any thread may call what is not said to belong to one. Numbers of engines and serials of coros
 * are never used again, so a stale handle finds nothing. */
#ifndef ACO_PROCESS_H
#define ACO_PROCESS_H

#include "core/base/buf.h"
#include "core/base/link.h"
#include "core/engine/identity.h"
#include "core/engine/inbox.h"
#include "core/engine/mailbox.h"

#include <stdatomic.h>

typedef struct aco_process aco_process;
typedef struct aco_seat aco_seat;
typedef struct aco_gate aco_gate;

/* Outcomes are kept for so long after the end of a coro whose handle left its engine; longer while
 * a handle lives, less when there are more of them than the two limits say. */
#define ACO_OUTCOME_KEPT (60 * ACO_SECOND)
#define ACO_OUTCOME_COUNT 65536
#define ACO_OUTCOME_BYTES (64u << 20)

/* The process -----------------------------------------------------------------------------------
 */

/** A new process with one reference; NULL without memory or randomness. */
aco_process *aco_process_new(void);
aco_process *aco_process_ref(aco_process *process);
void aco_process_unref(aco_process *process);

/** Its 16 bytes. They change only in aco_process_renew. */
const uint8_t *aco_process_id(const aco_process *process);

/** Its pool of threads, made on demand; NULL without memory. */
struct aco_pool *aco_process_pool(aco_process *process);

/** End the threads of the pool, before a fork. ACO_EBUSY: jobs are under way. */
ACO_MUSTUSE int aco_process_rest(aco_process *process);

/** In a forked child, whose only thread is the caller: become another process. ACO_ESYSTEM. */
ACO_MUSTUSE int aco_process_renew(aco_process *process);

/** The way to other processes, set once; it is freed with the process. NULL until then. */
void aco_process_set_gate(aco_process *process, aco_gate *gate);
aco_gate *aco_process_gate(aco_process *process);

/** The location of this process, "" while it has none. What was returned stays as it is until the
 * process goes. ACO_ENOMEM: the location is as before. */
ACO_MUSTUSE int aco_process_set_route(aco_process *process, const char *route);
const char *aco_process_route(const aco_process *process);

/** How many engines have a seat. */
size_t aco_process_engines(aco_process *process);

/** Take a seat for the engine behind `inbox`; NULL without memory. The seat holds its process. */
aco_seat *aco_seat_take(aco_process *process, aco_inbox *inbox);

/** The engine has ended, and so have its coros. */
void aco_seat_leave(aco_seat *seat);
uint32_t aco_seat_number(const aco_seat *seat);

/** The engine's thread can do nothing more unless another engine wakes it: true when that holds for
 * every engine and nothing is on its way. */
bool aco_seat_idle(aco_seat *seat);

/** The engine's thread, after aco_seat_idle, before it takes what was posted. */
void aco_seat_busy(aco_seat *seat);

/* Coros, channels and RCIs known beyond their engine ---------------------------------------------
 */

/** How it stands with a coro; ACO_UNKNOWN: of another process, where nothing is known of it. */
enum aco_reason { ACO_ALIVE, ACO_FINISHED, ACO_FAILED, ACO_TERMINATED, ACO_UNKNOWN };

typedef struct aco_export {
    atomic_uint refs;
    atomic_int reason;    /* enum aco_reason; set once */
    atomic_int waiters;   /* coros of other engines that wait for the end */
    atomic_bool observed; /* somebody has been told the outcome */
    bool far;             /* of another process: reached through the gate */
    uint8_t kind;         /* enum aco_kind */
    uint32_t engine;
    uint64_t serial;
    aco_mailbox *mailbox; /* owned reference; NULL of a coro that had ended when it was exported, of
                             one of another process, and of all that is no coro */
    char *name;           /* owned; of the time when its handle left */
    char *route;          /* far: owned; the location of its process, "" when it has none */
    void *owner;          /* the engine's thread only: its record of the coro, NULL after the end */
    aco_link home;        /* the engine's thread only: in a list of its own */
    aco_process *process; /* owned reference; this process, whatever the coro's is */
    uint8_t key[ACO_IDENTITY_SIZE]; /* its identity, as it travels (this process's id may change) */
    void *peer;                     /* far: the gate's own */
    aco_link peer_link;             /* far: the gate's own */
    /* The rest belongs to process.c. */
    bool asked; /* far: the gate has been asked to watch */
    aco_seat *seat;
    aco_msg *exit;
    aco_link names, monitors, watchers;
    size_t monitor_count, monitor_prune;
    aco_link ended;
    aco_time expires;
} aco_export;

/** The engine's thread: a record of a live coro (or channel, or RCI) with two references, one of
 * the caller and one of the process. The mailbox, which may be NULL, must be shared. ACO_ENOMEM. */
ACO_MUSTUSE int aco_export_new(aco_seat *seat, enum aco_kind kind, uint64_t serial,
                               const char *name, aco_mailbox *mailbox, aco_export **x);

/** The record of what lives in another process, a reference of the caller's: the one there is, or a
 * new one, with this route to its process and this name. NULL without memory. */
aco_export *aco_export_far(aco_process *process, const aco_identity *identity, enum aco_kind kind,
                           const char *route, const char *name);

/** The record, a reference of the caller's; NULL when nothing is known of it. */
aco_export *aco_export_find(aco_process *process, uint32_t engine, uint64_t serial);
aco_export *aco_export_ref(aco_export *x);
void aco_export_unref(aco_export *x);
void aco_export_identity(const aco_export *x, aco_identity *identity);

/** The handle of it, as a value: an extension of type 1 (coro), 2 (channel) or 3 (RCI). */
enum { ACO_HANDLE_VALUE_MAX = ACO_HANDLE_MAX + 8 };
size_t aco_export_value(const aco_export *x, uint8_t out[ACO_HANDLE_VALUE_MAX]);

/** The engine's thread: the coro has ended. `exit`, which may be NULL, is the exit message for its
 * monitors, of any size and beyond every limit. Its names go, its watchers get ACO_POST_EXIT. */
void aco_export_end(aco_export *x, enum aco_reason reason, aco_msg *exit);

/** The process of a far record was lost: monitors get `exit`, watchers ACO_POST_EXIT with
 * ACO_EPEERDOWN. The record goes on: the process may come back. */
void aco_export_lost(aco_export *x, aco_msg *exit);

/** True when somebody waits for the end of it. */
bool aco_export_watched(aco_export *x);

/** The exit message, a reference of the caller's; NULL while it lives, or when there is none. */
aco_msg *aco_export_exit(aco_export *x);

/** Post ACO_POST_EXIT to this engine at the end, once for each call. ACO_ENOTFOUND: it has ended.
 * ACO_ENOMEM. */
ACO_MUSTUSE int aco_export_watch(aco_export *x, aco_seat *watcher);

/** Put the exit message into this mailbox, which must be shared, at the end; twice is as once.
 * ACO_ENOTFOUND: it has ended. ACO_ENOMEM. */
ACO_MUSTUSE int aco_export_monitor(aco_export *x, aco_mailbox *monitor);

/** True when somebody beyond its engine waits for the outcome, or was told it. */
bool aco_export_observed(aco_export *x);

/** Post to the engine of the coro; takes over the post in every case. ACO_ENOTFOUND: it has ended.
 * ACO_EPEERDOWN: of another process, which cannot be reached. */
int aco_export_post(aco_export *x, aco_post *post);

/** A short message for a coro of another process (see aco_gate_ops.send). */
bool aco_export_send(aco_export *x, const void *data, size_t size);

/** Give a message to the coro, wherever it lives (see aco_gate_ops.put, of which `how` is an enum
 * aco_put); in this process a deliver is done with ACO_OK at once. */
ACO_MUSTUSE int aco_export_put(aco_export *x, aco_parcel *parcel, int how,
                               const aco_return *waiter);

/** `who` waits no more for room, nor for an answer of a coro of another process. */
void aco_export_forget(aco_export *x, const aco_return *who);

/* Names -----------------------------------------------------------------------------------------
 */

/** ACO_EEXISTS: another coro has the name. ACO_ENOTFOUND: this one has ended. ACO_ENOMEM. */
ACO_MUSTUSE int aco_name_register(aco_export *x, const char *name, size_t size);

/** ACO_ENOTFOUND: this coro has not the name. */
int aco_name_unregister(aco_export *x, const char *name, size_t size);

/** The record behind a name, a reference of the caller's; NULL when nobody has it. */
aco_export *aco_name_find(aco_process *process, const char *name, size_t size);

/** The engine's thread: while `waits`, this engine gets ACO_POST_NAME after each new name. */
void aco_name_await(aco_seat *seat, bool waits);

#endif
